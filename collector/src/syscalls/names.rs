//! The paths in a call, found out from what its record holds. Pure.

use std::borrow::Cow;

use bailiwick_collector_ebpf::calls::{CALLS, CWD, NONE, Shape, bits, id};
use bailiwick_collector_ebpf::{PATH_MAX, flag, text};

use super::arguments::{Names, SocketNames};
use super::decode::Call;
use super::{paths, walk};
use crate::users::Users;

const EBADF: i64 = -9;
/// The most bytes kept of one argument of a program that did not start,
/// terminator included.
const FAILED_ARG_MAX: usize = 256;

/// Paths of one call. What is not there is not part of the call, or could not
/// be read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Paths<'a> {
    /// As the process gave them.
    pub(super) raw: Option<Cow<'a, str>>,
    pub(super) raw2: Option<Cow<'a, str>>,
    /// Absolute; links are not followed.
    pub(super) path: Option<Cow<'a, str>>,
    pub(super) path2: Option<Cow<'a, str>>,
    /// What they are relative to, if they are.
    pub(super) folder: Option<String>,
    pub(super) folder2: Option<String>,
    /// The file behind the descriptor, as the kernel names it.
    pub(super) target: Option<String>,
}

/// What a call of this id holds.
pub(super) fn shape(call: u16) -> Option<&'static Shape> {
    CALLS.get(usize::from(call)).map(|info| &info.shape)
}

/// The call's name, which is its event type.
pub(super) fn evt_type(call: u16) -> &'static str {
    CALLS.get(usize::from(call)).map_or("", |info| info.name)
}

/// The paths of a call.
pub(super) fn of<'a>(call: &Call<'a>, flags: u16) -> Paths<'a> {
    let Some(shape) = shape(call.call) else { return Paths::default() };
    let [path, folder, path2, folder2, _, target] = call.texts;
    let mut paths = Paths { target: walk::name(target, &call.file), ..Paths::default() };
    // Of a path that could not be read nothing is known; an empty one was read.
    if shape.path != NONE && flags & flag::UNREADABLE == 0 {
        let by_folder = flags & flag::BY_FOLDER != 0;
        let raw = paths::text(path);
        (paths.folder, paths.path) = absolute(&raw, folder, by_folder && call.ret == EBADF);
        paths.raw = Some(raw);
    }
    if shape.path2 != NONE && !(path2.is_empty() && folder2.is_empty()) {
        let by_folder = flags & flag::BY_FOLDER2 != 0;
        let raw = paths::text(path2);
        if shape.folder2 != NONE {
            (paths.folder2, paths.path2) = absolute(&raw, folder2, by_folder && call.ret == EBADF);
        }
        paths.raw2 = Some(raw);
    }
    debug_assert_eq!(text::COUNT, call.texts.len());
    paths
}

/// Whether a text of the call is longer than what its record holds.
pub(super) fn is_cut(call: &Call<'_>, flags: u16) -> bool {
    let shape = shape(call.call);
    if walked(call, shape).into_iter().any(walk::is_cut) {
        return true;
    }
    let is_marked = flags & flag::TRUNCATED != 0;
    let extra = call.texts.get(text::EXTRA).copied().unwrap_or_default();
    let is_full = extra.len() >= PATH_MAX && shape.is_some_and(|shape| shape.extra != NONE);
    match call.call {
        id::EXECVE | id::EXECVEAT => {
            is_marked || extra.split(|byte| *byte == 0).any(|argument| argument.len() >= FAILED_ARG_MAX - 1)
        }
        // The kernel takes a module's parameters however long they are.
        id::INIT_MODULE | id::FINIT_MODULE => is_full,
        // All others go through with what fits only.
        _ => call.ret < 0 && (is_marked || is_full),
    }
}

/// The texts of a call that the kernel walked.
fn walked<'a>(call: &Call<'a>, shape: Option<&Shape>) -> [&'a [u8]; 4] {
    let [_, folder, _, folder2, extra, target] = call.texts;
    let is_new_cwd = shape.is_some_and(|shape| shape.bits & bits::NEW_CWD != 0);
    [folder, folder2, target, if is_new_cwd { extra } else { b"" }]
}

