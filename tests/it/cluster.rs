//! As in a cluster: the collector and the rest are two processes, with TLS and a token between them.

use std::fs;
use std::path::Path;

use crate::harness::{Up, scene};

const TOKEN: &str = "a-token-of-this-test-alone";

/// A certificate for localhost that the ingest room's own tests use too.
const CERTIFICATE: &str = "../ingest/src/tests/tls/test.crt";
const KEY: &str = "../ingest/src/tests/tls/test.key";

fn server(dir: &Path) -> Up {
    let pem = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join(name).canonicalize().unwrap();
    fs::write(dir.join("token"), TOKEN).unwrap();
    let config = format!(
        "[ingest]\nlisten = \"127.0.0.1:0\"\ntoken_file = \"token\"\ntls_cert_file = {:?}\ntls_key_file = {:?}\n\
         [query]\nhttp_listen = \"127.0.0.1:0\"\npgwire_listen = \"127.0.0.1:0\"\n",
        pem(CERTIFICATE),
        pem(KEY)
    );
    fs::write(dir.join("bailiwick.toml"), config).unwrap();
    Up::start_as("serve", dir, &[])
}

fn collector(dir: &Path, port: &str, token: &str) -> Up {
    let authority = Path::new(env!("CARGO_MANIFEST_DIR")).join(CERTIFICATE).canonicalize().unwrap();
    fs::write(dir.join("token"), token).unwrap();
    fs::write(dir.join("audit.log"), "").unwrap();
    let config = format!(
        "node = \"node-1\"\n[collector]\nendpoint = \"https://localhost:{port}\"\nca_file = {authority:?}\n\
         token_file = \"token\"\n[collector.syscalls]\nenabled = \"off\"\n[collector.webhook]\nenabled = \"off\"\n\
         [collector.audit_file]\npath = \"audit.log\"\n"
    );
    fs::write(dir.join("bailiwick.toml"), config).unwrap();
    Up::start_as("collect", dir, &[])
}

/// Goal: what a collector elsewhere sees becomes rows and alerts, and one with
/// the wrong token is let in nowhere. Method: two processes and TLS, no privilege.
#[test]
fn a_collector_ships_to_a_server_over_tls() {
    let (serving, collecting, intruding) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut server = server(serving.path());
    let line = server.wait_for_line("ingest (gRPC)");
    assert!(line.contains("https://"), "{line}");
    let port = line.rsplit(':').next().unwrap().trim();

    let intruder = collector(intruding.path(), port, "another-token-altogether");
    fs::write(intruding.path().join("audit.log"), scene::audit_event("intruder")).unwrap();
    let collector = collector(collecting.path(), port, TOKEN);
    fs::write(collecting.path().join("audit.log"), scene::audit_event("invited")).unwrap();

    // Rows come over TLS; alerts and query records by the server's own door.
    server
        .wait_for_count("SELECT count(*) FROM api_access WHERE audit_id = 'invited' AND node = 'node-1'", 1);
    server.wait_for_count("SELECT count(*) FROM alerts WHERE rule = 'Secrets listed through the API'", 1);
    server.wait_for_count("SELECT count(*) FROM queries WHERE endpoint = 'http'", 1);
    assert_eq!(server.count("SELECT count(*) FROM api_access WHERE audit_id = 'intruder'"), 0);

    intruder.kill();
    collector.terminate();
    server.terminate();
}
