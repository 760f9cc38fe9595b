//! The API's description is what the API does.

use std::collections::{BTreeMap, BTreeSet};

use axum::body::Body;
use tower::ServiceExt;

use super::*;
use crate::report::ServerPrices;

/// A query without a first row.
const ENDLESS: &str = "SELECT count(*) FROM generate_series(1, 9000000000000) a WHERE sqrt(a.value) < 0";

/// What is described: path, method, status.
fn described() -> BTreeSet<(String, String, String)> {
    let description: Value = serde_json::from_str(OPENAPI).unwrap();
    let mut found = BTreeSet::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            for status in operation["responses"].as_object().unwrap().keys() {
                found.insert((path.clone(), method.to_uppercase(), status.clone()));
            }
        }
    }
    found
}

#[tokio::test]
async fn it_is_served_and_is_openapi() {
    let server = Server::start(Config::default()).await;
    let response = server.client.get(format!("{}/api/v1/openapi.json", server.url)).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/json");
    let description: Value = response.json().await.unwrap();
    assert_eq!(description["openapi"], "3.1.0");
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(list) => list.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    references(&description, &mut found);
    assert!(found.len() > 20);
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(description.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    let codes =
        &description["components"]["schemas"]["Error"]["properties"]["error"]["properties"]["code"]["enum"];
    assert!(codes.as_array().unwrap().contains(&json!("too_busy")));
}

/// Goal: every route and method that there is, is described, and none else.
#[tokio::test]
async fn every_route_is_described() {
    let server = Server::start(Config::default()).await;
    let routes: BTreeSet<String> =
        api().into_iter().chain(operations()).map(|(path, _)| path.to_owned()).collect();
    let methods: BTreeSet<_> = described().into_iter().map(|(path, method, _)| (path, method)).collect();
    assert_eq!(routes, methods.iter().map(|(path, _)| path.clone()).collect());
    for path in &routes {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            let url = format!("{}{}", server.url, path.replace("{id}", "x"));
            let request = server.client.request(method.parse().unwrap(), url).bearer_auth(&server.acme);
            let response = request.send().await.unwrap();
            let known = methods.contains(&(path.clone(), method.to_owned()));
            assert_eq!(response.status() != 405, known, "{method} {path}");
            if !known {
                assert!(response.headers().contains_key("allow"), "{method} {path}");
                assert_eq!(response.json::<Value>().await.unwrap()["error"]["code"], "bad_request");
            }
        }
    }
}

/// One request that is answered with a described status.
struct Case {
    path: &'static str,
    method: &'static str,
    status: u16,
    token: Option<&'static str>,
    body: String,
    accept: &'static str,
    encoding: &'static str,
}

fn case(path: &'static str, method: &'static str, status: u16, body: &str) -> Case {
    Case {
        path,
        method,
        status,
        token: Some("anna"),
        body: body.to_owned(),
        accept: "*/*",
        encoding: "identity",
    }
}

fn cases() -> Vec<Case> {
    let (sql, queries, query) = ("/api/v1/sql", "/api/v1/queries", "/api/v1/queries/{id}");
    let (report, rules) = ("/api/v1/reports/chargeback", "/api/v1/rules/test");
    let period = r#"{"from": "2026-11-24T00:00:00Z", "to": "2026-11-25T00:00:00Z"}"#;
    let large = "x".repeat(2 << 20);
    let nobody = |mut case: Case| {
        case.token = None;
        case
    };
    let packed = |path| Case { encoding: "gzip", ..case(path, "POST", 415, "") };
    vec![
        packed(sql),
        packed(report),
        packed(rules),
        case(sql, "POST", 200, "SELECT 1"),
        case(sql, "POST", 400, "SELEC 1"),
        nobody(case(sql, "POST", 401, "SELECT 1")),
        case(sql, "POST", 403, "DROP TABLE losses"),
        Case { accept: "image/png", ..case(sql, "POST", 406, "SELECT 1") },
        case(sql, "POST", 408, ENDLESS),
        case(sql, "POST", 413, &large),
        case(queries, "GET", 200, ""),
        nobody(case(queries, "GET", 401, "")),
        nobody(case(query, "DELETE", 401, "")),
        case(query, "DELETE", 404, ""),
        case(report, "POST", 200, period),
        case(report, "POST", 400, "{}"),
        nobody(case(report, "POST", 401, period)),
        case(report, "POST", 413, &large),
        case(rules, "POST", 200, period),
        case(rules, "POST", 400, "{}"),
        nobody(case(rules, "POST", 401, period)),
        case(rules, "POST", 413, &large),
        nobody(case("/api/v1/openapi.json", "GET", 200, "")),
        nobody(case("/metrics", "GET", 200, "")),
        nobody(case("/healthz", "GET", 200, "")),
        nobody(case("/readyz", "GET", 200, "")),
    ]
}

/// The described media types of a status; empty where it has no body.
fn media_types(case: &Case) -> BTreeSet<String> {
    let description: Value = serde_json::from_str(OPENAPI).unwrap();
    let method = case.method.to_lowercase();
    let mut response = description["paths"][case.path][method]["responses"][case.status.to_string()].clone();
    if let Some(reference) = response["$ref"].as_str() {
        response = description.pointer(&reference[1..]).unwrap().clone();
    }
    response["content"].as_object().map(|content| content.keys().cloned().collect()).unwrap_or_default()
}

