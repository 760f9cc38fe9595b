//! Logging in at both listeners: with certificates, with a JWT as password, and over certificates that change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bailiwick_proto::Table;
use reqwest::{Client, StatusCode};
use rustls::ClientConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::authority::{Authority, Certified, Said};
use super::issuer::TestIssuer;
use super::*;
use crate::engine::tests::bucket::{Bucket, Served, rows};
use crate::pgwire::tests::psql::Psql;
use crate::{Query, Role, tokens};

const ACME: &str = "spiffe://cluster.local/tenant/acme";
const WHO: &str = "SELECT current_user, string_agg(DISTINCT tenant, ',') AS tenants FROM losses";

/// A server with TLS that asks for certificates, over rows of two tenants.
struct Server {
    query: Query,
    authority: Authority,
    clients: Authority,
    token: String,
    folder: tempfile::TempDir,
    stop: CancellationToken,
    served: Served,
}

// === impl Server ===

impl Server {
    async fn start(mut config: Config) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (authority, clients) = (Authority::new("servers"), Authority::new("clients"));
        let (cert, key) = authority.localhost().write(folder.path(), "server");
        let ca = folder.path().join("clients.crt");
        std::fs::write(&ca, clients.pem()).unwrap();
        std::fs::write(folder.path().join("servers.crt"), authority.pem()).unwrap();
        let file = folder.path().join("tokens.yaml");
        let globex = "globex".parse().unwrap();
        let token = tokens::create(&file, "gus", Role::Tenant, [globex], None, Utc::now()).unwrap();
        (config.tls_cert_file, config.tls_key_file) = (Some(cert), Some(key));
        (config.client_ca_file, config.tokens_file) = (Some(ca), Some(file));
        (config.http_listen, config.pgwire_listen) = (([127, 0, 0, 1], 0).into(), ([127, 0, 0, 1], 0).into());
        let rules = [
            r#"{"uris": ["spiffe://cluster.local/tenant/*"], "tenants": ["{}"]}"#,
            r#"{"common_names": ["olga"], "role": "auditor"}"#,
        ];
        config.certificates = rules.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        let mut bucket = Bucket::new().await;
        for tenant in ["acme", "globex"] {
            bucket
                .wal(&[(Table::Losses, rows(Table::Losses, &[&[("tenant", tenant), ("count", "1")]]))])
                .await;
        }
        let served = bucket.serve(&config);
        let stop = CancellationToken::new();
        let text: crate::MetricsText = Arc::new(String::new);
        let query = Query::start(config, Arc::clone(&served.engine), text, stop.clone()).await.unwrap();
        Self { query, authority, clients, token, folder, stop, served }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn client(&self, shows: Option<&Certified>) -> Client {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let ca = reqwest::Certificate::from_pem(self.authority.pem().as_bytes()).unwrap();
        let client =
            Client::builder().no_proxy().tls_certs_only([ca]).resolve("localhost", self.query.http_addr());
        let identity = shows.map(|shown| format!("{}{}", shown.cert, shown.key));
        let identity = identity.map(|pem| reqwest::Identity::from_pem(pem.as_bytes()).unwrap());
        match identity {
            Some(identity) => client.identity(identity),
            None => client,
        }
        .build()
        .unwrap()
    }

