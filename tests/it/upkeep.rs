//! The tables after merging, deletion, clean-up of the log and vacuum, as other
//! people's readers see them, and the commands that a person does it with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::harness::{Up, command, skip};

const CONFIG: &str = "\
[ingest]
listen = \"127.0.0.1:0\"
flush_after_ms = 200
carry_at_most_ms = 0
checkpoint_every = 2
retention_file = \"retention.yaml\"
[ingest.upkeep]
every_ms = 3000000
merge_at_files = 2
log_kept_ms = 3600000
[query]
http_listen = \"127.0.0.1:0\"
pgwire_listen = \"127.0.0.1:0\"
[collector.webhook]
listen = \"127.0.0.1:0\"
";

/// Of long ago; and of a time that nobody believes, so that it is of the day it came.
const TIMES: [&str; 2] = ["2026-01-01T00:00:00.000000Z", "1999-01-01T00:00:00.000000Z"];
const EVENT: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"a","stage":"ResponseComplete","requestURI":"/version","verb":"get","user":{"username":"alice"},"responseStatus":{"code":200},"requestReceivedTimestamp":"TIME","stageTimestamp":"TIME"}"#;

/// A folder with a bucket in it.
struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    /// Rows of `queries` in as many files as it takes flushes, and no server any more.
    fn with_small_files() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("bailiwick.toml"), CONFIG).unwrap();
        fs::write(dir.path().join("retention.yaml"), "tables: {queries: 30}\n").unwrap();
        let site = Self { dir };
        let log = site.dir.path().join("audit.log");
        fs::write(&log, TIMES.map(|time| EVENT.replace("TIME", time) + "\n").concat()).unwrap();
        let up = Up::start(site.dir.path(), &["--audit-log", log.to_str().unwrap()]);
        up.wait_for_count("SELECT count(*) FROM api_access", 2);
        let mut number = 0;
        while site.files("queries", "parquet").len() < 8 {
            up.rows(&format!("SELECT {number}"));
            number += 1;
        }
        up.terminate();
        site
    }

    /// What a command prints, and whether it succeeded.
    fn bailiwick(&self, arguments: &[&str]) -> (String, bool) {
        let (text, code) = command(self.dir.path(), arguments);
        (text, code == 0)
    }

    /// The same for one that must succeed.
    fn done(&self, arguments: &[&str]) -> String {
        let (text, succeeded) = self.bailiwick(arguments);
        assert!(succeeded, "{arguments:?}: {text}");
        text
    }

    fn bucket(&self) -> PathBuf {
        self.dir.path().join("data/bucket")
    }

    /// Files of one kind anywhere below a table.
    fn files(&self, table: &str, ending: &str) -> Vec<PathBuf> {
        let (mut found, mut folders) = (Vec::new(), vec![self.bucket().join("tables").join(table)]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                match path.is_dir() {
                    true => folders.push(path),
                    false if path.extension().is_some_and(|found| found == ending) => found.push(path),
                    false => {}
                }
            }
        }
        found
    }

    /// Rows of each table and tenant, as each reader counts them.
    fn read_by(&self, python: &str) -> [Value; 2] {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/python/read_tables.py");
        let output = Command::new(python).arg(script).arg(self.bucket()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let mut report: Value = serde_json::from_slice(&output.stdout).unwrap();
        [report["deltalake"].take(), report["duckdb"].take()]
    }

    /// Lets a log's files, and what vacuum has seen, be of long ago.
    fn age(&self, table: &str) {
        let old = SystemTime::now() - Duration::from_secs(7_200);
        for entry in fs::read_dir(self.bucket().join("tables").join(table).join("_delta_log")).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
            }
        }
        let state = self.bucket().join(format!("checkpoints/upkeep-vacuum-{table}"));
        let mut looks: Value = serde_json::from_slice(&fs::read(&state).unwrap()).unwrap();
        for first_ms in looks["unnamed"].as_object_mut().unwrap().values_mut() {
            *first_ms = 0.into();
        }
        fs::write(state, looks.to_string()).unwrap();
    }
}

