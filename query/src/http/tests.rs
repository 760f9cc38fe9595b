//! The API through a real client over loopback.

use bailiwick_proto::Table;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::{Value, json};

use super::*;
use crate::engine::tests::bucket::{Bucket, Served, rows};
use crate::{Config, Query, tokens};

mod openapi;
mod sql;

pub(crate) const CERT: &str = include_str!("tests/test.crt");
pub(crate) const KEY: &str = include_str!("tests/test.key");

pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) client: Client,
    /// A token of the tenant's.
    pub(crate) acme: String,
    /// Other people's tokens.
    pub(crate) globex: String,
    pub(crate) auditor: String,
    pub(crate) admin: String,
    pub(crate) query: Query,
    pub(crate) stop: CancellationToken,
    pub(crate) served: Served,
    _folder: tempfile::TempDir,
}

fn client() -> reqwest::ClientBuilder {
    // Whichever test comes first installs it for all.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy()
}

impl Server {
    pub(crate) async fn start(mut config: Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens.yaml");
        let token = |name, role, tenants: &[&str]| {
            let tenants: Vec<_> = tenants.iter().map(|tenant| tenant.parse().unwrap()).collect();
            tokens::create(&file, name, role, tenants, None, chrono::Utc::now()).unwrap()
        };
        let acme = token("anna", Role::Tenant, &["acme"]);
        let globex = token("gus", Role::Tenant, &["globex"]);
        let (auditor, admin) = (token("otto", Role::Auditor, &[]), token("ada", Role::Admin, &[]));
        config.tokens_file = Some(file);
        (config.http_listen, config.pgwire_listen) = (([127, 0, 0, 1], 0).into(), ([127, 0, 0, 1], 0).into());
        let mut bucket = Bucket::new().await;
        let losses = |tenant, count| -> datafusion::arrow::array::RecordBatch {
            rows(
                Table::Losses,
                &[&[("tenant", tenant), ("reason", "say \"why\", not\nhow"), ("count", count)]],
            )
        };
        bucket.wal(&[(Table::Losses, losses("acme", "9007199254740993"))]).await;
        bucket.wal(&[(Table::Losses, losses("globex", "2"))]).await;
        let served = bucket.serve(&config);
        let stop = CancellationToken::new();
        let metrics: MetricsText = Arc::new(|| "metrics of a test\n".to_owned());
        let query = Query::start(config, Arc::clone(&served.engine), metrics, stop.clone()).await.unwrap();
        let url = format!("http://{}", query.http_addr());
        let client = client().build().unwrap();
        Self { url, client, acme, globex, auditor, admin, query, stop, served, _folder: folder }
    }

    fn post(&self, path: &str, body: impl Into<String>) -> RequestBuilder {
        self.client.post(format!("{}{path}", self.url)).body(body.into()).bearer_auth(&self.acme)
    }

    async fn sql(&self, sql: &str) -> (StatusCode, Value) {
        let response = self.post("/api/v1/sql", sql).send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }
}

#[tokio::test]
async fn an_answer_has_columns_rows_and_the_id_of_its_record() {
    let mut server = Server::start(Config::default()).await;
    let sql = "SELECT tenant, count, time, 0.5 AS half, true AS yes, NULL AS none, 'NaN'::double AS nan, \
        [1, 2] AS list, named_struct('a', 1, 'b', 'x') AS record, CAST(1.25 AS DECIMAL(10, 2)) AS price, date FROM losses";
    let response = server.post("/api/v1/sql", sql).send().await.unwrap();
    let id = response.headers()["x-bailiwick-query-id"].to_str().unwrap().to_owned();
    let answer: Value = response.json().await.unwrap();
    assert_eq!(answer["query_id"], id.as_str());
    assert_eq!(answer["truncated"], false);
    let expected = json!([[
        "acme", 9_007_199_254_740_993i64, "2026-11-24T12:00:00.000000Z", 0.5, true, null, null,
        [1, 2], { "a": 1, "b": "x" }, 1.25, "2026-11-24"
    ]]);
    assert_eq!(answer["rows"], expected);
    let types: Vec<&str> =
        answer["columns"].as_array().unwrap().iter().map(|column| column["type"].as_str().unwrap()).collect();
    assert_eq!(
        types,
        [
            "text",
            "bigint",
            "timestamp with time zone",
            "double precision",
            "boolean",
            "unknown",
            "double precision",
            "bigint[]",
            "record",
            "numeric",
            "date"
        ]
    );
    assert_eq!(server.served.record().await["query_id"], id);
}

