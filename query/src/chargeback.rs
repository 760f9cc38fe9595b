//! The arithmetic of invoices: what was used, times what was in force. Pure.
//!
//! ```text
//!   usage of one tenant, one span ─▶ cut at [from, to) and where prices change ─▶ × price ─▶ Σ ─▶ rounded once
//! ```
//!
//! Everything is an integer until the end: nanoseconds, byte seconds, bytes,
//! and prices in billionths. A tenant's cost per resource is rounded once, to
//! a millionth of the currency, half away from zero; its total is the sum of
//! these, and the report's total the sum of the tenants', so that every column
//! and row adds up as printed. Cost is usage × rate (the usage part of
//! OpenCost's allocation cost); requests are not charged.

mod decimal;
mod prices;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

pub use decimal::Decimal;
pub use prices::{Price, PriceError, Prices};

/// Nanoseconds of an hour.
const HOUR_NS: i128 = 3_600_000_000_000;
/// Bytes of a GiB.
const GIB: i128 = 1 << 30;
/// Byte seconds of a GiB hour.
const GIB_HOUR: i128 = GIB * 3_600;
/// Prices are in billionths, costs in millionths.
const PRICE_PER_COST: i128 = 1_000;

/// What one tenant used between two moments, spread evenly between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Whose.
    pub tenant: String,
    /// The first moment, microseconds.
    pub start_us: i64,
    /// The moment after the last, microseconds.
    pub end_us: i64,
    /// How much.
    pub used: Amounts,
}

/// Amounts that add up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amounts {
    /// CPU time, nanoseconds.
    pub cpu_ns: i128,
    /// Memory, bytes × seconds.
    pub mem_byte_s: i128,
    /// Bytes read from block devices.
    pub io_r_b: i128,
    /// Bytes written to block devices.
    pub io_w_b: i128,
    /// Container time that was really observed, microseconds.
    pub covered_us: i128,
    /// Container time that should have been, microseconds.
    pub interval_us: i128,
}

/// An invoice over one period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chargeback {
    /// In which all costs are, as the price file says.
    pub currency: String,
    /// The period's first moment.
    pub from: DateTime<Utc>,
    /// The moment after its last.
    pub to: DateTime<Utc>,
    /// Where the prices came from: a file's name, `request` or `built-in`.
    pub prices: String,
    /// One row a tenant, by name.
    pub rows: Vec<ChargebackRow>,
    /// The sum of the rows' `total_cost`.
    pub total: Decimal,
}

/// One tenant's part. Amounts are decimal text in JSON, so that no reader rounds them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChargebackRow {
    /// Whose.
    pub tenant: String,
    /// CPU time, core hours.
    pub cpu_core_hours: Decimal,
    /// Memory, GiB × hours.
    pub memory_gib_hours: Decimal,
    /// Read from block devices, GiB.
    pub io_read_gib: Decimal,
    /// Written to block devices, GiB.
    pub io_write_gib: Decimal,
    /// What the CPU time costs.
    pub cpu_cost: Decimal,
    /// What the memory costs.
    pub memory_cost: Decimal,
    /// What reading and writing costs.
    pub io_cost: Decimal,
    /// The three together.
    pub total_cost: Decimal,
    /// Which part of the recorded intervals was really observed, 0 to 1.
    pub coverage: Decimal,
}

/// A span of time under one price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span<'a> {
    /// Its first moment, microseconds.
    pub start_us: i64,
    /// The moment after its last, microseconds.
    pub end_us: i64,
    /// What is in force.
    pub price: &'a Price,
}

/// A tenant's sums, not rounded: amounts, and amount × price.
#[derive(Debug, Clone, Copy, Default)]
struct Account {
    used: Amounts,
    cpu: i128,
    memory: i128,
    io: i128,
}

