//! Random statements come to the same whether or not there is something to hide.
//!
//! Each is asked of two lakes that differ in hidden rows alone. Answers must be
//! equal, errors to the letter: whatever tells the lakes apart tells of the rows.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{Config as Runs, TestRunner};

use super::lake::{self, Whose};
use super::told_too_much;
use crate::engine::tests::bucket::Served;
use crate::engine::tests::tenant;
use crate::{Config, Namespaces, Principal, Role};

const RUNS: u32 = 250;

/// Which of several errors comes first is the threads' choice: so often another
/// one is waited for.
const TRIES: usize = 6;

/// Tables with columns of numbers and of texts; the first text is a number's.
const TABLES: [(&str, &[&str], &[&str]); 6] = [
    ("syscalls", &["proc_pid", "seq", "fd_num"], &["proc_name", "proc_exepath", "k8s_ns_name", "tenant"]),
    ("syscalls_named", &["proc_pid", "seq"], &["proc_name", "k8s_pod_name", "container_image"]),
    ("api_access", &["code", "latency_us"], &["name", "user", "namespace", "audit_id"]),
    ("usage", &["cpu_ns", "io_r_b"], &["container_name", "k8s_pod_name", "cgroup_path"]),
    ("alerts", &["length(rule)"], &["rule", "output", "alert_id"]),
    ("queries", &["rows", "duration_us"], &["outcome", "sql", "principal"]),
];

fn number(ints: &'static [&'static str], texts: &'static [&'static str]) -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        4 => prop::sample::select(ints).prop_map(|name| match name {
            "rows" => "\"rows\"".to_owned(),
            name => name.to_owned(),
        }),
        1 => prop::sample::select(vec!["0", "1", "3", "666", "-1", "9223372036854775807"]).prop_map(str::to_owned),
        2 => Just(format!("CAST({} AS BIGINT)", texts[0])),
        1 => prop::sample::select(texts).prop_map(|text| format!("CAST(\"{text}\" AS INT)")),
        1 => prop::sample::select(texts).prop_map(|text| format!("length(\"{text}\")")),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        prop_oneof![
            (inner.clone(), prop::sample::select(vec!["+", "-", "*", "/", "%"]), inner.clone())
                .prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            inner.clone().prop_map(|a| format!("abs({a})")),
            inner.clone().prop_map(|a| format!("CAST({a} AS SMALLINT)")),
            inner.clone().prop_map(|a| format!("nullif({a}, 2)")),
            inner.clone().prop_map(|a| format!("factorial({a})")),
            inner.clone().prop_map(|a| format!("array_element([10, 20, 30], {a})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("coalesce({a}, {b})")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("CASE WHEN {a} > 2 THEN {b} ELSE {a} END")),
        ]
    })
    .boxed()
}

fn text(texts: &'static [&'static str]) -> BoxedStrategy<String> {
    let leaf = prop_oneof![
        4 => prop::sample::select(texts).prop_map(|name| format!("\"{name}\"")),
        1 => prop::sample::select(vec!["'globex'", "'acme'", "'7'", "'('", "'x'", "''"]).prop_map(str::to_owned),
    ];
    leaf.prop_recursive(2, 6, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} || {b})")),
            inner.clone().prop_map(|a| format!("upper({a})")),
            inner.clone().prop_map(|a| format!("md5({a})")),
            inner.clone().prop_map(|a| format!("substr({a}, 2, 3)")),
            inner.clone().prop_map(|a| format!("split_part({a}, '-', 1)")),
            inner.clone().prop_map(|a| format!("CAST(CAST({a} AS INT) AS TEXT)")),
            (inner.clone(), inner).prop_map(|(a, b)| format!("regexp_replace({a}, {b}, 'y')")),
        ]
    })
    .boxed()
}

fn condition(ints: &'static [&'static str], texts: &'static [&'static str]) -> BoxedStrategy<String> {
    let compare = || prop::sample::select(vec!["=", "<>", "<", ">="]);
    let leaf = prop_oneof![
        (number(ints, texts), compare(), number(ints, texts)).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        (text(texts), compare(), text(texts)).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
        (text(texts), text(texts)).prop_map(|(a, b)| format!("regexp_like({a}, {b})")),
        text(texts).prop_map(|a| format!("{a} LIKE '%canary%'")),
        text(texts).prop_map(|a| format!("{a} IS NULL")),
        text(texts).prop_map(|a| format!("CAST({a} AS TIMESTAMP) > time")),
        Just("time >= '2026-11-24T00:00:00Z'".to_owned()),
    ];
    leaf.prop_recursive(2, 4, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} AND {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} OR {b})")),
            inner.prop_map(|a| format!("NOT ({a})")),
        ]
    })
    .boxed()
}

