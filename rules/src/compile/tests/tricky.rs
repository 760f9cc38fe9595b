//! Conditions that are easily read wrongly, each with the rows that Falco would
//! match, or with what the refusal must name.

use bailiwick_proto::Table;
use serde_json::{Value, json};

use super::{Matching, Source, batch, compile, rule};
use crate::loader::{RuleText, load};

const SHELL: usize = 0;
const OPEN: usize = 1;
const FAILED: usize = 2;
const IPV4: usize = 3;
const IPV6: usize = 4;
const BARE: usize = 5;

const EVERY: &[usize] = &[SHELL, OPEN, FAILED, IPV4, IPV6, BARE];

/// Conditions, and the rows that they match.
const MATCHES: &[(&str, &[usize])] = &[
    // Nothing is in an empty list, whatever the field.
    ("proc.name in ()", &[]),
    ("not proc.name in ()", EVERY),
    ("fd.name pmatch ()", &[]),
    ("fd.sport in ()", &[]),
    // A null is neither equal nor different.
    ("not proc.name != sh", &[SHELL, BARE]),
    ("not (proc.name = sh or proc.name exists)", &[BARE]),
    ("not not proc.name = sh", &[SHELL]),
    ("not(not(proc.name=sh))", &[SHELL]),
    ("not  not not proc.name exists", &[BARE]),
    ("proc.name = ''", &[FAILED]),
    ("proc.name contains ''", &[SHELL, OPEN, FAILED, IPV4, IPV6]),
    ("evt.type=execve and(proc.name=sh)and not fd.name exists", &[SHELL]),
    // Lists.
    ("proc.name in (\"sh\", 'ba sh')", &[SHELL]),
    ("proc.name in sh", &[SHELL]),
    ("proc.name intersects (sh, zsh)", &[SHELL]),
    ("evt.rawres in (-2, 0x3)", &[OPEN, FAILED]),
    // Ancestors: without a level any of them, the process itself is none.
    ("proc.aname = sh", &[]),
    ("proc.aname in (sshd, x)", &[SHELL]),
    ("proc.aname != bash", &[SHELL]),
    ("proc.aname exists", &[SHELL]),
    ("proc.aname startswith ss", &[SHELL]),
    ("proc.aname[0] = sh and proc.aname[1] = bash and proc.aname[3] = systemd", &[SHELL]),
    ("proc.aname[4] exists", &[]),
    ("not proc.aname[4] = x", EVERY),
    // Whole components of paths; slashes too many are none.
    ("fd.name pmatch (/etc/)", &[OPEN, FAILED]),
    ("fd.name pmatch (/etc/pam.d)", &[FAILED]),
    ("fd.name pmatch (/et, /etc/sha)", &[]),
    ("fd.name pmatch (/*/sha*)", &[OPEN]),
    ("fd.name pmatch (/)", &[OPEN, FAILED, IPV4]),
    ("fd.directory pmatch (/etc)", &[OPEN]),
    // Addresses; a version is never the other, so it is different.
    ("fd.net in (192.168.0.0/16, 10.0.0.0/8)", &[IPV4]),
    ("fd.net = fd00::/8", &[IPV6]),
    ("fd.net != 10.0.0.0/8", &[IPV6]),
    ("fd.snet in (10.1.0.0/16)", &[IPV4]),
    ("fd.cnet = 172.16.0.0/12", &[IPV4]),
    ("fd.ip = 10.1.2.3", &[IPV4]),
    ("fd.ip != 10.1.2.3", &[IPV6]),
    ("not fd.ip = 10.1.2.3", &[SHELL, OPEN, FAILED, IPV6, BARE]),
    ("fd.sip in (10.1.2.3, fd00::1)", &[IPV4, IPV6]),
    ("fd.sip = fd00:0:0::0001", &[IPV6]),
    ("fd.port != 443", &[IPV6]),
    ("fd.port in (443, 40000)", &[IPV4, IPV6]),
    ("fd.sport >= 80 and fd.sport < 443", &[IPV6]),
    // Numbers.
    ("evt.rawres >= 0", &[SHELL, OPEN, IPV4]),
    ("evt.rawres < -2", &[IPV6]),
    ("evt.rawres = +3", &[OPEN]),
    ("fd.num = -1", &[FAILED]),
    ("evt.num = 0", &[]),
    ("not evt.num = 0", EVERY),
    // Arguments in Falco's words.
    ("evt.arg.flags contains O_CLOEXEC", &[OPEN]),
    ("evt.arg[flags] = O_RDONLY", &[FAILED]),
    ("evt.arg[1] = sh", &[SHELL]),
    ("evt.arg[7] exists", &[]),
    ("evt.args contains \"flags=O_RDONLY\"", &[OPEN, FAILED]),
    // Texts.
    ("proc.name regex s", &[]),
    ("proc.name regex '(?i)s.|cat'", &[SHELL, OPEN]),
    ("proc.name iglob c?t", &[OPEN]),
    ("proc.cmdline glob '*-[abc] *'", &[SHELL]),
    ("proc.name bcontains 7368", &[SHELL]),
    ("proc.cmdline bstartswith 7368202d", &[SHELL]),
    ("proc.name icontains cAt", &[OPEN]),
    ("proc.args endswith ' id'", &[SHELL]),
    // Fields with fields, and functions.
    ("proc.name = val(proc.pname)", &[SHELL]),
    ("proc.name = proc.pname", &[]),
    ("tolower(proc.name) in (cat)", &[OPEN]),
    ("len(proc.name) = 0", &[FAILED]),
    ("basename(fd.name) = shadow", &[OPEN]),
    ("proc.name = oneof (sh, bash)", &[SHELL]),
    ("proc.cmdline contains allof (sh, id)", &[SHELL]),
    ("proc.cmdline contains oneof (sh, id)", &[]),
    ("fd.num = val(evt.rawres)", &[OPEN]),
    // Ports by name.
    ("fd.sport = https", &[IPV4]),
    ("fd.port in (http, smtp)", &[IPV6]),
    // RE2's POSIX syntax, not that of the regex crate.
    ("proc.args regex '-c [^[]+'", &[SHELL]),
    ("proc.args regex '-c[ &&~]id'", &[SHELL]),
    ("proc.name glob '[[:lower:]]h'", &[SHELL]),
    // Options among arguments; a null among them leaves none.
    ("getopt((proc.args, proc.name), 'c:')[c] = ' id'", &[SHELL]),
    ("getopt((\"-x\", \"-c\", proc.name), \"c:\")[c] in (sh, CAT)", &[SHELL, OPEN]),
    ("getopt((\"-x\", \"-c\", proc.name), \"c:\") intersects (CAT)", &[OPEN]),
    ("getopt((\"-x\", \"-c\", proc.name), \"xc:\") in (x, c, curl)", &[IPV4, IPV6]),
    ("len(getopt((\"-xx\", proc.name), \"x\")) = 2", &[SHELL, OPEN, FAILED, IPV4, IPV6]),
    ("getopt((\"-x\", proc.name), \"xy\")[y] exists", &[]),
    // Only calls that have returned are stored.
    ("evt.dir = <", EVERY),
    ("evt.dir = >", &[]),
    ("container.id = host and container.id exists", &[SHELL]),
    ("evt.is_open_read = true", &[OPEN]),
    ("evt.is_open_read != true", &[]),
    ("evt.failed != true", &[SHELL]),
];

