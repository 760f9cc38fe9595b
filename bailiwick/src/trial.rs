//! `bailiwick rules test`: what rules would have found, from the server that has the history.
//!
//! ```text
//!   rule files ─▶ POST /api/v1/rules/test ─▶ progress, progress, … ─▶ report
//!   (checked here first)                     bar on standard error     table or JSON
//! ```

use std::path::PathBuf;
use std::time::Duration;

use bailiwick_query::{Change, Example, Progress, RuleReport, TrialReport};
use bailiwick_rules::{RuleText, load};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli;
use crate::client::Api;
use crate::config::Config;
use crate::failure::Failure;
use crate::rules;
use crate::say::say;
use crate::signals::stop_on_signal;
use crate::span;
use crate::table;
use crate::terminal::printable;

/// Tenants named in a line of the table.
const TENANTS: usize = 3;
/// Names without an address that are named.
const NAMES: usize = 5;

/// A line of the server's answer.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    Progress(Progress),
    Report(TrialReport),
    Error { code: String, message: String },
}

/// Asks the server to run the rules, shows how far it is, and prints the report.
pub(crate) async fn run(config: &Config, args: cli::RulesTest) -> Result<(), Failure> {
    let request = request(&args)?;
    let api = Api::new(config, &args.server)?;
    let stop = stop_on_signal()?;
    let bar = bar();
    let mut report = None;
    let asked = api.rules_test(&request, |line| {
        match read(line)? {
            Line::Progress(progress) => show(&bar, progress),
            Line::Report(found) => report = Some(found),
            Line::Error { code, message } => return Err(Failure::failed(format!("{message} [{code}]"))),
        }
        Ok(())
    });
    let ended = tokio::select! {
        ended = asked => ended,
        // The connection goes with the request, and the server's work with it.
        () = stop.cancelled() => Err(Failure::interrupted("ended, nothing was found out")),
    };
    bar.finish_and_clear();
    ended?;
    let report = report.ok_or_else(|| Failure::failed("the answer broke off before the report"))?;
    match args.json {
        true => print_json(&report)?,
        false => say!("{}", rendered(&report)),
    }
    Ok(())
}

fn read(line: &str) -> Result<Line, Failure> {
    serde_json::from_str(line)
        .map_err(|error| Failure::failed(format!("the server answered no report: {error}")))
}

/// What to ask. Files with errors are told here, with their places, and not sent.
fn request(args: &cli::RulesTest) -> Result<Value, Failure> {
    let (from, to) = span::period(&args.since, args.from.as_ref(), args.to.as_ref())?;
    let (old, new) = match args.compare.as_slice() {
        [old, new] => (checked(&args.files, Some(old))?, checked(&args.files, Some(new))?),
        _ => (Vec::new(), checked(&args.files, None)?),
    };
    Ok(json!({ "from": from, "to": to, "rules": new, "old": old, "tenants": args.tenant }))
}

fn checked(files: &[PathBuf], last: Option<&PathBuf>) -> Result<Vec<Value>, Failure> {
    let texts =
        files.iter().chain(last).map(|file| rules::read(file)).collect::<Result<Vec<RuleText>, _>>()?;
    let errors: Vec<String> =
        load(&texts).diagnostics.iter().filter(|found| found.is_error()).map(ToString::to_string).collect();
    match errors.len() {
        0 => Ok(texts.into_iter().map(|text| json!({ "name": text.name, "text": text.text })).collect()),
        count => Err(Failure::failed(format!("{}\n{count} errors, nothing was run", errors.join("\n")))),
    }
}

/// A bar on standard error, where a person looks at it.
fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {elapsed}");
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.enable_steady_tick(Duration::from_millis(500));
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn show(bar: &ProgressBar, progress: Progress) {
    bar.set_length(progress.total as u64);
    bar.set_position(progress.done as u64);
    bar.set_message(format!("{} events, {} matches", progress.events, progress.matches));
}

fn print_json(report: &TrialReport) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(report).map_err(|error| Failure::failed(error.to_string()))?;
    crate::say::json(&text);
    Ok(())
}

/// The report for people: a table of the rules that match, then what stands out.
fn rendered(report: &TrialReport) -> String {
    let found: Vec<&RuleReport> = report.rules.iter().filter(|rule| rule.matches > 0).collect();
    let mut parts = vec![summary(report, found.len())];
    parts.extend(unresolved(&report.unresolved));
    if !found.is_empty() {
        parts.push(rules_table(&found));
        parts.extend(found.iter().flat_map(|rule| details(rule)));
    }
    if let Some(changes) = &report.changes {
        parts.push(changes_text(changes));
    }
    parts.join("\n\n")
}

fn summary(report: &TrialReport, found: usize) -> String {
    let time = |time: chrono::DateTime<chrono::Utc>| time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    format!(
        "{} of {} rules match, {} events looked at, {} to {}",
        found,
        report.rules.len(),
        report.events,
        time(report.from),
        time(report.to)
    )
}

