//! The statements of `statements.txt`.

use super::doors::{Came, Door, Reply};
use super::lake;

const TEXT: &str = include_str!("statements.txt");

/// What `{table}` stands for.
pub(super) const RELATIONS: [&str; 8] =
    ["syscalls", "api_access", "usage", "alerts", "losses", "queries", "containers", "syscalls_named"];

/// What must come of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expected {
    Rows,
    Empty,
    Exactly(String),
    Refused,
    Fails,
}

/// One statement.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) sql: String,
    /// Which table's it is, if it is asked of every one.
    pub(super) table: Option<&'static str>,
    /// Over HTTP, in PostgreSQL's simple protocol, and in its extended one.
    expected: [Expected; 3],
}

/// All, with every table in its place.
pub(super) fn all() -> Vec<Statement> {
    let lines = TEXT.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.flat_map(statements).collect()
}

fn statements(line: &str) -> Vec<Statement> {
    let (expected, sql) = line.split_once('\t').unwrap_or_else(|| panic!("no tab: {line}"));
    let words: Vec<&str> = expected.split('/').collect();
    let of_door = |door: usize| Expected::read(words[door.min(words.len() - 1)]);
    let statement = |sql: String, table| Statement { sql, table, expected: [0, 1, 2].map(of_door) };
    if !sql.contains("{table}") {
        return vec![statement(sql.to_owned(), None)];
    }
    let of = |table| {
        let sql = sql.replace("{table}", table).replace("{number}", lake::number(table));
        statement(sql, Some(table))
    };
    RELATIONS.into_iter().map(of).collect()
}

// === impl Statement ===

impl Statement {
    pub(super) fn expected(&self, door: Door) -> &Expected {
        match door {
            Door::PgwireSimple => &self.expected[1],
            Door::PgwireExtended => &self.expected[2],
            _ => &self.expected[0],
        }
    }
}

// === impl Expected ===

impl Expected {
    fn read(text: &str) -> Self {
        match text {
            "own" => Self::Rows,
            "empty" => Self::Empty,
            "refused" => Self::Refused,
            "fails" => Self::Fails,
            cells => Self::Exactly(cells.strip_prefix('=').unwrap_or_else(|| panic!("{cells}?")).to_owned()),
        }
    }

    /// Whether that came.
    pub(super) fn is(&self, reply: &Reply) -> bool {
        match (self, reply.came) {
            (Self::Rows, Came::Whole) => !reply.rows.is_empty(),
            (Self::Empty, Came::Whole) => reply.rows.is_empty(),
            (Self::Exactly(cells), Came::Whole) => reply.rows == [cells.clone()],
            (Self::Refused, Came::Refused) | (Self::Fails, Came::Failed) => true,
            _ => false,
        }
    }
}
