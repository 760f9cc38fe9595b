//! Both ends of a connect call, in Falco's names. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bailiwick_collector_ebpf::flag;

use super::decode::Connect;
use super::paths;

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const AF_NETLINK: u16 = 16;
const EINPROGRESS: i64 = -115;

/// What a connect call was about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Socket {
    pub(super) fd_type: Option<&'static str>,
    pub(super) typechar: Option<&'static str>,
    pub(super) family: Option<&'static str>,
    pub(super) l4proto: Option<&'static str>,
    /// `ip:port->ip:port`, or a path.
    pub(super) name: Option<String>,
    /// The local end; unspecified where the kernel had not chosen it.
    pub(super) local: Option<(IpAddr, u16)>,
    pub(super) remote: Option<(IpAddr, u16)>,
}

/// Names a call's socket. The socket's own tuple is right where the call went
/// through; where it failed, the kernel has taken the remote end away again and
/// only the address that the process gave is left.
pub(super) fn socket(call: &Connect, flags: u16) -> Socket {
    let address = call.address.get(..call.address_len).unwrap_or_default();
    let given = address.first_chunk::<2>().map(|family| u16::from_ne_bytes(*family));
    let family =
        if flags & flag::TUPLE != 0 { Some(call.family) } else { given.filter(|family| *family != 0) };
    match family.or((call.family != 0).then_some(call.family)) {
        Some(AF_INET | AF_INET6) => internet(call, flags, address),
        Some(AF_UNIX) => Socket {
            fd_type: Some("unix"),
            typechar: Some("u"),
            family: Some("unix"),
            l4proto: Some("<NA>"),
            name: address.get(2..).map(unix_path),
            ..Socket::default()
        },
        Some(AF_NETLINK) => Socket { fd_type: Some("netlink"), typechar: Some("n"), ..Socket::default() },
        _ => Socket::default(),
    }
}

fn internet(call: &Connect, flags: u16, address: &[u8]) -> Socket {
    let own = flags & flag::TUPLE != 0;
    let is_v4 = if own { call.family == AF_INET } else { address.first() == Some(&AF_INET.to_ne_bytes()[0]) };
    let went_through = (call.ret >= 0 || call.ret == EINPROGRESS) && own && call.remote_port != 0;
    let remote = match went_through {
        true => Some((ip(&call.remote, is_v4), call.remote_port)),
        false => given(address).or(own.then(|| (ip(&call.remote, is_v4), call.remote_port))),
    };
    let local = own.then(|| (ip(&call.local, is_v4), call.local_port));
    let (v4, name) = match (local, remote) {
        (local, Some(remote)) => {
            let (ip, port) = local.unwrap_or((unspecified(remote.0), 0));
            (remote.0.is_ipv4(), Some(format!("{ip}:{port}->{}:{}", remote.0, remote.1)))
        }
        (Some(local), None) => (local.0.is_ipv4(), None),
        (None, None) => (is_v4, None),
    };
    Socket {
        fd_type: Some(if v4 { "ipv4" } else { "ipv6" }),
        typechar: Some(if v4 { "4" } else { "6" }),
        family: Some("ip"),
        l4proto: Some(protocol(if own { call.protocol } else { 0 })),
        name,
        local,
        remote,
    }
}

/// The address in a `sockaddr_in` or `sockaddr_in6`.
fn given(address: &[u8]) -> Option<(IpAddr, u16)> {
    let family = u16::from_ne_bytes(*address.first_chunk()?);
    let port = u16::from_be_bytes(*address.get(2..)?.first_chunk()?);
    let ip = match family {
        AF_INET => IpAddr::V4(Ipv4Addr::from(*address.get(4..)?.first_chunk::<4>()?)),
        AF_INET6 => Ipv6Addr::from(*address.get(8..)?.first_chunk::<16>()?).to_canonical(),
        _ => return None,
    };
    Some((ip, port))
}

