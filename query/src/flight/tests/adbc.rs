//! ADBC's own driver, as a person in Python uses it.

use std::path::Path;
use std::process::Command;

use super::*;
use crate::http::tests::{CERT, KEY};
use crate::needs::python;

/// More than any answer has.
const MANY: u64 = 1 << 60;

/// Runs the script, which has the assertions, and answers what it has seen.
async fn seen(python: String, server: &Server, uri: String, certificate: Option<&Path>) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/python/adbc_client.py");
    let mut command = Command::new(python);
    command.arg(script).args([&uri, &server.acme, &server.globex]).args(certificate);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Goal: logging in both ways, types, metadata, parameters, large answers,
/// cancelling, errors and partitions work with the real driver.
#[tokio::test(flavor = "multi_thread")]
async fn the_driver_logs_in_asks_cancels_and_is_refused() {
    let Some(python) = python("adbc_driver_flightsql.dbapi") else { return };
    let mut server = Server::start(Config { max_rows: MANY, max_bytes: MANY, ..Config::default() }).await;
    let uri = format!("grpc://{}", server.query.http_addr());
    let columns = seen(python, &server, uri, None).await;
    assert!(columns.contains("\"reason\""), "{columns}");
    let (mut cancelled, mut refused) = (false, false);
    while !(cancelled && refused) {
        let record = server.served.record().await;
        assert_eq!(record["endpoint"], "flight");
        cancelled |= record["outcome"] == "cancelled";
        refused |= record["outcome"] == "refused" && record["sql"].starts_with("DROP");
    }
}

/// Goal: the same over TLS, with the certificate checked, and nothing in clear text.
#[tokio::test(flavor = "multi_thread")]
async fn the_driver_speaks_tls() {
    let Some(python) = python("adbc_driver_flightsql.dbapi") else { return };
    let folder = tempfile::tempdir().unwrap();
    let (cert, key) = (folder.path().join("c.pem"), folder.path().join("k.pem"));
    std::fs::write(&cert, CERT).unwrap();
    std::fs::write(&key, KEY).unwrap();
    let (tls_cert_file, tls_key_file) = (Some(cert.clone()), Some(key));
    let config = Config { max_rows: MANY, max_bytes: MANY, tls_cert_file, tls_key_file, ..Config::default() };
    let server = Server::start(config).await;
    let port = server.query.http_addr().port();
    seen(python, &server, format!("grpc+tls://localhost:{port}"), Some(&cert)).await;
    let channel = Channel::from_shared(format!("http://127.0.0.1:{port}")).unwrap().connect().await;
    if let Ok(channel) = channel {
        let mut client = Client::new(channel);
        client.set_token(server.acme.clone());
        assert!(client.execute("SELECT 1".into(), None).await.is_err(), "clear text was answered");
    }
}
