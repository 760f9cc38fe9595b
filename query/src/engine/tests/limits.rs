//! What one query may take, and what the rest may rely on meanwhile.

use bailiwick_proto::Table;
use futures::{StreamExt, TryStreamExt};

use super::bucket::Bucket;
use super::{losses, tenant};
use crate::{Code, Config, Endpoint, Principal, Role, tokens};

/// Runs for as long as anybody lets it.
const ENDLESS: &str = "SELECT count(*) FROM generate_series(1, 9000000000000) a WHERE sqrt(a.value) < 0";

#[tokio::test]
async fn a_query_has_its_time_and_no_more() {
    let bucket = Bucket::new().await;
    let mut served = bucket.serve(&Config { query_timeout_ms: 200, ..Config::default() });
    let error = served.ask(&tenant("acme"), ENDLESS).await.unwrap_err();
    assert_eq!(error.code(), Code::Timeout);
    let record = served.record().await;
    assert_eq!(record["outcome"], "timed_out");
    // Its threads and its place are free again.
    for _ in 0..20 {
        assert_eq!(served.text(&tenant("acme"), "SELECT 1").await, "1");
    }
}

#[tokio::test]
async fn an_answer_is_cut_at_so_many_rows_and_says_so() {
    let mut bucket = Bucket::new().await;
    bucket.wal(&[(Table::Losses, losses("acme", 1..=60))]).await;
    bucket.wal(&[(Table::Losses, losses("acme", 61..=100))]).await;
    let served = bucket.serve(&Config { max_rows: 70, ..Config::default() });
    for (sql, rows, truncated) in [
        ("SELECT count FROM losses", 70, true),
        ("SELECT count FROM losses LIMIT 70", 70, false),
        ("SELECT count FROM losses LIMIT 71", 70, true),
        ("SELECT count FROM losses WHERE count < 10", 9, false),
    ] {
        let mut running = served.engine.run(&tenant("acme"), Endpoint::Http, sql).await.unwrap();
        let mut seen = 0;
        while let Some(batch) = running.next().await {
            seen += batch.unwrap().num_rows();
        }
        assert_eq!((seen, running.truncated(), running.rows()), (rows, truncated, rows as u64), "{sql}");
    }
    let all = served
        .engine
        .run(&Principal::operator(), Endpoint::Scheduled, "SELECT count FROM losses")
        .await
        .unwrap();
    let all: Vec<_> = all.try_collect().await.unwrap();
    assert_eq!(all.iter().map(|batch| batch.num_rows()).sum::<usize>(), 100);
}

#[tokio::test]
async fn an_answer_is_cut_at_so_many_bytes() {
    let served = Bucket::new().await.serve(&Config { max_bytes: 100_000, ..Config::default() });
    let sql = "SELECT * FROM generate_series(1, 1000000)";
    let mut running = served.engine.run(&tenant("acme"), Endpoint::Http, sql).await.unwrap();
    while let Some(batch) = running.next().await {
        batch.unwrap();
    }
    assert!(running.truncated() && running.rows() > 0 && running.rows() * 8 <= 100_000, "{}", running.rows());
}

#[tokio::test]
async fn who_finds_no_place_and_no_room_to_wait_is_told() {
    let served = Bucket::new().await.serve(&Config { max_concurrent: 1, max_queued: 0, ..Config::default() });
    let acme = tenant("acme");
    let first = served
        .engine
        .run(&acme, Endpoint::Http, "SELECT * FROM generate_series(1, 100000000)")
        .await
        .unwrap();
    let error = served.ask(&acme, "SELECT 1").await.unwrap_err();
    assert_eq!(error.code(), Code::TooBusy);
    // Detection has places of its own.
    served.engine.run(&Principal::operator(), Endpoint::Scheduled, "SELECT 1").await.unwrap();
    drop(first);
    while served.ask(&acme, "SELECT 1").await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_query_without_enough_memory_fails_alone_and_tells_of_nobody() {
    let served =
        Bucket::new().await.serve(&Config { memory_bytes: 8 << 20, spill_bytes: 1, ..Config::default() });
    let sql = "SELECT array_length(array_agg(value)) FROM generate_series(1, 10000000)";
    let error = served.ask(&tenant("acme"), sql).await.unwrap_err();
    assert_eq!(error.code(), Code::TooLarge, "{error:?}");
    assert!(!error.to_string().contains("AggregateStream"), "{error}");
    assert_eq!(served.text(&tenant("acme"), "SELECT 1").await, "1");
}

#[tokio::test]
async fn a_long_statement_is_not_even_parsed() {
    let served = Bucket::new().await.serve(&Config { max_sql_bytes: 100, ..Config::default() });
    let error = served.ask(&tenant("acme"), &format!("SELECT '{}'", "x".repeat(100))).await.unwrap_err();
    assert_eq!(error.code(), Code::TooLarge);
}

#[tokio::test]
async fn a_withdrawn_token_ends_sessions_that_are_open() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.yaml");
    let token = tokens::create(&file, "a", Role::Admin, &[], None, chrono::Utc::now()).unwrap();
    let served = Bucket::new().await.serve(&Config { tokens_file: Some(file.clone()), ..Config::default() });
    let principal = served.engine.authenticate(&token).await.unwrap();
    assert_eq!(served.text(&principal, "SELECT 1").await, "1");
    std::fs::write(&file, "tokens: []").unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(served.ask(&principal, "SELECT 1").await.unwrap_err().code(), Code::Unauthenticated);
    assert!(served.engine.authenticate(&token).await.is_none());
}

