//! Reports: statements of our own, run as the principal that asked.

use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::{Decimal128Type, Int64Type, TimestampMicrosecondType};
use futures::StreamExt;

use crate::chargeback::{Amounts, Span, Usage, charge};
use crate::{Chargeback, Code, Endpoint, Engine, PriceError, Prices, Principal, QueryError};

/// No interval of `usage` is longer: it bounds how far beyond a period its rows lie.
const LONGEST_INTERVAL: TimeDelta = TimeDelta::days(1);
const MAX_PRICE_FILE_BYTES: u64 = 4 << 20;

/// The prices that count on this server. The file is read for every report, so
/// that a change needs no restart.
#[derive(Debug, Clone)]
pub(crate) struct ServerPrices {
    file: Option<PathBuf>,
}

// === impl ServerPrices ===

impl ServerPrices {
    /// Reads the file once, so that a wrong one is told at start.
    pub(crate) fn open(file: Option<PathBuf>) -> Result<Self, QueryError> {
        let prices = Self { file };
        prices.read().map_err(|error| QueryError::config(format!("query.prices_file: {error}")))?;
        Ok(prices)
    }

    pub(crate) fn read(&self) -> Result<Prices, PriceError> {
        let Some(file) = &self.file else { return Prices::built_in() };
        let name = file.display().to_string();
        let failed = |reason: String| PriceError::Read { file: name.clone(), reason };
        let size = std::fs::metadata(file).map_err(|error| failed(error.to_string()))?.len();
        if size > MAX_PRICE_FILE_BYTES {
            return Err(failed(format!("it has {size} bytes, too many for a price file")));
        }
        Prices::parse(&name, &std::fs::read_to_string(file).map_err(|error| failed(error.to_string()))?)
    }

    /// The same for whoever asks from outside: whose file it is and where it lies
    /// is not a client's business.
    pub(crate) fn for_clients(&self) -> Result<Prices, QueryError> {
        self.read().map_err(|error| {
            QueryError::new(Code::Unavailable, "the server's price file cannot be used, ask its operator")
                .because(error)
        })
    }
}

/// The statement that an invoice is made of, and how its rows become one.
pub(crate) struct Statement<'a> {
    prices: &'a Prices,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    spans: Vec<Span<'a>>,
    sql: String,
}

