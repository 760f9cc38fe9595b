//! What a call was given, in Falco's names, order and words (`evt_arg`). Pure.
//!
//! ```text
//!   Call, Names ──▶ files       ─┐ one line a call:      forms: numbers, paths, descriptors
//!                   privileges  ─┤ res().path("path")…   names: bits that have names
//!   Socket ───────▶ sockets     ─┘
//! ```
//!
//! The text is the one that `evt.arg.NAME` compares with: names where Falco
//! resolves a number (flags, users, errors, descriptors), else the number. What
//! the record does not hold, such as data that was written, is left out. Where
//! Falco's own form loses or garbles a name, the right one is written.

mod files;
mod forms;
mod names;
mod pairs;
mod privileges;
mod sockets;

use bailiwick_collector_ebpf::calls::id;

use super::decode;
use crate::users::Users;
use forms::Arguments;
pub(super) use pairs::Pairs;

/// The names in a call, found out; paths are absolute.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Names<'a> {
    /// The first path.
    pub(super) path: Option<&'a str>,
    /// The second path.
    pub(super) path2: Option<&'a str>,
    /// What the first path is relative to, if it is.
    pub(super) folder: Option<&'a str>,
    /// What the second path is relative to, if it is.
    pub(super) folder2: Option<&'a str>,
    /// The file behind the descriptor.
    pub(super) target: Option<&'a str>,
    /// The first path as the process gave it.
    pub(super) raw: Option<&'a str>,
    /// The second path as the process gave it.
    pub(super) raw2: Option<&'a str>,
    /// The same, if it is a socket.
    pub(super) socket: Option<SocketNames<'a>>,
    /// Whose numbers are whose; without them numbers stay numbers.
    pub(super) users: Option<&'a Users>,
}

/// The names of a call's socket.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SocketNames<'a> {
    /// `ip:port->ip:port`, or a path.
    pub(super) tuple: &'a str,
    /// Falco's letter for the kind of descriptor; empty if it is none.
    pub(super) typechar: &'a str,
    /// What the process gave or was given.
    pub(super) address: &'a str,
    /// `tcp`, `udp`, `icmp`, `raw`.
    pub(super) l4proto: Option<&'a str>,
}

/// The arguments of a call about paths, descriptors or numbers. `flags` are the
/// record's, see `bailiwick_collector_ebpf::flag`. They are written into `room`,
/// whatever that holds.
pub(super) fn of(call: &decode::Call<'_>, flags: u16, names: &Names<'_>, room: Pairs) -> Pairs {
    let arguments = Arguments::new(call, flags, names, room);
    let arguments = match call.call {
        id::OPEN..=id::DUP3 => files::describe(arguments),
        _ => privileges::describe(arguments),
    };
    arguments.pairs
}

/// The arguments of a call about a socket.
pub(super) fn of_socket(socket: &decode::Socket, names: &SocketNames<'_>, room: Pairs) -> Pairs {
    sockets::describe(socket, names, room.cleared())
}

#[cfg(test)]
mod tests;
