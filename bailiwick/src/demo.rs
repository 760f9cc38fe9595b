//! `bailiwick demo`: what it does, in half a minute, on this machine.
//!
//! ```text
//!   temporary folder ─ tenants.yaml, audit.log, bucket/, spool/
//!   root:     two cgroups, a script in each  ─▶ real capture ─▶ alerts, SQL, invoice
//!   without:  the shipped recording          ─▶ replay       ─▶ the same
//! ```

pub(crate) mod scene;

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use bailiwick_collector::SourceState;
use bailiwick_detect::{Alert, PrintedFormat};
use chrono::Utc;
use prometheus_client::registry::Registry;

use crate::alert_line;
use crate::backend::{Backend, metrics_text, publish};
use crate::cli;
use crate::client::Api;
use crate::config::Config;
use crate::failure::Failure;
use crate::node::{Node, source_lines};
use crate::report;
use crate::say::say;
use crate::sql;
use crate::token;

use scene::{Cgroups, PODS};

/// The same scene as captured by this collector on a machine with privilege.
const RECORDING: &[u8] = include_bytes!("../demo/recording.bwr");

/// How long anything that should happen is waited for.
const PATIENCE: Duration = Duration::from_secs(12);

/// One question over both sources: which person opened a shell in a container,
/// and what happened there because of it.
const JOIN: &str = "\
SELECT a.tenant, a.\"user\" AS person, a.name AS pod, s.evt_type AS did, s.proc_cmdline AS command, s.fd_name AS \"on\"
FROM api_access a
JOIN syscalls s ON s.tenant = a.tenant AND s.time BETWEEN a.time - INTERVAL '1 minute' AND a.time + INTERVAL '1 minute'
WHERE a.subresource = 'exec' AND (s.evt_type = 'execve' OR s.fd_sport > 0 OR s.fd_name = '/etc/shadow')
ORDER BY s.time LIMIT 10";

type Seen = Arc<Mutex<Vec<Alert>>>;

/// Runs the demo and says what was seen.
pub(crate) async fn run(args: &cli::Demo) -> Result<(), Failure> {
    let folder = tempfile::Builder::new().prefix("bailiwick-demo-").tempdir();
    let folder = folder.map_err(|error| Failure::failed(format!("temporary folder: {error}")))?;
    let played = play(folder.path(), args.replay).await;
    if args.keep {
        say!("\nkept: {}", folder.keep().display());
    }
    played
}

async fn play(dir: &Path, replay: bool) -> Result<(), Failure> {
    let (tenants, audit_log) = scene::files(dir)?;
    let mut config = configuration(dir, tenants, audit_log.clone());
    let operator = token::ensure_operator(&mut config)?;
    let seen: Seen = Arc::default();
    let mut metrics = Registry::default();
    let registry = Arc::new(OnceLock::new());
    let backend = Backend::start(&config, &mut metrics, metrics_text(&registry), printer(&seen)).await?;
    config.collector.endpoint = backend.local_url().to_owned();

    let live = !replay && nix::unistd::geteuid().is_root();
    if !live {
        let recording = dir.join("recording.bwr");
        std::fs::write(&recording, RECORDING).map_err(|error| Failure::failed(error.to_string()))?;
        config.collector.replay.path = recording;
        config.collector.syscalls.enabled = bailiwick_collector::Enabled::Off;
        config.collector.usage.enabled = bailiwick_collector::Enabled::Off;
    }
    let node = Node::start(&config, &mut metrics).await?;
    publish(&registry, metrics);
    introduce(&node, live);

    say!("\nAlerts, as they happen:\n");
    let performed = perform(&node, live, dir, &audit_log).await;
    wait_for_alerts(&seen).await;
    let api = Api::at(&format!("http://{}", backend.http_addr()), operator.secret)?;
    let told = match performed {
        Ok(()) => tell(&api).await,
        Err(failure) => Err(failure),
    };
    node.stop().await?;
    backend.stop().await?;
    told
}