/// Goal: a query whose time is over ends, whatever it computes, so that its
/// place, its memory and its threads are its tenant's again. Method: statements
/// that go on for hours; they are waited for without a limit of their own.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_out_of_time_really_ends() {
    let mut bucket = Bucket::new().await;
    bucket.wal(&[(Table::Losses, losses("acme", 1..=2_000))]).await;
    let served = bucket.serve(&Config { query_timeout_ms: 300, ..Config::default() });
    for sql in [
        ENDLESS,
        "SELECT sum(a.value * b.value) FROM generate_series(1, 3000000) a, generate_series(1, 3000000) b",
        "SELECT count(*) FROM generate_series(1, 300000) a JOIN generate_series(1, 300000) b ON a.value + b.value < 0",
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT count(*) FROM r",
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT n FROM r WHERE n < 0",
        "SELECT count(DISTINCT sha512(CAST(value AS TEXT))) FROM generate_series(1, 900000000)",
        "SELECT count(*) FROM losses a, losses b, losses c WHERE a.count + b.count + c.count < 0",
        "SELECT sum(a.count) OVER (ORDER BY b.count ROWS BETWEEN 100000 PRECEDING AND CURRENT ROW) FROM losses a, losses b",
        "SELECT count(*) FROM losses WHERE detail NOT IN (SELECT CAST(value AS TEXT) FROM generate_series(1, 900000000))",
    ] {
        let began = std::time::Instant::now();
        let error = served.ask(&tenant("acme"), sql).await.unwrap_err();
        assert!(matches!(error.code(), Code::Timeout | Code::TooLarge), "{sql}: {error:?}");
        while served.engine.metrics().running.get() > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        eprintln!("ended after {:?}: {sql}", began.elapsed());
    }
}

/// Goal: no chain that is let in overflows a stack, wherever it is walked. Method: the
/// longest of each kind that is let in is asked, on threads as small as they come; a
/// stack that overflows ends the process.
#[tokio::test(flavor = "multi_thread")]
async fn the_longest_chains_are_planned_and_longer_ones_refused() {
    let served = Bucket::new().await.serve(&Config::default());
    for (start, unit, end) in [
        ("SELECT 1", "+1", ""),
        ("SELECT 'a'", "||'a'", ""),
        ("SELECT 1 WHERE true", " AND true", ""),
        ("SELECT 1 FROM losses WHERE count = 1", " OR count = 1", ""),
        ("SELECT 1", " IS NULL", ""),
        ("SELECT 'a'", " LIKE 'a'", ""),
        ("SELECT 1", "::int", ""),
        ("SELECT [1]", "[1]", ""),
        ("SELECT NULL::int", "[]", ""),
        ("SELECT 'a'", " -> 'a'", ""),
        ("SELECT ", "x -> ", "x"),
        ("SELECT 1", " UNION ALL SELECT 1", ""),
        ("SELECT 1", " UNION SELECT 1", ""),
        ("SELECT 1", " EXCEPT SELECT 1", ""),
        ("SELECT 1", " BETWEEN 1 AND 1", ""),
        ("SELECT now()", " AT TIME ZONE 'UTC'", ""),
        ("SELECT ", "INTERVAL ", "'1 day'"),
        ("", "EXPLAIN ", "SELECT 1"),
        ("SELECT ", "NOT ", "true"),
        ("SELECT ", "- ", "1"),
    ] {
        let text = |count: usize| format!("{start}{}{end}", unit.repeat(count));
        let longest = (1..=600).rev().find(|count| crate::gate::depth::check(&text(*count)).is_ok()).unwrap();
        assert!(longest < 600, "{unit} is not bounded");
        let _ = served.ask(&tenant("acme"), &text(longest)).await;
        let long = served.ask(&tenant("acme"), &text(20_000)).await.unwrap_err();
        assert_eq!(long.code(), Code::TooLarge, "{unit}: {long}");
    }
    assert_eq!(served.text(&tenant("acme"), "SELECT 1").await, "1");
}

