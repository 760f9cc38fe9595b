use arrow::array::AsArray;
use arrow::datatypes::TimestampMicrosecondType;
use proptest::prelude::*;

use crate::columns::Columns;

use super::*;

/// `count` rows of a table, their times counting up from `from`.
fn rows(table: Table, from: i64, count: usize) -> RecordBatch {
    let mut columns = Columns::new(table);
    for n in 0..count {
        columns.time("time", Some(from + i64::try_from(n).unwrap()));
        columns.text("node", Some(format!("node-{}", n % 3)));
        columns.end_row();
    }
    columns.finish().unwrap()
}

fn recorded(batches: &[(Table, RecordBatch)]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), "test").unwrap();
    for (table, rows) in batches {
        writer.write(*table, rows).unwrap();
    }
    writer.finish().unwrap()
}

/// The times of all rows of a table, in order.
fn times(bytes: &[u8], wanted: Table) -> Vec<i64> {
    let mut times = Vec::new();
    for batch in Reader::new(bytes).unwrap() {
        let (table, rows) = batch.unwrap();
        if table == wanted {
            let column = rows.column_by_name("time").unwrap().as_primitive::<TimestampMicrosecondType>();
            times.extend(column.values());
        }
    }
    times
}

#[test]
fn every_row_comes_back_in_its_tables_order() {
    let batches = [
        (Table::Syscalls, rows(Table::Syscalls, 0, 3)),
        (Table::ApiAccess, rows(Table::ApiAccess, 100, 2)),
        (Table::Syscalls, rows(Table::Syscalls, 3, BATCH_ROWS)),
        (Table::Syscalls, rows(Table::Syscalls, 3 + BATCH_ROWS as i64, 4)),
        (Table::Usage, rows(Table::Usage, 0, 0)),
    ];
    let bytes = recorded(&batches);
    assert_eq!(times(&bytes, Table::Syscalls), (0..7 + BATCH_ROWS as i64).collect::<Vec<_>>());
    assert_eq!(times(&bytes, Table::ApiAccess), [100, 101]);
    assert!(times(&bytes, Table::Usage).is_empty());
    assert_eq!(Reader::new(&bytes[..]).unwrap().made_by(), "test");
}

#[test]
fn a_recording_cut_anywhere_is_an_error() {
    let bytes = recorded(&[(Table::ApiAccess, rows(Table::ApiAccess, 0, 2))]);
    for length in (0..bytes.len()).step_by(7).chain([bytes.len() - 1]) {
        let read = Reader::new(&bytes[..length]).and_then(|reader| reader.collect::<Result<Vec<_>, _>>());
        assert!(read.is_err(), "{length} of {} bytes", bytes.len());
    }
}

#[test]
fn another_file_is_told_from_a_damaged_one() {
    for bytes in [&b""[..], b"{\"kind\":\"Event\"}", b"BAILWREC\x02\0\0\0\0\0\0\0"] {
        assert!(matches!(Reader::new(bytes), Err(RecordingError::NotARecording { .. })));
    }
    let unfinished = b"BAILWREC\x01\0\0\0\0\0\0\0\x01\x03dns";
    let error = Reader::new(&unfinished[..]).unwrap().next_batch().unwrap_err();
    assert!(matches!(error, RecordingError::Table { at: 17, .. }), "{error:?}");
}

#[test]
fn a_length_that_is_a_lie_asks_for_no_memory() {
    let mut bytes = b"BAILWREC\x01\0\0\0\0\0\0\0\x01\x05usage\0\0\0\0".to_vec();
    bytes.extend((wire::MAX_BATCH_BYTES as u32).to_le_bytes());
    assert!(matches!(Reader::new(&bytes[..]).unwrap().next_batch(), Err(RecordingError::Damaged { .. })));
    let end = bytes.len() - 4;
    bytes[end..].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(Reader::new(&bytes[..]).unwrap().next_batch(), Err(RecordingError::Damaged { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Goal: no bytes make the reader panic or run on. Method: change some of a
    /// real recording's, then read all.
    #[test]
    fn changed_bytes_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = recorded(&[(Table::Losses, rows(Table::Losses, 0, 5))]);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(reader) = Reader::new(&bytes[..]) {
            prop_assert!(reader.count() <= 3);
        }
    }
}
