//! What there is: catalogs, schemas, tables and their keys, as the principal sees them.

use std::sync::Arc;

use arrow_flight::sql::{
    Any, Command, CommandGetCatalogs, CommandGetDbSchemas, CommandGetTableTypes, CommandGetTables,
    ProstMessageExt,
};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::DataType::{Int32, UInt8, Utf8};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::logical_expr::TableType;

use super::info::Infos;
use crate::catalog::CATALOG;
use crate::columns::public_schema;
use crate::{Code, Engine, Principal, QueryError};

/// Kinds of tables, in the order in which they are listed.
const SYSTEM_TABLE: &str = "SYSTEM TABLE";
const TABLE: &str = "TABLE";
const VIEW: &str = "VIEW";
/// The schemas of catalogs; what stands in them is no data.
const SYSTEM_SCHEMAS: [&str; 2] = ["information_schema", "pg_catalog"];

/// A command that asks about the catalog.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Asked(Command);

// === impl Asked ===

impl Asked {
    /// `None` if it asks something else.
    pub(super) fn of(command: Command) -> Option<Self> {
        match command {
            Command::CommandGetCatalogs(_)
            | Command::CommandGetDbSchemas(_)
            | Command::CommandGetTables(_)
            | Command::CommandGetTableTypes(_)
            | Command::CommandGetPrimaryKeys(_)
            | Command::CommandGetExportedKeys(_)
            | Command::CommandGetImportedKeys(_)
            | Command::CommandGetCrossReference(_)
            | Command::CommandGetSqlInfo(_)
            | Command::CommandGetXdbcTypeInfo(_) => Some(Self(command)),
            _ => None,
        }
    }

    /// As a ticket, which is the question itself: it is answered anew to whoever asks.
    pub(super) fn into_any(self) -> Any {
        self.0.into_any()
    }

    /// The answer's columns.
    pub(super) fn schema(&self) -> SchemaRef {
        match &self.0 {
            Command::CommandGetCatalogs(command) => command.into_builder().schema(),
            Command::CommandGetDbSchemas(command) => command.clone().into_builder().schema(),
            Command::CommandGetTables(command) => command.clone().into_builder().schema(),
            Command::CommandGetTableTypes(command) => command.into_builder().schema(),
            Command::CommandGetPrimaryKeys(_) => primary_keys(),
            Command::CommandGetSqlInfo(_) => Infos::sql_schema(),
            Command::CommandGetXdbcTypeInfo(_) => Infos::xdbc_schema(),
            _ => foreign_keys(),
        }
    }

    pub(super) async fn answer(
        self,
        engine: &Engine,
        principal: &Principal,
        infos: &Infos,
    ) -> Result<RecordBatch, QueryError> {
        let built = match self.0 {
            Command::CommandGetCatalogs(command) => catalogs(command),
            Command::CommandGetDbSchemas(command) => schemas(command, engine, principal).await?,
            Command::CommandGetTables(command) => tables(command, engine, principal).await?,
            Command::CommandGetTableTypes(command) => table_types(command),
            Command::CommandGetSqlInfo(command) => infos.sql(command),
            Command::CommandGetXdbcTypeInfo(command) => infos.xdbc(command),
            keys => return Ok(RecordBatch::new_empty(Self(keys).schema())),
        };
        // What is wrong then is a pattern: everything else is ours.
        built.map_err(|error| QueryError::new(Code::BadRequest, "the filter cannot be used").because(error))
    }
}

type Built = Result<RecordBatch, arrow_flight::error::FlightError>;

fn catalogs(command: CommandGetCatalogs) -> Built {
    let mut builder = command.into_builder();
    builder.append(CATALOG);
    builder.build()
}

fn table_types(command: CommandGetTableTypes) -> Built {
    let mut builder = command.into_builder();
    for kind in [SYSTEM_TABLE, TABLE, VIEW] {
        builder.append(kind);
    }
    builder.build()
}

async fn schemas(
    command: CommandGetDbSchemas,
    engine: &Engine,
    principal: &Principal,
) -> Result<Built, QueryError> {
    let session = engine.session(principal).await?;
    let mut builder = command.into_builder();
    if let Some(catalog) = session.context().catalog(CATALOG) {
        for schema in catalog.schema_names() {
            builder.append(CATALOG, schema);
        }
    }
    Ok(builder.build())
}

async fn tables(
    command: CommandGetTables,
    engine: &Engine,
    principal: &Principal,
) -> Result<Built, QueryError> {
    let session = engine.session(principal).await?;
    let mut builder = command.into_builder();
    let Some(catalog) = session.context().catalog(CATALOG) else { return Ok(builder.build()) };
    for schema_name in catalog.schema_names() {
        let Some(schema) = catalog.schema(&schema_name) else { continue };
        for name in schema.table_names() {
            let Some(table) = schema.table(&name).await? else { continue };
            let kind = match table.table_type() {
                _ if SYSTEM_SCHEMAS.contains(&schema_name.as_str()) => SYSTEM_TABLE,
                TableType::View => VIEW,
                TableType::Base | TableType::Temporary => TABLE,
            };
            let columns = public_schema(&table.schema());
            builder.append(CATALOG, &schema_name, name, kind, &columns).map_err(QueryError::internal)?;
        }
    }
    Ok(builder.build())
}

/// Tables have no keys: the answers are empty, and have the columns that the protocol says.
fn primary_keys() -> SchemaRef {
    fields(&[
        ("catalog_name", Utf8, true),
        ("db_schema_name", Utf8, true),
        ("table_name", Utf8, false),
        ("column_name", Utf8, false),
        ("key_name", Utf8, true),
        ("key_sequence", Int32, false),
    ])
}

fn foreign_keys() -> SchemaRef {
    fields(&[
        ("pk_catalog_name", Utf8, true),
        ("pk_db_schema_name", Utf8, true),
        ("pk_table_name", Utf8, false),
        ("pk_column_name", Utf8, false),
        ("fk_catalog_name", Utf8, true),
        ("fk_db_schema_name", Utf8, true),
        ("fk_table_name", Utf8, false),
        ("fk_column_name", Utf8, false),
        ("key_sequence", Int32, false),
        ("fk_key_name", Utf8, true),
        ("pk_key_name", Utf8, true),
        ("update_rule", UInt8, false),
        ("delete_rule", UInt8, false),
    ])
}

fn fields(columns: &[(&str, DataType, bool)]) -> SchemaRef {
    let field = |(name, kind, nullable): &(&str, DataType, bool)| Field::new(*name, kind.clone(), *nullable);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// A command as the protocol packs it.
pub(super) fn packed(command: &impl ProstMessageExt) -> Vec<u8> {
    prost::Message::encode_to_vec(&command.as_any())
}