#[tokio::test]
async fn no_function_makes_more_than_it_may() {
    let mut bucket = Bucket::new().await;
    bucket.wal(&[(Table::Losses, losses("acme", 1..=60))]).await;
    let served = bucket.serve(&Config::default());
    let ten = |call: &dyn Fn(String) -> String| (0..9).fold("'0123456789'".to_owned(), |text, _| call(text));
    let digits = |text: String| format!("regexp_replace({text}, '.', 'xxxxxxxxxx', 'g')");
    let doubled: String = (0..20).fold("SELECT reason AS x FROM losses".to_owned(), |from, _| {
        format!("SELECT x || x AS x FROM ({from})")
    });
    let levels = |step: &str, levels: usize| {
        let more: String =
            (1..=levels).map(|n| format!(", a{n} AS (SELECT {step} AS x FROM a{})", n - 1)).collect();
        format!("WITH a0 AS (SELECT reason AS x FROM losses){more} SELECT * FROM a{levels}")
    };
    for sql in [
        levels("[x, x]", 40),
        levels("[x, x][1] || [x]", 100),
        levels("x || [x, x]", 12).replace("SELECT reason AS x", "SELECT [reason] AS x"),
        levels("x || x", 40).replace("SELECT reason AS x", "SELECT [reason] AS x"),
        levels("json_build_object('a', x, 'b', x)", 40),
        levels("named_struct('a', x, 'b', x)", 40),
        levels("struct(x, x)", 100),
        levels("overlay(x placing x from 1 for 0)", 40),
        format!("SELECT to_char(a.time, '{}') FROM losses a", "YYYY".repeat(60_000))
            .replace("losses a", "losses a, losses b, losses c"),
        format!("SELECT length({}) FROM losses", ten(&|text| format!("replace({text}, '0', '0000000000')")))
            .replace("'0123456789'", "concat(reason, '0')"),
        format!("SELECT length({}) FROM losses", ten(&digits).replace("'0123456789'", "reason")),
        format!("SELECT max(length(x)) FROM ({doubled})"),
        format!("SELECT max(length(x)) FROM ({})", doubled.replace("x || x AS x", "concat(x, x) AS x")),
        format!("SELECT max(length(x)) FROM ({})", doubled.replace("x || x AS x", "concat_ws(x, x, x) AS x")),
        format!("SELECT max(length(encode(x, 'hex'))) FROM ({doubled})"),
        format!(
            "SELECT length(array_to_string(make_array({}), '{}'))",
            vec!["'a'"; 3_000].join(","),
            "x".repeat(60_000)
        ),
    ] {
        let began = std::time::Instant::now();
        let error = match served.ask(&tenant("acme"), &sql).await {
            Ok(rows) => panic!("{sql}: {rows:?}"),
            Err(error) => error,
        };
        assert_eq!(error.code(), Code::TooLarge, "{}: {error}", &sql[..80]);
        println!("refused after {:?}: {}", began.elapsed(), &sql[..80]);
    }
    for (sql, expected) in [
        ("SELECT 'a' || 'b', 'a' || NULL IS NULL, 'a' || 1, [1] || [2]", "ab true a1 [1, 2]"),
        ("SELECT DISTINCT reason || '-' || tenant FROM losses", "ring_full-acme"),
        ("SELECT DISTINCT replace(reason, 'l', 'LL') FROM losses", "ring_fuLLLL"),
        ("SELECT DISTINCT regexp_replace(reason, '(.)_(.)', '\\2-\\1') FROM losses", "rinf-gull"),
        ("SELECT DISTINCT concat(reason, NULL, tenant) FROM losses", "ring_fullacme"),
        ("SELECT DISTINCT concat_ws('/', reason, tenant) FROM losses", "ring_full/acme"),
        ("SELECT array_to_string([1, 2], '-'), overlay('abc' placing 'x' from 2)", "1-2 axc"),
    ] {
        assert_eq!(served.text(&tenant("acme"), sql).await, expected, "{sql}");
    }
}
