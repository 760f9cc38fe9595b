//! What a session can select from by a name of its own.

use bailiwick_proto::{Column, Table};

use super::named;
use crate::views::View;

/// A table, or a view over tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    /// A table of the bucket.
    Table(Table),
    /// System calls with the names that were learnt later.
    SyscallsNamed,
    /// A statement over them.
    View(View),
}

// === impl Relation ===

impl Relation {
    /// Every one, tables first, in an order that stays.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        Table::ALL
            .into_iter()
            .map(Self::Table)
            .chain([Self::SyscallsNamed])
            .chain(View::ALL.into_iter().map(Self::View))
    }

    /// The name in SQL.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Table(table) => table.name(),
            Self::SyscallsNamed => named::NAME,
            Self::View(view) => view.name(),
        }
    }

    /// One sentence for people: what a row is.
    pub(crate) const fn doc(self) -> &'static str {
        match self {
            Self::Table(table) => table.doc(),
            Self::SyscallsNamed => named::DOC,
            Self::View(view) => view.doc(),
        }
    }

    /// Its columns in order.
    pub(crate) fn columns(self) -> impl Iterator<Item = &'static Column> {
        let (of_table, of_view) = match self {
            Self::Table(table) => (Some(table.columns()), [].iter()),
            Self::SyscallsNamed => (Some(Table::Syscalls.columns()), [].iter()),
            Self::View(view) => (None, view.columns().iter()),
        };
        of_table.into_iter().flatten().chain(of_view)
    }

    /// Whether it has no rows of its own.
    pub(crate) const fn is_view(self) -> bool {
        matches!(self, Self::SyscallsNamed | Self::View(_))
    }
}
