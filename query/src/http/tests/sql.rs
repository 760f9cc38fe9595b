//! Formats, parameters, limits and cancelling of `/api/v1/sql`.

use std::process::Command;

use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::arrow::util::pretty::pretty_format_batches;
use reqwest::Response;

use super::*;

/// Every column type that an answer may have.
const ALL_TYPES: &str = "SELECT count, 'x' AS text, CAST(7 AS SMALLINT) AS small, CAST(7 AS INT) AS middle, \
    0.5::double AS half, 0.5::real AS quarter, true AS yes, NULL AS none, time, date, [1, 2] AS list, \
    named_struct('a', 1, 'b', 'y') AS record, [named_struct('a', 1)] AS records, \
    CAST(1.25 AS DECIMAL(10, 2)) AS price, x'00ff' AS bytes, row_number() OVER () AS place, \
    INTERVAL '1 hour' AS span, arrow_cast('d', 'Dictionary(Int32, Utf8)') AS word, \
    arrow_cast(3, 'UInt8') AS tiny FROM losses";

impl Server {
    async fn asked(&self, path: &str, body: Value) -> Response {
        let request = self.post(path, body.to_string()).header("content-type", "application/json");
        request.send().await.unwrap()
    }

    /// The rows of a JSON answer.
    async fn rows(&self, body: Value) -> Value {
        let response = self.asked("/api/v1/sql", body.clone()).await;
        let answer: Value = response.json().await.unwrap();
        assert!(answer.get("rows").is_some(), "{body}: {answer}");
        answer["rows"].clone()
    }
}

#[tokio::test]
async fn ndjson_has_a_line_a_row() {
    let server = Server::start(Config::default()).await;
    let sql = "SELECT reason AS \"why \"\"so\"\"\", count, NULL AS none, [1] AS list FROM losses";
    let response = server.post("/api/v1/sql?format=ndjson", sql).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let text = response.text().await.unwrap();
    let expected = json!({ "why \"so\"": "say \"why\", not\nhow", "count": 9_007_199_254_740_993i64, "none": null, "list": [1] });
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines, [expected]);
    assert!(text.ends_with("}\n"));
    let none = server.post("/api/v1/sql?format=ndjson", "SELECT count FROM losses WHERE false");
    assert_eq!(none.send().await.unwrap().text().await.unwrap(), "");
}

/// Goal: formats that carry types carry the same rows, in types that every reader
/// knows. Method: read the answers with Arrow's and Parquet's own readers.
#[tokio::test]
async fn arrow_and_parquet_have_the_rows_in_plain_types() {
    let server = Server::start(Config::default()).await;
    let get = async |format: &str| {
        let response = server.post(&format!("/api/v1/sql?format={format}"), ALL_TYPES).send().await.unwrap();
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
        let id = response.headers()["x-bailiwick-query-id"].to_str().unwrap().to_owned();
        (id, response.bytes().await.unwrap())
    };
    let (_, stream) = get("arrow").await;
    let stream = arrow_ipc::reader::StreamReader::try_new(&stream[..], None).unwrap();
    let of_stream: Vec<_> = stream.map(Result::unwrap).collect();
    let (id, file) = get("parquet").await;
    let file = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let notes = file.metadata().file_metadata().key_value_metadata().cloned().unwrap();
    let note = |key: &str| notes.iter().find(|note| note.key == key).and_then(|note| note.value.clone());
    assert_eq!(note("bailiwick.query_id"), Some(id));
    assert_eq!(note("bailiwick.truncated").as_deref(), Some("false"));
    let of_file: Vec<_> = file.build().unwrap().map(Result::unwrap).collect();
    let shown = pretty_format_batches(&of_stream).unwrap().to_string();
    assert_eq!(pretty_format_batches(&of_file).unwrap().to_string(), shown);
    let schema = of_stream[0].schema();
    for (name, kind) in [
        ("place", DataType::Int64),
        ("tiny", DataType::Int16),
        ("word", DataType::Utf8),
        ("none", DataType::Utf8),
        ("bytes", DataType::Binary),
        ("price", DataType::Decimal128(10, 2)),
    ] {
        assert_eq!(schema.field_with_name(name).unwrap().data_type(), &kind, "{name}");
    }
    assert_eq!(of_stream[0].column(0).as_primitive::<Int64Type>().value(0), 9_007_199_254_740_993);
}

