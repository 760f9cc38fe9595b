use super::*;
use bailiwick_proto::{Kind, Table};

fn access(source: Source, name: &str, arg: Option<&str>) -> Lookup {
    lookup(source, &FieldRef { name: name.to_owned(), arg: arg.map(str::to_owned), at: 0 })
}

/// Every column that a field reads is one of its table's, of the right kind.
#[test]
fn fields_read_columns_that_exist() {
    for table in [Table::Syscalls, Table::ApiAccess] {
        for column in table.columns() {
            let source = if table == Table::Syscalls { Source::Syscall } else { Source::K8sAudit };
            let field = column.name.replacen('_', ".", 1);
            let Lookup::Filled(access) = access(source, &field, None) else { continue };
            let expected = match column.kind {
                Kind::Text if matches!(access, Access::Ip(_)) => Type::Ip,
                Kind::Int => Type::Int,
                Kind::Bool => Type::Bool,
                _ => continue,
            };
            assert_eq!(access.value_type(), expected, "{field}");
        }
    }
}

#[test]
fn a_field_is_filled_unfilled_or_unknown() {
    let at = |name, arg| access(Source::Syscall, name, arg);
    assert_eq!(at("proc.aname", Some("2")), Lookup::Filled(Access::Ancestor(1, Part::Name)));
    assert_eq!(at("proc.aname", None), Lookup::Filled(Access::AnyAncestor(Part::Name)));
    assert_eq!(at("evt.arg.flags", None), at("evt.arg", Some("flags")));
    assert_eq!(at("fd.types", None), Lookup::Unfilled);
    assert_eq!(at("fd.spi", None), Lookup::Unknown);
    assert_eq!(at("ka.verb", None), Lookup::Unknown);
    assert!(matches!(at("proc.aname", Some("x")), Lookup::BadArgument(_)));
    assert!(matches!(at("proc.name", Some("x")), Lookup::BadArgument(_)));
    assert_eq!(at("fd.spi", Some("x")), Lookup::Unknown);
    assert_eq!(at("thread.cpu.user", None), Lookup::Unfilled);
}

/// An argument that the collector writes can be compared with, and one that
/// nobody writes is refused by name. Method: what the collector's own test says
/// that it writes for each call.
#[test]
fn arguments_are_those_that_the_collector_writes() {
    let written = include_str!(
        "../../../collector/src/syscalls/arguments/snapshots/bailiwick_collector__syscalls__arguments__tests__every_call_in_falcos_words.snap"
    );
    let lines = written.rsplit("---\n").next().unwrap().lines();
    let names = lines.flat_map(str::split_whitespace).filter_map(|word| Some(word.split_once('=')?.0));
    let names: std::collections::BTreeSet<&str> = names.collect();
    assert!(names.len() > 50);
    let calls = written.rsplit("---\n").next().unwrap().lines().filter_map(|line| line.split(' ').next());
    let calls: std::collections::BTreeSet<&str> = calls.chain(["procexit"]).collect();
    let starred = include_str!("events.txt").split_whitespace().filter_map(|name| name.strip_suffix('*'));
    assert_eq!(starred.collect::<std::collections::BTreeSet<_>>(), calls);
    for name in names {
        assert!(syscall::ARGUMENTS.contains(&name), "{name}");
        assert!(matches!(access(Source::Syscall, &format!("evt.arg.{name}"), None), Lookup::Filled(_)));
    }
    for name in ["evt.arg.nmae", "evt.arg.pgft_maj", "evt.rawarg.flags"] {
        assert_eq!(access(Source::Syscall, name, None), Lookup::Unfilled, "{name}");
    }
    assert_eq!(access(Source::Syscall, "evt.arg", Some("nmae")), Lookup::Unfilled);
    assert!(matches!(access(Source::Syscall, "evt.arg", Some("0")), Lookup::Filled(_)));
}

/// People find every refused field in the manual, and none that is filled.
#[test]
fn the_manual_lists_the_fields_that_are_refused() {
    let manual = include_str!("../../../docs/rules.md");
    let listed = manual.split("### Fields that are refused").nth(1).unwrap().split("\n### ").next().unwrap();
    let listed: std::collections::BTreeSet<&str> = listed
        .lines()
        .filter(|line| line.starts_with("| `"))
        .flat_map(|line| line.split('`').skip(3).step_by(2))
        .collect();
    let known = syscall::UNFILLED.iter().chain(audit::UNFILLED);
    let known: std::collections::BTreeSet<String> =
        known.map(|name| if name.ends_with('.') { format!("{name}*") } else { (*name).to_owned() }).collect();
    assert_eq!(listed, known.iter().map(String::as_str).collect());
}

/// Every field that `sysdig` lists is filled, or refused by name; but for what
/// Falco has dropped since.
#[test]
fn no_field_of_sysdig_is_unknown() {
    let Ok(output) = std::process::Command::new("sysdig").arg("-l").output() else {
        println!("skipped: sysdig is not installed");
        return;
    };
    let dropped = ["mesos.", "marathon.", "span.", "evtin."];
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let names = text.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()));
    let names = names.filter_map(|line| line.split_whitespace().next()).filter(|name| name.contains('.'));
    let names: Vec<_> = names.filter(|name| !dropped.iter().any(|start| name.starts_with(start))).collect();
    let unknown: Vec<_> = names.iter().filter(|name| !is_known_in(Source::Syscall, name)).collect();
    println!("{} fields of sysdig", names.len());
    assert!(names.len() > 100 && unknown.is_empty(), "{unknown:?}");
}
