//! The clients' programs: started with the server's address, read by their report.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde_json::Value;

use crate::harness::Up;

/// What a client found.
#[derive(Debug, Deserialize)]
pub(super) struct Report {
    /// Rows of cells by statement, and by format where a client has several.
    pub(super) cases: BTreeMap<String, Vec<Vec<Value>>>,
    /// `ok`, or what went wrong, by check.
    pub(super) checks: BTreeMap<String, String>,
}

type Statements = [(&'static str, &'static str)];

fn clients() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/clients")
}

/// A program that connects as the operator by the environment that libpq has.
fn connecting(program: &str, up: &Up) -> Command {
    let (host, port) = up.pgwire.rsplit_once(':').unwrap();
    let mut command = Command::new(program);
    command
        .current_dir(&up.dir)
        .envs([("PGHOST", host), ("PGPORT", port), ("PGUSER", "operator"), ("PGDATABASE", "bailiwick")])
        .envs([("PGPASSWORD", up.operator_token().as_str()), ("PGCONNECT_TIMEOUT", "30"), ("PGTZ", "UTC")])
        .env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn output(mut command: Command, up: &Up) -> Vec<u8> {
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{told}\n{}", up.log());
    output.stdout
}

fn report(command: Command, up: &Up) -> Report {
    let stdout = output(command, up);
    serde_json::from_slice(&stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&stdout)))
}

/// The statements as a file of JSON.
fn statements_file(up: &Up, statements: &Statements) -> PathBuf {
    let file = up.dir.join("statements.json");
    let map: BTreeMap<_, _> = statements.iter().copied().collect();
    fs::write(&file, serde_json::to_vec(&map).unwrap()).unwrap();
    file
}

/// One statement through psql.
pub(super) fn psql_rows(up: &Up, sql: &str) -> Vec<Vec<Value>> {
    const NULL: &str = "\u{1}null";
    let mut command = connecting("psql", up);
    command.args([
        "-X",
        "-q",
        "-A",
        "-t",
        "-F",
        "\u{1f}",
        "-R",
        "\u{1e}",
        "-P",
        &format!("null={NULL}"),
        "-c",
        sql,
    ]);
    let stdout = String::from_utf8(output(command, up)).unwrap();
    let text = stdout.strip_suffix('\n').unwrap_or(&stdout);
    if text.is_empty() {
        return Vec::new();
    }
    let cell = |cell: &str| if cell == NULL { Value::Null } else { Value::String(cell.to_owned()) };
    text.split('\u{1e}').map(|row| row.split('\u{1f}').map(cell).collect()).collect()
}

/// One statement through curl.
pub(super) fn curl_rows(up: &Up, sql: &str) -> Vec<Vec<Value>> {
    let mut command = Command::new("curl");
    command.args(["-sS", "--fail", "-H", &format!("Authorization: Bearer {}", up.operator_token())]);
    command.args(["--data-binary", sql, &format!("{}/api/v1/sql?format=json", up.url())]);
    let answer: Value = serde_json::from_slice(&output(command, up)).unwrap();
    let rows: Vec<Vec<Value>> = serde_json::from_value(answer["rows"].clone()).unwrap();
    rows.into_iter().map(|row| row.into_iter().map(plain).collect()).collect()
}

/// A value of JSON as the cell that other clients have.
fn plain(value: Value) -> Value {
    match value {
        Value::Null | Value::String(_) => value,
        Value::Array(items) => items.into_iter().map(plain).collect(),
        Value::Object(fields) => fields.into_iter().map(|(_, value)| plain(value)).collect(),
        other => Value::String(other.to_string()),
    }
}

/// A client of Python's.
pub(super) fn python(interpreter: &str, script: &str, up: &Up, statements: &Statements) -> Report {
    let mut command = connecting(interpreter, up);
    command.arg(clients().join(script)).arg(statements_file(up, statements));
    report(command, up)
}

/// node-postgres, from a folder that has it.
pub(super) fn node(modules: &Path, up: &Up, statements: &Statements) -> Report {
    let mut command = connecting("node", up);
    command.arg(clients().join("node_client.js")).arg(statements_file(up, statements));
    report(
        {
            command.env("NODE_PATH", modules);
            command
        },
        up,
    )
}

/// pgJDBC; Java compiles the program as it starts it.
pub(super) fn java(driver: &Path, up: &Up, statements: &Statements) -> Report {
    let lines = up.dir.join("statements.tsv");
    let text: Vec<_> = statements.iter().map(|(name, sql)| format!("{name}\t{sql}\n")).collect();
    fs::write(&lines, text.concat()).unwrap();
    let mut command = connecting("java", up);
    command.arg("-cp").arg(driver).arg(clients().join("PgJdbc.java")).arg(lines);
    report(command, up)
}
