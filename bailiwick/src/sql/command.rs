//! What a line that begins with a backslash asks for. Pure.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;

use crate::cli::SqlFormat;

/// How often `\watch` asks, unless it is told.
const WATCHED_EVERY: Duration = Duration::from_secs(2);
/// As often as that it may.
const WATCHED_AT_MOST_EVERY: Duration = Duration::from_millis(100);

/// What can be asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Command {
    /// The tables and views, or the columns of one.
    Describe(Option<String>),
    /// The tables and views with what they are.
    Relations,
    /// The functions that stand where a table does.
    Functions,
    /// The statement again and again.
    Watch(Duration),
    /// The statement now; if so, a column a line.
    Go {
        expanded: bool,
    },
    /// A column a line, or not, or the other of both.
    Expanded(Option<bool>),
    /// Whether times are told.
    Timing(Option<bool>),
    /// How answers are written.
    Format(SqlFormat),
    /// Where answers go: to a file, or back to the terminal.
    Output(Option<PathBuf>),
    /// Statements of a file.
    Include(PathBuf),
    Help,
    Quit,
}

/// All of them, for people and for completion.
pub(super) const HELP: [(&str, &str); 14] = [
    ("\\d [NAME]", "list tables and views, or the columns of one, or of a function"),
    ("\\dt", "list tables and views with what a row of each is"),
    ("\\df", "list functions that stand where a table does"),
    ("\\watch [SECONDS]", "run the statement again and again, until Ctrl-C"),
    ("\\g", "run the statement, as a semicolon does"),
    ("\\gx", "run it and write a column a line"),
    ("\\x [on|off]", "write a column a line"),
    ("\\timing [on|off]", "tell how long statements take"),
    ("\\f FORMAT", "write table, expanded, csv, json or ndjson; also \\pset format FORMAT"),
    ("\\o [FILE]", "write answers to a file, or to the terminal again"),
    ("\\i FILE", "run the statements of a file"),
    ("\\?", "this help"),
    ("\\q", "end; so does Ctrl-D"),
    ("Ctrl-C", "end the running statement, here and on the server"),
];

/// Reads a command without its backslash, or says what is wrong with it.
pub(super) fn parse(line: &str) -> Result<Command, String> {
    let line = line.trim().trim_end_matches(';').trim_end();
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let argument = (!rest.is_empty()).then(|| rest.trim_matches(['"', '\'']).to_owned());
    match (name, argument) {
        ("d" | "d+", name) => Ok(Command::Describe(name)),
        ("dt" | "dv" | "dt+" | "dv+", None) => Ok(Command::Relations),
        ("dt" | "dv" | "dt+" | "dv+", name) => Ok(Command::Describe(name)),
        ("df" | "df+", _) => Ok(Command::Functions),
        ("watch", seconds) => watch(seconds.as_deref()),
        ("g", None) => Ok(Command::Go { expanded: false }),
        ("gx", None) => Ok(Command::Go { expanded: true }),
        ("x", on) => switch(name, on.as_deref()).map(Command::Expanded),
        ("timing", on) => switch(name, on.as_deref()).map(Command::Timing),
        ("f", Some(format)) => self::format(&format),
        ("pset", _) => pset(rest),
        ("o", file) => Ok(Command::Output(file.map(PathBuf::from))),
        ("i", Some(file)) => Ok(Command::Include(PathBuf::from(file))),
        ("f" | "i", None) => Err(format!("\\{name} needs an argument; see \\?")),
        ("?" | "h" | "help", _) => Ok(Command::Help),
        ("q" | "quit", None) => Ok(Command::Quit),
        _ => Err(format!("\\{name} is no command here; see \\?")),
    }
}

fn watch(seconds: Option<&str>) -> Result<Command, String> {
    let Some(text) = seconds else { return Ok(Command::Watch(WATCHED_EVERY)) };
    let text = text.trim_start_matches("i=").trim_end_matches('s');
    let every = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let every = every.filter(|every| *every >= WATCHED_AT_MOST_EVERY);
    every.map(Command::Watch).ok_or_else(|| format!("\\watch {text}: write seconds, at least 0.1"))
}

fn switch(name: &str, on: Option<&str>) -> Result<Option<bool>, String> {
    match on {
        None => Ok(None),
        Some("on" | "true" | "1") => Ok(Some(true)),
        Some("off" | "false" | "0") => Ok(Some(false)),
        Some(other) => Err(format!("\\{name} {other}: write on or off")),
    }
}

fn format(name: &str) -> Result<Command, String> {
    let name = if name == "aligned" { "table" } else { name };
    SqlFormat::from_str(name, true)
        .map(Command::Format)
        .map_err(|_| format!("{name} is no format; there are table, expanded, csv, json and ndjson"))
}

fn pset(rest: &str) -> Result<Command, String> {
    match rest.split_once(char::is_whitespace).unwrap_or((rest, "")) {
        ("format", name) if !name.trim().is_empty() => format(name.trim()),
        ("expanded" | "x", on) => {
            switch("pset expanded", Some(on.trim()).filter(|on| !on.is_empty())).map(Command::Expanded)
        }
        _ => Err("\\pset: there are format and expanded, e.g. \\pset format csv".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_those_of_psql() {
        assert_eq!(parse("d"), Ok(Command::Describe(None)));
        assert_eq!(parse("d  \"syscalls\" ;"), Ok(Command::Describe(Some("syscalls".into()))));
        assert_eq!(parse("watch"), Ok(Command::Watch(Duration::from_secs(2))));
        assert_eq!(parse("watch 0.5"), Ok(Command::Watch(Duration::from_millis(500))));
        assert_eq!(parse("x"), Ok(Command::Expanded(None)));
        assert_eq!(parse("x on"), Ok(Command::Expanded(Some(true))));
        assert_eq!(parse("timing off"), Ok(Command::Timing(Some(false))));
        assert_eq!(parse("pset format csv"), Ok(Command::Format(SqlFormat::Csv)));
        assert_eq!(parse("f NDJSON"), Ok(Command::Format(SqlFormat::Ndjson)));
        assert_eq!(parse("o"), Ok(Command::Output(None)));
        assert_eq!(parse("i a b.sql"), Ok(Command::Include("a b.sql".into())));
        assert_eq!(parse("q"), Ok(Command::Quit));
    }

    #[test]
    fn what_is_no_command_is_told() {
        for line in [
            "",
            "copy t to x",
            "! ls",
            "watch soon",
            "watch 0",
            "watch -1",
            "x maybe",
            "f",
            "f xml",
            "pset a b",
        ] {
            assert!(!parse(line).unwrap_err().is_empty(), "{line}");
        }
    }

    #[test]
    fn every_command_of_the_help_is_one() {
        for (form, _) in HELP.iter().filter(|(form, _)| form.starts_with('\\')) {
            let line = form[1..].replace(" FORMAT", " csv").replace(" FILE", " x");
            let line = line.split('[').next().unwrap();
            assert!(parse(line).is_ok(), "{form}");
        }
    }
}
