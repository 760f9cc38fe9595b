//! The views over real WAL objects and files: who sees what, and what is read for it.

use bailiwick_proto::Table;
use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::Float64Type;

use super::*;
use crate::engine::tests::bucket::{Bucket, Served, rows};
use crate::engine::tests::{scene, tenant};
use crate::{ChargebackRow, Code, Config, Prices, Principal};

/// Calls of every function, with all of the scene's time.
const CALLS: [&str; 3] = [
    "audit_trail(NULL, '2026-11-24', '2026-11-25')",
    "chargeback('2026-11-24', '2026-11-25')",
    "process_tree('b-900-9')",
];

async fn code(served: &Served, who: &Principal, sql: &str) -> Code {
    served.ask(who, sql).await.map(|rows| panic!("{sql} answers {rows:?}")).unwrap_err().code()
}

/// Goal: what the catalogs promise is what a session has. Method: the schema of
/// a plan, for every view and function.
#[tokio::test]
async fn every_view_has_the_columns_that_it_promises() {
    let bucket = Bucket::new().await;
    let served = bucket.serve(&Config::default());
    let views = View::ALL.iter().map(|view| (view.name().to_owned(), view.columns()));
    let functions = CALLS.iter().zip(TableFunction::ALL).map(|(call, function)| {
        assert!(call.starts_with(function.name()) && function.usage().starts_with(function.name()));
        ((*call).to_owned(), function.columns())
    });
    for (name, columns) in views.chain(functions) {
        let sql = format!("SELECT * FROM {name}");
        let (described, _) = served
            .engine
            .describe(&tenant("acme"), crate::Endpoint::Http, crate::Ask::new(&sql))
            .await
            .unwrap();
        let typed = |schema: &Schema| {
            let of = |field: &Arc<Field>| (field.name().clone(), field.data_type().clone());
            schema.fields().iter().map(of).collect::<Vec<_>>()
        };
        assert_eq!(typed(&described), typed(&schema(columns)), "{name}");
        assert!(columns.iter().all(|column| !column.doc.is_empty()), "{name}");
        // Over tables that are empty it has no rows, and counts none.
        assert_eq!(served.text(&tenant("acme"), &sql).await, "", "{name}");
        assert_eq!(served.text(&tenant("acme"), &format!("SELECT count(*) FROM {name}")).await, "0");
    }
}

/// Goal: no view and no function shows a tenant what is another's, or opens its
/// files. Method: every file of the other tenant is damaged, and every text of
/// every row is looked at.
#[tokio::test]
async fn a_tenant_sees_its_own_rows_alone() {
    let (bucket, served) = scene::served().await;
    bucket.damage(Table::Syscalls, "globex").await;
    let names = View::ALL.iter().map(|view| view.name());
    for name in names.chain(CALLS) {
        let told = served.text(&tenant("acme"), &format!("SELECT * FROM {name}")).await;
        for secret in
            ["globex", "secret", "vault", "mallory", "203.0.113.9", "b-900-9", "shim -id", "_cluster", "olga"]
        {
            let own = name.starts_with("process_tree");
            assert!(
                !told.contains(secret) || own && secret == "shim -id",
                "{name} tells acme {secret}\n{told}"
            );
        }
        let nobody = served.text(&tenant("nobody"), &format!("SELECT * FROM {name}")).await;
        assert_eq!(nobody, "", "{name}");
    }
    // An operator has to read them, and cannot.
    assert!(served.ask(&Principal::operator(), "SELECT * FROM sessions").await.is_err());
}

