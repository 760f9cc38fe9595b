//! What can be configured about detection.

use std::path::PathBuf;
use std::time::Duration;

use bailiwick_rules::{Matching, Priority};
use serde::{Deserialize, Deserializer};

use crate::sinks::{AlertFormat, PrintedFormat};

/// The `[detect]` section.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Rule files in Falco's language, in order. Empty: the built-in rules.
    pub rules_files: Vec<PathBuf>,
    /// Files of scheduled detections. Empty: the built-in ones.
    pub detections_files: Vec<PathBuf>,
    /// A file to which each alert is appended as a line. `None` or empty: no file.
    pub alert_file: Option<PathBuf>,
    /// What such a line is.
    pub alert_file_format: AlertFormat,
    /// A URL to which each alert is posted. `None` or empty: none.
    pub webhook_url: Option<String>,
    /// What is posted.
    pub webhook_format: AlertFormat,
    /// How alerts are printed on standard output.
    pub printed_format: PrintedFormat,
    /// `first`: one alert an event, of the first rule that matches; `all`: one a rule.
    pub matching: Matching,
    /// Rules and detections below this priority do not run.
    #[serde(deserialize_with = "priority")]
    pub minimum_priority: Priority,
    /// How often rule and detection files are looked at for changes, milliseconds.
    pub reload_every_ms: u64,
    /// How often the place reached is saved in the bucket, milliseconds.
    pub checkpoint_every_ms: u64,
    /// How far before the saved place reading begins again, milliseconds: rows
    /// are stamped a little before they are durable.
    pub overlap_ms: u64,
    /// How long after a window's end a detection runs, milliseconds, so that
    /// what was stamped before the end is visible.
    pub settle_ms: u64,
    /// Alerts that may wait for the file or the webhook before new ones are dropped and counted.
    pub sink_queue: usize,
    /// How often a post is tried before its alert is dropped and counted.
    pub webhook_attempts: u32,
    /// How long one post may take, milliseconds.
    pub webhook_timeout_ms: u64,
    /// Alert ids remembered, so that an event that is read again raises nothing.
    pub remembered_alerts: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            rules_files: Vec::new(),
            detections_files: Vec::new(),
            alert_file: None,
            alert_file_format: AlertFormat::FalcoJson,
            webhook_url: None,
            webhook_format: AlertFormat::FalcoJson,
            printed_format: PrintedFormat::Short,
            matching: Matching::First,
            minimum_priority: Priority::Debug,
            reload_every_ms: 2_000,
            checkpoint_every_ms: 1_000,
            overlap_ms: 30_000,
            settle_ms: 3_000,
            sink_queue: 10_000,
            webhook_attempts: 5,
            webhook_timeout_ms: 5_000,
            remembered_alerts: 200_000,
        }
    }
}

impl Config {
    /// How often files are looked at.
    pub(crate) fn reload_every(&self) -> Duration {
        Duration::from_millis(self.reload_every_ms.max(50))
    }
}

fn priority<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Priority, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|()| serde::de::Error::custom(format!("{text:?} is no priority, use e.g. Notice")))
}
