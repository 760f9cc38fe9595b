//! System calls when they end: which call it was, and its paths and descriptors.

#![allow(unsafe_code)]

use aya_ebpf::helpers::bpf_probe_read_user;
use aya_ebpf::helpers::generated::{bpf_probe_read_user as copy_from_user, bpf_probe_read_user_str};
use aya_ebpf::macros::{btf_tracepoint, map};
use aya_ebpf::maps::{PerCpuArray, ProgramArray};
use aya_ebpf::programs::BtfTracePointContext;
use aya_ebpf::{EbpfContext, Global};
use bailiwick_collector_ebpf::calls::{CWD, DATA_MAX, MAX_CALLS, NONE, Program, RET, SHAPES, Shape, bits};
use bailiwick_collector_ebpf::{Call, Capabilities, Header, PATH_MAX, flag, kind, text};
use core::ffi::c_void;
use core::mem::size_of;

use crate::out;
use crate::task::{self, Told, at, clear, current, has, wanted};
use crate::typed;
use crate::walk::{self, WALK_MAX};

const AT_FDCWD: i32 = -100;
const O_CREAT: u64 = 0o100;
/// `O_WRONLY`, `O_RDWR`, `O_CREAT`, `O_TRUNC`: such an open is never left out.
const O_CHANGES: u64 = 0o3 | O_CREAT | 0o1000;
/// `FMODE_CREATED` of `file->f_mode`.
const CREATED: u32 = 0x10_0000;
/// Numbers of calls that the table has room for, of each kind.
pub(crate) const NUMBERS: usize = 512;
/// A call of the x32 kind has this bit in its number.
const X32_BIT: u64 = 0x4000_0000;
/// `TS_COMPAT` of `thread_info.status`: the task is in a 32-bit call.
const IN_COMPAT: u32 = 2;
/// Bits of an entry of [`CALLS`]: the call's id, its program, whether only
/// failures count.
const ID_BITS: u16 = 0xff;
const PROGRAM_SHIFT: u16 = 8;
const PROGRAM_BITS: u16 = 0xf;
const ONLY_FAILED: u16 = 0x8000;

/// Entries by number: of 64-bit calls, then of 32-bit calls. 0 is a call that
/// nobody wants.
#[unsafe(no_mangle)]
static CALLS: Global<[u16; 2 * NUMBERS]> = Global::new([0; 2 * NUMBERS]);
/// By number, whether either kind of call is wanted: what most calls end at.
#[unsafe(no_mangle)]
static WANTED: Global<[u8; NUMBERS]> = Global::new([0; NUMBERS]);

/// Room for five paths, of which only the first may be as long as it likes.
const TEXT_MAX: usize = 5 * PATH_MAX;

#[repr(C)]
pub(crate) struct CallRecord {
    pub(crate) header: Header,
    pub(crate) body: Call,
    text: [u8; TEXT_MAX],
}

#[map]
static CALL_SCRATCH: PerCpuArray<CallRecord> = PerCpuArray::with_max_entries(1, 0);
/// Programs by `calls::Program`.
#[map]
static PROGRAMS: ProgramArray = ProgramArray::with_max_entries(8, 0);
/// What the programs read of each call. Under its own name, since a mangled one
/// carries a hash of the build's profile into the object.
#[unsafe(no_mangle)]
static SHAPE: [Shape; MAX_CALLS] = SHAPES;

/// The number of the call that ended, if a call of that number is wanted.
#[inline(always)]
pub(crate) fn number(regs: *const u8) -> Option<usize> {
    // Safety: registers are a typed argument; the table is read within bounds.
    unsafe {
        let mut number: u64 = read(regs, &task::REGS_NUMBER);
        if number >= NUMBERS as u64 {
            if number & X32_BIT == 0 || number & !X32_BIT >= NUMBERS as u64 {
                return None;
            }
            number &= !X32_BIT;
        }
        let number = number as usize & (NUMBERS - 1);
        if (&raw const WANTED as *const u8).add(number).read_volatile() == 0 { None } else { Some(number) }
    }
}