#[tokio::test]
async fn big_answers_arrive_whole_in_every_format() {
    let server = Server::start(Config::default()).await;
    let sql = "SELECT value AS n, 'row ' || value AS text FROM generate_series(1, 300000)";
    let get = async |format: &str| {
        let response = server.post(&format!("/api/v1/sql?format={format}"), sql).send().await.unwrap();
        response.bytes().await.unwrap()
    };
    assert_eq!(
        serde_json::from_slice::<Value>(&get("json").await).unwrap()["rows"].as_array().unwrap().len(),
        300_000
    );
    assert_eq!(String::from_utf8(get("ndjson").await.to_vec()).unwrap().lines().count(), 300_000);
    assert_eq!(String::from_utf8(get("csv").await.to_vec()).unwrap().lines().count(), 300_001);
    let arrow = get("arrow").await;
    let arrow = arrow_ipc::reader::StreamReader::try_new(&arrow[..], None).unwrap();
    assert_eq!(arrow.map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 300_000);
    let parquet =
        parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(get("parquet").await);
    let parquet = parquet.unwrap();
    assert_eq!(parquet.metadata().num_row_groups(), 3, "row groups go out as they fill");
    assert_eq!(parquet.build().unwrap().map(|batch| batch.unwrap().num_rows()).sum::<usize>(), 300_000);
}

#[tokio::test]
async fn a_format_is_chosen_by_path_body_or_header() {
    let server = Server::start(Config::default()).await;
    let kind = async |path: &str, body: Value, accept: &str| {
        let request = server.post(path, body.to_string()).header("content-type", "application/json");
        let response = request.header("accept", accept).send().await.unwrap();
        (response.status().as_u16(), response.headers()["content-type"].to_str().unwrap().to_owned())
    };
    let one = json!({ "sql": "SELECT 1" });
    let csv = json!({ "sql": "SELECT 1", "format": "csv" });
    let found = kind("/api/v1/sql", one.clone(), "application/x-ndjson;q=0.9, text/html").await;
    assert_eq!(found, (200, "application/x-ndjson".to_owned()));
    assert!(kind("/api/v1/sql", csv.clone(), "application/json").await.1.starts_with("text/csv"));
    let found = kind("/api/v1/sql?format=arrow", csv, "application/json").await;
    assert_eq!(found.1, "application/vnd.apache.arrow.stream");
    assert_eq!(kind("/api/v1/sql", one, "image/png").await, (406, "application/json".to_owned()));
    let odd = server.post("/api/v1/sql?fromat=csv", "SELECT 1").send().await.unwrap();
    assert_eq!(odd.status(), 400, "a slip of the pen is ignored");
}

#[tokio::test]
async fn parameters_have_numbers_or_names_and_types() {
    let server = Server::start(Config::default()).await;
    let named = json!({
        "sql": "SELECT $low + 1, $text || '!', $time, arrow_typeof($price) FROM losses WHERE count > $low AND time >= $time",
        "params": {
            "low": 5, "$text": "x", "unused": [],
            "time": { "type": "timestamptz", "value": "2026-11-24T13:00:00+01:00" },
            "price": { "type": "numeric", "value": "1.50" },
        },
    });
    let mut without = named.clone();
    without["params"].as_object_mut().unwrap().remove("unused");
    let rows = server.rows(without.clone()).await;
    assert_eq!(rows, json!([[6, "x!", "2026-11-24T12:00:00.000000Z", "Decimal128(38, 2)"]]));
    assert_eq!(server.asked("/api/v1/sql", named).await.status(), 400, "an array needs its type");
    let listed = json!({
        "sql": "SELECT count FROM losses WHERE count = ANY($1) AND reason <> $2",
        "params": [{ "type": "bigint[]", "value": ["9007199254740993", 4] }, "other"],
    });
    assert_eq!(server.rows(listed).await, json!([[9_007_199_254_740_993i64]]));
    for (params, part) in [
        (json!([]), "no value came for the parameter $low"),
        (json!({}), "no value came for the parameter $low"),
        (json!({ "low": 1 }), "no value came for the parameter $price"),
    ] {
        without["params"] = params;
        let response = server.asked("/api/v1/sql", without.clone()).await;
        assert_eq!(response.status(), 400);
        let answer: Value = response.json().await.unwrap();
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(part), "{message}");
    }
}

