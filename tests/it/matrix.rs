//! Every client reads the same: psql, psycopg, asyncpg, SQLAlchemy, node-postgres, pgJDBC, curl.
//!
//! ```text
//!   statements ─┬─▶ HTTP, JSON ──────────────────────────────────▶ what is expected
//!               └─▶ each client, in each of its formats ─▶ cells ─▶ the same, cell by cell
//!   each client's own habits: cursors, COPY, metadata, cancelling ─▶ checks by name, all ok
//! ```
//!
//! The clients are scripts in `tests/clients`. Each gets the statements as a
//! file, and prints one report: cells by statement, and how its checks went.

mod cells;
mod programs;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::harness::{Up, skip};
use cells::same;
use programs::{Report, curl_rows, java, node, psql_rows, python};

/// What all clients ask, by name. One line each; every type that a column of a
/// public table has, at its ends and with what needs care in texts.
const STATEMENTS: &[(&str, &str)] = &[
    (
        "integers",
        "SELECT 1::smallint AS a, (-2)::smallint AS b, 2147483647::int AS c, (-2147483648)::int AS d, 9223372036854775807::bigint AS e, (-9223372036854775807)::bigint AS f, NULL::bigint AS g",
    ),
    (
        "floats",
        "SELECT 1.5::double precision AS a, 0.1::double precision AS b, 1e300::double precision AS c, -0.25::real AS d, 0::double precision AS e, 1e-7::double precision AS f, 123456789.125::double precision AS g",
    ),
    (
        "decimals",
        "SELECT 12.50::decimal(10,2) AS a, (-0.01)::decimal(5,2) AS b, 0::decimal(38,10) AS c, 123456.123456789::decimal(38,9) AS d, NULL::decimal(10,2) AS e, 10000::decimal(10,0) AS f, 0.00012::decimal(10,5) AS g",
    ),
    (
        "texts",
        "SELECT 'é\"\\,{}()' AS a, '' AS b, NULL::text AS c, E'line\\nbreak\\ttab' AS d, 'NULL' AS e, ' x ' AS f, '日本' AS g",
    ),
    ("truths", "SELECT true AS a, false AS b, NULL::boolean AS c"),
    (
        "times",
        "SELECT arrow_cast('2026-11-24T10:00:00.000001Z', 'Timestamp(Microsecond, Some(\"UTC\"))') AS a, arrow_cast('1969-12-31T23:59:59.999999Z', 'Timestamp(Microsecond, Some(\"UTC\"))') AS b, arrow_cast('2000-01-01T00:00:00Z', 'Timestamp(Microsecond, Some(\"UTC\"))') AS c, arrow_cast('1999-12-31T23:59:59.5Z', 'Timestamp(Millisecond, Some(\"UTC\"))') AS d, arrow_cast(NULL, 'Timestamp(Microsecond, Some(\"UTC\"))') AS e",
    ),
    (
        "dates",
        "SELECT DATE '2026-11-24' AS a, DATE '1999-12-31' AS b, DATE '1969-01-01' AS c, NULL::date AS d",
    ),
    ("bytes", "SELECT decode('00ff5c27', 'hex') AS a, decode('', 'hex') AS b"),
    (
        "lists",
        "SELECT make_array('a', 'b,c', 'd\"e', NULL, '', 'NULL', '\\') AS a, make_array(1, NULL, -3) AS b, arrow_cast(make_array(), 'List(Utf8)') AS c, make_array(true, false) AS d, make_array(1.5::double precision) AS e, arrow_cast(NULL, 'List(Utf8)') AS f",
    ),
    (
        "structs",
        "SELECT make_array(named_struct('name', 'a b', 'value', 'q\"u,o(t)e\\'), named_struct('name', '', 'value', NULL)) AS a, named_struct('a', 7, 'b', 'x,y') AS b, arrow_cast(NULL, 'List(Struct(\"name\": Utf8, \"value\": Utf8))') AS c",
    ),
    ("nothing", "SELECT NULL AS a, NULL AS b"),
    ("no rows", "SELECT time, tenant, proc_pid FROM syscalls WHERE false"),
    (
        "system calls",
        "SELECT time, date, tenant, evt_type, proc_pid, evt_arg, proc_ancestors, k8s_pod_labels, observed FROM syscalls ORDER BY time, seq, exec_id, evt_type, evt_res LIMIT 40",
    ),
    (
        "groups",
        "SELECT evt_type, count(*) AS n, min(time) AS first, avg(proc_pid) AS mean FROM syscalls GROUP BY evt_type ORDER BY evt_type",
    ),
];

/// A server over a recording of system calls, and one request of an API server.
fn served(dir: &Path) -> Up {
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join("demo/recording.bwr");
    let config = format!(
        "[ingest]\nlisten = \"127.0.0.1:0\"\nflush_after_ms = 1000\n[query]\nhttp_listen = \"127.0.0.1:0\"\n\
         pgwire_listen = \"127.0.0.1:0\"\n[collector.webhook]\nlisten = \"127.0.0.1:0\"\n\
         [collector.syscalls]\nenabled = \"off\"\n[collector.usage]\nenabled = \"off\"\n\
         [collector.replay]\npath = {recording:?}\n"
    );
    fs::write(dir.join("bailiwick.toml"), config).unwrap();
    let up = Up::start(dir, &[]);
    settled(&up);
    up
}

