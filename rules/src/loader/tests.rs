use super::*;
use crate::corpus;
use crate::diagnostic::Severity;

fn load_text(text: &str) -> Loaded {
    load(&[RuleText { name: "rules.yaml".to_owned(), text: text.to_owned() }])
}

fn has_errors(loaded: &Loaded) -> bool {
    loaded.diagnostics.iter().any(Diagnostic::is_error)
}

/// Falco's tests put this before texts that only hold the rule's exceptions.
const EXCEPTION_HEAD: &str = "- rule: test_rule\n  desc: d\n  condition: evt.type = open\n  \
    output: command=%proc.cmdline\n  priority: INFO\n";

/// The canonical text in a case is written as C string literals.
fn unescaped(literal: &str) -> String {
    let pieces =
        literal.split('"').enumerate().fold((String::new(), false, String::new()), |state, (_, piece)| {
            let (mut out, inside, pending) = state;
            let whole = pending + piece;
            if inside && whole.ends_with('\\') {
                return (out, inside, whole[..whole.len() - 1].to_owned() + "\"");
            }
            if inside {
                out += &whole;
            }
            (out, !inside, String::new())
        });
    pieces.0
}

#[test]
fn the_loader_corpus_loads_fails_and_compiles_as_it_should() {
    let Some(cases) = corpus::json("loader/cases.json") else { return };
    let (mut asserted, mut compiled, mut wrong) = (0, 0, Vec::new());
    for case in cases.as_array().unwrap() {
        let texts = case["yaml"].as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned());
        let texts: Vec<String> = texts
            .map(|text| {
                if text.trim_start_matches('\n').starts_with("  exceptions") {
                    EXCEPTION_HEAD.to_owned() + text.trim_start_matches('\n')
                } else {
                    text
                }
            })
            .collect();
        let name = case["test"].as_str().unwrap();
        let (loads, fails) = (case["load_true"].as_u64().unwrap(), case["load_false"].as_u64().unwrap());
        let Some(text) = texts.first().filter(|_| loads + fails == 1) else { continue };
        asserted += 1;
        let loaded = load_text(text);
        if has_errors(&loaded) != (fails == 1) {
            let found: Vec<_> = loaded.diagnostics.iter().map(Diagnostic::render).collect();
            wrong.push(format!("{name}: loads {} {found:#?}", !has_errors(&loaded)));
        }
        for pair in case["compiled"].as_array().unwrap() {
            compiled += 1;
            let (rule, expected) = (pair[0].as_str().unwrap(), unescaped(pair[1].as_str().unwrap()));
            let found = loaded.rules.get(rule).map(|rule| rule.condition.to_string()).unwrap_or_default();
            if found != expected {
                wrong.push(format!("{name}: compiled {found:?}, expected {expected:?}"));
            }
        }
    }
    println!(
        "loader cases: {asserted} of {} assert, {compiled} compiled texts",
        cases.as_array().unwrap().len()
    );
    assert!(wrong.is_empty(), "{} wrong: {wrong:#?}", wrong.len());
}

#[test]
fn official_files_load() {
    for name in ["falco_rules.yaml", "falco-incubating_rules.yaml", "k8s_audit_rules.yaml"] {
        let Some(text) = corpus::text(&format!("rules_official/{name}")) else { return };
        let loaded = load_text(&text);
        let errors: Vec<_> = loaded.diagnostics.iter().filter(|found| found.is_error()).collect();
        let refused: BTreeSet<_> = errors.iter().map(|error| &error.item).collect();
        println!("{name}: {} rules load, {} are refused", loaded.rules.rules.len(), refused.len());
        let rendered: Vec<_> = errors.iter().map(|error| error.render()).collect();
        assert!(rendered.is_empty(), "{}", rendered.join("\n"));
    }
}