fn argument(name: &str, value: &str) -> Value {
    json!({"name": name, "value": value})
}

fn rows() -> Vec<Value> {
    let ancestor = |name: &str| json!({"pid": 1, "name": name});
    vec![
        json!({"evt_type": "execve", "evt_rawres": 0, "evt_res": "SUCCESS", "proc_name": "sh", "proc_pid": 7,
               "proc_pname": "sh", "proc_args": "-c id", "proc_cmdline": "sh -c id", "container_id": "host",
               "proc_ancestors": [ancestor("bash"), ancestor("sshd"), ancestor("systemd")],
               "evt_arg": [argument("res", "0"), argument("exe", "sh")], "evt_failed": false}),
        json!({"evt_type": "openat", "evt_rawres": 3, "evt_res": "SUCCESS", "proc_name": "CAT", "fd_num": 3,
               "fd_name": "/etc/shadow", "fd_directory": "/etc", "fd_typechar": "f", "evt_is_open_read": true,
               "evt_arg": [argument("fd", "<f>/etc/shadow"), argument("flags", "O_RDONLY|O_CLOEXEC")]}),
        json!({"evt_type": "openat", "evt_rawres": -2, "evt_res": "ENOENT", "proc_name": "", "fd_num": -1,
               "fd_name": "/etc//pam.d/", "evt_arg": [argument("fd", "ENOENT"), argument("flags", "O_RDONLY")]}),
        json!({"evt_type": "connect", "evt_rawres": 0, "proc_name": "curl", "fd_type": "ipv4", "fd_typechar": "4",
               "fd_name": "172.16.0.1:999->10.1.2.3:443", "fd_cip": "172.16.0.1", "fd_sip": "10.1.2.3",
               "fd_lip": "172.16.0.1", "fd_rip": "10.1.2.3", "fd_cport": 999, "fd_sport": 443, "fd_lport": 999,
               "fd_rport": 443, "fd_l4proto": "tcp"}),
        json!({"evt_type": "connect", "evt_rawres": -111, "proc_name": "curl", "fd_type": "ipv6", "fd_typechar": "6",
               "fd_sip": "fd00::1", "fd_cip": "fd00::2", "fd_lip": "fd00::2", "fd_rip": "fd00::1", "fd_sport": 80,
               "fd_cport": 40000, "fd_lport": 40000, "fd_rport": 80}),
        json!({"evt_type": "read"}),
    ]
}

