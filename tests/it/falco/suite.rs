//! The suite's files: templates into cases, cases into what is done.

use std::path::Path;

use serde_json::{Map, Value};

use super::Case;
use super::sandbox::{Place, Sandbox};
use crate::harness::skip;

/// Does everything that the files of the folder say.
pub(crate) fn perform(folder: &Path, sandbox: &Sandbox) -> Vec<Case> {
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut cases = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        // A template that is no YAML; only other architectures need it.
        let lines: Vec<_> = text.lines().filter(|line| !line.contains("runIf: %{")).collect();
        let file: Value = serde_saphyr::from_str(&lines.join("\n")).unwrap();
        for test in file["tests"].as_array().unwrap() {
            for item in items(&test["cases"]) {
                cases.extend(act(&filled(test, &item), sandbox));
            }
        }
    }
    assert!(!cases.is_empty());
    cases
}

/// The values that a test is made with, one after the other.
fn items(cases: &Value) -> Vec<Map<String, Value>> {
    let Some(cases) = cases.as_array() else { return vec![Map::new()] };
    let mut all = Vec::new();
    for case in cases {
        let values = case["values"].as_object().unwrap();
        if case["strategy"] == "vector" {
            all.push(values.clone());
            continue;
        }
        let mut some = vec![Map::new()];
        for (name, choices) in values {
            let choices = choices.as_array().cloned().unwrap_or_else(|| vec![choices.clone()]);
            let with = |item: &Map<String, Value>, choice: &Value| {
                let mut item = item.clone();
                item.insert(name.clone(), choice.clone());
                item
            };
            some = some.iter().flat_map(|item| choices.iter().map(|choice| with(item, choice))).collect();
        }
        all.extend(some);
    }
    all
}

/// The test with `%{ item.NAME }` replaced.
fn filled(value: &Value, item: &Map<String, Value>) -> Value {
    match value {
        Value::String(text) => {
            let mut text = text.clone();
            for (name, value) in item {
                if let Some(value) = value.as_str() {
                    text = text.replace(&format!("%{{ item.{name} }}"), value);
                }
            }
            text.into()
        }
        Value::Array(values) => values.iter().map(|value| filled(value, item)).collect(),
        Value::Object(fields) => {
            let some = fields.iter().filter(|(name, _)| *name != "cases");
            some.map(|(name, value)| (name.clone(), filled(value, item))).collect()
        }
        other => other.clone(),
    }
}

/// Does one case; none if it needs what is not here.
fn act(test: &Value, sandbox: &Sandbox) -> Option<Case> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let context = &test["context"];
    let rule = text(&test["rule"]).unwrap();
    let place = match context["container"].is_object() {
        true if rule.contains("Privileged Container") => Place::Privileged,
        true => Place::Capable,
        false => Place::Host,
    };
    for resource in test["resources"].as_array().into_iter().flatten() {
        match (resource["type"].as_str(), resource["subtype"].as_str()) {
            (Some("fd"), Some("file")) => sandbox.file(resource["filePath"].as_str().unwrap()),
            (Some("process"), _) if resource["fileLess"] == true => {
                sandbox.run(Place::Host, None, &["perl", "-e", FILELESS]);
            }
            _ => {}
        }
    }
    if let Some(before) = test["before"].as_str() {
        sandbox.run(Place::Host, None, &["sh", "-c", before]);
    }
    let empty = Vec::new();
    let processes = context["processes"].as_array().unwrap_or(&empty);
    let name = text(&test["name"]).unwrap();
    let mut users = processes.iter().filter_map(|process| process["user"].as_str());
    if users.any(|user| skip::without_user(user, &name)) {
        return None;
    }
    match test["steps"].as_array() {
        Some(steps) => steps.iter().for_each(|step| stepped(step, processes.first(), place, sandbox)),
        None => started(processes, place, sandbox),
    }
    let outcome = &test["expectedOutcome"];
    Some(Case { name, rule, fields: outcome["outputFields"].as_object().unwrap().clone() })
}

/// Copies itself into memory and starts that.
const FILELESS: &str = r#"
    my $name = "eg_memfd";
    my $fd = syscall(319, $name, 0);
    open(my $to, ">&=", $fd); open(my $from, "<", "/bin/true");
    binmode $to; binmode $from; my $code = do { local $/; <$from> };
    print $to $code; $to->flush;
    exec { "/proc/self/fd/$fd" } "eg_memfd";
