//! How each column is written, chosen by what `benches` measures.
//!
//! | columns | how | because, in bytes an event |
//! |---|---|---|
//! | `time`, `seq` and the other columns of [`RISING`] | differences (`DELTA_BINARY_PACKED`) | they rise within a process or stay near one another: `thread_tid` takes 0.8 where a dictionary takes 1.4, `proc_start_time` 0.21 for 0.40, `proc_pid` 0.07 for 0.18 |
//! | all others | dictionary | most are one run of equal keys once rows are sorted: `ingest_time` takes 0.18 where differences take 0.38, `fd_num` 0.7 for 1.1, `evt_rawres` 1.2 for 2.0 |
//! | all others | dictionaries up to 4 MiB, not 1 | where every fourth file name is a new one that saves 3 % of the bytes |
//! | all | zstd 1 | level 9 took twice the time for 2 % of the bytes when the design was measured |
//! | of files with more than a page | minimum and maximum of each page | pages that cannot match are not read |
//! | of smaller files | minimum and maximum of the file | a page index would say the same again, for every column a tenth of a kilobyte |
//!
//! Bloom filters (a value that is not there is found in one of a hundred) are on
//! columns that a detection or an investigation compares with one value, and whose
//! values lie so scattered that minimum and maximum leave nothing out. They are
//! sized by the rows of a row group, then folded to the values that are in it.
//! Smaller files, which are read whole anyway, have none.
//!
//! | table | columns | cost |
//! |---|---|---|
//! | `syscalls` | `exec_id`, `proc_name`, `proc_exepath`, `fd_name`, `fd_sip`, `fd_rip`, `k8s_pod_name` | 0.15 B an event where files recur, 1.2 B where every fourth is a new one |
//! | `api_access` | `audit_id`, `user`, `name`, `client_ip` | |
//! | `usage` | `k8s_pod_name` | |
//! | `alerts` | `alert_id`, `exec_id`, `container_id`, `audit_id` | |
//! | `queries` | `query_id`, `principal` | |
//! | `losses`, `containers` | none | |
//!
//! `container_id` and `proc_pid` of `syscalls` need none: rows are sorted by them,
//! so minimum and maximum say as much.

use arrow::datatypes::{DataType, Schema};
use bailiwick_proto::Table;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::SortingColumn;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use super::ROW_GROUP_ROWS;
use crate::sort;

/// One value in a hundred that is not there is found wrongly.
const BLOOM_FPP: f64 = 0.01;
/// The rows of a data page: what the writer closes pages at.
const PAGE_ROWS: usize = 20_000;
/// A dictionary may grow to this size, uncompressed, before values are written out.
const DICTIONARY_BYTES: usize = 4 << 20;
/// The columns that are written as differences.
pub const RISING: [&str; 6] = ["time", "seq", "proc_pid", "thread_tid", "proc_ppid", "proc_start_time"];

/// The columns with a Bloom filter, see the table above.
pub const fn blooms(table: Table) -> &'static [&'static str] {
    match table {
        Table::Syscalls => {
            &["exec_id", "proc_name", "proc_exepath", "fd_name", "fd_sip", "fd_rip", "k8s_pod_name"]
        }
        Table::ApiAccess => &["audit_id", "user", "name", "client_ip"],
        Table::Usage => &["k8s_pod_name"],
        Table::Alerts => &["alert_id", "exec_id", "container_id", "audit_id"],
        Table::Queries => &["query_id", "principal"],
        Table::Losses | Table::Containers => &[],
    }
}

/// How a file of this schema and about so many rows is written.
pub(super) fn properties(
    table: Table,
    schema: &Schema,
    rows: usize,
) -> Result<WriterProperties, ParquetError> {
    let small = rows <= PAGE_ROWS;
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_statistics_enabled(if small { EnabledStatistics::Chunk } else { EnabledStatistics::Page })
        .set_offset_index_disabled(small)
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_dictionary_page_size_limit(DICTIONARY_BYTES)
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_sorting_columns(Some(sorting(table, schema)));
    for field in schema.fields() {
        let (name, path) = (field.name().as_str(), ColumnPath::from(field.name().as_str()));
        if RISING.contains(&name) {
            properties = properties
                .set_column_dictionary_enabled(path.clone(), false)
                .set_column_encoding(path, Encoding::DELTA_BINARY_PACKED);
        } else if !small && blooms(table).contains(&name) {
            properties = properties
                .set_column_bloom_filter_fpp(path.clone(), BLOOM_FPP)
                .set_column_bloom_filter_max_ndv(path, rows.min(ROW_GROUP_ROWS) as u64);
        }
    }
    Ok(properties.build())
}

/// The table's order as the file states it: numbers of leaves, which are not
/// those of columns as soon as there is a struct.
fn sorting(table: Table, schema: &Schema) -> Vec<SortingColumn> {
    let mut leaf_of = Vec::with_capacity(schema.fields().len());
    let mut leaves = 0;
    for field in schema.fields() {
        leaf_of.push((field.name().as_str(), leaves));
        leaves += leaves_of(field.data_type());
    }
    let leaf = |name: &&str| leaf_of.iter().find(|(column, _)| column == name).map(|(_, leaf)| *leaf);
    let leaves = sort::order_of(table).iter().filter_map(leaf);
    leaves.map(|column_idx| SortingColumn { column_idx, descending: false, nulls_first: true }).collect()
}

fn leaves_of(data_type: &DataType) -> i32 {
    match data_type {
        DataType::List(item) => leaves_of(item.data_type()),
        DataType::Struct(fields) => fields.iter().map(|field| leaves_of(field.data_type())).sum(),
        _ => 1,
    }
}
