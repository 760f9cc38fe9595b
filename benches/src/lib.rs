//! What the benches share: events drawn from a seed, a process for each part, and
//! measures.
//!
//! ```text
//!   events (seeded) ──▶ batches (a file) ──▶ send ══▶ serve ──▶ bucket ◀── watch
//!
//!   calls (paced, counted) ─ kernel ─▶ collector ─▶ spool ──▶ receive
//!                                      peers: bpftrace, opensnoop
//!
//!   each a process of its own: what is measured of one is not another's
//! ```
//!
//! A figure alone says more about the machine than about the program, so every
//! bench also runs somebody else's program over the same rows.

pub mod batches;
pub mod calls;
pub mod child;
pub mod collector;
pub mod cpu;
pub mod duckdb;
pub mod events;
pub mod fill;
pub mod official;
pub mod peers;
pub mod percentile;
pub mod questions;
pub mod receive;
pub mod send;
pub mod serve;
pub mod watch;

/// How a part of a bench ends.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Microseconds since 1970.
pub(crate) fn now_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_micros() as i64)
}