/// The call of this number that `task`, the current one, made, as an entry of
/// [`CALLS`], and whether it is a 32-bit one.
#[inline(always)]
pub(crate) fn entry(number: usize, task: *const u8) -> Option<(u16, bool)> {
    // Safety: the current task is there; the table is read within bounds.
    unsafe {
        let compat =
            has(&task::TASK_THREAD_STATUS) && at::<u32>(task, &task::TASK_THREAD_STATUS) & IN_COMPAT != 0;
        let place = if compat { number + NUMBERS } else { number };
        let entry = (&raw const CALLS as *const u16).add(place & (2 * NUMBERS - 1)).read_volatile();
        if entry == 0 { None } else { Some((entry, compat)) }
    }
}

/// A register of the task, which is a typed argument of the program.
#[inline(always)]
unsafe fn read(regs: *const u8, offset: &impl Told) -> u64 {
    unsafe { core::ptr::read_volatile(regs.add(task::told(offset)) as *const u64) }
}

/// The call's arguments.
#[inline(always)]
pub(crate) unsafe fn arguments(to: *mut [u64; 6], regs: *const u8, compat: bool) {
    unsafe {
        if compat {
            *to = [
                read(regs, &task::REGS_COMPAT0) as u32 as u64,
                read(regs, &task::REGS_COMPAT1) as u32 as u64,
                read(regs, &task::REGS_COMPAT2) as u32 as u64,
                read(regs, &task::REGS_COMPAT3) as u32 as u64,
                read(regs, &task::REGS_COMPAT4) as u32 as u64,
                read(regs, &task::REGS_COMPAT5) as u32 as u64,
            ];
        } else {
            *to = [
                read(regs, &task::REGS_ARG0),
                read(regs, &task::REGS_ARG1),
                read(regs, &task::REGS_ARG2),
                read(regs, &task::REGS_ARG3),
                read(regs, &task::REGS_ARG4),
                read(regs, &task::REGS_ARG5),
            ];
        }
    }
}

/// The end of every call of every task: most go no further than [`number`].
#[btf_tracepoint(function = "sys_exit")]
#[inline(always)]
fn sys_exit(ctx: BtfTracePointContext) -> i32 {
    let regs: *const u8 = ctx.arg(0);
    let Some(number) = number(regs) else { return 0 };
    let task = current();
    let Some((entry, _)) = entry(number, task) else { return 0 };
    let ret: i64 = ctx.arg(1);
    if (entry & ONLY_FAILED != 0 && ret >= 0) || !wanted(task) {
        return 0;
    }
    // Safety: the same context; without a program there is no record.
    unsafe {
        match u32::from((entry >> PROGRAM_SHIFT) & PROGRAM_BITS) {
            CALL => go_to::<CALL>(&ctx),
            SOCKET => go_to::<SOCKET>(&ctx),
            FAILED_EXEC => go_to::<FAILED_EXEC>(&ctx),
            _ => {}
        }
    }
    0
}

const CALL: u32 = Program::Call as u32;
const SOCKET: u32 = Program::Socket as u32;
const FAILED_EXEC: u32 = Program::FailedExec as u32;

/// Goes on in the program at a place that the kernel knows when it translates this
/// one: it makes a jump of that, where any other place costs an indirect one.
#[inline(always)]
unsafe fn go_to<const PLACE: u32>(ctx: &BtfTracePointContext) {
    /// `bpf_tail_call`.
    const TAIL_CALL: u32 = 12;
    unsafe {
        core::arch::asm!(
            "r3 = {place}",
            "call {call}",
            place = const PLACE,
            call = const TAIL_CALL,
            inlateout("r1") ctx.as_ptr() => _,
            inlateout("r2") &raw const PROGRAMS => _,
            lateout("r0") _,
            lateout("r3") _,
            lateout("r4") _,
            lateout("r5") _,
        );
    }
}

