//! What else a fleet leaves in the bucket beside its system calls: API requests,
//! alerts and use, of the same pods, namespaces and tenants.
//!
//! A row follows from its number alone, so that any part of a table can be drawn
//! by itself.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringDictionaryBuilder, TimestampMicrosecondArray,
    new_null_array,
};
use arrow::datatypes::{DataType, Int32Type};
use arrow::error::ArrowError;
use bailiwick_proto::Table;

use super::lean::{self, NAMESPACES};

pub use super::lean::PODS;

const USERS: u64 = 400;
const HOUR_US: i64 = 3_600_000_000;
const VERBS: [&str; 8] = ["get", "list", "watch", "get", "create", "update", "patch", "delete"];
const RESOURCES: [&str; 6] = ["pods", "secrets", "configmaps", "deployments", "leases", "events"];
const PRIORITIES: [&str; 5] = ["Critical", "Error", "Warning", "Notice", "Informational"];

/// Rows `first..first + rows` of one table, evenly over `[begin_us, end_us)`, of
/// `total` rows altogether. Of `usage` a row is a pod's hour.
#[derive(Debug, Clone, Copy)]
pub struct Span {
    /// The time of the first row, microseconds since 1970.
    pub begin_us: i64,
    /// The end of time, microseconds since 1970.
    pub end_us: i64,
    /// How many rows the table has in the end.
    pub total: usize,
}

/// One row, by its number.
struct Row {
    number: u64,
    time_us: i64,
}

// === impl Span ===

impl Span {
    /// These rows as a batch of the wire schema of `table`.
    pub fn batch(&self, table: Table, first: usize, rows: usize) -> Result<RecordBatch, ArrowError> {
        let length_us = (self.end_us - self.begin_us) as f64;
        let row = |number: usize| Row {
            number: number as u64,
            time_us: match table {
                Table::Usage => self.begin_us + (number / PODS + 1) as i64 * HOUR_US,
                _ => self.begin_us + (length_us * number as f64 / self.total as f64) as i64,
            },
        };
        let rows: Vec<Row> = (first..first + rows).map(row).collect();
        let schema = table.wire_schema();
        let columns = schema.fields().iter().map(|field| -> ArrayRef {
            let name = field.name().as_str();
            match field.data_type() {
                DataType::Dictionary(..) => {
                    let mut texts = StringDictionaryBuilder::<Int32Type>::new();
                    texts.extend(rows.iter().map(|row| row.text(table, name)));
                    Arc::new(texts.finish())
                }
                DataType::Int64 => {
                    Arc::new(rows.iter().map(|row| row.int(table, name)).collect::<Int64Array>())
                }
                DataType::Float64 => {
                    Arc::new(rows.iter().map(|row| row.float(table, name)).collect::<Float64Array>())
                }
                DataType::Timestamp(..) => {
                    let times: TimestampMicrosecondArray =
                        rows.iter().map(|row| row.time(table, name)).collect();
                    Arc::new(times.with_timezone("UTC"))
                }
                other => new_null_array(other, rows.len()),
            }
        });
        let columns = columns.collect();
        RecordBatch::try_new(schema, columns)
    }
}

// === impl Row ===

