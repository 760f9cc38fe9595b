//! The style that a machine can check: sizes, hosts, and texts that must agree.

use std::fs;
use std::path::{Path, PathBuf};

/// Non-test lines that one source file may have.
const LONGEST_FILE: usize = 700;
/// The median that all source files together must stay under.
const MEDIAN_FILE: usize = 230;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// Every file below the workspace that is not built, vendored or private to git.
fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            let skipped = ["target", ".git", "bailiwick-data"].contains(&name.as_str());
            match path.is_dir() {
                true if !skipped => folders.push(path),
                false => found.push(path),
                true => {}
            }
        }
    }
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// The lines of a source file that are not in its test module, and none for
/// files that are tests or generated.
fn code_lines(path: &Path) -> Option<usize> {
    let name = relative(path);
    let is_test = name.ends_with("tests.rs") || name.starts_with("tests/") || name.contains("/tests/");
    if !name.ends_with(".rs") || is_test || name.contains("/generated/") {
        return None;
    }
    let text = fs::read_to_string(path).expect("UTF-8 source");
    Some(text.lines().take_while(|line| line.trim() != "#[cfg(test)]").count())
}

#[test]
fn files_are_short_enough_to_read() {
    let mut sizes: Vec<(usize, String)> =
        files().iter().filter_map(|path| Some((code_lines(path)?, relative(path)))).collect();
    sizes.sort();
    let (longest, name) = sizes.last().expect("there is source");
    assert!(*longest <= LONGEST_FILE, "{name} has {longest} lines of code, over {LONGEST_FILE}: split it");
    let (median, _) = sizes[sizes.len() / 2];
    assert!(median <= MEDIAN_FILE, "the median file has {median} lines of code, over {MEDIAN_FILE}");
}

/// Goal: a build takes packages by name from whatever registry the machine is
/// set up with. Method: no committed text names a registry's host.
#[test]
fn no_file_names_a_registry() {
    let hosts =
        [["crates", "io"], ["pypi", "org"], ["npmjs", "org"], ["debian", "org"], ["pythonhosted", "org"]];
    let hosts: Vec<String> = hosts.iter().map(|parts| parts.join(".")).collect();
    let mut found = Vec::new();
    for path in files() {
        // The lock file's `source` lines are cargo's own.
        if path.ends_with("Cargo.lock") {
            continue;
        }
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let named = hosts.iter().filter(|host| text.contains(host.as_str()));
        found.extend(named.map(|host| format!("{} names {host}", relative(&path))));
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_crate_says_what_it_is_for() {
    for path in files().iter().filter(|path| path.ends_with("src/lib.rs")) {
        let text = fs::read_to_string(path).expect("UTF-8 source");
        let opening =
            text.lines().take_while(|line| line.starts_with("//!") || line.starts_with("#!")).count();
        assert!(opening >= 4, "{} opens with only {opening} lines of documentation", relative(path));
    }
}

#[test]
fn decisions_are_numbered_without_gaps() {
    let folder = root().join("docs/adr");
    let mut numbers: Vec<usize> = fs::read_dir(folder)
        .expect("docs/adr")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.get(..4)?.parse().ok())
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=numbers.len()).collect::<Vec<_>>());
}
