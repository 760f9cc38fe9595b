//! The engine over a bucket in memory that real WAL objects and real files fill.

pub(crate) mod bucket;
mod falco;
mod isolation;
mod limits;
mod named;
mod namespaces;
pub(crate) mod scene;
mod slt;

use bailiwick_proto::Table;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::util::pretty::pretty_format_batches;
use futures::TryStreamExt;

use super::*;
use crate::Role;
use bucket::{Bucket, Served, rows};

pub(crate) fn tenant(name: &str) -> Principal {
    Principal::new(name, Role::Tenant, [name.parse().unwrap()])
}

impl Served {
    /// All rows of an answer.
    pub(crate) async fn ask(&self, who: &Principal, sql: &str) -> Result<Vec<RecordBatch>, QueryError> {
        self.engine.run(who, Endpoint::Http, sql).await?.try_collect().await
    }

    /// All rows of an answer as one text, a line a row.
    pub(crate) async fn text(&self, who: &Principal, sql: &str) -> String {
        let batches =
            self.ask(who, sql).await.unwrap_or_else(|error| panic!("{sql}: {} {error}", error.code()));
        let table = pretty_format_batches(&batches).unwrap().to_string();
        let lines = table.lines().filter(|line| line.starts_with('|')).skip(1);
        let cells =
            |line: &str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(" ");
        lines.map(cells).collect::<Vec<_>>().join("\n")
    }
}

/// Rows of `losses` that differ in `count` alone.
fn losses(tenant: &str, counts: std::ops::RangeInclusive<u64>) -> RecordBatch {
    let counts: Vec<String> = counts.map(|count| count.to_string()).collect();
    let made: Vec<[(&str, &str); 3]> =
        counts.iter().map(|count| [("tenant", tenant), ("reason", "ring_full"), ("count", count)]).collect();
    rows(Table::Losses, &made.iter().map(|row| &row[..]).collect::<Vec<_>>())
}

