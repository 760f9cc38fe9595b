//! The functions over a plain session: what they answer does not depend on a bucket.

use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::{SessionConfig, SessionContext};

async fn ask(sql: &str) -> Result<String, String> {
    let config = SessionConfig::new().set_str("datafusion.sql_parser.dialect", "postgres");
    let context = SessionContext::new_with_config(config);
    super::register(&context);
    let batches =
        async { context.sql(sql).await?.collect().await }.await.map_err(|error| error.to_string())?;
    let table = pretty_format_batches(&batches).unwrap().to_string();
    // The first row's cells, without the frame.
    let row = table.lines().nth(3).unwrap_or_default();
    Ok(row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join(", "))
}

#[tokio::test]
async fn buckets_begin_where_timescale_has_them_begin() {
    let time = "TIMESTAMP '2026-11-24T10:07:31.5'";
    for (width, expected) in [
        ("'300.000s'", "2026-11-24T10:05:00"),
        ("'5 minutes'", "2026-11-24T10:05:00"),
        ("INTERVAL '15 minutes'", "2026-11-24T10:00:00"),
        ("'6h'", "2026-11-24T06:00:00"),
        ("'1 day'", "2026-11-24T00:00:00"),
        // 2026-11-24 is a Tuesday.
        ("'7 days'", "2026-11-23T00:00:00"),
        ("'1 month'", "2026-11-01T00:00:00"),
    ] {
        let answer = ask(&format!("SELECT time_bucket({width}, {time})")).await;
        assert_eq!(answer.as_deref(), Ok(expected), "{width}");
    }
    assert!(ask("SELECT time_bucket('5 minutes')").await.is_err());
    assert!(ask("SELECT time_bucket('5 minutes', 7)").await.is_err());
}

#[tokio::test]
async fn a_setting_is_known_or_missing_or_an_error() {
    assert_eq!(ask("SELECT current_setting('server_version_num')::int/100").await.unwrap(), "1600");
    assert_eq!(ask("SELECT current_setting('Search_Path')").await.unwrap(), "\"$user\", public");
    assert_eq!(ask("SELECT current_setting('no.such', true) IS NULL").await.unwrap(), "true");
    let error = ask("SELECT current_setting('no.such')").await.unwrap_err();
    assert!(error.contains("unrecognized configuration parameter \"no.such\""), "{error}");
}

#[tokio::test]
async fn a_session_may_read_and_nothing_else() {
    let asked = "has_table_privilege('syscalls', 'SELECT'), has_table_privilege('u', 'syscalls', 'INSERT, UPDATE'), \
                 has_schema_privilege(2200, 'usage'), has_database_privilege('bailiwick', 'CREATE')";
    assert_eq!(ask(&format!("SELECT {asked}")).await.unwrap(), "true, false, true, false");
}

#[tokio::test]
async fn tables_and_columns_are_described_by_their_own_page() {
    let answer =
        ask("SELECT obj_description(16400, 'pg_class'), col_description(16400, 1), obj_description(1)").await;
    let expected = "system calls and process events, who answers for this row; `_host`, `_cluster` and `_unassigned` \
                    are reserved, ";
    assert_eq!(answer.unwrap(), expected);
}

#[tokio::test]
async fn the_server_says_what_it_is() {
    let answer = ask("SELECT version()").await.unwrap();
    assert!(answer.starts_with("PostgreSQL 16.6, Bailiwick "), "{answer}");
}

