//! Rows of calls about sockets, of DNS queries and of io_uring operations.

use super::{Common, Rows};
use crate::syscalls::arguments::{self, SocketNames};
use crate::syscalls::decode::{self, Dns, Uring};
use crate::syscalls::descriptors;
use crate::syscalls::dns::Question;
use crate::syscalls::opening::Opening;
use crate::syscalls::roles::Socket;
use crate::syscalls::sockets::{self, End};
use crate::syscalls::{flags, names, opcodes, paths};

// === impl Rows ===

impl Rows {
    /// A call about a socket.
    pub(in crate::syscalls) fn socket(
        &mut self,
        common: &Common<'_>,
        call: &decode::Socket,
        socket: &Socket,
    ) {
        self.common(common, names::evt_type(call.call), Some(call.ret), 1);
        self.columns.int(self.at.fd_num, descriptor(call));
        self.socket_cells(socket);
        let address = call.address.get(..call.address_len).unwrap_or_default();
        let given = sockets::given(address).map(sockets::end_text).or_else(|| sockets::given_path(address));
        let names = SocketNames {
            tuple: socket.name.as_deref().unwrap_or_default(),
            typechar: socket.family.kind().map_or("", |kind| kind.1),
            address: given.as_deref().unwrap_or_default(),
            l4proto: socket.l4proto,
        };
        let room = std::mem::take(&mut self.arguments);
        self.told(arguments::of_socket(call, &names, room));
        self.columns.end_row();
    }

    /// A DNS query that left the machine.
    pub(in crate::syscalls) fn dns(&mut self, common: &Common<'_>, dns: &Dns<'_>, asked: Option<&Question>) {
        self.common(common, "dns", None, 1);
        let (family, local, remote) = sockets::dns_ends(dns);
        self.socket_cells(&Socket {
            family,
            l4proto: Some("udp"),
            name: Some(format!("{}->{}", sockets::end_text(local), sockets::end_text(remote)).into()),
            local: Some(local),
            remote: Some(remote),
            is_server: Some(false),
            ..Socket::default()
        });
        if let Some(asked) = asked {
            self.columns.text(self.at.dns_name, Some(&asked.name));
            let arguments = [
                ("id", asked.id.to_string()),
                ("name", asked.name.clone()),
                ("type", asked.kind.clone()),
                ("class", asked.class.clone()),
            ];
            self.columns.pairs(self.at.evt_arg, arguments);
        }
        self.columns.end_row();
    }

    /// An operation handed to an io_uring; `name` is the path that it is about.
    pub(in crate::syscalls) fn uring(&mut self, common: &Common<'_>, uring: &Uring<'_>, name: Option<&str>) {
        self.common(common, "io_uring_submit", None, 1);
        let mut arguments = vec![("opcode", opcodes::name(uring.opcode))];
        if uring.fd >= 0 {
            arguments.push(("fd", uring.fd.to_string()));
        }
        if opcodes::opens(uring.opcode) {
            self.uring_open(uring, name);
            arguments.push(("name", paths::text(uring.path).into_owned()));
            arguments.push(("flags", flags::open_flags(uring.open_flags, false)));
            arguments.push(("mode", flags::mode(uring.mode)));
        } else if let Some(name) = name {
            self.columns.text(self.at.fd_name, Some(name));
            arguments.push(("name", paths::text(uring.path).into_owned()));
        }
        let address = uring.address.get(..uring.address_len).unwrap_or_default();
        if let Some(remote) = sockets::given(address) {
            self.columns.int(self.at.fd_num, (uring.fd >= 0).then_some(uring.fd.into()));
            self.socket_cells(&to(remote));
            arguments.push(("addr", sockets::end_text(remote)));
        } else if let Some(path) = sockets::given_path(address) {
            self.columns.int(self.at.fd_num, (uring.fd >= 0).then_some(uring.fd.into()));
            let socket = Socket {
                family: sockets::Family::Unix,
                name: Some(path.as_str().into()),
                ..Socket::default()
            };
            self.socket_cells(&socket);
            arguments.push(("addr", path));
        }
        self.columns.pairs(self.at.evt_arg, arguments);
        self.columns.end_row();
    }

    fn uring_open(&mut self, uring: &Uring<'_>, name: Option<&str>) {
        let (columns, at) = (&mut self.columns, &self.at);
        let opening = Opening { flags: uring.open_flags, mode: uring.mode.into(), resolve: 0 };
        let (reads, writes) = flags::access(opening.flags);
        columns.boolean(at.evt_is_open_read, Some(reads));
        columns.boolean(at.evt_is_open_write, Some(writes));
        let kind = if opening.is_of_folders() { descriptors::DIRECTORY } else { descriptors::FILE };
        columns.text(at.fd_type, Some(kind.0));
        columns.text(at.fd_typechar, Some(kind.1));
        columns.text(at.fd_nameraw, Some(paths::text(uring.path)));
        if let Some(name) = name {
            let (folder, last) = paths::split(name);
            columns.text(at.fd_name, Some(name));
            columns.text(at.fd_directory, Some(folder));
            columns.text(at.fd_filename, Some(last));
        }
    }

    pub(super) fn socket_cells(&mut self, socket: &Socket) {
        let (columns, at) = (&mut self.columns, &self.at);
        if let Some((kind, letter)) = socket.family.kind() {
            columns.text(at.fd_type, Some(kind));
            columns.text(at.fd_typechar, Some(letter));
        }
        columns.text(at.fd_sockfamily, socket.family.name());
        columns.text(at.fd_l4proto, socket.l4proto);
        columns.text(at.fd_name, socket.name.as_deref());
        if socket.ino != 0 {
            columns.int(at.fd_ino, i64::try_from(socket.ino).ok());
        }
        let (client, server) = socket.roles();
        let ends = [
            (at.fd_cip, at.fd_cport, client),
            (at.fd_sip, at.fd_sport, server),
            (at.fd_lip, at.fd_lport, socket.local),
            (at.fd_rip, at.fd_rport, socket.remote),
        ];
        for (ip_at, port_at, end) in ends {
            if let Some((ip, port)) = end {
                columns.text(ip_at, Some(ip.to_string()));
                columns.int(port_at, Some(port.into()));
            }
        }
        columns.boolean(at.fd_is_server, socket.is_server);
        columns.boolean(at.fd_connected, Some(socket.is_connected));
        columns.boolean(at.fd_name_changed, Some(socket.name_changed));
    }
}

/// A connection that is only asked for.
fn to(remote: End) -> Socket {
    let family = if remote.0.is_ipv4() { sockets::Family::V4 } else { sockets::Family::V6 };
    let local = sockets::unspecified(remote.0);
    Socket {
        family,
        l4proto: Some("<NA>"),
        name: Some(format!("{}->{}", sockets::end_text(local), sockets::end_text(remote)).into()),
        remote: Some(remote),
        is_server: Some(false),
        ..Socket::default()
    }
}

/// The descriptor's number: the new one of calls that make one.
fn descriptor(call: &decode::Socket) -> Option<i64> {
    use bailiwick_collector_ebpf::calls::id;
    match call.call {
        id::SOCKET | id::ACCEPT | id::ACCEPT4 | id::DUP | id::DUP2 | id::DUP3 => {
            (call.ret >= 0).then_some(call.ret)
        }
        _ => call.args.first().map(|fd| names::small(*fd)),
    }
}
