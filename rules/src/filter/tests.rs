use super::*;
use crate::corpus;

#[test]
fn the_grammar_corpus_is_accepted_and_rejected() {
    let Some(cases) = corpus::json("grammar/cases.json") else { return };
    let texts = |key: &str| -> Vec<String> { serde_json::from_value(cases[key].clone()).unwrap() };
    let (accept, reject) = (texts("accept"), texts("reject"));
    let refused: Vec<_> = accept.iter().filter(|text| parse(text).is_err()).collect();
    let taken: Vec<_> = reject.iter().filter(|text| parse(text).is_ok()).collect();
    println!("accepted {}/{}", accept.len() - refused.len(), accept.len());
    println!("rejected {}/{}", reject.len() - taken.len(), reject.len());
    assert!(refused.is_empty() && taken.is_empty(), "refused {refused:#?}\ntaken {taken:#?}");
}

#[test]
fn canonical_text_is_read_as_the_same_condition() {
    let Some(cases) = corpus::json("grammar/cases.json") else { return };
    let accept: Vec<String> = serde_json::from_value(cases["accept"].clone()).unwrap();
    for text in accept {
        let first = parse(&text).unwrap().to_string();
        let again =
            parse(&first).unwrap_or_else(|error| panic!("{text:?} as {first:?}: {error}")).to_string();
        // Two negations in a row are read as none.
        let expected = if first.contains("not not") { first.replace("not not ", "") } else { first };
        assert_eq!(expected, again, "{text:?}");
    }
}

#[test]
fn an_error_says_where() {
    let at = |text: &str| parse(text).unwrap_err().at;
    assert_eq!(at("evt.type = open an proc.name = cat"), 16);
    assert_eq!(at("proc.name in (a,)"), 16);
    assert_eq!(at("(a or b"), 7);
    assert_eq!(at("proc.aname[] = a"), 11);
}

#[test]
fn deep_nesting_is_refused_and_does_not_overflow() {
    let deep = |levels: usize| format!("{}a{}", "(".repeat(levels), ")".repeat(levels));
    assert!(parse(&deep(MAX_DEPTH)).is_ok());
    assert!(parse(&deep(1_000_000)).unwrap_err().message.contains("levels"));
    assert!(parse(&"not ".repeat(1_000_000)).is_err());
    assert!(parse(&"tolower(".repeat(1_000_000)).is_err());
}

/// A quote after a backslash never ends a text, so that one at its end is written
/// by its other escape.
#[test]
fn a_text_that_ends_with_a_backslash_is_read_again() {
    let condition = parse("proc.name in (cat, ngin\\)").unwrap().to_string();
    assert_eq!(condition, r#"proc.name in (cat, "ngin\ ")"#);
    assert_eq!(parse(&condition).unwrap().to_string(), condition);
}

/// Functions of several arguments, as Falco's newest grammar has them.
#[test]
fn functions_of_several_arguments() {
    for (text, canonical) in [
        ("concat(proc.name,':' , tolower(fd.name)) = x", r#"concat(proc.name, ":", tolower(fd.name)) = x"#),
        ("a.b in concat('a', 1)", r#"a.b in concat("a", "1")"#),
        ("getopt((a.b, 'x y'), \"t:\")[t] != ''", r#"getopt((a.b, "x y"), "t:")[t] != """#),
        ("len(getopt(a.b, 'nt')) > 1", r#"len(getopt(a.b, "nt")) > 1"#),
        (r#"join('"', (a.b, "\\ ")) exists"#, r#"join("\"", (a.b, "\\ ")) exists"#),
    ] {
        assert_eq!(parse(text).unwrap().to_string(), canonical);
        assert_eq!(parse(canonical).unwrap().to_string(), canonical);
    }
    for text in
        ["concat() = x", "concat(a.b,) = x", "concat(a) = x", "getopt(a.b, 't')[] = x", "concat(((a.b))) = x"]
    {
        assert!(parse(text).is_err(), "{text}");
    }
    assert!(parse(&"getopt(".repeat(1_000_000)).is_err() && parse(&"concat((".repeat(1_000_000)).is_err());
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "[a-c.\\[\\]()'\"\\\\ =<>!,]{0,40}|\\PC{0,40}") {
        if let Ok(expr) = parse(&text) {
            proptest::prop_assert!(parse(&expr.to_string()).is_ok());
        }
    }
}
