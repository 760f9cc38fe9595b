use proptest::prelude::*;

use super::*;
use crate::loader::load;

const RULES: &str = r#"
- rule: Shell
  desc: d
  condition: evt.type = execve and proc.name in (sh, bash) and container.id != host and not proc.aname[2] = sshd
  output: o
  priority: INFO
- rule: Privileged
  desc: d
  condition: ka.verb = create and ka.req.pod.containers.privileged intersects (true)
  output: o
  priority: INFO
  source: k8s_audit
- rule: Untested
  desc: d
  condition: evt.type = open
  output: o
  priority: INFO
"#;

fn text(name: &str, text: &str) -> RuleText {
    RuleText { name: name.into(), text: text.into() }
}

fn run(tests: &str) -> CaseReport {
    let loaded = load(&[text("rules.yaml", RULES)]);
    assert!(loaded.diagnostics.is_empty());
    run_cases(&loaded.rules, &[text("rules_test.yaml", tests)])
}

#[test]
fn events_match_or_not_as_they_should() {
    let report = run(r#"
- test: Shell
  given: { evt.type: execve, container.id: 3ad7b26ded6d }
  match:
    - { proc.name: sh }
    - { proc_name: bash, proc.pname: sshd }
  no_match:
    - { proc.name: ls }
    - { proc.name: sh, container.id: host }
    - { proc.name: sh, "proc.aname[2]": sshd }
- test: Privileged
  given: { ka.verb: create }
  match:
    - { ka.req.pod.containers.privileged: ["false", "true"] }
  no_match:
    - { ka.req.pod.containers.privileged: "false" }
    - { ka.req.pod.containers.image: nginx }
"#);
    let untested = vec!["Untested".to_owned()];
    assert_eq!(report, CaseReport { passed: 8, failures: vec![], untested });
}

#[test]
fn what_fails_or_is_wrong_is_named_with_its_line() {
    let report = run(r#"
- test: Shell
  match:
    - { evt.type: open }
    - { proc.nam: sh }
    - { proc.pid: many }
    - { fd.ip: 1.2.3.4 }
- test: Shell
  no_match:
    - { evt.type: execve, proc.name: sh, container.id: x }
- test: Nobody
  match: [{}]
- test: Shell
- rule: Shell
- 7
"#);
    let lines: Vec<String> = report
        .failures
        .iter()
        .map(|failure| format!("{}:{} {:?} {}", failure.file, failure.line, failure.rule, failure.message))
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn files_are_known_by_name() {
    for (name, is) in [
        ("rules_test.yaml", true),
        ("a/b_tests.yml", true),
        ("rules.yaml", false),
        ("test.yaml", false),
        ("rules_test.json", false),
    ] {
        assert_eq!(is_case_file(name), is, "{name}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(tests in "(- test: Shell\n  match:\n    - \\{ [a-z.]{1,12}(\\[[0-9a-z]{0,9}\\])?: [a-z0-9\\[\\]]{0,6} \\}\n|\\PC{0,40}\n){0,6}") {
        run(&tests);
    }
}
