//! What `COPY` reads of its options, and how cells are written.

use super::*;

fn layout(options: &str) -> Result<Layout, Failure> {
    parse(&format!("COPY t TO STDOUT {options}")).map(|copy| copy.unwrap().layout)
}

/// A row of texts as this layout writes it.
fn written(options: &str, cells: &[(&str, Option<&str>)]) -> String {
    let mut data = BytesMut::new();
    for (_, cell) in cells {
        match cell {
            Some(cell) => {
                data.put_i32(i32::try_from(cell.len()).unwrap());
                data.put_slice(cell.as_bytes());
            }
            None => data.put_i32(-1),
        }
    }
    let names: Vec<&str> = cells.iter().map(|(name, _)| *name).collect();
    let row = DataRow::new(data, i16::try_from(cells.len()).unwrap());
    String::from_utf8(layout(options).unwrap().row(row, &names).data.to_vec()).unwrap()
}

#[test]
fn what_is_copied_becomes_a_query() {
    for (text, sql) in [
        ("copy syscalls to stdout", "SELECT * FROM syscalls"),
        (
            "COPY public.\"usage\" (cpu_ns, \"time\") TO STDOUT;",
            "SELECT cpu_ns, \"time\" FROM public.\"usage\"",
        ),
        ("COPY (SELECT ')' AS a, (1) -- )\n) TO STDOUT (FORMAT csv)", "SELECT ')' AS a, (1) -- )"),
    ] {
        assert_eq!(parse(text).unwrap().unwrap().sql, sql);
    }
}

#[test]
fn only_what_goes_to_the_client_is_a_copy() {
    for text in [
        "COPY t FROM STDIN",
        "COPY t TO '/tmp/x'",
        "COPY (SELECT 1) TO PROGRAM 'cat'",
        "COPY t FROM '/etc/passwd'",
        "COPY t TO STDIN",
    ] {
        assert_eq!(parse(text).unwrap(), None, "{text}");
    }
}

#[test]
fn old_and_new_options_say_the_same() {
    for (old, new) in [
        ("", "(FORMAT text)"),
        ("CSV HEADER", "WITH (FORMAT 'csv', HEADER true)"),
        ("WITH CSV DELIMITER AS ';' NULL 'x'", "(format csv, delimiter ';', null 'x')"),
        (
            "CSV QUOTE '''' ESCAPE '\\' FORCE QUOTE a, b",
            "(FORMAT csv, QUOTE '''', ESCAPE '\\', FORCE_QUOTE (a, b))",
        ),
        ("csv force quote *", "(FORMAT csv, FORCE_QUOTE *, HEADER off, ENCODING 'utf-8')"),
        ("BINARY", "(FORMAT BINARY)"),
        ("DELIMITER E'\\t'", "(FORMAT text, HEADER 0)"),
    ] {
        assert_eq!(layout(old).unwrap(), layout(new).unwrap(), "{old}");
    }
}

#[test]
fn what_could_not_be_read_back_is_refused() {
    for options in [
        "(FORMAT parquet)",
        "(DELIMITER 'ab')",
        "(DELIMITER 'a')",
        "(DELIMITER E'\\n')",
        "(DELIMITER '€')",
        "(NULL E'a\\tb')",
        "(FORMAT csv, DELIMITER '\"')",
        "(QUOTE 'x')",
        "(FORMAT binary, HEADER)",
        "(ENCODING 'latin1')",
        "(FREEZE)",
        "(HEADER 2)",
        "(FORMAT csv) more",
        "(FORMAT csv",
        "CSV HEADER (",
    ] {
        assert!(layout(options).is_err(), "{options}");
    }
}

/// Goal: the layouts of PostgreSQL 15, cell by cell; each expectation is what its server wrote.
#[test]
fn cells_are_written_as_postgresql_writes_them() {
    let cells = [("a", Some("x\ty\\z\n")), ("b", None), ("c", Some("")), ("d", Some("\\N"))];
    assert_eq!(written("", &cells), "x\\ty\\\\z\\n\t\\N\t\t\\\\N\n");
    assert_eq!(written("CSV", &cells), "\"x\ty\\z\n\",,\"\",\\N\n");
    let cells = [("a", Some("a,\"b\"")), ("b", Some("nil")), ("c", None)];
    assert_eq!(written("(FORMAT csv, NULL 'nil')", &cells), "\"a,\"\"b\"\"\",\"nil\",nil\n");
    assert_eq!(written("(FORMAT csv, FORCE_QUOTE (b, c))", &cells), "\"a,\"\"b\"\"\",\"nil\",\n");
    assert_eq!(written("(FORMAT csv, ESCAPE '\\')", &cells), "\"a,\\\"b\\\"\",nil,\n");
    assert_eq!(written("(FORMAT csv)", &[("a", Some("\\."))]), "\"\\.\"\n");
    assert_eq!(
        written("(DELIMITER '|')", &[("a", Some("x|y")), ("b", Some("\u{8}\u{c}\u{b}"))]),
        "x\\|y|\\b\\f\\v\n"
    );
}

#[test]
fn a_header_names_the_columns_and_a_binary_file_has_its_frame() {
    let head = |options: &str| layout(options).unwrap().head(&["a", "b,c"]).map(|head| head.data.to_vec());
    assert_eq!(head("CSV"), None);
    assert_eq!(head("CSV HEADER").unwrap(), b"a,\"b,c\"\n");
    assert_eq!(head("(HEADER)").unwrap(), b"a\tb,c\n");
    assert_eq!(head("BINARY").unwrap().len(), 19);
    assert_eq!(layout("BINARY").unwrap().foot().unwrap().data.to_vec(), [0xff, 0xff]);
    let mut data = BytesMut::new();
    data.put_i32(2);
    data.put_i16(7);
    let row = layout("BINARY").unwrap().row(DataRow::new(data, 1), &["a"]);
    assert_eq!(row.data.to_vec(), [0, 1, 0, 0, 0, 2, 0, 7]);
}
