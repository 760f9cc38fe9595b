//! Every event once, whatever is killed: server and collector as processes, over
//! a directory, an S3 service, a full disk, and a service that goes away.
//!
//! ```text
//!   a thread ─ lines, each its own auditID ─▶ audit.log ─▶ collect ══▶ serve ─▶ bucket ─▶ SQL, deltalake, DuckDB
//!                                                     SIGKILL ✗    ✗ SIGKILL   ✗ full, stopped, killed
//! ```
//!
//! `BAILIWICK_TEST_SEED` repeats a run as far as processes can be repeated;
//! `BAILIWICK_TEST_KILLS` makes it longer.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::disk::SmallDisk;
use crate::harness::weed::{Weed, free_port};
use crate::harness::{Up, skip, wait_until};

const EVENT: &str = r#"{"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"AUDIT_ID","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/acme-prod/configmaps/a","verb":"get","user":{"username":"alice"},"sourceIPs":["10.0.0.9"],"objectRef":{"resource":"configmaps","namespace":"acme-prod","name":"a","apiVersion":"v1"},"responseStatus":{"code":200},"requestReceivedTimestamp":"2026-11-24T01:00:00.000000Z","stageTimestamp":"2026-11-24T01:00:00.010000Z"}"#;

/// How often something is killed where nobody says otherwise.
const KILLS: u64 = 4;

/// Server and collector over one bucket, the log between, and chance.
struct Scene {
    dir: tempfile::TempDir,
    chance: StdRng,
    server: Option<Up>,
    collector: Option<Up>,
    load: Load,
}

/// A thread that writes a log as an API server does.
struct Load {
    written: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

// === impl Load ===

impl Load {
    fn start(log: PathBuf) -> Self {
        let (written, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, ended) = (Arc::clone(&written), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let first = count.load(Ordering::Relaxed);
                let line =
                    |number: usize| format!("{}\n", EVENT.replace("AUDIT_ID", &format!("event-{number}")));
                let lines: String = (first..first + 25).map(line).collect();
                let mut file = fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
                file.write_all(lines.as_bytes()).unwrap();
                count.store(first + 25, Ordering::Relaxed);
                if first == 1_000 {
                    fs::rename(&log, log.with_extension("log.1")).unwrap();
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Self { written, stop, thread }
    }

    /// Ends it; answers how many events were written.
    fn end(self) -> i64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        i64::try_from(self.written.load(Ordering::Relaxed)).unwrap()
    }
}

// === impl Scene ===

impl Scene {
    /// Starts everything; `bucket` are the lines of the server's file that say where it is.
    fn start(bucket: &str) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), bucket)
    }

    fn start_in(dir: tempfile::TempDir, bucket: &str) -> Self {
        let given = std::env::var("BAILIWICK_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed: u64 = given.unwrap_or_else(rand::random);
        println!("BAILIWICK_TEST_SEED={seed}");
        let port = free_port().local_addr().unwrap().port();
        let server = format!(
            "{bucket}\n[ingest]\nlisten = \"127.0.0.1:{port}\"\nflush_after_ms = 400\n\
             [query]\nhttp_listen = \"127.0.0.1:0\"\npgwire_listen = \"127.0.0.1:0\"\n"
        );
        let log = dir.path().join("audit.log");
        let collector = format!(
            "node = \"node-1\"\n[collector]\nendpoint = \"http://127.0.0.1:{port}\"\n\
             [collector.syscalls]\nenabled = \"off\"\n[collector.webhook]\nenabled = \"off\"\n\
             [collector.usage]\nenabled = \"off\"\n[collector.audit_file]\npath = {log:?}\npoll_every_ms = 20\n"
        );
        for (name, text) in [("server", server), ("collector", collector)] {
            fs::create_dir_all(dir.path().join(name)).unwrap();
            fs::write(dir.path().join(name).join("bailiwick.toml"), text).unwrap();
        }
        let load = Load::start(log);
        let mut scene =
            Self { dir, chance: StdRng::seed_from_u64(seed), server: None, collector: None, load };
        scene.start_what_is_down();
        scene
    }

    fn start_what_is_down(&mut self) {
        let start = |subcommand: &str, name: &str| Up::start_as(subcommand, &self.dir.path().join(name), &[]);
        self.server.get_or_insert_with(|| start("serve", "server"));
        self.collector.get_or_insert_with(|| start("collect", "collector"));
    }

    /// Waits for a moment that nobody knows in advance.
    fn moment(&mut self) {
        std::thread::sleep(Duration::from_millis(self.chance.random_range(20..900)));
    }

    /// Kills server, collector or both.
    fn kill_something(&mut self) {
        let victims = self.chance.random_range(1..4);
        let server = if victims & 1 == 0 { None } else { self.server.take() };
        let collector = if victims & 2 == 0 { None } else { self.collector.take() };
        server.into_iter().chain(collector).for_each(Up::kill);
    }

    fn kill_again_and_again(&mut self) {
        let kills = std::env::var("BAILIWICK_TEST_KILLS").ok().and_then(|kills| kills.parse().ok());
        for _ in 0..kills.unwrap_or(KILLS) {
            self.moment();
            self.kill_something();
            self.moment();
            self.start_what_is_down();
        }
    }

    /// Lets everything settle: SQL must find every event once. Then ends
    /// everything, and other people's readers must find the same.
    fn every_event_is_there_once(mut self, bucket: &str, keys: &[(&str, String)]) {
        let events = self.load.end();
        let (server, collector) = (self.server.take().unwrap(), self.collector.take().unwrap());
        server.wait_for_count("SELECT count(DISTINCT audit_id) FROM api_access", events);
        assert_eq!(server.count("SELECT count(*) FROM api_access"), events, "an event is stored twice");
        assert_eq!(server.count("SELECT count(*) FROM losses WHERE lane IN ('audit', 'ship')"), 0);
        println!("{events} events");
        collector.terminate();
        server.terminate();
        let Some(python) = skip::python_with_readers() else { return };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/python/read_tables.py");
        let mut read = Command::new(python);
        let envs = keys.iter().map(|(name, value)| (*name, value.as_str()));
        let output = read.arg(script).args([bucket, "api_access.audit_id"]).envs(envs).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        for reader in ["deltalake", "duckdb"] {
            let tenants = report[reader]["api_access"].as_object().unwrap();
            let rows: i64 = tenants.values().filter_map(serde_json::Value::as_i64).sum();
            let distinct = report["distinct"][reader].as_i64();
            assert_eq!((rows, distinct), (events, Some(events)), "{reader}: {report}");
        }
    }
}

