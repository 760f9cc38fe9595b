//! Cursors, savepoints and local settings, message by message.

use pgwire::messages::PgWireFrontendMessage as Message;
use pgwire::messages::extendedquery::{Bind, Describe, Execute};

use super::bucket::Served;
use super::messages::{bind, execute, logged_in, parse, query, sync};
use crate::Config;

const PIDS: &str = "SELECT proc_pid FROM syscalls WHERE tenant = 'acme' ORDER BY 1";

fn declare(rest: &str) -> Message {
    query(&format!("DECLARE c {rest} FOR {PIDS}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_is_declared_read_on_and_closed() {
    let served = Served::start().await;
    let mut raw = logged_in(&served).await;
    raw.ask(&[query("BEGIN")]).await;
    assert_eq!(raw.ask(&[declare("CURSOR")]).await, ["done DECLARE CURSOR", "ready, in a transaction"]);
    let answer = raw.ask(&[query("FETCH 2 FROM c")]).await;
    assert_eq!(answer[..4], ["columns proc_pid:20:0", "row 0", "row 1", "done FETCH 2"]);
    assert_eq!(raw.ask(&[query("MOVE 7 c")]).await[0], "done MOVE 7");
    assert_eq!(raw.ask(&[query("FETCH RELATIVE 2 FROM c")]).await[1..3], ["row 10", "done FETCH 1"]);
    assert_eq!(raw.ask(&[query("FETCH ABSOLUTE 20 FROM c")]).await[1..3], ["row 19", "done FETCH 1"]);
    assert_eq!(raw.ask(&[query("MOVE FORWARD ALL FROM c")]).await[0], "done MOVE 580");
    assert_eq!(raw.ask(&[query("FETCH c")]).await[..2], ["columns proc_pid:20:0", "done FETCH 0"]);
    assert_eq!(raw.ask(&[query("CLOSE c")]).await[0], "done CLOSE CURSOR");
    assert_eq!(raw.ask(&[query("FETCH c")]).await[0], "error 34000 portal \"c\" does not exist");
    assert_eq!(raw.ask(&[query("ROLLBACK")]).await, ["done ROLLBACK", "ready"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_lives_as_long_as_it_says() {
    let served = Served::start().await;
    let mut raw = logged_in(&served).await;
    assert!(raw.ask(&[declare("CURSOR")]).await[0].starts_with("error 25P01"));
    assert_eq!(raw.ask(&[declare("CURSOR WITH HOLD")]).await[0], "done DECLARE CURSOR");
    assert_eq!(raw.ask(&[query("FETCH c")]).await[1], "row 0");
    assert!(raw.ask(&[declare("CURSOR WITH HOLD")]).await[0].starts_with("error 42P03"));
    assert_eq!(raw.ask(&[query("CLOSE ALL")]).await[0], "done CLOSE CURSOR ALL");
    for (end, lives) in [("COMMIT", true), ("ROLLBACK", false)] {
        raw.ask(&[query("BEGIN"), declare("CURSOR WITH HOLD"), query(end)]).await;
        for _ in 0..2 {
            raw.ask(&[]).await;
        }
        let answer = raw.ask(&[query("FETCH c")]).await;
        assert_eq!(answer[0].starts_with("columns"), lives, "{end}: {answer:?}");
        raw.ask(&[query("CLOSE ALL")]).await;
    }
    raw.ask(&[query("BEGIN")]).await;
    raw.ask(&[declare("CURSOR")]).await;
    raw.ask(&[query("COMMIT")]).await;
    assert!(raw.ask(&[query("FETCH c")]).await[0].starts_with("error 34000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_cursor_goes_back() {
    let served = Served::start().await;
    let mut raw = logged_in(&served).await;
    for text in ["FETCH PRIOR FROM c", "MOVE BACKWARD 1 FROM c", "FETCH ABSOLUTE 1 FROM c", "FETCH 0 FROM c"]
    {
        raw.ask(&[query("BEGIN")]).await;
        raw.ask(&[declare("NO SCROLL CURSOR")]).await;
        raw.ask(&[query("FETCH 3 FROM c")]).await;
        let answer = raw.ask(&[query(text)]).await;
        assert!(
            answer.contains(&"error 55000 cursor can only scan forward".to_owned()),
            "{text}: {answer:?}"
        );
        raw.ask(&[query("ROLLBACK")]).await;
    }
    assert!(raw.ask(&[declare("SCROLL CURSOR WITH HOLD")]).await[0].starts_with("error 55000"));
}

/// What psycopg does: parameters in `DECLARE`, a description by the cursor's name,
/// and the format that each `FETCH` asks for.
#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_takes_values_and_each_fetch_has_its_format() {
    let served = Served::start().await;
    let mut raw = logged_in(&served).await;
    raw.ask(&[query("BEGIN")]).await;
    let sql = "DECLARE c CURSOR FOR SELECT proc_pid FROM syscalls WHERE tenant = 'acme' AND proc_pid >= $1 ORDER BY 1";
    let answer = raw.ask(&[parse("", sql, &[]), bind("", &[b"7"], (&[], &[])), execute(0), sync()]).await;
    assert_eq!(answer[2], "done DECLARE CURSOR");
    let described = Message::Describe(Describe::new(b'P', Some("c".to_owned())));
    assert_eq!(raw.ask(&[described, sync()]).await[0], "columns proc_pid:20:0");
    let fetch = |formats: Vec<i16>| {
        [
            parse("", "FETCH FORWARD 1 FROM c", &[]),
            Message::Bind(Bind::new(None, None, vec![], vec![], formats)),
            Message::Describe(Describe::new(b'P', None)),
            Message::Execute(Execute::new(None, 0)),
            sync(),
        ]
    };
    let answer = raw.ask(&fetch(vec![1])).await;
    assert_eq!(answer[2..5], ["columns proc_pid:20:1", "row 0x0000000000000007", "done FETCH 1"]);
    let answer = raw.ask(&fetch(vec![])).await;
    assert_eq!(answer[2..5], ["columns proc_pid:20:0", "row 8", "done FETCH 1"]);
    // A query that fails says so when it is declared.
    let answer = raw.ask(&[query("DECLARE d CURSOR FOR SELECT nope FROM syscalls")]).await;
    assert!(answer[0].starts_with("error 42703"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binary_cursor_is_binary_without_being_asked() {
    let served = Served::start().await;
    let mut raw = logged_in(&served).await;
    raw.ask(&[declare("BINARY CURSOR WITH HOLD")]).await;
    let answer = raw.ask(&[query("FETCH c")]).await;
    assert_eq!(answer[..2], ["columns proc_pid:20:1", "row 0x0000000000000000"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn savepoints_bring_a_failed_transaction_back() {
    let served = Served::start().await;
    let mut raw = logged_in(&served).await;
    assert!(raw.ask(&[query("SAVEPOINT a")]).await[0].starts_with("error 25P01"));
    for text in ["BEGIN READ ONLY", "SAVEPOINT a", "SAVEPOINT b", "SAVEPOINT a"] {
        assert_eq!(raw.ask(&[query(text)]).await.last().unwrap(), "ready, in a transaction", "{text}");
    }
    assert_eq!(raw.ask(&[query("SELECT nope")]).await.last().unwrap(), "ready, in a failed transaction");
    assert!(raw.ask(&[query("RELEASE a")]).await[0].starts_with("error 25P02"));
    assert_eq!(
        raw.ask(&[query("ROLLBACK TO SAVEPOINT b")]).await,
        ["done ROLLBACK", "ready, in a transaction"]
    );
    assert_eq!(raw.ask(&[query("SELECT 1")]).await[1], "row 1");
    assert_eq!(raw.ask(&[query("RELEASE SAVEPOINT a")]).await[0], "done RELEASE");
    assert!(raw.ask(&[query("ROLLBACK TO b")]).await[0].starts_with("error 3B001"));
    assert_eq!(raw.ask(&[query("COMMIT")]).await, ["done ROLLBACK", "ready"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_a_transaction_end_with_it() {
    let served = Served::start().await;
    let mut raw = logged_in(&served).await;
    assert!(raw.ask(&[query("SET LOCAL statement_timeout = '1s'")]).await[0].starts_with("notice 01000"));
    raw.ask(&[query("BEGIN; SET LOCAL statement_timeout = '3s'; SET application_name = 'inside'")]).await;
    assert_eq!(raw.ask(&[query("SHOW statement_timeout")]).await[1], "row 3s");
    assert_eq!(raw.ask(&[query("ROLLBACK")]).await, ["now application_name=", "done ROLLBACK", "ready"]);
    assert_eq!(raw.ask(&[query("SHOW statement_timeout")]).await[1], "row 0");
}

/// A cursor that is left alone holds a query's place; the connection ends in the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_nobody_reads_ends_its_connection() {
    let served = Served::start_with(Config { query_timeout_ms: 3_000, ..Config::default() }).await;
    let mut raw = logged_in(&served).await;
    raw.ask(&[declare("CURSOR WITH HOLD")]).await;
    raw.ask(&[query("FETCH c")]).await;
    let answer = raw.ask(&[]).await;
    assert!(answer[0].starts_with("error 57P05"), "{answer:?}");
}
