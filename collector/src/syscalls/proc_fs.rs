//! What /proc still tells about a process. Every answer may be missing, since a
//! process may be gone by the time it is asked for.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;

use super::paths;

/// Ticks of /proc in a second; the same on every architecture of Linux.
const NS_PER_TICK: u64 = 1_000_000_000 / 100;
/// The most bytes of a command line or environment that are read.
const TEXT_MAX: usize = 32 << 10;

/// A process as /proc shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) pid: u32,
    pub(super) ppid: u32,
    pub(super) sid: u32,
    pub(super) tty: u32,
    pub(super) vpid: u32,
    pub(super) start_ticks: u64,
    pub(super) name: String,
    pub(super) args: Vec<u8>,
    pub(super) exepath: Option<String>,
    pub(super) cwd: Option<String>,
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
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let innermost =
        status.lines().find_map(|line| line.strip_prefix("NSpid:")?.split_whitespace().last()?.parse().ok());
    let args = cut(fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default());
    let mut found = stat_line(pid, &stat)?;
    found.vpid = innermost.unwrap_or(pid);
    found.args = args;
    found.exepath = exe(pid);
    found.cwd = cwd(pid);
    Some(found)
}

/// The executable's path, if the process is there and has one.
pub(super) fn exe(pid: u32) -> Option<String> {
    link(&format!("/proc/{pid}/exe"))
}

/// The working directory.
pub(super) fn cwd(pid: u32) -> Option<String> {
    link(&format!("/proc/{pid}/cwd"))
}

/// What a descriptor refers to: a path, or e.g. `socket:[7]`.
pub(super) fn fd(pid: u32, fd: i32) -> Option<String> {
    link(&format!("/proc/{pid}/fd/{fd}"))
}

/// The name that the process has now.
pub(super) fn comm(pid: u32) -> Option<Vec<u8>> {
    let mut comm = fs::read(format!("/proc/{pid}/comm")).ok()?;
    comm.truncate(comm.strip_suffix(b"\n").map_or(comm.len(), <[u8]>::len));
    Some(comm)
}

/// Whether this user may write the process's executable, by its permission bits.
pub(super) fn exe_is_writable(pid: u32, uid: u32, gid: u32) -> Option<bool> {
    let file = fs::metadata(format!("/proc/{pid}/exe")).ok()?;
    let mode = file.mode();
    Some(match uid {
        0 => true,
        uid if uid == file.uid() => mode & 0o200 != 0,
        _ if gid == file.gid() => mode & 0o020 != 0,
        _ => mode & 0o002 != 0,
    })
}

/// The environment as it was when the program started.
pub(super) fn environment(pid: u32) -> Option<Vec<String>> {
    let bytes = cut(fs::read(format!("/proc/{pid}/environ")).ok()?);
    let variables = bytes.split(|byte| *byte == 0).filter(|variable| !variable.is_empty());
    Some(variables.map(|variable| paths::text(variable).into_owned()).collect())
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

fn cut(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(TEXT_MAX);
    bytes
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
        sid: small(3),
        tty: small(4),
        vpid: pid,
        start_ticks: u64::try_from(number(19)?).ok()?,
        name,
        args: Vec::new(),
        exepath: None,
        cwd: None,
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
        assert!(pids().contains(&found.pid));
        assert_eq!(boot_id().len(), 32);
    }

    proptest! {
        #[test]
        fn no_stat_line_makes_it_panic(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = stat_line(1, &line);
        }
    }
}
