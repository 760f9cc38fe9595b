//! A bucket in memory, filled as ingest fills one: WAL objects, then files.

use std::collections::BTreeMap;
use std::sync::Arc;

use bailiwick_lake::keys::{DataKey, WalKey};
use bailiwick_lake::{
    Change, Committed, DataFile, EncodedRows, Lake, Txn, WalHeader, WalKind, fresh_name, to_public, txn_app,
};
use bailiwick_proto::ship::{MemoryOutbox, Outbox};
use bailiwick_proto::{IngesterId, Table, wire};
use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use object_store::ObjectStoreExt;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use prometheus_client::registry::Registry;

use crate::{Config, Engine, QueryRecorder};

/// A day on which all test rows happened.
pub(crate) const DAY: &str = "2026-11-24";

/// A bucket and the ingester that fills it.
pub(crate) struct Bucket {
    pub(crate) lake: Arc<Lake>,
    written: u64,
}

/// One row: columns and their values as text, lists as JSON; the others are null.
pub(crate) type Row<'a> = &'a [(&'a str, &'a str)];

/// An engine and what it records.
pub(crate) struct Served {
    pub(crate) engine: Arc<Engine>,
    records: MemoryOutbox,
    taken: u64,
}

fn ingester() -> IngesterId {
    "ingest-1".parse().unwrap()
}

/// Rows of a table's stamped schema. `time` is [`DAY`] at noon where not given.
pub(crate) fn rows(table: Table, rows: &[Row<'_>]) -> RecordBatch {
    let schema = table.stamped_schema();
    let noon = format!("{DAY}T12:00:00Z");
    let value = |row: Row<'_>, name: &str| {
        let given = row.iter().find(|(column, _)| *column == name).map(|(_, value)| (*value).to_owned());
        given.or_else(|| match name {
            "time" | "ingest_time" => Some(noon.clone()),
            "date" => Some(DAY.to_owned()),
            _ => None,
        })
    };
    let column = |field: &Arc<datafusion::arrow::datatypes::Field>| -> ArrayRef {
        if matches!(field.data_type(), DataType::List(_)) {
            return lists(field, rows.iter().map(|row| value(row, field.name())));
        }
        let texts: StringArray = rows.iter().map(|row| value(row, field.name())).collect();
        cast(&texts, field.data_type()).unwrap()
    };
    RecordBatch::try_new(schema.clone(), schema.fields().iter().map(column).collect()).unwrap()
}

/// A column of lists, each written as JSON.
fn lists(
    field: &Arc<datafusion::arrow::datatypes::Field>,
    values: impl Iterator<Item = Option<String>>,
) -> ArrayRef {
    let name = field.name();
    let line = |value: Option<String>| format!("{{\"{name}\":{}}}\n", value.unwrap_or("null".to_owned()));
    let schema = Arc::new(datafusion::arrow::datatypes::Schema::new(vec![Arc::clone(field)]));
    let lines: String = values.map(line).collect();
    let rows = lines.lines().count();
    if rows == 0 {
        return datafusion::arrow::array::new_empty_array(field.data_type());
    }
    let mut decoder = arrow_json::ReaderBuilder::new(schema).with_batch_size(rows).build_decoder().unwrap();
    assert_eq!(decoder.decode(lines.as_bytes()).unwrap(), lines.len());
    Arc::clone(decoder.flush().unwrap().unwrap().column(0))
}

// === impl Bucket ===

impl Bucket {
    pub(crate) async fn new() -> Self {
        Self { lake: Lake::open("memory://", "test").await.unwrap(), written: 0 }
    }

    /// Makes rows durable and returns their WAL object's number.
    pub(crate) async fn wal(&mut self, tables: &[(Table, RecordBatch)]) -> u64 {
        self.written += 1;
        let header = WalHeader {
            ingester: ingester().to_string(),
            epoch: 1,
            nonce: "n".into(),
            number: self.written,
            written_at_us: 0,
            segments: vec![],
            kind: WalKind::Batches,
            high_water: BTreeMap::new(),
        };
        let encode = |(table, batch): &(Table, RecordBatch)| {
            EncodedRows::encode(*table, std::slice::from_ref(batch)).unwrap()
        };
        let object = header.encode(&tables.iter().map(encode).collect::<Vec<_>>());
        let key = WalKey { ingester: ingester(), number: self.written };
        self.lake.put_wal(&key, object).await.unwrap();
        self.written
    }

