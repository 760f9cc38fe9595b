use proptest::prelude::*;

use super::*;

const READS: [&str; 11] = [
    "SELECT 1",
    "select * from syscalls where time > now() - interval '5 minutes' order by time limit 5;",
    "WITH a AS (SELECT tenant FROM usage) SELECT * FROM a JOIN alerts USING (tenant)",
    "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT * FROM n",
    "VALUES (1, 'a'), (2, 'b')",
    "SELECT * FROM generate_series(1, 3)",
    "SELECT unnest(tags) FROM alerts",
    "SELECT a FROM (SELECT 1 AS a) s UNION ALL (SELECT 2 EXCEPT SELECT 3)",
    "DESCRIBE alerts",
    "SHOW TABLES",
    "-- a comment\nSELECT 1 /* and another */",
];

/// What must never reach the planner, as tenant or as admin.
const WRITES: [&str; 40] = [
    "COPY alerts TO '/tmp/x.parquet'",
    "COPY (SELECT 1) TO '/tmp/x.csv' STORED AS csv",
    "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION '/etc'",
    "CREATE TABLE t AS SELECT 1",
    "CREATE TABLE t (a int)",
    "CREATE VIEW v AS SELECT 1",
    "CREATE SCHEMA s",
    "CREATE DATABASE d",
    "CREATE FUNCTION f(int) RETURNS int RETURN $1 + 1",
    "DROP TABLE alerts",
    "DROP VIEW v",
    "ALTER TABLE alerts ADD COLUMN a int",
    "TRUNCATE TABLE alerts",
    "INSERT INTO alerts SELECT * FROM alerts",
    "INSERT INTO alerts VALUES (1)",
    "UPDATE alerts SET rule = 'x'",
    "DELETE FROM alerts",
    "MERGE INTO alerts USING alerts AS a ON true WHEN MATCHED THEN DELETE",
    "SELECT 1 INTO t",
    "SELECT 1 AS a INTO TEMP t FROM alerts UNION SELECT 2",
    "SELECT * FROM (SELECT 1 AS a INTO t) s",
    "WITH a AS (INSERT INTO alerts SELECT * FROM alerts RETURNING *) SELECT * FROM a",
    "WITH a AS (DELETE FROM alerts RETURNING *) SELECT * FROM a",
    "WITH a AS (UPDATE alerts SET rule = 'x' RETURNING *) SELECT * FROM a",
    "SELECT * FROM alerts FOR UPDATE",
    "SET datafusion.execution.batch_size = 1",
    "SET search_path = x",
    "RESET datafusion.execution.batch_size",
    "SHOW ALL",
    "SHOW datafusion.runtime.memory_limit",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "DEALLOCATE p",
    "BEGIN",
    "COMMIT",
    "ANALYZE TABLE alerts",
    "EXPLAIN COPY alerts TO '/tmp/x'",
    "EXPLAIN ANALYZE INSERT INTO alerts SELECT * FROM alerts",
    "SELECT * FROM read_parquet('/tmp/x')",
    "GRANT SELECT ON alerts TO a",
];

fn code(role: Role, sql: &str) -> Option<Code> {
    admit(role, sql).err().map(|error| error.code())
}

#[test]
fn what_only_reads_is_admitted() {
    for sql in READS {
        assert_eq!(code(Role::Tenant, sql), None, "{sql}");
    }
}

#[test]
fn what_writes_reads_files_or_changes_the_server_is_not() {
    for sql in WRITES {
        for role in [Role::Tenant, Role::Auditor, Role::Admin] {
            let code = code(role, sql).unwrap_or_else(|| panic!("admitted: {sql}"));
            assert!(matches!(code, Code::NotAllowed | Code::Syntax), "{sql}: {code}");
        }
    }
    for sql in ["SELECT * FROM parquet_metadata('x')", "SELECT * FROM TABLE(read_csv('/etc/passwd'))"] {
        assert_eq!(code(Role::Admin, sql), Some(Code::NotAllowed), "{sql}");
    }
}

#[test]
fn a_plan_is_for_those_who_see_everything() {
    for sql in ["EXPLAIN SELECT * FROM alerts", "EXPLAIN ANALYZE SELECT 1", "EXPLAIN VERBOSE SELECT 1"] {
        assert_eq!(code(Role::Tenant, sql), Some(Code::NotAllowed), "{sql}");
        assert_eq!(code(Role::Auditor, sql), None, "{sql}");
    }
}

#[test]
fn one_statement_and_not_more_and_not_less() {
    for sql in ["", "  ", "-- only a comment", ";"] {
        assert_eq!(code(Role::Tenant, sql), Some(Code::Syntax), "{sql:?}");
    }
    assert_eq!(code(Role::Tenant, "SELECT 1; SELECT 2"), Some(Code::NotAllowed));
    assert_eq!(code(Role::Tenant, "SELECT 1; DROP TABLE alerts"), Some(Code::NotAllowed));
    assert_eq!(code(Role::Tenant, "SELEC 1"), Some(Code::Syntax));
}

#[test]
fn nesting_has_an_end() {
    let deep = format!("SELECT {}1{}", "(".repeat(10_000), ")".repeat(10_000));
    assert_eq!(code(Role::Tenant, &deep), Some(Code::TooLarge));
    let deep = format!("SELECT {}1{}", "(".repeat(100), ")".repeat(100));
    assert_eq!(code(Role::Tenant, &deep), Some(Code::Syntax));
}

