//! Rules over history: what they find is what they find live, and nobody else's.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use bailiwick_proto::Table;
use bailiwick_rules::{Matching, RuleSet, RuleText, Rulebook, Source, load};
use datafusion::arrow::array::{AsArray, RecordBatch};
use proptest::prelude::*;

use super::bucket::{Bucket, Row, Served, rows};
use super::tenant;
use crate::{Code, Config, Principal, Trial, TrialReport};

const RULES: &str = "
- rule: Shell
  desc: d
  condition: evt.type in (execve, execveat) and proc.name in (sh, bash)
  output: shell %proc.name of %user.name
  priority: WARNING
- rule: Any start
  desc: d
  condition: evt.type = execve
  output: start %proc.name
  priority: NOTICE
- rule: Not root
  desc: d
  condition: not user.name = root
  output: by %user.name
  priority: INFO
  enabled: false
- rule: Secrets
  desc: d
  condition: ka.verb = list and ka.target.resource = secrets
  output: list %ka.user.name
  priority: ERROR
  source: k8s_audit
";

fn set(text: &str) -> Arc<RuleSet> {
    let loaded = load(&[RuleText { name: "rules.yaml".into(), text: text.into() }]);
    assert!(!loaded.diagnostics.iter().any(|found| found.is_error()), "{:?}", loaded.diagnostics);
    Arc::new(loaded.rules)
}

/// System calls of one process run, numbered from `first`: no two are the same event.
fn events(tenant: &str, first: usize, calls: &[(&str, &str)]) -> RecordBatch {
    let seqs: Vec<String> = (first..first + calls.len()).map(|at| at.to_string()).collect();
    let made: Vec<[(&str, &str); 7]> = calls
        .iter()
        .zip(&seqs)
        .map(|((kind, name), seq)| {
            [
                ("tenant", tenant),
                ("evt_type", *kind),
                ("proc_name", *name),
                ("exec_id", tenant),
                ("seq", seq.as_str()),
                ("node", "n1"),
                ("user_name", "root"),
            ]
        })
        .collect();
    rows(Table::Syscalls, &made.iter().map(|row| &row[..]).collect::<Vec<_>>())
}

/// Rows of two tenants in files, WAL and both tables.
async fn mixed() -> (Bucket, Served) {
    let mut bucket = Bucket::new().await;
    let through = bucket.wal(&[]).await;
    let acme = events("acme", 0, &[("execve", "sh"), ("open", "sh"), ("execve", "ls")]);
    let globex = events("globex", 0, &[("execveat", "bash")]);
    bucket.commit(Table::Syscalls, through, &[("acme", acme), ("globex", globex)]).await;
    let list: Row<'_> = &[
        ("tenant", "globex"),
        ("verb", "list"),
        ("resource", "secrets"),
        ("audit_id", "a1"),
        ("stage", "ResponseComplete"),
        ("user", "mallory"),
    ];
    bucket.wal(&[(Table::Syscalls, events("acme", 3, &[("execve", "bash")]))]).await;
    bucket.wal(&[(Table::ApiAccess, rows(Table::ApiAccess, &[list]))]).await;
    let served = bucket.serve(&Config::default());
    served.engine.rules().set(set(RULES));
    (bucket, served)
}

#[tokio::test]
async fn a_rule_is_a_table_of_its_matches() {
    let (_bucket, served) = mixed().await;
    let operator = Principal::operator();
    let text = served
        .text(
            &operator,
            "SELECT tenant, rule, priority, source, mode, output, rule_source, date \
             FROM falco_matches('Shell') ORDER BY tenant, output",
        )
        .await;
    let row = |tenant: &str, shell: &str| {
        format!("{tenant} Shell Warning syscall backtest shell {shell} of root rules.yaml 2026-11-24")
    };
    assert_eq!(text, [row("acme", "bash"), row("acme", "sh"), row("globex", "bash")].join("\n"));
    let all = "SELECT rule, count(*) FROM falco_matches() GROUP BY 1 ORDER BY 1";
    assert_eq!(served.text(&operator, all).await, "Any start 3\nSecrets 1\nShell 3");
    // Looking does not alert, so a disabled rule may be looked at.
    assert_eq!(served.text(&operator, "SELECT count(*) FROM falco_matches('Not root')").await, "0");
    let names: Vec<_> = Table::Alerts.public_schema().fields().iter().map(|f| f.name().clone()).collect();
    let rows = served.ask(&operator, "SELECT * FROM falco_matches('Secrets')").await.unwrap();
    let answered: Vec<_> = rows[0].schema().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(answered, names);
}