/// Goal: a question about an hour does not read a day. Method: a file of another
/// hour is damaged, so that whatever opened it would fail.
#[tokio::test]
async fn times_leave_files_unread() {
    let mut bucket = Bucket::new().await;
    let event = |time| {
        rows(
            Table::Syscalls,
            &[&[
                ("tenant", "acme"),
                ("time", time),
                ("evt_type", "connect"),
                ("fd_rip", "192.0.2.1"),
                ("fd_is_server", "false"),
                ("evt_is_open_write", "true"),
                ("cluster", "c"),
                ("node", "n"),
                ("exec_id", "b-1-1"),
            ]],
        )
    };
    let (old, new) = (event("2026-11-24T01:30:00Z"), event("2026-11-24T22:30:00Z"));
    let through = bucket.wal(&[(Table::Syscalls, old.clone())]).await;
    bucket.commit(Table::Syscalls, through, &[("acme", old)]).await;
    bucket.damage(Table::Syscalls, "acme").await;
    let through = bucket.wal(&[(Table::Syscalls, new.clone())]).await;
    bucket.commit(Table::Syscalls, through, &[("acme", new)]).await;
    let served = bucket.serve(&Config::default());
    let who = tenant("acme");
    for (sql, answer) in [
        ("SELECT count(*) FROM network_flows WHERE time >= '2026-11-24T20:00:00Z'", "1"),
        ("SELECT sum(events) FROM network_flows WHERE last_time > '2026-11-24T22:10:00Z'", "1"),
        ("SELECT count(*) FROM network_flows WHERE first_time > '2026-11-24T22:45:00Z'", "0"),
        ("SELECT count(*) FROM network_flows WHERE date = '2026-11-25'", "0"),
        ("SELECT count(*) FROM file_changes WHERE time > '2026-11-24T20:00:00Z'", "0"),
        ("SELECT count(*) FROM sessions WHERE time > '2026-11-24T20:00:00Z'", "0"),
        (
            "SELECT count(*) FROM sessions WHERE time BETWEEN '2026-11-24T20:00:00Z' AND '2026-11-24T21:00:00Z'",
            "0",
        ),
        ("SELECT count(*) FROM audit_trail('acme', '2026-11-24T20:00:00Z', '2026-11-25')", "0"),
        ("SELECT count(*) FROM process_tree('b-1-1', '2026-11-24T20:00:00Z', '2026-11-25')", "1"),
    ] {
        assert_eq!(served.text(&who, sql).await, answer, "{sql}");
    }
    // The file is damaged indeed.
    for sql in [
        "SELECT count(*) FROM network_flows",
        "SELECT count(*) FROM file_changes",
        "SELECT count(*) FROM network_flows WHERE time >= '2026-11-24T20:00:00Z' OR remote_ip = '192.0.2.1'",
        "SELECT count(*) FROM process_tree('b-1-1')",
    ] {
        assert!(served.ask(&who, sql).await.is_err(), "{sql}");
    }
}

/// Goal: a condition on a view's rows is the same below and above it. Method:
/// the view's rows are counted once by the view, once by a table made of them.
#[tokio::test]
async fn conditions_mean_what_they_say() {
    let (_bucket, served) = scene::served().await;
    let who = tenant("acme");
    for (view, condition) in [
        ("network_flows", "last_time >= '2026-11-24T10:12:00Z' AND direction = 'out'"),
        ("network_flows", "first_time < '2026-11-24T10:10:30Z'"),
        ("network_flows", "NOT (time > '2026-11-24T10:00:00Z')"),
        ("network_flows", "time IN ('2026-11-24T10:00:00Z', '2026-11-24T12:00:00Z')"),
        ("sessions", "time = '2026-11-24T10:00:00Z' AND command LIKE 'cat%'"),
        ("sessions", "ran_at > '2026-11-24T10:00:01Z'"),
        ("sessions", "date = '2026-11-24' AND \"user\" <> 'jane'"),
        ("sessions", "command IS NULL"),
        ("file_changes", "change = 'rename' OR time < '2026-11-24T10:30:02.5Z'"),
    ] {
        let direct = format!("SELECT count(*) FROM {view} WHERE {condition}");
        // Past an offset no condition can go.
        let above = format!(
            "SELECT count(*) FROM (SELECT * FROM {view} ORDER BY time OFFSET 0 LIMIT 1000) v WHERE {condition}"
        );
        let count = served.text(&who, &direct).await;
        assert_eq!(count, served.text(&who, &above).await, "{view}: {condition}");
        assert_ne!(count, "0", "{view}: {condition}");
    }
}

