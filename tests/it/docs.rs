//! Documents that repeat what the code says are generated from it.

use std::fmt::Write;
use std::path::Path;

use bailiwick_proto::{Kind, Origin, Table};

/// Goal: `docs/tables.md` lists every column as it is. `BAILIWICK_UPDATE=1` writes it.
#[test]
fn the_tables_page_is_up_to_date() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/tables.md");
    let text = tables_page();
    if std::env::var_os("BAILIWICK_UPDATE").is_some() {
        std::fs::write(&page, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&page).unwrap_or_default();
    assert!(
        committed == text,
        "docs/tables.md is old; run BAILIWICK_UPDATE=1 cargo test -p bailiwick --test it docs"
    );
}

fn tables_page() -> String {
    let mut text = String::from(
        "# Tables\n\n\
         Generated from `proto/src/schema.rs`. Every table is partitioned by `tenant` and `date`; every column may be null.\n",
    );
    for table in Table::ALL {
        write!(text, "\n## `{table}`: {}\n\n| column | type | meaning |\n|---|---|---|\n", table.doc())
            .unwrap();
        for column in table.columns() {
            let stamped = if column.origin == Origin::Sender { "" } else { " (set by ingest)" };
            let kind = kind_name(column.kind);
            writeln!(text, "| `{}` | {kind} | {}{stamped} |", column.name, column.doc).unwrap();
        }
    }
    text
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "text",
        Kind::Int => "bigint",
        Kind::Float => "double",
        Kind::Bool => "boolean",
        Kind::Time => "timestamp (µs, UTC)",
        Kind::Date => "date",
        Kind::TextList => "list of text",
        Kind::PairList => "list of (name, value)",
        Kind::ProcessList => "list of (pid, name, exe, exepath, cmdline)",
    }
}
