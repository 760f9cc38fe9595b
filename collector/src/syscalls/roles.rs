//! Sockets and who is client and who is server of each, by inode. Pure.
//!
//! ```text
//!   connect ─▶ the process is the client       accept, listen ─▶ it is the server
//!   a datagram of nobody's: who sends first is the client
//! ```
//!
//! A socket's inode is its name for as long as it lives, whichever processes
//! inherit or duplicate its descriptors.

use std::collections::HashMap;
use std::sync::Arc;

use bailiwick_collector_ebpf::calls::id;
use bailiwick_collector_ebpf::flag;

use super::decode;
use super::sockets::{self, End, Family, Told};

/// Sockets remembered: those used last, at least half as many.
const MAX_SOCKETS: usize = 16_384;
const EINPROGRESS: i64 = -115;

/// A socket in one call, in Falco's terms.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Socket {
    pub(super) ino: u64,
    pub(super) family: Family,
    pub(super) l4proto: Option<&'static str>,
    /// `client->server`, one end, or a path.
    pub(super) name: Option<Arc<str>>,
    pub(super) local: Option<End>,
    pub(super) remote: Option<End>,
    /// Null while the role is unknown.
    pub(super) is_server: Option<bool>,
    pub(super) is_connected: bool,
    /// Whether the call gave it another name.
    pub(super) name_changed: bool,
}

/// Whose end the local one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Client,
    Server,
}

/// What is remembered of a socket.
#[derive(Debug, Clone, Default)]
struct Known {
    family: Family,
    l4proto: Option<&'static str>,
    local: Option<End>,
    remote: Option<End>,
    role: Option<Role>,
    is_connected: bool,
    name: Option<Arc<str>>,
}

/// Sockets by inode.
#[derive(Debug)]
pub(super) struct Sockets {
    /// At most half of what is remembered; then it becomes `older`.
    recent: HashMap<u64, Known>,
    older: HashMap<u64, Known>,
    half: usize,
}

// === impl Socket ===

impl Socket {
    /// The client's and the server's end.
    pub(super) fn roles(&self) -> (Option<End>, Option<End>) {
        match self.is_server {
            Some(true) => (self.remote, self.local),
            Some(false) => (self.local, self.remote),
            None => (None, None),
        }
    }
}

// === impl Sockets ===

impl Sockets {
    pub(super) fn new() -> Self {
        Self::of_size(MAX_SOCKETS)
    }

    fn of_size(most: usize) -> Self {
        Self { recent: HashMap::new(), older: HashMap::new(), half: (most / 2).max(1) }
    }

    /// Takes a call and answers its socket as it is now.
    pub(super) fn call(&mut self, call: &decode::Socket, flags: u16) -> Socket {
        let told = sockets::told(call, flags);
        let went_through = call.ret >= 0 || call.ret == EINPROGRESS;
        // A new socket's inode may have been another's.
        let is_new = matches!(call.call, id::SOCKET | id::ACCEPT | id::ACCEPT4) && went_through;
        let mut known = if is_new { Known::default() } else { self.take(call.ino) };
        let before = known.name.clone();
        known.hear(call, told, flags);
        let socket = known.socket(call.ino, before.as_ref());
        if went_through && call.ino != 0 {
            self.put(call.ino, known);
        } else if !is_new && call.ino != 0 {
            known.name = before;
            self.put(call.ino, known);
        }
        socket
    }

    /// The socket with this inode, if it was seen.
    pub(super) fn get(&self, ino: u64) -> Option<Socket> {
        let known = self.recent.get(&ino).or_else(|| self.older.get(&ino))?;
        Some(known.socket(ino, known.name.as_ref()))
    }

    fn take(&mut self, ino: u64) -> Known {
        self.recent.remove(&ino).or_else(|| self.older.remove(&ino)).unwrap_or_default()
    }

    fn put(&mut self, ino: u64, known: Known) {
        if self.recent.len() >= self.half {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(ino, known);
    }
}

// === impl Known ===

impl Known {
    fn hear(&mut self, call: &decode::Socket, told: Told, flags: u16) {
        let Told { family, l4proto, is_datagram, local, peer, given, path } = told;
        if family != Family::Other {
            self.family = family;
        }
        // A call without a socket's own numbers says `<NA>`.
        if self.l4proto.is_none() || l4proto.is_some_and(|l4proto| l4proto != "<NA>") {
            self.l4proto = l4proto.or(self.l4proto);
        }
        self.local = local.or(self.local);
        let succeeded = call.ret >= 0;
        let linked = flags & flag::CONNECTED != 0;
        match call.call {
            id::CONNECT => {
                self.remote = peer.filter(|_| succeeded || call.ret == EINPROGRESS).or(given).or(peer);
                self.role = Some(Role::Client);
                self.is_connected = succeeded || linked;
            }
            id::ACCEPT | id::ACCEPT4 => {
                self.remote = peer.or(given);
                self.role = Some(Role::Server);
                self.is_connected = succeeded;
            }
            id::BIND | id::LISTEN => {
                self.local = local.filter(|_| succeeded).or(given).or(local).or(self.local);
                self.remote = None;
                // Who binds a datagram socket may still be the one who asks.
                let serves = !is_datagram || call.call == id::LISTEN;
                self.role = serves.then_some(Role::Server).or(self.role);
            }
            id::SENDTO | id::SENDMSG | id::SENDMMSG => {
                self.message(given, peer, linked, is_datagram, Role::Client)
            }
            id::RECVFROM | id::RECVMSG | id::RECVMMSG => {
                self.message(given, peer, linked, is_datagram, Role::Server);
            }
            _ => {
                self.remote = peer.or(self.remote);
                self.is_connected |= linked;
            }
        }
        self.name = path
            .filter(|path| !path.is_empty())
            .map(Arc::from)
            .or_else(|| self.tuple(call.call))
            .or_else(|| self.name.take());
    }

    /// A message from or to `given`, or the peer.
    fn message(
        &mut self,
        given: Option<End>,
        peer: Option<End>,
        linked: bool,
        is_datagram: bool,
        role: Role,
    ) {
        self.is_connected |= linked;
        self.remote = given.or(peer).or(self.remote);
        if is_datagram || self.l4proto == Some("udp") {
            self.role = self.role.or(Some(role));
        }
    }

    /// `client->server`; of a socket that has no peer, its own end.
    fn tuple(&self, call: u16) -> Option<Arc<str>> {
        if !matches!(self.family, Family::V4 | Family::V6) {
            return None;
        }
        let Some(remote) = self.remote else {
            let alone = matches!(call, id::BIND | id::LISTEN);
            return self.local.filter(|_| alone).map(|local| sockets::end_text(local).into());
        };
        let local = self.local.unwrap_or(sockets::unspecified(remote.0));
        let (from, to) = if self.role == Some(Role::Server) { (remote, local) } else { (local, remote) };
        Some(format!("{}:{}->{}:{}", from.0, from.1, to.0, to.1).into())
    }

    fn socket(&self, ino: u64, before: Option<&Arc<str>>) -> Socket {
        Socket {
            ino,
            family: self.family,
            l4proto: self.l4proto,
            name: self.name.clone(),
            local: self.local,
            remote: self.remote,
            is_server: self.role.map(|role| role == Role::Server),
            is_connected: self.is_connected,
            name_changed: self.name.is_some() && self.name.as_ref() != before,
        }
    }
}

#[cfg(test)]
mod tests;
