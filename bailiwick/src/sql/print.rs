//! Answers as text.

use serde_json::{Map, Value};

use crate::amount;
use crate::client::Answer;
use crate::table;
use crate::terminal::printable;

/// The answer as a table with its row count, as psql prints it.
pub(crate) fn rendered(answer: &Answer) -> String {
    let header: Vec<String> = answer.columns.iter().map(|column| column.name.clone()).collect();
    let numeric: Vec<bool> = answer.columns.iter().map(|column| is_number(&column.kind)).collect();
    let rows: Vec<Vec<String>> = answer.rows.iter().map(|row| row.iter().map(cell).collect()).collect();
    format!("{}\n{}", table::render(&header, &numeric, &rows), count(answer))
}

/// A column a line, for rows that are wider than a terminal.
pub(super) fn expanded(answer: &Answer) -> String {
    let names: Vec<String> = answer.columns.iter().map(|column| printable(&column.name)).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
    let mut text = String::new();
    for (number, row) in answer.rows.iter().enumerate() {
        text += &format!("─[ {} ]{}\n", number + 1, "─".repeat(width.max(8)));
        for (name, value) in names.iter().zip(row) {
            text += format!("{name:width$} │ {}", printable(&cell(value))).trim_end();
            text.push('\n');
        }
    }
    text + &count(answer)
}

/// An object a line. Of columns of one name the first keeps it, others are
/// numbered, so that no value is lost.
pub(super) fn ndjson(answer: &Answer) -> String {
    let mut names: Vec<String> = Vec::new();
    for column in &answer.columns {
        let free = |name: &String| !names.contains(name);
        let numbered = (2..).map(|number| format!("{}_{number}", column.name));
        names.extend(std::iter::once(column.name.clone()).chain(numbered).find(free));
    }
    let line = |row: &Vec<Value>| {
        let object: Map<String, Value> = names.iter().cloned().zip(row.iter().cloned()).collect();
        Value::Object(object).to_string()
    };
    answer.rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn count(answer: &Answer) -> String {
    let more = if answer.truncated { ", cut at the server's limit" } else { "" };
    format!("({}{more})", amount::of(answer.rows.len() as u64, "row"))
}

fn is_number(kind: &str) -> bool {
    ["int", "bigint", "smallint", "double", "float", "numeric", "decimal", "real"]
        .iter()
        .any(|name| kind.to_ascii_lowercase().starts_with(name))
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Answer {
        serde_json::from_value(serde_json::json!({
            "columns": [{"name": "who", "type": "text"}, {"name": "n\u{1b}", "type": "bigint"}, {"name": "who", "type": "text"}],
            "rows": [["a\u{1b}[2J\nb", 7, null], ["", 12345, "x"]], "truncated": true,
        }))
        .unwrap()
    }

    #[test]
    fn answers_are_read_by_people() {
        insta::assert_snapshot!(expanded(&answer()), @r"
        ─[ 1 ]────────
        who     │ a\u{1b}[2J\nb
        n\u{1b} │ 7
        who     │
        ─[ 2 ]────────
        who     │
        n\u{1b} │ 12345
        who     │ x
        (2 rows, cut at the server's limit)
        ");
        assert!(!rendered(&answer()).contains('\u{1b}'));
    }

    #[test]
    fn every_column_is_in_an_object() {
        let lines = ndjson(&answer());
        let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
        assert_eq!(first, serde_json::json!({"who": "a\u{1b}[2J\nb", "n\u{1b}": 7, "who_2": null}));
        assert_eq!(lines.lines().count(), 2);
    }
}
