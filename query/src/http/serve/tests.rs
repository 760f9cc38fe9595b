//! Connections that ask for nothing, and that read nothing.

use axum::body::Body;
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::Config;
use crate::places::Counted;

const LONG: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(200);

struct Running {
    addr: SocketAddr,
    registry: Registry,
    stop: CancellationToken,
}

impl Running {
    /// A server with places for `max`, half of them for one address.
    async fn start(max: usize, patience: Patience) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let app = Router::new().route("/", get(|| async { "here\n" })).route("/endless", get(endless));
        let mut registry = Registry::default();
        let server = Server {
            tls: Tls::open(&Config::default()).unwrap(),
            app,
            places: Places::new(max, max / 2, Counted::All),
            patience,
            metrics: Metrics::register(&mut registry),
            stop: stop.clone(),
        };
        tokio::spawn(serve(listener, server));
        Self { addr, registry, stop }
    }

    async fn say(&self, bytes: &[u8]) -> TcpStream {
        let mut tcp = TcpStream::connect(self.addr).await.unwrap();
        tcp.write_all(bytes).await.unwrap();
        tcp
    }

    /// Waits until so many connections have ended so.
    async fn ended(&self, outcome: &str, count: u64) {
        let name = format!("connections_total{{listener=\"http\",outcome=\"{outcome}\"}} ");
        loop {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
            let seen = text.split_once(&name).and_then(|(_, rest)| rest.lines().next()?.parse().ok());
            if seen.is_some_and(|seen: u64| seen >= count) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn endless() -> Body {
    Body::from_stream(futures::stream::repeat_with(|| Ok::<_, std::io::Error>("x".repeat(1 << 16))))
}

/// Only one of the limits, so that it is known which one it was.
fn patience() -> Patience {
    Patience { first: LONG, headers: LONG, idle: LONG, unread: LONG, ping: (LONG, LONG) }
}

/// What the server sends before it closes.
async fn rest(mut tcp: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let _ = tcp.read_to_end(&mut rest).await;
    rest
}

/// The beginning of HTTP/2 with an empty frame of settings.
const HTTP2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

#[tokio::test]
async fn who_asks_for_nothing_is_sent_away() {
    let server = Running::start(64, Patience { first: SHORT, ..patience() }).await;
    for bytes in [&b""[..], b"PRI * HT", b"GET / HTTP/1.1\r\nHo", HTTP2] {
        rest(server.say(bytes).await).await;
    }
    server.ended("no_request", 4).await;
}

#[tokio::test]
async fn who_asks_for_nothing_more_is_sent_away() {
    let server = Running::start(64, Patience { idle: SHORT, ..patience() }).await;
    let answer = rest(server.say(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await).await;
    assert!(String::from_utf8(answer).unwrap().ends_with("here\n"));
    // A request of HTTP/2: GET / over http, from HPACK's static table.
    let request = b"\x00\x00\x03\x01\x05\x00\x00\x00\x01\x82\x84\x86";
    let answer = rest(server.say(&[HTTP2, request].concat()).await).await;
    assert!(answer.windows(5).any(|part| part == b"here\n"));
    server.ended("idle", 2).await;
}

/// Goal: the other end of HTTP/2 is asked whether it is there. Method: one that never answers.
#[tokio::test]
async fn who_is_gone_is_noticed() {
    let server = Running::start(64, Patience { ping: (SHORT, SHORT), ..patience() }).await;
    let request = b"\x00\x00\x03\x01\x05\x00\x00\x00\x01\x82\x84\x86";
    rest(server.say(&[HTTP2, request].concat()).await).await;
    server.ended("broken_off", 1).await;
}

#[tokio::test]
async fn who_reads_nothing_is_sent_away() {
    let server = Running::start(64, Patience { unread: SHORT, ..patience() }).await;
    let tcp = server.say(b"GET /endless HTTP/1.1\r\nhost: x\r\n\r\n").await;
    server.ended("unread", 1).await;
    drop(tcp);
}

/// Whether a request is answered.
async fn answered(mut tcp: TcpStream) -> bool {
    let _ = tcp.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    String::from_utf8(rest(tcp).await).unwrap().ends_with("here\n")
}

/// Goal: silent connections keep nobody out. Method: more of them than there are
/// places, all from one address, and nothing that would end them; then a request
/// from there and from elsewhere.
#[tokio::test]
async fn strangers_make_room() {
    let server = Running::start(8, patience()).await;
    let mut silent = Vec::new();
    for _ in 0..12 {
        silent.push(server.say(b"").await);
    }
    let elsewhere = tokio::net::TcpSocket::new_v4().unwrap();
    elsewhere.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    assert!(answered(elsewhere.connect(server.addr).await.unwrap()).await);
    // Those that came first are safe for a moment, and then go.
    while !answered(TcpStream::connect(server.addr).await.unwrap()).await {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.ended("made_room", 1).await;
}
