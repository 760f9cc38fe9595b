//! Files: what is behind a descriptor, and the path of it.
//!
//! A path is walked from its last part to the process's root and over mounts on
//! the way. Nothing is locked: what is renamed meanwhile may be a mixture, as
//! in every reader that does not stop the machine. A walk that had to stop before
//! it was there leaves out its last zero, by which the reader tells.
//!
//! Walks are part of the programs that need them, not functions that are called:
//! before Linux 5.10, on 64-bit Arm before 6.0, a program that goes on as another
//! may call none.
//!
//! Each read of the kernel's memory is a call that costs as much as a dozen
//! instructions, so what lies together is read together. Where it lies is told
//! by the loader; a kernel that has a structure laid out otherwise has its
//! members read one by one.

#![allow(unsafe_code)]

use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::helpers::generated::{bpf_probe_read_kernel as copy, bpf_probe_read_kernel_str};
use bailiwick_collector_ebpf::File;
use core::ffi::c_void;
use core::mem::{MaybeUninit, size_of};

use crate::task::{self, Told, at, follow, has, probe, reach};
use crate::typed;

/// The most parts of a path, mounts on the way included.
const PARTS_MAX: u32 = 48;
/// The most bytes of one part, terminator included (the kernel's `NAME_MAX`).
const PART_MAX: u32 = 256;
/// The most bytes of a walked path.
pub(crate) const WALK_MAX: usize = 4096;

/// Words read at once of a `struct file`, and of a `struct inode`.
const FILE_WORDS: usize = 12;
const INODE_WORDS: usize = 10;
/// Bytes of a name that a `struct dentry` has room for, or less.
const SHORT_NAME: usize = 32;

/// An open file as it was read.
#[derive(Clone, Copy)]
pub(crate) struct Opened {
    pub(crate) mode: u32,
    pub(crate) inode: *const u8,
    place: Place,
}

/// A `struct path`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Place {
    mnt: *const u8,
    dentry: *const u8,
}

/// A `struct dentry` from its parent on.
#[derive(Clone, Copy)]
#[repr(C)]
struct Dentry {
    parent: *const u8,
    hash: u32,
    len: u32,
    name: *const u8,
    inode: *const u8,
    short: [u64; SHORT_NAME / 8],
}

/// A `struct mount` from its parent on.
#[derive(Clone, Copy)]
#[repr(C)]
struct Mount {
    parent: *const u8,
    mountpoint: *const u8,
    root: *const u8,
}

/// The address of the `struct file` behind a descriptor of the current task; null
/// if there is none.
#[inline(always)]
pub(crate) unsafe fn file_of(task: *const u8, fd: u32) -> *const u8 {
    unsafe {
        let table = follow(follow(task, &task::TASK_FILES), &task::FILES_FDT);
        if fd >= at::<u32>(table, &task::FDT_MAX_FDS) {
            return core::ptr::null();
        }
        let entry = (at::<u64>(table, &task::FDT_FD) as *const u64).add(fd as usize) as *const u8;
        if is_typed() {
            return follow_any(entry);
        }
        bpf_probe_read_kernel(entry as *const u64).unwrap_or_default() as *const u8
    }
}

/// The pointer that lies at any address: read as the first member of a structure
/// that begins with one, which costs no helper call.
#[inline(always)]
unsafe fn follow_any(address: *const u8) -> *const u8 {
    unsafe { (typed::cast(address, &task::LIST_TYPE) as *const *const u8).read_volatile() }
}

/// Whether members of files and mounts can be read by typed pointers.
#[inline(always)]
pub(crate) fn is_typed() -> bool {
    task::told(&task::FILE_TYPE) != 0
        && task::told(&task::MOUNT_TYPE) != 0
        && task::told(&task::LIST_TYPE) != 0
        && task::told(&task::DENTRY_TOGETHER) != 0
}