#[test]
fn an_error_is_underlined_where_it_stands() {
    let text = "- macro: shells\n  condition: proc.name in (bash, sh)\n\n- rule: R\n  desc: d\n  condition: >\n    \
        evt.type = execve and\n      shells and not prc.name = x and\n    unknown_macro\n  output: o\n  priority: INFO\n\n\
        - rule: S\n  desc: d\n  condition: evt.type = open an proc.name = cat\n  output: \"x %fd.nme\"\n  priority: INFO\n\n\
        - rule: T\n  desc: d\n  condition: evt.type = connect and fd.types = ipv4\n  output: o\n  priority: INFO\n\n\
        - rule: U\n  desc: d\n  condition: evt.type = open\n  output: x %fd.nme\n  priority: URGENT\n\n\
        - rule: Good\n  desc: d\n  condition: evt.type = execve and shells\n  output: x %proc.name\n  priority: INFO\n";
    let loaded = load_text(text);
    assert_eq!(loaded.rules.rules.iter().map(|rule| rule.name.as_str()).collect::<Vec<_>>(), ["Good"]);
    let rendered: Vec<_> = loaded.diagnostics.iter().map(Diagnostic::render).collect();
    insta::assert_snapshot!(rendered.join("\n\n"));
}

#[test]
fn what_is_missing_at_the_end_is_shown_behind_it() {
    let head = "- rule: R\n  desc: d\n  condition: evt.type = open and\n  output: o\n  priority: INFO\n";
    let folded = head.replace("evt.type", ">\n    evt.type").replace("and", "and\n");
    for (text, line, column) in [(head, 3, 33), (folded.as_str(), 4, 24)] {
        let loaded = load_text(text);
        let error = loaded.diagnostics.iter().find(|found| found.is_error()).unwrap();
        assert_eq!((error.line, error.column), (line, column), "{}", error.render());
    }
}

#[test]
fn macros_that_refer_to_themselves_are_refused() {
    let loaded = load_text(
        "- macro: a\n  condition: proc.name = x\n- macro: b\n  condition: a and proc.name = y\n\
         - macro: a\n  condition: b or proc.name = z\n",
    );
    assert!(
        loaded.diagnostics.iter().any(|found| found.message.contains("itself")),
        "{:?}",
        loaded.diagnostics
    );
}

