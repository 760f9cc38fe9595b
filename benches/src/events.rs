//! Events drawn from a seed, as batches that a collector would send.

mod draw;
mod lean;
pub mod ledger;
mod node;
mod node_columns;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;

/// 2026-11-24, noon.
pub const BEGIN_US: i64 = 1_795_521_600_000_000;

/// Which events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum DataSet {
    /// 27 values an event, of a fleet: what the goals were set on.
    Lean,
    /// Every column that a collector fills, lists included, of one node.
    Full,
}

/// A stream of events, batch by batch.
#[derive(Debug)]
pub struct Events(Source);

#[derive(Debug)]
enum Source {
    Lean(Box<lean::Fleet>),
    Full(Box<node::Node>),
}

// === impl DataSet ===

impl DataSet {
    /// The name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lean => "lean",
            Self::Full => "full",
        }
    }

    /// Whose events these are, as ingest's `tenants_file` says it.
    pub fn tenants(self) -> String {
        match self {
            Self::Lean => lean::tenants(),
            Self::Full => "tenants:\n- tenant: a\n  namespaces: [team-0, team-1, team-2]\n\
                           - tenant: b\n  namespaces: [\"team-*\"]\n"
                .to_owned(),
        }
    }
}

// === impl Events ===

impl Events {
    /// The same seed makes the same events.
    pub fn new(set: DataSet, seed: u64) -> Self {
        Self(match set {
            DataSet::Lean => Source::Lean(Box::new(lean::Fleet::new(seed, BEGIN_US, lean::BATCHES_APART_US))),
            DataSet::Full => Source::Full(Box::new(node::Node::new(seed))),
        })
    }

    /// A fleet's events, whose batches begin at `begin_us` and are `apart_us` apart:
    /// as many as one likes over as many days as one likes.
    pub fn lean_over(seed: u64, begin_us: i64, apart_us: i64) -> Self {
        Self(Source::Lean(Box::new(lean::Fleet::new(seed, begin_us, apart_us))))
    }

    /// The next events as one batch of the wire schema of `syscalls`.
    pub fn batch(&mut self, rows: usize) -> Result<RecordBatch, ArrowError> {
        match &mut self.0 {
            Source::Lean(fleet) => fleet.batch(rows),
            Source::Full(node) => node.batch(rows),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Array;
    use bailiwick_proto::Table;

    fn filled(batch: &RecordBatch) -> usize {
        batch.columns().iter().filter(|column| column.null_count() < batch.num_rows()).count()
    }

    #[test]
    fn the_same_seed_makes_the_same_events() {
        for set in [DataSet::Lean, DataSet::Full] {
            let (mut a, mut b) = (Events::new(set, 1), Events::new(set, 1));
            assert_eq!(a.batch(100).unwrap(), b.batch(100).unwrap());
            assert_ne!(a.batch(100).unwrap(), Events::new(set, 2).batch(100).unwrap());
        }
    }

    #[test]
    fn full_fills_most_columns_and_lean_as_many_as_the_goals_were_set_on() {
        let full = Events::new(DataSet::Full, 1).batch(2_000).unwrap();
        assert_eq!(full.schema(), Table::Syscalls.wire_schema());
        assert!(filled(&full) * 100 > full.num_columns() * 85);
        let lean = Events::new(DataSet::Lean, 1).batch(20_000).unwrap();
        assert_eq!(lean.schema(), Table::Syscalls.wire_schema());
        // 27 without the tenant and the time of arrival, which ingest stamps.
        assert_eq!(filled(&lean), 25);
    }

    #[test]
    fn what_a_fleet_leaves_beside_its_events_is_of_the_same_tenants() {
        let span = ledger::Span { begin_us: BEGIN_US, end_us: BEGIN_US + 1_000, total: 1_000 };
        for (table, columns) in [(Table::ApiAccess, 18), (Table::Alerts, 10), (Table::Usage, 15)] {
            let batch = span.batch(table, 500, 500).unwrap();
            assert_eq!(batch.schema(), table.wire_schema());
            assert_eq!(batch, span.batch(table, 500, 500).unwrap());
            assert!(filled(&batch) >= columns, "{table}: {}", filled(&batch));
        }
    }

    #[test]
    fn a_fleet_has_as_many_tenants_as_the_goals_were_set_on() {
        assert_eq!(DataSet::Lean.tenants().matches("- tenant: ").count(), 50);
        assert_eq!(DataSet::Lean.tenants().matches("ns-team-").count(), 300);
    }
}
