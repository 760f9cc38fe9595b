//! Rows of calls about paths, descriptors and numbers.

use bailiwick_collector_ebpf::calls::id;
use bailiwick_collector_ebpf::{flag, text};

use super::{Common, Rows};
use crate::syscalls::arguments::SocketNames;
use crate::syscalls::decode::Call;
use crate::syscalls::descriptors::{self, DIRECTORY, FILE, Kind};
use crate::syscalls::names::{self, Paths};
use crate::syscalls::opening::{self, Opening};
use crate::syscalls::roles::Socket;
use crate::syscalls::{arguments, flags, paths, walk};

// === impl Rows ===

impl Rows {
    /// A call, its paths, and the socket behind its descriptor if that is one.
    pub(in crate::syscalls) fn call(
        &mut self,
        common: &Common<'_>,
        call: &Call<'_>,
        paths: &Paths<'_>,
        socket: Option<&Socket>,
    ) {
        let record_flags = common.header.flags;
        self.columns.boolean(self.at.evt_truncated, names::is_cut(call, record_flags).then_some(true));
        self.common(common, names::evt_type(call.call), Some(call.ret), call.weight);
        if let Some(opening) = opening::of(call) {
            self.opened(call, &opening, paths, record_flags & flag::CREATED != 0);
        } else {
            self.descriptor(call, paths, socket);
        }
        let names = paths.names(socket.map(socket_names), common.users);
        let room = std::mem::take(&mut self.arguments);
        self.told(arguments::of(call, record_flags, &names, room));
        self.columns.end_row();
    }

    fn opened(&mut self, call: &Call<'_>, opening: &Opening, paths: &Paths<'_>, created: bool) {
        let (columns, at) = (&mut self.columns, &self.at);
        let (reads, writes) = flags::access(opening.flags);
        columns.boolean(at.evt_is_open_read, Some(reads));
        columns.boolean(at.evt_is_open_write, Some(writes));
        columns.boolean(at.evt_is_open_exec, Some(opening.makes() && opening.mode & 0o111 != 0));
        columns.boolean(at.evt_is_open_create, Some(created));
        // Falco's rules ask for -1 where an open failed.
        columns.int(at.fd_num, Some(call.ret.max(-1)));
        columns.text(at.fd_nameraw, paths.raw.as_deref());
        // Who opens a pipe or a device by its name has opened a file, for Falco.
        let kind = match descriptors::kind(&call.file, None) {
            Some(DIRECTORY) => DIRECTORY,
            None if opening.is_of_folders() => DIRECTORY,
            _ => FILE,
        };
        let name = paths.path.as_deref().or(paths.target.as_deref());
        let is_other = |target: &&str| !name.is_some_and(|name| walk::is_same(target, name));
        let resolved = paths.target.as_deref().filter(is_other);
        columns.text(at.fd_name_resolved, resolved);
        self.file(call, kind, name);
    }

    /// What the call's descriptor refers to.
    fn descriptor(&mut self, call: &Call<'_>, paths: &Paths<'_>, socket: Option<&Socket>) {
        let made = descriptors::made_by(call).filter(|_| call.ret >= 0);
        let number = if made.is_some() { Some(call.ret) } else { names::descriptor(call) };
        self.columns.int(self.at.fd_num, number);
        if let Some(socket) = socket {
            self.socket_cells(socket);
            return;
        }
        let memfd = (call.call == id::MEMFD_CREATE && made.is_some()).then(|| memfd(call));
        let name = memfd.as_deref().or(paths.target.as_deref());
        match made.or_else(|| descriptors::kind(&call.file, paths.target.as_deref())) {
            Some(kind) => self.file(call, kind, name),
            None => self.columns.text(self.at.fd_name, name),
        }
    }

    fn file(&mut self, call: &Call<'_>, kind: Kind, name: Option<&str>) {
        let (columns, at) = (&mut self.columns, &self.at);
        columns.text(at.fd_type, Some(kind.0));
        columns.text(at.fd_typechar, Some(kind.1));
        columns.text(at.fd_name, name);
        if call.file.ino != 0 {
            columns.int(at.fd_ino, i64::try_from(call.file.ino).ok());
            columns.int(at.fd_dev, Some(descriptors::device(call.file.dev).into()));
        }
        if let Some(name) = name.filter(|_| kind == FILE || kind == DIRECTORY) {
            let (folder, last) = paths::split(name);
            columns.text(at.fd_directory, Some(folder));
            columns.text(at.fd_filename, Some(last));
        }
    }
}

/// What arguments say of a socket.
fn socket_names(socket: &Socket) -> SocketNames<'_> {
    SocketNames {
        tuple: socket.name.as_deref().unwrap_or_default(),
        typechar: socket.family.kind().map_or("", |kind| kind.1),
        address: "",
        l4proto: socket.l4proto,
    }
}

/// The name that /proc shows for what `memfd_create` makes.
fn memfd(call: &Call<'_>) -> String {
    let name = call.texts.get(text::EXTRA).copied().unwrap_or_default();
    format!("memfd:{}", paths::text(name.split(|byte| *byte == 0).next().unwrap_or_default()))
}
