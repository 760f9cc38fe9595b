//! `falco_matches('rule name')`: a rule's matches, as rows of `alerts` would be.
//!
//! ```text
//!   WHERE time > …, tenant = … ─┐
//!   evt_type IN (the rule's) ───┴▶ scan of the session's table ─▶ rules ─▶ alerts' columns
//! ```
//!
//! Conditions on columns that an alert takes over from its event reach the scan,
//! so that a day's matches cost a day's files.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bailiwick_proto::Table;
use bailiwick_rules::{Alert, Match, Matching, RuleSet, Rulebook, Source};
use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array};
use datafusion::arrow::compute::{cast, take};
use datafusion::arrow::datatypes::{Field, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::plan_datafusion_err;
use datafusion::datasource::provider_as_source;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, TableProviderFilterPushDown, TableType, col, lit};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::union::UnionExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, Partitioning, PlanProperties,
};
use futures::StreamExt;

use super::{RulesInUse, event_types};
use crate::catalog::Tables;
use crate::text;

/// The function's name.
pub(crate) const NAME: &str = "falco_matches";
/// What the rows' `mode` says.
const MODE: &str = "backtest";

/// The columns that an alert has of its event, under the same name.
const OF_EVENT: [&str; 9] =
    ["tenant", "date", "time", "ingest_time", "node", "cluster", "exec_id", "container_id", "audit_id"];

/// The function over one session's tables.
#[derive(Debug)]
pub(crate) struct FalcoMatches {
    tables: Tables,
    rules: RulesInUse,
}

/// One call: rules over a session's tables.
#[derive(Debug)]
struct Matches {
    tables: Tables,
    book: Arc<Rulebook>,
}

/// Makes alerts of the rows of its input.
#[derive(Debug)]
struct MatchesExec {
    input: Arc<dyn ExecutionPlan>,
    source: Source,
    book: Arc<Rulebook>,
    properties: Arc<PlanProperties>,
}

// === impl FalcoMatches ===

impl FalcoMatches {
    /// Rules by name, over these tables and no others.
    pub(crate) fn new(tables: Tables, rules: RulesInUse) -> Self {
        Self { tables, rules }
    }
}

impl TableFunctionImpl for FalcoMatches {
    fn call_with_args(&self, args: TableFunctionArgs) -> DfResult<Arc<dyn TableProvider>> {
        let rules = self.rules.get();
        let chosen = match args.exprs() {
            [] => RuleSet::clone(&rules),
            [Expr::Literal(name, _)] => only(&rules, name.try_as_str().flatten().unwrap_or_default())?,
            // Only described, not run.
            [Expr::Placeholder(_)] => RuleSet::clone(&rules),
            _ => return Err(plan_datafusion_err!("{NAME} takes the name of one rule, as a text")),
        };
        Ok(Arc::new(Matches { tables: self.tables.clone(), book: Arc::new(Rulebook::new(&chosen)) }))
    }
}

/// The rule of this name by itself, also where it is disabled: nothing is
/// alerted by looking.
fn only(rules: &RuleSet, name: &str) -> DfResult<RuleSet> {
    let Some(rule) = rules.get(name) else {
        let name: String = name.chars().take(200).collect();
        return Err(plan_datafusion_err!(
            "no rule {name:?} is loaded; SELECT DISTINCT rule FROM {NAME}() lists those that match something"
        ));
    };
    let mut rule = rule.clone();
    rule.enabled = true;
    Ok(rules.with_rules(vec![rule]))
}

// === impl Matches ===

impl Matches {
    /// The rows of a source's table that its rules have to see.
    async fn events(
        &self,
        source: Source,
        state: &dyn Session,
        filters: &[Expr],
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let table = source.table();
        let rows = provider_as_source(self.tables.of(table)?);
        let mut plan = LogicalPlanBuilder::scan(table.name(), rows, None)?;
        if let Some(types) = event_types(self.book.compiled(source)).filter(|_| source == Source::Syscall) {
            plan = plan.filter(col("evt_type").in_list(types.into_iter().map(lit).collect(), false))?;
        }
        for filter in filters {
            plan = plan.filter(filter.clone())?;
        }
        let mut columns = self.book.columns(source);
        columns.extend(OF_EVENT.iter().filter(|name| has(table, name)));
        columns.sort_unstable();
        columns.dedup();
        let plan = plan.project(columns.into_iter().map(col))?.build()?;
        state.create_physical_plan(&plan).await
    }
}

