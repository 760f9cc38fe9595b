use super::*;
use bailiwick_proto::ship::{MemoryOutbox, Outbox};
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

fn sample() -> Alert {
    Alert {
        time: chrono::DateTime::UNIX_EPOCH,
        alert_id: "1f".into(),
        owner: "team-a".into(),
        rule: "R".into(),
        priority: bailiwick_rules::Priority::Warning,
        source: "syscall",
        tags: vec!["T1".into()],
        output: "seen (cat <NA>)".into(),
        output_fields: serde_json::Map::new(),
        node: Some("n1".into()),
        cluster: "c".into(),
        rule_source: "rules.yaml".into(),
        mode: "live",
        exec_id: None,
        container_id: Some("host".into()),
        audit_id: None,
    }
}

fn metrics() -> Metrics {
    Metrics::register(&mut prometheus_client::registry::Registry::default())
}

fn failures(metrics: &Metrics, sink: &'static str, reason: &'static str) -> u64 {
    metrics.sink_failures.get_or_create(&crate::metrics::SinkLabel { sink, reason }).get()
}

/// A webhook that accepts connections and never answers must hold up neither
/// the file nor the table, and what its queue cannot hold is counted.
#[tokio::test]
async fn a_sink_that_hangs_holds_up_no_other() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("alerts.json");
    let config =
        Config { alert_file: Some(path.clone()), webhook_url: Some(url), sink_queue: 3, ..Config::default() };
    let (out, mut outbox) = MemoryOutbox::new(1, 1 << 20);
    let printed = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&printed);
    let on_alert: OnAlert = Arc::new(move |_: &Alert| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let metrics = metrics();
    let (sinks, tasks) = Sinks::open(&config, on_alert, out, &metrics).unwrap();
    for _ in 0..10 {
        assert!(sinks.raise(&[Arc::new(sample())], &CancellationToken::new()).await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(printed.load(Ordering::Relaxed), 10);
    assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 10);
    assert_eq!(outbox.span().next_seq, 10);
    assert!(outbox.next(9).await.unwrap().is_some());
    // One is being posted, three wait, the rest is counted.
    assert_eq!(failures(&metrics, "webhook", "queue_full"), 6);
    tasks.iter().for_each(JoinHandle::abort);
}

/// A server that fails twice gets the alert at the third try, as Falco's JSON.
#[tokio::test]
async fn a_post_is_tried_again() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (out, _outbox) = MemoryOutbox::new(1, 1 << 20);
    let config = Config { webhook_url: Some(url), ..Config::default() };
    let metrics = metrics();
    let (sinks, tasks) = Sinks::open(&config, Arc::new(|_: &Alert| {}), out, &metrics).unwrap();
    sinks.raise(&[Arc::new(sample())], &CancellationToken::new()).await;
    drop(sinks);
    let mut body = String::new();
    for status in ["500 Oh", "503 No", "200 OK"] {
        body = posted(&listener, status, "}").await;
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert!(body.starts_with("POST /hook") && body.ends_with(&sample().falco_json().to_string()), "{body}");
    assert_eq!(failures(&metrics, "webhook", "failed"), 0);
}

/// Answers one post, which is read up to what its body ends with.
async fn posted(listener: &tokio::net::TcpListener, status: &str, end: &str) -> String {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut bytes = vec![0; 16_384];
    let mut read = 0;
    while !String::from_utf8_lossy(&bytes[..read]).ends_with(end) {
        read += stream.read(&mut bytes[read..]).await.unwrap();
    }
    let reply = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(reply.as_bytes()).await.unwrap();
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

/// File and webhook each write the form that is configured for it, one alert a line.
#[tokio::test]
async fn each_sink_has_its_own_format() {
    const TEXT: &str = "00:00:00.000000000: Warning seen (cat <NA>)";
    let json = sample().falco_json().to_string();
    for (file, webhook) in [("falco_text", "falco_json"), ("falco_json", "falco_text")] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("alerts");
        let configured = serde_json::json!({
            "alert_file": path, "alert_file_format": file,
            "webhook_url": format!("http://{}/", listener.local_addr().unwrap()), "webhook_format": webhook,
        });
        let config: Config = serde_json::from_value(configured).unwrap();
        let (out, _outbox) = MemoryOutbox::new(1, 1 << 20);
        let (sinks, tasks) = Sinks::open(&config, Arc::new(|_: &Alert| {}), out, &metrics()).unwrap();
        sinks.raise(&[Arc::new(sample()), Arc::new(sample())], &CancellationToken::new()).await;
        drop(sinks);
        let form = |format: &str| if format == "falco_text" { TEXT } else { json.as_str() };
        for _ in 0..2 {
            let post = posted(&listener, "200 OK", form(webhook)).await;
            let content =
                if webhook == "falco_text" { "text/plain; charset=utf-8" } else { "application/json" };
            assert!(post.to_lowercase().contains(&format!("content-type: {content}\r\n")), "{post}");
        }
        for task in tasks {
            task.await.unwrap();
        }
        let line = form(file);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{line}\n{line}\n"));
    }
}
