//! What a service keeps of the privileges that it was started with.
//!
//! A node's collector is mostly started as root. It needs little of that, and for
//! most of it only until its programs are attached: see [`protect`]. The other
//! subcommands end soon and keep what they have.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use bailiwick_collector::capabilities::Capabilities;
use bailiwick_collector::protect;

use crate::cli::{Cli, Command};
use crate::config::Config;
use crate::failure::Failure;

/// Ports below it are privileged, unless the machine says otherwise.
const FIRST_FREE_PORT: u16 = 1024;

/// Gives up what `up`, `collect` and `serve` do not need; before there are threads.
pub(crate) fn give_up(cli: &Cli) -> Result<(), Failure> {
    let (captures, alert_file) = match &cli.command {
        Command::Up(args) => (true, args.alert_file.clone()),
        Command::Collect(_) => (true, None),
        Command::Serve(_) => (false, None),
        _ => return Ok(()),
    };
    let mut config = Config::load(&cli.global)?;
    if !config.drop_privileges {
        return Ok(());
    }
    config.detect.alert_file = alert_file.or(config.detect.alert_file);
    let keep = keep(&config, captures);
    let kept = protect::confine(keep, captures).map_err(|error| {
        Failure::failed(format!(
            "privileges cannot be given up: {error}; drop_privileges = false in the configuration keeps them"
        ))
    })?;
    tracing::info!(%kept, "gave up all other privileges");
    Ok(())
}

/// What this configuration needs for as long as it runs.
fn keep(config: &Config, captures: bool) -> Capabilities {
    let mut keep = if captures { protect::LASTING } else { Capabilities::NONE };
    if writes(config).iter().any(|path| is_anothers(path)) {
        // Root may do as it likes in somebody's folder only by privilege.
        keep = keep.and(Capabilities::DAC_OVERRIDE);
    }
    if ports(config).iter().any(|port| (1..FIRST_FREE_PORT).contains(port)) {
        keep = keep.and(Capabilities::NET_BIND_SERVICE);
    }
    keep
}

/// Everything that a service writes to on this machine's disks.
fn writes(config: &Config) -> Vec<PathBuf> {
    let mut paths = vec![config.data_dir.clone()];
    let bucket = config.bucket.strip_prefix("file://").unwrap_or(&config.bucket);
    if !bucket.contains("://") {
        paths.push(bucket.into());
    }
    paths
        .extend([config.collector.spool_dir.clone()].into_iter().filter(|path| !path.as_os_str().is_empty()));
    paths.extend(config.detect.alert_file.clone());
    paths.extend(config.query.tokens_file.clone());
    paths
}

fn ports(config: &Config) -> [u16; 4] {
    let webhook = config.collector.webhook.listen.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    let (ingest, query) = (&config.ingest, &config.query);
    [ingest.listen.port(), query.http_listen.port(), query.pgwire_listen.port(), webhook.unwrap_or(0)]
}

/// Whether the path, or where it would be made, is not this user's.
fn is_anothers(path: &Path) -> bool {
    let Ok(path) = std::path::absolute(path) else { return false };
    let nearest = path.ancestors().find_map(|path| path.metadata().ok());
    let me = nix::unistd::geteuid().as_raw();
    // The spool and the bucket are below it, and may have been made by others.
    let below =
        std::fs::read_dir(&path).into_iter().flatten().flatten().filter_map(|entry| entry.metadata().ok());
    nearest.into_iter().chain(below).any(|metadata| metadata.uid() != me)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_kept_only_where_it_is_needed() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config { data_dir: dir.path().join("data"), ..Config::default() };
        config.bucket = dir.path().join("data/bucket").display().to_string();
        assert_eq!(keep(&config, true), protect::LASTING);
        assert_eq!(keep(&config, false), Capabilities::NONE);
        config.query.pgwire_listen.set_port(443);
        assert_eq!(keep(&config, false), Capabilities::NET_BIND_SERVICE);
        config.query.pgwire_listen.set_port(0);
        config.collector.webhook.listen = "127.0.0.1:80".into();
        assert_eq!(keep(&config, false), Capabilities::NET_BIND_SERVICE);
        config.collector.webhook.listen.clear();
        config.bucket = "s3://name".into();
        assert_eq!(keep(&config, false), Capabilities::NONE);
        if !nix::unistd::geteuid().is_root() {
            println!("skipped: the rest needs root");
            return;
        }
        let data = &config.data_dir;
        std::fs::create_dir_all(data.join("spool")).unwrap();
        std::os::unix::fs::chown(data.join("spool"), Some(65_534), None).unwrap();
        assert_eq!(keep(&config, false), Capabilities::DAC_OVERRIDE);
    }
}
