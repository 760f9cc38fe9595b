//! `bailiwick sql`: a person at a terminal, and scripts.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::harness::{COLLECTOR, SERVER, Up, skip, wait_until};

/// Goal: everything that a person does at the prompt works. Method: a pseudo-terminal,
/// keys as a keyboard sends them, the real server.
#[test]
fn a_person_talks_with_it() {
    let Some(python) = skip::python() else { return };
    let dir = tempfile::tempdir().unwrap();
    let up = Up::start_plain(dir.path());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/python/talk_sql.py");
    let output = Command::new(python)
        .arg(script)
        .args([env!("CARGO_BIN_EXE_bailiwick"), &up.url(), &up.operator_token()])
        .arg(dir.path().join("state"))
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
    let has = |step: &str, texts: &[&str]| {
        for text in texts {
            let told = seen[step].as_str().unwrap_or_else(|| panic!("{step} in {seen}"));
            assert!(told.contains(text), "{step} without {text:?}: {told:?}");
        }
    };
    has("several_lines", &["one", "two", ";"]);
    has("hostile", &["\\u{1b}[2Jx"]);
    assert!(!seen["hostile"].as_str().unwrap().contains("\u{1b}[2Jx"));
    has("wrong", &["nope", "[invalid_query]"]);
    has("describe", &["reason", "bigint", "how many, exactly"]);
    has("relations", &["sessions", "view", "network_flows", "Kubernetes API requests"]);
    has("functions", &["process_tree(exec_id", "chargeback(from, to)"]);
    has("expanded", &["─[ 1 ]", "five │ 5"]);
    has("completed", &["network_flows"]);
    has("progress", &["so far"]);
    has("watched", &["every 100.0 ms"]);
    has("history", &["SELECT chr(27)", "\\\\watch 0.1"]);
    assert_eq!((&seen["exit"], &seen["second_exit"]), (&0.into(), &0.into()));
    assert_eq!(seen["history_mode"], 0o600);
    assert!(!seen["history"].as_str().unwrap().contains("SELECT drop"));
    // Ctrl-C ended it on the server too.
    let cancelled =
        "SELECT count(*) FROM queries WHERE outcome = 'cancelled' AND sql LIKE '%generate_series%'";
    up.wait_for_count(cancelled, 1);
    up.terminate();
}

