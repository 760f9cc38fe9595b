//! How an open call asked for its file. Pure.

use bailiwick_collector_ebpf::calls::id;
use bailiwick_collector_ebpf::text;

use super::decode::Call;
use super::flags;

/// `O_CREAT | O_WRONLY | O_TRUNC`: what `creat` stands for.
const AS_CREAT: u64 = 0o101 | 0o1_000;

/// The numbers of an open call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Opening {
    /// `O_*` bits.
    pub(super) flags: u64,
    /// Permission bits of a file that it makes.
    pub(super) mode: u64,
    /// `RESOLVE_*` bits of `openat2`.
    pub(super) resolve: u64,
}

/// The numbers of this call, if it is of the open family.
pub(super) fn of(call: &Call<'_>) -> Option<Opening> {
    let [_, second, third, fourth, ..] = call.args;
    let (flags, mode, resolve) = match call.call {
        id::OPEN => (second, third, 0),
        id::OPENAT => (third, fourth, 0),
        id::CREAT => (AS_CREAT, second, 0),
        id::OPEN_BY_HANDLE_AT => (third, 0, 0),
        // `struct open_how`, of which a shorter one leaves the rest zero.
        id::OPENAT2 => {
            let how = call.texts.get(text::EXTRA).copied().unwrap_or_default();
            let number = |at: usize| {
                let bytes = how.get(at..).and_then(|rest| rest.first_chunk());
                bytes.map_or(0, |bytes| u64::from_ne_bytes(*bytes))
            };
            (number(0), number(8), number(16))
        }
        _ => return None,
    };
    // Registers are wider than `int` and `mode_t`.
    Some(Opening { flags: flags & u64::from(u32::MAX), mode: mode & 0o7_777, resolve })
}

// === impl Opening ===

impl Opening {
    /// Whether it may make a file.
    pub(super) fn makes(&self) -> bool {
        self.flags & (flags::O_CREAT | flags::O_TMPFILE_BIT) != 0
    }

    /// Whether it only takes folders.
    pub(super) fn is_of_folders(&self) -> bool {
        self.flags & flags::O_DIRECTORY != 0 && self.flags & flags::O_TMPFILE_BIT == 0
    }
}
