//! What happens beside 64-bit calls: 32-bit ones, io_uring, and DNS.

#![allow(unsafe_code)]

use std::net::{Ipv4Addr, UdpSocket};

use serde_json::Value;

use super::super::stage::{Stage, fd, p, sys};
use super::Actor;

pub(super) const ACTORS: &[Actor] = &[
    #[cfg(target_arch = "x86_64")]
    ("32-bit calls", thirty_two),
    ("an io_uring", uring),
    ("a DNS query", dns),
];

#[cfg(target_arch = "x86_64")]
fn thirty_two(stage: &mut Stage) {
    use super::super::compat::{Low, OPEN, SETUID32, UNLINK, call};
    use super::super::stage::forked;
    stage.expect_event("execve", &[], &[("comm", comm().as_str())]);
    let Some(low) = Low::new() else { return };
    stage.file("old");
    let ret = low.call(OPEN, &[low.text("old"), 2, 0]);
    assert!(ret >= 0, "{ret}");
    let (name, inode) = (stage.text("old"), std::fs::metadata("old").unwrap());
    let cells = [
        ("fd_name", name.as_str().into()),
        ("fd_num", ret.into()),
        ("fd_ino", std::os::unix::fs::MetadataExt::ino(&inode).into()),
        ("evt_is_open_write", Value::Bool(true)),
    ];
    stage.expect("open", ret, &cells, &[("name", &name), ("flags", "O_RDWR"), ("mode", "0")]);
    let absolute = low.text(&name);
    for (ret, res) in [(0, "0"), (-i64::from(libc::ENOENT), "ENOENT")] {
        assert_eq!(low.call(UNLINK, &[absolute]), ret);
        stage.expect("unlink", ret, &[], &[("res", res), ("path", &name)]);
    }
    let (pid, ret) = forked(|| call(SETUID32, &[65_534]));
    assert_eq!(ret, 0);
    stage.expect_of(pid, "setuid", ret, &[("thread_cap_effective", "".into())], &[("uid", "nobody")]);
}

/// What the kernel calls this process when it starts.
#[cfg(target_arch = "x86_64")]
fn comm() -> String {
    let exe = std::env::current_exe().unwrap();
    exe.file_name().unwrap().to_string_lossy().chars().take(15).collect()
}

/// A ring of four operations, and where its parts lie in memory.
struct Ring {
    number: u64,
    queue: usize,
    entries: usize,
    tail: usize,
    array: usize,
    submitted: u32,
}

// === impl Ring ===

impl Ring {
    fn new() -> Self {
        let mut parameters = [0_u32; 30];
        let number = sys(libc::SYS_io_uring_setup, &[4, std::ptr::from_mut(&mut parameters) as u64]);
        assert!(number >= 0, "{number}");
        let number = number.cast_unsigned();
        let map = |bytes: u64, offset: u64| {
            let (protection, shared) = ((libc::PROT_READ | libc::PROT_WRITE) as u64, libc::MAP_SHARED as u64);
            let at = sys(libc::SYS_mmap, &[0, bytes, protection, shared, number, offset]);
            usize::try_from(at).unwrap()
        };
        // `sq_off` begins at the tenth number: head, tail, mask, entries, flags, dropped, array.
        let (tail, array) = (parameters[11] as usize, parameters[16] as usize);
        Self { number, queue: map(4096, 0), entries: map(4 * 64, 0x1000_0000), tail, array, submitted: 0 }
    }

    /// Hands one operation to the kernel and waits until it is done.
    fn submit(&mut self, opcode: u8, fd: i32, address: u64, length: u32, offset: u64, flags: u32) {
        let mut entry = [0_u8; 64];
        entry[0] = opcode;
        entry[4..8].copy_from_slice(&fd.to_ne_bytes());
        entry[8..16].copy_from_slice(&offset.to_ne_bytes());
        entry[16..24].copy_from_slice(&address.to_ne_bytes());
        entry[24..28].copy_from_slice(&length.to_ne_bytes());
        entry[28..32].copy_from_slice(&flags.to_ne_bytes());
        let slot = self.submitted & 3;
        self.submitted += 1;
        // Safety: within the mappings, of which the kernel said where what is.
        unsafe {
            std::ptr::write((self.entries as *mut [u8; 64]).add(slot as usize), entry);
            std::ptr::write(((self.queue + self.array) as *mut u32).add(slot as usize), slot);
            let tail = &*((self.queue + self.tail) as *const std::sync::atomic::AtomicU32);
            tail.store(self.submitted, std::sync::atomic::Ordering::Release);
        }
        // Nobody takes completions away, so they add up.
        let done = u64::from(self.submitted);
        assert_eq!(sys(libc::SYS_io_uring_enter, &[self.number, 1, done, 1]), 1);
    }
}