#[test]
fn conditions_match_what_falco_matches() {
    let batches = [false, true].map(|public| batch(Table::Syscalls, &rows(), public));
    for (condition, expected) in MATCHES {
        let compiled = compile(Source::Syscall, &rule(condition));
        for batch in &batches {
            let found: Vec<usize> =
                compiled.matches(batch, Matching::All).iter().map(|found| found.row).collect();
            assert_eq!(found, *expected, "{condition}");
        }
    }
}

#[test]
fn conditions_that_falco_refuses_are_refused_by_what_is_wrong() {
    for (condition, named) in [
        ("proc.name in (sh,)", "after ','"),
        ("proc.duration > 5s", "\"s\""),
        ("evt.rawres > 1.5", "1.5 is no number"),
        ("fd.num = three", "three is no number"),
        ("proc.args[1] = x", "takes no argument"),
        ("proc.aname[x] = sh", "the level must be a number"),
        ("evt.arg.nosuch = x", "evt.arg.nosuch"),
        ("evt.arg = x", "the argument's name is missing"),
        ("fd.sip = 10.0.0.0/8", "is no IP address"),
        ("fd.net = 10.0.0.0/33", "is no network"),
        ("fd.sip startswith 10.0.0.1", "does not apply to an address"),
        ("evt.is_open_read = yes", "true or false"),
        ("fd.num contains 3", "does not apply to a number"),
        ("proc.name bcontains 7", "hexadecimal"),
        ("proc.name regex '('", "no regular expression"),
        ("proc.name = sh proc.pid = 1", "'and', 'or' or the end"),
        ("proc.name is sh", "an operator was expected"),
        ("proc.name =", "a value"),
        ("proc.name exists sh", "'and', 'or' or the end"),
        ("(proc.name = sh", "')' was expected"),
        ("and proc.name = sh", "and"),
        ("proc.nam = sh", "proc.nam"),
        ("fd.num = val(proc.name)", "different types"),
        ("val(proc.name) = sh", "(proc.name)"),
        ("concat(proc.name) = sh", "two texts or more"),
        ("concat(proc.name, fd.num) = sh3", "takes texts"),
        ("getopt(proc.args, 'c:')[c] = id", "proc.args is one value"),
        ("getopt((proc.args), proc.name)[c] = id", "in quotes"),
        ("getopt((fd.num), 'c')[c] = c", "fd.num is none"),
        ("getopt((proc.args), 'c:')[cd] = id", "its letter"),
        ("getopt((proc.args), 'c:') = c", "a list"),
        ("proc.name = \"sh", "a value"),
        ("evt.type = opne", "\"opne\""),
        ("evt.type in (open, foo)", "\"foo\""),
        ("proc.aname = val(proc.name)", "cannot compare these two"),
        ("proc.name = val(proc.aname)", "cannot compare these two"),
        ("tolower(proc.aname) = bash", "any ancestor's"),
        ("concat(proc.aname, 'x') = bashx", "any ancestor's"),
        ("join(',', (fd.ip)) = x", "either end's"),
        ("toupper(fd.sip.name) = A", "a name's addresses"),
        ("fd.num = http", "http is no number"),
        ("proc.name regex '[[:nosuch:]]'", "[:nosuch:]"),
        ("no_such_macro and evt.type = open", "no_such_macro"),
    ] {
        let text = rule(condition);
        let loaded = load(&[RuleText { name: "t.yaml".to_owned(), text }]);
        let errors: Vec<_> = loaded.diagnostics.iter().filter(|found| found.is_error()).collect();
        assert!(loaded.rules.is_empty() && !errors.is_empty(), "{condition} loads");
        let told = errors.iter().any(|error| error.message.contains(named));
        assert!(told, "{condition}: {:?}", errors.iter().map(|error| &error.message).collect::<Vec<_>>());
    }
}

