//! Calls about sockets.

use std::fmt::{Display, Write};

use bailiwick_collector_ebpf::calls::id;

use super::super::decode::Socket;
use super::super::flags;
use super::forms::{bits, choice};
use super::{Pairs, SocketNames, names};

pub(super) fn describe(socket: &Socket, names: &SocketNames<'_>, room: Pairs) -> Pairs {
    let a = Arguments { socket, names, pairs: room };
    let [domain, at1, at2, at3] = [0, 1, 2, 3].map(|at| a.arg(at));
    let a = match socket.call {
        id::SOCKET => {
            let a = a.made("fd").text("domain", &choice(domain, names::FAMILIES));
            a.shown("type", at1).shown("proto", at2)
        }
        id::BIND => a.res().address().fd("fd", 0),
        id::CONNECT => a.res().tuple().fd("fd", 0).address(),
        id::LISTEN => a.res().fd("fd", 0).shown("backlog", number(at1)),
        id::ACCEPT => a.made("fd").tuple(),
        id::ACCEPT4 => a.made("fd").tuple().shown("flags", format_args!("{at3:X}")),
        id::SENDTO => a.res().fd("fd", 0).shown("size", at2).tuple(),
        id::RECVFROM => a.res().tuple().fd("fd", 0).shown("size", at2),
        id::RECVMSG => a.res().tuple().fd("fd", 0),
        id::DUP => a.made("res").fd("oldfd", 0),
        id::DUP2 => a.made("res").fd("oldfd", 0).fd("newfd", 1),
        id::DUP3 => {
            let a = a.made("res").fd("oldfd", 0).fd("newfd", 1);
            a.text("flags", &bits(at2, names::CLOEXEC))
        }
        _ => a.res().fd("fd", 0).tuple(),
    };
    a.pairs
}

/// The arguments of one call, as far as they are written.
struct Arguments<'a> {
    socket: &'a Socket,
    names: &'a SocketNames<'a>,
    pairs: Pairs,
}

// === impl Arguments ===

impl Arguments<'_> {
    fn text(mut self, name: &'static str, text: &str) -> Self {
        self.pairs.text(name, text);
        self
    }

    fn shown(mut self, name: &'static str, value: impl Display) -> Self {
        self.pairs.shown(name, value);
        self
    }

    fn res(self) -> Self {
        let ret = self.socket.ret;
        if ret < 0 { self.text("res", &flags::result(ret)) } else { self.shown("res", ret) }
    }

    /// The socket that the call made.
    fn made(self, name: &'static str) -> Self {
        let ret = self.socket.ret;
        if ret < 0 { self.text(name, &flags::result(ret)) } else { self.descriptor(name, ret) }
    }

    fn fd(self, name: &'static str, at: usize) -> Self {
        let fd = number(self.arg(at));
        // Whatever the number was, it was no socket's.
        if self.socket.ino == 0 { self.shown(name, fd) } else { self.descriptor(name, fd.into()) }
    }

    fn descriptor(mut self, name: &'static str, fd: i64) -> Self {
        let names = self.names;
        self.pairs.write(name, |text| put_descriptor(text, fd, names));
        self
    }

    fn tuple(self) -> Self {
        let tuple = self.names.tuple;
        self.text("tuple", tuple)
    }

    fn address(self) -> Self {
        let address = self.names.address;
        self.text("addr", address)
    }

    /// An argument's lower half.
    fn arg(&self, at: usize) -> u64 {
        self.socket.args.get(at).copied().unwrap_or(0) & 0xffff_ffff
    }
}

/// `<4t>ip:port->ip:port`, or the number of what is no socket.
pub(super) fn put_descriptor(text: &mut String, fd: i64, names: &SocketNames<'_>) {
    // A string takes whatever is written.
    if fd < 0 || names.typechar.is_empty() {
        let _ = write!(text, "{fd}");
        return;
    }
    let transport = match names.l4proto.filter(|_| matches!(names.typechar, "4" | "6")) {
        Some("tcp") => "t",
        Some("udp") => "u",
        Some("icmp") => "i",
        Some("raw") => "r",
        _ => "",
    };
    let _ = write!(text, "<{}{transport}>{}", names.typechar, names.tuple);
}

/// The number of 32 bits that an argument is.
fn number(argument: u64) -> i32 {
    u32::try_from(argument).unwrap_or_default().cast_signed()
}