/// Places in [`PROGRAMS`] of what goes on with a record: each program is checked
/// by itself, and one that did everything would be too much to check.
const FOLDER: u32 = 4;
const ARGUMENTS: u32 = 5;
const SECOND: u32 = 6;
const LAST: u32 = 7;

/// A call about paths, descriptors or numbers: what all have, and its first path.
#[btf_tracepoint(function = "sys_exit")]
#[inline(always)]
fn call_ended(ctx: BtfTracePointContext) -> i32 {
    // Safety: the scratch record is this task's alone until its last program ends.
    unsafe {
        let task = current();
        let Some((record, shape)) = begin(&ctx, task) else { return 0 };
        let body = &raw mut (*record).body;
        if shape.bits & bits::SAMPLED != 0 && may_be_left_out(body) {
            let weight = out::sample((shape.class_and_ring & 15) as u32);
            if weight == 0 {
                return 0;
            }
            (*body).weight = weight;
        }
        let mut length = 0;
        let mut is_relative = false;
        if shape.path != NONE {
            (length, is_relative) = given(record, length, shape.path, shape.folder, text::PATH);
        }
        keep(record, length);
        // One walk a program: two would be too much to check.
        if is_relative {
            go_to::<FOLDER>(&ctx);
        } else if shape.path2 != NONE {
            go_to::<SECOND>(&ctx);
        } else if shape.bits & bits::NEW_CWD != 0 {
            go_to::<LAST>(&ctx);
        } else {
            finish(record, task, shape);
        }
    }
    0
}

/// Where the first path begins, if that is relative.
#[btf_tracepoint(function = "sys_exit")]
#[inline(always)]
fn call_folder(ctx: BtfTracePointContext) -> i32 {
    // Safety: as above.
    unsafe {
        let Some((record, shape, length)) = go_on() else { return 0 };
        keep(record, folder(record, current(), length, shape.folder, text::PATH));
        if shape.path2 != NONE {
            go_to::<SECOND>(&ctx);
        } else {
            go_to::<LAST>(&ctx);
        }
    }
    0
}

/// The second path.
#[btf_tracepoint(function = "sys_exit")]
#[inline(always)]
fn call_second(ctx: BtfTracePointContext) -> i32 {
    // Safety: as above.
    unsafe {
        let Some((record, shape, length)) = go_on() else { return 0 };
        let (mut length, is_relative) = given(record, length, shape.path2, shape.folder2, text::PATH2);
        if is_relative {
            length = folder(record, current(), length, shape.folder2, text::PATH2);
        }
        keep(record, length);
        go_to::<LAST>(&ctx);
    }
    0
}

/// The further text and the file; then the record is complete.
#[btf_tracepoint(function = "sys_exit")]
#[inline(always)]
fn call_last(_ctx: BtfTracePointContext) -> i32 {
    // Safety: as above.
    unsafe {
        let Some((record, shape, length)) = go_on() else { return 0 };
        let task = current();
        if shape.bits & bits::NEW_CWD != 0 && length <= TEXT_MAX - WALK_MAX {
            let to = (&raw mut (*record).text as *mut u8).add(length);
            let walked = walk::walk_folder(to, cell(record), task, None);
            let length = bounded(record, length, text::EXTRA, walked);
            clear(&raw mut (*record).body.reserved);
            send(record, task, shape, length);
            return 0;
        }
        finish(record, task, shape);
    }
    0
}

/// The further text and the file of a record whose paths are there; then it is
/// complete.
#[inline(always)]
unsafe fn finish(record: *mut CallRecord, task: *const u8, shape: &Shape) {
    unsafe {
        let Some(length) = kept(record) else { return };
        keep(record, extra(record, task, length, shape));
        let Some(length) = kept(record) else { return };
        clear(&raw mut (*record).body.reserved);
        let length = file(record, task, length, shape);
        send(record, task, shape, length);
    }
}

