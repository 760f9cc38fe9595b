//! `pg_catalog` and `information_schema`: what PostgreSQL's clients look up before they ask anything.
//!
//! ```text
//!   Relation (names, columns, docs) ──────▶ relations ───────────▶ pg_class, pg_attribute, …   ┐ the same for
//!                                      └──▶ information_schema ──▶ tables, columns, schemata   │ everybody,
//!   datafusion-pg-catalog ────────────────▶ pg_type, pg_proc, … as PostgreSQL 16 ships them    ┘ built once
//!   the principal ──▶ pg_roles, current_user                                                    a session's own
//! ```
//!
//! Every session has the same tables and differs only in the rows behind
//! them, so the catalogs are made of the tables' definitions and hold nothing
//! about tenants, files, other principals or the server's configuration. Object
//! ids are constants: a client may look one up in one statement and use it in
//! the next, which runs in a session of its own.

mod information_schema;
mod relations;
mod sheet;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::datasource::TableType;
use datafusion::error::{DataFusionError, Result as EngineResult};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::prelude::SessionContext;
use datafusion_pg_catalog::pg_catalog::catalog_info::CatalogInfo;
use datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_pg_catalog::pg_catalog::generate_series_arg_coercion::CoerceIntArgsToBigInt;
use datafusion_pg_catalog::pg_catalog::oid_type_planner::PgOidTypePlanner;
use datafusion_pg_catalog::pg_catalog::{PgCatalogSchemaProvider, PgCatalogStaticTables};

use crate::catalog::Relation;
use crate::{Principal, QueryError, functions};

/// The one database, and the owner of all that is in it.
pub(crate) const DATABASE: &str = "bailiwick";

/// The object id of the first table; the others follow in the order of `Table::ALL`.
/// PostgreSQL gives ids from 16384 on to what is not its own.
const FIRST_TABLE_OID: i32 = 16_400;
/// The object id of the view, with room for more tables before it.
const VIEW_OID: i32 = 16_500;

/// Adds the system catalogs to a session, and the types and functions that they are asked with.
pub(crate) fn install(context: &SessionContext, principal: &Principal) -> Result<(), QueryError> {
    let name = context.state().config_options().catalog.default_catalog.clone();
    let catalog = context.catalog(&name).ok_or_else(|| QueryError::internal(format!("no catalog {name}")))?;
    let shared = SHARED.as_ref().map_err(|reason| QueryError::internal(reason.clone()))?;
    let roles = relations::roles(shared, principal.name())?;
    let pg_catalog = PgCatalog { shared, roles };
    catalog.register_schema("pg_catalog", Arc::new(pg_catalog))?;
    catalog.register_schema("information_schema", Arc::clone(&shared.information_schema) as _)?;
    for function in functions::of_principal(principal.name()) {
        context.register_udf(function);
    }
    context.register_udtf("pg_get_keywords", Arc::clone(&shared.statics.pg_get_keywords) as _);
    CoerceIntArgsToBigInt::widen(context);
    finish(context);
    Ok(())
}

/// Makes `x::regclass`, `x::oid` and their like parse, and puts this
/// `information_schema` in the place of the engine's, which would show its
/// configuration. Comes last, since it replaces the session's state.
fn finish(context: &SessionContext) {
    let state = context.state_ref();
    let mut state = state.write();
    state.config_mut().options_mut().catalog.information_schema = false;
    let planner = Arc::new(PgOidTypePlanner);
    *state = SessionStateBuilder::new_from_existing(state.clone()).with_type_planner(planner).build();
}

/// A relation's object id.
fn oid_of(relation: Relation) -> i32 {
    match relation {
        Relation::Table(table) => FIRST_TABLE_OID + table as i32,
        Relation::SyscallsNamed => VIEW_OID,
    }
}

/// The relation that has an object id, if it is one of ours.
pub(crate) fn relation_of_oid(oid: i64) -> Option<Relation> {
    Relation::all().find(|relation| i64::from(oid_of(*relation)) == oid)
}

// === what all sessions share ===

type Upstream = PgCatalogSchemaProvider<Nothing, EmptyContextProvider>;