/// `bailiwick sql` as a script runs it.
fn sql(up: &Up, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_bailiwick"))
        .current_dir(&up.dir)
        .args(["sql", "--url", &up.url(), "--token", &up.operator_token()])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn scripts_ask_by_argument_file_and_standard_input() {
    let dir = tempfile::tempdir().unwrap();
    let up = Up::start_plain(dir.path());
    let told = |arguments: &[&str], input: &str| {
        let output = sql(&up, arguments, input);
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    assert_eq!(told(&["-F", "csv", "SELECT 1 AS a; SELECT ';' AS b"], ""), "a\n1\nb\n;\n");
    assert_eq!(told(&["-F", "csv"], "SELECT 1 AS a;\n-- only words\nSELECT 2 AS a"), "a\n1\na\n2\n");
    assert_eq!(told(&["-F", "csv", "-"], "SELECT 3 AS a"), "a\n3\n");
    let lines = told(&["-F", "ndjson", "SELECT 1 AS a, NULL AS b UNION ALL SELECT 2, 'x' ORDER BY a"], "");
    assert_eq!(lines, "{\"a\":1,\"b\":null}\n{\"a\":2,\"b\":\"x\"}\n");
    let json: Value = serde_json::from_str(&told(&["-F", "json", "SELECT 1 AS a"], "")).unwrap();
    assert_eq!(json["rows"], serde_json::json!([[1]]));
    assert_eq!(told(&["-F", "expanded", "SELECT 1 AS a"], ""), "─[ 1 ]────────\na │ 1\n(1 row)\n");
    // What an event says is exact for programs, and harmless for people.
    assert_eq!(told(&["-F", "csv", "SELECT chr(27) AS e"], ""), "e\n\u{1b}\n");
    assert!(!told(&["SELECT chr(27) AS e"], "").contains('\u{1b}'));

    fs::write(dir.path().join("inner.sql"), "SELECT 'inner' AS c;").unwrap();
    fs::write(dir.path().join("a.sql"), "\\f csv\n\\i inner.sql\n\\o out.csv\nSELECT 'outer' AS c;\n")
        .unwrap();
    assert_eq!(told(&["-f", "a.sql", "-f", "inner.sql"], ""), "c\ninner\n");
    assert_eq!(fs::read_to_string(dir.path().join("out.csv")).unwrap(), "c\nouter\nc\ninner\n");
    assert_eq!(told(&["-o", "table.txt", "SELECT 9 AS n"], ""), "");
    assert!(fs::read_to_string(dir.path().join("table.txt")).unwrap().contains("(1 row)"));
    assert!(told(&["\\d sessions"], "").contains("session_exec_id"));

    // The first failure ends a script.
    let failed = sql(&up, &["-F", "csv"], "SELECT 1 AS a; SELECT nope; SELECT 2 AS a");
    assert_eq!((failed.status.code(), text(&failed.stdout).as_str()), (Some(1), "a\n1\n"));
    assert!(text(&failed.stderr).contains("nope"));
    assert_eq!(sql(&up, &["-f", "missing.sql"], "").status.code(), Some(78));
    assert_eq!(sql(&up, &["\\nonsense"], "").status.code(), Some(1));
    fs::write(dir.path().join("loop.sql"), "\\i loop.sql").unwrap();
    assert!(text(&sql(&up, &["-f", "loop.sql"], "").stderr).contains("without end"));
    up.terminate();
}

/// Goal: no script takes a part of an answer for the whole, nor one that is nowhere
/// for written. Method: more rows than the server gives; a disk that is always full.
#[test]
fn what_is_missing_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let config = [&SERVER.replace("[query]", "[query]\nmax_rows = 3"), COLLECTOR].concat();
    fs::write(dir.path().join("bailiwick.toml"), config).unwrap();
    let up = Up::start(dir.path(), &[]);
    for format in ["table", "expanded", "csv", "json", "ndjson"] {
        let cut = sql(&up, &["-F", format, "SELECT value FROM generate_series(1, 9)"], "");
        let told = text(&cut.stderr);
        assert_eq!(cut.status.code(), Some(1), "{format}: {told}");
        assert!(told.contains("cut") && told.contains("query.max_rows"), "{format}: {told}");
        let whole = sql(&up, &["-F", format, "SELECT value FROM generate_series(1, 3)"], "");
        assert_eq!((whole.status.code(), text(&whole.stderr).as_str()), (Some(0), ""), "{format}");
        assert_eq!(text(&whole.stdout).contains('3'), text(&cut.stdout).contains('3'));

        let written_to = |file: &str| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_bailiwick"));
            command.current_dir(&up.dir).args(["sql", "--url", &up.url(), "--token", &up.operator_token()]);
            command.args(["-F", format, "SELECT 1"]).stdin(Stdio::null());
            command.stdout(fs::OpenOptions::new().write(true).open(file).unwrap()).output().unwrap()
        };
        let full = written_to("/dev/full");
        let told = text(&full.stderr);
        assert_eq!(full.status.code(), Some(1), "{format}: {told}");
        assert!(told.contains("standard output: No space left on device"), "{format}: {told}");
        assert_eq!(written_to("/dev/null").status.code(), Some(0), "{format}");
    }
    // What comes after a part is run, and the part is not forgotten.
    let several = sql(&up, &["-F", "csv"], "SELECT value FROM generate_series(1, 9); SELECT 'last' AS a");
    assert_eq!((several.status.code(), text(&several.stdout).ends_with("a\nlast\n")), (Some(1), true));
    // A reader that has gone wanted no more: no failure.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_bailiwick"));
    command.current_dir(&up.dir).args(["sql", "--url", &up.url(), "--token", &up.operator_token()]);
    let gone = command.args(["SELECT 1"]).stdin(Stdio::null()).stdout(writer).output().unwrap();
    assert_eq!((gone.status.code(), text(&gone.stderr).as_str()), (Some(0), ""));
    up.terminate();
}

/// Goal: a script that is interrupted ends its statement on the server.
#[test]
fn an_interrupted_script_leaves_nothing_running() {
    let dir = tempfile::tempdir().unwrap();
    let up = Up::start_plain(dir.path());
    let child = Command::new(env!("CARGO_BIN_EXE_bailiwick"))
        .current_dir(dir.path())
        .args(["sql", "--url", &up.url(), "--token", &up.operator_token()])
        .arg("SELECT count(*) FROM generate_series(1, 9000000000000) a WHERE sqrt(a.value) < 0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It runs once the server counts it.
    wait_until(|| {
        let metrics = up.get("/metrics");
        metrics.lines().any(|line| line.starts_with("bailiwick_query_running") && line.ends_with(" 1"))
    });
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", text(&output.stderr));
    up.wait_for_count("SELECT count(*) FROM queries WHERE outcome = 'cancelled'", 1);
    up.terminate();
}
