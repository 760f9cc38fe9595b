//! Statements of our own, planned over one session's tables.

use std::borrow::Cow;
use std::sync::Arc;

use bailiwick_proto::Column;
use datafusion::catalog::memory::MemoryCatalogProviderList;
use datafusion::catalog::view::ViewTable;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, MemoryCatalogProvider, TableProvider};
use datafusion::common::config::Dialect;
use datafusion::common::{DataFusionError, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder, cast, col};
use futures::FutureExt;

use super::{Definition, schema};
use crate::catalog::{CATALOG, SCHEMA, Tables, relations};
use crate::text;

/// Values for a statement's `$name`s.
pub(super) type Values = Vec<(Cow<'static, str>, ScalarValue)>;

/// Plans statements over the tables of one session. Clones plan over the same.
#[derive(Clone)]
pub(crate) struct Planner {
    template: Arc<SessionState>,
    tables: Tables,
}

// === impl Planner ===

impl Planner {
    /// A planner over these tables and no others.
    pub(crate) fn new(template: Arc<SessionState>, tables: Tables) -> Self {
        Self { template, tables }
    }

    /// The session's tables.
    pub(crate) fn tables(&self) -> &Tables {
        &self.tables
    }

    /// A statement with its values.
    pub(super) fn plan(&self, sql: &str, values: Values) -> DfResult<LogicalPlan> {
        let state = self.state()?;
        let statement = state.sql_to_statement(sql, &Dialect::PostgreSQL)?;
        let plan = state.statement_to_plan(statement).now_or_never();
        // To look a table up waits for nothing here.
        let plan =
            plan.ok_or_else(|| DataFusionError::Internal("a view's tables are not there".into()))??;
        plan.with_param_values(values)
    }

    /// A definition's statement, with the columns that it promises.
    pub(super) fn defined(&self, definition: &Definition, values: Values) -> DfResult<LogicalPlan> {
        typed(self.plan(definition.sql, values)?, definition.columns)
    }

    /// The same as a table.
    pub(super) fn view(&self, definition: &Definition, values: Values) -> DfResult<Arc<dyn TableProvider>> {
        Ok(Arc::new(ViewTable::new(self.defined(definition, values)?, None)))
    }

    /// A state that names these tables, to plan with and to run what it planned.
    pub(super) fn state(&self) -> DfResult<SessionState> {
        let catalog = MemoryCatalogProvider::new();
        catalog.register_schema(SCHEMA, relations(self.clone()))?;
        let catalogs = MemoryCatalogProviderList::new();
        catalogs.register_catalog(CATALOG.to_owned(), Arc::new(catalog));
        let template = SessionState::clone(&self.template);
        let mut state =
            SessionStateBuilder::new_from_existing(template).with_catalog_list(Arc::new(catalogs)).build();
        state.mark_start_execution();
        Ok(state)
    }
}

impl std::fmt::Debug for Planner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Planner").finish_non_exhaustive()
    }
}

/// A plan's columns by name, in the promised order and types.
fn typed(plan: LogicalPlan, columns: &[Column]) -> DfResult<LogicalPlan> {
    let promised = text::viewed(&schema(columns));
    let mut wanted = Vec::with_capacity(columns.len());
    for field in promised.fields() {
        let column = col(field.name().as_str());
        let (_, found) = plan.schema().qualified_field_with_unqualified_name(field.name())?;
        let column = match found.data_type() == field.data_type() {
            true => column,
            false => cast(column, field.data_type().clone()),
        };
        wanted.push(column.alias(field.name()));
    }
    LogicalPlanBuilder::from(plan).project(wanted)?.build()
}