/// Memory of the record that is filled last.
#[inline(always)]
unsafe fn cell(record: *mut CallRecord) -> *mut u32 {
    unsafe { &raw mut (*record).header.size }
}

/// Keeps the length of the texts so far for the next program.
#[inline(always)]
unsafe fn keep(record: *mut CallRecord, length: usize) {
    unsafe { (&raw mut (*record).body.reserved as *mut u16).write_volatile(length as u16) };
}

/// The record that the program before left, its shape, and the length of its texts.
#[inline(always)]
unsafe fn go_on() -> Option<(*mut CallRecord, &'static Shape, usize)> {
    let record = CALL_SCRATCH.get_ptr_mut(0)?;
    unsafe {
        let shape = (&raw const SHAPE as *const Shape).add((*record).body.call as usize & (MAX_CALLS - 1));
        Some((record, &*shape, kept(record)?))
    }
}

/// The length that was kept; any number to the verifier, which so need not follow
/// what comes after for every way that led here.
#[inline(always)]
unsafe fn kept(record: *mut CallRecord) -> Option<usize> {
    let length = unsafe { (&raw const (*record).body.reserved as *const u16).read_volatile() } as usize;
    if length > TEXT_MAX { None } else { Some(length) }
}

/// The scratch record with everything that all calls have, and the call's shape.
#[inline(always)]
unsafe fn begin(ctx: &BtfTracePointContext, task: *const u8) -> Option<(*mut CallRecord, &'static Shape)> {
    let regs: *const u8 = ctx.arg(0);
    let (entry, compat) = entry(number(regs)?, task)?;
    let record = CALL_SCRATCH.get_ptr_mut(0)?;
    unsafe {
        let body = &raw mut (*record).body;
        (*body).ret = ctx.arg(1);
        arguments(&raw mut (*body).args, regs, compat);
        clear(&raw mut (*body).file);
        (*body).weight = 1;
        (*body).call = entry & ID_BITS;
        clear(&raw mut (*body).text_len);
        clear(&raw mut (*body).reserved);
        (*record).header.flags = if compat { flag::COMPAT } else { 0 };
        Some((record, &*(&raw const SHAPE as *const Shape).add((entry & ID_BITS) as usize & (MAX_CALLS - 1))))
    }
}

/// Fills the header and writes the record to its ring.
#[inline(always)]
unsafe fn send(record: *mut CallRecord, task: *const u8, shape: &Shape, length: usize) {
    unsafe {
        let fixed = size_of::<Header>() + size_of::<Call>();
        let mut size = (fixed + length) as u32;
        if size > size_of::<CallRecord>() as u32 {
            size = size_of::<CallRecord>() as u32;
        }
        let flags = (*record).header.flags;
        task::fill(&raw mut (*record).header, task, kind::CALL, flags, size);
        let class = (shape.class_and_ring & 15) as u32;
        match shape.class_and_ring >> 4 {
            0 => out::process(class, record as *mut c_void, size),
            1 => out::network(class, record as *mut c_void, size),
            _ => out::file(class, record as *mut c_void, size),
        }
    }
}

/// Only an open that reads.
#[inline(always)]
unsafe fn may_be_left_out(body: *const Call) -> bool {
    use bailiwick_collector_ebpf::calls::id;
    unsafe {
        match (*body).call {
            id::OPEN => (*body).args[1] & O_CHANGES == 0,
            id::OPENAT => (*body).args[2] & O_CHANGES == 0,
            _ => false,
        }
    }
}

/// Copies a path; the new length, and whether it is one that begins in `folder`.
#[inline(always)]
unsafe fn given(record: *mut CallRecord, length: usize, arg: u8, folder: u8, slot: usize) -> (usize, bool) {
    unsafe {
        let from = (*record).body.args[(arg & 7) as usize % 6];
        let copied = copy_text(record, length, from);
        (*record).body.text_len[slot] = copied as u16;
        if copied == 0 {
            if slot == text::PATH {
                (*record).header.flags |= flag::UNREADABLE;
            }
            return (length, false);
        }
        if copied == PATH_MAX {
            (*record).header.flags |= flag::TRUNCATED;
        }
        if length > TEXT_MAX - PATH_MAX {
            return (length, false);
        }
        let first = (&raw const (*record).text as *const u8).add(length).read_volatile();
        (length + copied, first != b'/' && folder != NONE)
    }
}

