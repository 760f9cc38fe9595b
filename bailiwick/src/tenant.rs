//! `bailiwick tenant`: holds, deletions, and what there is of each tenant.

use std::collections::BTreeMap;

use bailiwick_ingest::upkeep::orders::{self, Count, History, Order, OrderBook, Standing, What};
use bailiwick_ingest::upkeep::retention::{KeptDays, Retention};
use bailiwick_lake::Lake;
use bailiwick_proto::{Table, TenantId};
use chrono::{DateTime, NaiveDate, Utc};

use crate::amount::{bytes, count, of};
use crate::cli;
use crate::config::Config;
use crate::failure::{Failure, chain};
use crate::say::say;
use crate::table;
use crate::terminal::printable;
use crate::upkeep::{open, retention};

/// What the tables have of one tenant.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Holding {
    count: Count,
    days: Option<(NaiveDate, NaiveDate)>,
}

/// Lists tenants, or gives an order about one.
pub(crate) async fn run(config: &Config, command: cli::Tenant) -> Result<(), Failure> {
    let lake = open(config).await?;
    match command {
        cli::Tenant::List => list(config, &lake).await,
        cli::Tenant::History { tenant } => history(&lake, &tenant).await,
        cli::Tenant::Hold(order) => {
            let tenant = give(&lake, &order, What::Hold).await?;
            say!("{tenant} is on hold: nothing of it goes, whatever retention or a deletion says");
            Ok(())
        }
        cli::Tenant::Release(order) => {
            let tenant = give(&lake, &order, What::Release).await?;
            say!("{tenant} is no longer on hold: retention counts from the next pass on");
            Ok(())
        }
        cli::Tenant::Delete(args) => delete(config, &lake, &args).await,
    }
}

async fn list(config: &Config, lake: &Lake) -> Result<(), Failure> {
    let retention = retention(config)?.current();
    let standings = OrderBook::default().standings(lake).await.map_err(|error| failed(&error))?;
    let header = ["tenant", "rows", "size", "oldest", "newest", "kept", "ordered"].map(str::to_owned);
    let mut found = holdings(lake).await?;
    for tenant in standings.keys() {
        found.entry(tenant.clone()).or_default();
    }
    let rows: Vec<Vec<String>> = found
        .iter()
        .map(|(tenant, holding)| row(tenant, holding, &retention, standings.get(tenant)))
        .collect();
    say!("{}", table::render(&header, &[false, true, true, false, false, false, false], &rows));
    Ok(())
}

async fn history(lake: &Lake, tenant: &str) -> Result<(), Failure> {
    let tenant = parse(tenant)?;
    let mut histories = OrderBook::default().read(lake).await.map_err(|error| failed(&error))?;
    let history: History = histories.remove(&tenant).unwrap_or_default();
    let header = ["time", "order", "by", "reason"].map(str::to_owned);
    let rows: Vec<Vec<String>> = history.orders.iter().map(|order| told(order)).collect();
    say!("{}", table::render(&header, &[false; 4], &rows));
    Ok(())
}

async fn delete(config: &Config, lake: &Lake, args: &cli::TenantDelete) -> Result<(), Failure> {
    let tenant = parse(&args.order.tenant)?;
    let Count { files, rows, bytes: size } = holdings(lake).await?.remove(&tenant).unwrap_or_default().count;
    let goes = format!("{}, {}, {}", of(rows, "row"), of(files, "file"), bytes(size));
    if !args.yes {
        say!("would delete all of {tenant}: {goes}, and what of it is in the wal");
        return Err(Failure::failed("nothing was deleted: add --yes to do it, it cannot be undone"));
    }
    give(lake, &args.order, What::Delete).await?;
    let grace = config.ingest.upkeep.vacuum_grace_ms / 3_600_000;
    say!("the deletion of {tenant} is ordered: {goes}, and what of it is in the wal");
    say!(
        "queries no longer see it after the next pass of a running server, or of `bailiwick upkeep`; \
         its bytes leave the bucket after {}; `bailiwick tenant history {tenant}` tells when it is complete",
        of(grace, "more hour")
    );
    Ok(())
}

async fn give(lake: &Lake, order: &cli::TenantOrder, what: What) -> Result<TenantId, Failure> {
    let tenant = parse(&order.tenant)?;
    let now_us = Utc::now().timestamp_micros();
    let placed = orders::place(lake, &tenant, what, &who(), &order.reason, now_us).await;
    placed.map(|_| tenant).map_err(|error| failed(&error))
}

/// Everything that the tables hold, by tenant.
async fn holdings(lake: &Lake) -> Result<BTreeMap<TenantId, Holding>, Failure> {
    let mut found: BTreeMap<TenantId, Holding> = BTreeMap::new();
    for table in Table::ALL {
        let snapshot = lake.table(table).snapshot().await;
        let snapshot = snapshot.map_err(|error| Failure::room("bucket", error.action(), &error))?;
        for file in snapshot.files() {
            let holding = found.entry(file.tenant.clone()).or_default();
            holding.count += Count { files: 1, rows: file.rows, bytes: file.size_bytes };
            let (oldest, newest) = holding.days.unwrap_or((file.date, file.date));
            holding.days = Some((oldest.min(file.date), newest.max(file.date)));
        }
    }
    Ok(found)
}

