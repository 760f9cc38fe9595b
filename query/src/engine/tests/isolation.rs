//! A tenant's session cannot tell that there are other tenants.

use bailiwick_proto::Table;

use super::bucket::{Bucket, Served, rows};
use super::tenant;
use crate::{Code, Config, Principal};

/// Rows of both tenants in files and in the WAL. What is `acme`'s can be cast
/// to numbers; `globex` has secrets, and the number that divides by zero.
async fn mixed() -> (Bucket, Served) {
    let mut bucket = Bucket::new().await;
    let acme = |count| rows(Table::Losses, &[&[("tenant", "acme"), ("detail", "7"), ("count", count)]]);
    let globex =
        || rows(Table::Losses, &[&[("tenant", "globex"), ("detail", "globex-secret"), ("count", "666")]]);
    let through = bucket.wal(&[]).await;
    bucket.commit(Table::Losses, through, &[("acme", acme("1")), ("globex", globex())]).await;
    let both =
        datafusion::arrow::compute::concat_batches(&Table::Losses.stamped_schema(), [&acme("2"), &globex()]);
    bucket.wal(&[(Table::Losses, both.unwrap())]).await;
    let served = bucket.serve(&Config::default());
    (bucket, served)
}

/// Every way that the experiments found to ask about rows one must not see.
const PROBES: [(&str, &str); 14] = [
    ("SELECT count(*) FROM losses", "2"),
    ("SELECT count(*), min(tenant), max(tenant), count(DISTINCT tenant) FROM losses", "2 acme acme 1"),
    ("SELECT count FROM losses WHERE CAST(detail AS INT) >= 0 ORDER BY 1", "1\n2"),
    ("SELECT count FROM losses WHERE 10 / (count - 666) < 100 ORDER BY 1", "1\n2"),
    ("SELECT count FROM losses WHERE tenant = 'globex'", ""),
    ("SELECT count FROM losses WHERE tenant = 'globex' OR CAST(detail AS INT) = 7 ORDER BY 1", "1\n2"),
    ("SELECT sum(count) FROM losses", "3"),
    ("SELECT max(count) FROM losses LIMIT 1", "2"),
    ("SELECT count(*) FROM losses WHERE regexp_like(detail, 'secret')", "0"),
    ("SELECT count(*) FROM losses a JOIN losses b ON a.tenant <> b.tenant", "0"),
    ("SELECT DISTINCT tenant FROM losses", "acme"),
    ("SELECT approx_distinct(tenant) FROM losses", "1"),
    ("SELECT tenant, count(*) FROM losses GROUP BY ROLLUP (tenant) ORDER BY 2, 1", "acme 2\n 2"),
    ("SELECT (SELECT count(*) FROM losses), array_agg(DISTINCT tenant) FROM losses", "2 [acme]"),
];

#[tokio::test]
async fn no_probe_finds_or_trips_over_another_tenants_rows() {
    let (_bucket, served) = mixed().await;
    for (sql, expected) in PROBES {
        let text = served.text(&tenant("acme"), sql).await;
        assert_eq!(text.trim(), expected, "{sql}");
    }
    // The same probes do hit whoever may see the rows, so they would have found them.
    let operator = Principal::operator();
    assert_eq!(served.text(&operator, "SELECT count(*) FROM losses").await, "4");
    let error = served.ask(&operator, PROBES[2].0).await.unwrap_err().to_string();
    assert!(error.contains("globex-secret"), "{error}");
    let error = served.ask(&operator, PROBES[3].0).await.unwrap_err();
    assert_eq!(error.to_string(), "division by zero");
}

#[tokio::test]
async fn another_tenants_damaged_file_is_never_opened() {
    let (bucket, served) = mixed().await;
    bucket.damage(Table::Losses, "globex").await;
    assert_eq!(served.text(&tenant("acme"), "SELECT sum(count), max(detail) FROM losses").await, "3 7");
    let error = served.ask(&Principal::operator(), "SELECT max(detail) FROM losses").await.unwrap_err();
    assert_eq!(error.code(), Code::Internal);
    let text = error.to_string();
    assert!(!text.contains("globex") && !text.contains("parquet") && !text.contains('/'), "{text}");
}

#[tokio::test]
async fn nobodys_token_sees_nothing() {
    let (_bucket, served) = mixed().await;
    for who in [tenant("nobody"), tenant("acme2"), Principal::new("empty", crate::Role::Tenant, [])] {
        assert_eq!(served.text(&who, "SELECT count(*) FROM losses").await, "0");
    }
}

#[tokio::test]
async fn there_is_nothing_beside_the_tables() {
    let (_bucket, served) = mixed().await;
    for sql in [
        "SELECT * FROM 'tables/losses'",
        "SELECT * FROM \"/etc/passwd\"",
        "SELECT * FROM \"file:///etc/passwd\"",
        "SELECT * FROM \"bailiwick://bucket/tables/losses\"",
        "SELECT * FROM information_schema.df_settings",
        "SELECT * FROM datafusion.public.losses",
        "SELECT repeat('x', 1000000000)",
        "SELECT lpad('x', 1000000000)",
        "SELECT array_repeat(1, 1000000000)",
        "SELECT array_resize([1], 1000000000)",
        "SELECT generate_series(1, 1000000000)",
    ] {
        let error = served.ask(&tenant("acme"), sql).await.unwrap_err();
        assert!(
            matches!(error.code(), Code::InvalidQuery | Code::NotAllowed | Code::Syntax),
            "{sql}: {} {error}",
            error.code()
        );
        assert!(!error.to_string().contains("globex"), "{sql}: {error}");
    }
}

#[tokio::test]
async fn an_error_speaks_of_ones_own_values_alone() {
    let (_bucket, served) = mixed().await;
    for sql in [
        "SELECT CAST(detail || 'x' AS INT) FROM losses",
        "SELECT nope FROM losses",
        "SELECT sum(tenant) FROM losses",
    ] {
        let text = served.ask(&tenant("acme"), sql).await.unwrap_err().to_string();
        assert!(
            !text.contains("globex") && !text.contains(".parquet") && !text.contains("DataFusion"),
            "{text}"
        );
    }
}