#[tokio::test]
async fn a_tenant_finds_matches_among_its_own_rows_only() {
    let (bucket, served) = mixed().await;
    // Not even opened: another tenant's file may be damaged.
    bucket.damage(Table::Syscalls, "globex").await;
    let acme = tenant("acme");
    for (sql, expected) in [
        ("SELECT count(*), min(tenant), max(tenant) FROM falco_matches('Shell')", "2 acme acme"),
        ("SELECT count(*) FROM falco_matches('Shell') WHERE tenant = 'globex'", "0"),
        ("SELECT count(*) FROM falco_matches('Secrets')", "0"),
        ("SELECT count(*) FROM falco_matches() WHERE CAST(exec_id AS VARCHAR) = 'globex'", "0"),
    ] {
        assert_eq!(served.text(&acme, sql).await, expected, "{sql}");
    }
    let report = tried(&served, &acme, RULES, None).await;
    assert!(report.rules.iter().all(|rule| rule.tenants.keys().all(|name| name == "acme")));
}

/// Conditions on what an alert has of its event leave files unopened.
#[tokio::test]
async fn conditions_reach_the_scan() {
    let (bucket, served) = mixed().await;
    bucket.damage(Table::Syscalls, "globex").await;
    let operator = Principal::operator();
    for (condition, count) in [
        ("tenant = 'acme'", "2"),
        ("time > '2027-01-01T00:00:00Z'", "0"),
        ("date < '2026-11-24'", "0"),
        ("tenant = 'acme' AND output LIKE '%bash%'", "1"),
    ] {
        let sql = format!("SELECT count(*) FROM falco_matches('Shell') WHERE {condition}");
        assert_eq!(served.text(&operator, &sql).await, count, "{condition}");
    }
}

#[tokio::test]
async fn what_is_no_rule_is_said() {
    let (_bucket, served) = mixed().await;
    for (call, told) in [
        ("falco_matches('Shel')", "no rule \"Shel\" is loaded"),
        ("falco_matches(7)", "no rule"),
        ("falco_matches('Shell', 'x')", "takes the name of one rule"),
    ] {
        let error = served.ask(&tenant("acme"), &format!("SELECT * FROM {call}")).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidQuery);
        assert!(error.to_string().contains(told), "{error}");
    }
}

async fn tried(served: &Served, who: &Principal, new: &str, old: Option<&str>) -> TrialReport {
    let trial = Trial {
        rules: set(new),
        old: old.map(set),
        from: "2026-11-23T18:00:00Z".parse().unwrap(),
        to: "2026-11-25T18:00:00Z".parse().unwrap(),
        tenants: vec![],
    };
    let told: Arc<Mutex<Vec<crate::Progress>>> = Arc::default();
    let tells = Arc::clone(&told);
    let report = served.engine.try_rules(who, trial, move |at| tells.lock().unwrap().push(at)).await.unwrap();
    let told = told.lock().unwrap();
    let last = told.last().unwrap();
    assert_eq!((last.done, last.total, last.events), (6, 6, report.events));
    report
}

#[tokio::test]
async fn a_trial_says_who_is_found_how_often_and_what_hides_what() {
    let (_bucket, served) = mixed().await;
    let report = tried(&served, &Principal::operator(), RULES, None).await;
    let mut report = serde_json::to_value(report).unwrap();
    for rule in report["rules"].as_array_mut().unwrap() {
        // Ids are compared with live ones elsewhere.
        for example in rule["examples"].as_array_mut().unwrap() {
            assert_eq!(example["alert_id"].take().as_str().unwrap().len(), 32);
        }
    }
    insta::assert_snapshot!(serde_json::to_string_pretty(&report).unwrap());
}

#[tokio::test]
async fn a_comparison_names_what_a_change_adds_and_removes() {
    let (_bucket, served) = mixed().await;
    let new = RULES.replace("(sh, bash)", "(sh, ls)");
    let report = tried(&served, &Principal::operator(), &new, Some(RULES)).await;
    let changes: Vec<_> = report
        .changes
        .unwrap()
        .into_iter()
        .map(|change| (change.rule, change.before, change.after, change.added, change.removed))
        .collect();
    // `bash` is left to the next rule where that looks at its event type.
    let expected = [("Any start".to_owned(), 1, 1, 1, 1), ("Shell".to_owned(), 3, 2, 1, 2)];
    assert_eq!(changes, expected);
    let same = tried(&served, &Principal::operator(), RULES, Some(RULES)).await;
    assert_eq!(same.changes.unwrap(), []);
}

#[tokio::test]
async fn a_trial_has_limits() {
    let (_bucket, served) = mixed().await;
    let of = |from: &str, to: &str| Trial {
        rules: set(RULES),
        old: None,
        from: from.parse().unwrap(),
        to: to.parse().unwrap(),
        tenants: vec!["acme".into()],
    };
    for (from, to) in
        [("2026-11-24T00:00:00Z", "2026-11-24T00:00:00Z"), ("2020-01-01T00:00:00Z", "2026-01-01T00:00:00Z")]
    {
        let error = served.engine.try_rules(&Principal::operator(), of(from, to), |_| {}).await.unwrap_err();
        assert_eq!(error.code(), Code::BadRequest);
    }
    let trial = of("2026-11-24T00:00:00Z", "2026-11-25T00:00:00Z");
    let report = served.engine.try_rules(&Principal::operator(), trial, |_| {}).await.unwrap();
    assert!(report.rules.iter().all(|rule| rule.tenants.keys().all(|name| name == "acme")));
    assert_eq!(report.events, 3);
}

