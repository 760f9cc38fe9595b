use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, new_null_array};
use proptest::prelude::*;

use super::*;

fn key() -> WalKey {
    WalKey { ingester: "ingest-0".parse().unwrap(), number: 7 }
}

fn losses(counts: &[i64]) -> RecordBatch {
    let schema = Table::Losses.stamped_schema();
    let column = |field: &Arc<arrow::datatypes::Field>| -> ArrayRef {
        match field.name().as_str() {
            "count" => Arc::new(Int64Array::from(counts.to_vec())),
            _ => new_null_array(field.data_type(), counts.len()),
        }
    };
    RecordBatch::try_new(schema.clone(), schema.fields().iter().map(column).collect()).unwrap()
}

fn sample() -> (WalHeader, Bytes) {
    let known = Incarnation { incarnation: u64::MAX, next_seq: 12 };
    let collector = CollectorState { hold: Hold::Held, heard_at_us: 1, incarnations: vec![known] };
    let header = WalHeader {
        ingester: "ingest-0".into(),
        epoch: 3,
        nonce: "n".into(),
        number: 7,
        written_at_us: 1,
        kind: WalKind::Carried { since_us: 1 },
        segments: vec![],
        high_water: BTreeMap::from([("node-1".to_owned(), collector)]),
    };
    let rows = [EncodedRows::encode(Table::Losses, &[losses(&[1, 2, 3]), losses(&[4])]).unwrap()];
    let bytes = header.clone().encode(&rows);
    (header, bytes)
}

#[test]
fn an_object_reads_as_it_was_written() {
    let (header, bytes) = sample();
    let object = WalObject::parse(key(), &bytes).unwrap();
    assert_eq!(object.header().high_water, header.high_water);
    assert_eq!(object.header().kind, header.kind);
    let rows = object.rows().unwrap();
    assert_eq!(rows, vec![(Table::Losses, vec![losses(&[1, 2, 3]), losses(&[4])])]);
    assert_eq!(object.header().segments[0].rows, 4);
}

#[test]
fn an_object_under_another_name_is_refused() {
    let (_, bytes) = sample();
    let other = WalKey { number: 8, ..key() };
    assert!(matches!(WalObject::parse(other, &bytes), Err(LakeError::DamagedWal { .. })));
}

proptest! {
    #[test]
    fn no_damage_goes_unnoticed(position in any::<prop::sample::Index>(), flip in 1u8..) {
        let (_, bytes) = sample();
        let mut damaged = bytes.to_vec();
        let position = position.index(damaged.len());
        damaged[position] ^= flip;
        let read = WalObject::parse(key(), &damaged.into()).and_then(|object| object.rows());
        prop_assert!(read.is_err());
    }

    #[test]
    fn a_cut_goes_unnoticed_nowhere(cut in any::<prop::sample::Index>()) {
        let (_, bytes) = sample();
        let cut = bytes.slice(..cut.index(bytes.len()));
        prop_assert!(WalObject::parse(key(), &cut).and_then(|object| object.rows()).is_err());
    }
}
