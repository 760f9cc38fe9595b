//! `COPY` over the wire: the messages, the limits, the record, and what is refused.

use super::bucket::{ROWS, Served};
use super::messages::{bind, execute, logged_in, parse, query, sync};
use super::raw::Raw;
use crate::Config;

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_copied_to_the_client() {
    let served = Served::start().await;
    let mut raw = logged_in(&served).await;
    let sql = "COPY (SELECT proc_pid, evt_type, NULL::text AS n FROM syscalls WHERE tenant = 'acme' ORDER BY 1 LIMIT 2) TO STDOUT";
    let expected =
        ["copy 0 [0, 0, 0]", "data 0\topenat\t\\N\n", "data 1\texecve\t\\N\n", "copied", "done COPY 2"];
    assert_eq!(raw.ask(&[query(sql)]).await[..5], expected);
    // The extended protocol has the same messages.
    let answer = raw.ask(&[parse("", sql, &[]), bind("", &[], (&[], &[])), execute(0), sync()]).await;
    assert_eq!(answer[2..7], expected);
    let answer = raw.ask(&[query(&format!("{sql} (FORMAT csv, HEADER)"))]).await;
    assert_eq!(answer[1..3], ["data proc_pid,evt_type,n\n", "data 0,openat,\n"]);
    let answer = raw.ask(&[query("COPY (SELECT 7::smallint AS a) TO STDOUT (FORMAT binary)")]).await;
    assert_eq!(answer[0], "copy 1 [1]");
    let head = "5047434f50590aff0d0a000000000000000000";
    assert_eq!(answer[1..3], [format!("data 0x{head}0001000000020007"), "data 0xffff".to_owned()]);
    let answer = raw.ask(&[query("COPY usage (tenant, cpu_ns) TO STDOUT")]).await;
    assert_eq!(answer.iter().filter(|line| line.starts_with("data ")).count() as i64, 2 * ROWS);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_passes_the_gate_the_limits_and_the_record() {
    let served = Served::start_with(Config { max_rows: 3, ..Config::default() }).await;
    let mut raw = Raw::log_in(served.addr, &[("database", "bailiwick")], &served.tenant).await.unwrap();
    // Another tenant's rows are nowhere, and the row limit holds.
    let answer = raw.ask(&[query("COPY (SELECT DISTINCT tenant FROM syscalls) TO STDOUT")]).await;
    assert_eq!(answer[1..3], ["data acme\n", "copied"]);
    let answer = raw.ask(&[query("COPY syscalls (proc_pid) TO STDOUT")]).await;
    assert_eq!(answer.iter().filter(|line| line.starts_with("data ")).count(), 3);
    assert!(answer[5].starts_with("notice 01004") && answer[6] == "done COPY 3", "{answer:?}");
    for text in [
        "COPY syscalls TO '/tmp/x'",
        "COPY (SELECT 1) TO '/tmp/x' CSV",
        "COPY syscalls FROM STDIN",
        "COPY syscalls FROM '/etc/passwd'",
        "COPY (SELECT 1) TO PROGRAM 'cat'",
        "COPY (SELECT 1) FROM STDIN",
        "COPY (DELETE FROM syscalls) TO STDOUT",
        "COPY (EXPLAIN SELECT * FROM syscalls) TO STDOUT",
        "COPY (SELECT 1; SELECT 2) TO STDOUT",
        "COPY (SELECT 1 INTO x) TO STDOUT",
        "COPY read_csv('/etc/passwd') TO STDOUT",
    ] {
        let answer = raw.ask(&[query(text)]).await;
        assert!(answer[0].starts_with("error 42") && answer.len() == 2, "{text}: {answer:?}");
    }
    let outcomes = served.outcomes().await;
    assert!(
        outcomes.contains(&("SELECT proc_pid FROM syscalls".to_owned(), "ok".to_owned())),
        "{outcomes:?}"
    );
    for refused in ["COPY syscalls TO '/tmp/x'", "COPY syscalls FROM STDIN", "DELETE FROM syscalls"] {
        assert!(outcomes.contains(&(refused.to_owned(), "refused".to_owned())), "{refused}: {outcomes:?}");
    }
}

/// Goal: `queries` tells a statement that was cancelled from one that took too long,
/// also once its rows have begun to come.
#[tokio::test(flavor = "multi_thread")]
async fn what_ends_a_stream_is_recorded_as_what_it_was() {
    let served = Served::start().await;
    let mut raw = logged_in(&served).await;
    let stream = "SELECT a.value FROM generate_series(1, 1000000) AS a, generate_series(1, 1000000) AS b";
    let planned_only = "SELECT sum(value % 7) FROM generate_series(1, 1000000000000)";
    for (text, limit) in [(stream, 400), (planned_only, 50)] {
        let answer = raw.ask(&[query(&format!("SET statement_timeout = {limit};{text}"))]).await;
        let error = &answer[answer.len() - 2];
        assert!(error.starts_with("error 57014 canceling statement due to statement timeout"), "{error}");
    }
    raw.ask(&[query("SET statement_timeout = 0")]).await;
    raw.send(&[query(&format!("COPY ({stream}) TO STDOUT"))]).await;
    // Once rows have come, it is cancelled.
    while !matches!(raw.next().await, Some(pgwire::messages::PgWireBackendMessage::CopyData(_))) {}
    raw.cancel(served.addr).await;
    let answer = raw.ask(&[]).await;
    assert_eq!(answer[answer.len() - 2], "error 57014 canceling statement due to user request");
    let outcomes = served.outcomes().await;
    let of = |sql: &str| {
        outcomes.iter().filter(|(text, _)| text == sql).map(|(_, how)| how.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(of(stream), ["timed_out", "cancelled"], "{outcomes:?}");
    assert_eq!(of(planned_only), ["timed_out"], "{outcomes:?}");
}
