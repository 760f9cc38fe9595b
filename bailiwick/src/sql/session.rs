//! Statements and commands, one after the other, with what was set before.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bailiwick_query::TableFunction;
use serde_json::json;

use super::ask::{Asker, Question};
use super::command::{self, Command};
use super::print::{expanded, ndjson, rendered};
use super::script::{Part, parts};
use crate::amount;
use crate::cli::{self, SqlFormat};
use crate::client::{Answer, AnswerColumn, Api, Written};
use crate::failure::Failure;
use crate::say::{complain, say};
use crate::terminal::printable_lines;

/// Files that include files.
const MAX_INCLUDED: usize = 16;

/// What is said of an answer that is a part of what was asked for.
const CUT: &str = "the answer was cut at the server's limit of rows or bytes: the last row here is not the last one; \
    ask for less at once, e.g. one span of time after the other, or raise query.max_rows and query.max_bytes";
/// What is said of one of which that is not known.
const UNKNOWN: &str = "whether the answer is whole is not known: a proxy dropped what follows it (HTTP trailers); \
    the format json says so by itself";

/// Tables and views; parameters make it safe for any name.
const RELATIONS: &str = "\
SELECT t.table_name AS name, CASE t.table_type WHEN 'VIEW' THEN 'view' ELSE 'table' END AS kind, \
obj_description(c.oid, 'pg_class') AS \"a row is\" \
FROM information_schema.tables t JOIN pg_catalog.pg_class c ON c.relname = t.table_name \
WHERE t.table_schema = 'public' ORDER BY kind, name";
const COLUMNS: &str = "\
SELECT f.column_name AS \"column\", f.data_type AS type, col_description(c.oid, f.ordinal_position) AS meaning \
FROM information_schema.columns f JOIN pg_catalog.pg_class c ON c.relname = f.table_name \
WHERE f.table_schema = 'public' AND f.table_name = $1 ORDER BY f.ordinal_position";

/// What was set, and who is asked.
pub(super) struct Session {
    asker: Asker,
    format: SqlFormat,
    timing: bool,
    output: Output,
    /// What `\g` and `\watch` run.
    last: Option<Question>,
    included: usize,
    /// Answers that are not all of what was asked for.
    cut: u64,
}

/// Where answers go.
enum Output {
    Terminal,
    File(PathBuf, BufWriter<File>),
}

/// What kind of text an answer is.
#[derive(Clone, Copy)]
enum Kind {
    People,
    Csv,
    Json,
}

// === impl Session ===

impl Session {
    pub(super) fn new(api: Api, args: &cli::Sql) -> Result<Self, Failure> {
        let output = args.output.as_deref().map_or(Ok(Output::Terminal), Output::file)?;
        Ok(Self {
            asker: Asker::new(api),
            format: args.format,
            timing: false,
            output,
            last: None,
            included: 0,
            cut: 0,
        })
    }

    /// Runs a text's parts; whether there is to be more after it. A failure ends
    /// it where `strict`, otherwise it is told and the next part follows.
    pub(super) async fn run(&mut self, text: &str, strict: bool) -> Result<bool, Failure> {
        let parts = parts(text);
        let count = parts.len();
        for (index, part) in parts.into_iter().enumerate() {
            let ran = match part {
                Part::Statement(sql) => self.statement(Question::new(sql)).await.map(|()| true),
                // What is not ended by the end of a script is ended by it.
                Part::Open(sql) if index + 1 == count => {
                    self.statement(Question::new(sql)).await.map(|()| true)
                }
                Part::Open(sql) => {
                    self.last = Some(Question::new(sql));
                    Ok(true)
                }
                Part::Command(line) => match command::parse(&line) {
                    Ok(command) => Box::pin(self.command(command, strict)).await,
                    Err(wrong) => Err(Failure::failed(wrong)),
                },
            };
            match ran {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(failure) if strict => return Err(failure),
                Err(failure) => complain(format_args!("{failure}")),
            }
        }
        Ok(true)
    }

    /// The names that can be completed: tables with their columns.
    pub(super) async fn names(&mut self) -> Result<Vec<(String, String)>, Failure> {
        let question = Question::new(
            "SELECT table_name, column_name FROM information_schema.columns \
             WHERE table_schema = 'public' ORDER BY table_name, ordinal_position",
        );
        let Some(answer) = self.answer(&question).await? else { return Ok(Vec::new()) };
        let text = |value: Option<&serde_json::Value>| {
            value.and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
        };
        Ok(answer.rows.iter().map(|row| (text(row.first()), text(row.get(1)))).collect())
    }

