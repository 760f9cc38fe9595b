//! The extended protocol and the connection's state, message by message.

use pgwire::messages::PgWireFrontendMessage as Message;
use pgwire::messages::cancel::CancelRequest;
use pgwire::messages::extendedquery::{Bind, Close, Describe, Execute, Parse, Sync};
use pgwire::messages::simplequery::Query;

use super::bucket::{ROWS, Served};
use super::raw::Raw;
use crate::Config;

pub(crate) fn query(text: &str) -> Message {
    Message::Query(Query::new(text.to_owned()))
}

pub(crate) fn parse(name: &str, sql: &str, oids: &[u32]) -> Message {
    Message::Parse(Parse::new(Some(name.to_owned()), sql.to_owned(), oids.to_vec()))
}

pub(crate) fn bind(statement: &str, values: &[&[u8]], formats: (&[i16], &[i16])) -> Message {
    let values = values.iter().map(|value| Some(bytes::Bytes::copy_from_slice(value))).collect();
    Message::Bind(Bind::new(None, Some(statement.to_owned()), formats.0.to_vec(), values, formats.1.to_vec()))
}

pub(crate) fn execute(most: i32) -> Message {
    Message::Execute(Execute::new(None, most))
}

pub(crate) fn sync() -> Message {
    Message::Sync(Sync::new())
}

fn describe_statement(name: &str) -> Message {
    Message::Describe(Describe::new(b'S', Some(name.to_owned())))
}