#[tokio::test]
async fn csv_is_what_spreadsheets_read() {
    let server = Server::start(Config::default()).await;
    let sql = "SELECT reason, count, NULL AS none, [1, 2] AS list, time FROM losses";
    let by_parameter = server.post("/api/v1/sql?format=csv", sql).send().await.unwrap();
    assert!(by_parameter.headers()["content-type"].to_str().unwrap().starts_with("text/csv"));
    let by_parameter = by_parameter.text().await.unwrap();
    assert_eq!(
        by_parameter,
        "reason,count,none,list,time\n\"say \"\"why\"\", not\nhow\",9007199254740993,,\"[1,2]\",2026-11-24T12:00:00.000000Z\n"
    );
    let by_header = server.post("/api/v1/sql", sql).header("accept", "text/csv").send().await.unwrap();
    assert_eq!(by_header.text().await.unwrap(), by_parameter);
    let empty = "SELECT '' AS a, NULL AS b, ',' AS c UNION ALL SELECT NULL, '', 'd'' \r' ORDER BY c";
    let empty = server.post("/api/v1/sql?format=csv", empty).send().await.unwrap();
    assert_eq!(empty.text().await.unwrap(), "a,b,c\n\"\",,\",\"\n,\"\",\"d' \r\"\n");
    let none =
        server.post("/api/v1/sql?format=csv", "SELECT count FROM losses WHERE false").send().await.unwrap();
    assert_eq!(none.text().await.unwrap(), "count\n");
}

#[tokio::test]
async fn json_requests_carry_parameters() {
    let server = Server::start(Config::default()).await;
    let body = json!({ "sql": "SELECT $1 + 1 AS a, $2 AS b", "params": [41, "x"] }).to_string();
    let request = server.post("/api/v1/sql", body).header("content-type", "application/json");
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["rows"], json!([[42, "x"]]));
    for body in [
        "{",
        "{\"sql\": 1}",
        "{\"sql\": \"SELECT 1\", \"limits\": 3}",
        "{\"sql\": \"SELECT 1\", \"limit\": -3}",
        "{\"sql\": \"SELECT 1\", \"timeout_ms\": 0}",
        "{\"sql\": \"SELECT $1\", \"params\": [[1]]}",
        "{\"sql\": \"SELECT $1\", \"params\": [1, 2]}",
        "{\"sql\": \"SELECT 1\", \"timeout_ms\": 9223372036854775808}",
        "{\"sql\": \"SELECT 1\", \"timeout_ms\": 99999999999999999999}",
        "[]",
        "[\"SELECT 1\", [], null, null, null]",
        "",
    ] {
        let request = server.post("/api/v1/sql", body).header("content-type", "application/json");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 400, "{body}");
        let error = response.json::<Value>().await.unwrap()["error"].clone();
        assert_eq!(error["code"], "bad_request", "{body}");
        assert!(!error["message"].as_str().unwrap().contains("struct"), "{error}");
    }
}

#[tokio::test]
async fn intervals_and_bytes_are_parameters() {
    let server = Server::start(Config::default()).await;
    let body = json!({
        "sql": "SELECT CAST(to_timestamp(0) + CAST($1 AS interval) AS date) AS a, $2 = decode('00ff', 'hex') AS b",
        "params": [{ "type": "interval", "value": "3 days" }, { "type": "bytea", "value": "\\x00ff" }]
    });
    let request = server.post("/api/v1/sql", body.to_string()).header("content-type", "application/json");
    let answer: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["rows"], json!([["1970-01-04", true]]), "{answer}");
}

/// Goal: a wrong pattern is told to whoever wrote it, wherever the engine finds it.
#[tokio::test]
async fn a_wrong_pattern_is_the_statements_fault() {
    let server = Server::start(Config::default()).await;
    for condition in [
        "reason ~ '(['",
        "reason !~* '(['",
        "reason ~ concat(reason, '([')",
        "regexp_like(reason, '([')",
        "regexp_like('a', '([')",
        "regexp_replace(reason, '([', '') = ''",
        "regexp_replace(reason, concat(reason, '(['), '') = ''",
        "regexp_count(reason, '([') = 1",
        "regexp_match(reason, '([') IS NULL",
        "reason SIMILAR TO '(['",
    ] {
        let (status, answer) = server.sql(&format!("SELECT count(*) FROM losses WHERE {condition}")).await;
        let message = answer["error"]["message"].as_str().unwrap_or_default();
        assert_eq!(
            (status.as_u16(), &answer["error"]["code"]),
            (400, &json!("execution_failed")),
            "{answer}"
        );
        assert!(message.starts_with("invalid regular expression"), "{condition}: {message}");
        // A pattern of several lines is not shown.
        assert!(message.contains("([") || condition.contains("concat"), "{condition}: {message}");
    }
}