#[test]
fn what_planning_would_blow_up_is_refused() {
    let doubling = |times: u32| {
        let more = |n| format!(", a{n} AS (SELECT l.x FROM a{0} l, a{0} r)", n - 1);
        let more: String = (1..=times).map(more).collect();
        format!("WITH a0 AS (SELECT 1 AS x){more} SELECT count(*) FROM a{times}")
    };
    assert_eq!(code(Role::Tenant, &doubling(6)), None);
    assert_eq!(code(Role::Tenant, &doubling(7)), Some(Code::TooLarge));
    assert_eq!(code(Role::Tenant, &doubling(80)), Some(Code::TooLarge));
    // The same by subqueries of the one before.
    let inner = |n| {
        format!(
            ", A{n} AS (SELECT * FROM (SELECT * FROM a{0}) l, a{0} r WHERE EXISTS (SELECT 1 FROM a{0}))",
            n - 1
        )
    };
    let inner: String = (1..=9).map(inner).collect();
    let nested = format!("WITH a0 AS (SELECT 1 AS x){inner} SELECT count(*) FROM a9");
    assert_eq!(code(Role::Tenant, &nested), Some(Code::TooLarge));
    let long = |times: u32| {
        let more: String = (1..=times).map(|n| format!(", a{n} AS (SELECT * FROM a{})", n - 1)).collect();
        format!("WITH a0 AS (SELECT 1 AS x){more} SELECT * FROM a{times}")
    };
    assert_eq!(code(Role::Tenant, &long(100)), None, "a chain that does not double");
    assert_eq!(code(Role::Tenant, &long(5_000)), Some(Code::TooLarge));
    let tables = |count: usize| format!("SELECT 1 FROM {}", vec!["losses"; count].join(", "));
    assert_eq!(
        (code(Role::Tenant, &tables(100)), code(Role::Tenant, &tables(600))),
        (None, Some(Code::TooLarge))
    );
    let columns = |count: usize| (0..count).map(|n| format!("count + {n}")).collect::<Vec<_>>().join(", ");
    let group = |by: &str| format!("SELECT count(*) FROM losses GROUP BY {by}");
    for (by, expected) in [
        (format!("CUBE ({})", columns(12)), None),
        (format!("CUBE ({})", columns(13)), Some(Code::TooLarge)),
        (format!("CUBE ({})", columns(200)), Some(Code::TooLarge)),
        (format!("CUBE ({0}), CUBE ({0})", columns(7)), Some(Code::TooLarge)),
        (format!("ROLLUP ({})", columns(20)), None),
    ] {
        assert_eq!(code(Role::Tenant, &group(&by)), expected, "{by}");
    }
}

#[test]
fn what_the_planner_writes_twice_nests_no_deeper_than_it_may() {
    for (open, close) in [("coalesce(", ", 1)"), ("NULLIF(", ", 1)"), ("(", " BETWEEN 1 AND 2)")] {
        let nested = |depth: usize| format!("SELECT {}1{}", open.repeat(depth), close.repeat(depth));
        assert_eq!(code(Role::Tenant, &nested(10)), None, "{open}");
        assert_eq!(code(Role::Tenant, &nested(11)), Some(Code::TooLarge), "{open}");
    }
    let wide = format!("SELECT {} FROM losses", vec!["coalesce(count, 1)"; 300].join(", "));
    assert_eq!(code(Role::Tenant, &wide), None);
}

/// The same statement as somebody would disguise it.
fn disguised(sql: &'static str) -> impl Strategy<Value = String> {
    let gap = prop::sample::select(vec![" ", "\n", "\t ", " /* SELECT */ ", " -- SELECT\n"]);
    let words = sql.split(' ').count();
    (prop::collection::vec((gap, any::<bool>()), words), any::<bool>()).prop_map(move |(gaps, end)| {
        let mut text = String::new();
        let mut quoted = false;
        for (word, (gap, upper)) in sql.split(' ').zip(gaps) {
            // Inside a literal, other blanks would be another literal.
            text.push_str(if quoted { " " } else { gap });
            quoted ^= word.matches('\'').count() % 2 == 1;
            text.push_str(&if upper { word.to_uppercase() } else { word.to_lowercase() });
        }
        text + if end { " ;" } else { "" }
    })
}

proptest! {
    #[test]
    fn no_disguise_gets_a_writer_in(sql in prop::sample::select(WRITES.to_vec()).prop_flat_map(disguised)) {
        prop_assert!(admit(Role::Tenant, &sql).is_err(), "{}", sql);
    }

    #[test]
    fn no_reader_carries_a_writer_along(
        read in prop::sample::select(READS.to_vec()), write in prop::sample::select(WRITES.to_vec()), first: bool,
    ) {
        let read = read.trim_end_matches(';');
        let both = if first { format!("{write}; {read}") } else { format!("{read};\n{write}") };
        prop_assert!(admit(Role::Admin, &both).is_err(), "{}", both);
    }

    #[test]
    fn no_text_panics_and_no_message_is_long(sql in "\\PC{0,200}") {
        if let Err(error) = admit(Role::Tenant, &sql) {
            prop_assert!(error.to_string().len() < 2_000);
        }
    }
}
