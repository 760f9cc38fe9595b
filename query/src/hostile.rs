//! What tenants try: hundreds of statements, through every door, beside a tenant whose rows are secrets.
//!
//! ```text
//!   statements.txt ─▶ every door ─▶ what came back: rows, errors, headers ─▶ as expected, and no secret in it
//!                     (doors)       what was recorded, what is counted
//!   random SQL ─▶ over a lake with the other's rows, and one without them ─▶ the same (chance)
//! ```

mod chance;
mod doors;
mod flight;
mod lake;
mod statements;
mod tokens;

use bailiwick_proto::Table;

use doors::{Came, Door, Reply, Server};
use lake::{SECRET, Who, Whose};
use statements::{Expected, Statement};

/// What nobody is told, unless the statement said it: where things lie, and the
/// other tenant's name.
const NOWHERE: [&str; 9] = [
    "globex",
    "tenant=",
    ".parquet",
    "_delta_log",
    "wal/",
    "tables/",
    "bailiwick://",
    "root:x:",
    "datafusion.",
];

/// What of a text must not be there.
fn told_too_much(text: &str, statement: &str) -> Option<&'static str> {
    let (text, statement) = (text.to_lowercase(), statement.to_lowercase());
    // A statement may write a first letter in other ways.
    let hidden = NOWHERE.into_iter().filter(|hidden| !statement.contains(&hidden[1..]));
    hidden.chain([SECRET]).find(|hidden| text.contains(hidden))
}

/// Asks, and says what is wrong with what came of it.
async fn wrong(server: &mut Server, door: Door, token: &str, statement: &Statement) -> Option<String> {
    let Statement { sql, .. } = statement;
    let expected = statement.expected(door);
    server.records();
    let reply = server.ask(door, token, sql).await;
    if let Some(hidden) = told_too_much(&reply.everything, sql) {
        return Some(format!("{hidden} came back: {}", reply.everything));
    }
    if !expected.is(&reply) {
        return Some(format!("expected {expected:?}, got {reply}"));
    }
    let records = server.records();
    for record in &records {
        let told = record.iter().filter(|(name, _)| *name != "sql").map(|(_, value)| value.as_str());
        if let Some(hidden) = told.into_iter().find_map(|value| told_too_much(value, sql)) {
            return Some(format!("{hidden} was recorded: {record:?}"));
        }
    }
    let outcomes: Vec<&str> = records.iter().map(|record| record["outcome"].as_str()).collect();
    let settings = ["SHOW", "SET", "RESET"].iter().any(|word| sql.starts_with(word));
    let recorded = match expected {
        // Settings of a connection are not queries.
        _ if door.is_pgwire() && settings => true,
        Expected::Rows | Expected::Empty | Expected::Exactly(_) => {
            !outcomes.is_empty() && outcomes.iter().all(|outcome| *outcome == "ok")
        }
        Expected::Refused => outcomes.iter().any(|outcome| ["refused", "failed"].contains(outcome)),
        Expected::Fails => outcomes.iter().any(|outcome| ["failed", "timed_out"].contains(outcome)),
    };
    (!recorded).then(|| format!("recorded as {outcomes:?}"))
}

/// Asks everything, the statements about every table through one door for each
/// and through the first door for all.
async fn all_wrong(server: &mut Server, who: Who, doors: &[Door]) -> Vec<String> {
    let token = server.token(who).to_owned();
    let statements = statements::all().into_iter().filter(|statement| who.sees(statement.table));
    let mut found = Vec::new();
    let mut asked = 0;
    for statement in statements {
        for (at, door) in doors.iter().enumerate() {
            let turn = asked % Table::ALL.len() == 0;
            if at > 0 && statement.table.is_some() && !turn {
                continue;
            }
            if let Some(what) = wrong(server, *door, &token, &statement).await {
                found.push(format!("{door:?}: {}\n    {what}", statement.sql));
            }
        }
        asked += 1;
    }
    assert!(asked > 500, "only {asked} statements");
    if let Some(hidden) = told_too_much(&server.metrics(), "") {
        found.push(format!("{hidden} is in the metrics"));
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_tenant_tries_tells_of_another() {
    let mut server = Server::start(&[Whose::Globex, Whose::Shop]).await;
    let found = all_wrong(&mut server, Who::Acme, &Door::ALL).await;
    assert!(found.is_empty(), "{} went wrong:\n{}", found.len(), found.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_somebody_of_some_namespaces_tries_tells_of_the_others() {
    let mut server = Server::start(&[Whose::Vault, Whose::Shop, Whose::Globex]).await;
    let found = all_wrong(&mut server, Who::Shop, &Door::ALL[..1]).await;
    assert!(found.is_empty(), "{} went wrong:\n{}", found.len(), found.join("\n"));
}

/// Goal: the secrets are where the statements look for them. Method: whoever may
/// see them asks the same, through every door.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_see_the_secrets_sees_them() {
    let server = Server::start(&[Whose::Globex, Whose::Shop]).await;
    for door in Door::ALL {
        for table in statements::RELATIONS {
            let sql = format!("SELECT * FROM {table} WHERE tenant = 'globex'");
            let own = server.token(Who::Globex).to_owned();
            let reply: Reply = server.ask(door, &own, &sql).await;
            assert!(told_too_much(&reply.everything, "globex") == Some(SECRET), "{door:?} {table}: {reply}");
        }
        let operator = server.token(Who::Operator).to_owned();
        let reply = server.ask(door, &operator, "SELECT CAST(proc_name AS INT) FROM syscalls").await;
        assert!(reply.came == Came::Failed && reply.everything.contains(SECRET), "{door:?}: {reply}");
    }
}
