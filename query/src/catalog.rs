//! A principal's catalog: tables, each made of its partitions and nothing else, and a view over them.
//!
//! Files and WAL rows of other tenants are left out before a scan exists. A
//! filter over a scan that had them would leak: the engine may evaluate the
//! user's own expressions first, and their errors quote values. What a principal
//! may not see of its own tenants' rows is kept back by a filter below a barrier.

mod barrier;
mod cannot_fail;
mod files;
mod named;
mod relation;
mod sight;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bailiwick_lake::{DataFile, Lake, to_public_columns};
use bailiwick_proto::Table;
use datafusion::arrow::array::{AsArray, BooleanArray, RecordBatch, StringArray};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{Int32Type, SchemaRef};
use datafusion::catalog::memory::MemoryCatalogProviderList;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, SchemaProvider, Session, TableProvider,
};
use datafusion::common::DFSchema;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::filter::FilterExecBuilder;
use datafusion::physical_plan::union::UnionExec;
use tokio::sync::OnceCell;

pub use named::LATE_COLUMNS;
pub(crate) use relation::Relation;

use crate::views::Planner;
use crate::{Principal, QueryError, Scope, text};
use barrier::BarrierExec;
use cannot_fail::cannot_fail;
use sight::{Sight, is_vetted};

/// The one catalog.
pub(crate) const CATALOG: &str = "bailiwick";
/// The schema that names resolve in.
pub(crate) const SCHEMA: &str = "public";
/// As what plans name the bucket.
pub(crate) const STORE_URL: &str = "bailiwick://bucket";

/// The tables of one session. Clones are the same tables at the same moment.
#[derive(Debug, Clone)]
pub(crate) struct Tables {
    tables: BTreeMap<&'static str, Arc<dyn TableProvider>>,
}

/// What names stand for in one session.
#[derive(Debug)]
struct Relations {
    planner: Planner,
}

/// One table as one principal sees it.
#[derive(Debug)]
struct Partitions {
    table: Table,
    lake: Arc<Lake>,
    scope: Scope,
    sight: Sight,
    /// Set by the first scan, so that a statement sees one moment of the table.
    pinned: OnceCell<Pinned>,
}

/// What of a table is in sight, as of one moment.
#[derive(Debug)]
struct Pinned {
    files: Vec<DataFile>,
    wal: Vec<RecordBatch>,
}

/// A catalog of what the principal may see, in which views are planned by `template`.
/// Reads nothing yet.
pub(crate) fn of(
    lake: &Arc<Lake>,
    principal: &Principal,
    template: &Arc<SessionState>,
) -> Result<(Arc<dyn CatalogProviderList>, Planner), QueryError> {
    let tables = Table::ALL.into_iter().map(|table| {
        let (lake, scope) = (Arc::clone(lake), principal.scope().clone());
        let sight = Sight::of(principal, table);
        let partitions = Partitions { table, lake, scope, sight, pinned: OnceCell::new() };
        (table.name(), Arc::new(partitions) as Arc<dyn TableProvider>)
    });
    let planner = Planner::new(Arc::clone(template), Tables { tables: tables.collect() });
    let catalog = MemoryCatalogProvider::new();
    catalog.register_schema(SCHEMA, relations(planner.clone()))?;
    let catalogs = MemoryCatalogProviderList::new();
    catalogs.register_catalog(CATALOG.to_owned(), Arc::new(catalog));
    Ok((Arc::new(catalogs), planner))
}

/// The schema of a session's tables and of the views over them.
pub(crate) fn relations(planner: Planner) -> Arc<dyn SchemaProvider> {
    Arc::new(Relations { planner })
}

// === impl Tables ===

impl Tables {
    /// One of them.
    pub(crate) fn of(&self, table: Table) -> DfResult<Arc<dyn TableProvider>> {
        let found = self.tables.get(table.name()).map(Arc::clone);
        found.ok_or_else(|| DataFusionError::Internal(format!("a session without {table}")))
    }
}

// === impl Relations ===

#[async_trait]
impl SchemaProvider for Relations {
    fn table_names(&self) -> Vec<String> {
        Relation::all().map(|relation| relation.name().to_owned()).collect()
    }

    async fn table(&self, name: &str) -> DfResult<Option<Arc<dyn TableProvider>>> {
        let tables = self.planner.tables();
        match Relation::all().find(|relation| relation.name() == name) {
            Some(Relation::Table(table)) => tables.of(table).map(Some),
            Some(Relation::SyscallsNamed) => {
                named::view(tables.of(Table::Syscalls)?, tables.of(Table::Containers)?).map(Some)
            }
            Some(Relation::View(view)) => view.provider(&self.planner).map(Some),
            None => Ok(None),
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        Relation::all().any(|relation| relation.name() == name)
    }
}

// === impl Partitions ===

impl Partitions {
    async fn pin(&self) -> DfResult<Pinned> {
        let view =
            self.lake.view(self.table).await.map_err(|error| DataFusionError::External(Box::new(error)))?;
        let mut files = view.files;
        files.retain(|file| self.scope.sees(file.tenant.as_str()));
        let wal =
            view.wal.into_iter().map(|batch| in_sight(&self.scope, batch)).collect::<DfResult<Vec<_>>>()?;
        let wal = wal.into_iter().filter(|batch| batch.num_rows() > 0).collect();
        Ok(Pinned { files, wal })
    }

