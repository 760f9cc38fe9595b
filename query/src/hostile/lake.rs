//! A lake of two tenants, every column of every table filled.

use bailiwick_proto::{Kind, Table};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::cast;
use serde_json::{Map, Value, json};

use crate::engine::tests::bucket::{Bucket, DAY};

/// Stands in every text of the other tenant, and of the namespace that is hidden.
pub(super) const SECRET: &str = "bcanary";

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Who {
    /// Everything of acme's.
    Acme,
    /// Of acme's what is of the namespaces `shop` and `shop-*`.
    Shop,
    /// Everything of globex'.
    Globex,
    /// Everything.
    Operator,
}

/// Whose rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    /// Acme's in a namespace that all its people see.
    Shop,
    /// Acme's in a namespace that some do not see.
    Vault,
    /// The other tenant's.
    Globex,
}

// === impl Who ===

impl Who {
    /// Whether statements about this table come to the same for it.
    pub(super) fn sees(self, table: Option<&str>) -> bool {
        self != Self::Shop || table != Some(Table::Losses.name())
    }
}

// === impl Whose ===

impl Whose {
    fn tenant(self) -> &'static str {
        match self {
            Self::Shop | Self::Vault => "acme",
            Self::Globex => "globex",
        }
    }

    fn namespace(self) -> &'static str {
        match self {
            Self::Shop => "shop-eu",
            Self::Vault => "bcanary-vault",
            // The same name elsewhere is another namespace.
            Self::Globex => "shop",
        }
    }
}

/// The column of a table or view whose texts are numbers, for those who own them.
pub(super) fn number(table: &str) -> &'static str {
    match table {
        "syscalls" | "syscalls_named" => "proc_name",
        "api_access" => "name",
        "usage" | "containers" => "container_name",
        "alerts" => "rule",
        "losses" => "reason",
        _ => "outcome",
    }
}

/// Three rows.
pub(super) fn rows(table: Table, whose: Whose) -> RecordBatch {
    let made: Vec<Value> = (1..=3).map(|row| Value::Object(row_of(table, whose, row))).collect();
    let public = table.public_schema();
    let mut decoder = arrow_json::ReaderBuilder::new(public).build_decoder().unwrap();
    decoder.serialize(&made).unwrap();
    let batch = decoder.flush().unwrap().unwrap();
    let stamped = table.stamped_schema();
    let columns = stamped.fields().iter().zip(batch.columns());
    let columns = columns.map(|(field, column)| cast(column, field.data_type()).unwrap()).collect();
    RecordBatch::try_new(stamped, columns).unwrap()
}

fn row_of(table: Table, whose: Whose, row: i64) -> Map<String, Value> {
    let mut made = Map::new();
    for column in table.columns() {
        let text = text_of(table, whose, column.name);
        let value = match column.kind {
            Kind::Text => json!(text),
            Kind::Int => json!(if whose == Whose::Shop { row } else { 666 }),
            Kind::Float => json!(0.5),
            Kind::Bool => json!(true),
            Kind::Time => json!(format!("{DAY}T12:00:00Z")),
            Kind::Date => json!(DAY),
            Kind::TextList => json!([text, "x"]),
            Kind::PairList => json!([{ "name": text, "value": text }]),
            Kind::ProcessList => {
                json!([{ "pid": row, "name": text, "exe": text, "exepath": text, "cmdline": text }])
            }
        };
        made.insert(column.name.to_owned(), value);
    }
    made
}

fn text_of(table: Table, whose: Whose, column: &str) -> String {
    match column {
        "tenant" | "owner" => whose.tenant().to_owned(),
        "k8s_ns_name" | "namespace" => whose.namespace().to_owned(),
        "evt_type" => "execve".to_owned(),
        "cluster" | "node" => "n1".to_owned(),
        "output_fields" => {
            let secret = text_of(table, whose, "output");
            json!({ "k8s.ns.name": whose.namespace(), "x": secret }).to_string()
        }
        _ if whose != Whose::Shop => format!("{SECRET}-{table}-{column}"),
        // Whose question it was decides there.
        "principal" => "shop".to_owned(),
        column if column == number(table.name()) => "7".to_owned(),
        _ => "acme-text".to_owned(),
    }
}

/// Rows of everybody given, in files and in the WAL by turns.
pub(super) async fn bucket(everybody: &[Whose]) -> Bucket {
    let mut bucket = Bucket::new().await;
    let through = bucket.wal(&[]).await;
    for (at, table) in Table::ALL.into_iter().enumerate() {
        let batches: Vec<RecordBatch> = everybody.iter().map(|whose| rows(table, *whose)).collect();
        if at % 2 == 0 {
            let all = datafusion::arrow::compute::concat_batches(&table.stamped_schema(), &batches).unwrap();
            bucket.wal(&[(table, all)]).await;
        } else {
            // A file is of one tenant, whatever the namespaces.
            for tenant in ["acme", "globex"] {
                let own: Vec<RecordBatch> = everybody
                    .iter()
                    .zip(&batches)
                    .filter(|(whose, _)| whose.tenant() == tenant)
                    .map(|(_, batch)| batch.clone())
                    .collect();
                if !own.is_empty() {
                    let all = datafusion::arrow::compute::concat_batches(&table.stamped_schema(), &own);
                    bucket.commit(table, through, &[(tenant, all.unwrap())]).await;
                }
            }
            // What others have newly written lies in the WAL besides.
            let others = everybody.iter().zip(&batches).filter(|(whose, _)| **whose != Whose::Shop);
            for (_, batch) in others {
                bucket.wal(&[(table, batch.clone())]).await;
            }
        }
    }
    bucket
}
