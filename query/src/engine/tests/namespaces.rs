//! Somebody who may see some namespaces of a tenant cannot tell what is in the others.

use std::collections::BTreeSet;

use bailiwick_proto::Table;
use datafusion::physical_plan::{ExecutionPlan, displayable};

use super::bucket::{Bucket, Row, Served, rows};
use super::tenant;
use crate::{Code, Config, Namespaces, Principal, Role};

/// Sees `shop` and all that begins with `shop-` of acme.
fn shop() -> Principal {
    let namespaces = Namespaces::new(["shop".parse().unwrap(), "shop-*".parse().unwrap()]).unwrap();
    Principal::new("shop", Role::Tenant, ["acme".parse().unwrap()]).limited_to(namespaces)
}

/// What can be seen has texts that are numbers and a pid that divides; what
/// cannot be seen has a secret, and the pid that divides by zero.
const SEEN: [Row<'_>; 2] = [
    &[("tenant", "acme"), ("k8s_ns_name", "shop"), ("proc_name", "7"), ("proc_pid", "1")],
    &[("tenant", "acme"), ("k8s_ns_name", "shop-eu"), ("proc_name", "7"), ("proc_pid", "2")],
];
const HIDDEN: [Row<'_>; 5] = [
    &[("tenant", "acme"), ("k8s_ns_name", "vault"), ("proc_name", "vault-secret"), ("proc_pid", "666")],
    &[("tenant", "acme"), ("k8s_ns_name", "shopping"), ("proc_name", "vault-secret"), ("proc_pid", "666")],
    &[("tenant", "acme"), ("k8s_ns_name", "SHOP"), ("proc_name", "vault-secret"), ("proc_pid", "666")],
    &[("tenant", "acme"), ("proc_name", "vault-secret"), ("proc_pid", "666")],
    &[("tenant", "globex"), ("k8s_ns_name", "shop"), ("proc_name", "vault-secret"), ("proc_pid", "666")],
];

/// Hidden rows first, in files and in the WAL, so that whatever stops at the
/// first rows that it meets meets these.
async fn mixed() -> (Bucket, Served) {
    let mut bucket = Bucket::new().await;
    let through = bucket.wal(&[]).await;
    let acme: Vec<Row<'_>> = HIDDEN[..4].iter().chain(&SEEN[..1]).copied().collect();
    let files = [("acme", rows(Table::Syscalls, &acme)), ("globex", rows(Table::Syscalls, &HIDDEN[4..]))];
    bucket.commit(Table::Syscalls, through, &files).await;
    let wal: Vec<Row<'_>> = HIDDEN.iter().chain(&SEEN[1..]).copied().collect();
    bucket.wal(&[(Table::Syscalls, rows(Table::Syscalls, &wal))]).await;
    let served = bucket.serve(&Config::default());
    (bucket, served)
}

