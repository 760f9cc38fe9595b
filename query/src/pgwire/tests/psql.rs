//! psql, run as a person would.

use std::net::SocketAddr;
use std::process::{Command, Output};

/// psql with somebody's token.
pub(crate) struct Psql {
    addr: SocketAddr,
    token: String,
    is_csv: bool,
}

// === impl Psql ===

impl Psql {
    /// psql as the holder of a token; `None`, and why, where there is no psql.
    pub(crate) fn of(addr: SocketAddr, token: &str) -> Option<Self> {
        if Command::new("psql").arg("--version").output().is_ok() {
            return Some(Self { addr, token: token.to_owned(), is_csv: false });
        }
        assert!(
            std::env::var_os("BAILIWICK_REQUIRE_CLIENTS").is_none(),
            "needs psql, and BAILIWICK_REQUIRE_CLIENTS is set"
        );
        println!("skipped: needs psql");
        None
    }

    /// Runs a script, whose lines may be psql's own commands.
    pub(super) async fn run_script(&self, script: &str) -> Result<String, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), script).unwrap();
        self.run(&format!("\\i {}", file.path().display())).await
    }

    /// The same, with answers in CSV.
    pub(super) fn in_csv(self) -> Self {
        Self { is_csv: true, ..self }
    }

    /// Runs one command or text; its output, or what it printed as an error.
    pub(crate) async fn run(&self, text: &str) -> Result<String, String> {
        self.run_with(&[], text).await
    }

    /// The same with settings from the start.
    pub(crate) async fn run_with(&self, environment: &[(&str, &str)], text: &str) -> Result<String, String> {
        let mut command = Command::new("psql");
        command
            .arg(if self.is_csv { "--csv" } else { "-A" })
            .args(["-X", "-F", "|", "-P", "footer=off", "-v", "VERBOSITY=verbose", "-c", text])
            .env("PGHOST", self.addr.ip().to_string())
            .env("PGPORT", self.addr.port().to_string())
            .env("PGUSER", "anybody")
            .env("PGDATABASE", "bailiwick")
            .env("PGPASSWORD", &self.token)
            .env("PGCONNECT_TIMEOUT", "20")
            .envs(environment.iter().copied());
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        let Output { status, stdout, stderr } = output;
        let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
        match status.success() && stderr.is_empty() {
            true => Ok(stdout),
            false => Err(format!("{stdout}{stderr}")),
        }
    }
}
