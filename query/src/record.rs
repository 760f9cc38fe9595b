//! The room's own audit: every query, refused ones too, becomes a row of `queries`.

use std::sync::Arc;
use std::time::Instant;

use bailiwick_proto::ids::CLUSTER_TENANT;
use bailiwick_proto::ship::MemorySender;
use bailiwick_proto::{Table, TenantId};
use chrono::{DateTime, Utc};
use datafusion::arrow::array::{
    ArrayRef, Int64Array, ListBuilder, RecordBatch, StringBuilder, StringDictionaryBuilder,
    TimestampMicrosecondArray, new_null_array,
};
use datafusion::arrow::datatypes::{DataType, Field, Int32Type};
use datafusion::arrow::error::ArrowError;

use crate::metrics::{Metrics, QueryLabels};
use crate::{Code, Endpoint, Principal, QueryError, Role};

/// How much of a statement is kept.
const SQL_BYTES: usize = 64 << 10;
/// As which endpoint the use of a grant stands in `queries`.
const GRANT: &str = "grant";
/// How much of an error is kept.
const ERROR_BYTES: usize = 2 << 10;

/// Sends rows of `queries` on their way to ingest; clones share it.
#[derive(Debug, Clone)]
pub struct QueryRecorder {
    shared: Arc<Shared>,
    metrics: Option<Metrics>,
}

#[derive(Debug)]
struct Shared {
    rows: MemorySender,
    node: String,
    cluster: String,
}

/// One query, from its receipt on. Ends in exactly one of its methods; when it
/// is dropped instead, its caller has gone.
#[derive(Debug)]
pub(crate) struct Entry {
    recorder: QueryRecorder,
    began: Instant,
    row: Option<Row>,
}

#[derive(Debug, Clone)]
struct Row {
    time: DateTime<Utc>,
    owner: String,
    query_id: String,
    principal: String,
    role: &'static str,
    tenant_scope: Vec<String>,
    endpoint: &'static str,
    sql: String,
    /// Further rows that say by which grants it was asked, for those whose rows they open.
    grants: Vec<Row>,
}

/// How it ended.
struct End<'a> {
    outcome: &'static str,
    error: Option<&'a QueryError>,
    rows: u64,
    bytes: u64,
    /// Whether it is told how much.
    answered: bool,
}

// === impl QueryRecorder ===

impl QueryRecorder {
    /// Sends rows through `rows`, stamped with this server's place.
    pub fn new(rows: MemorySender, node: &str, cluster: &str) -> Self {
        let shared = Shared { rows, node: node.to_owned(), cluster: cluster.to_owned() };
        Self { shared: Arc::new(shared), metrics: None }
    }

    pub(crate) fn counted_by(mut self, metrics: Metrics) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// A query has been received.
    pub(crate) fn begin(&self, principal: &Principal, endpoint: Endpoint, sql: &str) -> Entry {
        let row = Row {
            time: Utc::now(),
            owner: principal.owner().to_owned(),
            query_id: uuid::Uuid::new_v4().simple().to_string(),
            principal: principal.name().to_owned(),
            role: principal.role().as_str(),
            tenant_scope: principal.scope().names(),
            endpoint: endpoint.as_str(),
            sql: cut(sql, SQL_BYTES).to_owned(),
            grants: Vec::new(),
        };
        let grants = row.uses(principal);
        let row = Row { grants, ..row };
        Entry { recorder: self.clone(), began: Instant::now(), row: Some(row) }
    }

    fn send(&self, row: &Row, end: &End<'_>, duration_us: i64) {
        self.count(row, end, duration_us);
        self.push(row, end, duration_us);
        for row in &row.grants {
            // An error may quote other tenants' values; how much was answered may be theirs.
            self.push(row, &End { error: None, answered: false, ..*end }, duration_us);
        }
    }

    fn push(&self, row: &Row, end: &End<'_>, duration_us: i64) {
        let sent = self.shared.batch(row, end, duration_us).map_err(|error| error.to_string());
        let sent = sent.and_then(|batch| {
            self.shared.rows.push(Table::Queries, &batch).map_err(|error| error.to_string())
        });
        if let Err(error) = sent {
            tracing::warn!(error, query_id = row.query_id, principal = row.principal, "query not recorded");
            if let Some(metrics) = &self.metrics {
                metrics.unrecorded.inc();
            }
        }
    }

    fn count(&self, row: &Row, end: &End<'_>, duration_us: i64) {
        let Some(metrics) = &self.metrics else { return };
        metrics.queries.get_or_create(&QueryLabels { endpoint: row.endpoint, outcome: end.outcome }).inc();
        metrics.rows.inc_by(end.rows);
        metrics.bytes.inc_by(end.bytes);
        metrics.duration.observe(duration_us as f64 / 1e6);
    }
}

// === impl Row ===

