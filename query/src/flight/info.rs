//! What the server can do, and the types it has.

use std::sync::Arc;

use arrow_flight::error::Result;
use arrow_flight::sql::metadata::{
    SqlInfoData, SqlInfoDataBuilder, XdbcTypeInfo, XdbcTypeInfoData, XdbcTypeInfoDataBuilder,
};
use arrow_flight::sql::{
    CommandGetSqlInfo, CommandGetXdbcTypeInfo, Nullable, Searchable, SqlInfo, SqlNullOrdering,
    SqlSupportedCaseSensitivity, SqlSupportedTransaction, XdbcDataType, XdbcDatetimeSubcode,
};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;

/// The major version of Arrow whose format is sent.
const ARROW_VERSION: &str = "59";

/// Answers to GetSqlInfo and GetXdbcTypeInfo.
pub(super) struct Infos {
    sql: SqlInfoData,
    xdbc: XdbcTypeInfoData,
}

// === impl Infos ===

impl Infos {
    pub(super) fn new(query_timeout_ms: u64, max_sql_bytes: usize) -> Result<Self> {
        let timeout_s = i32::try_from(query_timeout_ms.div_ceil(1_000)).unwrap_or(i32::MAX);
        let sql_bytes = i64::try_from(max_sql_bytes).unwrap_or(i64::MAX);
        Ok(Self { sql: sql(timeout_s, sql_bytes).build()?, xdbc: xdbc().build()? })
    }

    pub(super) fn sql(&self, command: CommandGetSqlInfo) -> Result<RecordBatch> {
        command.into_builder(&self.sql).build()
    }

    pub(super) fn xdbc(&self, command: CommandGetXdbcTypeInfo) -> Result<RecordBatch> {
        command.into_builder(&self.xdbc).build()
    }

    pub(super) fn sql_schema() -> SchemaRef {
        Arc::new(SqlInfoDataBuilder::schema().clone())
    }

    pub(super) fn xdbc_schema() -> SchemaRef {
        XdbcTypeInfoDataBuilder::new().schema()
    }
}

fn sql(timeout_s: i32, max_sql_bytes: i64) -> SqlInfoDataBuilder {
    let mut infos = SqlInfoDataBuilder::new();
    infos.append(SqlInfo::FlightSqlServerName, "Bailiwick");
    infos.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    infos.append(SqlInfo::FlightSqlServerArrowVersion, ARROW_VERSION);
    infos.append(SqlInfo::FlightSqlServerReadOnly, true);
    infos.append(SqlInfo::FlightSqlServerSql, true);
    infos.append(SqlInfo::FlightSqlServerSubstrait, false);
    infos.append(SqlInfo::FlightSqlServerTransaction, SqlSupportedTransaction::None as i32);
    infos.append(SqlInfo::FlightSqlServerCancel, true);
    infos.append(SqlInfo::FlightSqlServerBulkIngestion, false);
    infos.append(SqlInfo::FlightSqlServerIngestTransactionsSupported, false);
    infos.append(SqlInfo::FlightSqlServerStatementTimeout, timeout_s);
    infos.append(SqlInfo::FlightSqlServerTransactionTimeout, 0i32);
    for ddl in [SqlInfo::SqlDdlCatalog, SqlInfo::SqlDdlSchema, SqlInfo::SqlDdlTable] {
        infos.append(ddl, false);
    }
    infos.append(SqlInfo::SqlIdentifierCase, SqlSupportedCaseSensitivity::SqlCaseSensitivityLowercase as i32);
    infos.append(SqlInfo::SqlIdentifierQuoteChar, "\"");
    let quoted = SqlSupportedCaseSensitivity::SqlCaseSensitivityCaseInsensitive as i32;
    infos.append(SqlInfo::SqlQuotedIdentifierCase, quoted);
    infos.append(SqlInfo::SqlAllTablesAreSelectable, true);
    infos.append(SqlInfo::SqlNullOrdering, SqlNullOrdering::SqlNullsSortedHigh as i32);
    infos.append(SqlInfo::SqlSearchStringEscape, "\\");
    infos.append(SqlInfo::SqlExtraNameCharacters, "");
    for supported in [
        SqlInfo::SqlSupportsColumnAliasing,
        SqlInfo::SqlNullPlusNullIsNull,
        SqlInfo::SqlSupportsTableCorrelationNames,
        SqlInfo::SqlSupportsExpressionsInOrderBy,
        SqlInfo::SqlSupportsOrderByUnrelated,
        SqlInfo::SqlSupportsLikeEscapeClause,
        SqlInfo::SqlCorrelatedSubqueriesSupported,
        SqlInfo::SqlCatalogAtStart,
    ] {
        infos.append(supported, true);
    }
    for unsupported in [
        SqlInfo::SqlSupportsNonNullableColumns,
        SqlInfo::SqlSupportsIntegrityEnhancementFacility,
        SqlInfo::SqlSelectForUpdateSupported,
        SqlInfo::SqlStoredProceduresSupported,
        SqlInfo::SqlTransactionsSupported,
        SqlInfo::SqlBatchUpdatesSupported,
        SqlInfo::SqlSavepointsSupported,
    ] {
        infos.append(unsupported, false);
    }
    infos.append(SqlInfo::SqlNamedParametersSupported, true);
    infos.append(SqlInfo::SqlSchemaTerm, "schema");
    infos.append(SqlInfo::SqlCatalogTerm, "catalog");
    infos.append(SqlInfo::SqlMaxStatementLength, max_sql_bytes);
    infos
}

