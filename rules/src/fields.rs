//! Falco's fields over our tables: for each, how a row yields its value.
//!
//! Every name is one of three: filled (by a column, a list's element or a JSON
//! body), known to Falco but filled by no column, or unknown. A condition over
//! the second kind is refused by the field's name, never silently false.

mod audit;
mod syscall;

use crate::filter::FieldRef;
use crate::loader::Source;

/// How a row yields a field's value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Access {
    /// A text column.
    Text(&'static str),
    /// An integer column.
    Int(&'static str),
    /// A Boolean column.
    Bool(&'static str),
    /// An integer column, as text.
    IntText(&'static str),
    /// A time column, in nanoseconds.
    TimeNs(&'static str),
    /// A time column as text.
    TimeText(&'static str, TimeForm),
    /// From one time column to another, in nanoseconds.
    DurationNs(&'static str, &'static str),
    /// `seq` + 1: Falco numbers events from 1.
    EventNumber,
    /// The same for every event.
    Constant(&'static str),
    /// No event ever has it.
    Nothing,
    /// A column of addresses, compared as addresses.
    Ip(&'static str),
    /// A column of addresses, compared with networks.
    Net(&'static str),
    /// Either end's address.
    AnyIp,
    /// Either end's address, compared with networks.
    AnyNet,
    /// Either end's port.
    AnyPort,
    /// The value of this name in a list of pairs.
    Pair(&'static str, String),
    /// All pairs as one text, with what stands inside a pair and between pairs.
    Pairs(&'static str, &'static str, &'static str),
    /// Something of the n-th ancestor, the parent being 0.
    Ancestor(usize, Part),
    /// Something of any ancestor.
    AnyAncestor(Part),
    /// A list of texts.
    List(&'static str),
    /// One element of a list of texts.
    Element(&'static str, usize),
    /// A list of texts joined by spaces.
    Joined(&'static str),
    /// The value of `NAME=value` in a list of texts.
    Variable(&'static str, String),
    /// A query parameter of a URI column.
    UriParam(&'static str, String),
    /// One value in a JSON column.
    Json(JsonPath),
    /// A list of values in a JSON column.
    JsonList(JsonPath),
}

/// How a time is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum TimeForm {
    /// `15:04:05.000000000`
    Clock,
    /// `2006-01-02 15:04:05.000000000`
    DateTime,
    /// `2006-01-02T15:04:05.000000000+0000`
    Iso8601,
}

/// Something of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    Pid,
    Name,
    Exe,
    ExePath,
    CmdLine,
}

/// The way to a value in a JSON column.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct JsonPath {
    pub(crate) column: &'static str,
    pub(crate) steps: Vec<Step>,
    pub(crate) form: JsonForm,
}

/// One step into a JSON value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// A key of an object, or an index of an array.
    Key(String),
    /// Every element of an array.
    Each,
}

/// What is made of the value found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum JsonForm {
    /// Texts as they are, everything else as JSON.
    AsIs,
    /// An image reference without tag and digest.
    Repository,
}

/// What the type of a value allows to be done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Text,
    Int,
    Bool,
    Ip,
    Net,
    List,
}

/// What is known about a field's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// A row yields it so.
    Filled(Access),
    /// Falco has it, no column does.
    Unfilled,
    /// Nobody has it.
    Unknown,
    /// The name is right, its argument is not.
    BadArgument(&'static str),
}

/// Looks a field up in its source's table.
pub(crate) fn lookup(source: Source, field: &FieldRef) -> Lookup {
    match source {
        Source::Syscall => syscall::lookup(&field.name, field.arg.as_deref()),
        Source::K8sAudit => audit::lookup(&field.name, field.arg.as_deref()),
    }
}

/// Whether any source has a field of this name.
pub(crate) fn is_known(name: &str) -> bool {
    [Source::Syscall, Source::K8sAudit].into_iter().any(|source| is_known_in(source, name))
}

/// Whether a source has a field of this name, with or without an argument.
pub(crate) fn is_known_in(source: Source, name: &str) -> bool {
    let field = FieldRef { name: name.to_owned(), arg: None, at: 0 };
    lookup(source, &field) != Lookup::Unknown
}

// === impl Access ===

impl Access {
    /// The columns that a value is made of.
    pub(crate) fn columns(&self) -> Vec<&'static str> {
        match self {
            Self::Text(name)
            | Self::Int(name)
            | Self::Bool(name)
            | Self::IntText(name)
            | Self::TimeNs(name)
            | Self::TimeText(name, _)
            | Self::Ip(name)
            | Self::Net(name)
            | Self::Pair(name, _)
            | Self::Pairs(name, ..)
            | Self::List(name)
            | Self::Element(name, _)
            | Self::Joined(name)
            | Self::Variable(name, _)
            | Self::UriParam(name, _) => vec![name],
            Self::DurationNs(from, to) => vec![from, to],
            Self::EventNumber => vec!["seq"],
            Self::Constant(_) | Self::Nothing => Vec::new(),
            Self::AnyIp | Self::AnyNet => vec!["fd_lip", "fd_rip", "fd_cip", "fd_sip"],
            Self::AnyPort => vec!["fd_lport", "fd_rport", "fd_cport", "fd_sport"],
            Self::Ancestor(..) | Self::AnyAncestor(_) => vec!["proc_ancestors"],
            Self::Json(path) | Self::JsonList(path) => vec![path.column],
        }
    }

    pub(crate) fn value_type(&self) -> Type {
        match self {
            Self::Int(_) | Self::TimeNs(_) | Self::DurationNs(..) | Self::EventNumber | Self::AnyPort => {
                Type::Int
            }
            Self::Ancestor(_, Part::Pid) => Type::Int,
            Self::Bool(_) => Type::Bool,
            Self::Ip(_) | Self::AnyIp => Type::Ip,
            Self::Net(_) | Self::AnyNet => Type::Net,
            Self::List(_) | Self::JsonList(_) => Type::List,
            _ => Type::Text,
        }
    }
}

// === impl Part ===

impl Part {
    /// The field of a `ProcessList` element.
    pub(crate) const fn column(self) -> &'static str {
        match self {
            Self::Pid => "pid",
            Self::Name => "name",
            Self::Exe => "exe",
            Self::ExePath => "exepath",
            Self::CmdLine => "cmdline",
        }
    }
}

#[cfg(test)]
mod tests;