/// Every way that the experiments found to ask about rows one must not see.
const PROBES: [(&str, &str); 30] = [
    ("SELECT count(*) FROM syscalls", "2"),
    ("SELECT count(*) FROM syscalls LIMIT 1", "2"),
    ("SELECT proc_pid FROM syscalls ORDER BY 1", "1\n2"),
    ("SELECT min(proc_pid), max(proc_pid), sum(proc_pid) FROM syscalls", "1 2 3"),
    ("SELECT min(k8s_ns_name), max(k8s_ns_name), count(k8s_ns_name) FROM syscalls", "shop shop-eu 2"),
    ("SELECT proc_pid FROM syscalls WHERE CAST(proc_name AS INT) >= 0 ORDER BY 1", "1\n2"),
    ("SELECT proc_pid FROM syscalls WHERE 10 / (proc_pid - 666) < 100 ORDER BY 1", "1\n2"),
    ("SELECT 10 / (proc_pid - 666) FROM syscalls ORDER BY 1", "0\n0"),
    ("SELECT count(*) FROM syscalls WHERE arrow_cast(proc_name, 'Int8') = 7", "2"),
    ("SELECT count(*) FROM syscalls WHERE proc_name::timestamp IS NULL AND false", "0"),
    ("SELECT count(*) FROM syscalls WHERE [1, 2][CAST(proc_name AS INT)] IS NULL", "2"),
    ("SELECT count(*) FROM syscalls WHERE array_element([1], CAST(proc_name AS INT)) IS NULL", "2"),
    (
        "SELECT count(*) FROM syscalls WHERE regexp_like('x', CASE WHEN proc_pid = 666 THEN '(' ELSE 'x' END)",
        "2",
    ),
    ("SELECT count(*) FROM syscalls WHERE proc_pid * 9223372036854775 > 0", "2"),
    ("SELECT count(*) FROM syscalls WHERE factorial(CASE proc_pid WHEN 666 THEN 666 ELSE 1 END) = 1", "2"),
    ("SELECT count(*) FROM syscalls WHERE k8s_ns_name = 'vault'", "0"),
    ("SELECT count(*) FROM syscalls WHERE k8s_ns_name = 'vault' OR CAST(proc_name AS INT) = 7", "2"),
    ("SELECT count(*) FROM syscalls WHERE k8s_ns_name IS NULL OR k8s_ns_name <> 'shop'", "1"),
    ("SELECT count(*) FROM syscalls WHERE proc_pid = 666", "0"),
    ("SELECT count(*) FROM syscalls WHERE proc_pid BETWEEN 600 AND 700 OR proc_name LIKE '%secret%'", "0"),
    ("SELECT DISTINCT proc_name FROM syscalls", "7"),
    ("SELECT DISTINCT tenant FROM syscalls LIMIT 5", "acme"),
    ("SELECT approx_distinct(k8s_ns_name) FROM syscalls", "2"),
    ("SELECT proc_pid FROM syscalls ORDER BY proc_pid DESC LIMIT 1", "2"),
    ("SELECT proc_pid FROM syscalls ORDER BY CAST(proc_name AS INT), proc_pid LIMIT 1", "1"),
    (
        "SELECT count(*) FROM syscalls a JOIN syscalls b ON CAST(a.proc_name AS INT) = CAST(b.proc_name AS INT)",
        "4",
    ),
    ("SELECT count(*) FROM syscalls a JOIN (VALUES (1), (666)) v(p) ON a.proc_pid = v.p", "1"),
    (
        "SELECT count(*) FROM (SELECT row_number() OVER (ORDER BY proc_pid DESC) n, proc_pid FROM syscalls) WHERE n <= 2",
        "2",
    ),
    (
        "SELECT count(*) FROM syscalls WHERE EXISTS (SELECT 1 FROM syscalls b WHERE CAST(b.proc_name AS INT) = 7)",
        "2",
    ),
    ("SELECT count(*) FROM syscalls_named WHERE CAST(proc_name AS INT) = 7", "2"),
];

#[tokio::test]
async fn no_probe_finds_or_trips_over_another_namespaces_rows() {
    let (_bucket, served) = mixed().await;
    for (sql, expected) in PROBES {
        assert_eq!(served.text(&shop(), sql).await, expected, "{sql}");
    }
    // Who may see them finds them, and trips over them, by the same probes.
    let acme = tenant("acme");
    assert_eq!(served.text(&acme, PROBES[0].0).await, "10");
    let error = served.ask(&acme, PROBES[5].0).await.unwrap_err().to_string();
    assert!(error.contains("vault-secret"), "{error}");
    assert_eq!(served.ask(&acme, PROBES[6].0).await.unwrap_err().to_string(), "division by zero");
}

#[tokio::test]
async fn an_error_is_of_ones_own_rows_alone() {
    let (_bucket, served) = mixed().await;
    for (sql, expected) in [
        ("SELECT CAST(proc_name || 'x' AS INT) FROM syscalls", "7x"),
        ("SELECT CAST(k8s_ns_name AS INT) FROM syscalls ORDER BY 1", "shop"),
        ("SELECT 1 / (proc_pid - 2) FROM syscalls", "division by zero"),
    ] {
        let text = served.ask(&shop(), sql).await.unwrap_err().to_string();
        assert!(text.contains(expected) && !text.contains("vault"), "{text}");
    }
}

