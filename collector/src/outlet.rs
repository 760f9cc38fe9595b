//! The one way into the spool: encodes, orders by importance, counts what is lost.
//!
//! ```text
//!   sources ── send(table, lane, rows) ──▶ Outlet ──▶ spool ══ Ship ══▶ ingest
//!          └── lost(lane, class, …) ────▶ ledger ─ every second ─▶ rows of `losses`
//! ```

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use arrow::error::ArrowError;
use bailiwick_collector_ebpf::calls::CALLS;
use bailiwick_collector_ebpf::class;
use bailiwick_proto::{Table, wire};
use bytes::Bytes;
use chrono::Utc;

use crate::columns::Columns;
use crate::metrics::{LossLabels, Metrics, RowsLabels};
use crate::spool::{Pushed, SpoolSender};

/// How important a batch is when the spool fills, the most important first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// What was not captured.
    Losses,
    /// API requests. A sender waits for room rather than lose one.
    Audit,
    /// Resource use.
    Usage,
    /// Program starts, process creations and ends.
    Process,
    /// Connections.
    Network,
    /// Files opened.
    File,
}

/// Takes batches from every source. Clones share one spool and one ledger.
#[derive(Clone)]
pub(crate) struct Outlet {
    inner: Arc<Inner>,
}

struct Inner {
    node: String,
    cluster: String,
    spool: SpoolSender,
    ledger: Mutex<Ledger>,
    metrics: Metrics,
    /// Whether memory is short.
    leaves_out_files: AtomicBool,
}

/// What was lost since the last rows of `losses` were kept.
struct Ledger {
    since_us: i64,
    counts: HashMap<Loss, u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Loss {
    lane: &'static str,
    class: &'static str,
    reason: &'static str,
    detail: String,
}

/// Distinct losses told apart in one interval; beyond it details are left out.
const MAX_LOSSES: usize = 1024;

// === impl Lane ===

impl Lane {
    /// The name in the tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Losses => "ship",
            Self::Audit => "audit",
            Self::Usage => "usage",
            Self::Process => "process",
            Self::Network => "network",
            Self::File => "file",
        }
    }

    /// The share of the spool, in percent, up to which this lane is taken.
    pub(crate) fn spool_percent(self) -> u64 {
        match self {
            Self::Losses => 100,
            Self::Audit | Self::Usage => 96,
            Self::Process => 90,
            Self::Network => 80,
            Self::File => 70,
        }
    }

    /// Whether a sender waits while the spool is full, since its source can.
    pub(crate) fn waits(self) -> bool {
        self == Self::Audit
    }
}

// === impl Outlet ===

impl Outlet {
    pub(crate) fn new(node: String, cluster: String, spool: SpoolSender, metrics: Metrics) -> Self {
        let ledger = Mutex::new(Ledger { since_us: now_us(), counts: HashMap::new() });
        Self {
            inner: Arc::new(Inner {
                node,
                cluster,
                spool,
                ledger,
                metrics,
                leaves_out_files: AtomicBool::new(false),
            }),
        }
    }

    /// Encodes and spools one batch of `table`'s wire schema. Waits while the
    /// spool's writer is behind. Rows that a full spool does not take are
    /// counted in `losses`, except those of a lane that waits for room.
    pub(crate) async fn send(&self, table: Table, lane: Lane, rows: RecordBatch) {
        if lane == Lane::File && self.inner.leaves_out_files.load(Ordering::Relaxed) {
            return self.refuse(table, lane, &rows, "memory", "");
        }
        let mut waiting = vec![rows];
        while let Some(rows) = waiting.pop() {
            if rows.num_rows() == 0 {
                continue;
            }
            match fitting(&rows) {
                Ok(Some(bytes)) => self.push(table, lane, &rows, bytes).await,
                Ok(None) if rows.num_rows() > 1 => match halves(&rows) {
                    Ok((first, second)) => waiting.extend([second, first]),
                    Err(error) => self.refuse(table, lane, &rows, "not_encodable", &error.to_string()),
                },
                Ok(None) => self.refuse(table, lane, &rows, "too_large", ""),
                Err(error) => self.refuse(table, lane, &rows, "not_encodable", &error.to_string()),
            }
        }
    }

