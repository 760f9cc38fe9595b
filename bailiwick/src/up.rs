//! `up`, `serve` and `collect`: a service's life.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bailiwick_detect::PrintedFormat;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use crate::alert_line;
use crate::backend::{Backend, SharedRegistry, metrics_text, publish};
use crate::cli;
use crate::config::Config;
use crate::failure::Failure;
use crate::node::{Node, source_lines};
use crate::say::say;
use crate::signals::stop_on_signal;
use crate::token;

/// Everything in one process.
pub(crate) async fn up(mut config: Config, args: cli::Up) -> Result<(), Failure> {
    apply(&mut config, args);
    make_room_for_alerts(&config);
    let began = Instant::now();
    let stop = stop_on_signal()?;
    let mut metrics = Registry::default();
    let registry: SharedRegistry = Arc::new(OnceLock::new());

    let operator = token::ensure_operator(&mut config)?;
    let printer = alert_line::printer(config.detect.printed_format);
    let backend = Backend::start(&config, &mut metrics, metrics_text(&registry), printer).await?;
    config.collector.endpoint = backend.local_url().to_owned();
    let node = match Node::start(&config, &mut metrics).await {
        Ok(node) => node,
        Err(failure) => {
            backend.stop().await?;
            return Err(failure);
        }
    };
    publish(&registry, metrics);

    say!("{}", banner(&config, "up"));
    section("captures", &source_lines(&node.sources()));
    section("listens", &listens(&config, &backend, Some(&node)));
    section("detects", &[format!("{} rules and detections", backend.rules_loaded())]);
    section("try", &tries(&config, &backend, &operator));
    ready(began, "alerts follow, ");

    told_or_ended(&stop, &backend).await;
    say!("\nstopping: delivering and committing what was captured");
    let node = node.stop().await;
    backend.stop().await?;
    node?;
    say!("stopped; everything captured is in {}", config.bucket);
    Ok(())
}

/// Everything but the collector.
pub(crate) async fn serve(mut config: Config, args: cli::Serve) -> Result<(), Failure> {
    if let Some(tenants) = args.tenants {
        config.ingest.tenants_file = Some(tenants);
    }
    make_room_for_alerts(&config);
    let began = Instant::now();
    let stop = stop_on_signal()?;
    let mut metrics = Registry::default();
    let registry: SharedRegistry = Arc::new(OnceLock::new());
    let operator = token::ensure_operator(&mut config)?;
    let printer = alert_line::printer(config.detect.printed_format);
    let backend = Backend::start(&config, &mut metrics, metrics_text(&registry), printer).await?;
    publish(&registry, metrics);

    say!("{}", banner(&config, "serve"));
    section("listens", &listens(&config, &backend, None));
    section("detects", &[format!("{} rules and detections", backend.rules_loaded())]);
    section("try", &tries(&config, &backend, &operator));
    ready(began, "alerts follow, ");
    told_or_ended(&stop, &backend).await;
    say!("stopping: committing what was received");
    backend.stop().await
}

/// Only the collector.
pub(crate) async fn collect(mut config: Config, args: cli::Collect) -> Result<(), Failure> {
    if let Some(endpoint) = args.endpoint {
        config.collector.endpoint = endpoint;
    }
    let began = Instant::now();
    let stop = stop_on_signal()?;
    let mut metrics = Registry::default();
    let node = Node::start(&config, &mut metrics).await?;
    say!("{}", banner(&config, "collect"));
    section("captures", &source_lines(&node.sources()));
    section("ships to", &[config.collector.endpoint.clone()]);
    ready(began, "");
    stop.cancelled().await;
    say!("stopping: delivering what was captured");
    node.stop().await
}

fn ready(began: Instant, what_follows: &str) {
    say!("\nready in {} ms; {what_follows}Ctrl-C ends\n", began.elapsed().as_millis());
}

/// Without ingest nothing else is worth running: whoever supervises this process
/// should learn of it by its end.
async fn told_or_ended(stop: &CancellationToken, backend: &Backend) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = backend.ended() => tracing::error!("ingest cannot go on, so everything ends"),
    }
}

/// Whatever reads alerts as Falco prints them finds nothing else on standard output.
fn make_room_for_alerts(config: &Config) {
    if config.detect.printed_format != PrintedFormat::Short {
        crate::say::leave_output_to_programs();
    }
}

fn apply(config: &mut Config, args: cli::Up) {
    if let Some(file) = args.alert_file {
        config.detect.alert_file = Some(file);
    }
    if let Some(url) = args.webhook {
        config.detect.webhook_url = Some(url);
    }
    if let Some(file) = args.audit_log {
        config.collector.audit_file.path = file;
    }
    if let Some(file) = args.tenants {
        config.ingest.tenants_file = Some(file);
    }
    if !args.rules.is_empty() {
        config.detect.rules_files = args.rules;
    }
}

fn banner(config: &Config, command: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    let (cluster, node, bucket) = (&config.cluster, &config.node, &config.bucket);
    format!("bailiwick {version} {command} · cluster {cluster} · node {node}\n  bucket    {bucket}")
}

/// One titled block of lines, aligned with the others.
fn section(title: &str, lines: &[String]) {
    for (index, line) in lines.iter().enumerate() {
        say!("  {:<9} {line}", if index == 0 { title } else { "" });
    }
}

fn listens(config: &Config, backend: &Backend, node: Option<&Node>) -> Vec<String> {
    let scheme = |tls: &Option<PathBuf>| if tls.is_some() { "https" } else { "http" };
    let (ship, http) = (scheme(&config.ingest.tls_cert_file), scheme(&config.query.tls_cert_file));
    let grpc = if config.query.tls_cert_file.is_some() { "grpc+tls" } else { "grpc" };
    let mut lines = vec![
        format!("{:<13} {ship}://{}", "ingest (gRPC)", backend.ingest_addr()),
        format!("{:<13} {http}://{}/api/v1/sql", "SQL over HTTP", backend.http_addr()),
        format!("{:<13} postgres://operator@{}/bailiwick", "PostgreSQL", backend.pgwire_addr()),
        format!("{:<13} {grpc}://{}", "Flight SQL", backend.http_addr()),
        format!("{:<13} {http}://{}/metrics", "metrics", backend.http_addr()),
    ];
    if let Some(addr) = node.and_then(Node::webhook_addr) {
        lines.push(format!("{:<13} http://{addr}/k8s-audit", "audit webhook"));
    }
    lines
}

fn tries(config: &Config, backend: &Backend, operator: &token::Operator) -> Vec<String> {
    let pgwire = backend.pgwire_addr();
    let token_file = operator.file.display();
    vec![
        format!(
            "bailiwick --data-dir {} sql \"SELECT time, tenant, proc_cmdline FROM syscalls ORDER BY time DESC LIMIT 5\"",
            config.data_dir.display()
        ),
        format!(
            "PGPASSWORD=$(cat {token_file}) psql -h {} -p {} -U operator bailiwick",
            pgwire.ip(),
            pgwire.port()
        ),
    ]
}