impl Row {
    /// The same number for the same row and purpose, spread evenly (splitmix64).
    fn draw(&self, purpose: u64, below: u64) -> u64 {
        let mut x = (self.number ^ purpose.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(purpose);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % below
    }

    fn pod(&self, table: Table) -> usize {
        match table {
            Table::Usage => self.number as usize % PODS,
            _ => self.draw(1, PODS as u64) as usize,
        }
    }

    /// One request in fifty begins a shell.
    fn is_exec(&self) -> bool {
        self.draw(2, 50) == 0
    }

    fn time(&self, table: Table, column: &str) -> Option<i64> {
        match (table, column) {
            (_, "time") => Some(self.time_us),
            (Table::Usage, "interval_start") => Some(self.time_us - HOUR_US),
            (Table::ApiAccess, "stage_time") => Some(self.time_us + self.draw(3, 50_000) as i64),
            _ => None,
        }
    }

    fn text(&self, table: Table, column: &str) -> Option<String> {
        let pod = self.pod(table);
        let text = match (table, column) {
            (_, "cluster") => "prod-eu-0".to_owned(),
            (Table::Alerts, "owner") => format!("tenant-{:03}", pod % NAMESPACES % lean::TENANTS),
            (_, "container_id") => lean::container_id(pod),
            (Table::Usage, "k8s_ns_name") | (Table::ApiAccess, "namespace") => lean::namespace(pod),
            (Table::Usage, "k8s_pod_name") => lean::pod_name(pod),
            (Table::ApiAccess, _) => return self.request(column, pod),
            (Table::Alerts, _) => return self.alert(column, pod),
            _ => return None,
        };
        Some(text)
    }

    fn request(&self, column: &str, pod: usize) -> Option<String> {
        let exec = self.is_exec();
        let text = match column {
            "source" => "webhook".to_owned(),
            "audit_id" => format!("{:016x}-{:08x}", self.draw(4, u64::MAX), self.number),
            "stage" => "ResponseComplete".to_owned(),
            "level" => "Metadata".to_owned(),
            "verb" if exec => "create".to_owned(),
            "verb" => VERBS[self.draw(5, 8) as usize].to_owned(),
            "resource" if exec => "pods".to_owned(),
            "resource" => RESOURCES[self.draw(6, 6) as usize].to_owned(),
            "subresource" => exec.then(|| "exec".to_owned())?,
            "name" if exec => lean::pod_name(pod),
            "name" => format!("object-{}", self.draw(7, 5_000)),
            "user" => format!("user-{}@example.com", self.draw(8, USERS)),
            "client_ip" => format!("10.1.{}.{}", self.draw(9, 16), self.draw(10, 250)),
            "user_agent" => "kubectl/v1.34.1 (linux/amd64)".to_owned(),
            "decision" if self.draw(11, 40) == 0 => "forbid".to_owned(),
            "decision" => "allow".to_owned(),
            _ => return None,
        };
        Some(text)
    }

    fn alert(&self, column: &str, pod: usize) -> Option<String> {
        let rule = self.draw(12, 40);
        let text = match column {
            "alert_id" => format!("{:016x}{:016x}", self.draw(13, u64::MAX), self.number),
            "rule" => format!("Rule number {rule}"),
            "priority" => PRIORITIES[(rule % 5) as usize].to_owned(),
            "source" => "syscall".to_owned(),
            "output" => format!("Something of rule {rule} in {} (pod={pod})", lean::pod_name(pod)),
            "mode" => "live".to_owned(),
            _ => return None,
        };
        Some(text)
    }

    fn int(&self, table: Table, column: &str) -> Option<i64> {
        let below = |purpose, below| Some(self.draw(purpose, below) as i64);
        match (table, column) {
            (Table::ApiAccess, "code") => Some(if self.draw(11, 40) == 0 { 403 } else { 200 }),
            (Table::ApiAccess, "latency_us") => below(3, 50_000),
            (Table::Usage, "cpu_ns") => below(14, 900_000_000_000),
            (Table::Usage, "mem_current_b" | "mem_working_set_b") => below(15, 4 << 30),
            (Table::Usage, "io_r_b" | "io_w_b") => below(16, 1 << 30),
            (Table::Usage, "cpu_request_m") => Some(250),
            (Table::Usage, "mem_request_b") => Some(512 << 20),
            _ => None,
        }
    }

    fn float(&self, table: Table, column: &str) -> Option<f64> {
        match (table, column) {
            (Table::Usage, "coverage_s") => Some(3_600.0),
            (Table::Usage, "mem_byte_s") => Some(self.draw(15, 4 << 30) as f64 * 3_600.0),
            _ => None,
        }
    }
}
