//! Rings and counters: how a record leaves the kernel, and how its loss is counted.

#![allow(unsafe_code)]

use aya_ebpf::helpers::generated::{bpf_get_prandom_u32, bpf_ringbuf_output, bpf_ringbuf_query};
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, PerCpuArray, RingBuf};
use bailiwick_collector_ebpf::{class, slot};
use core::ffi::c_void;

use crate::task::{self, Told};

const AVAILABLE_DATA: u64 = 0;
const NO_WAKEUP: u64 = 1;
const FORCE_WAKEUP: u64 = 2;

/// A waiting reader is woken when a ring fills to what the loader tells; else its
/// timer finds what there is. A wake-up costs more than a record. This is the width
/// of the window in which it is woken, so that a reader that is behind anyway is not
/// woken by every record.
const WAKE_WINDOW_BYTES: u64 = 1 << 16;
/// How full a ring is costs as much to ask as half of writing to it: it is asked by
/// one of so many records of a class and CPU.
const ASK_EVERY: u64 = 16;

// The loader sets the sizes; these are what an unaware loader would get.
#[map]
static PROCESS_RING: RingBuf = RingBuf::with_byte_size(4 << 20, 0);
#[map]
static NETWORK_RING: RingBuf = RingBuf::with_byte_size(8 << 20, 0);
#[map]
static FILE_RING: RingBuf = RingBuf::with_byte_size(16 << 20, 0);
#[map]
static COUNTERS: PerCpuArray<u64> = PerCpuArray::with_max_entries(class::COUNT * slot::COUNT, 0);
/// One cell: of how many sampled events one is kept; 0 and 1 keep all. The
/// reader sets it by how full the file ring is.
#[map]
static KEEP_ONE_OF: Array<u32> = Array::with_max_entries(1, 0);
/// Where each CPU is in its window.
#[map]
static WINDOW: PerCpuArray<Window> = PerCpuArray::with_max_entries(1, 0);

/// As many events as one is kept of. Which one is left to chance: who opens the
/// same files in turn would else be seen with one of them only.
#[repr(C)]
struct Window {
    one_of: u32,
    /// Events to come, with the next one.
    left: u32,
    /// How many are left when the one to keep comes.
    kept: u32,
}

/// Adds one to a counter of this CPU.
#[inline(always)]
pub(crate) fn count(class: u32, slot: u32) {
    if let Some(cell) = COUNTERS.get_ptr_mut(class * slot::COUNT + slot) {
        // Safety: the map's own cell of this CPU.
        unsafe { *cell += 1 }
    }
}

/// How many events a kept one stands for, or 0 if this one is left out.
#[inline(always)]
pub(crate) fn sample(class: u32) -> u32 {
    let one_of = KEEP_ONE_OF.get(0).copied().unwrap_or(0);
    if one_of <= 1 {
        return 1;
    }
    let Some(window) = WINDOW.get_ptr_mut(0) else { return 1 };
    // Safety: the map's own cell of this CPU, and a helper without arguments.
    let is_kept = unsafe {
        if (*window).left == 0 || (*window).one_of != one_of {
            *window = Window { one_of, left: one_of, kept: bpf_get_prandom_u32() % one_of + 1 };
        }
        (*window).left -= 1;
        (*window).left + 1 == (*window).kept
    };
    if is_kept {
        return one_of;
    }
    count(class, slot::SAMPLED);
    0
}

/// Writes a record of the process lane.
#[inline(always)]
pub(crate) unsafe fn process(class: u32, record: *mut c_void, size: u32) {
    unsafe { write(&PROCESS_RING, &task::PROCESS_WAKE_AT, class, record, size) }
}

/// Writes a record of the network lane.
#[inline(always)]
pub(crate) unsafe fn network(class: u32, record: *mut c_void, size: u32) {
    unsafe { write(&NETWORK_RING, &task::NETWORK_WAKE_AT, class, record, size) }
}

/// Writes a record of the file lane.
#[inline(always)]
pub(crate) unsafe fn file(class: u32, record: *mut c_void, size: u32) {
    unsafe { write(&FILE_RING, &task::FILE_WAKE_AT, class, record, size) }
}

#[inline(always)]
unsafe fn write(ring: &RingBuf, wake_at: &impl Told, class: u32, record: *mut c_void, size: u32) {
    let Some(emitted) = COUNTERS.get_ptr_mut(class * slot::COUNT + slot::EMITTED) else { return };
    // Safety: the map's own cell of this CPU, and as many bytes as the record has.
    unsafe {
        let flags =
            if *emitted % ASK_EVERY == 0 { wakeup(ring, task::told(wake_at) as u64) } else { NO_WAKEUP };
        if bpf_ringbuf_output(ring as *const _ as *mut c_void, record, size as u64, flags) == 0 {
            *emitted += 1;
        } else {
            count(class, slot::RING_FULL);
        }
    }
}

#[inline(always)]
unsafe fn wakeup(ring: &RingBuf, at_bytes: u64) -> u64 {
    let waiting = unsafe { bpf_ringbuf_query(ring as *const _ as *mut c_void, AVAILABLE_DATA) };
    if waiting.wrapping_sub(at_bytes) < WAKE_WINDOW_BYTES { FORCE_WAKEUP } else { NO_WAKEUP }
}