/// Which file it is, of a typed pointer.
#[inline(always)]
pub(crate) unsafe fn typed_identity(file: *const u8) -> File {
    unsafe {
        let inode = follow(file, &task::FILE_INODE);
        File {
            ino: at(inode, &task::INODE_INO),
            dev: at(follow(inode, &task::INODE_SB), &task::SB_DEV),
            mode: at::<u16>(inode, &task::INODE_MODE) as u32,
        }
    }
}

/// Walks a path of a typed pointer to a `struct path`; see [`walk`].
#[inline(always)]
pub(crate) unsafe fn typed_walk(to: *mut u8, cell: *mut u32, task: *const u8, path: *const u8) -> u32 {
    unsafe {
        let root = follow(task, &task::TASK_FS).add(task::told(&task::FS_ROOT));
        let (root_mnt, root_dentry) = (follow(root, &task::PATH_MNT), follow(root, &task::PATH_DENTRY));
        let (mut mnt, mut dentry) = (follow(path, &task::PATH_MNT), follow(path, &task::PATH_DENTRY));
        let mut top = follow(mnt, &task::VFSMOUNT_ROOT);
        cell.write_volatile(0);
        let (mut part, mut is_whole) = (0, false);
        while part < PARTS_MAX {
            part += 1;
            if dentry == root_dentry && mnt == root_mnt {
                is_whole = true;
                break;
            }
            if dentry == top {
                let inside = (mnt as u64).wrapping_sub(task::told(&task::MOUNT_MNT) as u64) as *const u8;
                let mount = typed::cast(inside, &task::MOUNT_TYPE);
                let above = follow(mount, &task::MOUNT_PARENT);
                if above as u64 == inside as u64 {
                    is_whole = true;
                    break;
                }
                dentry = follow(mount, &task::MOUNT_MOUNTPOINT);
                mnt = above.add(task::told(&task::MOUNT_MNT));
                top = follow(mnt, &task::VFSMOUNT_ROOT);
                continue;
            }
            let length = cell.read_volatile() as usize;
            if length > WALK_MAX - PART_MAX as usize {
                break;
            }
            let copied = typed_name(to.add(length), dentry);
            if copied == 0 {
                break;
            }
            cell.write_volatile(length as u32 + copied);
            let parent = follow(dentry, &task::DENTRY_PARENT);
            // What is in no folder is its own parent.
            if parent == dentry {
                is_whole = true;
                break;
            }
            dentry = parent;
        }
        walked(cell, is_whole)
    }
}

/// The bytes of a walk: without the last zero, if there would be more.
#[inline(always)]
unsafe fn walked(cell: *mut u32, is_whole: bool) -> u32 {
    let length = unsafe { cell.read_volatile() };
    if is_whole || length == 0 { length } else { length - 1 }
}

/// Copies a dentry's name; the bytes copied with terminator, 0 if it could not be
/// read.
#[inline(always)]
unsafe fn typed_name(to: *mut u8, dentry: *const u8) -> u32 {
    unsafe {
        let start = dentry.add(task::told(&task::DENTRY_PARENT));
        let len = (start.add(core::mem::offset_of!(Dentry, len)) as *const u32).read_volatile();
        let short = start.add(core::mem::offset_of!(Dentry, short)) as *const u64;
        let name: u64 = at(dentry, &task::DENTRY_NAME);
        if name != short as u64 || len >= SHORT_NAME as u32 {
            return long_name(to, name as *const u8);
        }
        let to = to as *mut u64;
        to.write_unaligned(short.read_volatile());
        to.add(1).write_unaligned(short.add(1).read_volatile());
        to.add(2).write_unaligned(short.add(2).read_volatile());
        to.add(3).write_unaligned(short.add(3).read_volatile());
        len + 1
    }
}