/// Goal: whatever upkeep does to a table, deltalake and DuckDB read the rows that
/// are still meant to be there, and both the same.
#[test]
fn other_readers_see_the_same_rows_after_every_kind_of_upkeep() {
    let Some(python) = skip::python_with_readers() else { return };
    let site = Site::with_small_files();
    let before = site.read_by(&python);
    assert_eq!(before[0], before[1]);
    assert!(before[0]["queries"]["_cluster"].as_i64().unwrap() >= 8, "{before:?}");

    let said = site.done(&["upkeep", "--scrub"]);
    assert!(said.contains("merged    queries: ") && said.contains("checked   "), "{said}");
    assert_eq!(site.read_by(&python), before, "after merging: {said}");
    // Two checkpoints and an old log, and looks that go back for longer than the grace.
    for tenant in ["acme", "globex", "initech"] {
        site.done(&["tenant", "hold", tenant, "--reason", "to have orders of others"]);
        site.done(&["upkeep"]);
    }
    let (commits, objects) = (site.files("queries", "json").len(), site.files("queries", "parquet").len());
    site.age("queries");
    let said = site.done(&["upkeep"]);
    assert!(said.contains("vacuumed  ") && said.contains(" freed"), "{said}");
    assert!(site.files("queries", "parquet").len() < objects, "{said}");
    site.age("queries");
    let said = site.done(&["upkeep"]);
    assert!(site.files("queries", "json").len() < commits, "{said}");
    assert_eq!(site.read_by(&python), before, "after vacuum and clean-up of the log: {said}");

    assert_eq!(before[0]["api_access"], serde_json::json!({ "_cluster": 2 }));
    fs::write(site.dir.path().join("retention.yaml"), "tables: {queries: 30, api_access: 30}\n").unwrap();
    let said = site.done(&["upkeep"]);
    let after = site.read_by(&python);
    assert_eq!(after[0], after[1]);
    assert_eq!(after[0]["api_access"], serde_json::json!({ "_cluster": 1 }), "after retention: {said}");
    assert_eq!(after[0]["queries"], before[0]["queries"]);

    site.done(&["tenant", "delete", "_cluster", "--reason", "a test", "--yes"]);
    let said = site.done(&["upkeep"]);
    assert!(said.contains("deleted   all of _cluster"), "{said}");
    let after = site.read_by(&python);
    assert_eq!(after[0], after[1]);
    assert_eq!(after[0]["queries"], serde_json::json!({}), "after a deletion");
    // And a server reads it all, and writes on.
    let up = Up::start(site.dir.path(), &[]);
    up.rows("SELECT 'afterwards'");
    up.wait_for_count("SELECT count(*) FROM queries WHERE sql LIKE '%afterwards%'", 1);
    up.terminate();
}

/// Goal: a hold refuses a deletion and keeps what would go, a deletion needs a
/// yes, and all of it can be looked up afterwards.
#[test]
fn a_person_holds_deletes_and_looks_up_what_was_ordered() {
    let site = Site::with_small_files();
    let delete = ["tenant", "delete", "_cluster", "--reason", "contract ended"];
    let (said, succeeded) = site.bailiwick(&delete);
    assert!(!succeeded && said.contains("add --yes"), "{said}");
    site.done(&["tenant", "hold", "_cluster", "--reason", "case 17"]);
    let (said, succeeded) = site.bailiwick(&[&delete[..], &["--yes"]].concat());
    assert!(!succeeded && said.contains("on hold") && said.contains("case 17"), "{said}");
    let listed = site.done(&["tenant", "list"]);
    let line = listed.lines().find(|line| line.contains("_cluster")).unwrap();
    assert!(line.contains("forever, queries 30 days") && line.contains("HOLD since"), "{listed}");
    site.done(&["tenant", "release", "_cluster", "--reason", "case 17 is closed"]);
    site.done(&[&delete[..], &["--yes"]].concat());
    site.done(&["upkeep"]);
    let told = site.done(&["tenant", "history", "_cluster"]);
    for order in ["hold", "release", "delete", "removed", "deletion complete", "contract ended"] {
        assert!(told.contains(order), "{order} is not in\n{told}");
    }
    let (said, succeeded) = site.bailiwick(&["tenant", "hold", "../x", "--reason", "r"]);
    assert!(!succeeded && said.contains("tenant"), "{said}");
    fs::rename(site.bucket(), site.dir.path().join("elsewhere")).unwrap();
    let (said, succeeded) = site.bailiwick(&["tenant", "list"]);
    assert!(!succeeded && said.contains("there is no bucket at"), "{said}");
}

/// Goal: bytes that changed on the disk are found, told of, and keep no query
/// from the other rows.
#[test]
fn a_damaged_file_is_found_set_aside_and_the_rest_answers() {
    let site = Site::with_small_files();
    let file = site.files("queries", "parquet").remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&file, bytes).unwrap();
    let (said, succeeded) = site.bailiwick(&["upkeep", "--scrub"]);
    assert!(said.contains("DAMAGED   tables/queries/tenant=_cluster/") && !succeeded, "{said}");
    assert!(site.bucket().join("damaged/tables/queries").is_dir(), "{said}");
    if let Some(python) = skip::python_with_readers() {
        let read = site.read_by(&python);
        assert_eq!(read[0], read[1], "other readers see the rest");
    }
    let up = Up::start(site.dir.path(), &[]);
    let lost = "SELECT \"count\" FROM losses WHERE reason = 'damaged' AND detail LIKE '%tenant _cluster in queries%'";
    assert_eq!(up.rows(lost).len(), 1);
    assert!(up.count("SELECT count(*) FROM queries") > 0);
    up.terminate();
}
