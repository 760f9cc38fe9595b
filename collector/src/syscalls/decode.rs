//! Ring bytes to records. Pure; any bytes give a record or an error.

use bailiwick_collector_ebpf::{ADDRESS_MAX, Capabilities, File, Header, kind, text};

/// Bytes that are no record: the programs and this decoder do not agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes are not a record of kind {kind}")]
pub(super) struct Malformed {
    pub(super) bytes: usize,
    pub(super) kind: u16,
}

/// One event as the kernel saw it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) header: Header,
    pub(super) event: Event<'a>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Event<'a> {
    Exec(Exec<'a>),
    Fork(Fork),
    Exit(Exit),
    CgroupMade(CgroupMade<'a>),
    CgroupGone(CgroupMade<'a>),
    Call(Call<'a>),
    Socket(Socket),
    Dns(Dns<'a>),
    Uring(Uring<'a>),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Exec<'a> {
    pub(super) capabilities: Capabilities,
    pub(super) file: File,
    pub(super) exe_ctime_ns: u64,
    pub(super) exe_mtime_ns: u64,
    pub(super) exe_uid: u32,
    pub(super) exe_gid: u32,
    pub(super) vpid: u32,
    pub(super) sid: u32,
    pub(super) pgid: u32,
    pub(super) vpgid: u32,
    pub(super) tty: u32,
    /// Each argument ends with a zero byte.
    pub(super) args: &'a [u8],
    /// As given to execve.
    pub(super) filename: &'a [u8],
    /// What the kernel loaded: the interpreter of a script.
    pub(super) interp: &'a [u8],
    /// Walked.
    pub(super) exe: &'a [u8],
    /// Walked.
    pub(super) cwd: &'a [u8],
    /// Each variable ends with a zero byte; empty if not asked for.
    pub(super) environment: &'a [u8],
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Fork {
    pub(super) child_start_boot_ns: u64,
    pub(super) child_pid: u32,
    pub(super) child_vpid: u32,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Exit {
    pub(super) status: u32,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct CgroupMade<'a> {
    pub(super) id: u64,
    pub(super) hierarchy: u32,
    pub(super) path: &'a [u8],
}

/// A call about paths, descriptors or numbers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) ret: i64,
    pub(super) args: [u64; 6],
    pub(super) file: File,
    pub(super) weight: u32,
    /// One of `bailiwick_collector_ebpf::calls::id`.
    pub(super) call: u16,
    /// By [`text`]: paths without terminator, the others as they are.
    pub(super) texts: [&'a [u8]; text::COUNT],
}

/// A call about a socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Socket {
    pub(super) ret: i64,
    pub(super) args: [u64; 6],
    pub(super) ino: u64,
    pub(super) family: u16,
    pub(super) socket_type: u16,
    pub(super) protocol: u16,
    pub(super) local_port: u16,
    pub(super) remote_port: u16,
    /// One of `bailiwick_collector_ebpf::calls::id`.
    pub(super) call: u16,
    pub(super) address_len: usize,
    pub(super) local: [u8; 16],
    pub(super) remote: [u8; 16],
    pub(super) address: [u8; ADDRESS_MAX],
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Dns<'a> {
    pub(super) family: u16,
    pub(super) local_port: u16,
    pub(super) remote_port: u16,
    pub(super) local: [u8; 16],
    pub(super) remote: [u8; 16],
    /// The message from its id on.
    pub(super) data: &'a [u8],
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Uring<'a> {
    pub(super) opcode: u32,
    pub(super) fd: i32,
    pub(super) open_flags: u64,
    pub(super) mode: u32,
    pub(super) address: [u8; ADDRESS_MAX],
    pub(super) address_len: usize,
    pub(super) path: &'a [u8],
}

/// Reads one record as written by `collector-ebpf`.
pub(super) fn decode(bytes: &[u8]) -> Result<Record<'_>, Malformed> {
    let kind = bytes.get(4..6).and_then(|kind| kind.try_into().ok()).map_or(0, u16::from_ne_bytes);
    let mut input = Input { rest: bytes };
    let read = input.header().and_then(|header| Some(Record { header, event: event(kind, &mut input)? }));
    read.ok_or(Malformed { bytes: bytes.len(), kind })
}

fn event<'a>(kind: u16, input: &mut Input<'a>) -> Option<Event<'a>> {
    Some(match kind {
        kind::EXEC => Event::Exec(input.exec()?),
        kind::FORK => Event::Fork(Fork {
            child_start_boot_ns: input.u64()?,
            child_pid: input.u32()?,
            child_vpid: input.u32()?,
        }),
        kind::EXIT => Event::Exit(Exit { status: input.u32()? }),
        kind::CGROUP => Event::CgroupMade(input.cgroup()?),
        kind::CGROUP_GONE => Event::CgroupGone(input.cgroup()?),
        kind::CALL => Event::Call(input.call()?),
        kind::SOCKET => Event::Socket(input.socket()?),
        kind::DNS => Event::Dns(input.dns()?),
        kind::URING => Event::Uring(input.uring()?),
        _ => return None,
    })
}

/// What was not read yet. Fields are read in the order of the `repr(C)` layouts
/// of `bailiwick_collector_ebpf`, which have no padding.
struct Input<'a> {
    rest: &'a [u8],
}

// === impl Input ===

impl<'a> Input<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*head)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_ne_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_ne_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_ne_bytes)
    }

    fn bytes(&mut self, length: u32) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(length as usize)?;
        self.rest = rest;
        Some(head)
    }

    /// Text of this many bytes; what follows a terminator is not part of it.
    fn text(&mut self, length: u32) -> Option<&'a [u8]> {
        let bytes = self.bytes(length)?;
        bytes.split(|byte| *byte == 0).next()
    }

    fn header(&mut self) -> Option<Header> {
        let whole = self.rest.len();
        let size = self.u32()?;
        let header = Header {
            size,
            kind: self.u16()?,
            flags: self.u16()?,
            boot_ns: self.u64()?,
            cgroup_id: self.u64()?,
            start_boot_ns: self.u64()?,
            pid: self.u32()?,
            tid: self.u32()?,
            ppid: self.u32()?,
            uid: self.u32()?,
            gid: self.u32()?,
            mnt_ns: self.u32()?,
            pid_ns: self.u32()?,
            loginuid: self.u32()?,
            comm: self.array()?,
            cgroup_v1_id: self.u64()?,
        };
        (size as usize <= whole).then_some(header)
    }

    fn file(&mut self) -> Option<File> {
        Some(File { ino: self.u64()?, dev: self.u32()?, mode: self.u32()? })
    }

    fn exec(&mut self) -> Option<Exec<'a>> {
        let capabilities =
            Capabilities { permitted: self.u64()?, effective: self.u64()?, inheritable: self.u64()? };
        let file = self.file()?;
        let (exe_ctime_ns, exe_mtime_ns, exe_uid, exe_gid) =
            (self.u64()?, self.u64()?, self.u32()?, self.u32()?);
        let (vpid, sid, pgid, vpgid, tty) = (self.u32()?, self.u32()?, self.u32()?, self.u32()?, self.u32()?);
        let (_, args, filename, interp) = (self.u32()?, self.u32()?, self.u32()?, self.u32()?);
        let (exe, cwd, environment) = (self.u32()?, self.u32()?, self.u32()?);
        Some(Exec {
            capabilities,
            file,
            exe_ctime_ns,
            exe_mtime_ns,
            exe_uid,
            exe_gid,
            vpid,
            sid,
            pgid,
            vpgid,
            tty,
            args: self.bytes(args)?,
            filename: self.text(filename)?,
            interp: self.text(interp)?,
            exe: self.bytes(exe)?,
            cwd: self.bytes(cwd)?,
            environment: self.bytes(environment)?,
        })
    }

    fn cgroup(&mut self) -> Option<CgroupMade<'a>> {
        let (id, hierarchy, length) = (self.u64()?, self.u32()?, self.u32()?);
        Some(CgroupMade { id, hierarchy, path: self.text(length)? })
    }

    fn args(&mut self) -> Option<[u64; 6]> {
        let mut args = [0; 6];
        for arg in &mut args {
            *arg = self.u64()?;
        }
        Some(args)
    }

    fn call(&mut self) -> Option<Call<'a>> {
        let (ret, args, file) = (self.u64()?.cast_signed(), self.args()?, self.file()?);
        let (weight, call) = (self.u32()?, self.u16()?);
        let mut lengths = [0; text::COUNT];
        for length in &mut lengths {
            *length = u32::from(self.u16()?);
        }
        let _reserved: [u8; 6] = self.array()?;
        let mut texts = [&[][..]; text::COUNT];
        for (at, (text, length)) in texts.iter_mut().zip(lengths).enumerate() {
            *text = match at {
                text::PATH | text::PATH2 => self.text(length)?,
                _ => self.bytes(length)?,
            };
        }
        Some(Call { ret, args, file, weight, call, texts })
    }

    fn socket(&mut self) -> Option<Socket> {
        let (ret, args, ino) = (self.u64()?.cast_signed(), self.args()?, self.u64()?);
        let (family, socket_type, protocol) = (self.u16()?, self.u16()?, self.u16()?);
        let (local_port, remote_port, call) = (self.u16()?, self.u16()?, self.u16()?);
        let (address_len, _reserved) = (self.u16()?, self.u16()?);
        Some(Socket {
            ret,
            args,
            ino,
            family,
            socket_type,
            protocol,
            local_port,
            remote_port,
            call,
            address_len: usize::from(address_len).min(ADDRESS_MAX),
            local: self.array()?,
            remote: self.array()?,
            address: self.array()?,
        })
    }

    fn dns(&mut self) -> Option<Dns<'a>> {
        let (family, local_port, remote_port, length) = (self.u16()?, self.u16()?, self.u16()?, self.u16()?);
        let (local, remote) = (self.array()?, self.array()?);
        Some(Dns { family, local_port, remote_port, local, remote, data: self.bytes(length.into())? })
    }

    fn uring(&mut self) -> Option<Uring<'a>> {
        let (opcode, fd, open_flags) = (self.u32()?, self.u32()?.cast_signed(), self.u64()?);
        let (mode, length, address) = (self.u32()?, self.u32()?, self.array()?);
        let (address_len, _reserved) = (self.u32()?, self.u32()?);
        let address_len = (address_len as usize).min(ADDRESS_MAX);
        Some(Uring { opcode, fd, open_flags, mode, address, address_len, path: self.text(length)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::mem::size_of;

    #[test]
    fn the_fixed_parts_have_the_sizes_of_the_contract() {
        let sizes = [
            (kind::EXEC, size_of::<bailiwick_collector_ebpf::Exec>()),
            (kind::FORK, size_of::<bailiwick_collector_ebpf::Fork>()),
            (kind::EXIT, size_of::<bailiwick_collector_ebpf::Exit>()),
            (kind::CGROUP, size_of::<bailiwick_collector_ebpf::CgroupMade>()),
            (kind::CGROUP_GONE, size_of::<bailiwick_collector_ebpf::CgroupMade>()),
            (kind::CALL, size_of::<bailiwick_collector_ebpf::Call>()),
            (kind::SOCKET, size_of::<bailiwick_collector_ebpf::Socket>()),
            (kind::DNS, size_of::<bailiwick_collector_ebpf::Dns>()),
            (kind::URING, size_of::<bailiwick_collector_ebpf::Uring>()),
        ];
        for (kind, size) in sizes {
            let mut bytes = vec![0; size_of::<Header>() + size];
            bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            assert!(decode(&bytes).is_ok(), "kind {kind}");
            // `Exit` ends with a reserved word that nobody needs.
            let needed = bytes.len() - if kind == kind::EXIT { 5 } else { 1 };
            assert!(decode(&bytes[..needed]).is_err(), "kind {kind}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), kind in 0_u16..11) {
            if let Some(place) = bytes.get_mut(4..6) {
                place.copy_from_slice(&kind.to_ne_bytes());
            }
            if let Some(size) = bytes.get_mut(..4) {
                size.copy_from_slice(&0_u32.to_ne_bytes());
            }
            let _ = decode(&bytes);
        }

        #[test]
        fn a_text_longer_than_its_record_is_refused(length in 1_u32..u32::MAX) {
            let mut bytes = vec![0; size_of::<Header>() + size_of::<bailiwick_collector_ebpf::CgroupMade>()];
            bytes[4..6].copy_from_slice(&kind::CGROUP.to_ne_bytes());
            let end = bytes.len();
            bytes[end - 4..].copy_from_slice(&length.to_ne_bytes());
            prop_assert!(decode(&bytes).is_err());
        }
    }
}
