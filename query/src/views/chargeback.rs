//! `chargeback(from, to)`: the report of the same name, as rows.

use std::sync::Arc;

use async_trait::async_trait;
use bailiwick_proto::Column;
use bailiwick_proto::Kind::{Float, Text, Time};
use datafusion::arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use datafusion::catalog::{TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::error::Result as DfResult;
use datafusion::execution::TaskContext;
use futures::StreamExt;

use super::arguments::{Arguments, utc};
use super::bounded::Period;
use super::computed::{Compute, answer, carried, table};
use super::planner::Planner;
use super::schema;
use crate::report::{self, ServerPrices};
use crate::{Chargeback, ChargebackRow, Decimal};

/// How it is called.
pub(super) const USAGE: &str = "chargeback(from, to)";

#[rustfmt::skip]
pub(super) const COLUMNS: &[Column] = &[
    Column::new("tenant", Text, "whose use"),
    Column::new("from_time", Time, "the period's first moment"),
    Column::new("to_time", Time, "the moment after its last"),
    Column::new("currency", Text, "in which the costs are"),
    Column::new("cpu_core_hours", Float, "CPU time, core hours"),
    Column::new("memory_gib_hours", Float, "memory, GiB × hours"),
    Column::new("io_read_gib", Float, "read from block devices, GiB"),
    Column::new("io_write_gib", Float, "written to block devices, GiB"),
    Column::new("cpu_cost", Float, "what the CPU time costs"),
    Column::new("memory_cost", Float, "what the memory costs"),
    Column::new("io_cost", Float, "what reading and writing costs"),
    Column::new("total_cost", Float, "the three together"),
    Column::new("coverage", Float, "which part of the recorded intervals was really observed, 0 to 1"),
];

/// The function over one session's tables.
#[derive(Debug)]
pub(super) struct Charges {
    planner: Planner,
    prices: ServerPrices,
}

/// One call.
#[derive(Debug, Clone)]
struct Bill {
    planner: Planner,
    prices: ServerPrices,
    period: Period,
}

// === impl Charges ===

impl Charges {
    pub(super) fn new(planner: Planner, prices: ServerPrices) -> Self {
        Self { planner, prices }
    }
}

impl TableFunctionImpl for Charges {
    fn call_with_args(&self, args: TableFunctionArgs) -> DfResult<Arc<dyn TableProvider>> {
        let period = Arguments::new(USAGE, args.exprs(), 2, 2)?.period()?;
        let bill = Bill { planner: self.planner.clone(), prices: self.prices.clone(), period };
        table(schema(COLUMNS), bill)
    }
}

// === impl Bill ===

#[async_trait]
impl Compute for Bill {
    async fn rows(&self, context: Arc<TaskContext>) -> DfResult<RecordBatch> {
        let (from, to) = (utc(self.period.from_us)?, utc(self.period.to_us)?);
        let prices = self.prices.for_clients().map_err(carried)?;
        let statement = report::Statement::new(&prices, from, to).map_err(carried)?;
        let mut batches = answer(&self.planner, statement.sql(), Vec::new(), &context).await?;
        let mut usage = Vec::new();
        while let Some(batch) = batches.next().await {
            statement.read(&batch?, &mut usage).map_err(carried)?;
        }
        rows(&statement.charge(usage).map_err(carried)?)
    }
}

fn rows(bill: &Chargeback) -> DfResult<RecordBatch> {
    let texts = |text: fn(&Chargeback, &ChargebackRow) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(bill.rows.iter().map(|row| text(bill, row))))
    };
    let moments = |time: chrono::DateTime<chrono::Utc>| -> ArrayRef {
        let times = vec![time.timestamp_micros(); bill.rows.len()];
        Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC"))
    };
    let numbers = |number: fn(&ChargebackRow) -> Decimal| -> ArrayRef {
        // The nearest float to six digits: it prints as those digits again.
        let number = |row| number(row).to_string().parse().ok();
        Arc::new(bill.rows.iter().map(number).collect::<Float64Array>())
    };
    let columns = vec![
        texts(|_, row| row.tenant.clone()),
        moments(bill.from),
        moments(bill.to),
        texts(|bill, _| bill.currency.clone()),
        numbers(|row| row.cpu_core_hours),
        numbers(|row| row.memory_gib_hours),
        numbers(|row| row.io_read_gib),
        numbers(|row| row.io_write_gib),
        numbers(|row| row.cpu_cost),
        numbers(|row| row.memory_cost),
        numbers(|row| row.io_cost),
        numbers(|row| row.total_cost),
        numbers(|row| row.coverage),
    ];
    Ok(RecordBatch::try_new(schema(COLUMNS), columns)?)
}