/// What each tenant in sight used in `[from, to)` and what it costs.
pub(crate) async fn chargeback(
    engine: &Engine,
    principal: &Principal,
    prices: &Prices,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Chargeback, QueryError> {
    if from >= to {
        return Err(QueryError::new(Code::BadRequest, "field from: it must lie before field to"));
    }
    let statement = Statement::new(prices, from, to)?;
    let mut running = engine.run(principal, Endpoint::Report, statement.sql()).await?;
    let mut usage = Vec::new();
    while let Some(batch) = running.next().await {
        statement.read(&batch?, &mut usage)?;
    }
    statement.charge(usage)
}

// === impl Statement ===

impl<'a> Statement<'a> {
    /// Of the period `[from, to)` at these prices; an error if none is in force at its beginning.
    pub(crate) fn new(
        prices: &'a Prices,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Self, QueryError> {
        let spans =
            prices.spans(from.timestamp_micros(), to.timestamp_micros()).map_err(|error| refused(&error))?;
        let sql = statement(&spans, from, to);
        Ok(Self { prices, from, to, spans, sql })
    }

    /// Its text.
    pub(crate) fn sql(&self) -> &str {
        &self.sql
    }

    /// Takes over what one batch of its rows tells.
    pub(crate) fn read(&self, batch: &RecordBatch, usage: &mut Vec<Usage>) -> Result<(), QueryError> {
        read(batch, &self.spans, usage)
    }

    /// The invoice.
    pub(crate) fn charge(&self, usage: Vec<Usage>) -> Result<Chargeback, QueryError> {
        charge(self.prices, self.from, self.to, usage).map_err(|error| refused(&error))
    }
}

fn refused(error: &PriceError) -> QueryError {
    QueryError::new(Code::BadRequest, format!("field prices: {error}"))
}

/// Sums per tenant and span. Intervals that cross an end of a span come one by
/// one, to be divided exactly; all others are added up where they lie.
fn statement(spans: &[Span<'_>], from: DateTime<Utc>, to: DateTime<Utc>) -> String {
    let literal = |us: i64| format!("arrow_cast({us}, 'Timestamp(Microsecond, Some(\"UTC\"))')");
    let whole: Vec<String> = spans
        .iter()
        .enumerate()
        .map(|(index, span)| {
            let (start, end) = (literal(span.start_us), literal(span.end_us));
            format!("WHEN began >= {start} AND time <= {end} THEN {index}")
        })
        .collect();
    let (from, to, far) = (
        literal(from.timestamp_micros()),
        literal(to.timestamp_micros()),
        literal((to + LONGEST_INTERVAL).timestamp_micros()),
    );
    let integer =
        |column: &str| format!("CAST(greatest(coalesce({column}, 0), 0) AS DECIMAL(19, 0)) AS {column}");
    // Beyond 10¹⁸ is no measurement; such a value must not fail everybody's invoice.
    let real = |value: &str, name: &str| {
        format!(
            "CAST(CASE WHEN {value} > 0 AND {value} < 1e18 THEN round({value}) ELSE 0 END AS DECIMAL(19, 0)) AS {name}"
        )
    };
    format!(
        "SELECT tenant, CAST(span AS BIGINT) AS span, \
         CASE WHEN span < 0 THEN began END AS began, CASE WHEN span < 0 THEN time END AS ended, \
         sum(cpu_ns) AS cpu_ns, sum(mem_byte_s) AS mem_byte_s, sum(io_r_b) AS io_r_b, sum(io_w_b) AS io_w_b, \
         sum(covered_us) AS covered_us, \
         sum(CAST(greatest(CAST(time AS BIGINT) - CAST(began AS BIGINT), 0) AS DECIMAL(19, 0))) AS interval_us \
         FROM (SELECT tenant, began, time, CASE {} ELSE -1 END AS span, {}, {}, {}, {}, {} FROM \
         (SELECT *, coalesce(interval_start, time) AS began FROM usage \
         WHERE time > {from} AND time < {far} AND coalesce(interval_start, time) < {to})) \
         GROUP BY 1, 2, 3, 4",
        whole.join(" "),
        integer("cpu_ns"),
        real("mem_byte_s", "mem_byte_s"),
        integer("io_r_b"),
        integer("io_w_b"),
        real("coverage_s * 1e6", "covered_us"),
    )
}

fn read(batch: &RecordBatch, spans: &[Span<'_>], usage: &mut Vec<Usage>) -> Result<(), QueryError> {
    let broken = || QueryError::internal("the chargeback statement answered other columns");
    let column = |name: &str| batch.column_by_name(name).cloned().ok_or_else(broken);
    let (tenants, span) = (column("tenant")?, column("span")?);
    let tenants = tenants.as_string_opt::<i32>().ok_or_else(broken)?;
    let span = span.as_primitive_opt::<Int64Type>().ok_or_else(broken)?;
    let (began, ended) = (column("began")?, column("ended")?);
    let began = began.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(broken)?;
    let ended = ended.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(broken)?;
    let names = ["cpu_ns", "mem_byte_s", "io_r_b", "io_w_b", "covered_us", "interval_us"];
    let sums = names.map(column);
    let mut amounts = Vec::with_capacity(names.len());
    for sum in sums {
        amounts.push(sum?.as_primitive_opt::<Decimal128Type>().ok_or_else(broken)?.clone());
    }
    for row in 0..batch.num_rows() {
        let (start_us, end_us) = match usize::try_from(span.value(row)) {
            Ok(index) => spans.get(index).map(|span| (span.start_us, span.end_us)).ok_or_else(broken)?,
            Err(_) => (began.value(row), ended.value(row)),
        };
        let amount =
            |index: usize| amounts.get(index).filter(|sum| sum.is_valid(row)).map_or(0, |sum| sum.value(row));
        let used = Amounts {
            cpu_ns: amount(0),
            mem_byte_s: amount(1),
            io_r_b: amount(2),
            io_w_b: amount(3),
            covered_us: amount(4),
            interval_us: amount(5),
        };
        let tenant = if tenants.is_valid(row) { tenants.value(row).to_owned() } else { String::new() };
        usage.push(Usage { tenant, start_us, end_us, used });
    }
    Ok(())
}

/// Runs a report over an engine that is shared.
impl Engine {
    /// What each tenant that the principal sees used in `[from, to)` and what
    /// it costs at these prices.
    pub async fn chargeback(
        self: &Arc<Self>,
        principal: &Principal,
        prices: &Prices,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> Result<Chargeback, QueryError> {
        chargeback(self, principal, prices, from, to).await
    }
}