fn ip(bytes: &[u8; 16], is_v4: bool) -> IpAddr {
    let [a, b, c, d, ..] = *bytes;
    // A mapped address is IPv4 on the wire.
    if is_v4 { Ipv4Addr::new(a, b, c, d).into() } else { Ipv6Addr::from(*bytes).to_canonical() }
}

fn unspecified(like: IpAddr) -> IpAddr {
    if like.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() }
}

fn protocol(number: u16) -> &'static str {
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

#[cfg(test)]
mod tests {
    use super::*;
    use bailiwick_collector_ebpf::ADDRESS_MAX;
    use proptest::prelude::*;

    fn call(ret: i64, given: &[u8]) -> Connect {
        let mut address = [0; ADDRESS_MAX];
        address[..given.len()].copy_from_slice(given);
        let ends = ([0; 16], [0; 16]);
        Connect {
            ret,
            fd: 3,
            family: 0,
            protocol: 0,
            local_port: 0,
            remote_port: 0,
            local: ends.0,
            remote: ends.1,
            address_len: given.len(),
            address,
        }
    }

    #[test]
    fn a_connection_is_named_from_its_socket() {
        let mut v4 = call(0, &[2, 0, 0, 80, 9, 9, 9, 9]);
        v4.family = AF_INET;
        v4.protocol = 6;
        v4.local[..4].copy_from_slice(&[10, 0, 0, 1]);
        v4.remote[..4].copy_from_slice(&[10, 0, 0, 2]);
        (v4.local_port, v4.remote_port) = (4000, 443);
        let socket = socket(&v4, flag::TUPLE);
        assert_eq!(socket.name.as_deref(), Some("10.0.0.1:4000->10.0.0.2:443"));
        assert_eq!((socket.fd_type, socket.typechar, socket.l4proto), (Some("ipv4"), Some("4"), Some("tcp")));
    }

    #[test]
    fn a_failed_one_is_named_from_what_was_asked() {
        let mut v4 = call(-111, &[2, 0, 0, 80, 127, 0, 0, 1]);
        v4.family = AF_INET;
        v4.protocol = 6;
        assert_eq!(socket(&v4, flag::TUPLE).name.as_deref(), Some("0.0.0.0:0->127.0.0.1:80"));
        let mut v6 = [0; 28];
        v6[..4].copy_from_slice(&[10, 0, 0, 53]);
        v6[23] = 1;
        let unread = socket(&call(-9, &v6), 0);
        assert_eq!(unread.name.as_deref(), Some(":::0->::1:53"));
        assert_eq!(unread.local, None);
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        let mut mapped = call(0, &[10, 0]);
        mapped.family = AF_INET6;
        mapped.remote_port = 80;
        mapped.local[10..].copy_from_slice(&[255, 255, 1, 2, 3, 4]);
        mapped.remote[10..].copy_from_slice(&[255, 255, 5, 6, 7, 8]);
        let socket = socket(&mapped, flag::TUPLE);
        assert_eq!(socket.name.as_deref(), Some("1.2.3.4:0->5.6.7.8:80"));
        assert_eq!(socket.typechar, Some("4"));
    }

    #[test]
    fn paths_and_abstract_names() {
        assert_eq!(socket(&call(-2, b"\x01\x00/run/x\0rest"), 0).name.as_deref(), Some("/run/x"));
        assert_eq!(socket(&call(0, b"\x01\x00\0abstract"), 0).name.as_deref(), Some("@abstract"));
    }

    proptest! {
        #[test]
        fn any_address_gives_a_socket(
            given in proptest::collection::vec(any::<u8>(), 0..ADDRESS_MAX),
            ret in any::<i64>(), family in any::<u16>(), tuple in any::<bool>(),
        ) {
            let mut call = call(ret, &given);
            call.family = family;
            let _ = socket(&call, if tuple { flag::TUPLE } else { 0 });
        }
    }
}