/// Goal: every durable row is seen once, wherever it lies now. Method: rows are
/// written to the WAL one object each and committed bit by bit; after every
/// step their count, sum and the rows themselves must be what was written.
#[tokio::test]
async fn wal_and_files_together_are_every_row_once() {
    let mut bucket = Bucket::new().await;
    let served = bucket.serve(&Config::default());
    let operator = Principal::operator();
    let mut committed = 0;
    for number in 1..=9u64 {
        let batch = losses(["acme", "globex"][number as usize % 2], number..=number);
        bucket.wal(&[(Table::Losses, batch)]).await;
        if number % 4 == 0 {
            let files = (committed + 1..=number).map(|n| {
                (["acme", "globex"][n as usize % 2], losses(["acme", "globex"][n as usize % 2], n..=n))
            });
            bucket.commit(Table::Losses, number, &files.collect::<Vec<_>>()).await;
            committed = number;
        }
        let sum = number * (number + 1) / 2;
        let counted =
            served.text(&operator, "SELECT count(*), sum(count), count(DISTINCT count) FROM losses").await;
        assert_eq!(counted, format!("{number} {sum} {number}"));
    }
    assert_eq!(served.text(&operator, "SELECT count(*) FROM losses").await, "9");
    let every = served
        .text(&operator, "SELECT tenant, date, reason, count, time FROM losses ORDER BY count LIMIT 2")
        .await;
    assert_eq!(
        every,
        "globex 2026-11-24 ring_full 1 2026-11-24T12:00:00Z\nacme 2026-11-24 ring_full 2 2026-11-24T12:00:00Z"
    );
    let limited = served.ask(&operator, "SELECT * FROM losses LIMIT 3").await.unwrap();
    assert_eq!(limited.iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
    assert_eq!(limited[0].schema(), Table::Losses.public_schema());
}

/// Goal: the same rows read the same from a WAL object and from a file, in all
/// columns of all tables. Method: one row, asked for before and after a commit.
#[tokio::test]
async fn a_row_reads_the_same_before_and_after_its_commit() {
    for table in Table::ALL {
        let mut bucket = Bucket::new().await;
        let served = bucket.serve(&Config::default());
        let batch = rows(table, &[&[("tenant", "acme"), ("node", "n1")]]);
        let through = bucket.wal(&[(table, batch.clone())]).await;
        let sql = format!("SELECT * FROM {table}");
        let before = served.ask(&tenant("acme"), &sql).await.unwrap();
        bucket.commit(table, through, &[("acme", batch)]).await;
        let after = served.ask(&tenant("acme"), &sql).await.unwrap();
        assert_eq!(before, after, "{table}");
    }
}

#[tokio::test]
async fn a_predicate_on_time_tenant_or_day_leaves_files_unopened() {
    let mut bucket = Bucket::new().await;
    let early: bucket::Row<'_> = &[("tenant", "acme"), ("time", "2026-11-24T01:00:00Z"), ("count", "1")];
    let late: bucket::Row<'_> = &[("tenant", "acme"), ("time", "2026-11-24T23:00:00Z"), ("count", "2")];
    let files = [early, late].map(|row| ("acme", rows(Table::Losses, &[row])));
    let through = bucket.wal(&[]).await;
    bucket.commit(Table::Losses, through, &files).await;
    bucket.commit(Table::Losses, through, &[("globex", losses("globex", 7..=7))]).await;
    bucket.damage(Table::Losses, "globex").await;
    let served = bucket.serve(&Config::default());
    let operator = Principal::operator();
    for (condition, sum) in [
        ("time < '2026-11-24T02:00:00Z'", "1"),
        ("time >= '2026-11-24T22:00:00Z' AND tenant <> 'globex'", "2"),
        ("tenant = 'acme'", "3"),
        ("tenant IN ('acme', 'other') AND date = '2026-11-24'", "3"),
        ("date < '2026-11-24'", ""),
        ("time > '2027-01-01T00:00:00Z'", ""),
    ] {
        let sql = format!("SELECT sum(count) FROM losses WHERE {condition}");
        assert_eq!(served.text(&operator, &sql).await, sum, "{condition}");
    }
    let plan =
        served.text(&operator, "EXPLAIN SELECT * FROM losses WHERE time < '2026-11-24T02:00:00Z'").await;
    assert_eq!(plan.matches(".parquet").count(), 1, "{plan}");
}

#[tokio::test]
async fn a_joined_table_is_seen_at_one_moment() {
    let mut bucket = Bucket::new().await;
    bucket
        .wal(&[
            (Table::Losses, losses("acme", 1..=10)),
            (Table::Alerts, rows(Table::Alerts, &[&[("tenant", "acme"), ("rule", "r")]])),
        ])
        .await;
    let served = bucket.serve(&Config::default());
    let sql = "WITH a AS (SELECT count FROM losses) SELECT count(*) FROM a JOIN losses b ON a.count = b.count CROSS JOIN alerts";
    assert_eq!(served.text(&tenant("acme"), sql).await, "10");
}

#[tokio::test]
async fn parameters_have_types_and_values() {
    let mut bucket = Bucket::new().await;
    bucket.wal(&[(Table::Losses, losses("acme", 1..=10))]).await;
    let served = bucket.serve(&Config::default());
    let sql = "SELECT count, reason FROM losses WHERE count > $1 AND reason = $2 ORDER BY 1";
    let described = served.engine.describe(&tenant("acme"), Endpoint::Pgwire, Ask::new(sql)).await;
    let (columns, params) = described.unwrap();
    let types: Vec<_> = params.into_iter().map(|parameter| parameter.kind).collect();
    assert_eq!(types, [Some(DataType::Int64), Some(DataType::Utf8)]);
    assert_eq!(columns.field(0).data_type(), &DataType::Int64);
    let params = vec![ScalarValue::Int64(Some(8)), ScalarValue::Utf8(Some("ring_full".into()))];
    let running = served.engine.run_with(&tenant("acme"), Endpoint::Pgwire, sql, params).await.unwrap();
    assert_eq!(running.try_collect::<Vec<_>>().await.unwrap()[0].num_rows(), 2);
    let missing = served.ask(&tenant("acme"), sql).await.unwrap_err();
    assert_eq!(missing.code(), Code::InvalidQuery, "{missing}");
}

#[tokio::test]
async fn every_query_is_recorded_however_it_ends() {
    let mut bucket = Bucket::new().await;
    bucket.wal(&[(Table::Losses, losses("acme", 1..=10))]).await;
    let mut served = bucket.serve(&Config::default());
    let acme = tenant("acme");
    served.text(&acme, "SELECT * FROM losses").await;
    let record = served.record().await;
    let of = |record: &std::collections::BTreeMap<String, String>, columns: &[&str]| {
        columns.iter().map(|column| record[*column].clone()).collect::<Vec<_>>().join(" ")
    };
    let who =
        ["owner", "principal", "role", "tenant_scope", "endpoint", "outcome", "rows", "node", "cluster"];
    assert_eq!(of(&record, &who), "acme acme tenant [acme] http ok 10 node-1 test");
    assert!(
        record["query_id"].len() == 32 && record["bytes"] != "0" && record["sql"] == "SELECT * FROM losses"
    );

    let refused = served.ask(&acme, "DROP TABLE losses").await.unwrap_err();
    let record = served.record().await;
    assert_eq!((record["outcome"].as_str(), record["sql"].as_str()), ("refused", "DROP TABLE losses"));
    assert!(
        record["error"].starts_with("not_allowed: ")
            && refused.query_id() == Some(record["query_id"].as_str())
    );

    served.ask(&acme, "SELECT 1 / (count - 5) FROM losses").await.unwrap_err();
    let record = served.record().await;
    assert_eq!(of(&record, &["outcome", "error"]), "failed execution_failed: division by zero");

    let running =
        served.engine.run(&Principal::operator(), Endpoint::Pgwire, "SELECT * FROM losses").await.unwrap();
    drop(running);
    let record = served.record().await;
    assert_eq!(
        of(&record, &["owner", "tenant_scope", "endpoint", "outcome"]),
        "_cluster [*] pgwire cancelled"
    );
}

#[tokio::test]
async fn a_report_charges_what_the_principal_sees() {
    let mut bucket = Bucket::new().await;
    let usage = |tenant, start, end, cpu| -> RecordBatch {
        let hours = [
            ("tenant", tenant),
            ("interval_start", start),
            ("time", end),
            ("cpu_ns", cpu),
            ("mem_byte_s", "1073741824"),
            ("coverage_s", "5"),
        ];
        rows(Table::Usage, &[&hours])
    };
    // A core each: two hours, the second of which is after the period; and one inside it.
    let acme = usage("acme", "2026-11-24T10:00:00Z", "2026-11-24T12:00:00Z", "7200000000000");
    let globex = usage("globex", "2026-11-24T10:00:00Z", "2026-11-24T11:00:00Z", "3600000000000");
    let through = bucket.wal(&[(Table::Usage, acme.clone())]).await;
    bucket.commit(Table::Usage, through, &[("acme", acme)]).await;
    bucket.wal(&[(Table::Usage, globex)]).await;
    let served = bucket.serve(&Config::default());
    let prices = crate::Prices::built_in().unwrap();
    let period = ["2026-11-24T10:00:00Z", "2026-11-24T11:00:00Z"].map(|time| time.parse().unwrap());
    let operator = Principal::operator();
    let report = served.engine.chargeback(&operator, &prices, period[0], period[1]).await.unwrap();
    let rows: Vec<_> = report
        .rows
        .iter()
        .map(|row| format!("{} {} {}", row.tenant, row.cpu_core_hours, row.cpu_cost))
        .collect();
    assert_eq!(rows, ["acme 1.000000 0.031611", "globex 1.000000 0.031611"]);
    assert_eq!(report.rows[1].coverage.to_string(), "0.001389");
    let own = served.engine.chargeback(&tenant("acme"), &prices, period[0], period[1]).await.unwrap();
    assert_eq!(own.rows, report.rows[..1]);
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<crate::Chargeback>(&json).unwrap(), report);
}