/// Goal: the function and the report never differ. Method: both, for periods
/// that cut intervals and prices, as operator and as tenant.
#[tokio::test]
async fn the_bill_is_that_of_the_report() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("prices.yaml");
    let text = "currency: EUR\nprices:\n  - from: 2026-01-01\n    cpu_core_hour: 0.031611\n    memory_gib_hour: 0.004237\n    \
                io_read_gib: 0.5\n  - from: 2026-11-24T10:20:00Z\n    cpu_core_hour: 0.07\n    memory_gib_hour: 0.003\n";
    std::fs::write(&file, text).unwrap();
    let (bucket, _) = scene::served().await;
    let served = bucket.serve(&Config { prices_file: Some(file.clone()), ..Config::default() });
    let prices = Prices::parse("prices.yaml", text).unwrap();
    for (from, to) in [
        ("2026-11-24T10:00:00Z", "2026-11-24T11:00:00Z"),
        ("2026-11-24T10:07:00.123456Z", "2026-11-24T11:31:00Z"),
        ("2026-11-23T00:00:00Z", "2026-11-25T00:00:00Z"),
    ] {
        for who in [tenant("acme"), Principal::operator()] {
            let report = served
                .engine
                .chargeback(&who, &prices, from.parse().unwrap(), to.parse().unwrap())
                .await
                .unwrap();
            let sql = format!("SELECT * FROM chargeback('{from}', '{to}') ORDER BY tenant");
            let mut told = Vec::new();
            for batch in served.ask(&who, &sql).await.unwrap() {
                let tenants = batch.column_by_name("tenant").unwrap().as_string::<i32>().clone();
                let number = |name: &str, row| {
                    format!(
                        "{:.6}",
                        batch.column_by_name(name).unwrap().as_primitive::<Float64Type>().value(row)
                    )
                };
                for row in 0..batch.num_rows() {
                    let numbers = ["cpu_core_hours", "cpu_cost", "io_cost", "total_cost", "coverage"];
                    told.push((tenants.value(row).to_owned(), numbers.map(|name| number(name, row))));
                }
            }
            let row = |row: &ChargebackRow| {
                let numbers = [row.cpu_core_hours, row.cpu_cost, row.io_cost, row.total_cost, row.coverage];
                (row.tenant.clone(), numbers.map(|number| number.to_string()))
            };
            assert!(!told.is_empty());
            assert_eq!(told, report.rows.iter().map(row).collect::<Vec<_>>(), "{from} {to}");
        }
    }
    let early = "SELECT * FROM chargeback('2025-01-01', '2025-02-01')";
    assert_eq!(code(&served, &tenant("acme"), early).await, Code::BadRequest);
    std::fs::write(&file, "currency: EUR\n").unwrap();
    let broken = served.ask(&tenant("acme"), "SELECT * FROM chargeback('2026-11-24', '2026-11-25')").await;
    let broken = broken.unwrap_err();
    assert!(!broken.to_string().contains("prices.yaml"), "{broken}");
}

#[tokio::test]
async fn calls_that_are_wrong_say_how_it_is_done() {
    let bucket = Bucket::new().await;
    let served = bucket.serve(&Config::default());
    for call in [
        "process_tree()",
        "process_tree(5)",
        "process_tree('a', '2026-01-01')",
        "process_tree('a', '2026-01-02', '2026-01-01')",
        "audit_trail('acme')",
        "audit_trail(1, '2026-01-01', '2026-01-02')",
        "audit_trail('acme', 'yesterday', '2026-01-02')",
        "chargeback('2026-01-01')",
        "chargeback('2026-01-01', NULL)",
        "chargeback(1, 2)",
    ] {
        let error = served.ask(&tenant("acme"), &format!("SELECT * FROM {call}")).await.unwrap_err();
        let name = call.split('(').next().unwrap();
        assert!(error.to_string().contains(&format!("{name}(")), "{call}: {error}");
        assert_eq!(error.code(), Code::InvalidQuery, "{call}");
    }
    // Times may be computed, and are those of the statement.
    let ago = "SELECT count(*) FROM chargeback(now() - INTERVAL '1 hour', now())";
    assert_eq!(served.text(&tenant("acme"), ago).await, "0");
}