/// Goal: a rule that compares with a name finds the name's addresses in stored
/// rows, or it is said that nobody knows them. Method: a name that every machine
/// knows, asked for by an operator, by a tenant, and by a tenant once the rules in
/// use know it; and one that nobody has.
#[tokio::test]
async fn names_are_looked_up_for_admins_and_learnt_by_tenants() {
    const NAMED: &str = "- rule: Named\n  desc: d\n  condition: evt.type = connect and fd.sip.name in \
        (localhost, no-such-name.invalid)\n  output: o\n  priority: INFO\n- rule: Other\n  desc: d\n  \
        condition: ka.verb = list\n  output: o\n  priority: INFO\n  source: k8s_audit\n";
    let mut bucket = Bucket::new().await;
    let call: Row<'_> =
        &[("tenant", "acme"), ("evt_type", "connect"), ("fd_sip", "127.0.0.1"), ("exec_id", "e")];
    bucket.wal(&[(Table::Syscalls, rows(Table::Syscalls, &[call]))]).await;
    let served = bucket.serve(&Config::default());
    let found = async |who: &Principal| {
        let report = tried(&served, who, NAMED, None).await;
        (report.rules[0].matches, report.unresolved)
    };
    let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(found(&tenant("acme")).await, (0, named(&["localhost", "no-such-name.invalid"])));
    assert_eq!(found(&Principal::operator()).await, (1, named(&["no-such-name.invalid"])));
    let in_use = set(NAMED);
    let _compiled = Rulebook::new(&in_use);
    in_use.domains().put("localhost", ["127.0.0.1".parse().unwrap()]);
    served.engine.rules().set(in_use);
    assert_eq!(found(&tenant("acme")).await, (1, named(&["no-such-name.invalid"])));
}

/// The ids that a batch's matches have live.
fn live(book: &Rulebook, batch: &RecordBatch, matching: Matching) -> BTreeSet<String> {
    let found = book.matches(Source::Syscall, batch, matching);
    found.into_iter().map(|found| book.alert_id(Source::Syscall, batch, found)).collect()
}

fn ids(batches: &[RecordBatch]) -> BTreeSet<String> {
    let column = |batch: &RecordBatch| batch.column_by_name("alert_id").cloned();
    let columns: Vec<_> = batches.iter().filter_map(column).collect();
    columns.iter().flat_map(|ids| ids.as_string::<i32>().iter().flatten().map(str::to_owned)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Goal: a rule's alerts over history are those that it raised live. Method:
    /// events that are generated, cut into batches at any place, some in the
    /// WAL and some in files, against the rules on each batch as it streams.
    #[test]
    fn history_gives_the_ids_that_live_gives(
        calls in prop::collection::vec((prop::sample::select(vec!["execve", "execveat", "open", "close"]),
            prop::sample::select(vec!["sh", "bash", "ls", ""])), 1..60),
        cut in 0..60usize,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut bucket = Bucket::new().await;
            let all = events("acme", 0, &calls);
            let cut = cut.min(all.num_rows());
            let parts = [all.slice(0, cut), all.slice(cut, all.num_rows() - cut)];
            let through = bucket.wal(&[]).await;
            bucket.commit(Table::Syscalls, through, &[("acme", parts[0].clone())]).await;
            bucket.wal(&[(Table::Syscalls, parts[1].clone())]).await;
            let served = bucket.serve(&Config::default());
            let rules = set(RULES);
            served.engine.rules().set(Arc::clone(&rules));
            let book = Rulebook::new(&rules);
            let streamed: BTreeSet<String> =
                parts.iter().flat_map(|part| live(&book, part, Matching::All)).collect();
            let found = served.ask(&tenant("acme"), "SELECT alert_id FROM falco_matches()").await.unwrap();
            prop_assert_eq!(&ids(&found), &streamed);
            let first: BTreeSet<String> =
                parts.iter().flat_map(|part| live(&book, part, Matching::First)).collect();
            let report = tried(&served, &tenant("acme"), RULES, None).await;
            let alerts: u64 = report.rules.iter().map(|rule| rule.alerts).sum();
            prop_assert_eq!(alerts, first.len() as u64);
            let examples = report.rules.iter().flat_map(|rule| &rule.examples);
            for example in examples {
                prop_assert!(streamed.contains(&example.alert_id));
            }
            Ok(())
        })?;
    }
}
