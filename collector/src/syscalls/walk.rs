//! Paths that the kernel programs walked, as text. Pure.
//!
//! ```text
//!   "c\0b\0a\0"  ──▶  /a/b/c          ""  ──▶  /          "memfd:x\0"  ──▶  memfd:x
//!   "c\0b\0a"    ──▶  <UNKNOWN>/a/b/c
//! ```
//!
//! The last has more parts than are carried. Which they are is not known, so that
//! it must not look as if it began at the root.

use bailiwick_collector_ebpf::File;

use super::paths;

const S_IFMT: u32 = 0o170_000;
const S_IFIFO: u32 = 0o010_000;
const S_IFSOCK: u32 = 0o140_000;

/// The path of a folder, or of a file that has a name in one.
///
/// The names that the kernel gives to files in no folder stay as they are.
pub(super) fn path(walk: &[u8]) -> String {
    let is_cut = is_cut(walk);
    let walk = walk.strip_suffix(b"\0").unwrap_or(walk);
    if has_no_folder(walk) && !is_cut {
        return paths::text(walk).into_owned();
    }
    let start = if is_cut { paths::UNKNOWN } else { "" };
    let mut path = String::with_capacity(start.len() + walk.len() + 1);
    path.push_str(start);
    for part in walk.rsplit(|byte| *byte == 0) {
        // The top of a tree that lies outside of the process's root.
        if part.is_empty() || part == b"/" {
            continue;
        }
        path.push('/');
        path.push_str(&paths::text(part));
    }
    if path.is_empty() { "/".to_owned() } else { path }
}

/// The name of the file behind a descriptor as /proc shows it; `None` if there
/// is none.
pub(super) fn name(walk: &[u8], file: &File) -> Option<String> {
    if file.ino == 0 && walk.is_empty() {
        return None;
    }
    // Pipes and namespaces have an empty name, sockets that of their protocol.
    if walk != b"\0" && file.mode & S_IFMT != S_IFSOCK {
        return Some(path(walk));
    }
    let kind = match file.mode & S_IFMT {
        S_IFIFO => "pipe",
        S_IFSOCK => "socket",
        _ => "ns",
    };
    Some(format!("{kind}:[{}]", file.ino))
}

/// Whether the path's first parts are missing.
pub(super) fn is_cut(walk: &[u8]) -> bool {
    walk.last().is_some_and(|byte| *byte != 0)
}

/// Whether `path` is what was walked, as far as it is known: of both the first parts
/// may be missing.
pub(super) fn is_same(walked: &str, path: &str) -> bool {
    match (walked.strip_prefix(paths::UNKNOWN), path.strip_prefix(paths::UNKNOWN)) {
        (Some(walked), Some(path)) => walked.ends_with(path) || path.ends_with(walked),
        (Some(walked), None) => path.ends_with(walked),
        _ => walked == path,
    }
}

/// Whether this one part is a name of the kernel's own. A file of such a name in
/// the topmost folder looks the same.
pub(super) fn has_no_folder(part: &[u8]) -> bool {
    const KERNELS: [&[u8]; 8] =
        [b"memfd:", b"anon_inode:", b"[", b"inotify", b"bpf-map", b"bpf-prog", b"bpf_link", b"dmabuf:"];
    !part.contains(&0) && KERNELS.iter().any(|kernels| part.starts_with(kernels))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn walked(path: &str) -> Vec<u8> {
        path.split('/')
            .rev()
            .filter(|part| !part.is_empty())
            .flat_map(|part| [part.as_bytes(), b"\0"].concat())
            .collect()
    }

    #[test]
    fn walks_are_read_backwards() {
        assert_eq!(path(b"c\0b\0a\0"), "/a/b/c");
        assert_eq!(path(b""), "/");
        assert_eq!(path(b"x\0/\0"), "/x");
        assert_eq!(path(b"\xff\na\0"), "/\\xff\na");
        assert_eq!(path(b"memfd:x\0"), "memfd:x");
        assert_eq!(path(b"memfd:x\0tmp\0"), "/tmp/memfd:x");
    }

    #[test]
    fn a_path_without_its_begin_does_not_look_whole() {
        assert!(is_cut(b"c\0b") && is_cut(b"c") && !is_cut(b"c\0") && !is_cut(b""));
        assert_eq!(path(b"c\0b"), "<UNKNOWN>/b/c");
        assert_eq!(path(b"memfd:x"), "<UNKNOWN>/memfd:x");
        assert!(is_same("<UNKNOWN>/b/c", "/a/b/c") && is_same("<UNKNOWN>/b/c", "<UNKNOWN>/a/b/c"));
        assert!(is_same("<UNKNOWN>/a/b", "<UNKNOWN>/b") && !is_same("/a/b", "<UNKNOWN>/b"));
        assert!(!is_same("<UNKNOWN>/b/c", "/a/xb/c") && !is_same("/b/c", "/a/b/c") && is_same("/b", "/b"));
    }

    #[test]
    fn files_without_a_name_are_called_as_in_proc() {
        let file = |mode| File { ino: 7, dev: 1, mode };
        assert_eq!(name(b"\0", &file(S_IFIFO | 0o600)).as_deref(), Some("pipe:[7]"));
        assert_eq!(name(b"\0", &file(S_IFSOCK)).as_deref(), Some("socket:[7]"));
        assert_eq!(name(b"[eventpoll]\0", &file(0)).as_deref(), Some("[eventpoll]"));
        assert_eq!(name(b"", &file(0o040_755)).as_deref(), Some("/"), "the root folder itself");
        assert_eq!(name(b"", &File::default()), None);
    }

    proptest! {
        #[test]
        fn a_path_comes_back(path in "(/[a-zA-Z.\\n ]{1,8}){1,6}") {
            prop_assert_eq!(super::path(&walked(&path)), path);
        }

        #[test]
        fn any_bytes_give_a_text(bytes in proptest::collection::vec(any::<u8>(), 0..64), ino in any::<u64>(), mode in any::<u32>()) {
            let _ = (path(&bytes), name(&bytes, &File { ino, dev: 0, mode }));
        }
    }
}
