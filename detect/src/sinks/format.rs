//! In which form an alert leaves.

use bailiwick_rules::Alert;
use serde::Deserialize;

/// The form of an alert for a file or a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertFormat {
    /// The line that Falco prints.
    FalcoText,
    /// The JSON that Falco prints with `json_output`.
    FalcoJson,
}

/// The form of an alert on standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrintedFormat {
    /// A short line for people, with the tenant.
    Short,
    /// The line that Falco prints.
    FalcoText,
    /// The JSON that Falco prints with `json_output`, one object a line.
    FalcoJson,
}

// === impl AlertFormat ===

impl AlertFormat {
    /// The alert in this form: one line, without the end of it.
    pub fn write(self, alert: &Alert) -> String {
        match self {
            Self::FalcoText => alert.falco_text(),
            Self::FalcoJson => alert.falco_json().to_string(),
        }
    }

    /// What HTTP calls this form.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::FalcoText => "text/plain; charset=utf-8",
            Self::FalcoJson => "application/json",
        }
    }
}
