//! What must hold for any bytes at all, for fuzzers and for the test `fuzz`.

use bailiwick_rules::{Output, RuleText, Source, filter, load};

/// A condition is refused, or read as what its canonical text says.
pub(crate) fn condition(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(expr) = filter::parse(&text) else { return };
    let canonical = expr.to_string();
    let again = filter::parse(&canonical).unwrap_or_else(|error| panic!("{canonical:?}: {error}"));
    // Two negations in a row are read as none.
    let expected = canonical.replace("not not ", "");
    assert_eq!(again.to_string().replace("not not ", ""), expected, "{text:?}");
}

/// A rule file is refused with a message for each reason, and what loads compiles.
pub(crate) fn loader(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let lines = text.matches(['\n', '\r']).count();
    let loaded = load(&[RuleText { name: "fuzz.yaml".to_owned(), text }]);
    for diagnostic in &loaded.diagnostics {
        assert!(!diagnostic.message.is_empty());
        assert!(diagnostic.line <= lines + 2, "{}", diagnostic.render());
    }
    for source in [Source::Syscall, Source::K8sAudit] {
        let _ = loaded.rules.compile(source);
    }
}

/// A template is refused or parsed.
pub(crate) fn output(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for source in [Source::Syscall, Source::K8sAudit] {
        match Output::parse(source, &text) {
            Ok(output) => drop(output.unfilled()),
            Err(error) => assert!(!error.message.is_empty()),
        }
    }
}
