//! Who may connect, and how.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use bailiwick_proto::Table;
use bailiwick_proto::v1::TailRequest;
use bailiwick_proto::v1::ship_client::ShipClient;
use bailiwick_proto::v1::tail_client::TailClient;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
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

/// Goal: a collector sends under its own name, and its rows fall to its own
/// tenants, or they go no further.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_good_for_its_own_collector_and_tenants() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).unwrap();
        Some(folder.path().join(name))
    };
    let tenants = "collectors:\n- collectors: [node-1]\n  tenants: [shop]\n";
    let config = Config {
        token_file: None,
        client_ca_file: file("clients", include_str!("tls/clients.crt")),
        tenants_file: file("tenants", tenants),
        ..guarded(&folder, true)
    };
    let run = Run::start(memory(), config).await;
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(CERT));
    let endpoint = |tls: ClientTlsConfig| {
        let address = format!("https://localhost:{}", run.ingest.listen_addr().port());
        Endpoint::from_shared(address).unwrap().tls_config(tls).unwrap()
    };
    assert!(Stream::open(endpoint(tls.clone()), "node-1", 1).await.is_err(), "without a certificate");
    let presents = |cert: &str, key: &str| endpoint(tls.clone().identity(Identity::from_pem(cert, key)));
    let (one, two) = (
        presents(include_str!("tls/node-1.crt"), include_str!("tls/node-1.key")),
        presents(include_str!("tls/node-2.crt"), include_str!("tls/node-2.key")),
    );
    let refused = Stream::open(two.clone(), "node-1", 1).await.err().unwrap();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert_eq!(run.metric("bailiwick_ingest_rejected_total{reason=\"certificate\"}"), 1);
    // Rows of the host are not the shop's.
    let mut bound = Stream::open(one, "node-1", 1).await.unwrap();
    bound.send(0, Table::Losses, &[66]).await;
    assert_eq!(bound.ack().await.unwrap().quarantined, 1);
    assert_eq!(run.metric("bailiwick_ingest_rejected_total{reason=\"foreign_tenant\"}"), 1);
    Stream::open(two, "node-2", 1).await.unwrap().deliver(0, Table::Queries, &[2]).await;
    assert_eq!(stored(&run.lake, Table::Queries).await, [2]);
    assert_eq!(stored(&run.lake, Table::Losses).await, [1], "that a batch was set aside is in the table");
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
