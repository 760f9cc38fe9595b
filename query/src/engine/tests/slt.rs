//! `slt/*.slt`: SQL and its answers, for people to read and the engine to keep.

use std::fs;
use std::path::Path;

use async_trait::async_trait;
use bailiwick_proto::Table;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};

use super::bucket::{Bucket, Served, rows};
use super::tenant;
use crate::{Principal, QueryError};

/// One connection: its label in the file is the tenant's name, `operator` for all.
struct Connection {
    served: std::sync::Arc<Served>,
    who: Principal,
}

#[async_trait]
impl AsyncDB for Connection {
    type Error = QueryError;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, QueryError> {
        let batches = self.served.ask(&self.who, sql).await?;
        let columns = batches.first().map_or(0, |batch| batch.num_columns());
        let mut lines = Vec::new();
        for batch in &batches {
            for row in 0..batch.num_rows() {
                let cell = |column| {
                    let text = datafusion::arrow::util::display::array_value_to_string(column, row).unwrap();
                    if datafusion::arrow::array::Array::is_null(column, row) {
                        "NULL".to_owned()
                    } else {
                        text
                    }
                };
                lines.push(batch.columns().iter().map(|column| cell(column.as_ref())).collect());
            }
        }
        Ok(DBOutput::Rows { types: vec![DefaultColumnType::Any; columns], rows: lines })
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        "bailiwick"
    }
}

/// A few rows of two tenants, some committed and some not.
async fn filled() -> Served {
    let mut bucket = Bucket::new().await;
    let file = |tenant, proc, path, time| -> datafusion::arrow::array::RecordBatch {
        let row = [
            ("tenant", tenant),
            ("evt_type", "openat"),
            ("proc_name", proc),
            ("fd_name", path),
            ("time", time),
            ("proc_pid", "42"),
            ("cluster", "c"),
            ("node", "n"),
            ("container_id", proc),
        ];
        rows(Table::Syscalls, &[&row])
    };
    let first = file("acme", "cat", "/etc/shadow", "2026-11-24T10:00:00.000001Z");
    let second = file("globex", "nginx", "/var/www/index.html", "2026-11-24T10:01:00Z");
    let through = bucket.wal(&[(Table::Syscalls, first.clone())]).await;
    bucket.commit(Table::Syscalls, through, &[("acme", first), ("globex", second)]).await;
    let third = file("acme", "sh", "/tmp/x", "2026-11-24T10:02:00Z");
    let api = rows(
        Table::ApiAccess,
        &[&[("tenant", "acme"), ("verb", "create"), ("resource", "pods"), ("user", "mallory")]],
    );
    let learnt = |image, time, gone| -> datafusion::arrow::array::RecordBatch {
        let row = [
            ("tenant", "acme"),
            ("cluster", "c"),
            ("node", "n"),
            ("container_id", "cat"),
            ("k8s_ns_name", "acme-shop"),
            ("k8s_pod_name", "web-0"),
            ("container_image", image),
            ("time", time),
            ("gone", gone),
        ];
        rows(Table::Containers, &[&row])
    };
    let old = learnt("nginx:1", "2026-11-24T10:00:01Z", "false");
    let new = learnt("nginx:2", "2026-11-24T10:03:00Z", "true");
    bucket.wal(&[(Table::Syscalls, third), (Table::ApiAccess, api), (Table::Containers, new)]).await;
    bucket.wal(&[(Table::Containers, old)]).await;
    bucket.serve(&crate::Config::default())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_of_statements_answers_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("slt");
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|kind| kind == "slt"));
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let served = if name.contains("views") { super::scene::served().await.1 } else { filled().await };
        let served = std::sync::Arc::new(served);
        let who = if name.starts_with("operator") { Principal::operator() } else { tenant("acme") };
        let mut runner = Runner::new(|| async {
            Ok(Connection { served: std::sync::Arc::clone(&served), who: who.clone() })
        });
        runner.run_file_async(&file).await.unwrap_or_else(|error| panic!("{}", error.display(false)));
    }
}