/// The folder of a relative path, and the absolute path.
fn absolute<'a>(raw: &Cow<'a, str>, folder: &[u8], is_bad: bool) -> (Option<String>, Option<Cow<'a, str>>) {
    if paths::is_clean(raw) {
        return (None, Some(Cow::clone(raw)));
    }
    if raw.starts_with('/') {
        return (None, Some(paths::absolute("/", raw).into()));
    }
    // The topmost folder has no parts either, but is no bad descriptor.
    let folder = if folder.is_empty() && is_bad { paths::UNKNOWN.to_owned() } else { walk::path(folder) };
    let path = paths::absolute(&folder, raw);
    (Some(folder), Some(path.into()))
}

// === impl Paths ===

impl Paths<'_> {
    /// The same as the arguments are told from.
    pub(super) fn names<'n>(&'n self, socket: Option<SocketNames<'n>>, users: &'n Users) -> Names<'n> {
        Names {
            path: self.path.as_deref(),
            path2: self.path2.as_deref(),
            folder: self.folder.as_deref(),
            folder2: self.folder2.as_deref(),
            target: self.target.as_deref(),
            raw: self.raw.as_deref(),
            raw2: self.raw2.as_deref(),
            socket,
            users: Some(users),
        }
    }
}

/// The descriptor that a call is about, by its shape.
pub(super) fn descriptor(call: &Call<'_>) -> Option<i64> {
    use bailiwick_collector_ebpf::calls::RET;
    match shape(call.call)?.file {
        NONE | CWD => None,
        RET => (call.ret >= 0).then_some(call.ret),
        index => call.args.get(usize::from(index)).map(|arg| small(*arg)),
    }
}

