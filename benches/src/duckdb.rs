//! DuckDB over the same rows, in a Python of its own.

use std::path::Path;
use std::process::Command;

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
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).map_err(read)?;
    let number = |name: &str| answer[name].as_f64().ok_or_else(|| format!("DuckDB's answer has no {name}"));
    Ok(Copied {
        rows: number("rows")? as u64,
        wall_s: number("wall_s")?,
        cpu_s: number("cpu_s")?,
        bytes: number("bytes")? as u64,
    })
}
