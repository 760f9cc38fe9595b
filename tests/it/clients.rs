//! Other people's clients against the real binary: psql, Grafana's own SQL, Python's readers.

use std::path::Path;
use std::process::Command;

use crate::harness::Up;
use crate::harness::skip;

/// What Grafana's PostgreSQL data source sends: ping, version, tables, columns, and one panel's query
/// with its macros expanded; and what must stand in each answer.
const GRAFANA: &[(&str, &str)] = &[
    ("-- ping", ""),
    ("SELECT current_setting('server_version_num')::int/100 as version", "1600"),
    (
        "SELECT quote_ident(table_name) AS \"table\" FROM information_schema.tables \
         WHERE quote_ident(table_schema) = 'public' ORDER BY 1",
        "api_access",
    ),
    (
        "SELECT column_name, data_type, udt_name FROM information_schema.columns \
         WHERE table_schema = 'public' AND table_name = 'queries' AND column_name = 'time'",
        "time|timestamp with time zone|timestamptz",
    ),
    (
        "SELECT time_bucket('60.000s',time) AS \"time\", endpoint AS metric, count(*) AS n FROM queries \
         WHERE time BETWEEN '2020-01-01T00:00:00Z' AND '2120-01-01T00:00:00.5Z' GROUP BY 1, 2 ORDER BY 1",
        "|pgwire|",
    ),
];

/// psql's output, or what it printed as an error.
fn psql(up: &Up, token: &str, text: &str) -> Result<String, String> {
    let (host, port) = up.pgwire.rsplit_once(':').unwrap();
    let output = Command::new("psql")
        .args(["-X", "-A", "-P", "footer=off", "-c", text])
        .envs([("PGHOST", host), ("PGPORT", port), ("PGUSER", "operator"), ("PGDATABASE", "bailiwick")])
        .envs([("PGPASSWORD", token), ("PGCONNECT_TIMEOUT", "30")])
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    match output.status.success() {
        true => Ok(text(output.stdout)),
        false => Err(text(output.stderr)),
    }
}

/// Goal: a person with psql and a Grafana with its data source find the tables
/// and read them through the binary's own port, and nobody without a token does.
#[test]
fn psql_and_grafana_find_and_read_the_tables() {
    if skip::without_psql() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let up = Up::start_plain(dir.path());
    let token = up.operator_token();
    let listed = psql(&up, &token, "\\dt").unwrap();
    for table in ["syscalls", "api_access", "usage", "alerts", "losses", "queries", "containers"] {
        assert!(listed.contains(&format!("public|{table}|table")), "{listed}");
    }
    let described = psql(&up, &token, "\\d syscalls").unwrap();
    assert!(described.contains("time|timestamp with time zone"), "{described}");
    // What psql asked so far is itself a row, once it has come through the WAL.
    up.wait_for_count("SELECT count(*) FROM queries WHERE endpoint = 'pgwire'", 1);
    for (sql, expected) in GRAFANA {
        let answer = psql(&up, &token, sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        assert!(answer.contains(expected), "{sql} answers\n{answer}");
    }
    let refused = psql(&up, "bwk_nobody_nothing", "SELECT 1").unwrap_err();
    assert!(refused.contains("password authentication failed"), "{refused}");
    up.terminate();
}

/// Goal: what Bailiwick commits, readers that know nothing of it can read.
/// Method: queries are recorded in a table; after a clean end they are in Delta,
/// and deltalake and DuckDB count the same rows of the same tenant.
#[test]
fn deltalake_and_duckdb_read_what_was_committed() {
    let Some(python) = skip::python_with_readers() else { return };
    let dir = tempfile::tempdir().unwrap();
    let up = Up::start_plain(dir.path());
    for number in 0..20 {
        up.rows(&format!("SELECT {number}"));
    }
    let mine = "SELECT count(*) FROM queries WHERE tenant = '_cluster' AND sql LIKE 'SELECT __' OR sql LIKE 'SELECT _'";
    up.wait_for_count(mine, 20);
    up.terminate();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/python/read_tables.py");
    let output = Command::new(python).arg(script).arg(dir.path().join("data/bucket")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let count =
        |reader: &str| report[reader]["queries"]["_cluster"].as_i64().unwrap_or_else(|| panic!("{report}"));
    assert!(count("deltalake") >= 20, "{report}");
    assert_eq!(count("deltalake"), count("duckdb"));
}