/// Every operator below a barrier, from all of a plan's scans.
fn below_barriers(plan: &dyn ExecutionPlan, below: bool, found: &mut Vec<String>) {
    let is_barrier = plan.name() == "BarrierExec";
    if below {
        found.push(displayable(plan).one_line().to_string());
    }
    for child in plan.children() {
        below_barriers(child.as_ref(), below || is_barrier, found);
    }
}

fn scans(plan: &dyn ExecutionPlan, below: bool) -> (usize, usize) {
    let below = below || plan.name() == "BarrierExec";
    let own = match plan.name() {
        "DataSourceExec" => (1, usize::from(below)),
        _ => (0, 0),
    };
    plan.children().iter().map(|child| scans(child.as_ref(), below)).fold(own, |a, b| (a.0 + b.0, a.1 + b.1))
}

/// Goal: whatever the engine's optimizers learn with an upgrade, nothing of a
/// statement gets below the barrier but comparisons that cannot fail. Method:
/// the plan as it runs, for statements that each give an optimizer something
/// to push down; below a barrier only the nodes that are made here may stand,
/// and none may carry an expression, limit or filter of the statement's.
#[tokio::test]
async fn nothing_of_a_statement_stands_below_the_barrier() {
    let (_bucket, served) = mixed().await;
    for sql in [
        "SELECT proc_pid FROM syscalls WHERE CAST(proc_name AS INT) = 424242",
        "SELECT proc_pid + 424242 FROM syscalls",
        "SELECT length(proc_name || '424242') FROM syscalls WHERE proc_name LIKE '424242%'",
        "SELECT proc_pid FROM syscalls LIMIT 424242",
        "SELECT proc_pid FROM syscalls ORDER BY proc_pid DESC LIMIT 3",
        "SELECT count(*) FROM syscalls",
        "SELECT min(proc_pid) FROM syscalls",
        "SELECT DISTINCT proc_name FROM syscalls LIMIT 4",
        "SELECT a.proc_pid FROM syscalls a JOIN (VALUES (424242)) v(p) ON a.proc_pid = v.p",
        "SELECT a.proc_pid FROM syscalls a JOIN syscalls b ON a.exec_id = b.exec_id WHERE b.proc_pid / 424242 = 1",
        "SELECT * FROM syscalls WHERE exec_id IN (SELECT exec_id FROM syscalls WHERE abs(proc_pid) = 424242)",
        "SELECT evt_type, count(*) FROM syscalls GROUP BY 1 HAVING count(*) > 424242 ORDER BY 2 DESC LIMIT 2",
        "SELECT proc_pid, row_number() OVER (PARTITION BY evt_type ORDER BY time) FROM syscalls",
        "SELECT * FROM syscalls_named WHERE k8s_pod_name || '424242' = 'x' ORDER BY time LIMIT 1",
        "SELECT * FROM falco_matches() WHERE tenant || '424242' = 'x'",
    ] {
        let session = served.engine.session(&shop()).await.unwrap();
        let plan = session.context().sql(sql).await.unwrap().create_physical_plan().await.unwrap();
        let (all, below) = scans(plan.as_ref(), false);
        let names: Vec<&str> =
            vec!["DataSourceExec", "UnionExec", "FilterExec", "CooperativeExec", "RepartitionExec"];
        let whole = displayable(plan.as_ref()).indent(true).to_string();
        // Constants of the statement are sources too, of no table.
        let constants = usize::from(sql.contains("VALUES"));
        assert_eq!(all - constants, below, "a scan without a barrier: {sql}\n{whole}");
        let mut found = Vec::new();
        below_barriers(plan.as_ref(), false, &mut found);
        for line in &found {
            let name = line.trim().split(':').next().unwrap_or_default().trim();
            assert!(names.contains(&name), "{sql}: {line}\n{whole}");
            for foreign in ["424242", "DynamicFilter", "limit=", "fetch="] {
                assert!(!line.contains(foreign), "{sql}: {line}\n{whole}");
            }
            let conditions = line.matches("k8s_ns_name").count() + line.matches("namespace").count();
            assert!(name != "FilterExec" || conditions > 0, "{sql}: {line}");
        }
    }
}

