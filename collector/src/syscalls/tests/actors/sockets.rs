//! Sockets: made, named, connected, accepted; and datagrams to somebody new.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;

use serde_json::Value;

use super::super::stage::{Stage, fd, p, sys};
use super::Actor;

const EBADF: i64 = -(libc::EBADF as i64);

pub(super) const ACTORS: &[Actor] = &[
    ("socket", |stage| {
        for (domain, kind, name, letter) in [
            (2, 1, "AF_INET", "4"),
            (2, 2 | 0o2_000_000, "AF_INET", "4"),
            (10, 1, "AF_INET6", "6"),
            (1, 1, "AF_LOCAL|AF_UNIX", "u"),
            (17, 3, "AF_PACKET", ""),
            (16, 3, "AF_ROUTE|AF_NETLINK", "n"),
        ] {
            let ret = sys(libc::SYS_socket, &[domain, kind, 0]);
            assert!(ret >= 0, "{name}: {ret}");
            let mut cells = vec![("fd_num", Value::from(ret))];
            if !letter.is_empty() {
                cells.push(("fd_typechar", letter.into()));
            }
            stage.expect(
                "socket",
                ret,
                &cells,
                &[("domain", name), ("type", &kind.to_string()), ("proto", "0")],
            );
        }
        let ret = sys(libc::SYS_socket, &[99, 1, 0]);
        stage.expect("socket", ret, &[], &[("fd", "EAFNOSUPPORT"), ("domain", "99")]);
    }),
    ("bind", |stage| {
        let socket = sys(libc::SYS_socket, &[2, 1, 0]).cast_unsigned();
        let (address, text) = inet(Ipv4Addr::LOCALHOST, free_port());
        let ret = sys(libc::SYS_bind, &[socket, p(&address), 16]);
        assert_eq!(ret, 0);
        let cells = [
            ("fd_num", socket.into()),
            ("fd_typechar", "4".into()),
            ("fd_l4proto", "tcp".into()),
            ("fd_lip", "127.0.0.1".into()),
        ];
        stage.expect("bind", ret, &cells, &[("res", "0"), ("addr", &text)]);
        let ret = sys(libc::SYS_bind, &[999, p(&address), 16]);
        stage.expect("bind", ret, &[], &[("res", "EBADF"), ("addr", &text), ("fd", "999")]);
        let socket = sys(libc::SYS_socket, &[1, 1, 0]).cast_unsigned();
        let (address, length) = unix(&stage.text("door"));
        let ret = sys(libc::SYS_bind, &[socket, p(&address), length]);
        let door = stage.text("door");
        stage.expect("bind", ret, &[("fd_type", "unix".into())], &[("res", "0"), ("addr", &door)]);
    }),
    ("connect", |stage| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let server = listener.local_addr().unwrap();
        let stream = TcpStream::connect(server).unwrap();
        let client = stream.local_addr().unwrap();
        let name = format!("{client}->{server}");
        let cells = [
            ("fd_name", name.as_str().into()),
            ("fd_connected", Value::Bool(true)),
            ("fd_is_server", Value::Bool(false)),
            ("fd_cip", "127.0.0.1".into()),
            ("fd_cport", client.port().into()),
            ("fd_sport", server.port().into()),
            ("fd_lport", client.port().into()),
            ("fd_rport", server.port().into()),
        ];
        let (text, address) = (format!("<4t>{name}"), server.to_string());
        stage.expect(
            "connect",
            0,
            &cells,
            &[("res", "0"), ("tuple", &name), ("fd", &text), ("addr", &address)],
        );
        let (address, text) = inet(Ipv4Addr::new(127, 9, 9, 9), 9);
        let ret = sys(libc::SYS_connect, &[999, p(&address), 16]);
        assert_eq!(ret, EBADF);
        stage.expect("connect", ret, &[], &[("res", "EBADF"), ("addr", &text)]);
        let (address, length) = unix(&stage.text("wall"));
        let socket = sys(libc::SYS_socket, &[1, 1, 0]).cast_unsigned();
        let ret = sys(libc::SYS_connect, &[socket, p(&address), length]);
        let wall = stage.text("wall");
        stage.expect(
            "connect",
            ret,
            &[("fd_name", wall.as_str().into())],
            &[("res", "ENOENT"), ("addr", &wall)],
        );
    }),
    ("listen", |stage| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let server = listener.local_addr().unwrap();
        let ret = sys(libc::SYS_listen, &[fd(listener.as_raw_fd()), 7]);
        assert_eq!(ret, 0);
        let cells = [
            ("fd_is_server", Value::Bool(true)),
            ("fd_sip", "127.0.0.1".into()),
            ("fd_sport", server.port().into()),
            ("fd_num", listener.as_raw_fd().into()),
        ];
        stage.expect("listen", ret, &cells, &[("res", "0"), ("backlog", "7")]);
        let ret = sys(libc::SYS_listen, &[999, 7]);
        stage.expect("listen", ret, &[], &[("res", "EBADF"), ("fd", "999"), ("backlog", "7")]);
    }),
    #[cfg(target_arch = "x86_64")]
    ("accept", |stage| accepted(stage, "accept", |of| sys(libc::SYS_accept, &[of, 0, 0]), &[])),
    ("accept4", |stage| {
        let flags = u64::from(libc::SOCK_CLOEXEC.cast_unsigned());
        accepted(stage, "accept4", |of| sys(libc::SYS_accept4, &[of, 0, 0, flags]), &[("flags", "80000")]);
    }),
    ("sendto", |stage| {
        sent(stage, "sendto", &[("size", "5")], |of, address, _| {
            sys(libc::SYS_sendto, &[of, p(b"hello"), 5, 0, p(address), 16])
        });
    }),
    ("sendmsg", |stage| {
        sent(stage, "sendmsg", &[], |of, _, message| sys(libc::SYS_sendmsg, &[of, p(message), 0]));
    }),
    ("sendmmsg", |stage| {
        sent(stage, "sendmmsg", &[], |of, _, message| sys(libc::SYS_sendmmsg, &[of, p(message), 1, 0]));
    }),
    ("recvfrom", |stage| {
        received(stage, "recvfrom", |of, address, _| {
            let (data, length) = ([0_u8; 5], 16_u32);
            sys(libc::SYS_recvfrom, &[of, p(&data), 5, 0, p(address), p(&length)])
        });
    }),
    ("recvmsg", |stage| {
        received(stage, "recvmsg", |of, _, message| sys(libc::SYS_recvmsg, &[of, p(message), 0]));
    }),
    ("recvmmsg", |stage| {
        received(stage, "recvmmsg", |of, _, message| sys(libc::SYS_recvmmsg, &[of, p(message), 1, 0, 0]));
    }),
];