/// Reads an open file.
#[inline(always)]
pub(crate) unsafe fn opened(file: *const u8) -> Opened {
    unsafe {
        if task::told(&task::FILE_TOGETHER) == 0 {
            let place = bpf_probe_read_kernel(file.add(task::told(&task::FILE_PATH)) as *const Place);
            return Opened {
                mode: if has(&task::FILE_MODE) { probe(file, &task::FILE_MODE) } else { 0 },
                inode: reach(file, &task::FILE_INODE),
                place: place.unwrap_or(NOWHERE),
            };
        }
        let mut words = MaybeUninit::<[u64; FILE_WORDS]>::uninit();
        if !read(&mut words, file) {
            return Opened { mode: 0, inode: core::ptr::null(), place: NOWHERE };
        }
        let words = words.assume_init_ref();
        let place = task::told(&task::FILE_PATH) / 8;
        Opened {
            mode: among(words, &task::FILE_MODE) as u32,
            inode: among(words, &task::FILE_INODE) as *const u8,
            place: Place {
                mnt: word(words, place) as *const u8,
                dentry: word(words, place + 1) as *const u8,
            },
        }
    }
}

const NOWHERE: Place = Place { mnt: core::ptr::null(), dentry: core::ptr::null() };

/// Reads what lies together into memory that need not be cleared before, nor
/// moved afterwards; whether it could be read.
#[inline(always)]
unsafe fn read<T>(to: &mut MaybeUninit<T>, from: *const u8) -> bool {
    unsafe { copy(to.as_mut_ptr() as *mut c_void, size_of::<T>() as u32, from as *const c_void) == 0 }
}

/// A member of what was read together; its bytes are the lowest.
#[inline(always)]
fn among<const N: usize>(words: &[u64; N], offset: &impl Told) -> u64 {
    let bytes = task::told(offset);
    word(words, bytes / 8) >> (bytes % 8 * 8)
}

/// A word of these; the verifier knows which it is.
#[inline(always)]
fn word<const N: usize>(words: &[u64; N], at: usize) -> u64 {
    words.get(at).copied().unwrap_or(0)
}

/// Which file it is.
#[inline(always)]
pub(crate) unsafe fn identity(inode: *const u8) -> File {
    unsafe {
        if task::told(&task::FILE_TOGETHER) == 0 {
            return File {
                ino: probe(inode, &task::INODE_INO),
                dev: probe(reach(inode, &task::INODE_SB), &task::SB_DEV),
                mode: probe::<u16>(inode, &task::INODE_MODE) as u32,
            };
        }
        let mut words = MaybeUninit::<[u64; INODE_WORDS]>::uninit();
        if !read(&mut words, inode) {
            return File::default();
        }
        let words = words.assume_init_ref();
        File {
            ino: among(words, &task::INODE_INO),
            dev: probe(among(words, &task::INODE_SB) as *const u8, &task::SB_DEV),
            mode: among(words, &task::INODE_MODE) as u16 as u32,
        }
    }
}

/// Walks the path of an open file into `to`, which has room for [`WALK_MAX`]
/// bytes; how many were written. `cell` is memory of a map that nobody needs.
#[inline(always)]
pub(crate) unsafe fn walk_file(to: *mut u8, cell: *mut u32, task: *const u8, file: &Opened) -> u32 {
    unsafe { walk(to, cell, task, file.place) }
}

/// Walks the path of the file behind a descriptor, or the working directory for
/// none.
#[inline(always)]
pub(crate) unsafe fn walk_folder(to: *mut u8, cell: *mut u32, task: *const u8, fd: Option<u32>) -> u32 {
    unsafe {
        if is_typed() {
            let path = match fd {
                Some(fd) => {
                    let file = typed::cast(file_of(task, fd), &task::FILE_TYPE);
                    file.add(task::told(&task::FILE_PATH))
                }
                None => follow(task, &task::TASK_FS).add(task::told(&task::FS_PWD)),
            };
            return typed_walk(to, cell, task, path);
        }
        let path = match fd {
            Some(fd) => {
                let file = file_of(task, fd);
                if file.is_null() {
                    return 0;
                }
                file.add(task::told(&task::FILE_PATH))
            }
            None => follow(task, &task::TASK_FS).add(task::told(&task::FS_PWD)),
        };
        walk(to, cell, task, bpf_probe_read_kernel(path as *const Place).unwrap_or(NOWHERE))
    }
}

