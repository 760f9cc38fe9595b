//! From the spool to ingest, for as long as the collector runs.

use std::fs;
use std::net::IpAddr;
use std::time::Duration;

use bailiwick_proto::ship::{DeliverError, Delivery, deliver};
use http::Uri;
use tokio::task::JoinHandle;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use crate::config::Config;
use crate::error::CollectorError;
use crate::spool::Spool;

/// How long to wait before an outbox that failed is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long to wait before an ingester that refused is asked again: somebody has
/// to do something first.
const REFUSED_RETRY_AFTER: Duration = Duration::from_secs(15);

/// The task that delivers; none without an endpoint.
pub(crate) struct Courier {
    task: Option<JoinHandle<()>>,
    delivery: Delivery,
}

// === impl Courier ===

impl Courier {
    /// Begins to deliver what the spool holds.
    pub(crate) fn start(config: &Config, spool: &Spool) -> Result<Self, CollectorError> {
        let mut delivery = Delivery::new(spool.collector_id(), &config.node, &config.cluster);
        if config.endpoint.is_empty() {
            return Ok(Self { task: None, delivery });
        }
        let endpoint = endpoint(config)?;
        if let Some(file) = config.token_file.clone() {
            fs::metadata(&file).map_err(|source| unreadable("token_file", &file, source))?;
            delivery = delivery.with_bearer(move || fs::read_to_string(&file));
        }
        let task = tokio::spawn(run(spool.outbox_maker(), endpoint, delivery.clone()));
        Ok(Self { task: Some(task), delivery })
    }

    /// Waits until everything in the closed spool was acknowledged, or too long.
    pub(crate) async fn finish(mut self, patience: Duration) {
        let Some(task) = &mut self.task else { return };
        match tokio::time::timeout(patience, &mut *task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "delivery ended by a panic"),
            Err(_) => {
                task.abort();
                // Only when it has really ended does the spool's folder become free.
                let _ = task.await;
                let connected = self.delivery.is_connected();
                tracing::warn!(connected, "not everything was acknowledged, the rest stays in the spool");
            }
        }
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Delivers until the spool is closed and empty.
async fn run(outbox: impl Fn() -> crate::spool::SpoolOutbox, endpoint: Endpoint, delivery: Delivery) {
    loop {
        let wait = match deliver(outbox(), endpoint.clone(), delivery.clone()).await {
            Ok(()) => return,
            Err(DeliverError::Refused { message, .. }) => {
                tracing::error!(message, "ingest refuses this collector, events wait in the spool");
                REFUSED_RETRY_AFTER
            }
            Err(error) => {
                tracing::error!(%error, "the spool cannot be delivered");
                RETRY_AFTER
            }
        };
        tokio::time::sleep(wait).await;
    }
}

fn endpoint(config: &Config) -> Result<Endpoint, CollectorError> {
    let wrong = |message: String| CollectorError::Config { field: "endpoint", message };
    if config.endpoint.starts_with("unix://") {
        // Who may connect is for the socket's folder to say.
        return Endpoint::from_shared(config.endpoint.clone()).map_err(|error| wrong(error.to_string()));
    }
    let uri: Uri = config
        .endpoint
        .parse()
        .map_err(|error| wrong(format!("{:?} is not a URL: {error}", config.endpoint)))?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let endpoint = Endpoint::from(uri.clone())
        .connect_timeout(Duration::from_secs(5))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10));
    match uri.scheme_str() {
        Some("http") if is_loopback(&host) => Ok(endpoint),
        Some("http") => Err(wrong(format!("{host} is not this machine: use https with ca_file"))),
        Some("https") => {
            let mut tls = ClientTlsConfig::new().ca_certificate(authority(config)?).domain_name(host);
            if let Some(identity) = identity(config)? {
                tls = tls.identity(identity);
            }
            endpoint.tls_config(tls).map_err(|error| wrong(format!("TLS cannot be set up: {error}")))
        }
        _ => Err(wrong(format!("{:?} must begin with http://, https:// or unix://", config.endpoint))),
    }
}

fn authority(config: &Config) -> Result<Certificate, CollectorError> {
    let missing =
        || CollectorError::config("ca_file", "must name the certificates to check an https endpoint against");
    let file = config.ca_file.as_ref().ok_or_else(missing)?;
    let pem = fs::read(file).map_err(|source| unreadable("ca_file", file, source))?;
    Ok(Certificate::from_pem(pem))
}

/// The certificate that this collector presents, where it has one.
fn identity(config: &Config) -> Result<Option<Identity>, CollectorError> {
    let read =
        |field, file: &std::path::Path| fs::read(file).map_err(|source| unreadable(field, file, source));
    match (&config.cert_file, &config.key_file) {
        (None, None) => Ok(None),
        (Some(cert), Some(key)) => {
            Ok(Some(Identity::from_pem(read("cert_file", cert)?, read("key_file", key)?)))
        }
        (Some(_), None) => Err(CollectorError::config("key_file", "must be set where cert_file is")),
        (None, Some(_)) => Err(CollectorError::config("cert_file", "must be set where key_file is")),
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn unreadable(field: &'static str, path: &std::path::Path, source: std::io::Error) -> CollectorError {
    CollectorError::File { field, path: path.to_owned(), message: "cannot be read", source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_never_leaves_the_machine() {
        let with = |endpoint: &str| Config { endpoint: endpoint.to_owned(), ..Config::default() };
        for good in ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1", "unix:///run/i.sock"] {
            assert!(endpoint(&with(good)).is_ok(), "{good}");
        }
        for bad in ["http://10.0.0.1:1", "http://ingest:1", "https://ingest:1", "ftp://127.0.0.1", "no url"] {
            assert!(endpoint(&with(bad)).is_err(), "{bad}");
        }
    }
}