#[tokio::test]
async fn formats_of_explain_that_there_are_not_are_told() {
    let server = Server::start(Config::default()).await;
    let explain = async |format: &str| {
        let sql = format!("EXPLAIN (FORMAT {format}) SELECT 1");
        let request = server.client.post(format!("{}/api/v1/sql", server.url)).body(sql);
        let response = request.bearer_auth(&server.auditor).send().await.unwrap();
        (response.status().as_u16(), response.json::<Value>().await.unwrap())
    };
    let (status, answer) = explain("JSON").await;
    assert_eq!((status, &answer["error"]["code"]), (400, &json!("not_supported")));
    let told = answer["error"]["message"].as_str().unwrap();
    for format in ["indent", "tree", "pgjson", "graphviz"] {
        assert!(told.contains(format), "{told}");
        assert_eq!(explain(format).await.0, 200, "{format}");
    }
}

#[tokio::test]
async fn without_a_valid_token_nothing_is_answered() {
    let server = Server::start(Config::default()).await;
    for path in ["/api/v1/sql", "/api/v1/reports/chargeback"] {
        let open = server.client.post(format!("{}{path}", server.url)).body("SELECT 1");
        let wrong = format!("{}0", server.acme);
        for request in [
            open.try_clone().unwrap(),
            open.try_clone().unwrap().bearer_auth(wrong),
            open.basic_auth("anna", Some(&server.acme)),
        ] {
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 401, "{path}");
            assert!(response.headers().contains_key("www-authenticate"));
            assert_eq!(response.json::<Value>().await.unwrap()["error"]["code"], "unauthenticated");
        }
    }
}

/// Goal: whoever has logged in keeps the connection, whatever strangers do, and
/// strangers do not keep each other out. Method: one connection with a token, then
/// more silent ones than there are places.
#[tokio::test]
async fn strangers_go_and_who_has_logged_in_stays() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = Server::start(Config { max_connections: 4, ..Config::default() }).await;
    let connect = async || tokio::net::TcpStream::connect(server.query.http_addr()).await.unwrap();
    let mut known = connect().await;
    let path = "/api/v1/queries";
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n", server.acme);
    let mut asked = async || {
        known.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 15];
        known.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        // The rest is short and comes with it; what is read later must not be it.
        tokio::time::sleep(Duration::from_millis(100)).await;
        let _ = known.try_read(&mut [0; 4096]);
    };
    asked().await;
    let mut silent = Vec::new();
    for _ in 0..6 {
        silent.push(connect().await);
        // Each is safe for a second.
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    let ready = async || server.client.get(format!("{}/readyz", server.url)).send().await;
    while ready().await.is_err() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    asked().await;
}

#[tokio::test]
async fn errors_have_a_status_a_code_and_the_id_of_their_record() {
    let server = Server::start(Config { query_timeout_ms: 300, ..Config::default() }).await;
    for (sql, status, code) in [
        ("SELEC 1", 400, "syntax"),
        ("SELECT nope FROM losses", 400, "invalid_query"),
        ("SELECT 1 / (count - count) FROM losses", 400, "execution_failed"),
        ("DROP TABLE losses", 403, "not_allowed"),
        ("SELECT count(*) FROM generate_series(1, 9000000000000) a WHERE sqrt(a.value) < 0", 408, "timeout"),
    ] {
        let (found, answer) = server.sql(sql).await;
        assert_eq!(
            (found.as_u16(), answer["error"]["code"].as_str()),
            (status, Some(code)),
            "{sql}: {answer}"
        );
        assert_eq!(answer["error"]["query_id"].as_str().map(str::len), Some(32), "{sql}");
    }
    let unknown = server.client.get(format!("{}/api/v2", server.url)).send().await.unwrap();
    assert_eq!(unknown.status(), 404);
    let format = server.post("/api/v1/sql?format=xml", "SELECT 1").send().await.unwrap();
    assert_eq!(format.status(), 400);
}

/// Goal: a part is never taken for the whole. Method: a query that fails after
/// many rows; the transfer itself must fail, in every format.
#[tokio::test]
async fn a_failure_after_the_first_rows_breaks_the_answer_off() {
    let mut server = Server::start(Config::default()).await;
    let sql = "SELECT 1 / (value - 500000) FROM generate_series(1, 1000000)";
    for format in ["json", "ndjson", "csv", "arrow", "parquet"] {
        let response = server.post(&format!("/api/v1/sql?format={format}"), sql).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(response.bytes().await.is_err(), "{format}");
        assert_eq!(server.served.record().await["outcome"], "failed");
    }
}

