//! What fuzzing begins with: cases of Falco's where they are beside the project, and a few of ours.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

/// A target's name, its own seeds, and where more of them are.
pub(crate) type Target = (&'static str, &'static [&'static str], More);

/// Where seeds are that others wrote, or that this project has already.
#[derive(Debug, Clone, Copy)]
pub(crate) enum More {
    Nowhere,
    /// Every text in a JSON file of Falco's corpus.
    Texts(&'static str),
    /// Every file in a folder of Falco's corpus.
    Files(&'static str),
    /// Every line of a file of this workspace.
    Lines(&'static str),
}

/// The targets that begin with something.
pub(crate) const TARGETS: [Target; 9] = [
    ("condition", CONDITIONS, More::Texts("grammar/cases.json")),
    ("rule_file", FILES, More::Texts("loader/cases.json")),
    ("output", OUTPUTS, More::Texts("grammar/cases.json")),
    ("rule_test", TESTS, More::Nowhere),
    ("audit_event", &[], More::Files("k8s_audit")),
    ("falco_alert", ALERTS, More::Nowhere),
    ("dns_message", &[DNS_MESSAGE], More::Nowhere),
    ("statement", &[], More::Lines("query/src/hostile/statements.txt")),
    ("query", &[], More::Lines("query/src/hostile/statements.txt")),
];

const CONDITIONS: &[&str] = &[
    "evt.type in (open, openat) and not proc.name startswith oneof (a, \"b c\")",
    "tolower(proc.name) = val(proc.pname) or join('-', (proc.name, 1)) exists",
    "concat(proc.name, \"a'b\", tolower(proc.exe)) in (x) and getopt((proc.name, 1), 'a:')[t] = concat(\"\\\\ \", '\"')",
    "proc.name = 'a\u{b}and b' or proc.env['a]b['] exists",
    "proc.aname[2]='x' and (fd.net != 10.0.0.0/8 or evt.arg.flags icontains 0x1)",
    "proc.name regex '[[:alpha:]]+(a|b){2,3}\\Qx\\E' and proc.cmdline glob '[!a-c]*\\?' and fd.name pmatch (/a, /b)",
];
const FILES: &[&str] = &[
    "- list: l\n  items: [a, 'b c', l2]\n- macro: m\n  condition: proc.name in (l)\n- rule: R\n  desc: d\n  \
     condition: m and evt.type = open\n  output: \"%proc.name %evt.time\"\n  priority: INFO\n  exceptions:\n  \
     - {name: e, fields: [proc.name, fd.name], comps: [=, in], values: [[a, [b, c]]]}\n",
    "- rule: R\n  condition: and proc.name = x\n  override: {condition: append}\n- &a {macro: m, condition: *b}\n",
    "- required_engine_version: 0.50.0\n- required_plugin_versions:\n  - {name: json, version: 0.7.0}\n",
];
const OUTPUTS: &[&str] = &[
    "*%evt.time: %proc.name[1] 100%% %evt.arg.flags. (%proc.aname[2])",
    "%jevt.value[/a~1b] %10proc.name %toupper(proc.name)",
];
const TESTS: &[&str] = &[
    "- test: Shell\n  given: { evt.type: execve }\n  match:\n    - { proc.name: sh }\n  no_match:\n    - { proc.name: \
     sh, \"proc.aname[2]\": sshd }\n",
    "- test: Privileged\n  match:\n    - { ka.req.pod.containers.privileged: [\"false\", \"true\"] }\n",
];

const ALERTS: &[&str] = &[concat!(
    r#"{"hostname":"n7","output":"Error File below /etc","output_fields":{"container.id":"3ad7b26ded6d","evt.time":1},"#,
    r#""priority":"Error","rule":"Write below etc","source":"syscall","tags":["T1543"],"time":"2023-11-14T22:13:20Z"}"#,
)];
/// Asks for the address of `a.bc`.
const DNS_MESSAGE: &str = "\x00\x07\x01\0\0\x01\0\0\0\0\0\0\x01a\x02bc\0\0\x01\0\x01";

/// All seeds of a target.
pub(crate) fn of((_, own, more): Target) -> Vec<String> {
    let mut seeds: Vec<String> = own.iter().map(|text| (*text).to_owned()).collect();
    match more {
        More::Nowhere => {}
        More::Texts(file) => {
            let text = corpus(file).and_then(|path| fs::read_to_string(path).ok());
            texts(&text.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(Value::Null), &mut seeds);
        }
        More::Files(folder) => {
            let files =
                corpus(folder).and_then(|path| fs::read_dir(path).ok()).into_iter().flatten().flatten();
            seeds.extend(files.filter_map(|file| fs::read_to_string(file.path()).ok()));
        }
        More::Lines(file) => {
            let text = fs::read_to_string(workspace().join(file)).unwrap_or_default();
            // There an expectation stands before each statement, and names for tables.
            let text = text.replace("{table}", "syscalls").replace("{number}", "proc_name");
            seeds.extend(text.lines().map(|line| line.split('\t').next_back().unwrap_or(line).to_owned()));
        }
    }
    seeds
}

fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A file or folder of the corpus; tells why there is none, or ends where it must be there.
fn corpus(name: &str) -> Option<PathBuf> {
    let path = workspace().join("../shared/corpora/falco").join(name);
    if path.exists() {
        return Some(path);
    }
    let required = std::env::var_os("BAILIWICK_REQUIRE_CORPORA").is_some();
    assert!(!required, "{} is not here, and BAILIWICK_REQUIRE_CORPORA is set", path.display());
    eprintln!("skipped: {} is not here", path.display());
    None
}

/// Every text in a JSON value.
fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(pairs) => pairs.values().for_each(|item| texts(item, found)),
        _ => {}
    }
}
