//! Views that read only the time that a question is about.
//!
//! ```text
//!   WHERE time >= a AND time < b ─▶ Period ─▶ $from, $to of the statement ─▶ files that are scanned
//! ```
//!
//! Where a view joins or adds up, a condition on its rows is no condition on the
//! rows that they are made of, and would reach no scan. So the times in the
//! conditions say, with a margin that the view knows, which rows can take part;
//! the conditions themselves are evaluated on the view's rows as always.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    BinaryExpr, Expr, LogicalPlanBuilder, Operator, TableProviderFilterPushDown, TableType, col,
};
use datafusion::physical_plan::ExecutionPlan;

use super::planner::{Planner, Values};
use super::{Definition, schema};
use crate::text;

const DAY_US: i64 = 86_400_000_000;

/// How conditions on a view's rows bound the rows that it reads.
#[derive(Debug)]
pub(super) struct Bounds {
    /// The view's columns that are times of, or in, what it reads.
    pub(super) columns: &'static [&'static str],
    /// The statement's values for a period.
    pub(super) values: fn(Period) -> Values,
}

/// From one moment to another, both included; microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Period {
    pub(super) from_us: i64,
    pub(super) to_us: i64,
}

/// A view over one session's tables.
#[derive(Debug)]
pub(super) struct Bounded {
    definition: &'static Definition,
    bounds: &'static Bounds,
    planner: Planner,
}

// === impl Period ===

impl Period {
    /// All of time.
    pub(super) const ALL: Self = Self { from_us: i64::MIN, to_us: i64::MAX };

    /// The bounds that conditions set to these columns.
    pub(super) fn of(filters: &[Expr], columns: &[&str]) -> Self {
        let mut period = Self::ALL;
        for condition in filters.iter().flat_map(split_conjunction) {
            period.narrow(condition, columns);
        }
        period
    }

    /// `$from` and `$to`.
    pub(super) fn values(self) -> Values {
        vec![("from".into(), moment(self.from_us)), ("to".into(), moment(self.to_us))]
    }

    fn narrow(&mut self, condition: &Expr, columns: &[&str]) {
        let is_ours =
            |side: &Expr| matches!(side, Expr::Column(column) if columns.contains(&column.name.as_str()));
        match condition {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let (op, value) = match (is_ours(left), is_ours(right)) {
                    (true, false) => (Some(*op), right.as_ref()),
                    (false, true) => (op.swap(), left.as_ref()),
                    _ => return,
                };
                let (Some(op), Some((first, last))) = (op, span(value)) else { return };
                match op {
                    Operator::Gt | Operator::GtEq => self.from_us = self.from_us.max(first),
                    Operator::Lt | Operator::LtEq => self.to_us = self.to_us.min(last),
                    Operator::Eq => {
                        self.from_us = self.from_us.max(first);
                        self.to_us = self.to_us.min(last);
                    }
                    _ => {}
                }
            }
            Expr::Between(between) if !between.negated && is_ours(&between.expr) => {
                if let Some((first, _)) = span(&between.low) {
                    self.from_us = self.from_us.max(first);
                }
                if let Some((_, last)) = span(&between.high) {
                    self.to_us = self.to_us.min(last);
                }
            }
            _ => {}
        }
    }
}

/// The first and the last moment of a value: those of a day differ.
fn span(value: &Expr) -> Option<(i64, i64)> {
    let Expr::Literal(value, _) = value else { return None };
    let length =
        if matches!(value.data_type(), DataType::Date32 | DataType::Date64) { DAY_US - 1 } else { 0 };
    // Anything below a microsecond belongs to the one that it lies in.
    match value.cast_to(&moment(0).data_type()).ok()? {
        ScalarValue::TimestampMicrosecond(Some(us), _) => Some((us, us.saturating_add(length))),
        _ => None,
    }
}

/// A time as the tables have it.
pub(super) fn moment(us: i64) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(Some(us), Some("UTC".into()))
}

/// The type of a time.
pub(super) fn time_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

// === impl Bounded ===

impl Bounded {
    pub(super) fn new(definition: &'static Definition, bounds: &'static Bounds, planner: Planner) -> Self {
        Self { definition, bounds, planner }
    }
}

#[async_trait]
impl TableProvider for Bounded {
    fn schema(&self) -> SchemaRef {
        text::viewed(&schema(self.definition.columns))
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DfResult<Vec<TableProviderFilterPushDown>> {
        // They are evaluated on the view's rows, below.
        let passes = |filter: &&Expr| match filter.is_volatile() {
            true => TableProviderFilterPushDown::Unsupported,
            false => TableProviderFilterPushDown::Exact,
        };
        Ok(filters.iter().map(passes).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let period = Period::of(filters, self.bounds.columns);
        let plan = self.planner.defined(self.definition, (self.bounds.values)(period))?;
        let mut plan = LogicalPlanBuilder::from(plan);
        if let Some(filter) = conjunction(filters.to_vec()) {
            plan = plan.filter(filter)?;
        }
        if let Some(wanted) = projection {
            let columns = wanted.iter().filter_map(|index| self.definition.columns.get(*index));
            plan = plan.project(columns.map(|column| col(column.name)))?;
        }
        let plan = plan.limit(0, limit)?.build()?;
        state.create_physical_plan(&plan).await
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::lit;

    use super::*;

    fn day(day: i32) -> Expr {
        lit(ScalarValue::Date32(Some(day)))
    }

    fn at(us: i64) -> Expr {
        lit(moment(us))
    }

    fn of(filter: &Expr) -> (i64, i64) {
        let period = Period::of(std::slice::from_ref(filter), &["time", "date"]);
        (period.from_us, period.to_us)
    }

    #[test]
    fn conditions_on_times_bound_what_is_read() {
        let time = || col("time");
        assert_eq!(of(&time().gt(at(5)).and(time().lt_eq(at(9)))), (5, 9));
        assert_eq!(of(&at(5).lt(time()).and(time().eq(at(7)))), (7, 7));
        assert_eq!(of(&time().between(at(5), at(9)).and(time().gt(at(6)))), (6, 9));
        assert_eq!(of(&col("date").eq(day(1))), (DAY_US, 2 * DAY_US - 1));
        assert_eq!(of(&col("date").lt_eq(day(0)).and(col("date").gt(day(-1)))), (-DAY_US, DAY_US - 1));
    }

    #[test]
    fn what_bounds_nothing_leaves_all_of_time() {
        let all = (Period::ALL.from_us, Period::ALL.to_us);
        let time = || col("time");
        for filter in [
            time().gt(at(5)).or(col("other").eq(lit(1))),
            time().gt(col("other")),
            time().not_eq(at(5)),
            time().not_between(at(5), at(9)),
            col("other").gt(at(5)),
            time().gt(lit(ScalarValue::TimestampMicrosecond(None, Some("UTC".into())))),
            lit(true),
        ] {
            assert_eq!(of(&filter), all, "{filter}");
        }
    }
}