/// A `struct sockaddr_in`, and its text.
fn inet(ip: Ipv4Addr, port: u16) -> ([u8; 16], String) {
    let mut address = [0; 16];
    address[..2].copy_from_slice(&2_u16.to_ne_bytes());
    address[2..4].copy_from_slice(&port.to_be_bytes());
    address[4..8].copy_from_slice(&ip.octets());
    (address, format!("{ip}:{port}"))
}

/// A `struct sockaddr_un`, and its bytes.
fn unix(path: &str) -> ([u8; 110], u64) {
    let mut address = [0; 110];
    address[..2].copy_from_slice(&1_u16.to_ne_bytes());
    address[2..2 + path.len()].copy_from_slice(path.as_bytes());
    (address, path.len() as u64 + 3)
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn accepted(stage: &mut Stage, call: &str, accept: impl Fn(u64) -> i64, more: &[(&str, &str)]) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let server = listener.local_addr().unwrap();
    let stream = TcpStream::connect(server).unwrap();
    let client = stream.local_addr().unwrap();
    let ret = accept(fd(listener.as_raw_fd()));
    assert!(ret >= 0, "{ret}");
    let name = format!("{client}->{server}");
    let cells = [
        ("fd_name", name.as_str().into()),
        ("fd_num", ret.into()),
        ("fd_is_server", Value::Bool(true)),
        ("fd_connected", Value::Bool(true)),
        ("fd_cip", "127.0.0.1".into()),
        ("fd_cport", client.port().into()),
        ("fd_sip", "127.0.0.1".into()),
        ("fd_sport", server.port().into()),
        ("fd_lport", server.port().into()),
        ("fd_rport", client.port().into()),
        ("fd_l4proto", "tcp".into()),
    ];
    let text = format!("<4t>{name}");
    stage.expect(call, ret, &cells, &[&[("fd", &*text), ("tuple", &name)], more].concat());
    let ret = accept(999);
    assert_eq!(ret, EBADF);
    stage.expect(call, ret, &[("fd_num", Value::Null)], &[&[("fd", "EBADF")], more].concat());
}

