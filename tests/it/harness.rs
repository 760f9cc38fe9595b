//! The real binary, started as a person would, in a folder of its own.

pub(crate) mod cgroup;
pub(crate) mod kube_api;
pub(crate) mod scene;
pub(crate) mod skip;
pub(crate) mod webhook;
pub(crate) mod weed;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take that normally takes well under a second; only a
/// hang is a failure, never slowness.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// The server's ports are the system's choice, and everything is stored within a second.
/// What follows is of `[ingest]` until another table begins.
pub(crate) const SERVER: &str = "\
[query]
http_listen = \"127.0.0.1:0\"
pgwire_listen = \"127.0.0.1:0\"
[ingest]
listen = \"127.0.0.1:0\"
flush_after_ms = 1000
";
/// So is the collector's. The same holds of what follows.
pub(crate) const COLLECTOR: &str = "\
[collector.webhook]
listen = \"127.0.0.1:0\"
";

/// A running `bailiwick up`, `serve` or `collect`.
pub(crate) struct Up {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    http: String,
    pub(crate) pgwire: String,
    pub(crate) dir: PathBuf,
}

// === impl Up ===

impl Up {
    /// Starts `up` over `dir`, which holds its `bailiwick.toml`, and waits until
    /// it says that it is ready.
    pub(crate) fn start(dir: &Path, arguments: &[&str]) -> Self {
        Self::start_as("up", dir, arguments)
    }

    /// Starts `up` over `dir`, with nothing configured but its ports.
    pub(crate) fn start_plain(dir: &Path) -> Self {
        fs::write(dir.join("bailiwick.toml"), [SERVER, COLLECTOR].concat()).unwrap();
        Self::start(dir, &[])
    }

    /// The same for another subcommand.
    pub(crate) fn start_as(subcommand: &str, dir: &Path, arguments: &[&str]) -> Self {
        Self::start_by(subcommand, dir, arguments, None)
    }

    /// Starts `up` with more in its environment.
    pub(crate) fn start_with(dir: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bailiwick"));
        command.envs(environment.iter().copied());
        Self::start_of(command, "up", dir, arguments)
    }

    /// The same as another user.
    pub(crate) fn start_by(subcommand: &str, dir: &Path, arguments: &[&str], uid: Option<u32>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bailiwick"));
        if let Some(uid) = uid {
            std::os::unix::process::CommandExt::uid(&mut command, uid);
        }
        Self::start_of(command, subcommand, dir, arguments)
    }