#[async_trait]
impl TableProvider for Matches {
    fn schema(&self) -> SchemaRef {
        Table::Alerts.public_schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DfResult<Vec<TableProviderFilterPushDown>> {
        let sources = self.sources();
        // A condition that one of the tables cannot answer stays above all of them.
        let everywhere =
            |name: &str| OF_EVENT.contains(&name) && sources.iter().all(|source| has(source.table(), name));
        let passes = |filter: &&Expr| match filter.column_refs().iter().all(|column| everywhere(&column.name))
        {
            true if !filter.is_volatile() => TableProviderFilterPushDown::Inexact,
            _ => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(passes).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(wanted) => Arc::new(self.schema().project(wanted)?),
            None => self.schema(),
        };
        let mut parts: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        for source in self.sources() {
            let events = self.events(source, state, filters).await?;
            parts.push(Arc::new(MatchesExec::new(events, source, Arc::clone(&self.book), schema.clone())));
        }
        match parts.pop() {
            None => Ok(Arc::new(datafusion::physical_plan::empty::EmptyExec::new(schema))),
            Some(only) if parts.is_empty() => Ok(only),
            Some(last) => UnionExec::try_new(parts.into_iter().chain([last]).collect()),
        }
    }
}

impl Matches {
    /// The sources that have rules.
    fn sources(&self) -> Vec<Source> {
        Source::ALL.into_iter().filter(|source| !self.book.compiled(*source).is_empty()).collect()
    }
}

fn has(table: Table, name: &str) -> bool {
    table.public_schema().column_with_name(name).is_some()
}

// === impl MatchesExec ===

impl MatchesExec {
    fn new(input: Arc<dyn ExecutionPlan>, source: Source, book: Arc<Rulebook>, schema: SchemaRef) -> Self {
        let partitions = Partitioning::UnknownPartitioning(input.output_partitioning().partition_count());
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            partitions,
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self { input, source, book, properties: Arc::new(properties) }
    }
}

impl DisplayAs for MatchesExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FalcoMatchesExec: source={}, rules={}", self.source, self.book.compiled(self.source).len())
    }
}

impl ExecutionPlan for MatchesExec {
    fn name(&self) -> &'static str {
        "FalcoMatchesExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(
            &Arc<dyn datafusion::physical_expr::PhysicalExpr>,
        ) -> DfResult<datafusion::common::tree_node::TreeNodeRecursion>,
    ) -> DfResult<datafusion::common::tree_node::TreeNodeRecursion> {
        Ok(datafusion::common::tree_node::TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let input = children.into_iter().next();
        let input = input.ok_or_else(|| DataFusionError::Internal("matches of nothing".to_owned()))?;
        Ok(Arc::new(Self::new(input, self.source, Arc::clone(&self.book), self.schema())))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let events = text::plain_stream(self.input.execute(partition, context)?);
        let (source, book, schema) = (self.source, Arc::clone(&self.book), self.schema());
        let alerts = events.map(move |batch| Ok(alerts(&batch?, source, &book, &schema)?));
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), alerts)))
    }
}

/// The alerts of a batch of events, with the columns that are asked for.
fn alerts(
    events: &RecordBatch,
    source: Source,
    book: &Rulebook,
    schema: &SchemaRef,
) -> Result<RecordBatch, ArrowError> {
    let found = book.matches(source, events, Matching::All);
    let rows: UInt32Array = found.iter().map(|found| u32::try_from(found.row).ok()).collect();
    let made = made(events, source, book, schema, &found)?;
    let column = |field: &Arc<Field>| -> Result<ArrayRef, ArrowError> {
        let name = field.name().as_str();
        let column = match events.column_by_name(name).filter(|_| OF_EVENT.contains(&name)) {
            Some(column) => take(column, &rows, None)?,
            None => match made.as_ref().and_then(|made| made.column_by_name(name)) {
                Some(column) => Arc::clone(column),
                None => new_null_array(field.data_type(), found.len()),
            },
        };
        cast(&column, field.data_type())
    };
    let columns = schema.fields().iter().map(column).collect::<Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(found.len()));
    RecordBatch::try_new_with_options(schema.clone(), columns, &options)
}

/// What is not of the event itself; a question that counts needs none of it.
fn made(
    events: &RecordBatch,
    source: Source,
    book: &Rulebook,
    schema: &SchemaRef,
    found: &[Match],
) -> Result<Option<RecordBatch>, ArrowError> {
    if found.is_empty() || schema.fields().iter().all(|field| OF_EVENT.contains(&field.name().as_str())) {
        return Ok(None);
    }
    let alerts: Vec<Arc<Alert>> =
        found.iter().map(|found| Arc::new(book.alert(source, events, *found, MODE))).collect();
    Alert::batch(&alerts).map(Some)
}