#[tokio::test]
async fn a_comparison_that_cannot_fail_still_leaves_files_unopened() {
    let mut bucket = Bucket::new().await;
    let row = |time, namespace| -> Vec<(&'static str, &'static str)> {
        vec![("tenant", "acme"), ("k8s_ns_name", namespace), ("time", time)]
    };
    let (early, late) = (row("2026-11-24T01:00:00Z", "shop"), row("2026-11-24T23:00:00Z", "vault"));
    let files = [&early, &late].map(|row| ("acme", rows(Table::Syscalls, &[&row[..]])));
    let through = bucket.wal(&[]).await;
    bucket.commit(Table::Syscalls, through, &files).await;
    let served = bucket.serve(&Config::default());
    let session = served.engine.session(&shop()).await.unwrap();
    let files_of = async |condition: &str| {
        let sql = format!("SELECT count(*) FROM syscalls WHERE {condition}");
        let plan = session.context().sql(&sql).await.unwrap().create_physical_plan().await.unwrap();
        displayable(plan.as_ref()).indent(true).to_string().matches(".parquet").count()
    };
    assert_eq!(files_of("time < '2026-11-24T02:00:00Z'").await, 1);
    assert_eq!(files_of("date = '2026-11-25'").await, 0);
    // Not vetted, so evaluated above the barrier alone.
    assert_eq!(files_of("date_trunc('day', time) < '2026-11-24T00:00:00Z'").await, 2);
}

/// Goal: every table decides what such a principal sees. Method: rows of the
/// namespace, of another, and of none, in each table.
#[tokio::test]
async fn each_table_shows_the_namespaces_rows_or_nothing() {
    let mut bucket = Bucket::new().await;
    let column = |table| match table {
        Table::Syscalls | Table::Usage | Table::Containers => Some("k8s_ns_name"),
        Table::ApiAccess => Some("namespace"),
        Table::Alerts | Table::Losses | Table::Queries => None,
    };
    for table in Table::ALL {
        let mut made: Vec<Vec<(&str, &str)>> = vec![vec![("tenant", "acme")]];
        match (table, column(table)) {
            (_, Some(column)) => {
                made.push(vec![("tenant", "acme"), (column, "shop"), ("node", "seen")]);
                made.push(vec![("tenant", "acme"), (column, "vault")]);
            }
            (Table::Alerts, None) => {
                made.push(vec![
                    ("tenant", "acme"),
                    ("output_fields", r#"{"k8s.ns.name":"shop"}"#),
                    ("node", "seen"),
                ]);
                made.push(vec![
                    ("tenant", "acme"),
                    ("output_fields", r#"{"k8s.ns.name":"vault","x":"shop"}"#),
                ]);
                made.push(vec![("tenant", "acme"), ("output_fields", "{broken")]);
            }
            (Table::Queries, None) => {
                made.push(vec![("tenant", "acme"), ("principal", "shop"), ("node", "seen")]);
                made.push(vec![("tenant", "acme"), ("principal", "anna")]);
                made.push(vec![("tenant", "globex"), ("principal", "shop")]);
            }
            _ => {}
        }
        bucket.wal(&[(table, rows(table, &made.iter().map(|row| &row[..]).collect::<Vec<_>>()))]).await;
    }
    let served = bucket.serve(&Config::default());
    let mut empty = BTreeSet::new();
    for table in Table::ALL {
        let seen = served.text(&shop(), &format!("SELECT node FROM {table}")).await;
        if seen.is_empty() {
            empty.insert(table.name());
        } else {
            assert_eq!(seen, "seen", "{table}");
        }
        assert_eq!(
            served.text(&shop(), &format!("SELECT count(*) FROM {table}")).await,
            if table == Table::Losses { "0" } else { "1" }
        );
    }
    assert_eq!(empty, BTreeSet::from(["losses"]));
}

#[tokio::test]
async fn its_plans_are_not_shown_and_its_questions_say_how_far_it_sees() {
    let (_bucket, mut served) = mixed().await;
    let error = served.ask(&shop(), "EXPLAIN SELECT * FROM syscalls").await.unwrap_err();
    assert_eq!(error.code(), Code::NotAllowed);
    let record = served.record().await;
    assert_eq!(
        (record["owner"].as_str(), record["tenant_scope"].as_str()),
        ("acme", "[acme/shop, acme/shop-*]")
    );
}
