//! `bailiwick report`: invoices as a table for people, as CSV and JSON for programs.

use std::fs;
use std::path::Path;

use bailiwick_query::{Chargeback, ChargebackRow, Decimal, Prices};
use chrono::{DateTime, SecondsFormat, Utc};

use crate::cli::{self, Format};
use crate::client::Api;
use crate::config::Config;
use crate::failure::Failure;
use crate::say::say;
use crate::span;
use crate::table;
use crate::terminal::printable;

/// Asks for the invoice of a period and prints it.
pub(crate) async fn chargeback(config: &Config, args: cli::Chargeback) -> Result<(), Failure> {
    let (from, to) = span::period(&args.since, args.from.as_ref(), args.to.as_ref())?;
    let prices = args.prices.as_deref().map(price_file).transpose()?;
    let api = Api::new(config, &args.server)?;
    let mut report = ask(&api, from, to, prices).await?;
    if let Some(file) = &args.prices {
        report.prices = file.display().to_string();
    }
    match args.format {
        Format::Table => say!("{}", rendered(&report)),
        Format::Csv => crate::say::csv(&csv(&report)?),
        Format::Json => crate::say::json(&json(&report)?),
    }
    Ok(())
}

/// The bill of the demo's last minutes, for its own tenants.
pub(crate) async fn demo_invoice(api: &Api, tenants: &[&str]) -> Result<String, Failure> {
    let now = Utc::now();
    let mut report = ask(api, span::before(now, "5m")?, now, None).await?;
    report.rows.retain(|row| tenants.contains(&row.tenant.as_str()));
    report.total = report.rows.iter().map(|row| row.total_cost).sum();
    Ok(rendered(&report))
}

/// The file's text, once it is known to hold prices: here its name and lines
/// are known, at the server no longer.
fn price_file(file: &Path) -> Result<String, Failure> {
    let name = file.display().to_string();
    let text = fs::read_to_string(file).map_err(|error| Failure::config(format!("{name}: {error}")))?;
    Prices::parse(&name, &text).map_err(|error| Failure::config(error.to_string()))?;
    Ok(text)
}

async fn ask(
    api: &Api,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    prices: Option<String>,
) -> Result<Chargeback, Failure> {
    let mut request = serde_json::json!({ "from": from, "to": to });
    if let Some(text) = prices {
        request["prices"] = text.into();
    }
    let answer = api.chargeback(&request).await?;
    serde_json::from_str(&answer)
        .map_err(|error| Failure::failed(format!("the server answered no report: {error}")))
}

/// The columns of the report, as every format names them.
const COLUMNS: [&str; 10] = [
    "tenant",
    "cpu_core_hours",
    "memory_gib_hours",
    "io_read_gib",
    "io_write_gib",
    "cpu_cost",
    "memory_cost",
    "io_cost",
    "total_cost",
    "coverage",
];

fn cells(row: &ChargebackRow) -> [String; 10] {
    let text = |number: Decimal| number.to_string();
    [
        row.tenant.clone(),
        text(row.cpu_core_hours),
        text(row.memory_gib_hours),
        text(row.io_read_gib),
        text(row.io_write_gib),
        text(row.cpu_cost),
        text(row.memory_cost),
        text(row.io_cost),
        text(row.total_cost),
        text(row.coverage),
    ]
}

fn rendered(report: &Chargeback) -> String {
    let header: Vec<String> = COLUMNS.iter().map(|name| name.replace('_', " ")).collect();
    let numeric: Vec<bool> = COLUMNS.iter().map(|name| *name != "tenant").collect();
    let rows: Vec<Vec<String>> = report.rows.iter().map(|row| cells(row).to_vec()).collect();
    let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
    format!(
        "{}\n\n total {} {}, {} to {}, prices: {}",
        table::render(&header, &numeric, &rows),
        report.total,
        printable(&report.currency),
        time(report.from),
        time(report.to),
        printable(&report.prices),
    )
}

fn csv(report: &Chargeback) -> Result<String, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::failed(format!("cannot write CSV: {error}"));
    let mut writer = csv::Writer::from_writer(Vec::new());
    let period = |row: Vec<String>| {
        let head = [report.from.to_rfc3339(), report.to.to_rfc3339(), report.currency.clone()];
        head.into_iter().chain(row).collect::<Vec<_>>()
    };
    let names = ["from", "to", "currency"].into_iter().chain(COLUMNS);
    writer.write_record(names).map_err(|error| failed(&error))?;
    for row in &report.rows {
        writer.write_record(period(cells(row).to_vec())).map_err(|error| failed(&error))?;
    }
    let bytes = writer.into_inner().map_err(|error| failed(&error))?;
    String::from_utf8(bytes).map_err(|error| failed(&error))
}

fn json(report: &Chargeback) -> Result<String, Failure> {
    serde_json::to_string_pretty(report).map_err(|error| Failure::failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Chargeback {
        let micros = Decimal::from_micros;
        let row = |tenant: &str, cost| ChargebackRow {
            tenant: tenant.to_owned(),
            cpu_core_hours: micros(1_500_000),
            memory_gib_hours: micros(250_000),
            io_read_gib: micros(0),
            io_write_gib: micros(0),
            cpu_cost: micros(cost),
            memory_cost: micros(0),
            io_cost: micros(0),
            total_cost: micros(cost),
            coverage: micros(1_000_000),
        };
        Chargeback {
            currency: "EUR".to_owned(),
            from: "2026-11-01T00:00:00Z".parse().unwrap(),
            to: "2026-11-02T00:00:00Z".parse().unwrap(),
            prices: "prices.yaml".to_owned(),
            rows: vec![row("acme", 47_416), row("_host", 2)],
            total: micros(47_418),
        }
    }

    #[test]
    fn a_report_is_read_by_people_and_programs() {
        let report = report();
        insta::assert_snapshot!("chargeback_table", rendered(&report));
        insta::assert_snapshot!("chargeback_csv", csv(&report).unwrap());
        let json: Chargeback = serde_json::from_str(&json(&report).unwrap()).unwrap();
        assert_eq!(json, report);
    }

    #[test]
    fn a_time_that_is_none_is_named() {
        let yesterday = "yesterday".to_owned();
        let error = span::period("1h", Some(&yesterday), Some(&yesterday)).unwrap_err().to_string();
        assert!(error.contains("--from") && error.contains("yesterday"), "{error}");
    }
}
