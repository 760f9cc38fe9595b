//! The functions over a plain session: what they answer does not depend on a bucket.

use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::prelude::SessionContext;

async fn ask(sql: &str) -> Result<String, String> {
    let context = SessionContext::new();
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
