//! Values and types through psycopg and asyncpg, which take both formats apart by themselves.

use std::path::Path;
use std::process::Command;

use super::bucket::Served;
use super::messages::{bind, execute, logged_in, parse, query, sync};
use crate::needs::python;

/// Goal: every type that a driver sends comes back as it was, in text and in binary. The
/// script has the assertions.
#[tokio::test(flavor = "multi_thread")]
async fn drivers_send_and_read_every_type() {
    let Some(python) = python("psycopg, asyncpg") else { return };
    let served = Served::start().await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/python/postgres_types.py");
    let (host, port) = (served.addr.ip().to_string(), served.addr.port().to_string());
    let mut command = Command::new(python);
    command.arg(script).args([&host, &port, &served.admin]);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Goal: a type that cannot be sent is told by its name, without any values, and only where it cannot.
#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sent_is_refused_without_its_values() {
    let served = Served::start().await;
    let mut raw = logged_in(&served).await;
    let uneven = "SELECT ARRAY[ARRAY[1,2],ARRAY[3]]";
    let answer = raw.ask(&[query(uneven)]).await;
    assert_eq!(answer[1], "row {{1,2},{3}}");
    let answer = raw.ask(&[parse("s", uneven, &[]), bind("s", &[], (&[], &[1])), execute(0), sync()]).await;
    assert!(
        answer.iter().any(|line| line.starts_with("error 0A000 an array whose rows differ")),
        "{answer:?}"
    );
    let answer = raw.ask(&[query("SELECT map(['a'], [1])")]).await;
    assert_eq!(answer[1], "row {\"(a,1)\"}");
}