    fn start_of(mut command: Command, subcommand: &str, dir: &Path, arguments: &[&str]) -> Self {
        let mut child = command
            .current_dir(dir)
            .args(["--config", "bailiwick.toml", "--data-dir", "data", subcommand])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(dir.join("stderr.log")).unwrap())
            .spawn()
            .unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let collected = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                collected.lock().unwrap().push(line);
            }
        });
        let empty = String::new;
        let mut up = Self { child, lines, http: empty(), pgwire: empty(), dir: dir.to_owned() };
        up.wait_for_line("ready in");
        // A collector has neither.
        up.http = up.address("SQL over HTTP", "http://", "/api/v1/sql").unwrap_or_default();
        up.pgwire = up.address("PostgreSQL", "postgres://operator@", "/bailiwick").unwrap_or_default();
        up
    }

    fn address(&self, name: &str, before: &str, after: &str) -> Option<String> {
        let lines = self.lines.lock().unwrap();
        let line = lines.iter().find(|line| line.contains(name))?;
        let rest = &line[line.find(before)? + before.len()..];
        Some(rest[..rest.find(after)?].to_owned())
    }

    /// The first line on standard output that contains `text`.
    pub(crate) fn wait_for_line(&mut self, text: &str) -> String {
        let began = Instant::now();
        loop {
            let found = self.lines.lock().unwrap().iter().find(|line| line.contains(text)).cloned();
            if let Some(line) = found {
                return line;
            }
            let ended = self.child.try_wait().unwrap();
            let gave_up = began.elapsed() > PATIENCE;
            assert!(
                ended.is_none() && !gave_up,
                "no line with {text:?} (ended: {ended:?})\n{}\n{}",
                self.lines.lock().unwrap().join("\n"),
                fs::read_to_string(self.dir.join("stderr.log")).unwrap_or_default(),
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The operator's token, from where the binary put it.
    pub(crate) fn operator_token(&self) -> String {
        fs::read_to_string(self.dir.join("data/operator.token")).unwrap().trim().to_owned()
    }

    /// A new token of a tenant; the server takes it up within a second or so.
    pub(crate) fn create_token(&self, name: &str, tenant: &str) -> String {
        let created = Command::new(env!("CARGO_BIN_EXE_bailiwick"))
            .current_dir(&self.dir)
            .args(["--config", "bailiwick.toml", "--data-dir", "data"])
            .args(["token", "create", name, "--tenant", tenant])
            .output()
            .unwrap();
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
        let stdout = String::from_utf8(created.stdout).unwrap();
        stdout.split_whitespace().find(|word| word.starts_with("bwk_")).unwrap().to_owned()
    }

    /// The status and body of a statement over HTTP.
    pub(crate) fn post_sql(&self, token: &str, statement: &str) -> (u16, Value) {
        let (status, body) = posted(&self.http, "/api/v1/sql?format=json", token, statement);
        (status, serde_json::from_str(&body).unwrap_or(Value::String(body)))
    }

    /// The text of a page that anybody may read.
    pub(crate) fn get(&self, path: &str) -> String {
        let url = format!("http://{}{path}", self.http);
        blocking(async { reqwest::get(url).await.unwrap().text().await.unwrap() })
    }

    /// The rows of a statement that must succeed, as the operator.
    pub(crate) fn rows(&self, statement: &str) -> Vec<Vec<Value>> {
        let (status, body) = self.post_sql(&self.operator_token(), statement);
        assert_eq!(status, 200, "{statement}: {body}");
        serde_json::from_value(body["rows"].clone()).unwrap()
    }

    /// The one integer that a statement answers.
    pub(crate) fn count(&self, statement: &str) -> i64 {
        let rows = self.rows(statement);
        rows[0][0].as_i64().unwrap_or_else(|| panic!("{statement} answered {rows:?}"))
    }

    /// Asks again until the count is at least `least`, and answers it.
    pub(crate) fn wait_for_count(&self, statement: &str, least: i64) -> i64 {
        let began = Instant::now();
        loop {
            let count = self.count(statement);
            if count >= least {
                return count;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "{statement} stays at {count}, expected {least}\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Everything that it said so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its HTTP API is.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// What the binary logged so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.join("stderr.log")).unwrap_or_default()
    }

    /// Whether the process still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends the process as a power cut would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks the process to end and waits for it; it must exit with 0.
    pub(crate) fn terminate(mut self) -> Vec<String> {
        signal(&self.child, nix::sys::signal::Signal::SIGTERM);
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < PATIENCE, "does not end on SIGTERM\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        };
        assert!(status.success(), "{status}\n{}", self.log());
        self.lines.lock().unwrap().clone()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // A test that failed must not leave a collector running.
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What a command prints over the configuration and data in `dir`, and its exit code.
pub(crate) fn command(dir: &Path, arguments: &[&str]) -> (String, i32) {
    let output = Command::new(env!("CARGO_BIN_EXE_bailiwick"))
        .current_dir(dir)
        .args(["--config", "bailiwick.toml", "--data-dir", "data"])
        .args(arguments)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8(text).unwrap(), output.status.code().unwrap())
}

/// Asks again until it is so.
pub(crate) fn wait_until(mut done: impl FnMut() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < PATIENCE, "waited in vain");
        std::thread::sleep(Duration::from_millis(50));
    }
}

pub(crate) fn signal(child: &Child, signal: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, signal).unwrap();
}

/// A blocking POST, since these tests are about processes, not about tasks.
fn posted(host: &str, path: &str, token: &str, body: &str) -> (u16, String) {
    blocking(async {
        let request = reqwest::Client::new().post(format!("http://{host}{path}")).bearer_auth(token);
        let response = request.body(body.to_owned()).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    })
}

fn blocking<T>(work: impl Future<Output = T>) -> T {
    // The HTTP client wants one even where it speaks without TLS; another test may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}