/// Goal: a step that is taken twice counts twice. The engine's own optimizer takes one
/// of two like projections away.
#[tokio::test]
async fn like_steps_on_top_of_each_other_all_count() {
    let mut bucket = Bucket::new().await;
    bucket.wal(&[(Table::Losses, losses("acme", 1..=3))]).await;
    let served = bucket.serve(&Config::default());
    for (sql, expected) in [
        (
            "SELECT sum(n) FROM (SELECT n + 1 AS n FROM (SELECT n + 1 AS n FROM (SELECT count AS n FROM losses)))",
            "12",
        ),
        (
            "WITH a AS (SELECT count AS n FROM losses), b AS (SELECT n * 2 AS n FROM a), c AS (SELECT n * 2 AS n FROM b), \
          d AS (SELECT n * 2 AS n FROM c) SELECT sum(n) FROM d",
            "48",
        ),
        (
            "SELECT sum(a), sum(b) FROM (SELECT b AS a, a + 1 AS b FROM (SELECT b AS a, a + 1 AS b FROM \
          (SELECT b AS a, a + 1 AS b FROM (SELECT count AS a, 0 AS b FROM losses))))",
            "3 12",
        ),
        (
            "SELECT max(length(x)) FROM (SELECT x || x AS x FROM (SELECT x || x AS x FROM (SELECT x || x AS x FROM \
          (SELECT reason AS x FROM losses))))",
            "72",
        ),
        (
            "SELECT DISTINCT x FROM (SELECT x AS x FROM (SELECT x AS x FROM (SELECT reason AS x FROM losses)))",
            "ring_full",
        ),
    ] {
        assert_eq!(served.text(&tenant("acme"), sql).await, expected, "{sql}");
    }
}

#[tokio::test]
async fn times_without_an_end_are_compared() {
    let mut bucket = Bucket::new().await;
    bucket.wal(&[(Table::Losses, losses("acme", 1..=3))]).await;
    let served = bucket.serve(&Config::default());
    for (condition, expected) in [
        ("time < '9999-12-31T00:00:00Z'", "3"),
        ("'0001-01-01' < time", "3"),
        ("time < TIMESTAMP '9999-12-31'", "3"),
        ("time < '9999-12-31'::timestamptz AND time > '1970-01-01'", "3"),
        ("time BETWEEN '0001-01-01' AND '9999-12-31 23:59:59.999999'", "3"),
        ("time IN ('9999-12-31')", "0"),
        ("time > '9999-12-31'", "0"),
    ] {
        let sql = format!("SELECT count(*) FROM losses WHERE {condition}");
        assert_eq!(served.text(&tenant("acme"), &sql).await, expected, "{sql}");
    }
    assert_eq!(
        served.text(&tenant("acme"), "SELECT '9999-12-31'::timestamptz").await,
        "9999-12-31T00:00:00Z"
    );
    let error =
        served.ask(&tenant("acme"), "SELECT 1 FROM losses WHERE time < 'yesterday'").await.unwrap_err();
    assert_eq!(error.code(), Code::ExecutionFailed, "{error}");
}
