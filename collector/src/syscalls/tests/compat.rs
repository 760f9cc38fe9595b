//! Calls as 32-bit programs make them, from this 64-bit one.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::ffi::CStr;

/// Numbers that 32-bit programs have.
pub(super) const OPEN: u32 = 5;
pub(super) const UNLINK: u32 = 10;
pub(super) const UMOUNT: u32 = 22;
pub(super) const SETUID32: u32 = 213;

/// Memory that 32 bits can point to.
pub(super) struct Low {
    start: usize,
    used: Cell<usize>,
}

const BYTES: usize = 1 << 16;

// === impl Low ===

impl Low {
    /// `None`, with a line that says so, where the kernel has no such calls.
    pub(super) fn new() -> Option<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
        // Safety: a new mapping of its own.
        let start = unsafe {
            libc::mmap(std::ptr::null_mut(), BYTES, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0)
        };
        assert_ne!(start, libc::MAP_FAILED);
        let has = !std::fs::read_to_string("/proc/cmdline").unwrap_or_default().contains("ia32_emulation=0");
        if !has {
            println!("skipped: this kernel takes no 32-bit calls");
        }
        has.then_some(Self { start: start as usize, used: Cell::new(0) })
    }

    /// A text in that memory.
    pub(super) fn text(&self, text: &str) -> u32 {
        let at = self.start + self.used.get();
        self.used.set(self.used.get() + text.len() + 1);
        assert!(self.used.get() < BYTES);
        // Safety: within the mapping, which is zero where nothing was written.
        unsafe {
            std::ptr::copy_nonoverlapping(text.as_ptr(), at as *mut u8, text.len());
            assert_eq!(CStr::from_ptr(at as *const _).to_str(), Ok(text));
        }
        u32::try_from(at).unwrap()
    }

    /// The call of this number.
    pub(super) fn call(&self, number: u32, args: &[u32]) -> i64 {
        call(number, args)
    }
}

/// The call of this number, which must not be given memory.
pub(super) fn call(number: u32, args: &[u32]) -> i64 {
    let arg = |at: usize| u64::from(args.get(at).copied().unwrap_or(0));
    let ret: u64;
    // Safety: what the kernel takes from a 32-bit program; `rbx` is kept.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {first}",
            "int 0x80",
            "xchg rbx, {first}",
            first = inout(reg) arg(0) => _,
            inlateout("rax") u64::from(number) => ret,
            in("rcx") arg(1),
            in("rdx") arg(2),
            in("rsi") arg(3),
            in("rdi") arg(4),
            lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
        );
    }
    i64::from(u32::try_from(ret & 0xffff_ffff).unwrap().cast_signed())
}
