//! Cases that nobody on this project wrote, where they are present.

use std::path::PathBuf;

/// A file of the Falco corpus; prints why when there is none, or fails where it must be there.
pub(crate) fn path(name: &str) -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora/falco");
    let path = folder.join(name);
    if path.exists() {
        return Some(path);
    }
    missing("BAILIWICK_REQUIRE_CORPORA", &format!("{} is not here", path.display()));
    None
}

/// Says what a test is skipped for, or fails if it must run on this machine.
pub(crate) fn missing(required_by: &str, what: &str) {
    assert!(std::env::var_os(required_by).is_none(), "{what}, and {required_by} is set");
    println!("skipped: {what}");
}

/// The text of a corpus file.
pub(crate) fn text(name: &str) -> Option<String> {
    path(name).map(|path| std::fs::read_to_string(path).unwrap())
}

/// The JSON of a corpus file.
pub(crate) fn json(name: &str) -> Option<serde_json::Value> {
    text(name).map(|text| serde_json::from_str(&text).unwrap())
}