    /// As [`Outlet::send`], but for a source that can give the rows again: answers
    /// when all of them are durable in the spool, and false when they are not. Then
    /// nothing is counted as lost, and some of the rows may be in the spool.
    ///
    /// A `mark`, the place in the source behind the rows, is durable with the last
    /// of them; [`Outlet::mark`] answers it until [`Outlet::mark_noted`].
    pub(crate) async fn keep(
        &self,
        table: Table,
        lane: Lane,
        rows: RecordBatch,
        mark: Option<Bytes>,
    ) -> bool {
        let mut waiting = vec![rows];
        while let Some(rows) = waiting.pop() {
            if rows.num_rows() == 0 {
                continue;
            }
            match fitting(&rows) {
                Ok(Some(bytes)) => {
                    let mark = mark.clone().filter(|_| waiting.is_empty());
                    match self.inner.spool.keep(table, lane, bytes, mark).await {
                        Pushed::Kept => self.kept(table, lane, rows.num_rows()),
                        Pushed::Full => return false,
                    }
                }
                Ok(None) if rows.num_rows() > 1 => match halves(&rows) {
                    Ok((first, second)) => waiting.extend([second, first]),
                    Err(error) => self.refuse(table, lane, &rows, "not_encodable", &error.to_string()),
                },
                Ok(None) => self.refuse(table, lane, &rows, "too_large", ""),
                Err(error) => self.refuse(table, lane, &rows, "not_encodable", &error.to_string()),
            }
        }
        true
    }

    /// The newest mark that a source gave and did not note elsewhere, an earlier
    /// run's too.
    pub(crate) fn mark(&self) -> Option<Bytes> {
        self.inner.spool.mark()
    }

    /// The source has noted its newest mark, durably.
    pub(crate) fn mark_noted(&self) {
        self.inner.spool.mark_noted();
    }

    /// Counts what was not captured or not kept: exact rows of `losses` follow.
    pub(crate) fn lost(
        &self,
        lane: &'static str,
        class: &'static str,
        reason: &'static str,
        count: u64,
        detail: &str,
    ) {
        if count == 0 {
            return;
        }
        self.inner.metrics.lost.get_or_create(&LossLabels { lane, class, reason }).inc_by(count);
        let detail = detail.chars().take(500).collect();
        self.ledger(|ledger| ledger.add(Loss { lane, class, reason, detail }, count));
    }

    /// Sends what was lost since the last time. What the spool does not take is
    /// told next time.
    pub(crate) async fn flush_losses(&self) {
        let now = now_us();
        let (since_us, counts) = self.ledger(|ledger| {
            if ledger.counts.is_empty() {
                ledger.since_us = now;
            }
            (ledger.since_us, std::mem::take(&mut ledger.counts))
        });
        if counts.is_empty() {
            return;
        }
        let kept = match self.loss_rows(now, since_us, &counts) {
            Ok(bytes) => self.inner.spool.push(Table::Losses, Lane::Losses, bytes).await,
            Err(error) => {
                tracing::error!(%error, "losses cannot be encoded");
                Pushed::Full
            }
        };
        self.ledger(|ledger| match kept {
            Pushed::Kept => ledger.since_us = now,
            Pushed::Full => counts.into_iter().for_each(|(loss, count)| ledger.add(loss, count)),
        });
    }

    /// Whether the spool is so empty that it need not choose between lanes, and
    /// memory is not short either.
    pub(crate) fn has_room(&self) -> bool {
        self.inner.spool.has_room() && !self.inner.leaves_out_files.load(Ordering::Relaxed)
    }

    /// Whether batches of file events are counted as lost instead of kept, since
    /// memory is short.
    pub(crate) fn leave_out_files(&self, yes: bool) {
        self.inner.leaves_out_files.store(yes, Ordering::Relaxed);
    }

    /// The node's name.
    pub(crate) fn node(&self) -> &str {
        &self.inner.node
    }

    /// The cluster's name.
    pub(crate) fn cluster(&self) -> &str {
        &self.inner.cluster
    }

    async fn push(&self, table: Table, lane: Lane, rows: &RecordBatch, bytes: Bytes) {
        match self.inner.spool.push(table, lane, bytes).await {
            Pushed::Kept => self.kept(table, lane, rows.num_rows()),
            Pushed::Full => self.refuse(table, lane, rows, "spool_full", ""),
        }
    }

    fn kept(&self, table: Table, lane: Lane, rows: usize) {
        let labels = RowsLabels { table: table.name(), lane: lane.name() };
        self.inner.metrics.rows.get_or_create(&labels).inc_by(rows as u64);
    }

    fn refuse(&self, table: Table, lane: Lane, rows: &RecordBatch, reason: &'static str, detail: &str) {
        for (class, count) in classes(table, rows) {
            // Small batches of system calls hold rows of several lanes.
            self.lost(lane_of(class).unwrap_or(lane.name()), class, reason, count, detail);
        }
    }

