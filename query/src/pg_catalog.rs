//! `pg_catalog` and `information_schema`: what PostgreSQL's clients look up before they ask anything.
//!
//! ```text
//!   Relation (names, columns, docs) ──────▶ relations ───────────▶ pg_class, pg_attribute, …   ┐ the same for
//!                                      └──▶ information_schema ──▶ tables, columns, schemata   │ everybody,
//!   datafusion-pg-catalog ────────────────▶ pg_type, pg_proc, … as PostgreSQL 16 ships them    │ built once
//!   empty.txt ────────────────────────────▶ pg_locks, triggers, … which have no rows           ┘
//!   the principal ──▶ pg_roles, current_user                                                    a session's own
//! ```
//!
//! Every session has the same tables and differs only in the rows behind
//! them, so the catalogs are made of the tables' definitions and hold nothing
//! about tenants, files, other principals or the server's configuration. Object
//! ids are constants: a client may look one up in one statement and use it in
//! the next, which runs in a session of its own.

mod empty;
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

/// Catalogs of upstream's that have no rows here: what Bailiwick has none of, and
/// what speaks of relations of PostgreSQL's own, which are not listed.
const EMPTY: &[&str] = &[
    "pg_amproc",
    "pg_attrdef",
    "pg_auth_members",
    "pg_authid",
    "pg_constraint",
    "pg_db_role_setting",
    "pg_default_acl",
    "pg_depend",
    "pg_enum",
    "pg_event_trigger",
    "pg_extension",
    "pg_foreign_data_wrapper",
    "pg_foreign_server",
    "pg_foreign_table",
    "pg_index",
    "pg_inherits",
    "pg_init_privs",
    "pg_largeobject",
    "pg_largeobject_metadata",
    "pg_matviews",
    "pg_partitioned_table",
    "pg_policy",
    "pg_publication",
    "pg_publication_namespace",
    "pg_publication_rel",
    "pg_replication_origin",
    "pg_replication_slots",
    "pg_rewrite",
    "pg_seclabel",
    "pg_sequence",
    "pg_shdepend",
    "pg_shdescription",
    "pg_shseclabel",
    "pg_stat_gssapi",
    "pg_stat_user_tables",
    "pg_statistic",
    "pg_statistic_ext",
    "pg_statistic_ext_data",
    "pg_subscription",
    "pg_subscription_rel",
    "pg_trigger",
    "pg_user_mapping",
];

/// Catalogs that upstream does not have, with rows.
pub(crate) const OWN: [&str; 2] = ["pg_user", "pg_timezone_names"];

/// Object ids of PostgreSQL's own catalogs, by which comments and dependencies name them.
const CATALOG_OIDS: &[(&str, i32)] = &[
    ("pg_type", 1247),
    ("pg_attribute", 1249),
    ("pg_proc", 1255),
    ("pg_class", 1259),
    ("pg_authid", 1260),
    ("pg_auth_members", 1261),
    ("pg_database", 1262),
    ("pg_tablespace", 1213),
    ("pg_am", 2601),
    ("pg_attrdef", 2604),
    ("pg_cast", 2605),
    ("pg_constraint", 2606),
    ("pg_conversion", 2607),
    ("pg_description", 2609),
    ("pg_index", 2610),
    ("pg_inherits", 2611),
    ("pg_language", 2612),
    ("pg_namespace", 2615),
    ("pg_opclass", 2616),
    ("pg_operator", 2617),
    ("pg_rewrite", 2618),
    ("pg_trigger", 2620),
    ("pg_opfamily", 2753),
    ("pg_extension", 3079),
    ("pg_policy", 3256),
    ("pg_collation", 3456),
    ("pg_event_trigger", 3466),
    ("pg_enum", 3501),
    ("pg_ts_dict", 3600),
    ("pg_ts_parser", 3601),
    ("pg_ts_config", 3602),
    ("pg_ts_template", 3764),
    ("pg_publication", 6104),
    ("pg_subscription", 6100),
];

/// The one database, and the owner of all that is in it.
pub(crate) const DATABASE: &str = "bailiwick";

/// The object id of the first table; the others follow in the order of `Table::ALL`.
/// PostgreSQL gives ids from 16384 on to what is not its own.
const FIRST_TABLE_OID: i32 = 16_400;
/// The object id of the first view, with room for more tables before it.
const VIEW_OID: i32 = 16_500;

/// Whether a table of the catalogs has no rows for anybody.
pub(crate) fn is_empty(schema: &str, table: &str) -> bool {
    let named = |known: &&str| known.eq_ignore_ascii_case(table);
    match schema {
        "pg_catalog" => EMPTY.iter().any(named) || empty::names(schema).any(|known| named(&known)),
        _ => empty::names(schema).any(|known| named(&known)),
    }
}

/// Adds the system catalogs to a session, and the types and functions that they are asked with.
pub(crate) fn install(context: &SessionContext, principal: &Principal) -> Result<(), QueryError> {
    let name = context.state().config_options().catalog.default_catalog.clone();
    let catalog = context.catalog(&name).ok_or_else(|| QueryError::internal(format!("no catalog {name}")))?;
    let shared = SHARED.as_ref().map_err(|reason| QueryError::internal(reason.clone()))?;
    let roles = relations::roles(shared, principal.name())?;
    let user = relations::user(principal.name())?;
    let pg_catalog = PgCatalog { shared, roles, user };
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
        Relation::View(view) => VIEW_OID + 1 + view as i32,
    }
}

/// The object id of a relation, one of PostgreSQL's own catalogs included.
pub(crate) fn oid_of_name(name: &str) -> Option<i32> {
    let own = Relation::all().find(|relation| relation.name() == name).map(oid_of);
    own.or_else(|| CATALOG_OIDS.iter().find(|(known, _)| *known == name).map(|(_, oid)| *oid))
}

/// The object id of a schema.
pub(crate) fn oid_of_schema(name: &str) -> Option<i32> {
    relations::NAMESPACES.iter().find(|(known, _)| *known == name).map(|(_, oid)| *oid)
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
        let mut relations = empty::tables("pg_catalog")?;
        for name in EMPTY {
            relations.insert(name, sheet::table(upstream_schema(&upstream, name)?, &[])?);
        }
        relations.extend(relations::tables(&upstream)?);
        let information_schema = Arc::new(Frozen { tables: information_schema::tables()? });
        Ok(Self { upstream, statics, relations, information_schema })
    }
}

/// PostgreSQL's own catalog as one principal sees it.
#[derive(Debug)]
struct PgCatalog {
    shared: &'static Shared,
    roles: Arc<dyn TableProvider>,
    user: Arc<dyn TableProvider>,
}

// === impl PgCatalog ===

#[async_trait]
impl SchemaProvider for PgCatalog {
    fn table_names(&self) -> Vec<String> {
        let mut names = self.shared.upstream.table_names();
        names.extend(self.shared.relations.keys().chain(&OWN).map(ToString::to_string));
        names.sort();
        names.dedup();
        names
    }

    async fn table(&self, name: &str) -> EngineResult<Option<Arc<dyn TableProvider>>> {
        match name {
            "pg_roles" => return Ok(Some(Arc::clone(&self.roles))),
            "pg_user" => return Ok(Some(Arc::clone(&self.user))),
            _ => {}
        }
        match self.shared.relations.get(name) {
            Some(table) => Ok(Some(Arc::clone(table))),
            None => self.shared.upstream.table(name).await,
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        OWN.contains(&name)
            || self.shared.relations.contains_key(name)
            || self.shared.upstream.table_exist(name)
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