    /// Commits files, one a batch, each batch of one tenant, as what the WAL
    /// held up to `through`.
    pub(crate) async fn commit(&self, table: Table, through: u64, batches: &[(&str, RecordBatch)]) {
        let mut add = Vec::new();
        for (tenant, batch) in batches {
            add.push(self.file(table, tenant, batch).await);
        }
        let log = self.lake.table(table);
        let base = log.snapshot().await.unwrap();
        let txn = Some(Txn { app: txn_app(&ingester()), version: through as i64, carried: None });
        let done = log.commit(&base, Change { txn, add, remove: vec![] }).await.unwrap();
        assert!(matches!(done, Committed::At(_)));
    }

    async fn file(&self, table: Table, tenant: &str, batch: &RecordBatch) -> DataFile {
        let public = to_public(table, batch).unwrap();
        let stored: Vec<usize> = (0..public.num_columns())
            .filter(|index| !["tenant", "date"].contains(&public.schema().field(*index).name().as_str()))
            .collect();
        let stored = public.project(&stored).unwrap();
        let options = ArrowWriterOptions::new().with_skip_arrow_metadata(true);
        let mut writer = ArrowWriter::try_new_with_options(Vec::new(), stored.schema(), options).unwrap();
        writer.write(&stored).unwrap();
        let bytes = writer.into_inner().unwrap();
        let times = cast(public.column_by_name("time").unwrap(), &DataType::Int64).unwrap();
        let times: &datafusion::arrow::array::Int64Array =
            datafusion::arrow::array::AsArray::as_primitive(&times);
        let (tenant, date) = (tenant.parse().unwrap(), DAY.parse().unwrap());
        let key = DataKey { table, tenant, date, name: fresh_name() };
        let path = key.path();
        let size_bytes = bytes.len() as u64;
        self.lake.store().put(&path, bytes.into()).await.unwrap();
        DataFile {
            path: path.to_string(),
            size_bytes,
            rows: public.num_rows() as u64,
            tenant: key.tenant,
            date: key.date,
            min_time_us: datafusion::arrow::compute::min(times),
            max_time_us: datafusion::arrow::compute::max(times),
            modified_ms: 1,
            null_times: 0,
        }
    }

    /// Overwrites every committed file of a tenant with bytes that are no Parquet.
    pub(crate) async fn damage(&self, table: Table, tenant: &str) {
        for file in self.lake.view(table).await.unwrap().files {
            if file.tenant.as_str() == tenant {
                let junk = vec![7; usize::try_from(file.size_bytes).unwrap()];
                self.lake.store().put(&file.path.into(), junk.into()).await.unwrap();
            }
        }
    }

    pub(crate) fn serve(&self, config: &Config) -> Served {
        let (sender, records) = MemoryOutbox::new(1, 64 << 20);
        let recorder = QueryRecorder::new(sender, "node-1", "test");
        let engine = Engine::new(config, Arc::clone(&self.lake), recorder, &mut Registry::default()).unwrap();
        Served { engine, records, taken: 0 }
    }
}

// === impl Served ===

impl Served {
    /// The columns of the next record, as text.
    pub(crate) async fn record(&mut self) -> BTreeMap<String, String> {
        let batch = self.records.next(self.taken).await.unwrap().unwrap();
        self.taken += 1;
        assert_eq!(batch.table, Table::Queries);
        let batch = wire::decode(&batch.arrow_ipc, batch.crc32c, &Table::Queries.wire_schema()).unwrap();
        let value = |(field, column): (&Arc<datafusion::arrow::datatypes::Field>, &ArrayRef)| {
            let text = datafusion::arrow::util::display::array_value_to_string(column, 0).unwrap();
            (field.name().clone(), text)
        };
        batch.schema().fields().iter().zip(batch.columns()).map(value).collect()
    }
}
