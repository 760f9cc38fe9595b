//! `time_bucket(width, time)`, as TimescaleDB has it and Grafana writes it.

use datafusion::arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::functions::datetime::date_bin;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// 2000-01-03 00:00 UTC, a Monday: weeks begin on Mondays.
const MONDAY_NS: i64 = 946_857_600_000_000_000;

/// 2000-01-01 00:00 UTC: months begin on their first day.
const FIRST_OF_MONTH_NS: i64 = 946_684_800_000_000_000;

#[derive(Debug, PartialEq, Eq, Hash)]
struct TimeBucket {
    signature: Signature,
}

/// The function.
pub(super) fn function() -> ScalarUDF {
    ScalarUDF::new_from_impl(TimeBucket { signature: Signature::user_defined(Volatility::Immutable) })
}

// === impl TimeBucket ===

impl ScalarUDFImpl for TimeBucket {
    fn name(&self) -> &str {
        "time_bucket"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The width may be a text such as `'300.000s'`; a day or a text is taken as a time.
    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let [_, time] = types else {
            let message = format!("time_bucket takes a width and a time, got {} arguments", types.len());
            return Err(DataFusionError::Plan(message));
        };
        let time = match time {
            DataType::Timestamp(..) => time.clone(),
            DataType::Dictionary(_, inner) if matches!(**inner, DataType::Timestamp(..)) => (**inner).clone(),
            DataType::Date32 | DataType::Date64 | DataType::Utf8 | DataType::Utf8View | DataType::Null => {
                DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
            }
            other => {
                let message = format!("time_bucket needs a time as its second argument, got {other}");
                return Err(DataFusionError::Plan(message));
            }
        };
        Ok(vec![DataType::Interval(IntervalUnit::MonthDayNano), time])
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        types.get(1).cloned().ok_or_else(|| DataFusionError::Plan("time_bucket needs a time".to_owned()))
    }

    fn invoke_with_args(&self, mut arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let months = match arguments.args.first() {
            Some(ColumnarValue::Scalar(ScalarValue::IntervalMonthDayNano(Some(width)))) => width.months != 0,
            _ => false,
        };
        let origin = if months { FIRST_OF_MONTH_NS } else { MONDAY_NS };
        let origin = ScalarValue::TimestampNanosecond(Some(origin), Some("+00:00".into()));
        arguments.args.push(ColumnarValue::Scalar(origin));
        date_bin().invoke_with_args(arguments)
    }
}
