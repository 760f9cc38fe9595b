//! What a session can select from by a name of its own.

use bailiwick_proto::{Column, Table};

use super::named;

/// A table, or a view over tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    /// A table of the bucket.
    Table(Table),
    /// System calls with the names that were learnt later.
    SyscallsNamed,
}

// === impl Relation ===

impl Relation {
    /// Every one, tables first, in an order that stays.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Table::ALL.into_iter().map(Self::Table).chain([Self::SyscallsNamed])
    }

    /// The name in SQL.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Table(table) => table.name(),
            Self::SyscallsNamed => named::NAME,
        }
    }

    /// One sentence for people: what a row is.
    pub(crate) const fn doc(self) -> &'static str {
        match self {
            Self::Table(table) => table.doc(),
            Self::SyscallsNamed => named::DOC,
        }
    }

    /// Its columns in order.
    pub(crate) fn columns(self) -> impl Iterator<Item = &'static Column> {
        match self {
            Self::Table(table) => table.columns(),
            Self::SyscallsNamed => Table::Syscalls.columns(),
        }
    }

    /// Whether it has no rows of its own.
    pub(crate) const fn is_view(self) -> bool {
        matches!(self, Self::SyscallsNamed)
    }
}
