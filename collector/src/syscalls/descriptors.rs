//! What kind of file a descriptor refers to, in Falco's words and letters. Pure.

use bailiwick_collector_ebpf::File;
use bailiwick_collector_ebpf::calls::id;

use super::decode::Call;

const S_IFMT: u32 = 0o170_000;
const S_IFSOCK: u32 = 0o140_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFIFO: u32 = 0o010_000;
const BPF_MAP_CREATE: u64 = 0;
const BPF_PROG_LOAD: u64 = 5;

/// `fd_type` and `fd_typechar`.
pub(super) type Kind = (&'static str, &'static str);

pub(super) const FILE: Kind = ("file", "f");
pub(super) const DIRECTORY: Kind = ("directory", "d");

/// Names of the kernel for files in no folder, and their kinds.
const NAMED: [(&str, Kind); 12] = [
    ("memfd:", ("memfd", "m")),
    ("[eventpoll]", ("eventpoll", "l")),
    ("[eventfd]", ("event", "e")),
    ("[signalfd]", ("signalfd", "s")),
    ("[timerfd]", ("timerfd", "t")),
    ("[userfaultfd]", ("userfaultfd", "u")),
    ("[io_uring]", ("io_uring", "r")),
    ("[pidfd]", ("pidfd", "P")),
    ("inotify", ("inotify", "i")),
    ("bpf-map", ("bpf", "b")),
    ("bpf-prog", ("bpf", "b")),
    ("bpf_link", ("bpf", "b")),
];

/// The kind of a file from its mode and, where that tells nothing, its name.
pub(super) fn kind(file: &File, name: Option<&str>) -> Option<Kind> {
    let name = name.unwrap_or_default();
    let name = name.strip_prefix("anon_inode:").unwrap_or(name);
    if !name.starts_with('/')
        && let Some((_, kind)) = NAMED.iter().find(|(known, _)| name.starts_with(known))
    {
        return Some(*kind);
    }
    match file.mode & S_IFMT {
        0 => None,
        S_IFDIR => Some(DIRECTORY),
        S_IFIFO => Some(("pipe", "p")),
        S_IFSOCK => None,
        // Falco knows no devices.
        _ => Some(FILE),
    }
}

/// Whether it is a socket; its kind is its family.
pub(super) fn is_socket(file: &File) -> bool {
    file.mode & S_IFMT == S_IFSOCK
}

/// The kind of descriptor that a call makes by itself, whatever it is behind.
pub(super) fn made_by(call: &Call<'_>) -> Option<Kind> {
    match call.call {
        id::MEMFD_CREATE => Some(("memfd", "m")),
        id::USERFAULTFD => Some(("userfaultfd", "u")),
        id::IO_URING_SETUP => Some(("io_uring", "r")),
        id::BPF if matches!(call.args.first(), Some(&BPF_MAP_CREATE | &BPF_PROG_LOAD)) => Some(("bpf", "b")),
        _ => None,
    }
}

/// A device as `st_dev` has it, from the kernel's own form.
pub(super) fn device(dev: u32) -> u32 {
    let (major, minor) = (dev >> 20, dev & 0xf_ffff);
    (minor & 0xff) | major << 8 | (minor & !0xff) << 12
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_follow_from_mode_and_name() {
        let of = |mode, name| kind(&File { ino: 1, dev: 0, mode }, Some(name)).map(|kind| kind.1);
        assert_eq!(of(0o100_644, "/etc/passwd"), Some("f"));
        assert_eq!(of(0o020_666, "/dev/null"), Some("f"));
        assert_eq!(of(0o040_755, "/"), Some("d"));
        assert_eq!(of(0o010_600, "pipe:[7]"), Some("p"));
        assert_eq!(of(0, "anon_inode:[eventpoll]"), Some("l"));
        assert_eq!(of(0o600, "[eventfd]"), Some("e"));
        assert_eq!(of(0o100_777, "memfd:x"), Some("m"));
        assert_eq!(of(0o100_777, "/memfd:x"), Some("f"));
        assert_eq!(of(0o140_777, "socket:[7]"), None);
    }

    #[test]
    fn devices_are_as_stat_tells_them() {
        use std::os::unix::fs::MetadataExt;
        let dev = std::fs::metadata("/proc").unwrap().dev();
        let (major, minor) = (libc::major(dev), libc::minor(dev));
        assert_eq!(u64::from(device(major << 20 | minor)), dev);
        assert_eq!(device(8 << 20 | 1), 0x801);
    }
}
