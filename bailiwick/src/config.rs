//! One documented file, then environment, then flags.
//!
//! ```text
//!   defaults  ◀  bailiwick.toml  ◀  BAILIWICK_SECTION__FIELD  ◀  flags
//! ```
//!
//! Each room owns its section: the struct beside the code that reads it. This
//! file only finds the pieces and puts paths below the data directory.

use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Env, Format, Toml};
use serde::Deserialize;

use crate::cli::Global;
use crate::failure::Failure;

/// The file's top level.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// The cluster's name, in every row.
    pub(crate) cluster: String,
    /// This node's name, in every row captured here; empty: the host's name.
    pub(crate) node: String,
    /// Where bucket, spool and the operator's token live.
    pub(crate) data_dir: PathBuf,
    /// The bucket: a folder, a `file://` URL or `s3://name/prefix`; empty: `bucket` below
    /// the data directory.
    pub(crate) bucket: String,
    /// Whether `up`, `collect` and `serve` give up the privileges that they do not
    /// need; without, a debugger can look into them.
    pub(crate) drop_privileges: bool,
    /// How the service of an `s3://` bucket is reached.
    pub(crate) s3: bailiwick_lake::S3Config,
    /// The node's side.
    pub(crate) collector: bailiwick_collector::Config,
    /// The writing side.
    pub(crate) ingest: bailiwick_ingest::Config,
    /// The reading side.
    pub(crate) query: bailiwick_query::Config,
    /// Rules, schedules and sinks.
    pub(crate) detect: bailiwick_detect::Config,
}

const PLACES: [&str; 2] = ["bailiwick.toml", "/etc/bailiwick/bailiwick.toml"];

/// Top-level fields that the environment may set; the other `BAILIWICK_` variables
/// belong to the command line.
const TOP_LEVEL: [&str; 5] = ["cluster", "node", "data_dir", "bucket", "drop_privileges"];

// === impl Config ===

impl Default for Config {
    fn default() -> Self {
        Self {
            cluster: "local".to_owned(),
            node: String::new(),
            data_dir: PathBuf::from("bailiwick-data"),
            bucket: String::new(),
            drop_privileges: true,
            s3: bailiwick_lake::S3Config::default(),
            collector: bailiwick_collector::Config::default(),
            ingest: bailiwick_ingest::Config::default(),
            query: bailiwick_query::Config::default(),
            detect: bailiwick_detect::Config::default(),
        }
    }
}

impl Config {
    /// Reads file and environment, applies the global flags, fills in what
    /// follows from them.
    pub(crate) fn load(global: &Global) -> Result<Self, Failure> {
        let file = Self::file(global)?;
        let environment = Env::prefixed("BAILIWICK_")
            .filter(|key| key.as_str().contains("__") || TOP_LEVEL.iter().any(|name| key == *name))
            .split("__");
        let figment = match &file {
            Some(file) => Figment::from(Toml::file_exact(file)),
            None => Figment::new(),
        };
        let mut config: Self = figment.merge(environment).extract().map_err(|error| {
            let place = file.as_deref().map_or("environment".into(), Path::to_string_lossy);
            Failure::config(format!("{place}: {error}"))
        })?;
        if let Some(data_dir) = &global.data_dir {
            config.data_dir.clone_from(data_dir);
        }
        config.complete()?;
        Ok(config)
    }

    fn file(global: &Global) -> Result<Option<PathBuf>, Failure> {
        match &global.config {
            Some(file) if !file.is_file() => {
                Err(Failure::config(format!("{}: no such file, see --config", file.display())))
            }
            Some(file) => Ok(Some(file.clone())),
            None => Ok(PLACES.iter().map(PathBuf::from).find(|place| place.is_file())),
        }
    }

    /// Values that follow from others.
    fn complete(&mut self) -> Result<(), Failure> {
        self.data_dir = std::path::absolute(&self.data_dir)
            .map_err(|error| Failure::config(format!("data_dir {}: {error}", self.data_dir.display())))?;
        if self.bucket.is_empty() {
            self.bucket = self.data_dir.join("bucket").display().to_string();
        }
        if self.node.is_empty() {
            self.node = hostname();
        }
        self.ingest.upkeep.check(self.query.query_timeout_ms).map_err(Failure::config)
    }

    /// The bucket as the lake opens it.
    pub(crate) fn bucket(&self) -> bailiwick_lake::BucketConfig {
        bailiwick_lake::BucketConfig { url: self.bucket.clone(), s3: self.s3.clone() }
    }

    /// Where the operator's token of this machine lies.
    pub(crate) fn operator_token_file(&self) -> PathBuf {
        self.data_dir.join("operator.token")
    }
}

/// The host's name, or `localhost` where the kernel does not tell.
fn hostname() -> String {
    let told = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if told.trim().is_empty() { "localhost".to_owned() } else { told.trim().to_owned() }
}

#[cfg(test)]
mod tests;