/// Waits until the recording has been played: nothing more comes for a while.
fn settled(up: &Up) {
    let count = || up.count("SELECT count(*) FROM syscalls");
    up.wait_for_count("SELECT count(*) FROM syscalls", 40);
    let (mut before, mut quiet) = (count(), 0);
    while quiet < 10 {
        std::thread::sleep(std::time::Duration::from_millis(200));
        let now = count();
        quiet = if now == before { quiet + 1 } else { 0 };
        before = now;
    }
}

/// What HTTP answers to each statement.
fn expected(up: &Up) -> BTreeMap<&'static str, Vec<Vec<Value>>> {
    let expected: BTreeMap<_, _> = STATEMENTS.iter().map(|(name, sql)| (*name, up.rows(sql))).collect();
    let none: Vec<_> = expected.iter().filter(|(_, rows)| rows.is_empty()).map(|(name, _)| *name).collect();
    assert_eq!(none, ["no rows"]);
    expected
}

/// Compares a client's cells with those of HTTP, and looks at its checks.
fn compare(client: &str, up: &Up, report: &Report, variants: &[&str], fewest_checks: usize) {
    let mut wrong = Vec::new();
    let expected = expected(up);
    for (name, rows) in &expected {
        for variant in variants {
            let name = format!("{name}{variant}");
            match report.cases.get(&name) {
                None => wrong.push(format!("{name}: not asked")),
                Some(found) => wrong.extend(different(&name, rows, found)),
            }
        }
    }
    for (check, how) in report.checks.iter().filter(|(_, how)| *how != "ok") {
        wrong.push(format!("{check}: {how}"));
    }
    assert!(wrong.is_empty(), "{client}: {} things are wrong\n{}", wrong.len(), wrong.join("\n\n"));
    assert!(report.checks.len() >= fewest_checks, "{client} made only {} checks", report.checks.len());
}

fn different(name: &str, expected: &[Vec<Value>], found: &[Vec<Value>]) -> Option<String> {
    if expected.len() != found.len() {
        return Some(format!("{name}: {} rows in place of {}", found.len(), expected.len()));
    }
    for (row, (expected, found)) in expected.iter().zip(found).enumerate() {
        if expected.len() != found.len() {
            return Some(format!("{name}, row {row}: {} cells in place of {}", found.len(), expected.len()));
        }
        for (column, (expected, found)) in expected.iter().zip(found).enumerate() {
            if !same(expected, found) {
                return Some(format!("{name}, row {row}, column {column}: {found} in place of {expected}"));
            }
        }
    }
    None
}

#[test]
fn psql_reads_what_http_reads() {
    if skip::without_psql() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let up = served(dir.path());
    let cases = STATEMENTS.iter().map(|(name, sql)| ((*name).to_owned(), psql_rows(&up, sql))).collect();
    compare("psql", &up, &Report { cases, checks: BTreeMap::new() }, &[""], 0);
    up.terminate();
}

/// The same question in HTTP's formats, through a program that knows nothing of us.
#[test]
fn curl_reads_what_http_reads() {
    if skip::without_curl() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let up = served(dir.path());
    let cases = STATEMENTS.iter().map(|(name, sql)| ((*name).to_owned(), curl_rows(&up, sql))).collect();
    compare("curl", &up, &Report { cases, checks: BTreeMap::new() }, &[""], 0);
    up.terminate();
}

#[test]
fn psycopg_reads_what_http_reads() {
    let Some(interpreter) = skip::python_with("psycopg") else { return };
    let dir = tempfile::tempdir().unwrap();
    let up = served(dir.path());
    let report = python(&interpreter, "psycopg_client.py", &up, STATEMENTS);
    compare("psycopg", &up, &report, &["", " in binary"], 18);
    up.terminate();
}

#[test]
fn asyncpg_reads_what_http_reads() {
    let Some(interpreter) = skip::python_with("asyncpg") else { return };
    let dir = tempfile::tempdir().unwrap();
    let up = served(dir.path());
    let report = python(&interpreter, "asyncpg_client.py", &up, STATEMENTS);
    compare("asyncpg", &up, &report, &[""], 11);
    up.terminate();
}

#[test]
fn sqlalchemy_reads_what_http_reads_and_reflects_the_tables() {
    let Some(interpreter) = skip::python_with("sqlalchemy, psycopg, asyncpg, greenlet") else { return };
    let dir = tempfile::tempdir().unwrap();
    let up = served(dir.path());
    let report = python(&interpreter, "sqlalchemy_client.py", &up, STATEMENTS);
    compare("SQLAlchemy", &up, &report, &[""], 8);
    up.terminate();
}

#[test]
fn node_postgres_reads_what_http_reads() {
    let Some(modules) = skip::node_modules() else { return };
    let dir = tempfile::tempdir().unwrap();
    let up = served(dir.path());
    let report = node(&modules, &up, STATEMENTS);
    compare("node-postgres", &up, &report, &[""], 12);
    up.terminate();
}

#[test]
fn pgjdbc_reads_what_http_reads_and_describes_the_tables() {
    let Some(driver) = skip::pgjdbc() else { return };
    let dir = tempfile::tempdir().unwrap();
    let up = served(dir.path());
    let report = java(&driver, &up, STATEMENTS);
    let modes = [" extended", " simple", " extendedForPrepared", " extendedCacheEverything"];
    compare("pgJDBC", &up, &report, &modes, 60);
    up.terminate();
}
