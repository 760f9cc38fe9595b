//! A conversation: lines with editing, history and completion.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bailiwick_query::TableFunction;
use rustyline::completion::{Completer, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::{ValidationContext, ValidationResult, Validator};
use rustyline::{CompletionType, Config, Context, Editor, Helper};

use super::session::Session;
use super::{command, history, script};
use crate::failure::Failure;
use crate::say::say;

const PROMPT: &str = "bailiwick=> ";
/// Statements remembered.
const REMEMBERED: usize = 2_000;

const KEYWORDS: [&str; 56] = [
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "ORDER BY",
    "HAVING",
    "LIMIT",
    "OFFSET",
    "JOIN",
    "LEFT JOIN",
    "RIGHT JOIN",
    "FULL JOIN",
    "CROSS JOIN",
    "ON",
    "USING",
    "AS",
    "AND",
    "OR",
    "NOT",
    "IN",
    "IS NULL",
    "IS NOT NULL",
    "LIKE",
    "ILIKE",
    "BETWEEN",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "DISTINCT",
    "UNION ALL",
    "UNION",
    "EXCEPT",
    "INTERSECT",
    "WITH",
    "RECURSIVE",
    "VALUES",
    "ASC",
    "DESC",
    "NULLS LAST",
    "NULLS FIRST",
    "INTERVAL",
    "CAST",
    "EXISTS",
    "OVER",
    "PARTITION BY",
    "ROWS BETWEEN",
    "EXPLAIN",
    "DESCRIBE",
    "SHOW TABLES",
    "TRUE",
    "FALSE",
    "NULL",
    "FILTER",
    "FETCH FIRST",
];
const FUNCTIONS: [&str; 44] = [
    "count",
    "sum",
    "min",
    "max",
    "avg",
    "median",
    "stddev",
    "approx_distinct",
    "approx_percentile_cont",
    "array_agg",
    "string_agg",
    "first_value",
    "last_value",
    "row_number",
    "rank",
    "lag",
    "lead",
    "coalesce",
    "nullif",
    "greatest",
    "least",
    "now",
    "date_trunc",
    "date_bin",
    "date_part",
    "time_bucket",
    "extract",
    "to_timestamp",
    "lower",
    "upper",
    "length",
    "substr",
    "split_part",
    "starts_with",
    "ends_with",
    "strpos",
    "regexp_like",
    "regexp_replace",
    "concat",
    "concat_ws",
    "array_has",
    "array_to_string",
    "round",
    "event_argument",
];
/// After these a table follows.
const BEFORE_TABLES: [&str; 5] = ["from", "join", "describe", "\\d", "\\d+"];

type Lines = Editor<Known, FileHistory>;

/// Talks until there is no more to be said.
pub(super) async fn talk(mut session: Session) -> Result<(), Failure> {
    let file = history::file();
    // It comes before the first question, see `Asker`.
    let mut lines = editor(file.as_ref())?;
    lines.set_helper(Some(Known::new(session.names().await?)));
    say!("Statements end with a semicolon; \\? lists commands, Ctrl-D ends.");
    loop {
        let (back, read) = read(lines).await?;
        lines = back;
        match read {
            Ok(text) => {
                remember(&mut lines, &text, file.as_ref());
                if !session.run(&text, false).await? {
                    break;
                }
            }
            // What was typed so far is dropped.
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(Failure::failed(format!("the terminal: {error}"))),
        }
    }
    session.finish()
}

/// One text, read on a thread that may wait.
async fn read(mut lines: Lines) -> Result<(Lines, Result<String, ReadlineError>), Failure> {
    let reading = tokio::task::spawn_blocking(move || {
        let read = lines.readline(PROMPT);
        (lines, read)
    });
    reading.await.map_err(|error| Failure::failed(format!("the terminal: {error}")))
}

fn editor(file: Option<&PathBuf>) -> Result<Lines, Failure> {
    let cannot = |error: ReadlineError| Failure::failed(format!("the terminal: {error}"));
    let config = Config::builder()
        .max_history_size(REMEMBERED)
        .and_then(|config| config.history_ignore_dups(true))
        .map_err(cannot)?
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        .build();
    let mut lines = Lines::with_config(config).map_err(cannot)?;
    if let Some(file) = file
        && let Err(error) = lines.load_history(file)
    {
        tracing::debug!(file = %file.display(), %error, "there is no history yet");
    }
    Ok(lines)
}

fn remember(lines: &mut Lines, text: &str, file: Option<&PathBuf>) {
    let kept = lines.add_history_entry(text.trim_end());
    if let (Ok(true), Some(file)) = (kept, file)
        && let Err(error) = lines.append_history(file)
    {
        tracing::warn!(file = %file.display(), %error, "what is typed is not kept");
    }
}

/// What can be completed, and what is a whole text.
pub(super) struct Known {
    /// Tables and views with their columns.
    tables: BTreeMap<String, Vec<String>>,
}

// === impl Known ===

impl Known {
    pub(super) fn new(columns: Vec<(String, String)>) -> Self {
        let mut tables: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (table, column) in columns {
            tables.entry(table).or_default().push(column);
        }
        for function in TableFunction::ALL {
            let columns = function.columns().iter().map(|column| column.name.to_owned());
            tables.insert(format!("{}(", function.name()), columns.collect());
        }
        Self { tables }
    }

    /// Where the word under the cursor begins, and what it could become.
    fn completions(&self, line: &str, at: usize) -> (usize, Vec<String>) {
        let before = &line[..at];
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let start = before.rfind(|c| !is_word(c)).map_or(0, |end| end + last_char(before, end));
        let word = &before[start..];
        if let Some(slash) =
            before.rfind('\\').filter(|slash| !before[*slash..].contains(char::is_whitespace))
        {
            return (slash, commands(&before[slash..]));
        }
        let previous = before[..start].split_whitespace().next_back().unwrap_or_default().to_lowercase();
        let after_dot = before[..start].ends_with('.');
        let candidates: BTreeSet<String> = if BEFORE_TABLES.contains(&previous.as_str()) {
            self.tables.keys().cloned().collect()
        } else if after_dot {
            self.columns(line)
        } else {
            let mut all = self.columns(line);
            all.extend(FUNCTIONS.map(|name| format!("{name}(")));
            all.extend(self.tables.keys().cloned());
            all.extend(KEYWORDS.map(|keyword| cased(keyword, word)));
            all
        };
        let fits = |candidate: &String| {
            !word.is_empty() && candidate.to_lowercase().starts_with(&word.to_lowercase())
                || word.is_empty() && (after_dot || BEFORE_TABLES.contains(&previous.as_str()))
        };
        (start, candidates.into_iter().filter(fits).collect())
    }

    /// Columns of the tables that a text names; of all, if it names none.
    fn columns(&self, line: &str) -> BTreeSet<String> {
        let words: BTreeSet<&str> = line.split(|c: char| !(c.is_alphanumeric() || c == '_')).collect();
        let named = |table: &str| words.contains(table.trim_end_matches('('));
        let any = self.tables.keys().any(|table| named(table));
        let of = self.tables.iter().filter(|(table, _)| !any || named(table));
        of.flat_map(|(_, columns)| columns.iter().cloned()).collect()
    }
}

fn last_char(text: &str, at: usize) -> usize {
    text[at..].chars().next().map_or(0, char::len_utf8)
}

fn commands(typed: &str) -> Vec<String> {
    let names = command::HELP.iter().filter_map(|(form, _)| form.split([' ', '[']).next());
    names.filter(|name| name.starts_with('\\') && name.starts_with(typed)).map(str::to_owned).collect()
}

/// A keyword as the person writes them.
fn cased(keyword: &str, word: &str) -> String {
    match word.chars().next().is_some_and(char::is_lowercase) {
        true => keyword.to_lowercase(),
        false => keyword.to_owned(),
    }
}

impl Helper for Known {}
impl Hinter for Known {
    type Hint = String;
}
impl Highlighter for Known {}

impl Completer for Known {
    type Candidate = Pair;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, found) = self.completions(line, at);
        let pair = |text: String| Pair { display: text.clone(), replacement: text };
        Ok((start, found.into_iter().map(pair).collect()))
    }
}

