//! An event as a test gives it, to a row of the table.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use arrow::error::ArrowError;
use arrow::json::ReaderBuilder;
use serde_json::{Map, Value, json};

use crate::fields::{self, Access, JsonPath, Lookup, Step};
use crate::filter::FieldRef;
use crate::loader::Source;
use crate::yaml::{Mark, Node};

/// When every event of a test happened, unless it says otherwise.
const TIME: &str = "2026-01-01T12:00:00Z";
/// Columns that hold JSON as text.
const BODIES: [&str; 4] = ["request_object", "response_object", "annotations", "user_extra"];
/// Longer lists are a slip of the pen.
const MAX_LEVEL: usize = 64;

/// Rows of one source's table.
pub(super) struct Events {
    source: Source,
    rows: Vec<Map<String, Value>>,
}

/// A value as the file has it.
enum Given {
    Text(String),
    List(Vec<String>),
}

// === impl Events ===

impl Events {
    pub(super) fn new(source: Source) -> Self {
        Self { source, rows: Vec::new() }
    }

    /// Adds an event: what is given for all, then what it says itself.
    pub(super) fn push(&mut self, given: Option<&Node>, event: &Node) -> Result<(), (Mark, String)> {
        let mut row = Map::from_iter([("time".to_owned(), json!(TIME)), ("seq".to_owned(), json!(0))]);
        row.retain(|name, _| self.has(name));
        if event.pairs().is_empty() && given.is_none() {
            return Err((event.start, "an event is a mapping of fields to values".to_owned()));
        }
        for (name, value) in given.into_iter().chain([event]).flat_map(Node::pairs) {
            let refused = |message| (name.start, message);
            let field = name.text().unwrap_or_default();
            let value = Given::read(value).map_err(refused)?;
            self.set(&mut row, field, value)
                .map_err(|message| (name.start, format!("{field}: {message}")))?;
        }
        name_the_parent(&mut row);
        self.rows.push(row);
        Ok(())
    }

    /// The events as a batch of the table.
    pub(super) fn batch(&self) -> Result<RecordBatch, ArrowError> {
        let schema = self.source.table().public_schema();
        let mut decoder = ReaderBuilder::new(schema.clone()).build_decoder()?;
        let rows: Vec<Value> = self.rows.iter().map(|row| Value::Object(with_bodies(row))).collect();
        decoder.serialize(&rows)?;
        Ok(decoder.flush()?.unwrap_or_else(|| RecordBatch::new_empty(schema)))
    }

    fn has(&self, column: &str) -> bool {
        self.schema().column_with_name(column).is_some()
    }

    fn schema(&self) -> Arc<Schema> {
        self.source.table().public_schema()
    }

    fn set(&self, row: &mut Map<String, Value>, field: &str, value: Given) -> Result<(), String> {
        if let Ok(column) = self.schema().field_with_name(field) {
            row.insert(field.to_owned(), value.of_type(column.data_type())?);
            return Ok(());
        }
        let (name, arg) = match field.strip_suffix(']').and_then(|field| field.split_once('[')) {
            Some((name, arg)) => (name, Some(arg.trim_matches(['"', '\'']).to_owned())),
            None => (field, None),
        };
        let asked = FieldRef { name: name.to_owned(), arg, at: 0 };
        match fields::lookup(self.source, &asked) {
            Lookup::Filled(access) => self.fill(row, &access, value),
            Lookup::Unfilled => Err("no column fills this field".to_owned()),
            Lookup::Unknown => Err(format!("the source {} has no such field or column", self.source)),
            Lookup::BadArgument(what) => Err(what.to_owned()),
        }
    }

    /// Puts a value where a rule will read it from.
    fn fill(&self, row: &mut Map<String, Value>, access: &Access, value: Given) -> Result<(), String> {
        match access {
            Access::Text(column)
            | Access::Int(column)
            | Access::Bool(column)
            | Access::IntText(column)
            | Access::Ip(column)
            | Access::ShortId(column)
            | Access::Domain(column)
            | Access::List(column) => self.set(row, column, value),
            Access::EventNumber => {
                let number: i64 = value.text()?.parse().map_err(|_| "a number was expected".to_owned())?;
                row.insert("seq".to_owned(), json!(number.saturating_sub(1)));
                Ok(())
            }
            Access::Pair(column, name) | Access::PairInt(column, name) => {
                list(row, column).push(json!({ "name": name, "value": value.text()? }));
                Ok(())
            }
            Access::Variable(column, name) => {
                list(row, column).push(json!(format!("{name}={}", value.text()?)));
                Ok(())
            }
            Access::Ancestor(level, part) if *level < MAX_LEVEL => {
                let ancestors = list(row, "proc_ancestors");
                while ancestors.len() <= *level {
                    ancestors.push(json!({}));
                }
                ancestors[*level][part.column()] = json!(value.text()?);
                Ok(())
            }
            Access::Json(path) | Access::JsonList(path) => {
                put(row.entry(path.column).or_insert(json!({})), path, value)
            }
            _ => Err("give the columns that it is made of instead, docs/tables.md names them".to_owned()),
        }
    }
}

