//! What ingest itself could not keep, as a row of `losses`: pure.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Int64Array, RecordBatch, TimestampMicrosecondArray, new_null_array,
};
use arrow::datatypes::{Field, Int32Type};
use arrow::error::ArrowError;
use bailiwick_proto::Table;

use crate::stamp::stamp;
use crate::tenants::Mapping;

/// Something that arrived, or was durable, and cannot be read.
#[derive(Debug, Clone)]
pub struct Loss<'a> {
    /// The node that it came from; empty when not known.
    pub node: &'a str,
    /// The cluster that it came from; empty when not known.
    pub cluster: &'a str,
    /// `ship`, for all that ingest loses.
    pub lane: &'static str,
    /// What was lost: a `batch`, or a `row` of a WAL object.
    pub class: &'static str,
    /// Why, one word.
    pub reason: &'static str,
    /// How many of them.
    pub count: i64,
    /// Where it was set aside, and the reader's words.
    pub detail: &'a str,
}

// === impl Loss ===

impl Loss<'_> {
    /// One row of the stamped schema.
    pub fn row(&self, now_us: i64) -> Result<RecordBatch, ArrowError> {
        let schema = Table::Losses.wire_schema();
        let columns = schema.fields().iter().map(|field| self.column(field, now_us)).collect();
        let wire = RecordBatch::try_new(schema.clone(), columns)?;
        stamp(Table::Losses, &wire, &Mapping::default(), now_us).map(|stamped| stamped.batch)
    }

    fn column(&self, field: &Field, now_us: i64) -> ArrayRef {
        let text = |value: &str| -> ArrayRef { Arc::new(DictionaryArray::<Int32Type>::from_iter([value])) };
        match field.name().as_str() {
            "time" | "interval_start" => {
                Arc::new(TimestampMicrosecondArray::from_value(now_us, 1).with_timezone("UTC"))
            }
            "node" => text(self.node),
            "cluster" => text(self.cluster),
            "lane" => text(self.lane),
            "class" => text(self.class),
            "reason" => text(self.reason),
            "count" => Arc::new(Int64Array::from(vec![self.count])),
            "detail" => text(self.detail),
            _ => new_null_array(field.data_type(), 1),
        }
    }
}
