//! What /proc still tells about a process. Every answer may be missing, since a
//! process may be gone by the time it is asked for.

use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use bailiwick_collector_ebpf::{Capabilities, File};

use super::paths;
use super::processes::Executable;

/// Ticks of /proc in a second; the same on every architecture of Linux.
const NS_PER_TICK: u64 = 1_000_000_000 / 100;
/// The inode of the machine's first pid namespace, on every Linux.
pub(super) const FIRST_PID_NS: u32 = 0xefff_fffc;
/// The most bytes of a command line that are read.
const ARGS_MAX: u64 = 8 << 10;

/// A process as /proc shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Found {
    pub(super) pid: u32,
    pub(super) ppid: u32,
    pub(super) sid: u32,
    pub(super) pgid: u32,
    pub(super) vpgid: u32,
    pub(super) tty: u32,
    pub(super) vpid: u32,
    /// Effective user and group.
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) start_ticks: u64,
    pub(super) name: String,
    pub(super) args: Vec<u8>,
    pub(super) exepath: Option<String>,
    pub(super) executable: Option<Executable>,
    pub(super) cwd: Option<String>,
    pub(super) capabilities: Option<Capabilities>,
}

/// A start time in the ticks of /proc, which is all it tells of a start.
pub(super) fn ticks(start_boot_ns: u64) -> u64 {
    start_boot_ns / NS_PER_TICK
}

/// The start time that /proc shows, as nanoseconds since boot.
pub(super) fn start_ns(ticks: u64) -> u64 {
    ticks.saturating_mul(NS_PER_TICK)
}

/// Pids of all processes now.
pub(super) fn pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// One process, if it is there.
pub(super) fn process(pid: u32) -> Option<Found> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let mut found = stat_line(pid, &stat)?;
    status(&fs::read(format!("/proc/{pid}/status")).unwrap_or_default(), &mut found);
    found.args = arguments(pid);
    found.exepath = link(&format!("/proc/{pid}/exe"));
    found.executable = executable(pid);
    found.cwd = link(&format!("/proc/{pid}/cwd"));
    Some(found)
}

/// The first bytes of the command line, which may be megabytes.
fn arguments(pid: u32) -> Vec<u8> {
    let mut args = Vec::new();
    if let Ok(file) = fs::File::open(format!("/proc/{pid}/cmdline")) {
        // What was read before an error is better than nothing.
        let _ = file.take(ARGS_MAX).read_to_end(&mut args);
    }
    args
}

/// The executable's file.
fn executable(pid: u32) -> Option<Executable> {
    let file = fs::metadata(format!("/proc/{pid}/exe")).ok()?;
    let ns = |seconds: i64, nanos: i64| {
        u64::try_from(seconds.saturating_mul(1_000_000_000).saturating_add(nanos)).unwrap_or(0)
    };
    Some(Executable {
        file: File { ino: file.ino(), dev: 0, mode: file.mode() },
        uid: file.uid(),
        gid: file.gid(),
        ctime_ns: ns(file.ctime(), file.ctime_nsec()),
        mtime_ns: ns(file.mtime(), file.mtime_nsec()),
    })
}

/// The cgroups that the process is in, a line a hierarchy, as this process sees them.
pub(super) fn cgroups(pid: u32) -> Option<Vec<u8>> {
    fs::read(format!("/proc/{pid}/cgroup")).ok()
}

/// The inode of one of this process's own namespaces, e.g. `mnt`.
pub(super) fn own_namespace(name: &str) -> u32 {
    let metadata = fs::metadata(format!("/proc/self/ns/{name}"));
    metadata.map_or(0, |metadata| u32::try_from(metadata.ino()).unwrap_or(0))
}

/// One of a process's namespaces, as a text that is another for every namespace.
pub(super) fn namespace(pid: u32, name: &str) -> Option<String> {
    link(&format!("/proc/{pid}/ns/{name}"))
}

