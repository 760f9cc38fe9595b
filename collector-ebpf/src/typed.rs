//! Typed pointers made of plain ones.
//!
//! A member that is read through a typed pointer costs one instruction, one that is
//! read through a plain one a helper call. `bpf_rdonly_cast` (Linux 6.2) makes the
//! one of the other and costs nothing itself. Which number a kernel gave to that
//! function is known when the programs are loaded: the loader writes it into the
//! instructions marked here, or makes them answer null on a kernel without it.

#![allow(unsafe_code)]

use aya_ebpf::Global;
use bailiwick_collector_ebpf::CAST_MARK;
use core::arch::asm;

/// The numbers of `struct file`, `struct mount` and `struct list_head` among this
/// kernel's types; 0 where they cannot be cast to.
#[unsafe(no_mangle)]
pub(crate) static FILE_TYPE: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
pub(crate) static MOUNT_TYPE: Global<u32> = Global::new(0);
#[unsafe(no_mangle)]
pub(crate) static LIST_TYPE: Global<u32> = Global::new(0);

/// The pointer as one to a structure of this type.
#[inline(always)]
pub(crate) unsafe fn cast(pointer: *const u8, of: &Global<u32>) -> *const u8 {
    let typed: *const u8;
    // Safety: the call, once it is written, reads two registers and leaves nothing
    // in the others that a call may change.
    unsafe {
        asm!(
            ".long 0x2085",
            ".long {mark}",
            mark = const CAST_MARK,
            inlateout("r1") pointer => _,
            inlateout("r2") u64::from(of.load()) => _,
            lateout("r0") typed,
            lateout("r3") _,
            lateout("r4") _,
            lateout("r5") _,
        );
    }
    typed
}
