//! What a test needs of the machine, and saying so where it is missing.

use std::process::Command;

/// Says that a test did not run; fails where every client must be there.
pub(crate) fn skipped(what: &str) {
    assert!(
        std::env::var_os("BAILIWICK_REQUIRE_CLIENTS").is_none(),
        "needs {what}, and BAILIWICK_REQUIRE_CLIENTS is set"
    );
    println!("skipped: needs {what}");
}

/// A Python that has these modules, if there is one.
pub(crate) fn python(modules: &str) -> Option<String> {
    let python = std::env::var("BAILIWICK_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let probe = Command::new(&python).args(["-c", &format!("import {modules}")]).output();
    if probe.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    skipped(&format!("Python with {modules}"));
    None
}
