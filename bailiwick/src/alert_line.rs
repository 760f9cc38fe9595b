//! An alert as one line: that can be read at 3 a.m., or as Falco prints it.

use std::io::IsTerminal;
use std::sync::Arc;

use bailiwick_detect::{Alert, PrintedFormat};

use crate::say;
use crate::terminal::printable;

const RESET: &str = "\x1b[0m";

/// Prints each alert the moment it happens; for people coloured by priority on a terminal.
pub(crate) fn printer(format: PrintedFormat) -> Arc<dyn Fn(&Alert) + Send + Sync> {
    let colours = std::io::stdout().is_terminal();
    Arc::new(move |alert| match format {
        PrintedFormat::Short => say::coloured(&line(alert, colours)),
        PrintedFormat::FalcoText => say::coloured(&printable(&alert.falco_text())),
        PrintedFormat::FalcoJson => say::json(&alert.falco_json().to_string()),
    })
}

fn line(alert: &Alert, colours: bool) -> String {
    let time = alert.time.format("%H:%M:%S%.3f");
    let priority = format!("{:<8}", alert.priority.to_string());
    let priority = match (colours, colour(&priority)) {
        (true, Some(colour)) => format!("{colour}{priority}{RESET}"),
        _ => priority,
    };
    // Outputs often begin with the rule's name, which need not stand there twice.
    let details = alert.output.strip_prefix(&alert.rule).unwrap_or(&alert.output).trim();
    let owner = printable(&alert.owner);
    format!("{time} {priority} {owner:<12} {} {}", printable(&alert.rule), printable(details))
}

fn colour(priority: &str) -> Option<&'static str> {
    match priority.trim() {
        "Emergency" | "Alert" | "Critical" => Some("\x1b[1;31m"),
        "Error" => Some("\x1b[31m"),
        "Warning" => Some("\x1b[33m"),
        _ => None,
    }
}
