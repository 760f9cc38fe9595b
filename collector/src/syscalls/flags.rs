//! Numbers of system calls in Falco's text forms. Pure.

use std::borrow::Cow;
use std::fmt::Write;

use nix::errno::Errno;

/// Names of `O_*` in the order in which Falco writes them. What reads or writes
/// is not a bit and stands between.
const BEFORE_ACCESS: [(u64, &str); 10] = [
    (if cfg!(target_arch = "aarch64") { 0o400_000 } else { 0o100_000 }, "O_LARGEFILE"),
    (O_DIRECTORY, "O_DIRECTORY"),
    (if cfg!(target_arch = "aarch64") { 0o200_000 } else { 0o40_000 }, "O_DIRECT"),
    (0o1_000, "O_TRUNC"),
    (0o4_010_000, "O_SYNC"),
    (0o4_000, "O_NONBLOCK"),
    (0o200, "O_EXCL"),
    (0o10_000, "O_DSYNC"),
    (0o2_000, "O_APPEND"),
    (O_CREAT, "O_CREAT"),
];
const O_CLOEXEC: u64 = 0o2_000_000;
pub(super) const O_CREAT: u64 = 0o100;
pub(super) const O_DIRECTORY: u64 = if cfg!(target_arch = "aarch64") { 0o40_000 } else { 0o200_000 };
/// `O_TMPFILE` contains `O_DIRECTORY`; this bit is its own.
pub(super) const O_TMPFILE_BIT: u64 = 0o20_000_000;
const O_ACCMODE: u64 = 0o3;

/// Whether a call with these flags may read from, and may write to, the file.
pub(super) fn access(flags: u64) -> (bool, bool) {
    match flags & O_ACCMODE {
        0 => (true, false),
        1 => (false, true),
        2 => (true, true),
        _ => (false, false),
    }
}

/// `O_RDONLY|O_CLOEXEC`, with `O_F_CREATED` where the call made the file.
pub(super) fn open_flags(flags: u64, created: bool) -> String {
    let mut text = String::new();
    put_open_flags(&mut text, flags, created);
    text
}

/// The same at the end of a text.
pub(super) fn put_open_flags(text: &mut String, flags: u64, created: bool) {
    let mut is_first = true;
    let mut add = |name: &str| {
        if !std::mem::take(&mut is_first) {
            text.push('|');
        }
        text.push_str(name);
    };
    let tmpfile = flags & O_TMPFILE_BIT != 0;
    for (bits, name) in BEFORE_ACCESS {
        let part_of_another =
            (tmpfile && bits == O_DIRECTORY) || (name == "O_DSYNC" && flags & 0o4_000_000 != 0);
        if flags & bits == bits && !part_of_another {
            add(name);
        }
    }
    match flags & O_ACCMODE {
        0 => add("O_RDONLY"),
        1 => add("O_WRONLY"),
        2 => add("O_RDWR"),
        _ => {}
    }
    if flags & O_CLOEXEC != 0 {
        add("O_CLOEXEC");
    }
    if tmpfile {
        add("O_TMPFILE");
    }
    if created {
        add("O_F_CREATED");
    }
}

/// Permission bits in octal, as Falco writes them.
pub(super) fn mode(mode: u32) -> String {
    let mut text = String::new();
    put_mode(&mut text, mode);
    text
}

/// The same at the end of a text.
pub(super) fn put_mode(text: &mut String, mode: u32) {
    text.push('0');
    if mode != 0 {
        // A string takes whatever is written.
        let _ = write!(text, "{mode:o}");
    }
}

/// `SUCCESS`, or the name of the error that a call returned.
pub(super) fn result(ret: i64) -> Cow<'static, str> {
    if ret >= 0 {
        return "SUCCESS".into();
    }
    let number = i32::try_from(ret.unsigned_abs()).unwrap_or(i32::MAX);
    let errno = Errno::from_raw(number);
    if let Some(name) = often(errno) {
        return name.into();
    }
    match (errno, number) {
        (Errno::UnknownErrno, _) => {
            // Errors that the kernel keeps to itself, e.g. ERESTARTSYS.
            let mut text = String::from("E");
            let _ = write!(text, "{number}");
            text.into()
        }
        (errno, _) => format!("{errno:?}").into(),
    }
}

/// Names of the errors that calls return by the thousand, which cost no memory.
fn often(errno: Errno) -> Option<&'static str> {
    macro_rules! names {
        ($($name:ident)*) => {
            match errno {
                $(Errno::$name => Some(stringify!($name)),)*
                _ => None,
            }
        };
    }
    names! {
        ENOENT EACCES EPERM EEXIST ENOTDIR EISDIR EINVAL EBADF EINTR EAGAIN EINPROGRESS ECONNREFUSED
        EXDEV ELOOP ENXIO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_read_as_falco_writes_them() {
        use libc::{O_APPEND, O_CLOEXEC, O_CREAT, O_RDONLY, O_RDWR, O_TMPFILE, O_TRUNC, O_WRONLY};
        let text = |flags: i32| open_flags(u64::from(flags.cast_unsigned()), false);
        assert_eq!(text(O_RDONLY), "O_RDONLY");
        assert_eq!(text(O_RDONLY | O_CLOEXEC), "O_RDONLY|O_CLOEXEC");
        assert_eq!(text(O_WRONLY | O_CREAT | O_TRUNC), "O_TRUNC|O_CREAT|O_WRONLY");
        assert_eq!(text(O_RDWR | O_APPEND), "O_APPEND|O_RDWR");
        assert_eq!(text(O_RDONLY | libc::O_DIRECTORY), "O_DIRECTORY|O_RDONLY");
        assert_eq!(text(O_WRONLY | O_TMPFILE), "O_WRONLY|O_TMPFILE");
        assert_eq!(text(O_WRONLY | libc::O_SYNC), "O_SYNC|O_WRONLY");
        assert_eq!(text(O_WRONLY | libc::O_DSYNC), "O_DSYNC|O_WRONLY");
        assert_eq!(open_flags(0o101, true), "O_CREAT|O_WRONLY|O_F_CREATED");
        assert_eq!(mode(0o644), "0644");
    }

    #[test]
    fn every_result_has_a_name() {
        assert_eq!(result(3), "SUCCESS");
        assert_eq!(result(-2), "ENOENT");
        assert_eq!(result(-13), "EACCES");
        assert_eq!(result(-115), "EINPROGRESS");
        assert_eq!(result(-512), "E512");
        assert_eq!(result(i64::MIN + 1), "E2147483647");
        assert!(!result(i64::MIN).is_empty());
    }

    #[test]
    fn access_is_what_the_kernel_grants() {
        assert_eq!(access(0), (true, false));
        assert_eq!(access(1), (false, true));
        assert_eq!(access(2), (true, true));
        assert_eq!(access(3), (false, false));
    }
}