/// Walks where the relative path before it begins; the new length.
#[inline(always)]
unsafe fn folder(record: *mut CallRecord, task: *const u8, length: usize, folder: u8, slot: usize) -> usize {
    if length > TEXT_MAX - WALK_MAX {
        return length;
    }
    unsafe {
        let to = (&raw mut (*record).text as *mut u8).add(length);
        let fd = if folder == CWD { AT_FDCWD } else { (*record).body.args[(folder & 7) as usize % 6] as i32 };
        if fd != AT_FDCWD {
            (*record).header.flags |= if slot == text::PATH { flag::BY_FOLDER } else { flag::BY_FOLDER2 };
        }
        let walked =
            walk::walk_folder(to, cell(record), task, if fd == AT_FDCWD { None } else { Some(fd as u32) });
        bounded(record, length, slot + 1, walked)
    }
}

/// Notes the length of a text that was written; the new length of all.
#[inline(always)]
unsafe fn bounded(record: *mut CallRecord, length: usize, slot: usize, written: u32) -> usize {
    let written = written as usize;
    if written > WALK_MAX {
        return length;
    }
    unsafe { (*record).body.text_len[slot] = written as u16 };
    length + written
}

/// Copies a string of the process behind what is there; its bytes with
/// terminator, 0 if it cannot be read.
#[inline(always)]
unsafe fn copy_text(record: *mut CallRecord, length: usize, from: u64) -> usize {
    if length > TEXT_MAX - PATH_MAX {
        return 0;
    }
    unsafe {
        let to = (&raw mut (*record).text as *mut u8).add(length) as *mut c_void;
        let copied = bpf_probe_read_user_str(to, PATH_MAX as u32, from as *const c_void);
        if copied < 0 || copied > PATH_MAX as i64 { 0 } else { copied as usize }
    }
}

/// The further text that the shape asks for.
#[inline(always)]
unsafe fn extra(record: *mut CallRecord, task: *const u8, length: usize, shape: &Shape) -> usize {
    if length > TEXT_MAX - PATH_MAX {
        return length;
    }
    unsafe {
        let to = (&raw mut (*record).text as *mut u8).add(length);
        if shape.bits & bits::CAPABILITIES != 0 {
            core::ptr::write_unaligned(to as *mut Capabilities, task::capabilities(task));
            return bounded(record, length, text::EXTRA, size_of::<Capabilities>() as u32);
        }
        if shape.extra == NONE {
            return length;
        }
        let from = (*record).body.args[(shape.extra & 7) as usize % 6];
        if shape.bits & bits::DATA != 0 {
            let copied = copy_from_user(to as *mut c_void, DATA_MAX as u32, from as *const c_void);
            let copied = if copied < 0 { 0 } else { DATA_MAX as u32 };
            return bounded(record, length, text::EXTRA, copied);
        }
        let copied = copy_text(record, length, from) as u32;
        bounded(record, length, text::EXTRA, copied)
    }
}