    /// The certificate that it shows now.
    async fn shown(&self) -> Vec<u8> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_no_client_auth();
        let tcp = tokio::net::TcpStream::connect(self.query.http_addr()).await.unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = connector.connect("localhost".try_into().unwrap(), tcp).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }

    /// Changes a file and waits until the server has looked at it, with this outcome.
    async fn changed(&self, outcome: &'static str, change: impl FnOnce()) {
        let looks = || self.served.engine.metrics().tls_reloads(outcome);
        let before = looks();
        change();
        let looked = async {
            while looks() == before {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), looked).await.unwrap();
    }

    /// What HTTP answers: a status, and who asked for whose rows.
    async fn http(
        &self,
        shows: Option<&Certified>,
        token: Option<&str>,
    ) -> Result<(StatusCode, Value), reqwest::Error> {
        let url = format!("https://localhost:{}/api/v1/sql", self.query.http_addr().port());
        let request = self.client(shows).post(url).body(WHO);
        let request = if let Some(token) = token { request.bearer_auth(token) } else { request };
        let response = request.send().await?;
        let status = response.status();
        let body: Value = response.json().await?;
        Ok((status, body["rows"][0].clone()))
    }

    /// What psql answers.
    async fn psql(&self, shows: Option<&Certified>, password: &str) -> Option<Result<String, String>> {
        let psql = Psql::of(self.query.pgwire_addr(), password)?;
        let text = |path: PathBuf| path.display().to_string();
        let root = text(self.path().join("servers.crt"));
        // With the host's name, the server's certificate is checked as well.
        let mut environment = vec![
            ("PGHOST", "localhost".to_owned()),
            ("PGSSLMODE", "verify-full".to_owned()),
            ("PGSSLROOTCERT", root),
        ];
        match shows {
            Some(shown) => {
                let (cert, key) = shown.write(self.path(), "client");
                environment.extend([("PGSSLCERT", text(cert)), ("PGSSLKEY", text(key))]);
            }
            None => environment.push(("PGSSLCERT", "/nonexistent".to_owned())),
        }
        let environment: Vec<(&str, &str)> =
            environment.iter().map(|(name, value)| (*name, &**value)).collect();
        Some(psql.run_with(&environment, WHO).await)
    }
}

