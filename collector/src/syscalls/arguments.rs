//! Arguments of calls in Falco's names and text forms. Pure.

use bailiwick_collector_ebpf::calls::id;
use bailiwick_collector_ebpf::flag;

use super::decode;
use super::opening::{self, Opening};
use super::{flags, names};

const AT_FDCWD: i64 = -100;

/// The names in a call, found out; paths are absolute.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Names<'a> {
    pub(super) path: Option<&'a str>,
    pub(super) path2: Option<&'a str>,
    /// What the first path is relative to, if it is.
    pub(super) folder: Option<&'a str>,
    pub(super) folder2: Option<&'a str>,
    /// The file behind the descriptor.
    pub(super) target: Option<&'a str>,
    /// The first path as the process gave it.
    pub(super) raw: Option<&'a str>,
    pub(super) raw2: Option<&'a str>,
}

/// The names of a call's socket.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SocketNames<'a> {
    /// `ip:port->ip:port`, or a path.
    pub(super) tuple: &'a str,
    pub(super) typechar: &'a str,
    /// What the process gave or was given.
    pub(super) address: &'a str,
    pub(super) l4proto: Option<&'a str>,
}

/// The arguments of a call.
pub(super) fn of(call: &decode::Call<'_>, flags: u16, names: &Names<'_>) -> Vec<(&'static str, String)> {
    match opening::of(call) {
        Some(opening) => opened(call, &opening, flags & flag::CREATED != 0, names),
        None => Vec::new(),
    }
}

fn opened(
    call: &decode::Call<'_>,
    opening: &Opening,
    created: bool,
    names: &Names<'_>,
) -> Vec<(&'static str, String)> {
    let name = names.path.or(names.target).unwrap_or_default();
    let letter = if opening.is_of_folders() { "d" } else { "f" };
    let fd = if call.ret >= 0 { format!("<{letter}>{name}") } else { flags::result(call.ret).into_owned() };
    let mut arguments = vec![("fd", fd)];
    if matches!(call.call, id::OPENAT | id::OPENAT2) {
        let by_folder = names::small(call.args[0]) != AT_FDCWD;
        let folder = names.folder.filter(|_| by_folder);
        arguments
            .push(("dirfd", folder.map_or_else(|| "AT_FDCWD".to_owned(), |folder| format!("<d>{folder}"))));
    }
    arguments.push(("name", names.raw.unwrap_or_default().to_owned()));
    if call.call != id::CREAT {
        arguments.push(("flags", flags::open_flags(opening.flags, created)));
    }
    arguments.push(("mode", flags::mode(u32::try_from(opening.mode).unwrap_or(0))));
    if call.call == id::OPENAT2 {
        arguments.push(("resolve", flags::resolve(opening.resolve)));
    }
    arguments
}

/// The arguments of a call about a socket.
pub(super) fn of_socket(socket: &decode::Socket, names: &SocketNames<'_>) -> Vec<(&'static str, String)> {
    let transport = match names.l4proto {
        Some("tcp") => "t",
        Some("udp") => "u",
        _ => "",
    };
    vec![
        ("res", flags::result(socket.ret).into_owned()),
        ("tuple", names.tuple.to_owned()),
        ("fd", format!("<{}{transport}>{}", names.typechar, names.tuple)),
        ("addr", names.address.to_owned()),
    ]
}