#[test]
fn exceptions_mean_what_falco_reads_in_them() {
    let exception = |parts: &str| {
        format!(
            "- rule: R\n  desc: d\n  condition: evt.type in (execve, openat)\n  output: o\n  priority: INFO\n  \
             exceptions:\n  - {{name: e, {parts}}}\n"
        )
    };
    for (text, expected) in [
        (exception("fields: proc.name, values: [sh, x]"), Ok(vec![OPEN, FAILED])),
        (exception("fields: [proc.name, fd.name], values: [[CAT, /etc/shadow]]"), Ok(vec![SHELL, FAILED])),
        (
            exception("fields: [proc.name, fd.name], comps: ['!=', startswith], values: [[x, /etc]]"),
            Ok(vec![SHELL]),
        ),
        (
            exception("fields: [proc.name, fd.name], comps: [in, pmatch], values: [[[CAT, sh], [/etc/]]]"),
            Ok(vec![SHELL, FAILED]),
        ),
        (exception("fields: [proc.name], values: [[sh], [CAT]]"), Ok(vec![FAILED])),
        (exception("fields: fd.name, comps: pmatch, values: [/etc/pam.d]"), Ok(vec![SHELL, OPEN])),
        (exception("fields: proc.cmdline, values: [sh -c id]"), Ok(vec![OPEN, FAILED])),
        (exception("fields: proc.name, comps: 'startswith  oneof', values: [s, C]"), Ok(vec![FAILED])),
        (exception("fields: proc.name"), Ok(vec![SHELL, OPEN, FAILED])),
        (exception("fields: proc.name, comps: '=', values: [sh]"), Err("takes no list")),
        (
            exception("fields: [proc.name, fd.name], comps: [=], values: [[a, b]]"),
            Err("2 fields but 1 comps"),
        ),
        (exception("fields: [proc.name, fd.name], values: [[a]]"), Err("2 fields but 1 values")),
        (
            exception("fields: [proc.name, fd.name], comps: [=, is], values: [[a, b]]"),
            Err("is not an operator"),
        ),
        (exception("fields: proc.name, values: [[sh]]"), Err("flat list")),
        (exception("fields: proc.nam, values: [sh]"), Err("proc.nam")),
        (exception("fields: proc.nam"), Err("proc.nam")),
        (exception("fields: [proc.name], comps: [in], values: [['sh, CAT']]"), Ok(vec![FAILED])),
        (exception("fields: [fd.name], comps: [pmatch], values: [['/x, /etc']]"), Ok(vec![SHELL])),
        (exception("fields: [proc.cmdline], comps: [in], values: [['sh -c id']]"), Ok(vec![OPEN, FAILED])),
        (exception("values: [sh]"), Err("no fields")),
    ] {
        is_read_as(&text, expected);
    }
}

