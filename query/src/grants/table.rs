//! `grants()`: who was given what, by whom, why and until when, as far as it concerns who asks.
//!
//! Auditors and admins see all. A tenant sees the grants by which somebody may
//! read its rows, and those that it has itself; whose rows else a grant opens is
//! left out, and why it was given is told only where it names no other tenant.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use datafusion::arrow::array::{
    ArrayRef, ListBuilder, RecordBatch, StringArray, StringBuilder, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::{Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::plan_datafusion_err;
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;

use super::{GrantBook, GrantError, Record};
use crate::{Code, Principal, QueryError, Role, Scope};

/// The function's name.
pub(crate) const NAME: &str = "grants";

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let time =
        |name: &str| Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true);
    let list = DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)));
    let columns = vec![
        text("grant_id"),
        text("state"),
        text("principal"),
        text("role"),
        Field::new("tenants", list, true),
        text("given_by"),
        text("why"),
        time("given"),
        time("until"),
        time("revoked"),
        text("revoked_by"),
    ];
    Arc::new(Schema::new(columns))
});

/// The function, and what it returns, for one principal.
#[derive(Debug, Clone)]
pub(crate) struct Grants {
    book: Arc<GrantBook>,
    principal: Principal,
}

/// What one principal sees of one grant.
struct Shown<'a> {
    record: &'a Record,
    tenants: Vec<&'a str>,
    why: Option<&'a str>,
}

// === impl Grants ===

impl Grants {
    pub(crate) fn new(book: Arc<GrantBook>, principal: Principal) -> Self {
        Self { book, principal }
    }

    fn shown<'a>(&self, record: &'a Record) -> Option<Shown<'a>> {
        let grant = &record.grant;
        let names = || grant.tenants.iter().map(|tenant| tenant.as_str());
        if *self.principal.scope() == Scope::All || grant.to == self.principal.name() {
            return Some(Shown { record, tenants: names().collect(), why: Some(&grant.why) });
        }
        let tenants: Vec<&str> = names().filter(|tenant| self.principal.scope().sees(tenant)).collect();
        // An auditor's grant opens everybody's rows, and so this tenant's.
        let concerns = grant.role != Role::Tenant || !tenants.is_empty();
        let alone = grant.role == Role::Tenant && tenants.len() == grant.tenants.len();
        concerns.then(|| Shown { record, tenants, why: alone.then_some(grant.why.as_str()) })
    }

    fn rows(&self, records: &[Record], now: DateTime<Utc>) -> DfResult<RecordBatch> {
        let shown: Vec<Shown<'_>> = records.iter().filter_map(|record| self.shown(record)).collect();
        let texts = |text: &dyn Fn(&Shown<'_>) -> Option<String>| -> ArrayRef {
            Arc::new(shown.iter().map(text).collect::<StringArray>())
        };
        let times = |time: &dyn Fn(&Shown<'_>) -> Option<DateTime<Utc>>| -> ArrayRef {
            let micros = shown.iter().map(|row| time(row).map(|time| time.timestamp_micros()));
            Arc::new(micros.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
        };
        let mut tenants = ListBuilder::new(StringBuilder::new());
        shown.iter().for_each(|row| tenants.append_value(row.tenants.iter().map(Some)));
        let columns: Vec<ArrayRef> = vec![
            texts(&|row| Some(row.record.grant.id.clone())),
            texts(&|row| Some(row.record.state(now).to_owned())),
            texts(&|row| Some(row.record.grant.to.clone())),
            texts(&|row| Some(row.record.grant.role.to_string())),
            Arc::new(tenants.finish()),
            texts(&|row| Some(row.record.grant.by.clone())),
            texts(&|row| row.why.map(str::to_owned)),
            times(&|row| Some(row.record.grant.given)),
            times(&|row| Some(row.record.grant.until)),
            times(&|row| row.record.revoked.as_ref().map(|revoked| revoked.at)),
            texts(&|row| row.record.revoked.as_ref().map(|revoked| revoked.by.clone())),
        ];
        Ok(RecordBatch::try_new(Arc::clone(&SCHEMA), columns)?)
    }
}

impl TableFunctionImpl for Grants {
    fn call_with_args(&self, args: TableFunctionArgs) -> DfResult<Arc<dyn TableProvider>> {
        match args.exprs() {
            [] => Ok(Arc::new(self.clone())),
            _ => Err(plan_datafusion_err!("{NAME}() takes no arguments")),
        }
    }
}

#[async_trait]
impl TableProvider for Grants {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&SCHEMA)
    }

    fn table_type(&self) -> TableType {
        TableType::Temporary
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let records =
            self.book.all().await.map_err(|error| DataFusionError::External(Box::new(told(error))))?;
        let rows = self.rows(&records, Utc::now())?;
        let source = MemorySourceConfig::try_new(&[vec![rows]], self.schema(), projection.cloned())?;
        Ok(datafusion::datasource::source::DataSourceExec::from_data_source(source))
    }
}

fn told(error: GrantError) -> QueryError {
    match error {
        GrantError::Lake(error) => error.into(),
        other => QueryError::new(Code::Unavailable, "the grants cannot be read now").because(other),
    }
}