/// Every capability that a process of this machine may have, as bits; 0 if it does
/// not say. Those that its first process gave up nobody gets back; whoever does
/// not see that process is told what the kernel knows.
pub(super) fn all_capabilities() -> u64 {
    let last = fs::read_to_string("/proc/sys/kernel/cap_last_cap").ok();
    let last = last.and_then(|last| last.trim().parse::<u32>().ok()).filter(|last| *last < u64::BITS);
    let known = last.map_or(0, |last| u64::MAX >> (u64::BITS - 1 - last));
    if own_namespace("pid") == FIRST_PID_NS { known & bounds(1).unwrap_or(u64::MAX) } else { known }
}

/// What a process and those that it makes may have at most.
fn bounds(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapBnd:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

/// The id of this run of the machine, 32 hexadecimal digits.
pub(super) fn boot_id() -> String {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.chars().filter(char::is_ascii_hexdigit).take(32).collect()
}

/// A link's target without the mark of a deleted file.
fn link(path: &str) -> Option<String> {
    let target = fs::read_link(path).ok()?;
    let bytes = target.as_os_str().as_bytes();
    Some(paths::text(bytes.strip_suffix(b" (deleted)").unwrap_or(bytes)).into_owned())
}

/// The lines of /proc/PID/status that are needed; a name in it has its newlines
/// escaped, so that no process can write lines of its own.
fn status(text: &[u8], found: &mut Found) {
    let text = String::from_utf8_lossy(text);
    let mut capabilities = (None, None, None);
    for line in text.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        let innermost = || value.split_whitespace().last().and_then(|last| last.parse().ok());
        let effective = || value.split_whitespace().nth(1).and_then(|id| id.parse().ok()).unwrap_or(0);
        let bits = || u64::from_str_radix(value.trim(), 16).ok();
        match name {
            "Uid" => found.uid = effective(),
            "Gid" => found.gid = effective(),
            "NSpid" => found.vpid = innermost().unwrap_or(found.vpid),
            "NSpgid" => found.vpgid = innermost().unwrap_or(found.vpgid),
            "CapInh" => capabilities.0 = bits(),
            "CapPrm" => capabilities.1 = bits(),
            "CapEff" => capabilities.2 = bits(),
            _ => {}
        }
    }
    if let (Some(inheritable), Some(permitted), Some(effective)) = capabilities {
        found.capabilities = Some(Capabilities { permitted, effective, inheritable });
    }
}

/// `pid (name) state ppid pgrp session tty ... starttime`; a name may hold
/// anything, so what follows it is counted from its last parenthesis.
fn stat_line(pid: u32, stat: &[u8]) -> Option<Found> {
    let open = stat.iter().position(|byte| *byte == b'(')?;
    let close = stat.iter().rposition(|byte| *byte == b')')?;
    let name = paths::text(stat.get(open + 1..close)?).into_owned();
    let rest = std::str::from_utf8(stat.get(close + 1..)?).ok()?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<i64>().ok();
    let small = |index: usize| number(index).and_then(|value| u32::try_from(value).ok()).unwrap_or(0);
    Some(Found {
        pid,
        ppid: small(1),
        pgid: small(2),
        vpgid: small(2),
        sid: small(3),
        tty: small(4),
        vpid: pid,
        start_ticks: u64::try_from(number(19)?).ok()?,
        name,
        ..Found::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn this_process_is_found() {
        let found = process(std::process::id()).unwrap();
        assert_eq!(found.exepath.unwrap(), std::env::current_exe().unwrap().to_str().unwrap());
        assert_eq!(found.ppid, std::os::unix::process::parent_id());
        assert!(!found.args.is_empty());
        assert!(found.start_ticks > 0);
        assert_eq!(found.pgid, nix::unistd::getpgrp().as_raw().cast_unsigned());
        assert_eq!(found.uid, nix::unistd::geteuid().as_raw());
        assert!(found.executable.unwrap().file.ino > 0);
        assert!(found.capabilities.is_some());
        assert!(pids().contains(&found.pid));
        assert_eq!(boot_id().len(), 32);
        assert_eq!(namespace(found.pid, "mnt"), namespace(std::process::id(), "mnt"));
        assert_eq!(all_capabilities() | bounds(found.pid).unwrap(), all_capabilities());
    }

    proptest! {
        #[test]
        fn no_stat_line_makes_it_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = stat_line(1, &line);
            status(&line, &mut Found::default());
        }
    }
}
