//! Calls as the kernel records them, and the roles that follow.

use super::*;
use bailiwick_collector_ebpf::ADDRESS_MAX;
use proptest::prelude::*;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

fn record(call: u16, ret: i64, given: &[u8]) -> decode::Socket {
    let mut address = [0; ADDRESS_MAX];
    address[..given.len()].copy_from_slice(given);
    decode::Socket {
        ret,
        args: [3, 0, 0, 0, 0, 0],
        ino: 77,
        family: 0,
        socket_type: 1,
        protocol: 0,
        local_port: 0,
        remote_port: 0,
        call,
        address_len: given.len(),
        local: [0; 16],
        remote: [0; 16],
        address,
    }
}

fn tcp(call: u16, ret: i64) -> decode::Socket {
    let mut tcp = record(call, ret, &[2, 0, 1, 187, 10, 0, 0, 2]);
    (tcp.family, tcp.protocol) = (AF_INET, 6);
    tcp.local[..4].copy_from_slice(&[10, 0, 0, 1]);
    tcp.remote[..4].copy_from_slice(&[10, 0, 0, 2]);
    (tcp.local_port, tcp.remote_port) = (4000, 443);
    tcp
}

fn udp(call: u16, to: [u8; 4]) -> decode::Socket {
    let mut udp = record(call, 5, &[2, 0, 0, 53, to[0], to[1], to[2], to[3]]);
    (udp.family, udp.protocol, udp.socket_type, udp.local_port) = (AF_INET, 17, 2, 5000);
    udp.local[..4].copy_from_slice(&[10, 0, 0, 1]);
    udp
}

fn end(text: &str) -> Option<End> {
    let addr: std::net::SocketAddr = text.parse().unwrap();
    Some((addr.ip(), addr.port()))
}

#[test]
fn who_connects_is_the_client_and_who_accepts_the_server() {
    let mut sockets = Sockets::new();
    let went = sockets.call(&tcp(id::CONNECT, 0), flag::TUPLE | flag::CONNECTED);
    assert_eq!(went.name.as_deref(), Some("10.0.0.1:4000->10.0.0.2:443"));
    assert_eq!(went.roles(), (end("10.0.0.1:4000"), end("10.0.0.2:443")));
    assert_eq!((went.is_server, went.is_connected, went.name_changed), (Some(false), true, true));
    assert_eq!((went.family.kind(), went.l4proto), (Some(("ipv4", "4")), Some("tcp")));

    let dup = sockets.get(77).unwrap();
    assert_eq!(dup, Socket { name_changed: false, ..went });

    let came = sockets.call(&tcp(id::ACCEPT4, 9), flag::TUPLE | flag::CONNECTED);
    assert_eq!(came.name.as_deref(), Some("10.0.0.2:443->10.0.0.1:4000"), "a new socket with an old inode");
    assert_eq!(came.roles(), (end("10.0.0.2:443"), end("10.0.0.1:4000")));
    assert_eq!((came.local, came.remote), (end("10.0.0.1:4000"), end("10.0.0.2:443")));
}

#[test]
fn a_failed_connect_is_named_from_what_was_asked() {
    let mut sockets = Sockets::new();
    let mut refused = record(id::CONNECT, -111, &[2, 0, 0, 80, 127, 0, 0, 1]);
    (refused.family, refused.protocol) = (AF_INET, 6);
    let socket = sockets.call(&refused, flag::TUPLE);
    assert_eq!(socket.name.as_deref(), Some("0.0.0.0:0->127.0.0.1:80"));
    assert!(!socket.is_connected);
    let mut v6 = [0; 28];
    v6[..4].copy_from_slice(&[10, 0, 0, 53]);
    v6[23] = 1;
    let mut unread = record(id::CONNECT, -9, &v6);
    unread.ino = 0;
    let unread = sockets.call(&unread, 0);
    assert_eq!(unread.name.as_deref(), Some(":::0->::1:53"));
    assert_eq!((unread.local, unread.l4proto), (None, Some("<NA>")));
}

#[test]
fn mapped_addresses_are_ipv4() {
    let mut mapped = record(id::CONNECT, 0, &[10, 0]);
    (mapped.family, mapped.remote_port) = (AF_INET6, 80);
    mapped.local[10..].copy_from_slice(&[255, 255, 1, 2, 3, 4]);
    mapped.remote[10..].copy_from_slice(&[255, 255, 5, 6, 7, 8]);
    let socket = Sockets::new().call(&mapped, flag::TUPLE);
    assert_eq!(socket.name.as_deref(), Some("1.2.3.4:0->5.6.7.8:80"));
    assert_eq!(socket.family, Family::V4);
}

