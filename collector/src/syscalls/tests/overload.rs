//! More than can be taken: nothing breaks, and what was lost is counted exactly.

use std::os::unix::fs::MetadataExt;

use super::*;

/// What a child makes of each, in one go.
pub(super) const CALLS: i64 = 30_000;
/// Opens that read, and how many for one that writes.
pub(super) const READS: i64 = 200_000;
pub(super) const READS_A_WRITE: i64 = 100;
/// Processes that are made as fast as the machine can.
pub(super) const CLONES: usize = 20_000;

/// Rows, repeats and losses of one class.
fn counted(rows: &[Row], losses: &[Row], evt_type: &str, class: &str) -> (i64, i64, i64) {
    let number = |row: &Row, name: &str| row[name].as_i64().unwrap();
    let own: Vec<_> = rows.iter().filter(|row| row["evt_type"] == evt_type).collect();
    let repeats = own.iter().map(|row| number(row, "repeats")).sum();
    let lost = losses.iter().filter(|loss| loss["class"] == class).map(|loss| number(loss, "count")).sum();
    (i64::try_from(own.len()).unwrap(), repeats, lost)
}

/// Runs a child alone in a cgroup, whose events alone are taken.
async fn alone(
    what: &'static str,
    change: impl FnOnce(&mut Config) + Send + 'static,
) -> (Vec<Row>, Vec<Row>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    // Tests that do the same run at the same time.
    let name = dir.path().file_name().unwrap().to_str().unwrap();
    let alone = Folder::new(&unique(what), name);
    let only = std::fs::metadata(&alone.0).unwrap().ino();
    std::fs::write(dir.path().join("cgroup"), alone.0.to_str().unwrap()).unwrap();
    let folder = dir.path().to_owned();
    let small = move |config: &mut Config| {
        config.syscalls.only_cgroup = only;
        change(config);
    };
    let (rows, losses) = capture(small, move || child::run(what, &folder)).await;
    (rows, losses, dir)
}

fn one_page(config: &mut Config) {
    config.syscalls.process_ring_bytes = 4096;
    config.syscalls.network_ring_bytes = 4096;
    config.syscalls.file_ring_bytes = 4096;
}

/// Goal: at overload every call is a row, a repeat or a loss, in every ring.
/// Method: rings of a page, far more calls than fit, of one process alone in a
/// cgroup; with repeats counted and without.
#[tokio::test(flavor = "multi_thread")]
async fn calls_are_rows_plus_repeats_plus_losses() {
    if cannot_load() {
        return;
    }
    for repeats_after_ms in [0, 1_000] {
        let change = move |config: &mut Config| {
            one_page(config);
            config.syscalls.repeats_after_ms = repeats_after_ms;
        };
        let (rows, losses, ..) = alone("flood", change).await;
        let mut all_lost = 0;
        for (evt_type, class) in
            [("openat", "open"), ("unlinkat", "change"), ("connect", "connect"), ("setpgid", "privilege")]
        {
            let (own, repeats, lost) = counted(&rows, &losses, evt_type, class);
            let told = format!("{evt_type}: {own} rows, {repeats} repeats, {lost} lost");
            println!("{told}");
            assert_eq!(own + repeats + lost, CALLS, "{told}");
            assert!(own > 0, "{told}");
            assert!(repeats_after_ms > 0 || repeats == 0, "{told}");
            all_lost += lost;
        }
        assert!(all_lost > 0, "the rings were large enough");
        let mut seqs: Vec<_> = rows.iter().map(|row| row["seq"].as_i64().unwrap()).collect();
        seqs.sort_unstable();
        seqs.dedup();
        assert_eq!(seqs.len(), rows.len(), "every row has its own number");
    }
}

/// Goal: a thread that may take a hundredth of a processor loses what it is too
/// slow for, and counts it.
#[tokio::test(flavor = "multi_thread")]
async fn calls_are_rows_plus_losses_at_a_slow_pace() {
    if cannot_load() {
        return;
    }
    let slow = |config: &mut Config| {
        config.cpu_percent = 1;
        config.syscalls.file_ring_bytes = 1 << 16;
        config.syscalls.repeats_after_ms = 0;
    };
    let (rows, losses, ..) = alone("flood", slow).await;
    let (own, _, lost) = counted(&rows, &losses, "openat", "open");
    assert_eq!(own + lost, CALLS, "{own} rows and {lost} lost");
    assert!(own > 0 && lost > 0, "{own} rows and {lost} lost");
}

