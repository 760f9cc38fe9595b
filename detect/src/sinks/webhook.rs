//! Alerts posted, each by itself.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use tokio::sync::mpsc;

use super::AlertFormat;
use crate::DetectError;
use crate::config::Config;
use crate::metrics::Metrics;
use bailiwick_rules::Alert;

pub(super) const NAME: &str = "webhook";
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// One endpoint, posted to in order.
pub(super) struct Webhook {
    client: reqwest::Client,
    url: url::Url,
    format: AlertFormat,
    attempts: u32,
    metrics: Metrics,
}

// === impl Webhook ===

impl Webhook {
    pub(super) fn new(url: &str, config: &Config, metrics: Metrics) -> Result<Self, DetectError> {
        let refused = |message: String| DetectError::Webhook { url: without_secrets(url), message };
        let parsed = url::Url::parse(url).map_err(|error| refused(error.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(refused("use http:// or https://".to_owned()));
        }
        // Another room may have chosen the provider first, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .timeout(Duration::from_millis(config.webhook_timeout_ms.max(1)))
            .build()
            .map_err(|error| refused(error.to_string()))?;
        let (format, attempts) = (config.webhook_format, config.webhook_attempts.max(1));
        Ok(Self { client, url: parsed, format, attempts, metrics })
    }

    pub(super) async fn run(self, mut alerts: mpsc::Receiver<Arc<Alert>>) {
        while let Some(alert) = alerts.recv().await {
            self.deliver(&alert).await;
        }
    }

    async fn deliver(&self, alert: &Alert) {
        let body = self.format.write(alert);
        let mut wait = FIRST_WAIT;
        for attempt in 1..=self.attempts {
            let Some(reason) = self.post(body.clone()).await else { return };
            let host = self.url.host_str().unwrap_or_default();
            if reason == "refused" || attempt == self.attempts {
                tracing::warn!(host, reason, rule = alert.rule, "alert not posted");
                self.metrics.sink_failed(NAME, reason);
                return;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Why a post failed, if it did. What the other end calls our fault is not
    /// tried again, unless it asks for patience.
    async fn post(&self, body: String) -> Option<&'static str> {
        let request =
            self.client.post(self.url.clone()).header(CONTENT_TYPE, self.format.content_type()).body(body);
        match request.send().await {
            Ok(reply) if reply.status().is_success() => None,
            Ok(reply) if matches!(reply.status().as_u16(), 408 | 425 | 429) => Some("busy"),
            Ok(reply) if reply.status().is_client_error() => Some("refused"),
            Ok(_) => Some("failed"),
            Err(_) => Some("unreachable"),
        }
    }
}

/// A URL's path and query may be a secret, as chat services have it.
fn without_secrets(url: &str) -> String {
    match url::Url::parse(url) {
        Ok(parsed) => format!("{}://{}/…", parsed.scheme(), parsed.host_str().unwrap_or_default()),
        Err(_) => "(not a URL)".to_owned(),
    }
}
