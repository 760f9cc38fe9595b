//! What is no token, is none any more, or is another's, opens no door.

use std::time::Duration;

use chrono::{TimeDelta, Utc};

use super::doors::{Came, Door, Server};
use super::lake::{Who, Whose};
use crate::pgwire::tests::messages::query;
use crate::pgwire::tests::raw::Raw;
use crate::{Role, tokens};

const SQL: &str = "SELECT tenant FROM syscalls";

/// Longer than the server takes to look at its token file again.
const LOOKS_AGAIN: Duration = Duration::from_millis(400);

#[tokio::test(flavor = "multi_thread")]
async fn forged_expired_and_withdrawn_tokens_open_no_door() {
    let server = Server::start(&[Whose::Globex, Whose::Shop]).await;
    let good = server.token(Who::Acme).to_owned();
    let (name, secret) = good.rsplit_once('_').unwrap();
    let expires = Utc::now() + TimeDelta::milliseconds(1);
    let file = &server.tokens_file;
    let acme = || vec!["acme".parse().unwrap()];
    let expired = tokens::create(file, "expired", Role::Admin, [], Some(expires), Utc::now()).unwrap();
    let withdrawn = tokens::create(file, "withdrawn", Role::Tenant, acme(), None, Utc::now()).unwrap();
    tokio::time::sleep(LOOKS_AGAIN).await;
    for door in Door::ALL {
        assert_eq!(server.ask(door, &withdrawn, SQL).await.came, Came::Whole, "{door:?}");
    }
    tokens::remove(file, "withdrawn").unwrap();
    tokio::time::sleep(LOOKS_AGAIN).await;
    let forged = [
        String::new(),
        "anna".to_owned(),
        secret.to_owned(),
        format!("{name}_"),
        format!("{name}_{}", "0".repeat(64)),
        format!("bwk_olga_{secret}"),
        format!("bwk_gina_{secret}"),
        good.to_uppercase(),
        format!("{good}0"),
        good[..good.len() - 1].to_owned(),
        format!("{good},{good}"),
        format!("' OR 1=1 --{good}"),
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJvbGdhIn0.".to_owned(),
        "x".repeat(4_000),
        expired,
        withdrawn,
    ];
    for token in &forged {
        for door in Door::ALL {
            let reply = server.ask(door, token, SQL).await;
            assert!(reply.came == Came::Refused && reply.rows.is_empty(), "{door:?} {token}: {reply}");
            assert!(!reply.everything.contains("acme") && !reply.everything.contains("anna"), "{reply}");
        }
    }
    for door in Door::ALL {
        assert_eq!(server.ask(door, &good, SQL).await.came, Came::Whole, "{door:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_open_ends_with_its_token() {
    let mut server = Server::start(&[Whose::Globex, Whose::Shop]).await;
    let good = server.token(Who::Acme).to_owned();
    let mut raw = Raw::log_in(server.pgwire_addr(), &[("database", "bailiwick")], &good).await.unwrap();
    assert_eq!(raw.ask(&[query(SQL)]).await[1], "row acme");
    tokens::remove(&server.tokens_file, "anna").unwrap();
    tokio::time::sleep(LOOKS_AGAIN).await;
    server.records();
    let answer = raw.ask(&[query(SQL)]).await;
    assert!(answer[0].starts_with("error 28000"), "{answer:?}");
    assert_eq!(server.records()[0]["outcome"], "refused");
}
