//! Output templates: `%field` in a text, printed for a row.

use arrow::array::RecordBatch;
use serde_json::{Map, Value};

use crate::compile::{self, Column, Problem, Term};
use crate::fields::{self, Access, Lookup};
use crate::filter::{FieldRef, Operand, parse_transformed};
use crate::loader::Source;

/// What stands in a text for a field that has no value.
const NO_VALUE: &str = "<NA>";

/// A field is not printed wider than so many characters.
const MAX_WIDTH: usize = 1_024;

/// A rule's output, parsed.
#[derive(Debug, Clone)]
pub struct Output {
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Field {
        /// How many characters the text has of it, if that is given.
        width: Option<usize>,
        /// What is printed; nothing is where no column fills the field.
        term: Option<Term>,
        /// What is told by name.
        fields: Vec<Named>,
    },
}

/// A field as it is written, and what fills it.
type Named = (String, Option<Term>);
/// What is printed, what is told by name, and how many bytes that takes in the template.
type Transformed = (Option<Term>, Vec<Named>, usize);

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
            if let Part::Field { fields, term: None, .. } = part {
                names.extend(fields.iter().map(|(written, _)| written.as_str()));
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
                Part::Field { width, term, fields: told } => {
                    let column =
                        |term: Option<&Term>| term.map_or(Column::Missing, |term| Column::of(term, &row));
                    push_printed(&mut text, &printed(&column(term.as_ref())), *width);
                    for (written, term) in told {
                        let value = json(term.as_ref(), &column(term.as_ref()), &row);
                        fields.insert(written.clone(), value);
                    }
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

/// Cut or filled up with blanks to a width.
fn push_printed(text: &mut String, value: &str, width: Option<usize>) {
    let Some(width) = width else { return text.push_str(value) };
    let missing = width.saturating_sub(value.chars().count());
    text.extend(value.chars().take(width));
    text.extend(std::iter::repeat_n(' ', missing));
}

/// What stands after a percent sign, and how many bytes it takes: a width, and a
/// field or a function over fields.
fn field(source: Source, text: &str) -> Result<(Part, usize), OutputError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let width = (digits > 0).then(|| text[..digits].parse().unwrap_or(MAX_WIDTH).min(MAX_WIDTH));
    let text = &text[digits..];
    let (term, fields, len) = match transformed(source, text)? {
        Some(found) => found,
        None => {
            let (written, term) = plain(source, text)?;
            let len = written.len();
            (term.clone(), vec![(written, term)], len)
        }
    };
    Ok((Part::Field { width, term, fields }, digits + len))
}

/// A function over fields: the text has what it makes of them, the fields by name
/// are the plain ones, as Falco has them.
fn transformed(source: Source, text: &str) -> Result<Option<Transformed>, OutputError> {
    let end = text.find('(').filter(|end| text[..*end].bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let Some(end) = end else { return Ok(None) };
    let word = || text[..end].to_owned();
    let parsed =
        parse_transformed(text).map_err(|error| OutputError { word: word(), message: error.message })?;
    let Some((operand, len)) = parsed else { return Ok(None) };
    let wrong = |problem: Problem| OutputError { word: word(), message: problem.message };
    let term = compile::term(source, &operand).map_err(wrong)?;
    let mut plain = Vec::new();
    operand.fields(&mut |field| plain.push(field));
    let fields = plain.into_iter().map(|field| {
        let term = compile::term(source, &Operand::Field(field.clone())).map_err(wrong)?;
        Ok((field.to_string(), Some(term)))
    });
    let fields = fields.collect::<Result<_, _>>()?;
    Ok(Some((Some(term), fields, len)))
}

/// A field as written, with its argument; a bracket after one that takes none is text.
fn plain(source: Source, text: &str) -> Result<Named, OutputError> {
    let Some(end) = fields::name_length(source, text) else {
        let run = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.');
        let word = text[..run.unwrap_or(text.len())].to_owned();
        let message = match word.as_str() {
            "" => "a field's name was expected after '%', write '%%' for a percent sign".to_owned(),
            _ => format!("the source {source} has no field {word:?}"),
        };
        return Err(OutputError { word, message });
    };
    let name = &text[..end];
    let inside = text[end..].strip_prefix('[').and_then(|rest| Some(&rest[..rest.find(']')?]));
    let bare = fields::lookup(source, &FieldRef { name: name.to_owned(), arg: None, at: 0 });
    let (found, len) = match inside {
        None => (bare, end),
        Some(inside) => {
            let arg = Some(inside.trim_matches(['"', '\'']).to_owned());
            match fields::lookup(source, &FieldRef { name: name.to_owned(), arg, at: 0 }) {
                Lookup::BadArgument(_) if !matches!(bare, Lookup::BadArgument(_)) => (bare, end),
                found => (found, end + inside.len() + 2),
            }
        }
    };
    let written = text[..len].to_owned();
    let term = match found {
        // Names are looked up to be compared; an address alone does not tell its name.
        Lookup::Unfilled | Lookup::Filled(Access::Domain(_)) => None,
        Lookup::Filled(access) => Some(Term::Field(access)),
        Lookup::Unknown => {
            return Err(OutputError { message: format!("unknown field {written}"), word: name.to_owned() });
        }
        Lookup::BadArgument(what) => {
            return Err(OutputError { message: format!("{written}: {what}"), word: name.to_owned() });
        }
    };
    Ok((written, term))
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
