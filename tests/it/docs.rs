//! Documents that repeat what the code says are generated from it.

use std::fmt::Write;
use std::path::Path;

use bailiwick_proto::{Column, Kind, Origin, Table};
use bailiwick_query::{TableFunction, View};

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

/// Goal: `docs/views.md` lists every column of every view and function as it is.
/// `BAILIWICK_UPDATE=1` writes them between the marks that are there.
#[test]
fn the_views_page_is_up_to_date() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/views.md");
    let committed = std::fs::read_to_string(&page).unwrap_or_default();
    let views = View::ALL.map(|view| (view.name(), view.columns()));
    let functions = TableFunction::ALL.map(|function| (function.name(), function.columns()));
    let text = views.into_iter().chain(functions).fold(committed.clone(), |text, (name, columns)| {
        let mark = format!("<!-- columns of {name} -->\n");
        let start = text.find(&mark).unwrap_or_else(|| panic!("docs/views.md has no {mark}")) + mark.len();
        let end = start + text[start..].find("<!-- end -->").expect("an end after each mark");
        format!("{}{}{}", &text[..start], columns_table(columns), &text[end..])
    });
    if std::env::var_os("BAILIWICK_UPDATE").is_some() {
        std::fs::write(&page, &text).unwrap();
    } else {
        assert!(
            committed == text,
            "docs/views.md is old; run BAILIWICK_UPDATE=1 cargo test -p bailiwick --test it docs"
        );
    }
}

fn columns_table(columns: &[Column]) -> String {
    let mut text = String::from("\n| column | type | meaning |\n|---|---|---|\n");
    for column in columns {
        writeln!(text, "| `{}` | {} | {} |", column.name, kind_name(column.kind), column.doc).unwrap();
    }
    text + "\n"
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
    text + &view_section()
}

/// The view, which has the columns of a table, in words and with an example.
fn view_section() -> String {
    let filled = bailiwick_query::LATE_COLUMNS.map(|column| format!("`{column}`")).join(", ");
    format!(
        "\n## `syscalls_named`: `syscalls`, with names that came after the event\n\n\
         A view with the columns of `syscalls`, in the same order. A row of `syscalls` says what was known when the event\n\
         happened, and stays so. A container's first events may come before the Kubernetes API has told of its pod; the\n\
         collector does not wait, and writes a row of `containers` when the names are known, when they change, and when the\n\
         container is gone. Where an event's own value is null, the view has the one of the newest row of `containers` with\n\
         the same `cluster`, `node` and `container_id`. It fills in: {filled}.\n\n\
         ```sql\n\
         SELECT time, proc_cmdline, k8s_ns_name, k8s_pod_name, container_image\n\
         FROM syscalls_named\n\
         WHERE time > now() - INTERVAL '1 hour' AND evt_type = 'execve' AND k8s_pod_name LIKE 'web-%'\n\
         ORDER BY time\n\
         ```\n\n\
         - The tenant does not change. An event whose namespace was not known is in `_unassigned` and stays in that partition,\n\
         \x20 so the view names it for those alone who see that partition, such as operators. Each session's view is made of its own\n\
         \x20 rows of both tables: a tenant sees its events, with its containers' names, and no others.\n\
         - Conditions on `time`, `tenant`, `date` and other columns that are not filled in leave files unread as they do in\n\
         \x20 `syscalls`. One on a column that is filled in is evaluated after the join: give a time as well.\n\
         - A value that the event has itself is never replaced, not even where it changed later, as a pod's labels may.\n\
         - Rules and alerts see what was known at the time.\n\n\
         Further views and functions are in [views.md](views.md).\n"
    )
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
