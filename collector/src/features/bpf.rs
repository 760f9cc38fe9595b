//! `bpf(2)` with the smallest program there is, to see what the kernel takes.
//!
//! A program here says "return 0" and nothing else. It is loaded, attached where
//! that can be refused on its own, and gone when its descriptor closes.

#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Numbers of `enum bpf_cmd`.
const MAP_CREATE: libc::c_long = 0;
const PROG_LOAD: libc::c_long = 5;
const RAW_TRACEPOINT_OPEN: libc::c_long = 17;

/// `r0 = value` and `exit`.
const fn returns(value: i32) -> [u64; 2] {
    [0xb7 | (value as u64) << 32, 0x95]
}

/// The kernel's answer; an error is its number.
pub(super) type Answer<T> = Result<T, i32>;

/// A kind of program and where it would go.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Program {
    /// A number of `enum bpf_prog_type`.
    pub(super) kind: u32,
    /// A number of `enum bpf_attach_type`; 0 where the kind has none.
    pub(super) attach: u32,
    /// The type in the kernel's BTF that it goes to; 0 where the kind has none.
    pub(super) btf_id: u32,
    /// What it returns.
    pub(super) value: i32,
}

/// The first members of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    device: u32,
    attach: u32,
    btf_fd: u32,
    func_info_size: u32,
    func_info: u64,
    func_info_count: u32,
    line_info_size: u32,
    line_info: u64,
    line_info_count: u32,
    btf_id: u32,
}

/// The first members of `union bpf_attr` for `BPF_MAP_CREATE`.
#[repr(C)]
#[derive(Default)]
struct Map {
    kind: u32,
    key_size: u32,
    value_size: u32,
    entries: u32,
}

/// The members of `union bpf_attr` for `BPF_RAW_TRACEPOINT_OPEN`.
#[repr(C)]
#[derive(Default)]
struct Open {
    name: u64,
    program: RawFd,
    padding: u32,
}

/// Loads it.
pub(super) fn load(program: Program) -> Answer<OwnedFd> {
    let instructions = returns(program.value);
    let attributes = Load {
        kind: program.kind,
        count: 2,
        instructions: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        name: *b"bailiwick_probe\0",
        attach: program.attach,
        btf_id: program.btf_id,
        ..Load::default()
    };
    call(PROG_LOAD, &attributes)
}

/// Makes a map with room for one pair, or of one page.
pub(super) fn map(kind: u32, key_size: u32, value_size: u32, entries: u32) -> Answer<OwnedFd> {
    call(MAP_CREATE, &Map { kind, key_size, value_size, entries })
}

/// Attaches a loaded program: to a raw tracepoint by name, or without one to
/// what it was loaded for.
pub(super) fn attach(program: &OwnedFd, name: Option<&'static std::ffi::CStr>) -> Answer<OwnedFd> {
    let name = name.map_or(0, |name| name.as_ptr() as u64);
    call(RAW_TRACEPOINT_OPEN, &Open { name, program: program.as_raw_fd(), padding: 0 })
}

fn call<T>(command: libc::c_long, attributes: &T) -> Answer<OwnedFd> {
    // Safety: `T` is the command's part of the union, without padding, and what
    // it points at outlives the call; the descriptor is new and nobody else's.
    unsafe {
        let size = size_of::<T>();
        let fd = libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size);
        match RawFd::try_from(fd) {
            Ok(fd) if fd >= 0 => Ok(OwnedFd::from_raw_fd(fd)),
            _ => Err(io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL)),
        }
    }
}