/// Charges usage in the period `[from, to)`. Of usage that lies partly outside,
/// the part inside counts. An error if no price is in force at `from`.
pub fn charge(
    prices: &Prices,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    usage: impl IntoIterator<Item = Usage>,
) -> Result<Chargeback, PriceError> {
    let spans = prices.spans(from.timestamp_micros(), to.timestamp_micros())?;
    let mut accounts: BTreeMap<String, Account> = BTreeMap::new();
    for entry in usage {
        let account = accounts.entry(entry.tenant.clone()).or_default();
        for span in &spans {
            account.add(&entry.within(span.start_us, span.end_us), span.price);
        }
    }
    let rows: Vec<ChargebackRow> =
        accounts.into_iter().map(|(tenant, account)| account.row(tenant)).collect();
    let total = rows.iter().map(|row| row.total_cost).sum();
    let (currency, prices) = (prices.currency().to_owned(), prices.source().to_owned());
    Ok(Chargeback { currency, from, to, prices, rows, total })
}

// === impl Usage ===

impl Usage {
    /// The part between two moments. Parts of a whole add up to it exactly:
    /// each is the difference of what had been used by its two ends.
    pub fn within(&self, start_us: i64, end_us: i64) -> Amounts {
        // What has no length was used in the microsecond before its time.
        let own_start = self.start_us.min(self.end_us - 1);
        let length = i128::from(self.end_us) - i128::from(own_start);
        let reached =
            |us: i64| (i128::from(us.clamp(own_start, self.end_us)) - i128::from(own_start)).min(length);
        let (first, last) = (reached(start_us), reached(end_us.max(start_us)));
        self.used.map(|amount| amount * last / length - amount * first / length)
    }
}

// === impl Amounts ===

impl Amounts {
    fn map(self, each: impl Fn(i128) -> i128) -> Self {
        Self {
            cpu_ns: each(self.cpu_ns),
            mem_byte_s: each(self.mem_byte_s),
            io_r_b: each(self.io_r_b),
            io_w_b: each(self.io_w_b),
            covered_us: each(self.covered_us),
            interval_us: each(self.interval_us),
        }
    }
}

impl std::ops::AddAssign for Amounts {
    fn add_assign(&mut self, other: Self) {
        self.cpu_ns += other.cpu_ns;
        self.mem_byte_s += other.mem_byte_s;
        self.io_r_b += other.io_r_b;
        self.io_w_b += other.io_w_b;
        self.covered_us += other.covered_us;
        self.interval_us += other.interval_us;
    }
}

// === impl Account ===

impl Account {
    fn add(&mut self, used: &Amounts, price: &Price) {
        self.used += *used;
        self.cpu += used.cpu_ns * price.cpu_core_hour_nano;
        self.memory += used.mem_byte_s * price.memory_gib_hour_nano;
        self.io += used.io_r_b * price.io_read_gib_nano + used.io_w_b * price.io_write_gib_nano;
    }

    fn row(self, tenant: String) -> ChargebackRow {
        let amount = |amount: i128, unit: i128| Decimal::ratio(amount, unit);
        let cost = |sum: i128, unit: i128| Decimal::from_micros(decimal::rounded(sum, unit * PRICE_PER_COST));
        let (cpu_cost, memory_cost) = (cost(self.cpu, HOUR_NS), cost(self.memory, GIB_HOUR));
        let io_cost = cost(self.io, GIB);
        ChargebackRow {
            tenant,
            cpu_core_hours: amount(self.used.cpu_ns, HOUR_NS),
            memory_gib_hours: amount(self.used.mem_byte_s, GIB_HOUR),
            io_read_gib: amount(self.used.io_r_b, GIB),
            io_write_gib: amount(self.used.io_w_b, GIB),
            cpu_cost,
            memory_cost,
            io_cost,
            total_cost: [cpu_cost, memory_cost, io_cost].into_iter().sum(),
            coverage: amount(self.used.covered_us, self.used.interval_us.max(1)),
        }
    }
}

#[cfg(test)]
mod tests;
