//! Both ends of a call about a socket, in Falco's names. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bailiwick_collector_ebpf::calls::id;
use bailiwick_collector_ebpf::flag;

use super::decode::{self, Dns};
use super::paths;

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const AF_NETLINK: u16 = 16;
const SOCK_STREAM: u16 = 1;
const SOCK_DGRAM: u16 = 2;
/// The bits of a socket's type that are not flags.
const TYPE_BITS: u64 = 0xf;

/// An address and a port.
pub(super) type End = (IpAddr, u16);

/// What kind of socket it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Family {
    V4,
    V6,
    Unix,
    Netlink,
    #[default]
    Other,
}

/// What one call tells of its socket.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Told {
    pub(super) family: Family,
    pub(super) l4proto: Option<&'static str>,
    /// Whether it carries messages and not a stream.
    pub(super) is_datagram: bool,
    /// The local end, from the socket itself.
    pub(super) local: Option<End>,
    /// The peer, from the socket itself.
    pub(super) peer: Option<End>,
    /// The address that the process gave or was given.
    pub(super) given: Option<End>,
    /// Likewise, of a Unix socket.
    pub(super) path: Option<String>,
}

// === impl Family ===

impl Family {
    fn of(number: u16) -> Self {
        match number {
            AF_INET => Self::V4,
            AF_INET6 => Self::V6,
            AF_UNIX => Self::Unix,
            AF_NETLINK => Self::Netlink,
            _ => Self::Other,
        }
    }

    /// `fd_type` and `fd_typechar`.
    pub(super) fn kind(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::V4 => Some(("ipv4", "4")),
            Self::V6 => Some(("ipv6", "6")),
            Self::Unix => Some(("unix", "u")),
            Self::Netlink => Some(("netlink", "n")),
            Self::Other => None,
        }
    }

    /// `fd_sockfamily`.
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Self::V4 | Self::V6 => Some("ip"),
            Self::Unix => Some("unix"),
            Self::Netlink | Self::Other => None,
        }
    }
}

/// Reads a call's record. The socket's own ends are right where they are there;
/// where a call failed, the kernel has taken the peer away again and only the
/// address that the process gave is left.
pub(super) fn told(call: &decode::Socket, flags: u16) -> Told {
    let own = flags & flag::TUPLE != 0;
    let address = call.address.get(..call.address_len).unwrap_or_default();
    let given_family = address.first_chunk::<2>().map(|family| u16::from_ne_bytes(*family));
    let asked = if call.call == id::SOCKET { u16::try_from(call.args[0]).ok() } else { None };
    let known = [own.then_some(call.family), asked, given_family, Some(call.family)];
    let family = known.into_iter().flatten().find(|family| *family != 0).map(Family::of).unwrap_or_default();
    let socket_type = match call.socket_type {
        0 if call.call == id::SOCKET => u16::try_from(call.args[1] & TYPE_BITS).unwrap_or(0),
        kind => kind,
    };
    let mut told = Told { family, is_datagram: !matches!(socket_type, 0 | SOCK_STREAM), ..Told::default() };
    match family {
        Family::V4 | Family::V6 => internet(&mut told, call, own, address, socket_type),
        Family::Unix => {
            told.l4proto = Some("<NA>");
            told.path = address.get(2..).filter(|path| !path.is_empty()).map(unix_path);
        }
        Family::Netlink | Family::Other => {}
    }
    told
}

fn internet(told: &mut Told, call: &decode::Socket, own: bool, address: &[u8], socket_type: u16) {
    let is_v4 = told.family == Family::V4;
    let protocol = match (call.protocol, own) {
        (0, _) if call.call == id::SOCKET => default_protocol(call.args[2], socket_type),
        (number, true) => number,
        (_, false) => 0,
    };
    told.l4proto = Some(protocol_name(protocol));
    told.given = given(address);
    if own {
        told.local = Some((ip(&call.local, is_v4), call.local_port));
        told.peer = (call.remote_port != 0).then(|| (ip(&call.remote, is_v4), call.remote_port));
    }
    // A mapped address is IPv4 on the wire.
    let ends = [told.peer, told.given.filter(|_| told.peer.is_none())];
    if let Some((ip, _)) = ends.into_iter().flatten().next() {
        told.family = if ip.is_ipv4() { Family::V4 } else { Family::V6 };
    }
}

/// A message's ends: who asks, and the server that is asked.
pub(super) fn dns_ends(dns: &Dns<'_>) -> (Family, End, End) {
    let is_v4 = dns.family == AF_INET;
    let (local, remote) = (ip(&dns.local, is_v4), ip(&dns.remote, is_v4));
    let family = if remote.is_ipv4() { Family::V4 } else { Family::V6 };
    (family, (local, dns.local_port), (remote, dns.remote_port))
}

/// The address in a `sockaddr_in` or `sockaddr_in6`.
pub(super) fn given(address: &[u8]) -> Option<End> {
    let family = u16::from_ne_bytes(*address.first_chunk()?);
    let port = u16::from_be_bytes(*address.get(2..)?.first_chunk()?);
    let ip = match family {
        AF_INET => IpAddr::V4(Ipv4Addr::from(*address.get(4..)?.first_chunk::<4>()?)),
        AF_INET6 => Ipv6Addr::from(*address.get(8..)?.first_chunk::<16>()?).to_canonical(),
        _ => return None,
    };
    Some((ip, port))
}

/// The path in a `sockaddr_un`.
pub(super) fn given_path(address: &[u8]) -> Option<String> {
    let family = u16::from_ne_bytes(*address.first_chunk()?);
    (family == AF_UNIX).then(|| address.get(2..).map(unix_path)).flatten()
}

/// An address and a port, as Falco writes them.
pub(super) fn end_text((ip, port): End) -> String {
    format!("{ip}:{port}")
}

/// The end that nobody chose.
pub(super) fn unspecified(like: IpAddr) -> End {
    (if like.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }, 0)
}

fn ip(bytes: &[u8; 16], is_v4: bool) -> IpAddr {
    let [a, b, c, d, ..] = *bytes;
    if is_v4 { Ipv4Addr::new(a, b, c, d).into() } else { Ipv6Addr::from(*bytes).to_canonical() }
}

/// What `socket(2)` makes where it was asked for protocol 0.
fn default_protocol(asked: u64, socket_type: u16) -> u16 {
    match (u16::try_from(asked).unwrap_or(0), socket_type) {
        (0, SOCK_STREAM) => 6,
        (0, SOCK_DGRAM) => 17,
        (number, _) => number,
    }
}

fn protocol_name(number: u16) -> &'static str {
    match number {
        6 => "tcp",
        17 => "udp",
        1 | 58 => "icmp",
        255 => "raw",
        _ => "<NA>",
    }
}

/// A path, or an abstract name with `@` before it as `ss` writes it.
fn unix_path(path: &[u8]) -> String {
    match path {
        [0, name @ ..] => format!("@{}", paths::text(name)),
        path => paths::text(path.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned(),
    }
}
