//! Files: what is behind a descriptor, and the path of it.
//!
//! A path is walked from its last part to the process's root and over mounts on
//! the way. Nothing is locked: what is renamed meanwhile may be a mixture, as
//! in every reader that does not stop the machine.

#![allow(unsafe_code)]

use aya_ebpf::helpers::bpf_probe_read_kernel;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use bailiwick_collector_ebpf::File;
use core::ffi::c_void;

use crate::task::{self, at, current, follow, has, probe, reach};

/// The most parts of a path, mounts on the way included.
const PARTS_MAX: u32 = 48;
/// The most bytes of one part, terminator included (the kernel's `NAME_MAX`).
const PART_MAX: u32 = 256;
/// The most bytes of a walked path.
pub(crate) const WALK_MAX: usize = 4096;

/// The address of the `struct file` behind a descriptor of the current task; null
/// if there is none.
#[inline(always)]
pub(crate) unsafe fn file_of(fd: u32) -> *const u8 {
    unsafe {
        let table = follow(follow(current(), &task::TASK_FILES), &task::FILES_FDT);
        if fd >= at::<u32>(table, &task::FDT_MAX_FDS) {
            return core::ptr::null();
        }
        let entries = at::<u64>(table, &task::FDT_FD) as *const u64;
        bpf_probe_read_kernel(entries.add(fd as usize)).unwrap_or_default() as *const u8
    }
}

/// Which file it is.
#[inline(always)]
pub(crate) unsafe fn identity(file: *const u8) -> File {
    unsafe {
        let inode = reach(file, &task::FILE_INODE);
        File {
            ino: probe(inode, &task::INODE_INO),
            dev: probe(reach(inode, &task::INODE_SB), &task::SB_DEV),
            mode: probe::<u16>(inode, &task::INODE_MODE) as u32,
        }
    }
}

/// Walks the path of an open file into `to`, which has room for [`WALK_MAX`]
/// bytes; how many were written.
#[inline(always)]
pub(crate) unsafe fn walk_file(to: *mut u8, file: *const u8) -> u32 {
    if file.is_null() || !has(&task::FILE_PATH) {
        return 0;
    }
    unsafe { walk(to, file.add(task::FILE_PATH.load() as usize)) }
}

/// Walks the current task's working directory.
#[inline(always)]
pub(crate) unsafe fn walk_cwd(to: *mut u8) -> u32 {
    unsafe {
        let fs = follow(current(), &task::TASK_FS);
        walk(to, fs.add(task::FS_PWD.load() as usize))
    }
}

/// Walks a `struct path`.
#[inline(never)]
unsafe fn walk(to: *mut u8, path: *const u8) -> u32 {
    unsafe {
        let fs = follow(current(), &task::TASK_FS);
        let root = fs.add(task::FS_ROOT.load() as usize);
        let root_dentry = reach(root, &task::PATH_DENTRY);
        let root_mnt = reach(root, &task::PATH_MNT);
        let mut dentry = reach(path, &task::PATH_DENTRY);
        let mut mnt = reach(path, &task::PATH_MNT);
        let mut length: usize = 0;
        let mut part = 0;
        while part < PARTS_MAX {
            part += 1;
            if dentry == root_dentry && mnt == root_mnt {
                break;
            }
            let parent = reach(dentry, &task::DENTRY_PARENT);
            if dentry == reach(mnt, &task::VFSMOUNT_ROOT) {
                let mount = mnt.sub(task::MOUNT_MNT.load() as usize);
                let above = reach(mount, &task::MOUNT_PARENT);
                if above == mount {
                    break;
                }
                dentry = reach(mount, &task::MOUNT_MOUNTPOINT);
                mnt = above.add(task::MOUNT_MNT.load() as usize);
                continue;
            }
            if length > WALK_MAX - PART_MAX as usize {
                break;
            }
            let name = reach(dentry, &task::DENTRY_NAME);
            let place = to.add(length) as *mut c_void;
            let copied = bpf_probe_read_kernel_str(place, PART_MAX, name as *const c_void);
            if copied <= 0 || copied > PART_MAX as i64 {
                break;
            }
            // Masked, so that the verifier need not tell the lengths of all rounds apart.
            length = (length + copied as usize) & (2 * WALK_MAX - 1);
            // What is in no folder is its own parent.
            if parent == dentry {
                break;
            }
            dentry = parent;
        }
        length as u32
    }
}