fn uring(stage: &mut Stage) {
    const CONNECT: u8 = 16;
    const OPENAT: u8 = 18;
    const UNLINKAT: u8 = 36;
    stage.file("quiet");
    let mut ring = Ring::new();
    ring.submit(OPENAT, libc::AT_FDCWD, c"quiet".as_ptr() as u64, 0o600, 0, 0o102);
    let name = stage.text("quiet");
    let cells = [
        ("fd_name", name.as_str().into()),
        ("evt_rawres", Value::Null),
        ("evt_failed", Value::Bool(false)),
        ("evt_is_open_write", Value::Bool(true)),
    ];
    let arguments = [("opcode", "OPENAT"), ("name", "quiet"), ("flags", "O_LARGEFILE|O_CREAT|O_RDWR"), ("mode", "0600")];
    stage.expect_event("io_uring_submit", &cells, &arguments);
    ring.submit(UNLINKAT, libc::AT_FDCWD, c"quiet".as_ptr() as u64, 0, 0, 0);
    assert!(!stage.at.join("quiet").exists());
    let cells = [("fd_name", name.as_str().into())];
    stage.expect_event("io_uring_submit", &cells, &[("opcode", "UNLINKAT"), ("name", "quiet")]);
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let socket = sys(libc::SYS_socket, &[2, 1, 0]);
    let mut address = [0_u8; 16];
    address[..2].copy_from_slice(&2_u16.to_ne_bytes());
    address[2..4].copy_from_slice(&port.to_be_bytes());
    address[4..8].copy_from_slice(&[127, 0, 0, 1]);
    ring.submit(CONNECT, i32::try_from(socket).unwrap(), p(&address), 0, 16, 0);
    listener.accept().unwrap();
    let cells = [("fd_sip", "127.0.0.1".into()), ("fd_sport", port.into()), ("fd_num", socket.into())];
    let address = format!("127.0.0.1:{port}");
    stage.expect_event("io_uring_submit", &cells, &[("opcode", "CONNECT"), ("addr", &address)]);
}

/// A query as a resolver makes it, for the address of this name.
fn query(name: &str) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend_from_slice(label.as_bytes());
    }
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    message
}

fn dns(stage: &mut Stage) {
    let cells = |name: &str, port: u16| {
        [
            ("dns_name", name.into()),
            ("fd_sip", "127.0.0.1".into()),
            ("fd_sport", 53.into()),
            ("fd_cport", port.into()),
            ("fd_l4proto", "udp".into()),
            ("evt_failed", Value::Bool(false)),
        ]
    };
    let loose = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    loose.send_to(&query("loose.example.com"), (Ipv4Addr::LOCALHOST, 53)).unwrap();
    let port = loose.local_addr().unwrap().port();
    let arguments = [("name", "loose.example.com"), ("type", "A"), ("class", "IN"), ("id", "4660")];
    stage.expect_event("dns", &cells("loose.example.com", port), &arguments);
    // As most resolvers send: connected, so that the call names no peer.
    let tight = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    tight.connect((Ipv4Addr::LOCALHOST, 53)).unwrap();
    let sent = query("tight.example.com");
    let ret = sys(libc::SYS_write, &[fd(std::os::fd::AsRawFd::as_raw_fd(&tight)), p(&sent[..]), sent.len() as u64]);
    assert_eq!(ret, i64::try_from(sent.len()).unwrap());
    let port = tight.local_addr().unwrap().port();
    stage.expect_event("dns", &cells("tight.example.com", port), &[("name", "tight.example.com"), ("type", "A")]);
    // No message at all.
    let torn = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    torn.send_to(b"\xff\xff", (Ipv4Addr::LOCALHOST, 53)).unwrap();
    let port = torn.local_addr().unwrap().port();
    stage.expect_event("dns", &[("dns_name", Value::Null), ("fd_cport", port.into())], &[]);
}