/// Goal: PostgreSQL 16's own answers for the same patterns.
#[tokio::test]
async fn times_are_written_by_postgresqls_patterns() {
    let time = "TIMESTAMP '2026-03-04 15:07:08.009010'";
    for (pattern, expected) in [
        ("YYYY-MM-DD HH24:MI", "2026-03-04 15:07"),
        ("yyyy-mm-dd hh12:mi:ss AM", "2026-03-04 03:07:08 PM"),
        ("SS.MS US p.m.", "08.009 009010 p.m."),
        ("FMMonth FMDD, YYYY", "March 4, 2026"),
        ("[Month][DAY][dy]", "[March    ][WEDNESDAY][wed]"),
        ("Mon DDth \"of YYYY\" YY Q WW IW", "Mar 04th of YYYY 26 1 09 10"),
        ("FMHH24 FMHH12 D ID DDD J", "error"),
        ("HH24hTZ", "15h"),
        ("%Y/%m", "2026/03"),
    ] {
        let answer = ask(&format!("SELECT to_char({time}, '{pattern}') AS a")).await;
        match expected {
            "error" => assert!(answer.is_err(), "{pattern}"),
            expected => assert_eq!(answer.as_deref(), Ok(expected), "{pattern}"),
        }
    }
    let asked = "to_char(DATE '2026-03-04', 'DD.MM.YY'), \
                 to_char(arrow_cast('2026-03-04T15:00:00Z', 'Timestamp(Microsecond, Some(\"UTC\"))'), 'HH24 TZ OF'), \
                 to_char(arrow_cast('2026-03-04T15:00:00Z', 'Timestamp(Second, Some(\"Europe/Berlin\"))'), 'HH24 TZ'), \
                 to_char(NULL, 'YYYY') IS NULL";
    assert_eq!(ask(&format!("SELECT {asked}")).await.unwrap(), "04.03.26, 15 UTC +00, 16 +01:00, true");
    assert!(ask("SELECT to_char(INTERVAL '1 day', 'HH24')").await.is_err());
}

#[tokio::test]
async fn documents_are_made_and_read() {
    for (asked, expected) in [
        (
            "json_build_object('a', 1, 'b', 'x\"y', 'c', NULL, 'd', true)",
            "{\"a\" : 1, \"b\" : \"x\\\"y\", \"c\" : null, \"d\" : true}",
        ),
        ("json_build_object('a', make_array(1, 2), 'b', 1.5)", "{\"a\" : [1,2], \"b\" : 1.5}"),
        ("json_build_object()", "{}"),
        ("'{\"a\": {\"b\": [1, \"x\"]}}' -> 'a' -> 'b'", "[1,\"x\"]"),
        ("'{\"a\": {\"b\": [1, \"x\"]}}' -> 'a' -> 'b' ->> -1", "x"),
        ("'{\"proc.name\": \"cat\"}' ->> 'proc.name' = 'cat'", "true"),
        ("('{\"a\": null}' ->> 'a') IS NULL", "true"),
        ("('no document' ->> 'a') IS NULL", "true"),
        ("make_array('a', 'b') && make_array('b')", "true"),
        ("make_array('a', 'b') @> make_array('c')", "false"),
        ("like_any('abc', make_array('x', 'a%'), false)", "true"),
        ("like_any('abc', make_array('A%'), false) OR like_any('abc', make_array('A%'), true)", "true"),
        ("like_any('abc', make_array('x', NULL), false) IS NULL", "true"),
    ] {
        assert_eq!(ask(&format!("SELECT {asked}")).await.as_deref(), Ok(expected), "{asked}");
    }
    for asked in ["json_build_object('a')", "json_build_object(NULL, 1)"] {
        assert!(ask(&format!("SELECT {asked}")).await.is_err(), "{asked}");
    }
}

#[tokio::test]
async fn texts_mean_what_postgresql_says() {
    for (asked, expected) in [
        ("'abc' SIMILAR TO 'a'", "false"),
        ("'abc' SIMILAR TO 'a%'", "true"),
        ("'abc' SIMILAR TO '%(b|d)%'", "true"),
        ("'abc' SIMILAR TO '(b|c)%'", "false"),
        ("'a.c' SIMILAR TO 'a.c' AND NOT 'abc' SIMILAR TO 'a.c'", "true"),
        ("'abc' NOT SIMILAR TO '[a-c]+'", "false"),
        ("'a%' SIMILAR TO 'a\\%' AND 'ab' NOT SIMILAR TO 'a\\%'", "true"),
        ("encode('\\x00ff'::bytea, 'hex')", "00ff"),
        ("encode('a\\\\'::bytea, 'hex')", "615c"),
        (
            "timezone('Europe/Berlin', arrow_cast('2026-07-01T10:00:00Z', 'Timestamp(Nanosecond, Some(\"UTC\"))'))",
            "2026-07-01T12:00:00",
        ),
        ("timezone('Europe/Berlin', TIMESTAMP '2026-01-01 10:00:00')", "2026-01-01T09:00:00Z"),
    ] {
        assert_eq!(ask(&format!("SELECT {asked} AS a")).await.as_deref(), Ok(expected), "{asked}");
    }
    assert!(ask("SELECT '\\x0'::bytea").await.is_err());
    assert!(ask("SELECT timezone('Nowhere', now())").await.is_err());
}