"#;

/// Starts the processes, each as the child of the one before.
fn started(processes: &[Value], place: Place, sandbox: &Sandbox) {
    let Some((last, before)) = processes.split_last() else { return };
    let name = last["name"].as_str().unwrap();
    let path = last["exe"].as_str().map_or_else(|| format!("/tmp/eg/{name}"), str::to_owned);
    sandbox.copy("/bin/true", &path);
    let user = last["user"].as_str();
    let words = last["args"].as_str().unwrap_or_default();
    match before.first() {
        None => {
            let argv: Vec<_> = [path.as_str()].into_iter().chain(words.split_whitespace()).collect();
            sandbox.run(place, user, &argv);
        }
        Some(parent) => {
            let parent = format!("/tmp/eg/{}", parent["name"].as_str().unwrap());
            sandbox.copy("/bin/sh", &parent);
            let user = user.map_or_else(String::new, |user| format!("chroot --userspec={user} / "));
            sandbox.run(place, None, &[&parent, "-c", &format!("{user}{path} {words}; true")]);
        }
    }
}

/// Makes one system call, from a process of the right name.
fn stepped(step: &Value, process: Option<&Value>, place: Place, sandbox: &Sandbox) {
    let name = process.map_or("eg_actor", |process| process["name"].as_str().unwrap());
    let path = format!("/tmp/eg/{name}");
    sandbox.copy("/usr/bin/perl", &path);
    let user = process.and_then(|process| process["user"].as_str());
    let code = call(step["syscall"].as_str().unwrap(), &step["args"]);
    let output = sandbox.run(place, user, &[&path, "-e", &code]);
    if !output.stderr.is_empty() {
        println!("{code}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The call as Perl, which hands over no literal: what is called might write to it.
fn call(name: &str, args: &Value) -> String {
    let (number, rest) = made(name, args);
    let strings: Vec<_> =
        rest.iter().filter(|arg| arg.starts_with('\'') || arg.starts_with("pack")).collect();
    let mut next = 0..strings.len();
    let mut named = |arg: &String| match strings.contains(&arg) {
        true => next.next().map_or_else(String::new, |at| format!("$given[{at}]")),
        false => arg.clone(),
    };
    let args: Vec<_> = rest.iter().map(&mut named).collect();
    let strings: Vec<_> = strings.iter().map(|arg| arg.as_str()).collect();
    format!("my @given = ({}); syscall({number}, {}) >= 0 or die $!", strings.join(", "), args.join(", "))
}

/// Its number, and its arguments as Perl's expressions.
fn made(name: &str, args: &Value) -> (u32, Vec<String>) {
    let text = |name: &str| format!("'{}'", args[name].as_str().unwrap());
    let how = if args["how"].is_object() { &args["how"] } else { args };
    let flags = || how["flags"].as_str().unwrap().split('|').map(flag).sum::<u64>();
    let mode = how["mode"].as_u64().unwrap_or(0o644);
    let here = || "-100".to_owned();
    match name {
        "open" => (2, vec![text("pathname"), flags().to_string(), mode.to_string()]),
        "openat" => (257, vec![here(), text("pathname"), flags().to_string(), mode.to_string()]),
        "openat2" => {
            // The kernel refuses a mode for what is not made.
            let mode = if flags() & 0o100 == 0 { 0 } else { 0o644 };
            (
                437,
                vec![
                    here(),
                    text("pathname"),
                    format!("pack('QQQ', {}, {mode}, 0)", flags()),
                    "24".to_owned(),
                ],
            )
        }
        "link" => (86, vec![text("oldPath"), text("newPath")]),
        "linkat" => (265, vec![here(), text("oldPath"), here(), text("newPath"), "0".to_owned()]),
        "symlink" => (88, vec![text("target"), text("linkPath")]),
        "symlinkat" => (266, vec![text("target"), here(), text("linkPath")]),
        "socket" => (41, ["17", "3", "0"].map(str::to_owned).to_vec()),
        other => panic!("the suite makes a call that is not known here: {other}"),
    }
}

fn flag(name: &str) -> u64 {
    match name {
        "O_RDONLY" => 0,
        "O_WRONLY" => 1,
        "O_CREAT" => 0o100,
        "O_TRUNC" => 0o1_000,
        other => panic!("a flag that is not known here: {other}"),
    }
}