fn row(user: &str, tenants: &str) -> Value {
    serde_json::json!([user, tenants])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_maps_needs_no_token() {
    let server = Server::start(Config::default()).await;
    let acme =
        server.clients.certify(Said { uri: Some(ACME), common_name: Some("whoever"), ..Said::default() });
    let name = format!("cert:{ACME}");
    assert_eq!(server.http(Some(&acme), None).await.unwrap(), (StatusCode::OK, row(&name, "acme")));
    let Some(answer) = server.psql(Some(&acme), "no token at all").await else { return };
    assert_eq!(answer.unwrap().lines().nth(1), Some(&*format!("{name}|acme")));
    let olga = server.clients.certify(Said { common_name: Some("olga"), ..Said::default() });
    let (status, body) = server.http(Some(&olga), None).await.unwrap();
    assert_eq!((status, body[0].as_str()), (StatusCode::OK, Some("cert:olga")));
    // Where there is a token, it decides.
    assert_eq!(
        server.http(Some(&acme), Some(&server.token)).await.unwrap(),
        (StatusCode::OK, row("gus", "globex"))
    );
    assert_eq!(server.http(Some(&acme), Some("wrong")).await.unwrap().0, StatusCode::UNAUTHORIZED);
    server.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_maps_to_nobody_lets_nobody_in_by_itself() {
    let server = Server::start(Config::default()).await;
    for said in [
        Said { common_name: Some("bob"), ..Said::default() },
        Said { common_name: Some("olga "), ..Said::default() },
        Said { uri: Some("spiffe://cluster.local/tenant/"), ..Said::default() },
        Said { uri: Some("spiffe://cluster.local/tenant/_host"), ..Said::default() },
        Said { uri: Some("spiffe://cluster.local/tenant/acme/x"), ..Said::default() },
        Said { uri: Some("spiffe://evil.local/tenant/acme"), ..Said::default() },
        // A name is not one of another kind.
        Said { dns: Some("olga"), ..Said::default() },
        Said { common_name: Some(ACME), ..Said::default() },
        Said { uri: Some("olga:olga"), ..Said::default() },
    ] {
        let bob = server.clients.certify(said);
        assert_eq!(server.http(Some(&bob), None).await.unwrap().0, StatusCode::UNAUTHORIZED, "{said:?}");
        let by_token = server.http(Some(&bob), Some(&server.token)).await.unwrap();
        assert_eq!(by_token, (StatusCode::OK, row("gus", "globex")));
    }
    assert_eq!(server.http(None, None).await.unwrap().0, StatusCode::UNAUTHORIZED);
    let bob = server.clients.certify(Said { common_name: Some("bob"), ..Said::default() });
    let Some(answer) = server.psql(Some(&bob), "wrong").await else { return };
    let error = answer.unwrap_err();
    assert!(error.contains("password authentication failed") && !error.contains("bob"), "{error}");
    let answer = server.psql(Some(&bob), &server.token).await.unwrap().unwrap();
    assert_eq!(answer.lines().nth(1), Some("gus|globex"));
    let answer = server.psql(None, &server.token).await.unwrap().unwrap();
    assert_eq!(answer.lines().nth(1), Some("gus|globex"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_a_stranger_or_of_yesterday_does_not_even_connect() {
    let server = Server::start(Config::default()).await;
    let stranger = Authority::new("clients").certify(Said { uri: Some(ACME), ..Said::default() });
    let expired = server.clients.certify(Said { uri: Some(ACME), expired: true, ..Said::default() });
    let of_a_server = server.clients.certify(Said { uri: Some(ACME), server: true, ..Said::default() });
    for shown in [stranger, expired, of_a_server] {
        assert!(server.http(Some(&shown), Some(&server.token)).await.is_err());
        if let Some(answer) = server.psql(Some(&shown), &server.token).await {
            answer.unwrap_err();
        }
    }
    // Also where no handshake asks: a session that is resumed shows none.
    let door = &server.served.engine;
    let expired = server.clients.certify(Said { uri: Some(ACME), expired: true, ..Said::default() });
    assert!(door.authenticate_certificate(&expired.der()).await.is_none());
    assert!(door.authenticate_certificate(b"no certificate").await.is_none());
    let valid = server.clients.certify(Said { uri: Some(ACME), ..Said::default() });
    assert!(door.authenticate_certificate(&valid.der()).await.is_some());
    let longer = [valid.der().as_ref(), &[0]].concat();
    assert!(door.authenticate_certificate(&longer).await.is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jwt_is_a_bearer_and_a_password() {
    let issuer = TestIssuer::start().await;
    let server = Server::start(with_oidc(trusting(&issuer))).await;
    let answer = server.http(None, Some(&issuer.token())).await.unwrap();
    assert_eq!(answer, (StatusCode::OK, row("oidc:alice", "acme")));
    assert_eq!(
        server.http(None, Some(&issuer.token_with(&serde_json::json!({"aud": "x"})))).await.unwrap().0,
        401
    );
    let Some(answer) = server.psql(None, &issuer.token()).await else { return };
    assert_eq!(answer.unwrap().lines().nth(1), Some("oidc:alice|acme"));
    let long = issuer.token_with(&serde_json::json!({"x": "x".repeat(6_000)}));
    assert_eq!(server.psql(None, &long).await.unwrap().unwrap().lines().nth(1), Some("oidc:alice|acme"));
    let refused =
        server.psql(None, &issuer.token_with(&serde_json::json!({"exp": 1}))).await.unwrap().unwrap_err();
    assert!(refused.contains("password authentication failed") && !refused.contains("expired"), "{refused}");
}

/// Goal: certificates change without a restart, and a bad one changes nothing.
/// Method: the files are replaced; new connections are made until they show it.
#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_taken_up_when_their_files_change() {
    let server = Server::start(Config::default()).await;
    let first = server.shown().await;
    let next = server.authority.localhost();
    let (cert, key) = (server.path().join("server.crt"), server.path().join("server.key"));
    // Half of a change is a key that does not fit.
    server.changed("refused", || std::fs::write(&cert, &next.cert).unwrap()).await;
    assert_eq!(server.shown().await, first, "a certificate without its key was taken up");
    server.changed("taken_up", || std::fs::write(&key, &next.key).unwrap()).await;
    assert_eq!(server.shown().await, next.der().to_vec());
    // Clients of another authority from now on.
    let others = Authority::new("others");
    let acme = others.certify(Said { uri: Some(ACME), ..Said::default() });
    assert!(server.http(Some(&acme), None).await.is_err());
    let ca = server.path().join("clients.crt");
    server.changed("taken_up", || std::fs::write(ca, others.pem()).unwrap()).await;
    assert_eq!(server.http(Some(&acme), None).await.unwrap().0, StatusCode::OK);
    if let Some(answer) = server.psql(Some(&acme), "").await {
        assert!(answer.unwrap().contains(ACME));
    }
    for broken in ["", "no certificate"] {
        server.changed("refused", || std::fs::write(&cert, broken).unwrap()).await;
        assert_eq!(server.shown().await, next.der().to_vec());
    }
    server.changed("refused", || std::fs::remove_file(&cert).unwrap()).await;
    assert_eq!(server.shown().await, next.der().to_vec());
}