/// Goal: under a flood of opens that read, some stand for others: what was left
/// out is counted exactly, the weights are an estimate as close as the windows
/// promise, no group of files is missed, and what writes is never left out.
/// Method: a small ring, and far more opens than it holds, each of its own path.
#[tokio::test(flavor = "multi_thread")]
async fn reading_opens_are_sampled() {
    if cannot_load() {
        return;
    }
    let (rows, losses, ..) = alone("reads", |config| config.syscalls.file_ring_bytes = 1 << 16).await;
    let lost = |reason: &str| -> i64 {
        let own = losses.iter().filter(|loss| loss["class"] == "open" && loss["reason"] == reason);
        own.map(|loss| loss["count"].as_i64().unwrap()).sum()
    };
    let (full, sampled) = (lost("ring_full"), lost("sampled"));
    let opens = |kind: &str| -> Vec<(String, i64)> {
        let name = |row: &Row| Some(row.get("fd_nameraw")?.as_str()?.strip_prefix("no/")?.to_owned());
        let named = rows.iter().filter_map(|row| Some((name(row)?, row["weight"].as_i64()?)));
        named.filter(|(name, _)| name.starts_with(kind)).collect()
    };
    let weight = |kind: &str| -> i64 { opens(kind).iter().map(|(_, weight)| weight).sum() };
    let (reads, writes, estimate) = (opens("r"), opens("w"), weight("r"));
    let count = |opens: &[(String, i64)]| i64::try_from(opens.len()).unwrap();
    let told = format!(
        "{} reads for {estimate}, {} writes; {sampled} sampled, {full} lost",
        reads.len(),
        writes.len()
    );
    println!("{told}");
    let all = READS + READS / READS_A_WRITE;
    assert_eq!(count(&reads) + count(&writes) + full + sampled, all, "{told}");
    assert!(sampled > READS / 2, "{told}");
    assert!(writes.iter().all(|(_, weight)| *weight == 1) && count(&writes) + full >= all - READS, "{told}");
    // While the level is the same an estimate is less than a window wrong.
    let most = i64::from(crate::config::Syscalls::default().sample_at_most);
    let levels = 1 + reads.windows(2).filter(|pair| pair[0].1 != pair[1].1).count();
    let wrong = most * (2 * i64::try_from(levels).unwrap() + 8);
    assert!(estimate - READS <= wrong && READS - estimate <= wrong + full * most, "{told}, {levels} levels");
    for group in ["r0", "r1", "r2", "r3"] {
        let own = weight(group);
        assert!(own > estimate / 8 && own < estimate * 3 / 8, "{group}: {own}; {told}");
    }
}

/// Goal: sampling can be off; then the ring decides what is lost.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_sampled_where_it_is_off() {
    if cannot_load() {
        return;
    }
    let off = |config: &mut Config| {
        config.syscalls.file_ring_bytes = 1 << 16;
        config.syscalls.sample_at_most = 1;
    };
    let (rows, losses, ..) = alone("reads", off).await;
    let (own, repeats, lost) = counted(&rows, &losses, "openat", "open");
    assert_eq!(own + repeats + lost, READS + READS / READS_A_WRITE);
    assert!(rows.iter().all(|row| row["weight"] == 1), "a row stands for others");
    assert!(losses.iter().all(|loss| loss["reason"] != "sampled") && lost > 0, "{lost} lost");
}

/// Goal: a storm of processes is counted exactly, with a table that has room for
/// few of them. Method: a child that makes processes as fast as it can.
#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_processes_is_counted() {
    if cannot_load() {
        return;
    }
    let (rows, losses, dir) = alone("storm", |config| config.syscalls.max_processes = 64).await;
    let made: i64 = std::fs::read_to_string(dir.path().join("made")).unwrap().parse().unwrap();
    let (forks, _, lost_forks) = counted(&rows, &losses, "clone", "fork");
    let (exits, _, lost_exits) = counted(&rows, &losses, "procexit", "exit");
    println!("{made} processes: {forks} rows and {lost_forks} lost, {exits} ends and {lost_exits} lost");
    assert!(made > 100, "{made}");
    assert_eq!(forks + lost_forks, made);
    assert_eq!(exits + lost_exits, made);
}

/// Goal: the fastest flood of processes that a machine can make is counted exactly,
/// its pids do not fill the table, and what comes after it is captured as ever.
/// Method: children that share their parent's memory and end at once, by every
/// processor; once with the rings as they are, once with a page.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_clones_is_counted() {
    if cannot_load() {
        return;
    }
    for is_small in [false, true] {
        let change = move |config: &mut Config| {
            config.syscalls.max_processes = 256;
            if is_small {
                one_page(config);
            }
        };
        let (rows, losses, dir) = alone("clones", change).await;
        let made = std::fs::read_to_string(dir.path().join("made")).unwrap();
        let (made, took_us) = made.split_once(' ').unwrap();
        let (made, took_us): (i64, i64) = (made.parse().unwrap(), took_us.parse().unwrap());
        let (forks, _, lost_forks) = counted(&rows, &losses, "clone", "fork");
        let (exits, _, lost_exits) = counted(&rows, &losses, "procexit", "exit");
        let rate = made * 1_000_000 / took_us.max(1);
        let told = format!(
            "{made} clones, {rate} a second: {forks} rows and {lost_forks} lost, {exits} ends and {lost_exits} lost"
        );
        println!("{told}");
        assert_eq!(forks + lost_forks, made, "{told}");
        assert_eq!(exits + lost_exits, made, "{told}");
        assert!(forks > 0 && exits > 0 && (!is_small || lost_forks + lost_exits > 0), "{told}");
        let file = format!("{}/made", dir.path().canonicalize().unwrap().display());
        the(&rows, &[("evt_type", "openat".into()), ("fd_name", file.into())]);
    }
}

/// Goal: equal events are one row more, with their exact number.
#[tokio::test(flavor = "multi_thread")]
async fn what_repeats_is_counted() {
    if cannot_load() {
        return;
    }
    let (rows, losses, ..) = alone("flood", |_| {}).await;
    let (own, repeats, lost) = counted(&rows, &losses, "openat", "open");
    assert_eq!(own + repeats + lost, CALLS);
    assert!(own < CALLS / 10, "{own} rows of {CALLS} equal calls");
}
