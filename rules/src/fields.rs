//! Falco's fields over our tables: for each, how a row yields its value.
//!
//! Every name is one of three: filled (by a column, a list's element or a JSON
//! body), known to Falco but filled by no column, or unknown. A condition over
//! the second kind is refused by the field's name, never silently false.

mod audit;
pub(crate) mod events;
pub(crate) mod services;
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
    /// The same number for every event.
    Number(i64),
    /// The same truth for every event.
    Truth(bool),
    /// 1 for an event that returned an error, nothing for others.
    ErrorCount,
    /// 1 for events of this type, 0 for others.
    TypeIs(String),
    /// Whether the event's type is one of these.
    TypeAmong(&'static [&'static str]),
    /// `read` or `write`, for events that do.
    IoDirection,
    /// The whole seconds of a time column.
    TimeSeconds(&'static str),
    /// The nanoseconds of a time column beyond the whole second.
    TimeRest(&'static str),
    /// How far a time column is from this time, in nanoseconds.
    Around(i64),
    /// No event ever has it.
    Nothing,
    /// A column of addresses, compared as addresses.
    Ip(&'static str),
    /// A column of addresses, compared with networks.
    Net(&'static str),
    /// Whether two integer columns are equal.
    Same(&'static str, &'static str),
    /// The part of a device number.
    Device(&'static str, DevicePart),
    /// The first twelve characters of an id; a shorter word as it is.
    ShortId(&'static str),
    /// The container's short id, a colon, and a text column; no id on the host.
    InContainer(&'static str),
    /// `proc.exe` and the arguments.
    ExeLine,
    /// Thread and descriptor number, written one after the other.
    FdUid,
    /// The pid of the oldest shell among the process and its ancestors.
    LoginShell,
    /// Something of one of the container's mounts.
    Mount(MountPart, String),
    /// A path that the call was about.
    Path(PathOf),
    /// A column of addresses, compared with those of domain names; never printed.
    Domain(&'static str),
    /// Either end's address.
    AnyIp,
    /// Either end's address, compared with networks.
    AnyNet,
    /// Either end's port.
    AnyPort,
    /// The value of this name in a list of pairs.
    Pair(&'static str, String),
    /// The same, where it is a whole number.
    PairInt(&'static str, String),
    /// The value of the n-th pair.
    PairAt(&'static str, usize),
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
    /// `true` if some value in a JSON column is, `false` if none is.
    JsonAny(JsonPath),
    /// `true` if a value in a JSON column is this, or begins so before a `*`.
    JsonHas(JsonPath, String),
}

/// Which half of a device number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum DevicePart {
    Major,
    Minor,
}

/// Something of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum MountPart {
    Whole,
    Source,
    Destination,
    Mode,
    Writable,
    Propagation,
}

/// Which of a call's paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum PathOf {
    /// `fs.path.name`: the one path of a call that went through.
    Name,
    /// `fs.path.source`: what a new name stands for, or was renamed.
    Source,
    /// `fs.path.target`: where to.
    Target,
    /// `evt.abspath`, `evt.abspath.src`: below a folder's descriptor.
    AbsoluteSource,
    /// `evt.abspath.dst`: the second such path.
    AbsoluteTarget,
}

/// How a time is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum TimeForm {
    /// `15:04:05.000000000`
    Clock,
    /// `15:04:05`
    ClockSeconds,
    /// `2006-01-02 15:04:05.000000000`
    DateTime,
    /// `2006-01-02 15:04:05`
    DateTimeSeconds,
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
    /// `hostPort` of a port, or else its `containerPort`.
    Port,
    /// The names of the keys, without `name`.
    Keys,
    /// A container's own value of this in its security context, else the pod's, else 0.
    Effective(&'static str),
}

/// What the type of a value allows to be done with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    Text,
    Int,
    Bool,
    Ip,
    Net,
    Domain,
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

/// How many bytes of a text, which begins with a field's name, the name takes:
/// the longest that a column fills or that is refused by its own name, else
/// the longest below a class of names of which all are refused.
pub(crate) fn name_length(source: Source, text: &str) -> Option<usize> {
    let run = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.').unwrap_or(text.len());
    let at = |len: &usize| lookup(source, &FieldRef { name: text[..*len].to_owned(), arg: None, at: 0 });
    let unfilled =
        |len: &usize| syscall::UNFILLED.contains(&&text[..*len]) || audit::UNFILLED.contains(&&text[..*len]);
    let own = |len: &usize| match at(len) {
        Lookup::Filled(_) | Lookup::BadArgument(_) => true,
        Lookup::Unfilled => unfilled(len),
        Lookup::Unknown => false,
    };
    let of_a_class = |len: &usize| !text[..*len].ends_with('.') && at(len) == Lookup::Unfilled;
    let own = (1..=run).rev().find(own);
    // `evt.arg` wants an argument, and stands in front of a class as well.
    let is_whole = own.filter(|len| !matches!(at(len), Lookup::BadArgument(_)));
    is_whole.or_else(|| (1..=run).rev().find(of_a_class)).or(own)
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
            | Self::Domain(name)
            | Self::TimeSeconds(name)
            | Self::TimeRest(name)
            | Self::Device(name, _)
            | Self::ShortId(name)
            | Self::PairAt(name, _)
            | Self::Pair(name, _)
            | Self::PairInt(name, _)
            | Self::Pairs(name, ..)
            | Self::List(name)
            | Self::Element(name, _)
            | Self::Joined(name)
            | Self::Variable(name, _)
            | Self::UriParam(name, _) => vec![name],
            Self::DurationNs(from, to) => vec![from, to],
            Self::EventNumber => vec!["seq"],
            Self::Constant(_) | Self::Number(_) | Self::Truth(_) | Self::Nothing => Vec::new(),
            Self::ErrorCount => vec!["evt_failed"],
            Self::TypeIs(_) | Self::TypeAmong(_) | Self::IoDirection => vec!["evt_type"],
            Self::Around(_) => vec!["time"],
            Self::Same(one, other) => vec![one, other],
            Self::InContainer(name) => vec!["container_id", name],
            Self::ExeLine => vec!["proc_exe", "proc_args"],
            Self::FdUid => vec!["thread_tid", "fd_num"],
            Self::LoginShell => vec!["proc_pid", "proc_name", "proc_ancestors"],
            Self::Mount(..) => vec!["container_mounts"],
            Self::Path(_) => vec!["evt_type", "evt_arg", "evt_rawres", "fd_name", "proc_cwd"],
            Self::AnyIp | Self::AnyNet => vec!["fd_lip", "fd_rip", "fd_cip", "fd_sip"],
            Self::AnyPort => vec!["fd_lport", "fd_rport", "fd_cport", "fd_sport"],
            Self::Ancestor(..) | Self::AnyAncestor(_) => vec!["proc_ancestors"],
            Self::Json(path) | Self::JsonList(path) | Self::JsonAny(path) | Self::JsonHas(path, _) => {
                vec![path.column]
            }
        }
    }

    pub(crate) fn value_type(&self) -> Type {
        match self {
            Self::Int(_) | Self::TimeNs(_) | Self::DurationNs(..) | Self::EventNumber | Self::AnyPort => {
                Type::Int
            }
            Self::Number(_) | Self::ErrorCount | Self::TypeIs(_) | Self::LoginShell => Type::Int,
            Self::TimeSeconds(_) | Self::TimeRest(_) | Self::Around(_) | Self::Device(..) => Type::Int,
            Self::Ancestor(_, Part::Pid) | Self::PairInt(..) => Type::Int,
            Self::Bool(_) | Self::Truth(_) | Self::TypeAmong(_) | Self::Same(..) => Type::Bool,
            Self::Ip(_) | Self::AnyIp => Type::Ip,
            Self::Net(_) | Self::AnyNet => Type::Net,
            Self::Domain(_) => Type::Domain,
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