#[test]
fn macros_lists_and_yaml_that_grow_without_end_are_refused() {
    let mut macros = "- macro: m0\n  condition: proc.name = x\n".to_owned();
    let mut lists = "- list: l0\n  items: [a, b]\n".to_owned();
    for level in 1..40 {
        let below = format!("m{}", level - 1);
        macros += &format!("- macro: m{level}\n  condition: {}\n", [below.as_str(); 10].join(" and "));
        lists +=
            &format!("- list: l{level}\n  items: [{}]\n", vec![format!("l{}", level - 1); 10].join(", "));
    }
    assert!(has_errors(&load_text(&macros)));
    assert!(has_errors(&load_text(&lists)));
    let mut bomb = "a0: &a0 x\n".to_owned();
    for level in 1..40 {
        bomb += &format!("a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(", "));
    }
    assert_eq!(load_text(&bomb).diagnostics[0].code, Code::YamlParse);
    assert_eq!(load_text(&"[".repeat(100_000)).diagnostics[0].code, Code::YamlParse);
}

#[test]
fn files_and_conditions_that_are_too_large_or_too_deep_are_refused_with_a_message() {
    let message = |text: &str| {
        let loaded = load_text(text);
        assert!(loaded.rules.is_empty());
        loaded.diagnostics.iter().find(|found| found.is_error()).unwrap().message.clone()
    };
    let rule = |condition: &str| {
        format!("- rule: R\n  desc: d\n  condition: {condition}\n  output: o\n  priority: INFO\n")
    };
    assert!(message(&format!("# {}\n", "x".repeat(10 << 20))).contains("the limit is"));
    assert!(message(&rule(&format!("{}a{}", "(".repeat(1_000), ")".repeat(1_000)))).contains("levels"));
    assert!(message(&rule(&"not (".repeat(1_000))).contains("levels"));
    let nested =
        format!("  exceptions:\n  - {{name: e, fields: a, values: {}{}}}\n", "[".repeat(80), "]".repeat(80));
    assert!(message(&(rule("evt.type = open") + &nested)).contains("deeper"));
    let long = format!("evt.type = open and proc.name in ({})", vec!["name"; 1_500_000].join(","));
    assert!(message(&rule(&long)).contains("bytes"), "{}", message(&rule(&long)));
}

#[test]
fn an_empty_item_is_told_and_passed_by() {
    let rule = "- rule: R\n  desc: d\n  condition: evt.type = open\n  output: o\n  priority: INFO\n";
    let codes = |text: &str| {
        let loaded = load_text(&format!("{text}\n{rule}"));
        let codes: Vec<_> = loaded.diagnostics.iter().map(|found| found.code.as_str().to_owned()).collect();
        (codes.join(" "), loaded.rules.rules.len())
    };
    assert_eq!(codes("- {}"), ("LOAD_UNKNOWN_ITEM".to_owned(), 1));
    assert_eq!(codes("-"), (String::new(), 1));
    assert_eq!(codes("- []").0, "LOAD_ERR_YAML_VALIDATE");
}

#[test]
fn a_priority_is_read_in_any_case_and_whole() {
    for (text, priority) in [
        ("INFO", Priority::Informational),
        ("warning", Priority::Warning),
        ("Informational", Priority::Informational),
    ] {
        assert_eq!(text.parse(), Ok(priority));
    }
    for text in ["", "URGENT", "crit", "E", "warn"] {
        assert!(text.parse::<Priority>().is_err(), "{text}");
    }
}

#[test]
fn an_override_keeps_what_it_does_not_name() {
    let loaded = load_text(
        "- rule: R\n  desc: d\n  condition: evt.type = open\n  output: a\n  priority: INFO\n  tags: [x]\n\
         - rule: R\n  condition: and proc.name = cat\n  priority: ERROR\n  tags: [y]\n  \
         override: {condition: append, priority: replace, tags: append}\n",
    );
    let rule = loaded.rules.get("R").unwrap();
    assert_eq!(rule.condition.to_string(), "(evt.type = open and proc.name = cat)");
    assert_eq!((rule.priority, rule.tags.len(), rule.output.as_str()), (Priority::Error, 2, "a"));
    assert!(loaded.diagnostics.iter().all(|found| found.severity == Severity::Warning));
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "(- (rule|macro|list|condition|items|output|exceptions|override): ?[a-z\\[\\]{},:'\"|> ]{0,20}\n?  ){0,8}") {
        let _ = load_text(&text);
    }
}

#[test]
fn our_own_rules_load_without_a_word() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/rules/bailiwick_rules.yaml");
    let loaded = load_text(&std::fs::read_to_string(path).unwrap());
    let found: Vec<_> = loaded.diagnostics.iter().map(Diagnostic::render).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
    for rule in &loaded.rules.rules {
        assert!(rule.desc.len() > 80 && rule.tags.iter().any(|tag| tag.starts_with('T')), "{}", rule.name);
        let output = crate::Output::parse(rule.source, &rule.output).unwrap();
        assert_eq!(output.unfilled(), Vec::<&str>::new(), "{}", rule.name);
    }
}

/// Each of our rules has an event that it finds and one that it leaves alone.
#[test]
fn our_own_rules_find_what_they_should_and_nothing_else() {
    let read = |name: &str| {
        let path = format!("{}/../deploy/rules/{name}", env!("CARGO_MANIFEST_DIR"));
        RuleText { name: name.to_owned(), text: std::fs::read_to_string(path).unwrap() }
    };
    let loaded = load(&[read("bailiwick_rules.yaml")]);
    let report = crate::run_cases(&loaded.rules, &[read("bailiwick_rules_test.yaml")]);
    assert_eq!((report.failures, report.untested), (vec![], vec![]));
    assert!(report.passed >= 2 * loaded.rules.len());
}