pub(super) async fn logged_in(served: &Served) -> Raw {
    Raw::log_in(served.addr, &[("database", "bailiwick")], &served.admin).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_is_prepared_described_bound_and_read() {
    let served = Served::start().await;
    let mut raw = logged_in(&served).await;
    let sql = "SELECT proc_pid, time, evt_type FROM syscalls WHERE tenant = $1 AND proc_pid >= $2 ORDER BY 1 LIMIT 2";
    let answer = raw.ask(&[parse("s", sql, &[]), describe_statement("s"), sync()]).await;
    assert_eq!(
        answer,
        ["parsed", "parameters [25, 20]", "columns proc_pid:20:0 time:1184:0 evt_type:25:0", "ready"]
    );
    // Values in text.
    let answer = raw.ask(&[bind("s", &[b"acme", b"3"], (&[], &[])), execute(0), sync()]).await;
    let rows = ["row 3 2026-11-24 10:00:03+00 execve", "row 4 2026-11-24 10:00:04+00 openat"];
    let [first, second] = rows;
    assert_eq!(
        answer.iter().map(|line| line.replace(".000000", "")).collect::<Vec<_>>(),
        ["bound", first, second, "done SELECT 2", "ready"]
    );
    // The same in binary: microseconds since 2000 for the time.
    let five = 5_i64.to_be_bytes();
    let answer = raw.ask(&[bind("s", &[b"acme", &five], (&[0, 1], &[1])), execute(1), sync()]).await;
    assert_eq!(answer[1], "row 0x0000000000000005 0x000304018b14b340 execve");
    assert_eq!(answer[2..], ["suspended", "ready"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_array_stands_for_any_of_its_values() {
    let served = Served::start().await;
    let mut raw = logged_in(&served).await;
    let sql = "SELECT count(*) AS n FROM syscalls WHERE tenant = ANY($1) AND proc_pid < $2::bigint";
    let answer = raw.ask(&[parse("s", sql, &[]), describe_statement("s"), sync()]).await;
    assert_eq!(answer[1], "parameters [1009, 20]");
    let answer = raw.ask(&[bind("s", &[b"{acme,nobody}", b"7"], (&[], &[])), execute(0), sync()]).await;
    assert_eq!(answer[1], "row 7");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_is_read_in_portions_inside_a_transaction() {
    let served = Served::start().await;
    let mut raw = logged_in(&served).await;
    assert_eq!(raw.ask(&[query("BEGIN")]).await, ["done BEGIN", "ready, in a transaction"]);
    let sql = "SELECT proc_pid FROM syscalls WHERE tenant = 'acme' ORDER BY 1";
    raw.ask(&[parse("", sql, &[]), bind("", &[], (&[], &[])), sync()]).await;
    let mut rows = 0;
    loop {
        let answer = raw.ask(&[execute(250), sync()]).await;
        rows += answer.iter().filter(|line| line.starts_with("row ")).count();
        match answer[answer.len() - 2].as_str() {
            "suspended" => {}
            "done SELECT 100" => break,
            other => panic!("{other}"),
        }
    }
    assert_eq!(i64::try_from(rows).unwrap(), ROWS);
    assert_eq!(raw.ask(&[query("COMMIT")]).await, ["done COMMIT", "ready"]);
    let answer = raw.ask(&[execute(1), sync()]).await;
    assert_eq!(answer, ["error 34000 portal \"\" does not exist", "ready"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_error_everything_up_to_sync_is_void() {
    let served = Served::start().await;
    let mut raw = logged_in(&served).await;
    let answer = raw
        .ask(&[parse("", "SELECT nope FROM syscalls", &[]), bind("", &[], (&[], &[])), execute(0), sync()])
        .await;
    assert!(answer[0].starts_with("error 42"), "{answer:?}");
    assert_eq!(answer[1..], ["ready"]);
    let answer = raw.ask(&[query("SELECT 1 AS a; SELECT nope; SELECT 2")]).await;
    assert_eq!(answer[..3], ["columns a:20:0", "row 1", "done SELECT 1"]);
    assert!(answer[3].starts_with("error 42") && answer.len() == 5, "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_transaction_waits_for_its_end() {
    let served = Served::start().await;
    let mut raw = logged_in(&served).await;
    raw.ask(&[query("BEGIN")]).await;
    assert_eq!(raw.ask(&[query("SELECT nope")]).await.last().unwrap(), "ready, in a failed transaction");
    assert!(raw.ask(&[query("SELECT 1")]).await[0].starts_with("error 25P02"));
    assert_eq!(raw.ask(&[query("COMMIT")]).await, ["done ROLLBACK", "ready"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_belong_to_one_connection() {
    let served = Served::start().await;
    let parameters =
        [("database", "bailiwick"), ("application_name", "it"), ("options", "-c statement_timeout=7s")];
    let mut raw = Raw::log_in(served.addr, &parameters, &served.admin).await.unwrap();
    let answer = raw.ask(&[query("SHOW statement_timeout; SHOW application_name")]).await;
    assert_eq!((answer[1].as_str(), answer[4].as_str()), ("row 7s", "row it"));
    let answer = raw.ask(&[query("SET application_name = 'other'")]).await;
    assert_eq!(answer, ["now application_name=other", "done SET", "ready"]);
    let answer = raw.ask(&[query("SET TIME ZONE 'Europe/Berlin'")]).await;
    assert!(answer[0].starts_with("notice 01000"), "{answer:?}");
    for text in
        ["SET datafusion.execution.batch_size = 7", "SHOW datafusion.execution.batch_size", "SET ROLE admin"]
    {
        assert!(raw.ask(&[query(text)]).await[0].starts_with("error 42"), "{text}");
    }
    let mut other = logged_in(&served).await;
    assert_eq!(other.ask(&[query("SHOW statement_timeout")]).await[1], "row 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comment_and_nothing_are_empty_queries() {
    let served = Served::start().await;
    let mut raw = logged_in(&served).await;
    for text in ["-- ping", ";", ""] {
        assert_eq!(raw.ask(&[query(text)]).await, ["empty", "ready"], "{text:?}");
    }
    let answer = raw.ask(&[parse("", "-- ping", &[]), bind("", &[], (&[], &[])), execute(0), sync()]).await;
    assert_eq!(answer, ["parsed", "bound", "empty", "ready"]);
}

/// Long enough to be interrupted, whatever the machine.
const ENDLESS: &str = "SELECT sum(value % 7) FROM generate_series(1, 1000000000000)";

#[tokio::test(flavor = "multi_thread")]
async fn a_query_ends_at_the_clients_own_limit() {
    let served = Served::start().await;
    let mut raw = logged_in(&served).await;
    let answer = raw.ask(&[query(&format!("SET statement_timeout = 50; {ENDLESS}"))]).await;
    assert!(
        answer.contains(&"error 57014 canceling statement due to statement timeout of 50 ms".to_owned()),
        "{answer:?}"
    );
    let answer = raw.ask(&[query("SET statement_timeout = 0; SELECT 1")]).await;
    assert_eq!(answer[2], "row 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_ends_when_it_is_cancelled_and_the_next_one_runs() {
    let served = Served::start().await;
    let mut raw = logged_in(&served).await;
    let (pid, secret_key) = raw.key.clone();
    raw.send(&[query(ENDLESS)]).await;
    // Asked again until it hits: the query may not have begun yet.
    let addr = served.addr;
    let asking = tokio::spawn(async move {
        loop {
            let mut bytes = bytes::BytesMut::new();
            let request = CancelRequest::new(pid, secret_key.clone());
            Message::CancelRequest(request).encode(&mut bytes).unwrap();
            let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, &bytes).await.unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    });
    let answer = raw.ask(&[]).await;
    asking.abort();
    assert!(answer.contains(&"error 57014 canceling statement due to user request".to_owned()), "{answer:?}");
    let _ = asking.await;
    assert_eq!(raw.ask(&[Message::Close(Close::new(b'S', None)), sync()]).await, ["closed", "ready"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_cut_off_says_so() {
    let served = Served::start_with(Config { max_rows: 3, ..Config::default() }).await;
    let mut raw = logged_in(&served).await;
    let answer = raw.ask(&[query("SELECT proc_pid FROM syscalls ORDER BY 1")]).await;
    assert_eq!(answer.iter().filter(|line| line.starts_with("row ")).count(), 3);
    assert!(answer[4].starts_with("notice 01004") && answer[5] == "done SELECT 3", "{answer:?}");
}
