use std::sync::Arc;

use datafusion::arrow::array::{Int64Array, StringArray};
use proptest::prelude::*;

use super::*;

fn batch(texts: &[Option<String>], numbers: &[Option<i64>]) -> RecordBatch {
    let texts: ArrayRef = Arc::new(StringArray::from_iter(texts));
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter(numbers));
    RecordBatch::try_from_iter([("t", texts), ("n", numbers)]).unwrap()
}

proptest! {
    /// Whatever a column holds, a reader of either format gets it back.
    #[test]
    fn every_value_reads_as_it_was(rows in prop::collection::vec((prop::option::of("\\PC{0,20}|[\"\n,\\\\\u{0}]{0,4}"), prop::option::of(any::<i64>())), 1..20)) {
        let (texts, numbers): (Vec<_>, Vec<_>) = rows.iter().cloned().unzip();
        let batch = batch(&texts, &numbers);
        let mut json = b"[".to_vec();
        json_rows(&batch, true, &mut json).unwrap();
        json.push(b']');
        let read: Vec<(Option<String>, Option<i64>)> = serde_json::from_slice(&json).unwrap();
        prop_assert_eq!(&read, &rows);

        let csv = csv_rows(&batch).unwrap();
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(csv.as_slice());
        let read: Vec<(String, String)> = reader.deserialize().collect::<Result<_, _>>().unwrap();
        let plain = |(text, number): &(Option<String>, Option<i64>)| {
            (text.clone().unwrap_or_default(), number.map(|number| number.to_string()).unwrap_or_default())
        };
        prop_assert_eq!(read, rows.iter().map(plain).collect::<Vec<_>>());
    }
}