/// What was not compared with anything.
fn unresolved(names: &[String]) -> Option<String> {
    let shown: Vec<String> = names.iter().take(NAMES).map(|name| printable(name)).collect();
    let more = match names.len().saturating_sub(NAMES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!names.is_empty())
        .then(|| format!("No address is known of {}{more}: no event is of such a name.", shown.join(", ")))
}

fn rules_table(rules: &[&RuleReport]) -> String {
    let header = ["rule", "priority", "matches", "first", "a day", "busiest day", "tenants"];
    let numeric = [false, false, true, true, true, false, false];
    let row = |rule: &&RuleReport| {
        let busiest = rule.busiest_day.map(|(day, count)| format!("{day}: {count}")).unwrap_or_default();
        vec![
            rule.rule.clone(),
            rule.priority.clone(),
            rule.matches.to_string(),
            rule.alerts.to_string(),
            format!("{:.1}", rule.matches_per_day),
            busiest,
            tenants(rule),
        ]
    };
    let rows: Vec<Vec<String>> = rules.iter().map(row).collect();
    table::render(&header.map(str::to_owned), &numeric, &rows)
}

/// The tenants with most matches.
fn tenants(rule: &RuleReport) -> String {
    let mut tenants: Vec<(&String, &u64)> = rule.tenants.iter().collect();
    tenants.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), (*name).clone()));
    let named: Vec<String> =
        tenants.iter().take(TENANTS).map(|(name, count)| format!("{name} {count}")).collect();
    let more = tenants.len().saturating_sub(TENANTS);
    match more {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}

/// A rule's examples, and the rules that hide it.
fn details(rule: &RuleReport) -> Option<String> {
    let mut lines = vec![printable(&rule.rule)];
    for (first, count) in &rule.shadowed_by {
        let first = printable(first);
        lines.push(format!("  {count} of {} also match {first:?}, which comes first", rule.matches));
    }
    lines.extend(rule.examples.iter().map(|example| example_line("  ", example)));
    (lines.len() > 1).then(|| lines.join("\n"))
}

fn changes_text(changes: &[Change]) -> String {
    if changes.is_empty() {
        return "The new rules raise the same alerts as the old ones.".to_owned();
    }
    let mut lines = vec!["Changes, where the first rule that matches alerts:".to_owned()];
    for change in changes {
        let (rule, before, after) = (printable(&change.rule), change.before, change.after);
        let (added, removed) = (change.added, change.removed);
        lines.push(format!("  {rule}: {before} alerts before, {after} after, +{added} -{removed}"));
        lines.extend(change.added_examples.iter().map(|example| example_line("    + ", example)));
        lines.extend(change.removed_examples.iter().map(|example| example_line("    - ", example)));
    }
    lines.join("\n")
}

fn example_line(before: &str, example: &Example) -> String {
    let (time, tenant) = (printable(&example.time), printable(&example.tenant));
    format!("{before}{time} {tenant} {}", printable(&example.output))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(output: &str) -> Example {
        Example {
            alert_id: "0f".into(),
            time: "2026-11-24T12:00:00.000000Z".into(),
            tenant: "acme".into(),
            output: output.into(),
        }
    }

    fn rule(name: &str, matches: u64) -> RuleReport {
        RuleReport {
            rule: name.into(),
            source: "syscall".into(),
            priority: "Warning".into(),
            matches,
            alerts: matches / 2,
            matches_per_day: 1.25,
            busiest_day: Some(("2026-11-24".parse().unwrap(), matches)),
            tenants: ["a", "b", "c", "d"].map(|name| (name.to_owned(), matches / 4)).into(),
            shadowed_by: [("Shell".to_owned(), matches / 2)].into(),
            examples: vec![example("started \u{1b}[2J sh")],
        }
    }

    #[test]
    fn a_report_is_read_by_people() {
        let report = TrialReport {
            from: "2026-11-01T00:00:00Z".parse().unwrap(),
            to: "2026-11-25T00:00:00Z".parse().unwrap(),
            events: 81_234,
            unresolved: ["a", "b", "c", "d", "e.example", "f"].map(str::to_owned).into(),
            rules: vec![rule("Start", 8), rule("Silent", 0)],
            changes: Some(vec![Change {
                rule: "Start".into(),
                before: 3,
                after: 2,
                added: 1,
                removed: 2,
                added_examples: vec![example("new")],
                removed_examples: vec![example("old")],
            }]),
        };
        insta::assert_snapshot!(rendered(&report));
    }

    #[test]
    fn lines_of_the_answer_are_told_apart() {
        let progress = r#"{"progress":{"done":1,"total":2,"events":3,"matches":4}}"#;
        assert!(matches!(read(progress).unwrap(), Line::Progress(at) if at.done == 1));
        let error = r#"{"error":{"code":"timeout","message":"too slow"}}"#;
        assert!(matches!(read(error).unwrap(), Line::Error { code, .. } if code == "timeout"));
        assert!(read("{}").is_err() && read("").is_err());
    }
}