/// Goal: a tree that nobody can read, or that is too big to make, is an error and no answer.
#[tokio::test]
async fn a_tree_has_bounds() {
    let mut bucket = Bucket::new().await;
    let ids: Vec<[String; 2]> = (0..10_500).map(|n| [format!("b-{n}-{n}"), (n + 10).to_string()]).collect();
    let made: Vec<Vec<(&str, &str)>> = ids
        .iter()
        .map(|[id, pid]| {
            vec![
                ("tenant", "acme"),
                ("cluster", "c"),
                ("node", "n"),
                ("evt_type", "execve"),
                ("exec_id", id),
                ("proc_pid", pid),
                ("proc_ppid", "10"),
                ("proc_start_time", "2026-11-24T12:00:00Z"),
            ]
        })
        .collect();
    let batch = rows(Table::Syscalls, &made.iter().map(|row| &row[..]).collect::<Vec<_>>());
    bucket.wal(&[(Table::Syscalls, batch)]).await;
    let served = bucket.serve(&Config::default());
    assert_eq!(code(&served, &tenant("acme"), "SELECT * FROM process_tree('b-0-0')").await, Code::TooLarge);
    let leaf = "SELECT count(*) FROM process_tree('b-7-7')";
    assert_eq!(served.text(&tenant("acme"), leaf).await, "1");
}

#[tokio::test]
async fn arguments_may_be_parameters() {
    use datafusion::common::ScalarValue;

    use crate::engine::{Ask, Params};

    let bucket = Bucket::new().await;
    let served = bucket.serve(&Config::default());
    let us = |us| ScalarValue::TimestampMicrosecond(Some(us), Some("UTC".into()));
    let text = |text: &str| ScalarValue::from(text);
    for (sql, values, kinds) in [
        ("SELECT * FROM process_tree($1)", vec![text("b-1-1")], "Utf8"),
        ("SELECT * FROM process_tree($1) WHERE exec_id = $2", vec![text("b-1-1"), text("x")], "Utf8 Utf8"),
        (
            "SELECT * FROM chargeback($1, $2)",
            vec![us(1_795_000_000_000_000), us(1_795_100_000_000_000)],
            "Timestamp Timestamp",
        ),
        (
            "SELECT * FROM chargeback(CAST($1 AS text), $2)",
            vec![text("2026-11-24"), text("2026-11-25")],
            "Timestamp Timestamp",
        ),
        (
            "SELECT * FROM audit_trail($1, '2026-11-24', $2)",
            vec![text("it's"), text("2026-11-25T10:00:00Z")],
            "Utf8 Timestamp",
        ),
        ("SELECT * FROM falco_matches($1)", vec![text("no such rule")], "Utf8"),
        (
            "SELECT * FROM generate_series($1, $2)",
            vec![ScalarValue::from(1_i64), ScalarValue::from(3_i64)],
            "Int64 Int64",
        ),
    ] {
        let ask = Ask::new(sql);
        let described = served.engine.describe(&tenant("acme"), crate::Endpoint::Http, ask).await;
        let (_, parameters) = described.unwrap_or_else(|error| panic!("{sql}: {error}"));
        let told = parameters.iter().map(|parameter| match &parameter.kind {
            Some(datafusion::arrow::datatypes::DataType::Timestamp(..)) => "Timestamp".to_owned(),
            Some(kind) => kind.to_string(),
            None => "?".to_owned(),
        });
        assert_eq!(told.collect::<Vec<_>>().join(" "), kinds, "{sql}");
        let ask = Ask::new(sql).with(Params::Numbered(values));
        let answer = served.engine.ask(&tenant("acme"), crate::Endpoint::Http, ask).await;
        match answer {
            Ok(running) => drop(futures::TryStreamExt::try_collect::<Vec<_>>(running).await.unwrap()),
            Err(error) => {
                assert!(sql.contains("falco") && error.to_string().contains("no such rule"), "{sql}: {error}")
            }
        }
    }
    let named = Ask::new("SELECT count(*) FROM process_tree($exec)");
    let missing = served.engine.ask(&tenant("acme"), crate::Endpoint::Http, named).await.err().unwrap();
    assert!(missing.to_string().contains("$exec"), "{missing}");
}