/// Goal: every status that is described can be had, and comes as described. Method:
/// a request for each; a status that no request below produces fails the test.
#[tokio::test]
async fn every_described_status_can_be_had() {
    let config = Config { max_sql_bytes: 10_000, ..Config::default() };
    let server = Server::start(config).await;
    let mut left = described();
    left.retain(|(_, _, status)| status != "default");
    for case in cases() {
        let patience = if case.status == 408 { "?timeout_ms=100" } else { "" };
        let url = format!("{}{}{patience}", server.url, case.path.replace("{id}", "x"));
        let mut request =
            server.client.request(case.method.parse().unwrap(), url).header("accept", case.accept);
        request = request.header("content-encoding", case.encoding);
        if case.token.is_some() {
            request = request.bearer_auth(&server.acme);
        }
        let response = request.body(case.body.clone()).send().await.unwrap();
        assert_eq!(response.status(), case.status, "{} {}", case.method, case.path);
        let kind = response.headers()["content-type"].to_str().unwrap().split(';').next().unwrap().to_owned();
        assert!(media_types(&case).contains(&kind), "{} {} {}: {kind}", case.method, case.path, case.status);
        if case.status >= 400 {
            let text = response.text().await.unwrap();
            assert!(text.ends_with('\n'), "a terminal's prompt would stand behind {text}");
            assert!(serde_json::from_str::<Value>(&text).unwrap()["error"]["message"].is_string());
        }
        left.remove(&(case.path.to_owned(), case.method.to_owned(), case.status.to_string()));
    }
    cancelled(&mut left).await;
    busy(&mut left).await;
    from_elsewhere(&server, &mut left).await;
    assert!(left.is_empty(), "described and not had: {left:?}");
}

fn had(left: &mut BTreeSet<(String, String, String)>, path: &str, method: &str, status: StatusCode) {
    let removed = left.remove(&(path.to_owned(), method.to_owned(), status.as_u16().to_string()));
    assert!(removed, "{method} {path} {status} is not described, or was had before");
}

/// A query that is cancelled before its first row: 204 for who cancels, 503 for who asked.
async fn cancelled(left: &mut BTreeSet<(String, String, String)>) {
    let server = Server::start(Config::default()).await;
    let asking = server.post("/api/v1/sql", ENDLESS).send();
    let cancelling = async {
        loop {
            let list = server.client.get(format!("{}/api/v1/queries", server.url)).bearer_auth(&server.acme);
            let list: Value = list.send().await.unwrap().json().await.unwrap();
            if let Some(id) = list["queries"][0]["query_id"].as_str() {
                let url = format!("{}/api/v1/queries/{id}", server.url);
                break server.client.delete(url).bearer_auth(&server.acme).send().await.unwrap();
            }
            tokio::task::yield_now().await;
        }
    };
    let (asked, cancelled) = tokio::join!(asking, cancelling);
    had(left, "/api/v1/queries/{id}", "DELETE", cancelled.status());
    had(left, "/api/v1/sql", "POST", asked.unwrap().status());
}

/// One place, nobody may wait: 429 with when to ask again.
async fn busy(left: &mut BTreeSet<(String, String, String)>) {
    let server = Server::start(Config { max_concurrent: 1, max_queued: 0, ..Config::default() }).await;
    let first =
        server.post("/api/v1/sql", "SELECT * FROM generate_series(1, 9000000000)").send().await.unwrap();
    let second = server.post("/api/v1/sql", "SELECT 1").send().await.unwrap();
    assert!(second.headers().contains_key("retry-after"));
    had(left, "/api/v1/sql", "POST", second.status());
    drop(first);
}

/// Metrics for those who do not come from this machine, and a bucket that does not answer.
async fn from_elsewhere(server: &Server, left: &mut BTreeSet<(String, String, String)>) {
    let metrics: MetricsText = Arc::new(String::new);
    let prices = ServerPrices::open(None).unwrap();
    let ready = Arc::new(Mutex::new(Some((Instant::now(), false))));
    let app = App {
        engine: Arc::clone(&server.served.engine),
        prices,
        metrics_text: metrics,
        stop: server.stop.clone(),
        ready,
    };
    let router = routes(app).unwrap();
    let get = async |path: &str, token: Option<&str>| {
        let mut request = ::http::Request::get(path);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap().status()
    };
    had(left, "/metrics", "GET", get("/metrics", None).await);
    had(left, "/metrics", "GET", get("/metrics", Some(&server.acme)).await);
    assert_eq!(get("/metrics", Some(&server.auditor)).await, 200);
    had(left, "/readyz", "GET", get("/readyz", None).await);
}

/// Goal: the description's codes are the ones that errors have.
#[test]
fn every_code_is_described_with_its_status() {
    let description: Value = serde_json::from_str(OPENAPI).unwrap();
    let codes =
        &description["components"]["schemas"]["Error"]["properties"]["error"]["properties"]["code"]["enum"];
    let described: BTreeSet<&str> =
        codes.as_array().unwrap().iter().map(|code| code.as_str().unwrap()).collect();
    let real: BTreeMap<&str, u16> =
        Code::ALL.iter().map(|code| (code.as_str(), code.http_status().as_u16())).collect();
    assert_eq!(described, real.keys().copied().collect());
    let of_sql = &description["paths"]["/api/v1/sql"]["post"]["responses"];
    for (code, status) in real {
        assert!(
            of_sql.get(status.to_string()).is_some() || status == 500,
            "{code} is answered with {status}"
        );
    }
}
