//! `timezone(zone, time)`, which `time AT TIME ZONE zone` is written as.
//!
//! A moment becomes the time that clocks show there, without a zone; a time without
//! one becomes the moment at which clocks there show it.

use std::sync::Arc;

use chrono::{Offset, TimeZone};
use datafusion::arrow::array::timezone::Tz;
use datafusion::arrow::array::types::TimestampMicrosecondType;
use datafusion::arrow::array::{AsArray, TimestampMicrosecondArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

#[derive(Debug, PartialEq, Eq, Hash)]
struct Timezone {
    signature: Signature,
}

/// The function.
pub(super) fn function() -> ScalarUDF {
    ScalarUDF::new_from_impl(Timezone { signature: Signature::user_defined(Volatility::Immutable) })
}

fn utc() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn local() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, None)
}

// === impl Timezone ===

impl ScalarUDFImpl for Timezone {
    fn name(&self) -> &str {
        "timezone"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [_, time] = types else {
            return Err(DataFusionError::Plan("timezone takes a zone and a time".to_owned()));
        };
        let time = match time {
            DataType::Timestamp(_, None) => local(),
            DataType::Timestamp(_, Some(_)) | DataType::Date32 | DataType::Null => utc(),
            kind if kind.is_string() => utc(),
            other => return Err(DataFusionError::Plan(format!("timezone needs a time, got {other}"))),
        };
        Ok(vec![DataType::Utf8, time])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        Ok(match types.get(1) {
            Some(DataType::Timestamp(_, None)) => utc(),
            _ => local(),
        })
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [ColumnarValue::Scalar(zone), time] = arguments.args.as_slice() else {
            return Err(DataFusionError::Plan("the time zone must be the same for all rows".to_owned()));
        };
        let answer = match time.data_type() {
            DataType::Timestamp(_, None) => utc(),
            _ => local(),
        };
        let Some(Some(zone)) = zone.try_as_str() else {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from(&answer)?));
        };
        let shown: String = zone.chars().take(60).collect();
        let unknown = |_| DataFusionError::Execution(format!("time zone {shown:?} is not recognized"));
        let zone: Tz = zone.parse().map_err(unknown)?;
        let is_constant = matches!(time, ColumnarValue::Scalar(_));
        let times = time.to_array(arguments.number_rows)?;
        let times = cast(&times, &if answer == utc() { local() } else { utc() })?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let moved = times.iter().map(|time| time.and_then(|time| moved(zone, time, answer == utc())));
        let moved: TimestampMicrosecondArray = moved.collect();
        let moved = if answer == utc() { moved.with_timezone("UTC") } else { moved };
        match is_constant && !moved.is_empty() {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&moved, 0)?)),
            false => Ok(ColumnarValue::Array(Arc::new(moved))),
        }
    }
}

/// Microseconds of a moment as those that clocks show in a zone, or the other way.
fn moved(zone: Tz, microseconds: i64, is_local: bool) -> Option<i64> {
    let time = chrono::DateTime::from_timestamp_micros(microseconds)?.naive_utc();
    let offset = match is_local {
        // An hour that is there twice is the later one, as in PostgreSQL; one that is
        // left out counts from before.
        true => {
            let found = zone.offset_from_local_datetime(&time).latest();
            let offset = found.unwrap_or_else(|| zone.offset_from_utc_datetime(&time));
            -offset.fix().local_minus_utc()
        }
        false => zone.offset_from_utc_datetime(&time).fix().local_minus_utc(),
    };
    microseconds.checked_add(i64::from(offset) * 1_000_000)
}