#[test]
fn paths_and_abstract_names() {
    let mut sockets = Sockets::new();
    let path = sockets.call(&record(id::CONNECT, -2, b"\x01\x00/run/x\0rest"), 0);
    assert_eq!((path.name.as_deref(), path.family.kind()), (Some("/run/x"), Some(("unix", "u"))));
    let name = sockets.call(&record(id::BIND, 0, b"\x01\x00\0abstract"), 0);
    assert_eq!(name.name.as_deref(), Some("@abstract"));
}

#[test]
fn a_listener_is_the_server_of_its_own_end() {
    let mut sockets = Sockets::new();
    let mut bind = record(id::BIND, 0, &[2, 0, 31, 144, 0, 0, 0, 0]);
    (bind.family, bind.protocol, bind.local_port) = (AF_INET, 6, 8080);
    let bound = sockets.call(&bind, flag::TUPLE);
    assert_eq!((bound.name.as_deref(), bound.is_server), (Some("0.0.0.0:8080"), Some(true)));
    bind.call = id::LISTEN;
    bind.address_len = 0;
    let listening = sockets.call(&bind, flag::TUPLE);
    assert_eq!(listening.name.as_deref(), Some("0.0.0.0:8080"));
    assert_eq!((listening.roles(), listening.name_changed), ((None, end("0.0.0.0:8080")), false));
}

#[test]
fn the_first_to_send_a_datagram_is_the_client() {
    let mut sockets = Sockets::new();
    let asked = sockets.call(&udp(id::SENDTO, [8, 8, 8, 8]), flag::TUPLE);
    assert_eq!(asked.name.as_deref(), Some("10.0.0.1:5000->8.8.8.8:53"));
    assert_eq!((asked.is_server, asked.is_connected, asked.name_changed), (Some(false), false, true));
    let again = sockets.call(&udp(id::SENDTO, [8, 8, 8, 8]), flag::TUPLE);
    assert!(!again.name_changed);
    let other = sockets.call(&udp(id::SENDMSG, [8, 8, 4, 4]), flag::TUPLE);
    assert_eq!((other.name.as_deref(), other.name_changed), (Some("10.0.0.1:5000->8.8.4.4:53"), true));

    let mut came = udp(id::RECVFROM, [8, 8, 8, 8]);
    came.ino = 78;
    let came = sockets.call(&came, flag::TUPLE);
    assert_eq!(came.name.as_deref(), Some("8.8.8.8:53->10.0.0.1:5000"));
    assert_eq!(came.is_server, Some(true));
    let mut answer = udp(id::SENDTO, [8, 8, 8, 8]);
    answer.ino = 78;
    let answer = sockets.call(&answer, flag::TUPLE);
    assert_eq!(answer.name.as_deref(), Some("8.8.8.8:53->10.0.0.1:5000"), "an answer keeps the roles");
}

#[test]
fn a_fresh_socket_has_no_ends() {
    let mut call = record(id::SOCKET, 3, &[]);
    (call.args, call.socket_type) = ([2, 0x8_0002, 0, 0, 0, 0], 0);
    let socket = Sockets::new().call(&call, 0);
    assert_eq!((socket.family, socket.l4proto, socket.name), (Family::V4, Some("udp"), None));
    assert_eq!(socket.is_server, None);
}

proptest! {
    /// Goal: any calls at all stay within the bound, and a socket that was just
    /// used is known.
    #[test]
    fn it_stays_within_its_bound(calls in proptest::collection::vec(
        (0_u64..300, 30_u16..50, any::<i64>(), any::<u16>(), proptest::collection::vec(any::<u8>(), 0..ADDRESS_MAX)),
        0..400,
    )) {
        let mut sockets = Sockets::of_size(64);
        for (ino, id, ret, flags, address) in calls {
            let mut call = record(id, ret, &address);
            (call.ino, call.family) = (ino, flags >> 3 & 0xf);
            let socket = sockets.call(&call, flags);
            prop_assert!(sockets.recent.len() + sockets.older.len() <= 64);
            if ret >= 0 && ino != 0 {
                let known = sockets.get(ino);
                prop_assert_eq!(known.map(|known| known.name), Some(socket.name));
            }
        }
    }
}
