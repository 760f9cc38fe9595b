//! Calls about sockets.

use bailiwick_collector_ebpf::calls::id;

use super::super::decode::Socket;
use super::forms::{bits, choice, error_or, hex};
use super::{Pairs, SocketNames, names};

pub(super) fn describe(socket: &Socket, names: &SocketNames<'_>) -> Pairs {
    let at = |at: usize| socket.args.get(at).copied().unwrap_or(0) & 0xffff_ffff;
    let res = error_or(socket.ret, || socket.ret.to_string());
    let made = error_or(socket.ret, || descriptor(socket.ret, names));
    let fd = |index| match socket.ino {
        // Whatever the number was, it was no socket's.
        0 => number(at(index)).to_string(),
        _ => descriptor(i64::from(number(at(index))), names),
    };
    let tuple = || names.tuple.to_owned();
    let address = || names.address.to_owned();
    match socket.call {
        id::SOCKET => vec![
            ("fd", made),
            ("domain", choice(at(0), names::FAMILIES)),
            ("type", at(1).to_string()),
            ("proto", at(2).to_string()),
        ],
        id::BIND => vec![("res", res), ("addr", address()), ("fd", fd(0))],
        id::CONNECT => vec![("res", res), ("tuple", tuple()), ("fd", fd(0)), ("addr", address())],
        id::LISTEN => vec![("res", res), ("fd", fd(0)), ("backlog", number(at(1)).to_string())],
        id::ACCEPT => vec![("fd", made), ("tuple", tuple())],
        id::ACCEPT4 => vec![("fd", made), ("tuple", tuple()), ("flags", hex(at(3)))],
        id::SENDTO => vec![("res", res), ("fd", fd(0)), ("size", at(2).to_string()), ("tuple", tuple())],
        id::RECVFROM => vec![("res", res), ("tuple", tuple()), ("fd", fd(0)), ("size", at(2).to_string())],
        id::RECVMSG => vec![("res", res), ("tuple", tuple()), ("fd", fd(0))],
        id::DUP => vec![("res", made), ("oldfd", fd(0))],
        id::DUP2 => vec![("res", made), ("oldfd", fd(0)), ("newfd", fd(1))],
        id::DUP3 => {
            let flags = bits(at(2), names::CLOEXEC);
            vec![("res", made), ("oldfd", fd(0)), ("newfd", fd(1)), ("flags", flags)]
        }
        _ => vec![("res", res), ("fd", fd(0)), ("tuple", tuple())],
    }
}

/// `<4t>ip:port->ip:port`, or the number of what is no socket.
pub(super) fn descriptor(fd: i64, names: &SocketNames<'_>) -> String {
    if fd < 0 || names.typechar.is_empty() {
        return fd.to_string();
    }
    let transport = match names.l4proto.filter(|_| matches!(names.typechar, "4" | "6")) {
        Some("tcp") => "t",
        Some("udp") => "u",
        Some("icmp") => "i",
        Some("raw") => "r",
        _ => "",
    };
    format!("<{}{transport}>{}", names.typechar, names.tuple)
}

/// The number of 32 bits that an argument is.
fn number(argument: u64) -> i32 {
    u32::try_from(argument).unwrap_or_default().cast_signed()
}
