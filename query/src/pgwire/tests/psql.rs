//! psql, run as a person would.

use std::net::SocketAddr;
use std::process::{Command, Output};

use crate::needs::skipped;

/// psql with somebody's token.
#[derive(Clone)]
pub(crate) struct Psql {
    program: String,
    addr: SocketAddr,
    token: String,
    is_csv: bool,
}

// === impl Psql ===

impl Psql {
    /// psql as the holder of a token; `None`, and why, where there is no psql.
    pub(crate) fn of(addr: SocketAddr, token: &str) -> Option<Self> {
        if Command::new("psql").arg("--version").output().is_ok() {
            let program = "psql".to_owned();
            return Some(Self { program, addr, token: token.to_owned(), is_csv: false });
        }
        skipped("psql");
        None
    }

    /// The same, and with the psqls of other versions that `BAILIWICK_TEST_PSQL` names,
    /// paths with colons between them.
    pub(super) fn of_every_version(addr: SocketAddr, token: &str) -> Vec<Self> {
        let Some(psql) = Self::of(addr, token) else { return Vec::new() };
        let others = std::env::var("BAILIWICK_TEST_PSQL").unwrap_or_default();
        if others.is_empty() {
            skipped("psqls of other versions in BAILIWICK_TEST_PSQL");
        }
        let others = others.split(':').filter(|path| !path.is_empty());
        let others = others.map(|path| Self { program: path.to_owned(), ..psql.clone() });
        std::iter::once(psql.clone()).chain(others.collect::<Vec<_>>()).collect()
    }

    /// What it says that it is.
    pub(super) fn version(&self) -> String {
        let output = Command::new(&self.program).arg("--version").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
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
        let mut command = Command::new(&self.program);
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