/// A `struct mmsghdr` with room for an address and some bytes.
#[repr(C)]
struct Message {
    name: u64,
    name_len: u64,
    parts: u64,
    part_count: u64,
    control: [u64; 2],
    flags: u64,
    length: u64,
}

fn message(address: &[u8; 16], part: &[u64; 2]) -> Message {
    let (name, parts) = (p(address), p(part));
    Message { name, name_len: 16, parts, part_count: 1, control: [0; 2], flags: 0, length: 0 }
}

fn pair() -> (UdpSocket, SocketAddr, UdpSocket, SocketAddr) {
    let one = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let two = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (here, there) = (one.local_addr().unwrap(), two.local_addr().unwrap());
    (one, here, two, there)
}

/// The first datagram to a peer is a row, the second is not, one to another is.
fn sent(
    stage: &mut Stage,
    call: &str,
    more: &[(&str, &str)],
    send: impl Fn(u64, &[u8; 16], &Message) -> i64,
) {
    let data = *b"hello";
    let part = [p(&data), 5];
    let (sender, _, receiver, first) = pair();
    let (_other, second, ..) = pair();
    let mut last = second;
    for peer in [first, first, second] {
        let (address, _) = inet(Ipv4Addr::LOCALHOST, peer.port());
        let ret = send(fd(sender.as_raw_fd()), &address, &message(&address, &part));
        assert!(ret > 0, "{ret}");
        let cells = [
            ("fd_num", sender.as_raw_fd().into()),
            ("fd_l4proto", "udp".into()),
            ("fd_typechar", "4".into()),
            ("fd_sip", "127.0.0.1".into()),
            ("fd_sport", peer.port().into()),
            ("fd_rport", peer.port().into()),
        ];
        if std::mem::replace(&mut last, peer) != peer {
            stage.expect(call, ret, &cells, &[&[("res", &*ret.to_string())], more].concat());
        }
    }
    drop(receiver);
}

/// The first datagram of a peer is a row.
fn received(stage: &mut Stage, call: &str, receive: impl Fn(u64, &[u8; 16], &Message) -> i64) {
    let data = [0_u8; 5];
    let part = [p(&data), 5];
    let (sender, from, receiver, to) = pair();
    for _ in 0..2 {
        sender.send_to(b"hello", to).unwrap();
        let address = [0; 16];
        let ret = receive(fd(receiver.as_raw_fd()), &address, &message(&address, &part));
        assert!(ret > 0, "{ret}");
    }
    let ret = if call == "recvmmsg" { 1 } else { 5 };
    let cells = [
        ("fd_num", receiver.as_raw_fd().into()),
        ("fd_l4proto", "udp".into()),
        ("fd_rip", "127.0.0.1".into()),
        ("fd_rport", from.port().into()),
    ];
    stage.expect(call, ret, &cells, &[("res", &ret.to_string())]);
}