fn statement() -> BoxedStrategy<String> {
    let one = |(table, ints, texts): (&'static str, &'static [&'static str], &'static [&'static str])| {
        let parts = (number(ints, texts), text(texts), condition(ints, texts), number(ints, texts));
        (parts, 0usize..11, 0usize..4).prop_map(move |((n, t, c, m), shape, most)| match shape {
            0 => format!("SELECT {n}, {t} FROM {table} WHERE {c}"),
            1 => format!("SELECT count(*), sum({n}), min({t}), max({m}) FROM {table} WHERE {c}"),
            2 => format!("SELECT {t}, count(*), max({n}) FROM {table} WHERE {c} GROUP BY 1"),
            3 => format!("SELECT {n} FROM {table} WHERE {c} ORDER BY {n} DESC LIMIT {most}"),
            4 => format!("SELECT DISTINCT {t} FROM {table} WHERE {c} ORDER BY 1 LIMIT {most}"),
            5 => format!("SELECT count(*) FROM {table} a JOIN (SELECT {n} AS n FROM {table}) b ON {m} = b.n WHERE {c}"),
            6 => format!("SELECT count(*) FROM {table} WHERE {n} IN (SELECT {m} FROM {table} WHERE {c})"),
            7 => format!("SELECT {n}, (SELECT max({t}) FROM {table} WHERE {c}) FROM {table}"),
            8 => format!("SELECT rank() OVER (ORDER BY {n}), sum({m}) OVER (PARTITION BY {t}) FROM {table} WHERE {c}"),
            9 => format!("SELECT {n} FROM {table} WHERE {c} UNION SELECT {m} FROM {table}"),
            _ => format!("WITH x AS (SELECT {n} AS n, {t} AS t FROM {table}) SELECT t, count(n) FROM x GROUP BY t HAVING count(*) >= {most}"),
        })
    };
    prop::sample::select(&TABLES[..]).prop_flat_map(one).boxed()
}

/// What a statement comes to: rows in an order of their own, or the error.
async fn answer(served: &Served, who: &Principal, sql: &str) -> String {
    match served.ask(who, sql).await {
        Ok(batches) => {
            let table = datafusion::arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string();
            let mut lines: Vec<&str> = table.lines().filter(|line| line.starts_with('|')).collect();
            lines.sort_unstable();
            lines.join("\n")
        }
        Err(error) => format!("{}: {error}", error.code()),
    }
}

/// The lakes, and who asks: nothing that he asks may tell them apart.
fn the_same(whole: &[Whose], seen: &[Whose], who: &Principal) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let serve = |everybody: &[Whose]| {
        let config = Config { query_timeout_ms: 20_000, ..Config::default() };
        runtime.block_on(async { lake::bucket(everybody).await.serve(&config) })
    };
    let (whole, seen) = (serve(whole), serve(seen));
    let (answered, failed) = (Cell::new(0), Cell::new(0));
    let outcome = TestRunner::new(Runs {
        cases: RUNS,
        failure_persistence: None,
        max_shrink_iters: 50,
        ..Runs::default()
    })
    .run(&statement(), |sql| {
        let pair =
            || runtime.block_on(async { (answer(&whole, who, &sql).await, answer(&seen, who, &sql).await) });
        let (mut with, mut without) = pair();
        let (mut all_with, mut all_without) = (vec![with.clone()], vec![without.clone()]);
        for _ in 1..TRIES {
            if all_with.iter().any(|answer| all_without.contains(answer)) {
                break;
            }
            (with, without) = pair();
            all_with.push(with.clone());
            all_without.push(without.clone());
        }
        prop_assert!(
            all_with.iter().any(|answer| all_without.contains(answer)),
            "{sql}\nbeside hidden rows: {with}\nwithout: {without}"
        );
        prop_assert_eq!(told_too_much(&with, &sql), None, "{}\n{}", sql, with);
        let count = if with.starts_with('|') || with.is_empty() { &answered } else { &failed };
        count.set(count.get() + 1);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    let (answered, failed) = (answered.get(), failed.get());
    assert!(answered > RUNS / 5 && failed > RUNS / 20, "{answered} answers and {failed} errors tell little");
}

#[test]
fn another_tenants_rows_change_nothing() {
    the_same(&[Whose::Globex, Whose::Shop], &[Whose::Shop], &tenant("acme"));
}

#[test]
fn another_namespaces_rows_change_nothing() {
    let shop = Namespaces::new(["shop".parse().unwrap(), "shop-*".parse().unwrap()]).unwrap();
    let who = Principal::new("shop", Role::Tenant, ["acme".parse().unwrap()]).limited_to(shop);
    the_same(&[Whose::Vault, Whose::Shop, Whose::Globex], &[Whose::Shop], &who);
}
