//! A person's way to an S3 bucket: what `doctor` says of a good one and of each bad one,
//! and that other people's readers read what is in it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::harness::weed::Weed;
use crate::harness::{SERVER, Up, skip};

/// Nothing of the machine is captured.
const NO_COLLECTOR: &str = "\
[collector.syscalls]
enabled = \"off\"
[collector.usage]
enabled = \"off\"
[collector.webhook]
enabled = \"off\"
";

/// Runs `doctor` with everything about the bucket in the environment.
fn doctor(dir: &Path, variables: &[(&str, &str)]) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_bailiwick"))
        .current_dir(dir)
        .args(["--config", "bailiwick.toml", "--data-dir", "data", "doctor"])
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].map(String::from_utf8_lossy).join("\n");
    (output, text)
}

/// Goal: a good bucket is told to be good, with its latency; of a bad one the
/// message names bucket and field, the exit code tells what to do, and no secret
/// is in it. Method: a real service, and each thing wrong in turn.
#[test]
fn doctor_looks_at_the_bucket() {
    let Some(weed) = Weed::start() else { return };
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("bailiwick.toml"), [SERVER, NO_COLLECTOR].concat()).unwrap();
    let (id, secret) = weed.key_files();
    let (id, secret) = (fs::read_to_string(id).unwrap(), fs::read_to_string(secret).unwrap());
    let (bucket, endpoint) = (weed.bucket("looked-at"), weed.endpoint());
    let with = |bucket: &str, endpoint: &str, secret: &str| {
        let retries = ("BAILIWICK_S3__RETRIES", "0");
        let keys = [("AWS_ACCESS_KEY_ID", id.as_str()), ("AWS_SECRET_ACCESS_KEY", secret)];
        let place = [("BAILIWICK_BUCKET", bucket), ("BAILIWICK_S3__ENDPOINT", endpoint)];
        doctor(dir.path(), &[place.as_slice(), &keys, &[retries]].concat())
    };

    let (output, text) = with(&bucket, &endpoint, &secret);
    assert!(output.status.success(), "{text}");
    let told = text.lines().find(|line| line.contains("put-if-absent holds")).unwrap_or_default();
    assert!(["✓", "bucket", " ms"].iter().all(|word| told.contains(word)), "{text}");

    let far = "http://storage.example:9000";
    for (bucket, endpoint, secret, code, words) in [
        ("s3://nobody-made-this", endpoint.as_str(), secret.as_str(), 78, ["field bucket", "no such bucket"]),
        (&bucket, &endpoint, "wrong-secret", 78, ["s3.secret_access_key_file", "AWS_SECRET_ACCESS_KEY"]),
        (&bucket, "http://127.0.0.1:1", &secret, 69, ["s3.endpoint", "does not answer"]),
        (&bucket, far, &secret, 78, ["s3.endpoint", "s3.allow_http"]),
        ("s3://key:wrong-secret@bucket", &endpoint, &secret, 78, ["cannot be opened", "keys come from"]),
    ] {
        let (output, text) = with(bucket, endpoint, secret);
        assert_eq!(output.status.code(), Some(code), "{bucket} {endpoint}: {text}");
        assert!(words.iter().all(|word| text.contains(word)), "{bucket} {endpoint}: {text}");
        let hidden = bucket.contains('@') || !text.contains(secret);
        assert!(hidden, "a secret is printed: {text}");
    }
    // A folder that a start would make is not made by looking.
    let (output, text) = doctor(dir.path(), &[]);
    assert!(output.status.success() && text.contains("not there yet"), "{text}");
    assert!(!dir.path().join("data/bucket").exists());
}

/// Goal: what is committed to S3 is read there by deltalake and DuckDB, with the
/// same rows; and what was asked of the service is counted.
#[test]
fn deltalake_and_duckdb_read_from_s3() {
    let Some(weed) = Weed::start() else { return };
    let Some(python) = skip::python_with_readers() else { return };
    let dir = tempfile::tempdir().unwrap();
    let bucket = format!("{}/a/b=c", weed.bucket("read"));
    let (id, secret) = weed.key_files();
    let place = format!(
        "bucket = {bucket:?}\n[s3]\nendpoint = {:?}\naccess_key_id_file = {id:?}\nsecret_access_key_file = {secret:?}\n",
        weed.endpoint()
    );
    fs::write(dir.path().join("bailiwick.toml"), format!("{place}{SERVER}{NO_COLLECTOR}")).unwrap();
    let up = Up::start_as("serve", dir.path(), &[]);
    for number in 0..20 {
        up.rows(&format!("SELECT {number}"));
    }
    up.wait_for_count("SELECT count(*) FROM queries WHERE sql LIKE 'SELECT __' OR sql LIKE 'SELECT _'", 20);
    let metrics = up.get("/metrics");
    for name in ["operations_total{operation=\"create\"}", "sent_bytes_total", "operation_seconds_count"] {
        assert!(metrics.contains(&format!("bailiwick_lake_{name}")), "no {name}\n{metrics}");
    }
    up.terminate();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/python/read_tables.py");
    let text = |file| fs::read_to_string(file).unwrap();
    let output = Command::new(python)
        .arg(script)
        .args([&bucket, "queries.sql"])
        .envs([("AWS_ENDPOINT_URL", weed.endpoint()), ("AWS_REGION", "us-east-1".into())])
        .envs([("AWS_ACCESS_KEY_ID", text(id)), ("AWS_SECRET_ACCESS_KEY", text(secret))])
        .env("AWS_ALLOW_HTTP", "true")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let count = |reader: &str| report[reader]["queries"]["_cluster"].as_i64().unwrap();
    assert!(count("deltalake") >= 20, "{report}");
    assert_eq!(count("deltalake"), count("duckdb"));
    assert_eq!(report["distinct"]["deltalake"], report["distinct"]["duckdb"]);
}