/// Everything below one temporary folder, on ports that are free.
fn configuration(dir: &Path, tenants: std::path::PathBuf, audit_log: std::path::PathBuf) -> Config {
    let mut config = Config {
        data_dir: dir.to_owned(),
        bucket: dir.join("bucket").display().to_string(),
        node: "demo-node".to_owned(),
        cluster: "demo".to_owned(),
        ..Config::default()
    };
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    config.ingest.listen = any_port;
    config.ingest.tenants_file = Some(tenants);
    config.query.http_listen = any_port;
    config.query.pgwire_listen = any_port;
    config.collector.webhook.listen = any_port.to_string();
    config.collector.audit_file.path = audit_log;
    config.collector.usage.every_ms = 1_000;
    config
}

fn printer(seen: &Seen) -> Arc<dyn Fn(&Alert) + Send + Sync> {
    let print = alert_line::printer(PrintedFormat::Short);
    let seen = Arc::clone(seen);
    Arc::new(move |alert| {
        // The machine goes on living during the demo; only the demo's tenants are its subject.
        if !PODS.iter().any(|pod| pod.tenant == alert.owner) {
            return;
        }
        print(alert);
        if let Ok(mut seen) = seen.lock() {
            seen.push(alert.clone());
        }
    })
}

fn introduce(node: &Node, live: bool) {
    say!("Two tenants share this machine: acme and globex. Bailiwick watches:\n");
    for line in source_lines(&node.sources()) {
        say!("  {line}");
    }
    if !live {
        say!("\nThis is a REPLAY of a recording that this collector made as root; run the demo with");
        say!("sudo to see your own machine's system calls.");
    }
}

async fn perform(node: &Node, live: bool, dir: &Path, audit_log: &Path) -> Result<(), Failure> {
    scene::append_audit(audit_log, Utc::now())?;
    if !live {
        return Ok(());
    }
    if let Some(missing) = node.sources().iter().find(|source| source.name == "system calls")
        && let SourceState::Missing { what, .. } = &missing.state
    {
        return Err(Failure::failed(format!("system calls cannot be captured: {what}; try --replay")));
    }
    let door = TcpListener::bind("127.0.0.1:0").map_err(|error| Failure::failed(error.to_string()))?;
    let port = door.local_addr().map_err(|error| Failure::failed(error.to_string()))?.port();
    let dir = dir.to_owned();
    let work = tokio::task::spawn_blocking(move || {
        let cgroups = Cgroups::make(&format!("bailiwick-demo-{}", std::process::id()))?;
        // Usage is a difference of two readings: let the first one see the empty cgroups.
        std::thread::sleep(Duration::from_millis(1_200));
        let done = PODS.iter().try_for_each(|pod| cgroups.perform(&dir, pod, port));
        std::thread::sleep(Duration::from_millis(1_500));
        done
    });
    work.await.map_err(|error| Failure::failed(error.to_string()))?
}

/// Waits until both sources of the scene have raised something and it is quiet.
async fn wait_for_alerts(seen: &Seen) {
    let began = Instant::now();
    let mut last = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        let (count, sources) = seen.lock().map_or((0, 0), |seen| {
            let mut sources: Vec<_> = seen.iter().map(|alert| alert.source).collect();
            sources.sort();
            sources.dedup();
            (seen.len(), sources.len())
        });
        let complete = sources >= 2 && count == last;
        if complete || began.elapsed() > PATIENCE {
            return;
        }
        last = count;
    }
}

async fn tell(api: &Api) -> Result<(), Failure> {
    say!("\nWho opened a shell in a container, and what ran there — one SQL answer over both sources:\n");
    say!("{JOIN}\n");
    say!("{}", sql::rendered(&api.sql(JOIN).await?));
    say!("\nWhat each tenant owes for this run:\n");
    say!("{}", report::demo_invoice(api, &PODS.each_ref().map(|pod| pod.tenant)).await?);
    say!("\nNext: `bailiwick up`, then `bailiwick sql \"SELECT * FROM alerts\"`.");
    Ok(())
}