/// The lines that say where the bucket is, its address, and what readers need.
fn s3(weed: &Weed, name: &str) -> (String, String, Vec<(&'static str, String)>) {
    let bucket = format!("{}/site-a", weed.bucket(name));
    let (id, secret) = weed.key_files();
    let lines = format!(
        "bucket = {bucket:?}\n[s3]\nendpoint = {:?}\naccess_key_id_file = {id:?}\nsecret_access_key_file = {secret:?}\n\
         connect_timeout_ms = 1000\nrequest_timeout_ms = 2000\nretries = 1\n",
        weed.endpoint()
    );
    let keys = vec![
        ("AWS_ENDPOINT_URL", weed.endpoint()),
        ("AWS_ACCESS_KEY_ID", fs::read_to_string(id).unwrap()),
        ("AWS_SECRET_ACCESS_KEY", fs::read_to_string(secret).unwrap()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("AWS_ALLOW_HTTP", "true".to_owned()),
    ];
    (lines, bucket, keys)
}

/// Goal: SIGKILL at whatever moment neither loses nor doubles an event.
#[test]
fn killed_over_a_directory() {
    let mut scene = Scene::start("");
    scene.kill_again_and_again();
    let bucket = scene.dir.path().join("server/data/bucket").display().to_string();
    scene.every_event_is_there_once(&bucket, &[]);
}

/// The same over S3, with a prefix.
#[test]
fn killed_over_s3() {
    let Some(weed) = Weed::start() else { return };
    let (lines, bucket, keys) = s3(&weed, "killed");
    let mut scene = Scene::start(&lines);
    scene.kill_again_and_again();
    scene.every_event_is_there_once(&bucket, &keys);
}

/// Goal: a service that stops answering, and one that dies, only delay. Method:
/// SIGSTOP for longer than a request may take, so that requests end twice; SIGKILL
/// and a start over the same folder; the collector is killed meanwhile.
#[test]
fn the_store_goes_away_and_comes_back() {
    let Some(mut weed) = Weed::start() else { return };
    let (lines, bucket, keys) = s3(&weed, "away");
    let mut scene = Scene::start(&lines);
    scene.moment();
    weed.pause();
    std::thread::sleep(Duration::from_millis(2_500));
    scene.collector.take().unwrap().kill();
    weed.resume();
    scene.start_what_is_down();
    scene.moment();
    weed.kill();
    scene.moment();
    assert!(scene.server.as_mut().unwrap().is_running(), "the server ended with its store");
    assert!(weed.start_again());
    scene.moment();
    scene.server.take().unwrap().kill();
    scene.start_what_is_down();
    scene.every_event_is_there_once(&bucket, &keys);
}

/// Goal: a disk that is full, under the bucket and under the spool, only delays,
/// also where processes are killed on it. Method: two small file systems, filled
/// to their last byte, one after the other.
#[test]
fn killed_on_full_disks() {
    if skip::without_kernel() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let disks = ["server", "collector"].map(|name| SmallDisk::mount(&dir.path().join(name).join("data"), 96));
    let mut scene = Scene::start_in(dir, "");
    for (index, disk) in disks.iter().enumerate() {
        scene.moment();
        let filler = disk.fill();
        // Long enough for several writes to have failed.
        std::thread::sleep(Duration::from_millis(1_500));
        let (server, collector) = (scene.server.as_mut().unwrap(), scene.collector.as_mut().unwrap());
        assert!(server.is_running() && collector.is_running(), "a process ended with its disk");
        let killed = if index == 0 { scene.server.take() } else { scene.collector.take() };
        killed.unwrap().kill();
        fs::remove_file(filler).unwrap();
        scene.start_what_is_down();
    }
    let count = "SELECT count(*) FROM api_access";
    let before = scene.server.as_ref().unwrap().count(count);
    wait_until(|| scene.server.as_ref().unwrap().count(count) > before);
    let bucket = scene.dir.path().join("server/data/bucket").display().to_string();
    scene.every_event_is_there_once(&bucket, &[]);
}
