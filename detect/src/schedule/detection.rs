//! A scheduled detection as its file describes it.

use bailiwick_rules::{Priority, RuleText};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::plain;
use crate::DetectError;
use crate::ask::time_literal;
use crate::config::Config;
use crate::files::{self, Files};
use crate::metrics::Metrics;
use crate::rulebook::BUILT_IN_NAME;

/// The detections that run when no file is configured.
pub(super) const BUILT_IN_DETECTIONS: &str = include_str!("../../../deploy/rules/detections.yaml");

const MICROS: i64 = 1_000_000;

/// One scheduled detection.
#[derive(Debug, Clone)]
pub(crate) struct Detection {
    pub(crate) name: String,
    pub(crate) file: String,
    pub(crate) priority: Priority,
    pub(crate) tags: Vec<String>,
    pub(crate) key: Vec<String>,
    every_s: u32,
    window_s: u32,
    sql: String,
    output: String,
}

/// The file's own form; `desc` is for people.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    desc: String,
    priority: String,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    key: Vec<String>,
    every_s: u32,
    window_s: u32,
    sql: String,
    output: String,
}

/// The detections that run now, and the files that they came from.
#[derive(Debug)]
pub(crate) struct Detections {
    pub(crate) now: Vec<Detection>,
    files: Files,
}

/// All detections of the texts that are urgent enough.
fn of(texts: &[RuleText], config: &Config) -> Result<Vec<Detection>, DetectError> {
    let mut detections = Vec::new();
    for text in texts {
        detections.extend(parse(&text.name, &text.text)?);
    }
    for (index, detection) in detections.iter().enumerate() {
        if detections[..index].iter().any(|other| other.name == detection.name) {
            let message = format!("detection {:?} is defined twice", detection.name);
            return Err(DetectError::Detections { file: detection.file.clone(), message });
        }
    }
    detections.retain(|detection| detection.priority <= config.minimum_priority);
    Ok(detections)
}

pub(super) fn parse(file: &str, text: &str) -> Result<Vec<Detection>, DetectError> {
    let refused = |message: String| DetectError::Detections { file: file.to_owned(), message };
    let entries: Vec<Entry> = serde_saphyr::from_str(text).map_err(|error| refused(error.to_string()))?;
    entries.into_iter().map(|entry| check(file, entry).map_err(refused)).collect()
}

fn check(file: &str, entry: Entry) -> Result<Detection, String> {
    let Entry { name, desc, priority, tags, key, every_s, window_s, sql, output } = entry;
    let of = |message: &str| format!("detection {name:?}: {message}");
    let priority =
        priority.parse().map_err(|()| of(&format!("{priority:?} is no priority, use e.g. Warning")))?;
    if name.is_empty() || desc.trim().is_empty() {
        return Err(of("name and desc must not be empty"));
    }
    if every_s == 0 || window_s < every_s {
        return Err(of("every_s must be at least 1 and window_s at least every_s, or events are missed"));
    }
    if !sql.contains("$from") || !sql.contains("$to") {
        return Err(of("sql must name ingest_time > $from and ingest_time <= $to"));
    }
    if !sql.contains("tenant") {
        return Err(of("sql must select a column tenant, which says whose finding it is"));
    }
    Ok(Detection { name, file: file.to_owned(), priority, tags, key, every_s, window_s, sql, output })
}

// === impl Detections ===

impl Detections {
    /// Reads the configured files, or the built-in detections.
    pub(crate) fn read(config: &Config) -> Result<Self, DetectError> {
        let paths = &config.detections_files;
        let texts = match paths.is_empty() {
            true => {
                let text = BUILT_IN_DETECTIONS.to_owned();
                vec![RuleText { name: BUILT_IN_NAME.to_owned(), text }]
            }
            false => files::texts(paths)?,
        };
        Ok(Self { now: of(&texts, config)?, files: Files::new("detection", paths, texts) })
    }

    /// Takes up files that changed, if all of them load; whether that was so.
    pub(crate) fn reload(&mut self, config: &Config, metrics: &Metrics) -> bool {
        if config.detections_files.is_empty() {
            return false;
        }
        let made = |texts: &[RuleText]| of(texts, config).map_err(|error| error.to_string());
        let Some(new) = self.files.take_up(metrics, made) else { return false };
        self.now = new;
        true
    }
}

// === impl Detection ===

impl Detection {
    pub(crate) fn every_us(&self) -> i64 {
        i64::from(self.every_s) * MICROS
    }

    pub(crate) fn window_us(&self) -> i64 {
        i64::from(self.window_s) * MICROS
    }

    /// The statement for the window that ends at `to_us`.
    pub(crate) fn sql(&self, to_us: i64) -> String {
        let from = time_literal(to_us - self.window_us());
        self.sql.replace("$from", &from).replace("$to", &time_literal(to_us))
    }

    /// The output with `{column}` replaced by the row's values, in one pass,
    /// so that a value is never read as a placeholder.
    pub(crate) fn print(&self, row: &Map<String, Value>) -> String {
        let mut out = String::new();
        let mut rest = self.output.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            out.push_str(before);
            match after.split_once('}') {
                Some((column, tail)) => {
                    out.push_str(&row.get(column).map_or_else(|| "<NA>".to_owned(), plain));
                    rest = tail;
                }
                None => {
                    out.push('{');
                    rest = after;
                }
            }
        }
        out.push_str(rest);
        out
    }
}