#[test]
fn overrides_mean_what_falco_reads_in_them() {
    let defined = "- list: shells\n  items: [sh, \"'two words'\", \"one,CAT\"]\n- macro: open\n  \
                   condition: evt.type in (open, openat)\n- rule: R\n  desc: d\n  condition: open\n  output: o\n  \
                   priority: INFO\n";
    for (text, expected) in [
        (
            format!(
                "{defined}- rule: R\n  condition: and proc.name in (shells)\n  override: {{condition: append}}\n"
            ),
            Ok(vec![OPEN]),
        ),
        (
            format!(
                "{defined}- list: shells\n  items: []\n  override: {{items: replace}}\n- rule: R\n  \
                  condition: and proc.name in (shells, CAT)\n  override: {{condition: append}}\n"
            ),
            Ok(vec![OPEN]),
        ),
        (
            format!(
                "{defined}- macro: open\n  condition: or evt.type = execve\n  override: {{condition: append}}\n"
            ),
            Ok(vec![SHELL, OPEN, FAILED]),
        ),
        (
            format!(
                "{defined}- rule: R\n  condition: evt.type = execve\n  enabled: true\n  \
                  override: {{condition: replace, enabled: replace}}\n"
            ),
            Ok(vec![SHELL]),
        ),
        (format!("{defined}- rule: R\n  append: true\n  tags: [x]\n"), Err("use 'override'")),
        (format!("{defined}- rule: R\n  enabled: false\n  override: {{enabled: replace}}\n"), Ok(vec![])),
        (
            format!(
                "{defined}- rule: R\n  exceptions:\n  - {{name: e, fields: proc.name, values: [CAT]}}\n  override: {{exceptions: append}}\n"
            ),
            Ok(vec![FAILED]),
        ),
        (
            format!(
                "{defined}- rule: Unknown\n  condition: and proc.name = x\n  override: {{condition: append}}\n"
            ),
            Err("Unknown"),
        ),
        (
            format!("{defined}- rule: R\n  priority: ERROR\n  override: {{priority: append}}\n"),
            Err("'priority' cannot be appended to"),
        ),
        (
            format!("{defined}- rule: R\n  source: x\n  override: {{source: replace}}\n"),
            Err("'source' cannot be replaced"),
        ),
        (
            format!("{defined}- rule: R\n  desc: e\n  condition: x\n  override: {{desc: replace}}\n"),
            Err("'condition' is given but"),
        ),
        (
            format!(
                "{defined}- rule: R\n  append: true\n  condition: and x\n  override: {{condition: append}}\n"
            ),
            Err("exclude each other"),
        ),
        (format!("{defined}- list: none\n  items: [x]\n  append: true\n"), Err("was not defined before")),
    ] {
        is_read_as(&text, expected);
    }
}

/// Which rows the rules of a file match, or what is wrong with it.
fn is_read_as(text: &str, expected: Result<Vec<usize>, &str>) {
    let loaded = load(&[RuleText { name: "t.yaml".to_owned(), text: text.to_owned() }]);
    let errors: Vec<_> =
        loaded.diagnostics.iter().filter(|found| found.is_error()).map(|found| &found.message).collect();
    match expected {
        Ok(expected) => {
            assert!(errors.is_empty(), "{text}{errors:?}");
            let found = loaded
                .rules
                .compile(Source::Syscall)
                .matches(&batch(Table::Syscalls, &rows(), false), Matching::All);
            assert_eq!(found.iter().map(|found| found.row).collect::<Vec<_>>(), expected, "{text}");
        }
        Err(named) => assert!(errors.iter().any(|error| error.contains(named)), "{text}{errors:?}"),
    }
}
