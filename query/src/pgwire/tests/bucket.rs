//! A server over a bucket in memory that has a few rows of two tenants.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bailiwick_lake::keys::WalKey;
use bailiwick_lake::{EncodedRows, Lake, WalHeader, WalKind};
use bailiwick_proto::ship::{MemoryOutbox, MemorySender, Outbox};
use bailiwick_proto::{IngesterId, Table, wire};
use chrono::{DateTime, TimeDelta, Utc};
use datafusion::arrow::array::{
    ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::util::display::array_value_to_string;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::places::{Counted, Places};
use crate::{Config, Engine, QueryRecorder, Role, tokens};

/// When the first row of each table happened; one more every second.
pub(super) const BEGAN: &str = "2026-11-24T10:00:00Z";

/// Rows of each tenant in each table.
pub(super) const ROWS: i64 = 600;

/// How long nothing must be recorded for everything to have been.
const QUIET: Duration = Duration::from_secs(1);

/// A server and the tokens that it knows.
pub(super) struct Served {
    pub(super) addr: SocketAddr,
    pub(super) admin: String,
    pub(super) tenant: String,
    stop: CancellationToken,
    _folder: tempfile::TempDir,
    recorded: tokio::sync::Mutex<MemoryOutbox>,
}

// === impl Served ===

impl Served {
    pub(super) async fn start() -> Self {
        Self::start_with(Config::default()).await
    }

    pub(super) async fn start_with(config: Config) -> Self {
        Self::over(filled().await, config).await
    }

    /// A server over another bucket.
    pub(super) async fn over(lake: Arc<Lake>, mut config: Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens.yaml");
        let acme = "acme".parse().unwrap();
        let admin = tokens::create(&file, "olga", Role::Admin, &[], None, Utc::now()).unwrap();
        let tenant = tokens::create(&file, "anna", Role::Tenant, &[acme], None, Utc::now()).unwrap();
        config.tokens_file = Some(file);
        let (sender, recorded): (MemorySender, _) = MemoryOutbox::new(1, 64 << 20);
        let recorder = QueryRecorder::new(sender, "node-1", "test");
        let engine = Engine::new(&config, lake, recorder, &mut Registry::default()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let tls = crate::tls::Tls::open(&config).unwrap();
        let places = Places::new(config.max_connections, config.address_share(), Counted::Strangers);
        tokio::spawn(super::super::serve(listener, tls, engine, places, stop.clone()));
        Self { addr, admin, tenant, stop, _folder: folder, recorded: recorded.into() }
    }

    /// Statements and how they ended, in the order of their ends.
    pub(super) async fn outcomes(&self) -> Vec<(String, String)> {
        let mut records = self.recorded.lock().await;
        let (mut outcomes, mut taken) = (Vec::new(), 0);
        while let Ok(Ok(Some(batch))) = timeout(QUIET, records.next(taken)).await {
            taken += 1;
            let rows = wire::decode(&batch.arrow_ipc, batch.crc32c, &Table::Queries.wire_schema()).unwrap();
            for row in 0..rows.num_rows() {
                let text = |name| array_value_to_string(rows.column_by_name(name).unwrap(), row).unwrap();
                outcomes.push((text("sql"), text("outcome")));
            }
        }
        outcomes
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn filled() -> Arc<Lake> {
    let lake = Lake::open("memory://", "test").await.unwrap();
    let ingester: IngesterId = "ingest-1".parse().unwrap();
    let encoded = |table| {
        let batches = ["acme", "globex"].map(|tenant| rows(table, tenant));
        EncodedRows::encode(table, &batches).unwrap()
    };
    let header = WalHeader {
        ingester: ingester.to_string(),
        epoch: 1,
        nonce: "n".into(),
        number: 1,
        written_at_us: 0,
        segments: vec![],
        kind: WalKind::Batches,
        high_water: BTreeMap::new(),
    };
    let object = header.encode(&Table::ALL.map(encoded));
    lake.put_wal(&WalKey { ingester, number: 1 }, object).await.unwrap();
    lake
}

/// Rows of one tenant: the time advances, a few columns are filled, the others are null.
fn rows(table: Table, tenant: &str) -> RecordBatch {
    let began: DateTime<Utc> = BEGAN.parse().unwrap();
    let schema = table.stamped_schema();
    let count = usize::try_from(ROWS).unwrap();
    let texts = |text: &dyn Fn(i64) -> String| -> ArrayRef {
        Arc::new((0..ROWS).map(|row| Some(text(row))).collect::<StringArray>())
    };
    let column = |name: &str| -> Option<ArrayRef> {
        Some(match name {
            "tenant" | "owner" => texts(&|_| tenant.to_owned()),
            "time" | "ingest_time" => {
                let times = (0..ROWS).map(|row| (began + TimeDelta::seconds(row)).timestamp_micros());
                Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
            }
            "date" => Arc::new(datafusion::arrow::array::Date32Array::from(vec![20_781; count])),
            "evt_type" => texts(&|row| if row % 2 == 0 { "openat" } else { "execve" }.to_owned()),
            "priority" => texts(&|row| if row % 3 == 0 { "Critical" } else { "Notice" }.to_owned()),
            "verb" => texts(&|_| "list".to_owned()),
            "resource" => texts(&|_| "secrets".to_owned()),
            "user" => texts(&|_| "mallory".to_owned()),
            "rule" | "reason" | "audit_id" | "fd_name" => texts(&|row| format!("{tenant}-{row}")),
            "proc_pid" | "cpu_ns" | "count" => Arc::new((0..ROWS).collect::<Int64Array>()),
            _ => return None,
        })
    };
    let column = |field: &Arc<datafusion::arrow::datatypes::Field>| match column(field.name()) {
        Some(values) => cast(&values, field.data_type()).unwrap(),
        None => new_null_array(field.data_type(), count),
    };
    RecordBatch::try_new(schema.clone(), schema.fields().iter().map(column).collect()).unwrap()
}
