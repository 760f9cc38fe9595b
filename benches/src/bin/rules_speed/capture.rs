//! A capture for `sysdig`, made long, and its rows for us.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Schema};
use bailiwick_proto::Table;
use serde_json::{Map, Value, json};

use super::Outcome;

/// Kinds of block that hold one event.
const EVENTS: [u32; 4] = [0x204, 0x208, 0x216, 0x217];

/// Writes a capture with its events so many times over; how many those are.
///
/// Blocks are `kind, length, …, length`, little-endian; those before the first
/// event describe the machine.
pub(super) fn repeat(from: &Path, times: usize, to: &Path) -> Outcome<usize> {
    let packed = Command::new("gzip").arg("-dcf").arg(from).output()?;
    let bytes = packed.stdout;
    let (mut head, mut events, mut count) = (Vec::new(), Vec::new(), 0);
    let mut at = 0;
    while let Some(block) = bytes.get(at..).filter(|rest| rest.len() >= 8) {
        let number = |from: usize| {
            u32::from_le_bytes([block[from], block[from + 1], block[from + 2], block[from + 3]])
        };
        let (kind, length) = (number(0), number(4) as usize);
        let block = block.get(..length).filter(|_| length >= 8).ok_or("the capture is cut off")?;
        if EVENTS.contains(&kind) {
            events.extend_from_slice(block);
            count += 1;
        } else {
            head.extend_from_slice(block);
        }
        at += length;
    }
    for _ in 0..times {
        head.extend_from_slice(&events);
    }
    std::fs::write(to, head)?;
    Ok(count * times)
}

/// The capture's rows as a batch of the wire schema.
pub(super) fn batch(capture: &Path, batch_rows: usize) -> Outcome<RecordBatch> {
    let text = std::fs::read_to_string(capture.with_extension("jsonl"))?;
    let rows =
        text.lines().map(|line| serde_json::from_str::<Map<String, Value>>(line).map(|row| stored(&row)));
    let rows: Vec<Value> = rows.collect::<Result<_, _>>()?;
    let wire = Table::Syscalls.wire_schema();
    let plain = |field: &Arc<Field>| match field.data_type() {
        DataType::Dictionary(..) => Arc::new(Field::new(field.name(), DataType::Utf8, true)),
        _ => Arc::new(field.as_ref().clone().with_nullable(true)),
    };
    let schema = Arc::new(Schema::new(wire.fields().iter().map(plain).collect::<Vec<_>>()));
    let mut decoder = arrow::json::ReaderBuilder::new(schema).with_batch_size(rows.len()).build_decoder()?;
    decoder.serialize(&rows)?;
    let read = decoder.flush()?.ok_or("the capture has no rows")?;
    let columns =
        read.columns().iter().zip(wire.fields()).map(|(column, field)| cast(column, field.data_type()));
    let once = RecordBatch::try_new(Arc::new(loosened(&wire)), columns.collect::<Result<_, _>>()?)?;
    // As many as fill one batch of the size that the other events have.
    let copies = vec![&once; batch_rows.div_ceil(once.num_rows())];
    Ok(concat_batches(&once.schema(), copies)?)
}

fn loosened(schema: &Schema) -> Schema {
    Schema::new(
        schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true)).collect::<Vec<_>>(),
    )
}

/// A flat row of Falco's fields as a row of `syscalls`.
fn stored(row: &Map<String, Value>) -> Value {
    let mut stored = Map::new();
    let (mut arguments, mut ancestors) = (Vec::new(), BTreeMap::new());
    for (field, value) in row.iter().filter(|(_, value)| !value.is_null()) {
        if let Some(name) = field.strip_prefix("evt.arg.") {
            arguments.push(json!({"name": name, "value": value}));
        } else if let Some(level) = field.strip_prefix("proc.aname[") {
            ancestors.insert(level.trim_end_matches(']').parse::<usize>().unwrap_or(0), value.clone());
        } else if field == "proc.env" {
            stored.insert("proc_env".to_owned(), json!([value]));
        } else {
            stored.insert(field.replace('.', "_"), value.clone());
        }
    }
    let ancestors: Vec<Value> = ancestors.values().map(|name| json!({"name": name})).collect();
    stored.insert("time".to_owned(), json!("2026-11-24T12:00:00Z"));
    stored.insert("evt_arg".to_owned(), json!(arguments));
    stored.insert("proc_ancestors".to_owned(), json!(ancestors));
    Value::Object(stored)
}
