//! The report for a person. Pure.

use bailiwick_collector::features::{Feature, Need, Section, State, Verdict};

use super::Report;
use super::checks::Check;
use crate::table;

const SECTIONS: [(Section, &str); 4] = [
    (Section::Kernel, "kernel"),
    (Section::Privileges, "privileges"),
    (Section::Cgroups, "cgroups and namespaces"),
    (Section::Runtimes, "container runtimes"),
];

/// Sections as tables, what is missing and how to get it, and the verdict.
pub(super) fn of(report: &Report) -> String {
    let mut parts: Vec<String> =
        SECTIONS.iter().map(|(section, title)| features(&report.features, *section, title)).collect();
    parts.push(checks("sources", &report.sources));
    parts.push(checks("bucket", std::slice::from_ref(&report.bucket)));
    parts.push(checks("clients", &report.clients));
    parts.extend(missing(report));
    parts.push(verdict(report.verdict).to_owned());
    parts.join("\n\n")
}

fn features(all: &[Feature], section: Section, title: &str) -> String {
    let header = ["", title, "needed", "found", "what for"].map(str::to_owned);
    let row = |feature: &Feature| {
        [feature_mark(feature), feature.name, need(feature.need), &feature.found, feature.used_for]
            .map(str::to_owned)
            .to_vec()
    };
    let rows: Vec<Vec<String>> = all.iter().filter(|feature| feature.section == section).map(row).collect();
    table::render(&header, &[false; 5], &rows)
}

fn checks(title: &str, checks: &[Check]) -> String {
    let header = ["", title, "found"].map(str::to_owned);
    let row = |check: &Check| {
        let mark = if check.state == State::Unknown { "–" } else { mark(check.state) };
        vec![mark.to_owned(), check.name.clone(), check.found.clone()]
    };
    table::render(&header, &[false; 3], &checks.iter().map(row).collect::<Vec<_>>())
}

/// What would be used and is not there, with the next step.
fn missing(report: &Report) -> Option<String> {
    let wanted = |feature: &&Feature| feature.need != Need::NotUsed && feature.state == State::No;
    let features = report.features.iter().filter(wanted).map(|feature| (feature.name, feature.how_to_get_it));
    let tried = report.sources.iter().chain([&report.bucket]).chain(&report.clients);
    let checks = tried.filter(|check| check.state != State::Yes);
    let checks = checks.map(|check| (check.name.as_str(), check.how_to_get_it.as_str()));
    let steps = features.chain(checks).filter(|(_, how)| !how.is_empty());
    let rows: Vec<Vec<String>> = steps.map(|(name, how)| vec![name.to_owned(), how.to_owned()]).collect();
    let header = ["to get", "do"].map(str::to_owned);
    (!rows.is_empty()).then(|| table::render(&header, &[false; 2], &rows))
}

/// What nobody misses is no cross.
fn feature_mark(feature: &Feature) -> &'static str {
    match (feature.state, feature.need) {
        (State::No, Need::NotUsed) => "–",
        (state, _) => mark(state),
    }
}

fn mark(state: State) -> &'static str {
    match state {
        State::Yes => "✓",
        State::No => "✗",
        State::Unknown => "?",
    }
}

fn need(need: Need) -> &'static str {
    match need {
        Need::Core => "core",
        Need::Optional => "optional",
        Need::NotUsed => "not used",
    }
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Able => "System calls can be captured here.",
        Verdict::NotPermitted => "System calls cannot be captured: privileges are missing.",
        Verdict::NotSupported => "System calls cannot be captured: this kernel lacks what the core needs.",
    }
}
