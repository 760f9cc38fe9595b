//! Ring bytes to records. Pure; any bytes give a record or an error.

use bailiwick_collector_ebpf::{ADDRESS_MAX, Header, kind};

/// Bytes that are no record: the programs and this decoder do not agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes are not a record of kind {kind}")]
pub(super) struct Malformed {
    pub(super) bytes: usize,
    pub(super) kind: u16,
}

/// One event as the kernel saw it; text is bytes without terminator.
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
    Cgroup(CgroupMade<'a>),
    Connect(Connect),
    Open(Open<'a>),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Exec<'a> {
    /// Each argument ends with a zero byte.
    pub(super) args: &'a [u8],
    pub(super) filename: &'a [u8],
    pub(super) interp: &'a [u8],
    pub(super) vpid: u32,
    pub(super) sid: u32,
    pub(super) tty: u32,
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

#[derive(Debug, Clone, Copy)]
pub(super) struct Connect {
    pub(super) ret: i64,
    pub(super) fd: i32,
    pub(super) family: u16,
    pub(super) protocol: u16,
    pub(super) local_port: u16,
    pub(super) remote_port: u16,
    pub(super) local: [u8; 16],
    pub(super) remote: [u8; 16],
    pub(super) address_len: usize,
    pub(super) address: [u8; ADDRESS_MAX],
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Open<'a> {
    pub(super) ret: i64,
    pub(super) flags: u64,
    pub(super) resolve: u64,
    pub(super) dirfd: i32,
    pub(super) mode: u32,
    pub(super) call: u32,
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
        kind::CGROUP => Event::Cgroup(input.cgroup()?),
        kind::CONNECT => Event::Connect(input.connect()?),
        kind::OPEN => Event::Open(input.open()?),
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
        };
        (size as usize <= whole).then_some(header)
    }

    fn exec(&mut self) -> Option<Exec<'a>> {
        let _args_len = self.u32()?;
        let (args, filename, interp) = (self.u32()?, self.u32()?, self.u32()?);
        let (vpid, sid, tty, _reserved) = (self.u32()?, self.u32()?, self.u32()?, self.u32()?);
        let args = self.bytes(args)?;
        Some(Exec { args, filename: self.text(filename)?, interp: self.text(interp)?, vpid, sid, tty })
    }

    fn cgroup(&mut self) -> Option<CgroupMade<'a>> {
        let (id, hierarchy, length) = (self.u64()?, self.u32()?, self.u32()?);
        Some(CgroupMade { id, hierarchy, path: self.text(length)? })
    }

    fn connect(&mut self) -> Option<Connect> {
        let (ret, fd, address_len) = (self.u64()?.cast_signed(), self.u32()?.cast_signed(), self.u32()?);
        Some(Connect {
            ret,
            fd,
            address_len: (address_len as usize).min(ADDRESS_MAX),
            family: self.u16()?,
            protocol: self.u16()?,
            local_port: self.u16()?,
            remote_port: self.u16()?,
            local: self.array()?,
            remote: self.array()?,
            address: self.array()?,
        })
    }

    fn open(&mut self) -> Option<Open<'a>> {
        let (ret, flags, resolve) = (self.u64()?.cast_signed(), self.u64()?, self.u64()?);
        let (dirfd, mode, call, length) = (self.u32()?.cast_signed(), self.u32()?, self.u32()?, self.u32()?);
        Some(Open { ret, flags, resolve, dirfd, mode, call, path: self.text(length)? })
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
            (kind::CONNECT, size_of::<bailiwick_collector_ebpf::Connect>()),
            (kind::OPEN, size_of::<bailiwick_collector_ebpf::Open>()),
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
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), kind in 0_u16..8) {
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
            let mut bytes = vec![0; size_of::<Header>() + size_of::<bailiwick_collector_ebpf::Open>()];
            bytes[4..6].copy_from_slice(&kind::OPEN.to_ne_bytes());
            let end = bytes.len();
            bytes[end - 4..].copy_from_slice(&length.to_ne_bytes());
            prop_assert!(decode(&bytes).is_err());
        }
    }
}