#[tokio::test]
async fn an_answer_that_was_cut_says_so() {
    let server = Server::start(Config { max_rows: 3, ..Config::default() }).await;
    let (_, answer) = server.sql("SELECT * FROM generate_series(1, 10)").await;
    assert_eq!((answer["rows"].as_array().unwrap().len(), &answer["truncated"]), (3, &json!(true)));
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_query() {
    let mut server = Server::start(Config::default()).await;
    let response =
        server.post("/api/v1/sql", "SELECT * FROM generate_series(1, 900000000)").send().await.unwrap();
    drop(response);
    assert_eq!(server.served.record().await["outcome"], "cancelled");
}

#[tokio::test]
async fn a_body_has_a_limit() {
    let server = Server::start(Config { max_sql_bytes: 1_000, ..Config::default() }).await;
    let response = server.post("/api/v1/sql", "x".repeat(2 << 20)).send().await.unwrap();
    assert_eq!(response.status(), 413);
}

#[tokio::test]
async fn the_report_takes_prices_and_shows_ones_own_rows() {
    let server = Server::start(Config::default()).await;
    let from_to = r#""from": "2026-11-24T00:00:00Z", "to": "2026-11-25T00:00:00Z""#;
    let report =
        |prices: &str| server.post("/api/v1/reports/chargeback", format!("{{{from_to}{prices}}}")).send();
    let built_in: Value = report("").await.unwrap().json().await.unwrap();
    assert_eq!(
        (&built_in["currency"], &built_in["prices"], &built_in["rows"]),
        (&json!("USD"), &json!("built-in"), &json!([]))
    );
    let yaml = r#", "prices": "currency: EUR\nprices:\n  - {from: 2026-01-01, cpu_core_hour: 1, memory_gib_hour: 1}""#;
    assert_eq!(report(yaml).await.unwrap().json::<Value>().await.unwrap()["currency"], "EUR");
    let object = r#", "prices": {"currency": "CHF", "prices": [{"from": "2026-01-01", "cpu_core_hour": 0.1, "memory_gib_hour": 1}]}"#;
    assert_eq!(report(object).await.unwrap().json::<Value>().await.unwrap()["currency"], "CHF");
    let wrong = report(r#", "prices": "currency: EUR\nprices:\n  - {from: 2026-01-01, cpu_core_hour: x, memory_gib_hour: 1}""#).await.unwrap();
    assert_eq!(wrong.status(), 400);
    let message = wrong.json::<Value>().await.unwrap()["error"]["message"].to_string();
    assert!(message.contains("request:3") && message.contains("cpu_core_hour"), "{message}");
}

#[tokio::test]
async fn health_and_metrics_are_open_on_loopback() {
    let server = Server::start(Config::default()).await;
    for (path, text) in [("/healthz", "ok\n"), ("/readyz", "ready\n"), ("/metrics", "metrics of a test\n")] {
        let response = server.client.get(format!("{}{path}", server.url)).send().await.unwrap();
        assert_eq!((response.status().as_u16(), response.text().await.unwrap().as_str()), (200, text));
    }
}

#[tokio::test]
async fn stopping_ends_answers_that_are_under_way() {
    let Server { query, stop, acme, url, client, mut served, _folder, .. } =
        Server::start(Config::default()).await;
    let request = client
        .post(format!("{url}/api/v1/sql"))
        .bearer_auth(acme)
        .body("SELECT * FROM generate_series(1, 900000000)");
    let response = request.send().await.unwrap();
    stop.cancel();
    query.join().await.unwrap();
    assert!(response.bytes().await.is_err());
    assert_eq!(served.record().await["outcome"], "cancelled");
    assert_eq!(Arc::strong_count(&served.engine), 1, "a connection outlives the server");
}

#[tokio::test]
async fn with_a_certificate_it_speaks_tls_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    std::fs::write(&cert, CERT).unwrap();
    std::fs::write(&key, KEY).unwrap();
    let config = Config { tls_cert_file: Some(cert.clone()), tls_key_file: Some(key), ..Config::default() };
    let server = Server::start(config).await;
    let trusting = client().tls_certs_only([reqwest::Certificate::from_pem(CERT.as_bytes()).unwrap()]);
    let addr = server.query.http_addr();
    let trusting = trusting.resolve("localhost", addr).build().unwrap();
    let url = format!("https://localhost:{}/api/v1/sql", addr.port());
    let response = trusting.post(url).bearer_auth(&server.acme).body("SELECT 1").send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(server.post("/api/v1/sql", "SELECT 1").send().await.is_err(), "clear text was answered");

    let broken = Config { tls_cert_file: Some(cert.clone()), tls_key_file: Some(cert), ..Config::default() };
    let error = crate::tls::Tls::open(&broken).err().unwrap().to_string();
    assert!(error.contains("query.tls_key_file"), "{error}");
}