#[derive(Debug)]
struct Shared {
    upstream: Upstream,
    statics: Arc<PgCatalogStaticTables>,
    /// Tables of `pg_catalog` that take the place of upstream's.
    relations: BTreeMap<&'static str, Arc<dyn TableProvider>>,
    information_schema: Arc<Frozen>,
}

static SHARED: LazyLock<Result<Shared, String>> =
    LazyLock::new(|| Shared::new().map_err(|error| error.to_string()));

// === impl Shared ===

impl Shared {
    fn new() -> EngineResult<Self> {
        let statics = Arc::new(PgCatalogStaticTables::try_new()?);
        let upstream = Upstream::try_new(Nothing, Arc::clone(&statics), EmptyContextProvider)?;
        let relations = relations::tables(&upstream)?;
        let information_schema = Arc::new(Frozen { tables: information_schema::tables()? });
        Ok(Self { upstream, statics, relations, information_schema })
    }
}

/// PostgreSQL's own catalog as one principal sees it.
#[derive(Debug)]
struct PgCatalog {
    shared: &'static Shared,
    roles: Arc<dyn TableProvider>,
}

// === impl PgCatalog ===

#[async_trait]
impl SchemaProvider for PgCatalog {
    fn table_names(&self) -> Vec<String> {
        self.shared.upstream.table_names()
    }

    async fn table(&self, name: &str) -> EngineResult<Option<Arc<dyn TableProvider>>> {
        if name == "pg_roles" {
            return Ok(Some(Arc::clone(&self.roles)));
        }
        match self.shared.relations.get(name) {
            Some(table) => Ok(Some(Arc::clone(table))),
            None => self.shared.upstream.table(name).await,
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.shared.upstream.table_exist(name)
    }
}

/// A schema of tables that nobody adds to.
#[derive(Debug)]
struct Frozen {
    tables: BTreeMap<&'static str, Arc<dyn TableProvider>>,
}

// === impl Frozen ===

#[async_trait]
impl SchemaProvider for Frozen {
    fn table_names(&self) -> Vec<String> {
        self.tables.keys().map(ToString::to_string).collect()
    }

    async fn table(&self, name: &str) -> EngineResult<Option<Arc<dyn TableProvider>>> {
        Ok(self.tables.get(name).map(Arc::clone))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables.contains_key(name)
    }
}

/// Upstream's tables about relations are replaced, so it is given none to list.
#[derive(Debug, Clone)]
struct Nothing;

// === impl Nothing ===

#[async_trait]
impl CatalogInfo for Nothing {
    async fn catalog_names(&self) -> EngineResult<Vec<String>> {
        Ok(Vec::new())
    }

    async fn schema_names(&self, _: &str) -> EngineResult<Option<Vec<String>>> {
        Ok(None)
    }

    async fn table_names(&self, _: &str, _: &str) -> EngineResult<Option<Vec<String>>> {
        Ok(None)
    }

    async fn table_schema(&self, _: &str, _: &str, _: &str) -> EngineResult<Option<SchemaRef>> {
        Ok(None)
    }

    async fn table_type(&self, _: &str, _: &str, _: &str) -> EngineResult<Option<TableType>> {
        Ok(None)
    }
}

/// The columns of one of upstream's tables. Access lists are lists here, as
/// psql takes them apart, and two columns of `pg_class` that it asks for are added.
fn upstream_schema(upstream: &Upstream, name: &str) -> EngineResult<SchemaRef> {
    let missing = || DataFusionError::Internal(format!("datafusion-pg-catalog has no {name}"));
    let schema = upstream.build_table_by_name(name)?.ok_or_else(missing)?.schema();
    let texts = || DataType::new_list(DataType::Utf8, true);
    let field = |field: &Arc<Field>| match field.name().ends_with("acl") {
        true => Field::new(field.name(), texts(), true),
        false => field.as_ref().clone(),
    };
    let mut fields: Vec<Field> = schema.fields().iter().map(field).collect();
    if name == "pg_class" {
        fields.extend(["relacl", "reloptions"].map(|name| Field::new(name, texts(), true)));
    }
    Ok(Arc::new(Schema::new(fields)))
}

#[cfg(test)]
mod tests;
