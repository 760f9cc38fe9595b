//! Output templates: `%field` in a text, printed for a row.

use arrow::array::RecordBatch;
use serde_json::{Map, Value};

use crate::compile::{Column, Term};
use crate::fields::{self, Access, Lookup};
use crate::filter::FieldRef;
use crate::loader::Source;

/// What stands in a text for a field that has no value.
const NO_VALUE: &str = "<NA>";

/// A rule's output, parsed.
#[derive(Debug, Clone)]
pub struct Output {
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Field { written: String, term: Option<Term> },
}

/// Why a text is not an output template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct OutputError {
    /// The word that it is about.
    pub word: String,
    /// What is wrong with it.
    pub message: String,
}

// === impl Output ===

impl Output {
    /// Reads a template. A leading `*`, which asks to print even when a field
    /// has no value, is what happens anyway; `%%` is a percent sign.
    pub fn parse(source: Source, template: &str) -> Result<Self, OutputError> {
        let mut rest = template.strip_prefix('*').unwrap_or(template);
        let mut parts = Vec::new();
        while let Some(at) = rest.find('%') {
            push_text(&mut parts, &rest[..at]);
            let after = &rest[at + 1..];
            if let Some(literal) = after.strip_prefix('%') {
                push_text(&mut parts, "%");
                rest = literal;
                continue;
            }
            let (part, len) = field(source, after)?;
            parts.push(part);
            rest = &after[len..];
        }
        push_text(&mut parts, rest);
        Ok(Self { parts })
    }

    /// A text without fields.
    pub fn literal(text: &str) -> Self {
        Self { parts: vec![Part::Text(text.to_owned())] }
    }

    /// The fields in it that no column fills.
    pub fn unfilled(&self) -> Vec<&str> {
        let mut names = Vec::new();
        for part in &self.parts {
            if let Part::Field { written, term: None } = part {
                names.push(written.as_str());
            }
        }
        names
    }

    /// The columns that it prints.
    pub fn columns(&self) -> Vec<&'static str> {
        let mut columns = Vec::new();
        for part in &self.parts {
            if let Part::Field { term: Some(term), .. } = part {
                columns.extend(term.columns());
            }
        }
        columns
    }

    /// The text for people and the fields by name, of one row of a batch.
    pub fn render(&self, batch: &RecordBatch, row: usize) -> (String, Map<String, Value>) {
        let row = batch.slice(row, 1);
        let mut text = String::new();
        let mut fields = Map::new();
        for part in &self.parts {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Field { written, term } => {
                    let column = term.as_ref().map_or(Column::Missing, |term| Column::of(term, &row));
                    text.push_str(&printed(&column));
                    fields.insert(written.clone(), json(term.as_ref(), &column, &row));
                }
            }
        }
        (text, fields)
    }
}

fn push_text(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        Some(Part::Text(last)) => last.push_str(text),
        _ if text.is_empty() => {}
        _ => parts.push(Part::Text(text.to_owned())),
    }
}

/// The longest field name at the start of a text, with its argument, and how
/// many bytes it takes.
fn field(source: Source, text: &str) -> Result<(Part, usize), OutputError> {
    let run = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.').unwrap_or(text.len());
    let known = (1..=run).rev().find(|len| fields::is_known_in(source, &text[..*len]));
    let Some(mut len) = known else {
        let word = text[..run].to_owned();
        let message = match word.as_str() {
            "" => "a field's name was expected after '%', write '%%' for a percent sign".to_owned(),
            _ => format!("the source {source} has no field {word:?}"),
        };
        return Err(OutputError { word, message });
    };
    let name = text[..len].to_owned();
    let mut arg = None;
    if let Some(inside) = text[len..].strip_prefix('[') {
        let Some(end) = inside.find(']') else {
            return Err(OutputError {
                message: format!("the argument of {name} is not closed by ']'"),
                word: name,
            });
        };
        arg = Some(inside[..end].trim_matches(['"', '\'']).to_owned());
        len += end + 2;
    }
    let written = text[..len].to_owned();
    let term = match fields::lookup(source, &FieldRef { name: name.clone(), arg, at: 0 }) {
        // Names are looked up to be compared; an address alone does not tell its name.
        Lookup::Unfilled | Lookup::Filled(Access::Domain(_)) => None,
        Lookup::Filled(access) => Some(Term::Field(access)),
        Lookup::Unknown => {
            return Err(OutputError { message: format!("unknown field {written}"), word: name });
        }
        Lookup::BadArgument(what) => {
            return Err(OutputError { message: format!("{written}: {what}"), word: name });
        }
    };
    Ok((Part::Field { written, term }, len))
}

/// A value as text: a list in parentheses, nothing as `<NA>`.
fn printed(column: &Column) -> String {
    if !column.is_present(0) {
        return NO_VALUE.to_owned();
    }
    if let Some(text) = column.text(0) {
        return text.to_owned();
    }
    if let Some(number) = column.int(0) {
        return number.to_string();
    }
    if let Some(truth) = column.bool(0) {
        return truth.to_string();
    }
    format!("({})", column.texts(0).collect::<Vec<_>>().join(","))
}

/// A value as JSON: `evt.time` as nanoseconds, nothing as null.
fn json(term: Option<&Term>, column: &Column, row: &RecordBatch) -> Value {
    if let Some(Term::Field(Access::TimeText(name, crate::fields::TimeForm::Clock))) = term {
        let ns = Column::of(&Term::Field(Access::TimeNs(name)), row);
        return ns.int(0).map_or(Value::Null, Value::from);
    }
    if !column.is_present(0) {
        return Value::Null;
    }
    let text = || column.text(0).map(Value::from);
    let number = || column.int(0).map(Value::from);
    let truth = || column.bool(0).map(Value::from);
    let list = || column.texts(0).map(Value::from).collect();
    text().or_else(number).or_else(truth).unwrap_or_else(list)
}