    fn loss_rows(
        &self,
        now: i64,
        since_us: i64,
        counts: &HashMap<Loss, u64>,
    ) -> Result<Bytes, wire::WireError> {
        let mut columns = Columns::new(Table::Losses);
        for (loss, count) in counts {
            columns.time("time", Some(now));
            columns.text("node", Some(self.node()));
            columns.text("cluster", Some(self.cluster()));
            // A clock that was set back must not end an interval before it begins.
            columns.time("interval_start", Some(since_us.min(now)));
            columns.text("lane", Some(loss.lane));
            columns.text("class", Some(loss.class));
            columns.text("reason", Some(loss.reason));
            columns.int("count", Some(i64::try_from(*count).unwrap_or(i64::MAX)));
            columns.text("detail", Some(loss.detail.as_str()));
            columns.end_row();
        }
        Ok(wire::encode(&columns.finish()?)?.into())
    }

    fn ledger<T>(&self, work: impl FnOnce(&mut Ledger) -> T) -> T {
        work(&mut self.inner.ledger.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

// === impl Ledger ===

impl Ledger {
    fn add(&mut self, mut loss: Loss, count: u64) {
        if self.counts.len() >= MAX_LOSSES && !self.counts.contains_key(&loss) {
            loss.detail.clear();
        }
        *self.counts.entry(loss).or_default() += count;
    }
}

fn now_us() -> i64 {
    Utc::now().timestamp_micros()
}

/// The batch as bytes, or `None` if it is more than a receiver takes at once.
fn fitting(rows: &RecordBatch) -> Result<Option<Bytes>, wire::WireError> {
    if rows.num_rows() > wire::MAX_BATCH_ROWS {
        return Ok(None);
    }
    let bytes = wire::encode(rows)?;
    Ok((bytes.len() <= wire::MAX_BATCH_BYTES).then(|| bytes.into()))
}

fn halves(rows: &RecordBatch) -> Result<(RecordBatch, RecordBatch), wire::WireError> {
    let middle = rows.num_rows() / 2;
    Ok((own(&rows.slice(0, middle))?, own(&rows.slice(middle, rows.num_rows() - middle))?))
}

/// A slice refers to the dictionaries of the whole; its own hold only what it uses.
fn own(rows: &RecordBatch) -> Result<RecordBatch, wire::WireError> {
    let rows = wire::plain(rows)?;
    let column = |column: &arrow::array::ArrayRef| match column.data_type() {
        DataType::Dictionary(..) => cast(&cast(column, &DataType::Utf8)?, column.data_type()),
        _ => Ok(Arc::clone(column)),
    };
    let columns = rows.columns().iter().map(column).collect::<Result<_, ArrowError>>()?;
    Ok(RecordBatch::try_new(rows.schema(), columns)?)
}

/// How many events of each kind a batch has, as `losses` tells them apart: a row
/// stands for those that it repeats too.
fn classes(table: Table, rows: &RecordBatch) -> Vec<(&'static str, u64)> {
    let all = rows.num_rows() as u64;
    let types = match table {
        Table::Syscalls => {
            rows.column_by_name("evt_type").and_then(|types| cast(types, &DataType::Utf8).ok())
        }
        Table::ApiAccess => return vec![("request", all)],
        Table::Usage => return vec![("interval", all)],
        _ => return vec![("row", all)],
    };
    let mut counts = HashMap::new();
    let types = types.as_ref().and_then(|types| types.as_string_opt::<i32>());
    let repeats = rows.column_by_name("repeats").and_then(|repeats| repeats.as_primitive_opt::<Int64Type>());
    for (row, evt_type) in types.into_iter().flatten().enumerate() {
        let repeats = repeats.filter(|repeats| repeats.is_valid(row)).map_or(0, |repeats| repeats.value(row));
        *counts.entry(class_of(evt_type)).or_default() += 1 + u64::try_from(repeats).unwrap_or(0);
    }
    counts.into_iter().collect()
}

/// The lane of a class of system calls.
fn lane_of(class: &str) -> Option<&'static str> {
    match class {
        "exec" | "fork" | "exit" | "cgroup" | "privilege" => Some(Lane::Process.name()),
        "connect" | "socket" | "message" | "dns" => Some(Lane::Network.name()),
        "open" | "change" | "dup" | "uring" => Some(Lane::File.name()),
        _ => None,
    }
}

/// The class of an event type, as the kernel's counters name it.
fn class_of(evt_type: Option<&str>) -> &'static str {
    let Some(evt_type) = evt_type.filter(|evt_type| !evt_type.is_empty()) else { return "other" };
    match evt_type {
        "procexit" => return "exit",
        "dns" => return "dns",
        "io_uring_submit" => return "uring",
        _ => {}
    }
    let call = CALLS.iter().find(|call| call.name == evt_type);
    match call.map(|call| u32::from(call.shape.class_and_ring & 0xf)) {
        Some(class::EXEC) => "exec",
        Some(class::FORK) => "fork",
        Some(class::PRIVILEGE) => "privilege",
        Some(class::CONNECT) => "connect",
        Some(class::SOCKET) => "socket",
        Some(class::MESSAGE) => "message",
        Some(class::OPEN) => "open",
        Some(class::CHANGE) => "change",
        Some(class::DUP) => "dup",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::TimestampMicrosecondType;

    use super::*;

    /// Goal: a batch that is cut holds in each half only what that half uses, packed
    /// lists included, and both together are the whole.
    #[test]
    fn halves_are_the_whole() {
        let mut columns = Columns::new(Table::Syscalls);
        columns.share(&[columns.place("proc_env"), columns.place("proc_name")]);
        for row in 0..5_i64 {
            columns.texts("proc_env", [format!("A={row}")]);
            columns.text("proc_name", Some(format!("p{row}")));
            columns.shared();
            columns.int("seq", Some(row));
            columns.end_row();
        }
        let whole = columns.finish().unwrap();
        let (first, second) = halves(&whole).unwrap();
        assert_eq!((first.num_rows(), second.num_rows()), (2, 3));
        let both = arrow::compute::concat_batches(&first.schema(), [&first, &second]).unwrap();
        let plain = wire::plain(&whole).unwrap();
        let texts =
            |rows: &RecordBatch, name| cast(rows.column_by_name(name).unwrap(), &DataType::Utf8).unwrap();
        assert_eq!(&texts(&both, "proc_name"), &texts(&plain, "proc_name"));
        assert_eq!(both.column_by_name("proc_env"), plain.column_by_name("proc_env"));
        assert_eq!(first.schema(), Table::Syscalls.wire_schema());
        let (half, all) = (wire::encode(&first).unwrap().len(), wire::encode(&whole).unwrap().len());
        assert!(half < all, "{half} of {all}");
    }

    #[test]
    fn every_call_has_a_class_in_the_lane_of_its_ring() {
        for call in CALLS.iter().skip(1) {
            let class = class_of(Some(call.name));
            let lane = ["process", "network", "file"][usize::from(call.shape.class_and_ring >> 4)];
            assert_eq!(lane_of(class), Some(lane), "{}", call.name);
        }
        assert_eq!(class_of(Some("connect")), "connect");
        assert_eq!(class_of(Some("recvmsg")), "message");
        assert_eq!(class_of(Some("setuid")), "privilege");
        assert_eq!(class_of(Some("procexit")), "exit");
        assert_eq!(class_of(Some("what")), "other");
        assert_eq!(class_of(None), "other");
    }

    #[test]
    fn a_row_that_is_refused_is_as_many_losses_as_events() {
        let mut columns = Columns::new(Table::Syscalls);
        for (evt_type, repeats) in [("openat", Some(7)), ("openat", None), ("connect", Some(0))] {
            columns.text("evt_type", Some(evt_type));
            columns.int("repeats", repeats);
            columns.end_row();
        }
        let mut counts = classes(Table::Syscalls, &columns.finish().unwrap());
        counts.sort_unstable();
        assert_eq!(counts, [("connect", 1), ("open", 9)]);
    }

    #[tokio::test]
    async fn an_interval_ends_after_it_began_though_the_clock_is_set_back() {
        let spooled = crate::audit::spooled::Spooled::new();
        let loss = Loss { lane: "file", class: "open", reason: "ring_full", detail: String::new() };
        for (since, now, told) in [(5, 9, 5), (9, 5, 5)] {
            let counts = HashMap::from([(loss.clone(), 3)]);
            let bytes = spooled.outlet.loss_rows(now, since, &counts).unwrap();
            let schema = Table::Losses.wire_schema();
            let rows = wire::decode(&bytes, crc32c::crc32c(&bytes), &schema).unwrap();
            let time = |name: &str| {
                rows.column_by_name(name).unwrap().as_primitive::<TimestampMicrosecondType>().value(0)
            };
            assert_eq!((time("interval_start"), time("time")), (told, now));
        }
    }
}