    /// Makes sure that everything is where it should be.
    pub(super) fn finish(mut self) -> Result<(), Failure> {
        self.output.flush()
    }

    /// The same for a script, which must not take a part for the whole.
    pub(super) fn finish_whole(self) -> Result<(), Failure> {
        let cut = self.cut;
        self.finish()?;
        match cut {
            0 => Ok(()),
            cut => Err(Failure::failed(format!("{}, see above", amount::of(cut, "incomplete answer")))),
        }
    }

    async fn command(&mut self, command: Command, strict: bool) -> Result<bool, Failure> {
        match command {
            Command::Quit => return Ok(false),
            Command::Describe(None) | Command::Relations => self.show(Question::new(RELATIONS)).await?,
            Command::Describe(Some(name)) => self.describe(name).await?,
            Command::Functions => self.output.write(Kind::People, &rendered(&functions()))?,
            Command::Watch(every) => self.watch(every).await?,
            Command::Go { expanded } => self.again(expanded).await?,
            Command::Expanded(on) => {
                let on = on.unwrap_or(self.format != SqlFormat::Expanded);
                self.format = if on { SqlFormat::Expanded } else { SqlFormat::Table };
                self.set(if on { "a column is a line" } else { "a row is a line" });
            }
            Command::Timing(on) => {
                self.timing = on.unwrap_or(!self.timing);
                self.set(if self.timing { "times are told" } else { "times are not told" });
            }
            Command::Format(format) => self.format = format,
            Command::Output(file) => {
                self.output.flush()?;
                self.output = file.as_deref().map_or(Ok(Output::Terminal), Output::file)?;
            }
            Command::Include(file) => return self.include(&file, strict).await,
            Command::Help => {
                for (form, meaning) in command::HELP {
                    say!("  {form:18} {meaning}");
                }
            }
        }
        Ok(true)
    }

    async fn statement(&mut self, question: Question) -> Result<(), Failure> {
        self.last = Some(question.clone());
        self.show(question).await
    }

    /// Asks and writes the answer as it is set.
    async fn show(&mut self, question: Question) -> Result<(), Failure> {
        let began = Instant::now();
        let Some((kind, Written { text, truncated })) = self.written(&question).await? else {
            return Err(Failure::interrupted("ended by Ctrl-C, here and on the server"));
        };
        if !(text.is_empty() && self.format == SqlFormat::Ndjson) {
            self.output.write(kind, &text)?;
        }
        match truncated {
            Some(false) => {}
            Some(true) => {
                self.cut += 1;
                complain(format_args!("{CUT}"));
            }
            None => complain(format_args!("{UNKNOWN}")),
        }
        if self.timing {
            say!("time: {}", told(began.elapsed()));
        }
        Ok(())
    }

    /// The answer as it is set; nothing if a person ended it.
    async fn written(&mut self, question: &Question) -> Result<Option<(Kind, Written)>, Failure> {
        let format = match self.format {
            SqlFormat::Csv => Some((Kind::Csv, "csv")),
            SqlFormat::Json => Some((Kind::Json, "json")),
            SqlFormat::Table | SqlFormat::Expanded | SqlFormat::Ndjson => None,
        };
        if let Some((kind, format)) = format {
            let Some(mut written) = self.asker.ask(question, format).await? else { return Ok(None) };
            if self.format == SqlFormat::Json {
                // It says so itself, whatever becomes of the trailers.
                written.truncated = Some(written.text.trim_end().ends_with("\"truncated\":true}"));
            }
            return Ok(Some((kind, written)));
        }
        let Some(answer) = self.answer(question).await? else { return Ok(None) };
        let (kind, text) = match self.format {
            SqlFormat::Ndjson => (Kind::Json, ndjson(&answer)),
            SqlFormat::Expanded => (Kind::People, expanded(&answer)),
            _ => (Kind::People, rendered(&answer)),
        };
        Ok(Some((kind, Written { text, truncated: Some(answer.truncated) })))
    }

    async fn answer(&mut self, question: &Question) -> Result<Option<Answer>, Failure> {
        let Some(written) = self.asker.ask(question, "json").await? else { return Ok(None) };
        let read = serde_json::from_str(&written.text);
        read.map(Some).map_err(|error| Failure::failed(format!("the server answered no table: {error}")))
    }