impl Validator for Known {
    fn validate(&self, context: &mut ValidationContext<'_>) -> rustyline::Result<ValidationResult> {
        Ok(match script::is_complete(context.input()) {
            true => ValidationResult::Valid(None),
            false => ValidationResult::Incomplete,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(line: &str) -> Vec<String> {
        let columns = [("alerts", "rule"), ("alerts", "time"), ("usage", "cpu_ns"), ("usage", "time")];
        let known = Known::new(columns.map(|(table, column)| (table.to_owned(), column.to_owned())).to_vec());
        let (start, found) = known.completions(line, line.len());
        found.into_iter().map(|text| format!("{}{text}", &line[..start])).collect()
    }

    #[test]
    fn what_can_follow_is_offered() {
        assert_eq!(completed("SELECT * FROM al"), ["SELECT * FROM alerts"]);
        assert_eq!(completed("SELECT * FROM pro"), ["SELECT * FROM process_tree("]);
        assert_eq!(completed("\\d us"), ["\\d usage"]);
        assert_eq!(
            completed("SELECT cp"),
            ["cpu_core_hours", "cpu_cost", "cpu_ns"].map(|name| format!("SELECT {name}"))
        );
        assert!(completed("SELECT * FROM alerts WHERE cp").is_empty());
        assert_eq!(
            completed("SELECT * FROM alerts a WHERE a."),
            ["SELECT * FROM alerts a WHERE a.rule", "SELECT * FROM alerts a WHERE a.time"]
        );
        assert_eq!(completed("sel"), ["select"]);
        assert_eq!(completed("SEL"), ["SELECT"]);
        assert_eq!(completed("SELECT coun"), ["SELECT count("]);
        assert_eq!(completed("\\ti"), ["\\timing"]);
        assert!(completed("SELECT 'é").is_empty());
        assert!(completed("").is_empty());
    }
}
