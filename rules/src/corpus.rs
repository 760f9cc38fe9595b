//! Cases that nobody on this project wrote, where they are present.

use std::path::PathBuf;

/// A file of the Falco corpus; prints why when there is none.
pub(crate) fn path(name: &str) -> Option<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpora/falco");
    let path = folder.join(name);
    if path.exists() {
        return Some(path);
    }
    println!("skipped: {} is not here", path.display());
    None
}

/// The text of a corpus file.
pub(crate) fn text(name: &str) -> Option<String> {
    path(name).map(|path| std::fs::read_to_string(path).unwrap())
}

/// The JSON of a corpus file.
pub(crate) fn json(name: &str) -> Option<serde_json::Value> {
    text(name).map(|text| serde_json::from_str(&text).unwrap())
}