/// The length so far is kept in memory of a map: what is read from there is any
/// number to the verifier, which so need not look at every round for every length.
#[inline(always)]
unsafe fn walk(to: *mut u8, cell: *mut u32, task: *const u8, from: Place) -> u32 {
    unsafe {
        let root = follow(task, &task::TASK_FS).add(task::told(&task::FS_ROOT));
        let root = bpf_probe_read_kernel(root as *const Place).unwrap_or(NOWHERE);
        let mut dentry = from.dentry;
        let mut at = from.mnt.wrapping_sub(task::told(&task::MOUNT_MNT));
        let root_at = root.mnt.wrapping_sub(task::told(&task::MOUNT_MNT));
        let Some(mut mount) = mount(at) else { return 0 };
        cell.write_volatile(0);
        let (mut part, mut is_whole) = (0, false);
        while part < PARTS_MAX {
            part += 1;
            if dentry == root.dentry && at == root_at {
                is_whole = true;
                break;
            }
            if dentry == mount.root {
                if mount.parent == at {
                    is_whole = true;
                    break;
                }
                dentry = mount.mountpoint;
                at = mount.parent;
                let Some(above) = self::mount(at) else { break };
                mount = above;
                continue;
            }
            let length = cell.read_volatile() as usize;
            if length > WALK_MAX - PART_MAX as usize {
                break;
            }
            let (parent, copied) = name(to.add(length), dentry);
            if copied == 0 {
                break;
            }
            cell.write_volatile(length as u32 + copied);
            if parent == dentry {
                is_whole = true;
                break;
            }
            dentry = parent;
        }
        walked(cell, is_whole)
    }
}

/// What a mount is on, and its root.
#[inline(always)]
unsafe fn mount(at: *const u8) -> Option<Mount> {
    unsafe {
        let parent = at.wrapping_add(task::told(&task::MOUNT_PARENT));
        if task::told(&task::DENTRY_TOGETHER) != 0 {
            let mut mount = MaybeUninit::<Mount>::uninit();
            return if read(&mut mount, parent) { Some(mount.assume_init()) } else { None };
        }
        Some(Mount {
            parent: reach(at, &task::MOUNT_PARENT),
            mountpoint: reach(at, &task::MOUNT_MOUNTPOINT),
            root: reach(at.wrapping_add(task::told(&task::MOUNT_MNT)), &task::VFSMOUNT_ROOT),
        })
    }
}

/// Copies a dentry's name; its parent, and the bytes copied with terminator, 0 if
/// it could not be read.
#[inline(always)]
unsafe fn name(to: *mut u8, dentry: *const u8) -> (*const u8, u32) {
    unsafe {
        let start = dentry.wrapping_add(task::told(&task::DENTRY_PARENT));
        if task::told(&task::DENTRY_TOGETHER) == 0 {
            return (reach(dentry, &task::DENTRY_PARENT), long_name(to, reach(dentry, &task::DENTRY_NAME)));
        }
        let mut dentry = MaybeUninit::<Dentry>::uninit();
        if !read(&mut dentry, start) {
            return (core::ptr::null(), 0);
        }
        let dentry = dentry.assume_init_ref();
        let short = start.wrapping_add(core::mem::offset_of!(Dentry, short));
        if dentry.name != short || dentry.len >= SHORT_NAME as u32 {
            return (dentry.parent, long_name(to, dentry.name));
        }
        let to = to as *mut u64;
        to.write_unaligned(dentry.short[0]);
        to.add(1).write_unaligned(dentry.short[1]);
        to.add(2).write_unaligned(dentry.short[2]);
        to.add(3).write_unaligned(dentry.short[3]);
        (dentry.parent, dentry.len + 1)
    }
}

/// Copies a name that does not lie in its dentry.
#[inline(always)]
unsafe fn long_name(to: *mut u8, name: *const u8) -> u32 {
    let copied = unsafe { bpf_probe_read_kernel_str(to as *mut c_void, PART_MAX, name as *const c_void) };
    if copied <= 0 || copied > PART_MAX as i64 { 0 } else { copied as u32 }
}
