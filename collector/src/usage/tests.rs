use std::process::Command;

use arrow::array::AsArray;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};

use super::own::{LOCAL, Own, SHARED};
use super::*;
use crate::pods::{Pod, PodContainer};

const ID: &str = "5b1cc7e1d1a0c3a7d6d4e5f60718293a4b5c6d7e8f90123456789abcdef01234";
const UID: &str = "3f2b8f0e-1c2d-4e5f-8a9b-0c1d2e3f4a5b";

fn own(path: &str) -> Own {
    Own {
        id: 7,
        path: path.to_owned(),
        shared: [Some(0); SHARED],
        local: [None; LOCAL],
        mem_current_b: Some(0),
        mem_working_set_b: Some(0),
        mem_byte_s: Some(0.0),
        has_processes: false,
    }
}

fn interval(owns: Vec<Own>) -> Interval {
    Interval { start_us: 1, end_us: 2, coverage_s: 1.0, owns }
}

fn pods() -> Pods {
    let pods = Pods::default();
    let container = PodContainer {
        id: ID.to_owned(),
        name: "web".to_owned(),
        cpu_request_m: Some(250),
        mem_request_b: Some(64 << 20),
        ..Default::default()
    };
    pods.upsert(Pod {
        uid: UID.to_owned(),
        namespace: "acme".to_owned(),
        name: "web-0".to_owned(),
        containers: vec![container],
        ..Default::default()
    });
    pods
}

#[test]
fn a_containers_cgroup_has_names_and_requests_and_those_inside_it_names() {
    let container = format!("/kubepods/pod{UID}/{ID}");
    let inside = Own { has_processes: true, ..own(&format!("{container}/init.scope")) };
    let rows = rows::rows(&interval(vec![own(&container), inside]), "n", "c", &pods()).unwrap();
    assert_eq!(rows.num_rows(), 2, "a container that idles is billed its request");
    for (column, expected) in [("k8s_ns_name", "acme"), ("k8s_pod_name", "web-0"), ("container_name", "web")]
    {
        let texts = cast(rows.column_by_name(column).unwrap(), &DataType::Utf8).unwrap();
        assert!(texts.as_string::<i32>().iter().all(|text| text == Some(expected)), "{column}");
    }
    let requests = rows.column_by_name("cpu_request_m").unwrap().as_primitive::<Int64Type>();
    assert_eq!(requests.iter().collect::<Vec<_>>(), [Some(250), None]);
}

#[test]
fn a_folder_that_only_holds_others_has_no_row() {
    let used = Own { shared: [Some(1); SHARED], ..own("/system.slice/cron.service") };
    let rows = rows::rows(&interval(vec![own("/system.slice"), used]), "n", "c", &Pods::default()).unwrap();
    assert_eq!(rows.num_rows(), 1);
}

/// Goal: what a real process burns in a real cgroup comes out as its row. Method:
/// make a cgroup, run a loop of known shape in it, measure before and after.
#[test]
fn work_in_a_cgroup_of_its_own_is_measured() {
    let required = std::env::var_os("BAILIWICK_REQUIRE_KERNEL").is_some_and(|value| value == "1");
    let Some(layout) = Layout::find(Path::new("/sys/fs/cgroup"), Path::new("/proc")) else {
        assert!(!required, "cgroup v2 is not mounted");
        return println!("skipped: cgroup v2 is not mounted");
    };
    let name = format!("bailiwick-usage-test-{}", std::process::id());
    let folder = layout.v2.join(&name);
    if let Err(error) = std::fs::create_dir(&folder) {
        assert!(!required, "{}: {error}", folder.display());
        return println!("skipped: {}: {error}", folder.display());
    }
    let mut meter = Meter { layout, max_cgroups: 10_000, accounts: Accounts::default(), last: None };
    let before = meter.measure();
    let script = format!(
        "echo $$ > {}/cgroup.procs; i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done",
        folder.display()
    );
    let ran = Command::new("/bin/sh").args(["-c", &script]).status();
    let after = meter.measure();
    std::fs::remove_dir(&folder).unwrap();

    assert!(before.unwrap().interval.is_none() && ran.unwrap().success());
    let interval = after.unwrap().interval.unwrap();
    let rows = rows::rows(&interval, "n", "c", &Pods::default()).unwrap();
    let paths = cast(rows.column_by_name("cgroup_path").unwrap(), &DataType::Utf8).unwrap();
    let index = paths.as_string::<i32>().iter().position(|path| path == Some(&format!("/{name}"))).unwrap();
    let cpu_ns = rows.column_by_name("cpu_ns").unwrap().as_primitive::<Int64Type>();
    assert!(cpu_ns.value(index) > 1_000_000, "a loop of 300000 takes more than a millisecond");
    assert!(rows.column_by_name("coverage_s").unwrap().as_primitive::<Float64Type>().value(index) > 0.0);
    assert!(cpu_ns.iter().flatten().all(|value| value >= 0));
}

#[test]
fn an_interval_is_as_long_as_it_was_though_the_clock_is_set_back() {
    let steady = Instant::now();
    let last = Moment { steady, time_us: 5_000_000 };
    let after = |seconds, time_us| Moment { steady: steady + Duration::from_secs(seconds), time_us };
    assert_eq!(start_us(last, after(3, 8_000_000)), 5_000_000);
    assert_eq!(start_us(last, after(3, 1_000_000)), -2_000_000);
    assert_eq!(start_us(last, after(3, i64::MIN)), i64::MIN);
}
