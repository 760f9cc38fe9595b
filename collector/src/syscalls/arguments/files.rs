//! Calls that open, change and name files.

use bailiwick_collector_ebpf::calls::id;

use super::forms::{Arguments, bits};
use super::names;

pub(super) fn describe(arguments: Arguments<'_>) -> Arguments<'_> {
    match arguments.call.call {
        id::OPEN..=id::OPEN_BY_HANDLE_AT => opened(arguments),
        id::CHMOD..=id::FCHOWNAT => changed(arguments),
        id::DUP..=id::DUP3 => duplicated(arguments),
        _ => named(arguments),
    }
}

fn opened(a: Arguments<'_>) -> Arguments<'_> {
    match a.call.call {
        id::OPEN => a.opened().path("name").open_flags().open_mode().device_and_inode(),
        id::OPENAT => a.opened().dirfd("dirfd", 0).path("name").open_flags().open_mode().device_and_inode(),
        id::OPENAT2 => {
            let resolve = bits(a.opening().resolve, names::RESOLVE);
            let a = a.opened().dirfd("dirfd", 0).path("name").open_flags().open_mode();
            a.with("resolve", resolve).device_and_inode()
        }
        id::CREAT => a.opened().path("name").open_mode().device_and_inode(),
        _ => a.opened().fd("mountfd", 0).open_flags().target("path").device_and_inode(),
    }
}

fn changed(a: Arguments<'_>) -> Arguments<'_> {
    match a.call.call {
        id::CHMOD => a.res().path("filename").mode("mode", 1),
        id::FCHMOD => a.res().file("fd", 0).mode("mode", 1),
        id::FCHMODAT => a.res().dirfd("dirfd", 0).path("filename").mode("mode", 2),
        id::FCHMODAT2 => {
            let a = a.res().dirfd("dirfd", 0).path("filename").mode("mode", 2);
            a.bits("flags", 3, names::AT)
        }
        id::CHOWN | id::LCHOWN => a.res().path("path").decimal("uid", 1).decimal("gid", 2),
        id::FCHOWN => a.res().file("fd", 0).decimal("uid", 1).decimal("gid", 2),
        _ => {
            let a = a.res().dirfd("dirfd", 0).path("pathname").decimal("uid", 2).decimal("gid", 3);
            a.bits("flags", 4, names::AT)
        }
    }
}

fn named(a: Arguments<'_>) -> Arguments<'_> {
    match a.call.call {
        id::RENAME | id::LINK => a.res().path("oldpath").path2("newpath"),
        id::RENAMEAT => renamed(a),
        id::RENAMEAT2 => renamed(a).bits("flags", 4, names::RENAME),
        id::UNLINK | id::RMDIR => a.res().path("path"),
        id::UNLINKAT => a.res().dirfd("dirfd", 0).path("name").bits("flags", 2, names::UNLINK),
        id::MKDIR => a.res().path("path").hex("mode", 1),
        id::MKDIRAT => a.res().dirfd("dirfd", 0).path("path").hex("mode", 2),
        id::MKNOD => a.res().path("path").mode("mode", 1).unsigned("dev", 2),
        id::MKNODAT => a.res().dirfd("dirfd", 0).path("path").mode("mode", 2).unsigned("dev", 3),
        id::LINKAT => {
            let a = a.res().dirfd("olddir", 0).path("oldpath").dirfd2("newdir", 2).path2("newpath");
            a.bits("flags", 4, names::AT)
        }
        id::SYMLINK => a.res().extra("target").path("linkpath"),
        id::SYMLINKAT => a.res().extra("target").dirfd("linkdirfd", 1).path("linkpath"),
        _ => a.res(),
    }
}

fn renamed(a: Arguments<'_>) -> Arguments<'_> {
    a.res().dirfd("olddirfd", 0).path("oldpath").dirfd2("newdirfd", 2).path2("newpath")
}

fn duplicated(a: Arguments<'_>) -> Arguments<'_> {
    match a.call.call {
        id::DUP => a.duplicate().copied("oldfd", 0),
        id::DUP2 => a.duplicate().copied("oldfd", 0).copied("newfd", 1),
        _ => {
            let a = a.duplicate().copied("oldfd", 0).copied("newfd", 1);
            a.bits("flags", 2, names::CLOEXEC)
        }
    }
}