#[tokio::test]
async fn a_request_may_want_less_than_the_server_allows() {
    let server = Server::start(Config { max_rows: 5, query_timeout_ms: 60_000, ..Config::default() }).await;
    let series = |rows: u64| format!("SELECT value FROM generate_series(1, {rows}) ORDER BY value");
    for (path, rows, expected, truncated) in [
        ("/api/v1/sql?limit=2", 10, 2, true),
        ("/api/v1/sql?limit=2", 2, 2, false),
        ("/api/v1/sql?limit=0", 2, 0, true),
        ("/api/v1/sql?limit=100", 10, 5, true),
        ("/api/v1/sql?limit=100", 5, 5, false),
    ] {
        let answer: Value = server.post(path, series(rows)).send().await.unwrap().json().await.unwrap();
        let found = (answer["rows"].as_array().unwrap().len(), &answer["truncated"]);
        assert_eq!(found, (expected, &json!(truncated)), "{path} of {rows}");
    }
    for (path, last) in [("&limit=2", r#"{"value":2}"#), ("&limit=100", r#"{"truncated":true}"#)] {
        let path = format!("/api/v1/sql?format=ndjson{path}");
        let text = server.post(&path, series(10)).send().await.unwrap().text().await.unwrap();
        assert_eq!(text.lines().last(), Some(last), "only what the client did not want is told in its rows");
    }
    let body = json!({ "sql": "SELECT count(*) FROM generate_series(1, 9000000000000) a WHERE sqrt(a.value) < 0", "timeout_ms": 100 });
    let response = server.asked("/api/v1/sql", body).await;
    assert_eq!(response.status(), 408);
    let message = response.json::<Value>().await.unwrap()["error"]["message"].to_string();
    assert!(message.contains("100 ms; its request allows no more"), "{message}");
    // What is no rows of a table can be limited too.
    let shown = server.post("/api/v1/sql?limit=1", "DESCRIBE losses").send().await.unwrap();
    assert_eq!(shown.json::<Value>().await.unwrap()["rows"].as_array().unwrap().len(), 1);
}

/// Goal: what is under way is seen and cancelled by those alone whose business it is.
#[tokio::test]
async fn queries_under_way_are_ones_own() {
    let mut server = Server::start(Config::default()).await;
    let endless = "SELECT * FROM generate_series(1, 9000000000)";
    let response = server.post("/api/v1/sql?format=ndjson", endless).send().await.unwrap();
    let id = response.headers()["x-bailiwick-query-id"].to_str().unwrap().to_owned();
    let ids = async |token: &str| {
        let list = server.client.get(format!("{}/api/v1/queries", server.url)).bearer_auth(token);
        let list: Value = list.send().await.unwrap().json().await.unwrap();
        list["queries"].as_array().unwrap().clone()
    };
    let cancel = async |token: &str, id: &str| {
        let request = server.client.delete(format!("{}/api/v1/queries/{id}", server.url)).bearer_auth(token);
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    let own = ids(&server.acme).await;
    assert_eq!(own.len(), 1);
    assert_eq!((&own[0]["query_id"], &own[0]["sql"]), (&json!(id), &json!(endless)));
    assert_eq!((&own[0]["principal"], &own[0]["endpoint"]), (&json!("anna"), &json!("http")));
    assert_eq!(ids(&server.globex).await, Vec::<Value>::new());
    assert_eq!(ids(&server.auditor).await.len(), 1);
    assert_eq!(ids(&server.admin).await.len(), 1);

    let unknown = cancel(&server.globex, "00000000000000000000000000000000").await;
    assert_eq!(unknown.0, 404);
    assert_eq!(cancel(&server.globex, &id).await, unknown, "it tells that the query exists");
    assert_eq!(cancel(&server.auditor, &id).await, unknown);
    assert_eq!(cancel(&server.acme, "%00..%2f").await, unknown);
    assert_eq!(cancel("bwk_nobody_nothing", &id).await.0, 401);
    assert_eq!(cancel(&server.acme, &id).await, (204, String::new()));
    assert!(response.bytes().await.is_err(), "the answer went on");
    assert_eq!(ids(&server.admin).await, Vec::<Value>::new());
    let record = server.served.record().await;
    assert_eq!((&record["outcome"], &record["query_id"]), (&"cancelled".to_owned(), &id));

    let response = server.post("/api/v1/sql?format=csv", endless).send().await.unwrap();
    let id = response.headers()["x-bailiwick-query-id"].to_str().unwrap().to_owned();
    let request =
        server.client.delete(format!("{}/api/v1/queries/{id}", server.url)).bearer_auth(&server.admin);
    assert_eq!(request.send().await.unwrap().status(), 204);
    assert!(response.bytes().await.is_err());
}

/// Goal: answers are compressed as the client can read them, failures included.
/// Method: curl, which also must end with an error where an answer breaks off.
#[tokio::test]
async fn curl_reads_compressed_answers_and_sees_failures() {
    let server = Server::start(Config::default()).await;
    if Command::new("curl").arg("--version").output().is_err() {
        assert!(std::env::var_os("BAILIWICK_REQUIRE_CLIENTS").is_none(), "curl is needed");
        eprintln!("skipped: no curl");
        return;
    }
    let curl = async |path: &str, accept: &str, sql: &str| {
        let url = format!("{}{path}", server.url);
        let (token, accept) =
            (format!("authorization: Bearer {}", server.acme), format!("accept-encoding: {accept}"));
        let args = [
            url.as_str(),
            "-s",
            "--http1.1",
            "-D",
            "-",
            "-H",
            token.as_str(),
            "-H",
            accept.as_str(),
            "--data-binary",
            sql,
        ]
        .map(str::to_owned);
        let output = tokio::task::spawn_blocking(move || Command::new("curl").args(args).output().unwrap());
        let output = output.await.unwrap();
        let split = output.stdout.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
        let (head, body) = output.stdout.split_at(split);
        (output.status.code(), String::from_utf8(head.to_vec()).unwrap().to_lowercase(), body.to_vec())
    };
    let many = "SELECT value FROM generate_series(1, 100000)";
    let (_, _, plain) = curl("/api/v1/sql?format=csv", "identity", many).await;
    for (encoding, magic) in [("gzip", &[0x1f, 0x8b][..]), ("zstd", &[0x28, 0xb5, 0x2f, 0xfd][..])] {
        let (code, head, body) = curl("/api/v1/sql?format=csv", encoding, many).await;
        assert_eq!(code, Some(0));
        assert!(head.contains(&format!("content-encoding: {encoding}")), "{head}");
        assert!(body.starts_with(magic) && body.len() < plain.len() / 2, "{encoding}: {}", body.len());
    }
    let (_, head, _) = curl("/api/v1/sql?format=parquet", "gzip, zstd", many).await;
    assert!(!head.contains("content-encoding"), "Parquet is compressed by itself: {head}");

    let breaks = "SELECT 1 / (value - 500000) FROM generate_series(1, 1000000)";
    for (path, encoding) in
        [("json", "identity"), ("ndjson", "identity"), ("csv", "gzip"), ("parquet", "zstd")]
    {
        let (code, head, body) = curl(&format!("/api/v1/sql?format={path}"), encoding, breaks).await;
        assert!(head.starts_with("http/1.1 200"), "{head}");
        assert_ne!(code, Some(0), "{path}: curl takes a part for the whole");
        if path == "ndjson" {
            let text = String::from_utf8(body).unwrap();
            let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
            assert_eq!(last["error"]["code"], "execution_failed");
            assert_eq!(last["error"]["query_id"].as_str().map(str::len), Some(32));
        }
    }
}

/// Goal: clients that read what follows a body are told how many rows it has.
#[tokio::test]
async fn after_the_body_comes_whether_it_is_whole() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let server = Server::start(Config { max_rows: 5, ..Config::default() }).await;
    let sql = "SELECT * FROM generate_series(1, 10)";
    let mut socket = tokio::net::TcpStream::connect(server.query.http_addr()).await.unwrap();
    let request = format!(
        "POST /api/v1/sql?format=csv HTTP/1.1\r\nhost: x\r\nte: trailers\r\nconnection: close\r\n\
         authorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{sql}",
        server.acme,
        sql.len()
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    let trailers = answer.rsplit_once("\r\n0\r\n").unwrap().1;
    assert!(trailers.contains("x-bailiwick-rows: 5\r\n"), "{answer}");
    assert!(trailers.contains("x-bailiwick-truncated: true\r\n"), "{answer}");
}

#[tokio::test]
async fn plans_are_shown_as_far_as_the_role_may_see_them() {
    let server = Server::start(Config::default()).await;
    for (token, status) in [(&server.acme, 403), (&server.auditor, 200), (&server.admin, 200)] {
        for sql in ["EXPLAIN SELECT count FROM losses", "EXPLAIN ANALYZE SELECT count FROM losses"] {
            let request = server.client.post(format!("{}/api/v1/sql?limit=3", server.url)).bearer_auth(token);
            assert_eq!(request.body(sql).send().await.unwrap().status(), status, "{sql}");
        }
    }
}

/// Goal: a client that stops reading holds no place for longer than a query may take.
#[tokio::test]
async fn a_client_that_does_not_read_gives_its_place_back() {
    use tokio::io::AsyncWriteExt;
    let config = Config { max_concurrent: 1, max_queued: 4, query_timeout_ms: 1_000, ..Config::default() };
    let server = Server::start(config).await;
    let sql = "SELECT repeat FROM (SELECT 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' AS repeat FROM generate_series(1, 900000000))";
    let mut socket = tokio::net::TcpStream::connect(server.query.http_addr()).await.unwrap();
    let request = format!(
        "POST /api/v1/sql HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\n\r\n{sql}",
        server.acme,
        sql.len()
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    while server.served.engine.under_way(&Principal::operator()).is_empty() {
        tokio::task::yield_now().await;
    }
    let mut last = StatusCode::OK;
    for _ in 0..20 {
        last = server.post("/api/v1/sql", "SELECT 1").send().await.unwrap().status();
        if last == 200 {
            break;
        }
    }
    assert_eq!(last, 200, "the place is never free again");
    drop(socket);
}
