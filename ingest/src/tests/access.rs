//! Who may connect, and how.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use bailiwick_proto::Table;
use bailiwick_proto::v1::TailRequest;
use bailiwick_proto::v1::ship_client::ShipClient;
use bailiwick_proto::v1::tail_client::TailClient;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use tonic::{Code, Request};

use super::rig::{Run, Stream, config, eventually, flushing, memory};
use super::rows::stored;
use crate::Config;

// Made for this test, for `localhost`; nothing trusts it.
const CERT: &str = include_str!("tls/test.crt");
const KEY: &str = include_str!("tls/test.key");
const TOKEN: &str = "an-example-token-of-the-tests";

/// A configuration with files of its own.
fn guarded(folder: &tempfile::TempDir, tls: bool) -> Config {
    let file = |name: &str, text: &str| -> Option<PathBuf> {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        Some(path)
    };
    let token_file = file("token", &format!("{TOKEN}\n"));
    let (tls_cert_file, tls_key_file) =
        if tls { (file("crt", CERT), file("key", KEY)) } else { (None, None) };
    Config { token_file, tls_cert_file, tls_key_file, ..config() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_asked_for_by_both_services() {
    let folder = tempfile::tempdir().unwrap();
    let run = Run::start(memory(), guarded(&folder, false)).await;
    let refused = Stream::open(run.endpoint(), "node-1", 1).await.err().unwrap();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let channel = run.endpoint().connect().await.unwrap();
    let mut tail = TailClient::new(channel.clone());
    assert_eq!(tail.tail(TailRequest::default()).await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(run.metric("bailiwick_ingest_rejected_total{reason=\"unauthenticated\"}"), 2);
    let mut request = Request::new(TailRequest::default());
    request.metadata_mut().insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    tail.tail(request).await.unwrap();
    let mut wrong = Request::new(TailRequest::default());
    wrong.metadata_mut().insert("authorization", format!("Bearer {TOKEN}x").parse().unwrap());
    assert_eq!(tail.tail(wrong).await.unwrap_err().code(), Code::Unauthenticated);
    // This process's own rows need none.
    let mut own = Stream::open(run.ingest.local_endpoint(), "detect", 1).await.unwrap();
    own.deliver(0, Table::Losses, &[1]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_spoken_where_it_is_configured() {
    let folder = tempfile::tempdir().unwrap();
    let config = Config { token_file: None, ..guarded(&folder, true) };
    let run = Run::start(memory(), config).await;
    let https = |ca: &str| {
        let address = format!("https://localhost:{}", run.ingest.listen_addr().port());
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
        Endpoint::from_shared(address).unwrap().tls_config(tls).unwrap()
    };
    let mut stream =
        Stream::over(ShipClient::new(https(CERT).connect().await.unwrap()), "node-1", 1).await.unwrap();
    stream.deliver(0, Table::Losses, &[1]).await;
    assert!(Stream::open(run.endpoint(), "node-2", 1).await.is_err(), "plain text is not understood");
    let mut own = Stream::open(run.ingest.local_endpoint(), "detect", 1).await.unwrap();
    own.deliver(0, Table::Losses, &[2]).await;
    assert_eq!(stored(&run.lake, Table::Losses).await, [1, 2]);
}

#[tokio::test]
async fn a_listener_beyond_loopback_is_refused_without_tls_and_token() {
    let folder = tempfile::tempdir().unwrap();
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let full = Config { listen: everywhere, ..guarded(&folder, true) };
    let refused = |config: Config| async { Run::try_start(memory(), config).await.err().unwrap() };
    let bare =
        refused(Config { token_file: None, tls_cert_file: None, tls_key_file: None, ..full.clone() }).await;
    let no_token = refused(Config { token_file: None, ..full.clone() }).await;
    let no_tls = refused(Config { tls_cert_file: None, tls_key_file: None, ..full.clone() }).await;
    let half = refused(Config { tls_key_file: None, ..full.clone() }).await;
    fs::write(folder.path().join("key"), "no key").unwrap();
    let damaged = refused(full.clone()).await;
    fs::write(folder.path().join("token"), "short").unwrap();
    let short = refused(full).await;
    let said = [bare, no_token, no_tls, half, damaged, short].map(|error| {
        assert_eq!(error.action(), bailiwick_proto::Action::Fix);
        error.to_string().replace(&folder.path().display().to_string(), "<folder>")
    });
    insta::assert_snapshot!(said.join("\n"));
}

#[tokio::test]
async fn the_local_socket_is_closed_to_others_and_goes_with_its_ingester() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("own.sock");
    let configured = Config { local_socket: Some(socket.clone()), ..guarded(&folder, false) };
    let run = Run::start(memory(), configured.clone()).await;
    assert!(socket.exists());
    run.end().await;
    assert!(!socket.exists());
    // A socket that a killed run left behind is no hindrance.
    fs::write(&socket, "").unwrap();
    let run = Run::start(memory(), configured).await;
    Stream::open(run.ingest.local_endpoint(), "detect", 1).await.unwrap();
    let run = Run::start(memory(), guarded(&folder, false)).await;
    let own = run.ingest.door.folder().unwrap();
    assert_eq!(fs::metadata(&own).unwrap().permissions().mode() & 0o777, 0o700);
    run.end().await;
    assert!(!own.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_tenants_file_is_taken_up_and_a_bad_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tenants.yaml");
    fs::write(&file, "tenants: []\n").unwrap();
    let run = Run::start(memory(), Config { tenants_file: Some(file.clone()), ..flushing() }).await;
    fs::write(&file, "tenants:\n  - tenant: NOT VALID\n").unwrap();
    eventually("the bad file is noticed", || async {
        run.metric("bailiwick_ingest_mapping_failures_total") == 1
    })
    .await;
    fs::write(&file, "tenants:\n  - tenant: acme\n").unwrap();
    eventually("the good file is taken up", || async { run.metric("bailiwick_ingest_mapped_tenants") == 1 })
        .await;
    assert_eq!(run.metric("bailiwick_ingest_mapping_failures_total"), 1);
    fs::remove_file(&file).unwrap();
    eventually("a missing file is noticed", || async {
        run.metric("bailiwick_ingest_mapping_failures_total") == 2
    })
    .await;
    assert_eq!(run.metric("bailiwick_ingest_mapped_tenants"), 1, "the mapping before it stays");
}