impl Row {
    /// That a grant was used, once for each tenant whose rows it opens and whose
    /// record this query would not be otherwise. The statement is not repeated:
    /// it may speak of other tenants.
    fn uses(&self, principal: &Principal) -> Vec<Self> {
        let mut uses = Vec::new();
        for grant in principal.grants() {
            let opened = grant.tenants.iter().map(TenantId::as_str);
            let opened = opened.filter(|tenant| !principal.own().scope.sees(tenant));
            let owners: Vec<&str> = match grant.role {
                Role::Tenant => opened.collect(),
                Role::Auditor | Role::Admin => vec![CLUSTER_TENANT],
            };
            uses.extend(owners.into_iter().map(|owner| Self {
                owner: owner.to_owned(),
                role: grant.role.as_str(),
                tenant_scope: vec![if grant.role == Role::Tenant { owner } else { "*" }.to_owned()],
                endpoint: GRANT,
                sql: format!("-- grant {} by {} until {}", grant.id, grant.by, grant.until.to_rfc3339()),
                ..self.clone()
            }));
        }
        uses
    }
}

// === impl Shared ===

impl Shared {
    fn batch(&self, row: &Row, end: &End<'_>, duration_us: i64) -> Result<RecordBatch, ArrowError> {
        let schema = Table::Queries.wire_schema();
        let error =
            end.error.map(|error| format!("{}: {}", error.code(), cut(&error.to_string(), ERROR_BYTES)));
        let column = |field: &Arc<Field>| -> ArrayRef {
            let text = |text: &str| -> ArrayRef { one_text(Some(text)) };
            match field.name().as_str() {
                "time" => {
                    let time = TimestampMicrosecondArray::from(vec![row.time.timestamp_micros()]);
                    Arc::new(time.with_timezone("UTC"))
                }
                "node" => text(&self.node),
                "cluster" => text(&self.cluster),
                "owner" => text(&row.owner),
                "query_id" => text(&row.query_id),
                "principal" => text(&row.principal),
                "role" => text(row.role),
                "tenant_scope" => texts(&row.tenant_scope, field.data_type()),
                "endpoint" => text(row.endpoint),
                "sql" => text(&row.sql),
                "outcome" => text(end.outcome),
                "error" => one_text(error.as_deref()),
                "rows" => number(end.answered.then_some(end.rows as i64)),
                "bytes" => number(end.answered.then_some(end.bytes as i64)),
                "duration_us" => number(Some(duration_us)),
                _ => new_null_array(field.data_type(), 1),
            }
        };
        let columns = schema.fields().iter().map(column).collect();
        RecordBatch::try_new(schema, columns)
    }
}

fn number(value: Option<i64>) -> ArrayRef {
    Arc::new(Int64Array::from(vec![value]))
}

fn one_text(value: Option<&str>) -> ArrayRef {
    let mut builder = StringDictionaryBuilder::<Int32Type>::new();
    builder.append_option(value);
    Arc::new(builder.finish())
}

fn texts(values: &[String], kind: &DataType) -> ArrayRef {
    let builder = ListBuilder::new(StringBuilder::new());
    let mut builder = match kind {
        DataType::List(item) => builder.with_field(Arc::clone(item)),
        _ => builder,
    };
    builder.append_value(values.iter().map(Some));
    Arc::new(builder.finish())
}

/// The first bytes of a text, ending between two characters.
fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}

// === impl Entry ===

impl Entry {
    /// The id that the client is told.
    pub(crate) fn query_id(&self) -> &str {
        self.row.as_ref().map_or("", |row| &row.query_id)
    }

    /// It was not let in; the error comes back to be returned.
    pub(crate) fn refused(mut self, error: QueryError) -> QueryError {
        let error = error.of_query(self.query_id());
        self.finish(&End { outcome: "refused", error: Some(&error), rows: 0, bytes: 0, answered: true });
        error
    }

    /// It did not get as far as its first row; the error comes back to be returned.
    pub(crate) fn failed(mut self, error: QueryError) -> QueryError {
        let error = error.of_query(self.query_id());
        self.finish(&End {
            outcome: outcome(&error),
            error: Some(&error),
            rows: 0,
            bytes: 0,
            answered: true,
        });
        error
    }

    /// It ended after `rows` rows.
    pub(crate) fn ended(mut self, how: Result<(), &QueryError>, rows: u64, bytes: u64) {
        let outcome = how.map_or_else(outcome, |()| "ok");
        self.finish(&End { outcome, error: how.err(), rows, bytes, answered: true });
    }

    /// Nobody wanted its further rows.
    pub(crate) fn cancelled(mut self, rows: u64, bytes: u64) {
        self.finish(&End { outcome: "cancelled", error: None, rows, bytes, answered: true });
    }

    /// It was only looked at.
    pub(crate) fn forget(mut self) {
        self.row = None;
    }

    fn finish(&mut self, end: &End<'_>) {
        let Some(row) = self.row.take() else { return };
        if let Some(error) = end.error {
            error.log(&row.query_id, &row.principal);
        }
        let duration_us = i64::try_from(self.began.elapsed().as_micros()).unwrap_or(i64::MAX);
        self.recorder.send(&row, end, duration_us);
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.finish(&End { outcome: "cancelled", error: None, rows: 0, bytes: 0, answered: true });
    }
}

fn outcome(error: &QueryError) -> &'static str {
    match error.code() {
        Code::Timeout => "timed_out",
        Code::Cancelled => "cancelled",
        _ => "failed",
    }
}