/// A process has its parent's name in two places; a test need give it in one.
fn name_the_parent(row: &mut Map<String, Value>) {
    for (column, part) in [
        ("proc_pname", "name"),
        ("proc_pexe", "exe"),
        ("proc_pexepath", "exepath"),
        ("proc_pcmdline", "cmdline"),
    ] {
        let Some(value) = row.get(column).cloned() else { continue };
        let ancestors = list(row, "proc_ancestors");
        if ancestors.is_empty() {
            ancestors.push(json!({}));
        }
        if let Some(parent) = ancestors.first_mut().filter(|parent| parent[part].is_null()) {
            parent[part] = value;
        }
    }
}

/// A column's list, made where it is not there yet.
fn list<'a>(row: &'a mut Map<String, Value>, column: &str) -> &'a mut Vec<Value> {
    let value = row.entry(column).or_insert(Value::Null);
    if !value.is_array() {
        *value = json!([]);
    }
    match value {
        Value::Array(items) => items,
        _ => unreachable!("it was just made a list"),
    }
}

/// Puts a value into a body, making objects and lists on the way. Each value of
/// a list gets an element of its own.
fn put(body: &mut Value, path: &JsonPath, value: Given) -> Result<(), String> {
    let each = path.steps.contains(&Step::Each);
    let values = match value {
        Given::List(values) if each => values,
        Given::Text(text) => vec![text],
        Given::List(_) => return Err("one value was expected".to_owned()),
    };
    for (index, text) in values.into_iter().enumerate() {
        let mut at = &mut *body;
        // Only the first "every element" is numbered, those within it have one.
        let mut next = index;
        for step in &path.steps {
            at = match step {
                Step::Key(key) => {
                    if !at.is_object() {
                        *at = json!({});
                    }
                    &mut at[key.as_str()]
                }
                Step::Each => element(at, std::mem::take(&mut next)),
            };
        }
        *at = serde_json::from_str(&text).unwrap_or(Value::String(text));
    }
    Ok(())
}

fn element(list: &mut Value, index: usize) -> &mut Value {
    if !list.is_array() {
        *list = json!([]);
    }
    if let Value::Array(items) = list {
        while items.len() <= index {
            items.push(Value::Null);
        }
    }
    &mut list[index]
}

fn with_bodies(row: &Map<String, Value>) -> Map<String, Value> {
    let text = |(name, value): (&String, &Value)| {
        let is_body = BODIES.contains(&name.as_str()) && !value.is_string();
        (name.clone(), if is_body { json!(value.to_string()) } else { value.clone() })
    };
    row.iter().map(text).collect()
}

// === impl Given ===

impl Given {
    fn read(node: &Node) -> Result<Self, String> {
        let text = |node: &Node| {
            node.text().map(str::to_owned).ok_or_else(|| "a text or a list of texts was expected".to_owned())
        };
        match node.items() {
            Some(items) => Ok(Self::List(items.iter().map(text).collect::<Result<_, _>>()?)),
            None => text(node).map(Self::Text),
        }
    }

    fn text(self) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text),
            Self::List(_) => Err("one value was expected".to_owned()),
        }
    }

    fn of_type(self, kind: &DataType) -> Result<Value, String> {
        Ok(match (kind, self) {
            (DataType::List(item), Self::List(values)) if *item.data_type() == DataType::Utf8 => {
                json!(values)
            }
            (DataType::List(item), Self::Text(text)) if *item.data_type() == DataType::Utf8 => json!([text]),
            (DataType::Int64, Self::Text(text)) => {
                json!(text.parse::<i64>().map_err(|_| "a number was expected".to_owned())?)
            }
            (DataType::Boolean, Self::Text(text)) => {
                json!(text.parse::<bool>().map_err(|_| "true or false was expected".to_owned())?)
            }
            (DataType::Utf8 | DataType::Timestamp(..) | DataType::Date32, Self::Text(text)) => json!(text),
            (DataType::Utf8, Self::List(_)) => return Err("one value was expected".to_owned()),
            _ => return Err("its elements are given by fields with arguments, e.g. proc.aname[2]".to_owned()),
        })
    }
}
