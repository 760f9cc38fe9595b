//! Typed pointers made of plain ones.
//!
//! A member that is read through a typed pointer costs one instruction, one that is
//! read through a plain one a helper call. `bpf_rdonly_cast` (Linux 6.2) makes the
//! one of the other and costs nothing itself. Which number a kernel gave to that
//! function is known when the programs are loaded: the loader writes it into the
//! instructions marked here, or makes them answer null on a kernel without it.

#![allow(unsafe_code)]

use bailiwick_collector_ebpf::CAST_MARK;
use core::arch::asm;

use crate::task::{self, Told};

/// The pointer as one to a structure of this type.
#[inline(always)]
pub(crate) unsafe fn cast(pointer: *const u8, of: &impl Told) -> *const u8 {
    let typed: *const u8;
    // Safety: the call, once it is written, reads two registers and leaves nothing
    // in the others that a call may change.
    unsafe {
        asm!(
            ".long 0x2085",
            ".long {mark}",
            mark = const CAST_MARK,
            inlateout("r1") pointer => _,
            inlateout("r2") task::told(of) as u64 => _,
            lateout("r0") typed,
            lateout("r3") _,
            lateout("r4") _,
            lateout("r5") _,
        );
    }
    typed
}