/// An `int` argument: only the lower half of its register counts.
pub(super) fn small(arg: u64) -> i64 {
    let [a, b, c, d, ..] = arg.to_le_bytes();
    i32::from_le_bytes([a, b, c, d]).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bailiwick_collector_ebpf::File;
    use proptest::prelude::*;

    fn call<'a>(id: u16, texts: [&'a [u8]; text::COUNT]) -> Call<'a> {
        Call { ret: 3, args: [7; 6], file: File::default(), weight: 1, call: id, texts }
    }

    fn both(call: &Call<'_>, flags: u16) -> (Option<String>, Option<String>) {
        let paths = of(call, flags);
        (paths.path.map(Cow::into_owned), paths.path2.map(Cow::into_owned))
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn texts_without_their_end_are_cut() {
        let (path, parameters) = (vec![b'a'; PATH_MAX - 1], vec![b'a'; PATH_MAX]);
        let answered = |id, ret, texts| Call { ret, ..call(id, texts) };
        let opened = |ret| answered(id::OPENAT, ret, [&path, b"", b"", b"", b"", b""]);
        assert!(is_cut(&opened(-36), flag::TRUNCATED), "the kernel says that it is too long");
        assert!(!is_cut(&opened(3), flag::TRUNCATED), "the kernel took all of it");
        assert!(!is_cut(&opened(-2), 0), "the end was seen");
        let linked = |ret| answered(id::SYMLINKAT, ret, [b"x", b"", b"", b"", &parameters, b""]);
        assert!(is_cut(&linked(-36), 0) && !is_cut(&linked(0), 0));
        let module = answered(id::FINIT_MODULE, 0, [b"", b"", b"", b"", &parameters, b""]);
        assert!(is_cut(&module, 0), "parameters have no most");
        let long = [b"x\0", &[b'y'; FAILED_ARG_MAX - 1][..], b"\0"].concat();
        let failed = |argv| answered(id::EXECVE, -2, [b"x", b"", b"", b"", argv, b""]);
        assert!(is_cut(&failed(&long), 0) && !is_cut(&failed(&long[1..20]), 0));
        assert!(is_cut(&failed(b"x\0"), flag::TRUNCATED), "there were more than are kept");
        // What fills its room and is no text of the process.
        let full = [&[b'a'; PATH_MAX - 1][..], b"\0"].concat();
        let walked = answered(id::CHDIR, -2, [b"x", b"", b"", b"", &full, &full]);
        assert!(!is_cut(&walked, 0));
    }

    #[test]
    fn walks_without_their_end_are_cut() {
        let (whole, cut) = (&b"c\0b\0"[..], &b"c\0b"[..]);
        let texts = |at: usize, walk| {
            let mut texts = [&b""[..]; text::COUNT];
            (texts[text::PATH], texts[at]) = (b"x", walk);
            texts
        };
        for at in [text::FOLDER, text::FOLDER2, text::TARGET] {
            assert!(is_cut(&call(id::LINKAT, texts(at, cut)), 0), "{at}");
            assert!(!is_cut(&call(id::LINKAT, texts(at, whole)), 0), "{at}");
        }
        assert!(is_cut(&call(id::CHDIR, texts(text::EXTRA, cut)), 0), "it is the new folder");
        assert!(!is_cut(&call(id::SYMLINKAT, texts(text::EXTRA, cut)), 0), "it is a text of the process");
        assert!(!is_cut(&call(id::SETUID, texts(text::EXTRA, cut)), 0), "it is no text");
    }

    #[test]
    fn paths_are_resolved_against_their_folders() {
        let relative = call(id::OPENAT, [b"../x", b"sub\0work\0", b"", b"", b"", b""]);
        assert_eq!(both(&relative, flag::BY_FOLDER), (some("/work/x"), None));
        assert_eq!(of(&relative, flag::BY_FOLDER).folder, some("/work/sub"));
        let absolute = call(id::OPEN, [b"/etc/./shadow", b"", b"", b"", b"", b""]);
        assert_eq!(both(&absolute, 0), (some("/etc/shadow"), None));
        assert_eq!(of(&absolute, 0).folder, None);
        let in_root = call(id::OPEN, [b"x", b"", b"", b"", b"", b""]);
        assert_eq!(both(&in_root, 0), (some("/x"), None));
        let renamed = call(id::RENAMEAT, [b"a", b"work\0", b"/b", b"", b"", b""]);
        assert_eq!(both(&renamed, 0), (some("/work/a"), some("/b")));
        let mounted = call(id::MOUNT, [b"/mnt", b"", b"tmpfs", b"", b"none\0", b""]);
        assert_eq!(both(&mounted, 0), (some("/mnt"), None));
        assert_eq!(of(&mounted, 0).raw2.as_deref(), Some("tmpfs"));
        let empty = call(id::FCHMODAT, [b"", b"work\0", b"", b"", b"", b""]);
        assert_eq!(both(&empty, flag::BY_FOLDER), (some("/work"), None));
    }

    #[test]
    fn what_could_not_be_read_is_not_made_up() {
        let unread = call(id::OPENAT, [b"", b"", b"", b"", b"", b""]);
        assert_eq!(of(&unread, flag::UNREADABLE), Paths::default());
        let mut bad = call(id::OPENAT, [b"x", b"", b"", b"", b"", b""]);
        bad.ret = EBADF;
        assert_eq!(both(&bad, flag::BY_FOLDER), (some("<UNKNOWN>/x"), None));
    }

    #[test]
    fn the_file_behind_a_descriptor_is_named() {
        let mut dup = call(id::DUP2, [b"", b"", b"", b"", b"", b"null\0dev\0"]);
        dup.file = File { ino: 5, dev: 1, mode: 0o020_666 };
        assert_eq!(of(&dup, 0).target, some("/dev/null"));
        assert_eq!(descriptor(&dup), Some(3));
        let mut fchmod = call(id::FCHMOD, [b"", b"", b"", b"", b"", b"x\0"]);
        fchmod.args[0] = u64::from(u32::MAX);
        assert_eq!(descriptor(&fchmod), Some(-1));
        assert_eq!(descriptor(&call(id::PTRACE, [b""; 6])), None);
    }

    proptest! {
        #[test]
        fn any_call_has_names(
            id in any::<u16>(), ret in any::<i64>(), flags in any::<u16>(),
            texts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), text::COUNT),
        ) {
            let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
            let mut call = call(id % 128, texts.try_into().unwrap());
            call.ret = ret;
            let paths = of(&call, flags);
            prop_assert!(paths.folder.is_none() || paths.path.is_some());
            let _ = descriptor(&call);
        }
    }
}
