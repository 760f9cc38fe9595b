use super::detection::{BUILT_IN_DETECTIONS, parse};
use super::*;

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