    async fn describe(&mut self, name: String) -> Result<(), Failure> {
        let name = name.strip_prefix("public.").unwrap_or(&name).to_owned();
        if let Some(function) = TableFunction::ALL.into_iter().find(|known| known.name() == name) {
            say!("{}: {}", function.usage(), function.doc());
            let described = rendered(&columns_of(function));
            return self.output.write(Kind::People, &described);
        }
        let question = Question { sql: COLUMNS.to_owned(), params: vec![json!(name)] };
        match self.answer(&question).await? {
            Some(answer) if answer.rows.is_empty() => Err(Failure::failed(format!(
                "no table, view or function is named {name:?}; see \\d and \\df"
            ))),
            Some(_) => self.show(question).await,
            None => Ok(()),
        }
    }

    async fn again(&mut self, expanded: bool) -> Result<(), Failure> {
        let question = self.last()?;
        let before = self.format;
        if expanded {
            self.format = SqlFormat::Expanded;
        }
        let shown = self.show(question).await;
        self.format = before;
        shown
    }

    async fn watch(&mut self, every: Duration) -> Result<(), Failure> {
        let question = self.last()?;
        loop {
            if matches!(self.format, SqlFormat::Table | SqlFormat::Expanded) {
                let now = chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
                self.output.write(Kind::People, &format!("{now}, every {}", told(every)))?;
            }
            match self.show(question.clone()).await {
                Ok(()) => self.output.flush()?,
                Err(failure) if failure.is_interrupted() => return Ok(()),
                Err(failure) => return Err(failure),
            }
            if self.asker.wait(every).await? {
                return Ok(());
            }
        }
    }

    async fn include(&mut self, file: &Path, strict: bool) -> Result<bool, Failure> {
        if self.included == MAX_INCLUDED {
            return Err(Failure::failed(format!(
                "\\i {}: files include each other without end",
                file.display()
            )));
        }
        let text = super::from_file(file)?;
        self.included += 1;
        let ran = self.run(&text, strict).await;
        self.included -= 1;
        ran
    }

    fn last(&self) -> Result<Question, Failure> {
        self.last.clone().ok_or_else(|| Failure::failed("there is no statement yet"))
    }

    /// Tells what is set now, unless a program reads.
    fn set(&self, what: &str) {
        if matches!(self.output, Output::Terminal) {
            say!("{what}");
        }
    }
}

// === impl Output ===

impl Output {
    fn file(path: &Path) -> Result<Self, Failure> {
        let file = File::create(path).map_err(|error| wrong(path, &error))?;
        Ok(Self::File(path.to_owned(), BufWriter::new(file)))
    }

    fn write(&mut self, kind: Kind, text: &str) -> Result<(), Failure> {
        let Self::File(path, file) = self else {
            match kind {
                Kind::People => say!("{text}"),
                Kind::Csv => crate::say::csv(text),
                Kind::Json => crate::say::json(text.trim_end_matches('\n')),
            }
            return crate::say::written();
        };
        let written = match kind {
            Kind::People => writeln!(file, "{}", printable_lines(text)),
            Kind::Csv => file.write_all(text.as_bytes()),
            Kind::Json => writeln!(file, "{}", text.trim_end_matches('\n')),
        };
        written.map_err(|error| wrong(path, &error))
    }

    fn flush(&mut self) -> Result<(), Failure> {
        match self {
            Self::Terminal => crate::say::written(),
            Self::File(path, file) => file.flush().map_err(|error| wrong(path, &error)),
        }
    }
}

fn wrong(file: &Path, error: &std::io::Error) -> Failure {
    Failure::failed(format!("{}: {error}", file.display()))
}

fn functions() -> Answer {
    let row = |function: TableFunction| vec![json!(function.usage()), json!(function.doc())];
    let falco =
        vec![json!("falco_matches(['rule'])"), json!("what a rule, or every one, finds in what is stored")];
    let rows = TableFunction::ALL.into_iter().map(row).chain([falco]).collect();
    answer_of(&["function", "a row is"], rows)
}

fn columns_of(function: TableFunction) -> Answer {
    let row = |column: &bailiwick_proto::Column| vec![json!(column.name), json!(column.doc)];
    answer_of(&["column", "meaning"], function.columns().iter().map(row).collect())
}

fn answer_of(names: &[&str], rows: Vec<Vec<serde_json::Value>>) -> Answer {
    let column = |name: &&str| AnswerColumn { name: (*name).to_owned(), kind: "text".to_owned() };
    Answer { columns: names.iter().map(column).collect(), rows, truncated: false }
}

fn told(time: Duration) -> String {
    match time {
        time if time < Duration::from_secs(1) => format!("{:.1} ms", time.as_secs_f64() * 1_000.0),
        time => format!("{:.1} s", time.as_secs_f64()),
    }
}