    fn predicate(&self, state: &dyn Session, filters: &[Expr]) -> DfResult<Option<Arc<dyn PhysicalExpr>>> {
        let Some(filter) = conjunction(filters.to_vec()) else { return Ok(None) };
        let schema = DFSchema::try_from(self.schema())?;
        state.create_physical_expr(filter, &schema).map(Some)
    }

    /// All rows of the partitions, files and WAL.
    async fn every(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let pinned = self.pinned.get_or_try_init(|| self.pin()).await?;
        let predicate = self.predicate(state, filters)?;
        let files = files::prune(self.table, &pinned.files, predicate.as_ref())?;
        let schema = self.schema();
        let (below, above): (Vec<Expr>, Vec<Expr>) =
            filters.iter().cloned().partition(|filter| cannot_fail(filter, &schema));
        let predicate = if above.is_empty() { predicate } else { self.predicate(state, &below)? };
        let mut parts: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
        if !files.is_empty() {
            parts.push(files::scan(self.table, state, &files, projection, predicate, limit)?);
        }
        if !pinned.wal.is_empty() || parts.is_empty() {
            let all = || (0..schema.fields().len()).collect();
            let wanted: Vec<usize> = projection.cloned().unwrap_or_else(all);
            let schema = Arc::new(schema.project(&wanted)?);
            let viewed = |batch| text::rows(&to_public_columns(self.table, batch, &wanted)?, &schema);
            let wal: Vec<RecordBatch> = pinned.wal.iter().map(viewed).collect::<Result<_, _>>()?;
            let wal = MemorySourceConfig::try_new(&[wal], schema, None)?.with_limit(limit);
            parts.push(datafusion::datasource::source::DataSourceExec::from_data_source(wal));
        }
        let rows = match parts.pop() {
            Some(only) if parts.is_empty() => Ok(only),
            Some(last) => UnionExec::try_new(parts.into_iter().chain([last]).collect()),
            None => Err(DataFusionError::Internal("a scan of nothing".to_owned())),
        };
        // What stays above would be pushed into the scan after all.
        match above.is_empty() {
            true => rows,
            false => Ok(Arc::new(BarrierExec::new(rows?))),
        }
    }

    /// The rows for which a condition is true; whatever comes on top sees no other.
    async fn behind_barrier(
        &self,
        condition: &Expr,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let schema = self.schema();
        let all = || (0..schema.fields().len()).collect();
        let wanted: Vec<usize> = projection.cloned().unwrap_or_else(all);
        let mut read = wanted.clone();
        for column in condition.column_refs() {
            let index = schema.index_of(&column.name)?;
            if !read.contains(&index) {
                read.push(index);
            }
        }
        let vetted: Vec<Expr> =
            filters.iter().filter(|filter| is_vetted(self.table, filter)).cloned().collect();
        // A limit below the condition would count hidden rows.
        let rows = self.every(state, Some(&read), &vetted, None).await?;
        let columns = DFSchema::try_from(rows.schema())?;
        let condition = state.create_physical_expr(condition.clone(), &columns)?;
        let kept = (read.len() > wanted.len()).then(|| (0..wanted.len()).collect());
        let kept = FilterExecBuilder::new(condition, rows).apply_projection(kept)?.build()?;
        Ok(Arc::new(BarrierExec::new(Arc::new(kept))))
    }
}

#[async_trait]
impl TableProvider for Partitions {
    fn schema(&self) -> SchemaRef {
        text::of_table(self.table)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DfResult<Vec<TableProviderFilterPushDown>> {
        // Whole files and row groups are left out by them; rows are the engine's.
        let below = |filter: &&Expr| match self.sight {
            Sight::All => true,
            Sight::Where(_) => is_vetted(self.table, filter),
            Sight::Nothing => false,
        };
        let answer = |below| match below {
            true => TableProviderFilterPushDown::Inexact,
            false => TableProviderFilterPushDown::Unsupported,
        };
        Ok(filters.iter().map(|filter| answer(below(filter))).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        match &self.sight {
            Sight::All => self.every(state, projection, filters, limit).await,
            Sight::Where(condition) => self.behind_barrier(condition, state, projection, filters).await,
            Sight::Nothing => {
                let schema = match projection {
                    Some(wanted) => Arc::new(self.schema().project(wanted)?),
                    None => self.schema(),
                };
                Ok(Arc::new(EmptyExec::new(schema)))
            }
        }
    }
}

/// The rows of a batch whose tenant is in sight.
fn in_sight(scope: &Scope, batch: RecordBatch) -> DfResult<RecordBatch> {
    if *scope == Scope::All {
        return Ok(batch);
    }
    let tenants = batch.column_by_name("tenant").and_then(|column| column.as_dictionary_opt::<Int32Type>());
    let tenants = tenants.and_then(|tenants| tenants.downcast_dict::<StringArray>());
    let tenants = tenants.ok_or_else(|| DataFusionError::Internal("wal rows without a tenant".to_owned()))?;
    let seen: BooleanArray =
        tenants.into_iter().map(|tenant| Some(tenant.is_some_and(|name| scope.sees(name)))).collect();
    match seen.true_count() == batch.num_rows() {
        true => Ok(batch),
        false => Ok(filter_record_batch(&batch, &seen)?),
    }
}