fn row(
    tenant: &TenantId,
    holding: &Holding,
    retention: &Retention,
    standing: Option<&Standing>,
) -> Vec<String> {
    let day = |day: Option<NaiveDate>| day.map_or_else(String::new, |day| day.to_string());
    vec![
        tenant.to_string(),
        count(holding.count.rows),
        bytes(holding.count.bytes),
        day(holding.days.map(|days| days.0)),
        day(holding.days.map(|days| days.1)),
        kept(retention, tenant),
        standing.map_or_else(String::new, ordered),
    ]
}

/// `400 days, syscalls 30`: what most tables have, then those that differ.
fn kept(retention: &Retention, tenant: &TenantId) -> String {
    let days = |kept: KeptDays| kept.map_or_else(|| "forever".to_owned(), |days| of(days.into(), "day"));
    let all = Table::ALL.map(|table| (table, retention.kept_days(table, tenant)));
    let how_often = |kept: KeptDays| all.iter().filter(|(_, other)| *other == kept).count();
    let most = all.iter().map(|(_, kept)| *kept).max_by_key(|kept| how_often(*kept)).flatten();
    let mut text = days(most);
    for (table, kept) in all.iter().filter(|(_, kept)| *kept != most) {
        text.push_str(&format!(", {table} {}", days(*kept)));
    }
    text
}

fn ordered(standing: &Standing) -> String {
    if standing.unreadable {
        return "HELD: an order cannot be read, see the server's log".to_owned();
    }
    if let Some(hold) = &standing.hold {
        return format!("HOLD since {} by {}: {}", hold.day(), hold.by, hold.reason);
    }
    if let Some(deletion) = &standing.deletion {
        return format!("being deleted since {} by {}", deletion.day(), deletion.by);
    }
    match &standing.deleted {
        Some(Order { what: What::Deleted { count: gone, .. }, .. }) => {
            let day = standing.deleted.as_ref().map(Order::day).unwrap_or_default();
            format!("deleted {day}: {}", of(gone.rows, "row"))
        }
        _ => String::new(),
    }
}

fn told(order: &Order) -> Vec<String> {
    let at = DateTime::from_timestamp_micros(order.at_us).unwrap_or_default();
    let what = match &order.what {
        What::Hold => "hold".to_owned(),
        What::Release => "release".to_owned(),
        What::Delete => "delete".to_owned(),
        What::Removed { table, count, .. } => {
            format!("removed {} of {table}, {}", of(count.files, "file"), of(count.rows, "row"))
        }
        What::Deleted { count, .. } => {
            format!("deletion complete: {}, {}", of(count.files, "file"), of(count.rows, "row"))
        }
    };
    vec![at.format("%Y-%m-%d %H:%M:%S").to_string(), what, order.by.clone(), order.reason.clone()]
}

/// The person at the keyboard, as far as the system knows: also behind `sudo`.
pub(crate) fn who() -> String {
    let named = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let account = || nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten().map(|user| user.name);
    let user = named("SUDO_USER").or_else(account).unwrap_or_else(|| nix::unistd::getuid().to_string());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{user}@{}", host.trim())
}

fn parse(tenant: &str) -> Result<TenantId, Failure> {
    tenant.parse().map_err(|error| Failure::config(format!("{error}")))
}

fn failed(error: &orders::OrderError) -> Failure {
    match error {
        orders::OrderError::Lake(error) => Failure::room("bucket", error.action(), error),
        // The answer is no; the configuration is fine.
        other => Failure::failed(printable(&chain(other))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(what: What) -> Order {
        let (id, by, reason) = ("i".to_owned(), "ann@desk".to_owned(), "case 17".to_owned());
        Order { id, what, at_us: 1_795_521_600_000_000, by, reason }
    }

    #[test]
    fn a_list_is_read_by_people() {
        let text = "default_days: 400\ntables: {syscalls: 30, queries: forever}\ntenants:\n- tenant: acme\n  default_days: 1\n";
        let retention = Retention::parse("r.yaml", text).unwrap();
        let day = |day| NaiveDate::from_ymd_opt(2026, 11, day).unwrap();
        let (count, days) = (Count { files: 2, rows: 1_200, bytes: 40_000 }, Some((day(1), day(24))));
        let what = |what| Standing::of([&order(what)]);
        let gone = order(What::Deleted { of: "i".into(), count });
        let deleted = Standing { deleted: Some(gone), ..Standing::default() };
        let rows: Vec<Vec<String>> = [
            ("_host", None),
            ("acme", Some(what(What::Hold))),
            ("globex", Some(what(What::Delete))),
            ("old", Some(deleted)),
        ]
        .into_iter()
        .map(|(tenant, standing)| {
            row(&tenant.parse().unwrap(), &Holding { count, days }, &retention, standing.as_ref())
        })
        .collect();
        insta::assert_snapshot!(rows.iter().map(|row| row.join(" | ")).collect::<Vec<_>>().join("\n"));
    }

    #[test]
    fn a_history_says_what_was_done() {
        let count = Count { files: 2, rows: 1_200, bytes: 40_000 };
        let removed = What::Removed { of: "i".into(), table: "usage".into(), count };
        assert_eq!(told(&order(removed))[1], "removed 2 files of usage, 1,200 rows");
        assert_eq!(told(&order(What::Hold)), ["2026-11-24 12:00:00", "hold", "ann@desk", "case 17"]);
        assert!(who().contains('@'));
    }
}
