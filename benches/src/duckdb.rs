//! DuckDB over the same rows, in a Python of its own.

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::Outcome;

/// What DuckDB needed to sort rows and write them as Parquet.
#[derive(Debug, Clone, Copy)]
pub struct Copied {
    /// Rows written.
    pub rows: u64,
    /// Wall time, seconds.
    pub wall_s: f64,
    /// Processor time, seconds.
    pub cpu_s: f64,
    /// Size of the files, bytes.
    pub bytes: u64,
}

/// Loading is not timed: DuckDB begins with the rows in its own table.
const SCRIPT: &str = r#"
import duckdb, json, os, sys, time
source, target, order, columns = sys.argv[1:5]
con = duckdb.connect()
con.execute("SET threads = 1")
con.execute("SET enable_progress_bar = false")
con.execute(f"CREATE TABLE events AS SELECT {columns} FROM read_parquet('{source}')")
rows = con.execute("SELECT count(*) FROM events").fetchone()[0]
wall, cpu = time.perf_counter(), time.process_time()
con.execute(f"COPY (FROM events ORDER BY {order}) TO '{target}' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)")
print(json.dumps({"rows": rows, "wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu, "bytes": os.path.getsize(target)}))
"#;

/// Answers questions over Parquet files, one a line. An answer is taken whole, as Arrow.
const SERVER: &str = r#"
import duckdb, json, sys, time
con = duckdb.connect()
con.execute("SET TimeZone = 'UTC'")
con.execute("SET enable_progress_bar = false")
tables = json.loads(sys.stdin.readline())
for name, files in tables.items():
    listed = ", ".join("'" + file + "'" for file in files)
    con.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet([{listed}], hive_partitioning = true)")
print(json.dumps({"version": duckdb.__version__}), flush=True)
for line in sys.stdin:
    began = time.perf_counter()
    answer = con.execute(json.loads(line)).to_arrow_table()
    took = time.perf_counter() - began
    ints = 0
    for column in answer.columns:
        if str(column.type) in ("int64", "int32", "decimal128(38, 0)"):
            ints += sum(int(value) for value in column.to_pylist() if value is not None)
    print(json.dumps({"wall_s": took, "rows": answer.num_rows, "ints": str(ints)}), flush=True)
"#;

/// A DuckDB that answers questions over tables made of Parquet files.
#[derive(Debug)]
pub struct Session {
    process: Child,
    questions: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    /// DuckDB's version.
    pub version: String,
}

/// What an answer was, and how long it took.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Seconds until the last row was there.
    pub wall_s: f64,
    /// Rows.
    pub rows: u64,
    /// The sum of all whole numbers in it.
    pub ints: i128,
}

// === impl Session ===

impl Session {
    /// Starts one over tables by name, each with its files. The error says why it
    /// could not be done.
    pub fn start(tables: &[(&str, Vec<String>)]) -> Outcome<Self> {
        let python = std::env::var("BAILIWICK_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let mut command = Command::new(&python);
        command.args(["-c", SERVER]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn()?;
        let questions = process.stdin.take().ok_or("no standard input")?;
        let answers = process.stdout.take().ok_or("no standard output")?;
        let answers = BufReader::new(answers).lines();
        let mut session = Self { process, questions, answers, version: String::new() };
        let files: serde_json::Map<String, Value> =
            tables.iter().map(|(name, files)| ((*name).to_owned(), json!(files))).collect();
        let ready = session.say(&Value::Object(files))?;
        session.version = ready["version"].as_str().unwrap_or_default().to_owned();
        Ok(session)
    }

    /// Asks.
    pub fn ask(&mut self, sql: &str) -> Outcome<Answer> {
        let answer = self.say(&json!(sql))?;
        let ints = answer["ints"].as_str().and_then(|ints| ints.parse().ok());
        Ok(Answer {
            wall_s: answer["wall_s"].as_f64().ok_or("no time")?,
            rows: answer["rows"].as_u64().ok_or("no rows")?,
            ints: ints.ok_or("no sum")?,
        })
    }

    fn say(&mut self, line: &Value) -> Outcome<Value> {
        writeln!(self.questions, "{line}")?;
        self.questions.flush()?;
        let answer = self.answers.next().ok_or("DuckDB has ended; its error is above")??;
        Ok(serde_json::from_str(&answer)?)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // It has ended already where all went well.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Sorts the rows of a Parquet file, with these columns of it, and writes them as
/// another, zstd 1, on one thread. The error says why it could not be done.
pub fn sorted_copy(source: &Path, target: &Path, order: &str, columns: &str) -> Result<Copied, String> {
    let python = std::env::var("BAILIWICK_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut command = Command::new(&python);
    command.args(["-c", SCRIPT]).arg(source).arg(target).args([order, columns]);
    let output = command.output().map_err(|error| format!("{python} cannot be started: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.trim().lines().last().unwrap_or_default().to_owned();
        return Err(format!("{python}: {last}; set BAILIWICK_TEST_PYTHON to a Python that has duckdb"));
    }
    let read = |error: serde_json::Error| format!("DuckDB's answer cannot be read: {error}");
    let answer: Value = serde_json::from_slice(&output.stdout).map_err(read)?;
    let number = |name: &str| answer[name].as_f64().ok_or_else(|| format!("DuckDB's answer has no {name}"));
    Ok(Copied {
        rows: number("rows")? as u64,
        wall_s: number("wall_s")?,
        cpu_s: number("cpu_s")?,
        bytes: number("bytes")? as u64,
    })
}
