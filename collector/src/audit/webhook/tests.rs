use std::net::SocketAddr;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::spooled::Spooled;
use super::*;

const CERT: &str = include_str!("tests/test.crt");
const KEY: &str = include_str!("tests/test.key");

fn event(id: usize) -> String {
    format!(r#"{{"kind":"Event","apiVersion":"audit.k8s.io/v1","verb":"get","auditID":"{id}"}}"#)
}

fn list(items: &[String]) -> String {
    format!(
        r#"{{"kind":"EventList","apiVersion":"audit.k8s.io/v1","metadata":{{}},"items":[{}]}}"#,
        items.join(",")
    )
}

fn spooled() -> Spooled {
    let mut spooled = Spooled::new();
    spooled.config.webhook.listen = "127.0.0.1:0".into();
    spooled
}

async fn started(spooled: &Spooled) -> Result<Started, CollectorError> {
    start(&spooled.config, spooled.outlet.clone(), spooled.metrics.clone(), spooled.stop.clone()).await
}

/// One request over a plain connection; the status and the body of the answer.
async fn post(addr: SocketAddr, headers: &str, body: &str) -> (u16, String) {
    post_over(TcpStream::connect(addr).await.unwrap(), headers, body).await
}

async fn post_over(
    stream: impl AsyncReadExt + AsyncWriteExt + Unpin,
    headers: &str,
    body: &str,
) -> (u16, String) {
    post_to("/k8s-audit", stream, headers, body).await
}

async fn post_to(
    path: &str,
    mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin,
    headers: &str,
    body: &str,
) -> (u16, String) {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n{headers}\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // A refused body may not be read to its end.
    drop(stream.write_all(body.as_bytes()).await);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_item_does_not_spoil_its_neighbours() {
    let mut spooled = spooled();
    let addr = started(&spooled).await.unwrap().addr.unwrap();
    let body = list(&[event(1), r#"{"verb":7}"#.to_owned(), event(2)]);
    let (status, answer) = post(addr, "", &body).await;
    assert_eq!(status, 200, "{answer}");
    assert!(answer.contains(r#""accepted":2"#) && answer.contains(r#""item":1"#), "{answer}");
    assert_eq!(spooled.texts(Table::ApiAccess, "audit_id", 2).await, ["1", "2"]);
    let losses = spooled.losses(1).await;
    assert!(losses[0].starts_with("malformed: webhook: items[1]: "), "{losses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_sent_again_is_taken_once() {
    let mut spooled = spooled();
    let addr = started(&spooled).await.unwrap().addr.unwrap();
    let body = list(&[event(1), event(2), event(2)]);
    assert!(post(addr, "", &body).await.1.contains(r#""accepted":2,"repeated":1"#));
    assert!(post(addr, "", &body).await.1.contains(r#""accepted":0,"repeated":3"#));
    // A client may choose the audit id: another request with the same one is another request.
    let hidden = event(1).replace("get", "delete");
    assert!(post(addr, "", &hidden).await.1.contains(r#""accepted":1"#));
    assert_eq!(spooled.texts(Table::ApiAccess, "verb", 3).await, ["get", "get", "delete"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_list_is_refused_and_named() {
    let mut spooled = spooled();
    spooled.config.webhook.max_body_bytes = 2000;
    let addr = started(&spooled).await.unwrap().addr.unwrap();
    for (body, status, told) in [
        ("", 400, "not an EventList"),
        ("[1]", 400, "not an EventList"),
        (r#"{"kind":"Pod"}"#, 400, "kind \\\"Pod\\\""),
        (&list(&["{}".to_owned()]), 400, "none of the fields"),
        (&list(&[]), 200, "\"accepted\":0"),
        (&" ".repeat(3000), 413, ""),
    ] {
        let (found, answer) = post(addr, "", body).await;
        assert_eq!(found, status, "{body}: {answer}");
        assert!(answer.contains(told) || answer.contains(&told.replace('\\', "")), "{body}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_asked_for_where_one_is_configured() {
    let mut spooled = spooled();
    let token = spooled.dir.path().join("token");
    std::fs::write(&token, "secret\n").unwrap();
    spooled.config.webhook.token_file = Some(token);
    let addr = started(&spooled).await.unwrap().addr.unwrap();
    for (headers, status) in [
        ("", 401),
        ("authorization: Bearer secre\r\n", 401),
        ("authorization: Basic secret\r\n", 401),
        ("authorization: Bearer secret\r\n", 200),
    ] {
        assert_eq!(post(addr, headers, &event(1)).await.0, status, "{headers}");
    }
}

/// Writes the certificate of this test into the configuration.
fn with_tls(spooled: &mut Spooled) {
    let (cert, key) = (spooled.dir.path().join("test.crt"), spooled.dir.path().join("test.key"));
    std::fs::write(&cert, CERT).unwrap();
    std::fs::write(&key, KEY).unwrap();
    spooled.config.webhook.cert_file = Some(cert);
    spooled.config.webhook.key_file = Some(key);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_spoken_where_it_is_configured() {
    let mut spooled = spooled();
    with_tls(&mut spooled);
    let source = started(&spooled).await.unwrap();
    assert!(matches!(&source.status.state, SourceState::Running { detail } if detail.contains("https://")));
    // Somebody who connects and says nothing keeps nobody waiting.
    let _silent = TcpStream::connect(source.addr.unwrap()).await.unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(CERT.as_bytes()).unwrap()).unwrap();
    let client =
        rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
    let stream = TcpStream::connect(source.addr.unwrap()).await.unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(client));
    let stream = connector.connect("localhost".try_into().unwrap(), stream).await.unwrap();
    assert_eq!(post_over(stream, "", &event(1)).await.0, 200);
    assert_eq!(spooled.texts(Table::ApiAccess, "audit_id", 1).await, ["1"]);
    spooled.stop.cancel();
    source.task.unwrap().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_none_is_named() {
    let mut spooled = spooled();
    with_tls(&mut spooled);
    spooled.config.webhook.key_file = None;
    let message = started(&spooled).await.err().unwrap().to_string();
    assert!(message.contains("webhook.cert_file") && message.contains("key_file beside it"), "{message}");
    with_tls(&mut spooled);
    std::fs::write(spooled.dir.path().join("test.key"), "no key").unwrap();
    let message = started(&spooled).await.err().unwrap().to_string();
    assert!(message.contains("webhook.key_file") && message.contains("test.key"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_loopback_there_must_be_a_token_and_tls() {
    let mut spooled = spooled();
    let token = spooled.dir.path().join("token");
    std::fs::write(&token, "secret").unwrap();
    spooled.config.webhook.listen = "0.0.0.0:0".into();
    spooled.config.webhook.token_file = Some(token);
    let message = started(&spooled).await.err().unwrap().to_string();
    assert!(message.contains("not loopback"), "{message}");
    with_tls(&mut spooled);
    assert!(started(&spooled).await.unwrap().addr.is_some());
    spooled.config.webhook.token_file = None;
    for (listen, told) in
        [("0.0.0.0:0", "not loopback"), ("localhost", "not an address"), ("127.0.0.1", "not an address")]
    {
        spooled.config.webhook.listen = listen.into();
        let message = started(&spooled).await.err().unwrap().to_string();
        assert!(message.contains("webhook.listen") && message.contains(told), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_is_missing_or_an_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut spooled = spooled();
    spooled.config.webhook.listen = taken.local_addr().unwrap().to_string();
    assert!(matches!(started(&spooled).await.unwrap().status.state, SourceState::Missing { .. }));
    spooled.config.webhook.enabled = Enabled::On;
    assert!(matches!(started(&spooled).await, Err(CollectorError::Listen { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_the_listener() {
    let spooled = spooled();
    let source = started(&spooled).await.unwrap();
    assert_eq!(post(source.addr.unwrap(), "", &event(1)).await.0, 200);
    spooled.stop.cancel();
    source.task.unwrap().await.unwrap();
    assert!(TcpStream::connect(source.addr.unwrap()).await.is_err());
}

/// Goal: what the spool does not take is never acknowledged. Method: a spool of
/// one mebibyte, filled to where a fourth event of 300 kB does not fit.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_spool_answers_that_it_is_busy() {
    let spooled = Spooled::of(1 << 20);
    let hook = Hook::new(spooled.outlet.clone(), None);
    let large = |id: usize| event(id).replace("\"get\"", &format!("\"{}\"", "x".repeat(300_000)));
    for id in 0..3 {
        let answer = receive(State(hook.clone()), HeaderMap::new(), large(id).into()).await;
        assert_eq!(answer.status(), StatusCode::OK);
    }
    // Without a stop it would wait for room until its patience ends.
    spooled.stop.cancel();
    for _ in 0..2 {
        let answer = receive(State(hook.clone()), HeaderMap::new(), large(3).into()).await;
        assert_eq!(
            answer.status(),
            StatusCode::SERVICE_UNAVAILABLE,
            "and the repeated one is not taken for known"
        );
    }
}

/// Goal: Falco's alerts come in at the same door, by the same token, which Falco
/// can only present as a password; what is no alert is counted and told.
#[tokio::test(flavor = "multi_thread")]
async fn falcos_alerts_come_in_by_the_same_token() {
    let mut spooled = spooled();
    let token = spooled.dir.path().join("token");
    std::fs::write(&token, "sesame\n").unwrap();
    spooled.config.webhook.token_file = Some(token);
    let addr = started(&spooled).await.unwrap().addr.unwrap();
    let alert = r#"{"rule":"R","priority":"Notice","time":"2026-11-24T01:02:03.000000004Z","output":"01:02:03.000000004: Notice seen","output_fields":{"k8s.ns.name":"shop"}}"#;
    let post = async |headers: &str, body: &str| {
        post_to("/falco", TcpStream::connect(addr).await.unwrap(), headers, body).await
    };
    // "falco:sesame" and "falco:simsim".
    let (right, wrong) =
        ("authorization: Basic ZmFsY286c2VzYW1l\r\n", "authorization: Basic ZmFsY286c2ltc2lt\r\n");
    for refused in ["", wrong, "authorization: Bearer simsim\r\n", "authorization: sesame\r\n"] {
        assert_eq!(post(refused, alert).await.0, 401, "{refused}");
    }
    assert_eq!(post(right, alert).await.0, 204);
    assert_eq!(post("authorization: Bearer sesame\r\n", alert).await.0, 204);
    assert_eq!(spooled.texts(Table::Alerts, "output", 2).await, ["seen", "seen"]);
    let (status, told) = post(right, "12:00:00: Notice seen").await;
    assert!(status == 400 && told.contains("json_output: true"), "{told}");
    assert!(spooled.losses(1).await[0].starts_with("malformed: falco: "));
}
