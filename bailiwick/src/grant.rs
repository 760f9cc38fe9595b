//! `bailiwick grant`: rights for a while, for a reason.

use bailiwick_lake::Lake;
use bailiwick_proto::TenantId;
use bailiwick_query::grants::{self, Grant, GrantError, Record};
use chrono::{DateTime, Utc};

use crate::cli;
use crate::config::Config;
use crate::failure::{Failure, chain};
use crate::say::say;
use crate::span;
use crate::table;
use crate::tenant::who;
use crate::terminal::printable;
use crate::token;
use crate::upkeep::open;

/// Gives, lists or revokes grants.
pub(crate) async fn run(config: &Config, command: cli::Grant) -> Result<(), Failure> {
    let lake = open(config).await?;
    match command {
        cli::Grant::Create(args) => create(&lake, &args).await,
        cli::Grant::List { all } => list(&lake, all).await,
        cli::Grant::Revoke { id } => {
            let Record { grant, .. } =
                grants::revoke(&lake, &id, &who(), Utc::now()).await.map_err(|error| failed(&error))?;
            say!("{id} is revoked: running servers answer {} by it for two seconds more at most", grant.to);
            Ok(())
        }
    }
}

async fn create(lake: &Lake, args: &cli::GrantCreate) -> Result<(), Failure> {
    let tenants = args.tenant.iter().map(|name| name.parse::<TenantId>()).collect::<Result<_, _>>();
    let now = Utc::now();
    let grant = Grant {
        id: String::new(),
        to: args.to.clone(),
        role: token::role(args.role),
        tenants: tenants.map_err(|error| Failure::config(format!("--tenant: {error}")))?,
        by: who(),
        why: args.why.clone(),
        given: now,
        until: span::after(now, &args.span)?,
    };
    let grant = grants::give(lake, grant).await.map_err(|error| failed(&error))?;
    say!("{}", grant.id);
    say!(
        "{} has it until {}; running servers take it up within two seconds, and `SELECT * FROM grants()` tells of it",
        grant.to,
        day_and_time(grant.until)
    );
    Ok(())
}

async fn list(lake: &Lake, all: bool) -> Result<(), Failure> {
    let now = Utc::now();
    let records = grants::list(lake).await.map_err(|error| failed(&error))?;
    let shown = records.iter().filter(|record| all || record.ended(now).is_none());
    let header = ["id", "state", "to", "role", "tenants", "given by", "until", "why"].map(str::to_owned);
    let rows: Vec<Vec<String>> = shown.map(|record| row(record, now)).collect();
    say!("{}", table::render(&header, &[false; 8], &rows));
    Ok(())
}

fn row(record: &Record, now: DateTime<Utc>) -> Vec<String> {
    let Record { grant, revoked } = record;
    let tenants = grant.tenants.iter().map(TenantId::as_str).collect::<Vec<_>>().join(", ");
    let state = match revoked {
        Some(revocation) => format!("revoked {} by {}", day_and_time(revocation.at), revocation.by),
        None => record.state(now).to_owned(),
    };
    vec![
        grant.id.clone(),
        state,
        grant.to.clone(),
        grant.role.to_string(),
        tenants,
        grant.by.clone(),
        day_and_time(grant.until),
        grant.why.clone(),
    ]
}

fn day_and_time(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S").to_string()
}

fn failed(error: &GrantError) -> Failure {
    match error {
        GrantError::Lake(error) => Failure::room("bucket", error.action(), error),
        GrantError::Unknown { .. } | GrantError::Over { .. } => Failure::failed(printable(&chain(error))),
        other => Failure::config(printable(&chain(other))),
    }
}

#[cfg(test)]
mod tests {
    use bailiwick_query::Role;
    use bailiwick_query::grants::Revocation;

    use super::*;

    #[test]
    fn a_list_is_read_by_people() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let grant = Grant {
            id: "20261128T140000-0123456789ab".into(),
            to: "alice".into(),
            role: Role::Tenant,
            tenants: ["acme", "globex"].map(|name| name.parse().unwrap()).into(),
            by: "ann@desk".into(),
            why: "incident 42".into(),
            given: at("2026-11-28T14:00:00Z"),
            until: at("2026-11-28T16:00:00Z"),
        };
        let row =
            |revoked| row(&Record { grant: grant.clone(), revoked }, at("2026-11-28T15:00:00Z")).join(" | ");
        let revoked = Revocation { by: "bob@desk".into(), at: at("2026-11-28T14:30:00Z") };
        insta::assert_snapshot!([row(None), row(Some(revoked))].join("\n"), @r"
        20261128T140000-0123456789ab | active | alice | tenant | acme, globex | ann@desk | 2026-11-28 16:00:00 | incident 42
        20261128T140000-0123456789ab | revoked 2026-11-28 14:30:00 by bob@desk | alice | tenant | acme, globex | ann@desk | 2026-11-28 16:00:00 | incident 42
        ");
    }
}