/// A type by PostgreSQL's name; digits or bytes; quotes of its literals; whether it is a number.
type Row = (&'static str, XdbcDataType, Option<i32>, bool, Option<XdbcDatetimeSubcode>);

fn xdbc() -> XdbcTypeInfoDataBuilder {
    use XdbcDataType as Xdbc;
    let with_zone = XdbcDatetimeSubcode::XdbcSubcodeTimestampWithTimezone;
    let rows: [Row; 12] = [
        ("boolean", Xdbc::XdbcBit, Some(1), false, None),
        ("smallint", Xdbc::XdbcSmallint, Some(16), true, None),
        ("integer", Xdbc::XdbcInteger, Some(32), true, None),
        ("bigint", Xdbc::XdbcBigint, Some(64), true, None),
        ("real", Xdbc::XdbcReal, Some(24), true, None),
        ("double precision", Xdbc::XdbcDouble, Some(53), true, None),
        ("numeric", Xdbc::XdbcNumeric, Some(38), true, None),
        ("text", Xdbc::XdbcVarchar, None, false, None),
        ("bytea", Xdbc::XdbcVarbinary, None, false, None),
        ("date", Xdbc::XdbcDate, Some(10), false, None),
        ("time", Xdbc::XdbcTime, Some(15), false, None),
        ("timestamp with time zone", Xdbc::XdbcTimestamp, Some(32), false, Some(with_zone)),
    ];
    let mut infos = XdbcTypeInfoDataBuilder::new();
    for row in rows {
        infos.append(xdbc_type(row));
    }
    infos
}

fn xdbc_type((name, kind, size, number, subcode): Row) -> XdbcTypeInfo {
    let quote = (!number && name != "boolean").then(|| "'".to_owned());
    let radix = match name {
        "numeric" => Some(10),
        _ => number.then_some(2),
    };
    XdbcTypeInfo {
        type_name: name.to_owned(),
        data_type: kind,
        column_size: size,
        literal_prefix: quote.clone(),
        literal_suffix: quote,
        create_params: None,
        nullable: Nullable::NullabilityNullable,
        case_sensitive: name == "text",
        searchable: Searchable::Full,
        unsigned_attribute: number.then_some(false),
        fixed_prec_scale: false,
        auto_increment: Some(false),
        local_type_name: Some(name.to_owned()),
        minimum_scale: None,
        maximum_scale: None,
        sql_data_type: kind,
        datetime_subcode: subcode,
        num_prec_radix: radix,
        interval_precision: None,
    }
}
