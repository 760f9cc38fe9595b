use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, StringArray};
use async_trait::async_trait;
use bailiwick_proto::ship::MemoryOutbox;
use futures::stream::BoxStream;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;

use super::detection::{BUILT_IN_DETECTIONS, parse};
use super::*;
use crate::sinks::OnAlert;

fn detection() -> Detection {
    parse("d.yaml", BUILT_IN_DETECTIONS).unwrap().remove(0)
}

#[test]
fn windows_end_at_whole_multiples_and_none_is_missed() {
    let every = detection().every_us();
    let due = |last, now| due_windows(&detection(), last, now);
    assert_eq!(due(None, 10 * every + 7), [10 * every]);
    assert_eq!(due(Some(8 * every), 10 * every + 7), [9 * every, 10 * every]);
    assert_eq!(due(Some(10 * every), 10 * every + 7), Vec::<i64>::new());
    let long = due(Some(0), 10_000 * every);
    assert_eq!((long.len() as i64, long.last()), (MAX_MISSED, Some(&(10_000 * every))));
}

#[test]
fn a_value_is_never_read_as_a_placeholder() {
    let Value::Object(row) = serde_json::json!({"user": "{denied}", "denied": 12}) else { unreachable!() };
    let text = detection().print(&row);
    assert!(text.starts_with("12 API requests of {denied} were"), "{text}");
}

#[test]
fn a_detection_that_cannot_work_is_refused_by_name() {
    let entry = |change: &str, to: &str| BUILT_IN_DETECTIONS.replace(change, to);
    for (text, part) in [
        (entry("every_s: 15", "every_s: 900"), "window_s at least every_s"),
        (entry("<= $to", "<= now()"), "$from and ingest_time <= $to"),
        (entry("priority: WARNING", "priority: URGENT"), "URGENT"),
        (entry("every_s: 15", "evry_s: 15"), "evry_s"),
    ] {
        let error = parse("d.yaml", &text).unwrap_err().to_string();
        assert!(error.contains(part) && error.starts_with("d.yaml"), "{error}");
    }
}

/// Goal: a file that does not load changes nothing and is complained of once; one
/// that is gone as well. Method: the file of a running set, changed step by step.
#[test]
fn a_damaged_file_leaves_the_old_detections() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("d.yaml");
    let config = Config { detections_files: vec![file.clone()], ..Config::default() };
    let metrics = Metrics::register(&mut Registry::default());
    let counted = |outcome| metrics.reloads.get_or_create(&OutcomeLabel { outcome }).get();
    std::fs::write(&file, BUILT_IN_DETECTIONS).unwrap();
    let mut detections = Detections::read(&config).unwrap();
    let before = detections.now.len();
    assert!(!detections.reload(&config, &metrics));
    for (refused, text) in [(1, "- name: x\n"), (2, &format!("{BUILT_IN_DETECTIONS}\n{BUILT_IN_DETECTIONS}"))]
    {
        std::fs::write(&file, text).unwrap();
        for _ in 0..3 {
            assert!(!detections.reload(&config, &metrics));
        }
        assert_eq!((detections.now.len(), counted("refused")), (before, refused));
    }
    std::fs::remove_file(&file).unwrap();
    for _ in 0..3 {
        assert!(!detections.reload(&config, &metrics));
    }
    assert_eq!((detections.now.len(), counted("refused"), counted("loaded")), (before, 3, 0));
    std::fs::write(&file, BUILT_IN_DETECTIONS.replacen("name: ", "name: Other ", 1)).unwrap();
    assert!(detections.reload(&config, &metrics) && !detections.reload(&config, &metrics));
    assert!(detections.now[0].name.starts_with("Other ") && counted("loaded") == 1);
}

#[test]
fn a_detection_that_is_gone_leaves_no_place() {
    let name = detection().name;
    let mut schedule = Schedule::from([("gone".to_owned(), 1), (name.clone(), 2)]);
    retain(&mut schedule, &[detection()]);
    assert_eq!(schedule, Schedule::from([(name, 2)]));
}

/// Breaks off after a row, then answers in full.
#[derive(Default)]
struct Breaks {
    asked: AtomicUsize,
}

#[async_trait]
impl Ask for Breaks {
    async fn ask(&self, _: &str) -> Result<BoxStream<'static, Result<RecordBatch, AskError>>, AskError> {
        let tenant: ArrayRef = Arc::new(StringArray::from(vec!["team-a"]));
        let row = RecordBatch::try_from_iter([("tenant", tenant)]).unwrap();
        let mut rows = vec![Ok(row)];
        if self.asked.fetch_add(1, Ordering::SeqCst) == 0 {
            rows.push(Err(AskError { message: "the bucket could not be read".into(), retry: true }));
        }
        Ok(futures::stream::iter(rows).boxed())
    }
}

/// Goal: what a statement found before it broke off is raised by the next try,
/// once. Method: the same window three times, the first of which breaks off.
#[tokio::test]
async fn findings_before_a_failure_are_raised_by_the_next_try() {
    let metrics = Metrics::register(&mut Registry::default());
    let (out, _outbox) = MemoryOutbox::new(1, 1 << 20);
    let (sent, mut raised) = mpsc::unbounded_channel();
    let on_alert: OnAlert = Arc::new(move |alert: &Alert| drop(sent.send(alert.owner.clone())));
    let (sinks, _tasks) = Sinks::open(&Config::default(), on_alert, out, &metrics).unwrap();
    let mut scheduler = Scheduler {
        config: Config::default(),
        detections: Detections::read(&Config::default()).unwrap(),
        lake: Lake::open("memory://", "c").await.unwrap(),
        ask: Arc::new(Breaks::default()),
        sinks,
        metrics,
        stop: CancellationToken::new(),
        seen: Seen::new(10),
        schedule: Schedule::default(),
    };
    assert!(scheduler.window(&detection(), 0).await.unwrap_err().retry);
    assert!(raised.try_recv().is_err());
    scheduler.window(&detection(), 0).await.unwrap();
    scheduler.window(&detection(), 0).await.unwrap();
    assert_eq!(raised.try_recv().unwrap(), "team-a");
    assert!(raised.try_recv().is_err());
}
