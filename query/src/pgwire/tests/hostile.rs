//! Who must not get in, and what must not get through.

use super::bucket::Served;
use super::messages::{bind, execute, parse, query, sync};
use super::raw::Raw;
use crate::Config;

#[tokio::test(flavor = "multi_thread")]
async fn only_a_valid_token_gets_in_and_only_to_the_one_database() {
    let served = Served::start().await;
    for token in ["", "bwk_olga_guess", "postgres"] {
        let refused = Raw::log_in(served.addr, &[("database", "bailiwick")], token).await.err().unwrap();
        assert_eq!(refused, "28P01 password authentication failed", "{token}");
    }
    let refused = Raw::log_in(served.addr, &[("database", "globex")], &served.tenant).await.err().unwrap();
    assert_eq!(refused, "3D000 database \"globex\" does not exist");
}

/// Goal: connections that never log in keep nobody out. Method: more of them than
/// there are places, and nobody who ends them; those who have logged in stay.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_log_in_makes_room() {
    let served = Served::start_with(Config { max_connections: 4, ..Config::default() }).await;
    let database = [("database", "bailiwick")];
    let mut known = Raw::log_in(served.addr, &database, &served.tenant).await.unwrap();
    let mut silent = Vec::new();
    for _ in 0..6 {
        silent.push(tokio::net::TcpStream::connect(served.addr).await.unwrap());
    }
    // Who came first is safe for a moment; until then another one is refused without a word.
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    let mut second = Raw::log_in(served.addr, &database, &served.tenant).await.unwrap();
    for raw in [&mut known, &mut second] {
        assert_eq!(raw.ask(&[query("SELECT 1")]).await[1], "row 1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_reads_its_own_rows_whatever_it_asks() {
    let served = Served::start().await;
    let mut raw = Raw::log_in(served.addr, &[("user", "olga"), ("database", "bailiwick")], &served.tenant)
        .await
        .unwrap();
    let answer = raw
        .ask(&[query(
            "SELECT DISTINCT tenant FROM syscalls; SELECT count(*) FROM alerts WHERE tenant = 'globex'",
        )])
        .await;
    assert_eq!((answer[1].as_str(), answer[4].as_str()), ("row acme", "row 0"));
    let sql = "SELECT count(*) FROM syscalls WHERE tenant = $1";
    let answer =
        raw.ask(&[parse("", sql, &[]), bind("", &[b"globex"], (&[], &[])), execute(0), sync()]).await;
    assert_eq!(answer[2], "row 0");
    let answer = raw.ask(&[query("SELECT rolname FROM pg_roles ORDER BY 1; SELECT current_user")]).await;
    assert_eq!(
        (answer[1..3].to_vec(), answer[5].as_str()),
        (vec!["row anna".to_owned(), "row bailiwick".to_owned()], "row anna")
    );
    // The settings and files of the server are nowhere.
    for text in [
        "SELECT * FROM information_schema.df_settings",
        "SELECT * FROM '/etc/passwd'",
        "COPY syscalls TO '/tmp/x'",
        "COPY (SELECT 1) TO PROGRAM 'cat'",
        "CREATE TABLE x AS SELECT 1",
        "SET datafusion.catalog.location = '/etc'",
        "PREPARE p AS SELECT 1",
        "EXPLAIN SELECT * FROM syscalls",
    ] {
        let answer = raw.ask(&[query(text)]).await;
        assert!(answer[0].starts_with("error ") && !answer[0].contains("XX000"), "{text}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_numbers_of_formats_and_values_are_refused() {
    let served = Served::start().await;
    let mut raw = Raw::log_in(served.addr, &[("database", "bailiwick")], &served.admin).await.unwrap();
    raw.ask(&[
        parse(
            "s",
            "SELECT proc_pid AS a, 2 AS b, 3 AS c FROM syscalls WHERE tenant = 'acme' AND proc_pid = $1",
            &[],
        ),
        sync(),
    ])
    .await;
    for message in [
        bind("s", &[], (&[], &[])),
        bind("s", &[b"1", b"2"], (&[], &[])),
        bind("s", &[b"1"], (&[0, 0, 0], &[])),
        bind("s", &[b"1"], (&[], &[0, 1])),
        bind("s", &[b"x"], (&[], &[])),
        bind("s", &[b"x"], (&[1], &[])),
        bind("none", &[], (&[], &[])),
    ] {
        let answer = raw.ask(&[message, execute(0), sync()]).await;
        assert!(answer.len() == 2 && answer[0].starts_with("error "), "{answer:?}");
    }
    let answer = raw.ask(&[bind("s", &[b"1"], (&[], &[0, 1, 0])), execute(i32::MIN), sync()]).await;
    assert_eq!(answer[1], "row 1 0x0000000000000002 3");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_claims_a_gigabyte_ends_its_connection_at_once() {
    let served = Served::start_with(Config { max_sql_bytes: 1_000, ..Config::default() }).await;
    let mut raw = Raw::log_in(served.addr, &[("database", "bailiwick")], &served.admin).await.unwrap();
    let long = format!("SELECT '{}'", "x".repeat(2_000));
    assert!(raw.ask(&[query(&long)]).await[0].starts_with("error 54000"));
    raw.send_bytes(b"Q\x3f\xff\xff\x00SELECT").await;
    let mut last = None;
    while let Some(message) = raw.next().await {
        last = Some(message);
    }
    assert!(format!("{last:?}").contains("08P01"), "{last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn noise_ends_one_connection_and_no_other() {
    let served = Served::start().await;
    let mut good = Raw::log_in(served.addr, &[("database", "bailiwick")], &served.admin).await.unwrap();
    for noise in [
        b"\x00\x00\x00\x00\x00\x00\x00\x00".as_slice(),
        b"\x00\x00\x00\x08\x04\xd2\x16\x2e",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x16\x03\x01\x00\x00",
    ] {
        let mut stream = tokio::net::TcpStream::connect(served.addr).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, noise).await.unwrap();
        tokio::io::AsyncWriteExt::shutdown(&mut stream).await.unwrap();
        let mut rest = Vec::new();
        let _ = tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut rest).await;
    }
    // A bind whose value claims more bytes than there are.
    let mut bad = Raw::log_in(served.addr, &[("database", "bailiwick")], &served.admin).await.unwrap();
    bad.send_bytes(b"B\x00\x00\x00\x12\x00\x00\x00\x00\x00\x01\x7f\xff\xff\xff\x00\x00\x00\x00").await;
    while bad.next().await.is_some() {}
    assert_eq!(good.ask(&[query("SELECT 1")]).await[1], "row 1");
}