/// The file behind the descriptor that the call is about.
#[inline(always)]
unsafe fn file(record: *mut CallRecord, task: *const u8, length: usize, shape: &Shape) -> usize {
    if shape.file == NONE {
        return length;
    }
    unsafe {
        let body = &raw mut (*record).body;
        let fd = match shape.file {
            RET if (*body).ret < 0 => return length,
            RET => (*body).ret as u32,
            arg => (*body).args[(arg & 7) as usize % 6] as u32,
        };
        let file = walk::file_of(task, fd);
        if file.is_null() {
            return length;
        }
        if walk::is_typed() {
            let file = typed::cast(file, &task::FILE_TYPE);
            (*body).file = walk::typed_identity(file);
            if has(&task::FILE_MODE) && at::<u32>(file, &task::FILE_MODE) & CREATED != 0 {
                (*record).header.flags |= flag::CREATED;
            }
            if shape.bits & bits::WALK == 0 || length > TEXT_MAX - WALK_MAX {
                return length;
            }
            let to = (&raw mut (*record).text as *mut u8).add(length);
            let path = file.add(task::told(&task::FILE_PATH));
            let walked = walk::typed_walk(to, cell(record), task, path);
            return bounded(record, length, text::TARGET, walked);
        }
        let file = walk::opened(file);
        (*body).file = walk::identity(file.inode);
        if file.mode & CREATED != 0 {
            (*record).header.flags |= flag::CREATED;
        }
        if shape.bits & bits::WALK == 0 || length > TEXT_MAX - WALK_MAX {
            return length;
        }
        let walked =
            walk::walk_file((&raw mut (*record).text as *mut u8).add(length), cell(record), task, &file);
        bounded(record, length, text::TARGET, walked)
    }
}

/// Arguments copied of a program that could not be started.
const FAILED_ARGS_MAX: usize = 20;
/// The most bytes of one of them.
const FAILED_ARG_MAX: u32 = 256;

/// An execve that failed: the process, its memory and its registers are as before.
#[btf_tracepoint(function = "sys_exit")]
#[inline(always)]
fn exec_failed(ctx: BtfTracePointContext) -> i32 {
    // Safety: the scratch record is this task's alone until its last program ends.
    unsafe {
        let task = current();
        let Some((record, shape)) = begin(&ctx, task) else { return 0 };
        let (mut length, is_relative) = given(record, 0, shape.path, shape.folder, text::PATH);
        if is_relative {
            length = folder(record, task, length, shape.folder, text::PATH);
        }
        keep(record, length);
        go_to::<ARGUMENTS>(&ctx);
    }
    0
}

/// The arguments that the program would have had.
#[btf_tracepoint(function = "sys_exit")]
#[inline(always)]
fn exec_arguments(_ctx: BtfTracePointContext) -> i32 {
    // Safety: as above.
    unsafe {
        let Some((record, shape, length)) = go_on() else { return 0 };
        let task = current();
        clear(&raw mut (*record).body.reserved);
        let given = (*record).body.args[(shape.extra & 7) as usize % 6];
        let compat = (*record).header.flags & flag::COMPAT != 0;
        let length = failed_args(record, length, given, compat);
        send(record, task, shape, length);
    }
    0
}

/// Copies argument by argument.
#[inline(always)]
unsafe fn failed_args(record: *mut CallRecord, length: usize, given: u64, compat: bool) -> usize {
    unsafe {
        let mut end = length;
        let mut index = 0;
        while index < FAILED_ARGS_MAX {
            let address = match compat {
                true => bpf_probe_read_user((given as *const u32).add(index)).unwrap_or(0) as u64,
                false => bpf_probe_read_user((given as *const u64).add(index)).unwrap_or(0),
            };
            if address == 0 || end > TEXT_MAX - FAILED_ARG_MAX as usize {
                break;
            }
            let to = (&raw mut (*record).text as *mut u8).add(end) as *mut c_void;
            let copied = bpf_probe_read_user_str(to, FAILED_ARG_MAX, address as *const c_void);
            if copied <= 0 || copied > FAILED_ARG_MAX as i64 {
                // Not in memory: nobody has read it so far.
                (*record).header.flags |= flag::TRUNCATED;
                break;
            }
            end += copied as usize;
            index += 1;
        }
        if index == FAILED_ARGS_MAX {
            (*record).header.flags |= flag::TRUNCATED;
        }
        (*record).body.text_len[text::EXTRA] = (end - length) as u16;
        end
    }
}
