//! Paths as Falco names them: absolute, without dots, joined with a folder. Pure.

use std::borrow::Cow;

/// What stands for a folder that could not be found out.
pub(super) const UNKNOWN: &str = "<UNKNOWN>";

/// Bytes as text; those that are not UTF-8 are written as `\xNN`.
pub(crate) fn text(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len() + 12);
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    Cow::Owned(text)
}

/// The path that `path` names in `folder`: lexically, links are not followed. No
/// number of dots leads out of a folder of which the first parts are [`UNKNOWN`].
pub(super) fn absolute(folder: &str, path: &str) -> String {
    let start = if path.starts_with('/') { "/" } else { folder };
    let mut clean = String::with_capacity(start.len() + path.len() + 1);
    let (top, start) = match start.strip_prefix(UNKNOWN) {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => (UNKNOWN, rest),
        _ if start.starts_with('/') => ("/", start),
        _ => ("", start),
    };
    let root = top.len();
    clean.push_str(top);
    for part in start.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => clean.truncate(clean.rfind('/').unwrap_or(0).max(root)),
            part => {
                if !clean.is_empty() && !clean.ends_with('/') {
                    clean.push('/');
                }
                clean.push_str(part);
            }
        }
    }
    clean
}

/// Whether a path is absolute and has nothing that [`absolute`] would take away.
pub(super) fn is_clean(path: &str) -> bool {
    let Some(parts) = path.strip_prefix('/') else { return false };
    parts.is_empty() || parts.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

/// Folder and last part of an absolute path.
pub(super) fn split(path: &str) -> (&str, &str) {
    match path.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some((folder, name)) => (folder, name),
        None => ("/", path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_joined_and_cleaned() {
        let cases = [
            ("/work", "a", "/work/a"),
            ("/work/", "./a//b/", "/work/a/b"),
            ("/work", "../etc/shadow", "/etc/shadow"),
            ("/work", "../../../etc", "/etc"),
            ("/work", "/etc/./x/../shadow", "/etc/shadow"),
            ("/work", "/", "/"),
            ("/work", ".", "/work"),
            ("/", "a", "/a"),
            ("a", "a", "a/a"),
            ("/a", "/a", "/a"),
            (UNKNOWN, "a/../b", "<UNKNOWN>/b"),
            (UNKNOWN, "../../b", "<UNKNOWN>/b"),
            ("<UNKNOWN>/a", "../../../etc/shadow", "<UNKNOWN>/etc/shadow"),
            ("<UNKNOWN>/a", "/etc", "/etc"),
            ("/<UNKNOWN>", "../b", "/b"),
        ];
        for (folder, path, expected) in cases {
            assert_eq!(absolute(folder, path), expected, "{folder} {path}");
        }
        assert_eq!(split("/etc/shadow"), ("/etc", "shadow"));
        assert_eq!(split("/shadow"), ("/", "shadow"));
        assert_eq!(split("/"), ("/", ""));
        assert_eq!(split("name"), ("/", "name"));
    }

    #[test]
    fn bytes_that_are_not_text_stay_readable() {
        assert_eq!(text(b"/tmp/\xffx\xc3\xa9\xfe"), "/tmp/\\xffx\u{e9}\\xfe");
        assert_eq!(text(b"plain"), "plain");
    }

    proptest! {
        #[test]
        fn a_clean_path_is_left_as_it_is(folder in "(/[a-z.]{1,4}){0,4}", path in "[/.a-z]{0,20}") {
            let once = absolute(&folder, &path);
            prop_assert!(!once.split('/').skip(1).any(|part| part == "." || part == ".."));
            prop_assert!(!once.contains("//"));
            prop_assert_eq!(is_clean(&path), path.starts_with('/') && absolute("/", &path) == path);
            if once.starts_with('/') {
                prop_assert_eq!(absolute("/elsewhere", &once), once);
            }
        }

        #[test]
        fn any_bytes_have_a_text(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = text(&bytes);
        }
    }
}
