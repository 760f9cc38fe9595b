//! Calls that change what a process is, may do or sees; and starts that failed.

use bailiwick_collector_ebpf::calls::id;

use super::forms::{Arguments, choice, hex};
use super::names;

pub(super) fn describe(arguments: Arguments<'_>) -> Arguments<'_> {
    match arguments.call.call {
        id::EXECVE..=id::VFORK => not_started(arguments),
        id::SETUID..=id::SETPGID => identity(arguments),
        id::CHDIR..=id::MOVE_MOUNT => places(arguments),
        id::PTRACE..=id::UNSHARE | id::PROCESS_VM_READV..=id::PIDFD_GETFD => others(arguments),
        _ => kernel(arguments),
    }
}

fn not_started(a: Arguments<'_>) -> Arguments<'_> {
    match a.call.call {
        id::EXECVE => a.res().program().path("filename"),
        id::EXECVEAT => {
            let a = a.res().program().dirfd("dirfd", 0).path("pathname");
            a.bits("flags", 4, names::AT)
        }
        id::CLONE => a.res().bits("flags", 0, names::CLONE),
        _ => a.res(),
    }
}

fn identity(a: Arguments<'_>) -> Arguments<'_> {
    match a.call.call {
        id::SETUID => a.res().uid("uid", 0),
        id::SETGID => a.res().gid("gid", 0),
        id::SETREUID => a.res().uid("ruid", 0).uid("euid", 1),
        id::SETREGID => a.res().gid("rgid", 0).gid("egid", 1),
        id::SETRESUID => a.res().uid("ruid", 0).uid("euid", 1).uid("suid", 2),
        id::SETRESGID => a.res().gid("rgid", 0).gid("egid", 1).gid("sgid", 2),
        id::CAPSET => a.res().capabilities(),
        id::SETPGID => a.res().decimal("pid", 0).decimal("pgid", 1),
        _ => a.res(),
    }
}

fn places(a: Arguments<'_>) -> Arguments<'_> {
    match a.call.call {
        // Falco leaves this path as it was given: where it leads is the new cwd.
        id::CHDIR => a.res().raw("path"),
        id::FCHDIR => a.res().fd("fd", 0),
        id::CHROOT => a.res().path("path"),
        id::PIVOT_ROOT => a.res().path("new_root").path2("put_old"),
        id::MOUNT => {
            let a = a.res().extra("dev").path("dir").raw2("type");
            // An old mount(8) marks its flags with a magic number.
            let flags = a.arg(3) & 0xffff_ffff;
            let flags = if flags >> 16 == 0xc0ed { flags & 0xffff } else { flags };
            a.with("flags", super::forms::bits(flags, names::MOUNT))
        }
        id::UMOUNT => a.res().path("name"),
        id::UMOUNT2 => a.res().path("name").bits("flags", 1, names::UMOUNT),
        _ => {
            let a = a.res().dirfd("from_dirfd", 0).path("from_pathname");
            a.dirfd2("to_dirfd", 2).path2("to_pathname").bits("flags", 4, names::MOVE_MOUNT)
        }
    }
}

fn others(a: Arguments<'_>) -> Arguments<'_> {
    match a.call.call {
        id::PTRACE => {
            let a = a.res().address("addr", 2);
            let (data, request) = (ptrace_data(&a), ptrace_request(a.arg(0)));
            a.with("data", data).with("request", request).decimal("pid", 1)
        }
        id::SETNS => a.res().file("fd", 0).bits("nstype", 1, names::UNSHARE),
        id::UNSHARE => a.res().bits("flags", 0, names::UNSHARE),
        id::PIDFD_GETFD => a.made("fd").fd("pid_fd", 0).fd("target_fd", 1).hex("flags", 2),
        _ => a.res_number().decimal("pid", 0),
    }
}

fn kernel(a: Arguments<'_>) -> Arguments<'_> {
    match a.call.call {
        id::BPF => {
            let (cmd, kind) = (a.arg(0), a.extra_u32(0));
            let a = a.made("fd").with("cmd", choice(cmd & 0xffff_ffff, names::BPF));
            // What kind of map or program is made comes first in the attributes.
            if matches!(cmd, 0 | 5) { a.with("type", kind.to_string()) } else { a }
        }
        id::INIT_MODULE => a.res().length("length", 1).extra("uargs"),
        id::FINIT_MODULE => a.res().file("fd", 0).extra("uargs").bits("flags", 2, names::FINIT_MODULE),
        id::DELETE_MODULE => a.res().extra("name").bits("flags", 1, names::DELETE_MODULE),
        id::MEMFD_CREATE => {
            let name = a.extra_text();
            a.made_as("fd", "m", &name).with("name", name).bits("flags", 1, names::MEMFD)
        }
        id::USERFAULTFD => a.res().bits("flags", 0, names::CLOEXEC),
        id::IO_URING_SETUP => io_uring(a),
        _ => a.res(),
    }
}

/// The numbers of `struct io_uring_params`, as the kernel filled them in.
fn io_uring(a: Arguments<'_>) -> Arguments<'_> {
    let [sq, cq, flags, cpu, idle, features] = std::array::from_fn(|at| a.extra_u32(at));
    let names = |number: u32, known| super::forms::bits(number.into(), known);
    a.res()
        .unsigned("entries", 0)
        .with("sq_entries", sq.to_string())
        .with("cq_entries", cq.to_string())
        .with("flags", names(flags, names::IO_URING_SETUP))
        .with("sq_thread_cpu", cpu.to_string())
        .with("sq_thread_idle", idle.to_string())
        .with("features", names(features, names::IO_URING_FEATURES))
}

fn ptrace_request(request: u64) -> String {
    let known = names::PTRACE.iter().find(|(number, _)| *number == request);
    known.map_or("PTRACE_UNKNOWN", |(_, name)| name).to_owned()
}

/// The signal with which a process is let go on; else the number.
fn ptrace_data(a: &Arguments<'_>) -> String {
    use nix::sys::signal::Signal;
    let gives_signal = matches!(
        ptrace_request(a.arg(0)).as_str(),
        "PTRACE_CONT" | "PTRACE_SYSCALL" | "PTRACE_SINGLESTEP" | "PTRACE_DETACH"
    );
    let signal = i32::try_from(a.arg(3)).ok().filter(|_| gives_signal);
    let name = signal.and_then(|number| Signal::try_from(number).ok()).map(Signal::as_str);
    name.map_or_else(|| hex(a.arg(3)), str::to_owned)
}
