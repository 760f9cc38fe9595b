//! The spool against real files: restarts, torn and damaged files, disks that
//! are full or read-only.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use bailiwick_proto::ship::Outbox;
use nix::mount::{MsFlags, mount};
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

mod marks;

struct Scene {
    dir: TempDir,
    bytes: u64,
    stop: CancellationToken,
}

// === impl Scene ===

impl Scene {
    fn new(bytes: u64) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), bytes, stop: CancellationToken::new() }
    }

    fn open(&self) -> Spool {
        self.open_at(self.dir.path().join("spool"))
    }

    fn open_at(&self, spool_dir: PathBuf) -> Spool {
        let config = Config {
            node: "n 1".into(),
            cluster: "c".into(),
            spool_dir,
            spool_bytes: self.bytes,
            ..Config::default()
        };
        Spool::open(&config, Metrics::default(), self.stop.clone()).unwrap()
    }

    fn segments(&self) -> Vec<PathBuf> {
        segment::list(&self.dir.path().join("spool")).unwrap().into_iter().map(|(_, path)| path).collect()
    }
}

fn body(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn push(spool: &Spool, text: &str) {
    assert_eq!(spool.sender().push(Table::Syscalls, Lane::Process, body(text)).await, Pushed::Kept);
}

/// Batch number `seq`, waiting until it is durable.
async fn read(outbox: &mut SpoolOutbox, seq: u64) -> String {
    let batch = outbox.next(seq).await.unwrap().unwrap();
    assert_eq!(batch.crc32c, crc32c::crc32c(&batch.arrow_ipc));
    assert_eq!((batch.seq, batch.table), (seq, Table::Syscalls));
    String::from_utf8(batch.arrow_ipc.to_vec()).unwrap()
}

#[tokio::test]
async fn numbering_goes_on_after_a_restart() {
    let scene = Scene::new(LEAST_BYTES);
    let spool = scene.open();
    assert_eq!(spool.collector_id().as_str(), "c.n-1");
    let mut outbox = spool.outbox_maker()();
    let incarnation = outbox.span().incarnation;
    for text in ["a", "b", "c"] {
        push(&spool, text).await;
    }
    assert_eq!(read(&mut outbox, 2).await, "c");
    outbox.acked(0).await.unwrap();
    assert_eq!(outbox.span().first_seq, 1);
    spool.close().await;
    drop(outbox);

    let spool = scene.open();
    let mut outbox = spool.outbox_maker()();
    assert_eq!((outbox.span().incarnation, outbox.span().next_seq), (incarnation, 3));
    assert!(spool.damage().is_none());
    push(&spool, "d").await;
    assert_eq!(read(&mut outbox, 3).await, "d");
    assert_eq!(read(&mut outbox, 1).await, "b");
    spool.close().await;
    assert!(outbox.next(4).await.unwrap().is_none(), "closed and read to the end");
}

#[tokio::test]
async fn a_spool_belongs_to_one_process() {
    let scene = Scene::new(LEAST_BYTES);
    let _first = scene.open();
    let config = Config { spool_dir: scene.dir.path().join("spool"), ..Config::default() };
    let second = Spool::open(&config, Metrics::default(), scene.stop.clone());
    assert!(matches!(second, Err(CollectorError::SpoolInUse { .. })));
}

#[tokio::test]
async fn acknowledged_segments_are_deleted_and_the_numbering_survives_it() {
    let scene = Scene::new(LEAST_BYTES);
    let spool = scene.open();
    let mut outbox = spool.outbox_maker()();
    let big = "x".repeat(40 << 10);
    for seq in 0..8 {
        push(&spool, &big).await;
        read(&mut outbox, seq).await;
    }
    assert!(scene.segments().len() > 2);
    outbox.acked(7).await.unwrap();
    assert_eq!(scene.segments().len(), 1);
    spool.close().await;
    drop(outbox);
    let spool = scene.open();
    assert_eq!(spool.outbox_maker()().span().next_seq, 8);
}

/// Goal: the least important lane is refused first, and nothing beyond its share
/// comes in. Method: fill with each lane until it is refused.
#[tokio::test]
async fn a_full_spool_refuses_the_least_important_first() {
    let scene = Scene::new(LEAST_BYTES);
    let spool = scene.open();
    let mut outbox = spool.outbox_maker()();
    let big = body(&"x".repeat(10 << 10));
    let mut next = 0;
    for lane in [Lane::File, Lane::Network, Lane::Process, Lane::Usage, Lane::Losses] {
        while spool.sender().push(Table::Syscalls, lane, big.clone()).await == Pushed::Kept {
            read(&mut outbox, next).await;
            next += 1;
        }
        let used = spool.shared.locked(|state| state.used_bytes());
        let limit = LEAST_BYTES / 100 * lane.spool_percent();
        assert!(used <= limit && used + (11 << 10) > limit, "{lane:?}: {used} of {limit}");
    }
    // Room comes back with acknowledgements; who waits for it gets it.
    let waits = spool.sender();
    let waiting = tokio::spawn(async move { waits.push(Table::ApiAccess, Lane::Audit, body("audit")).await });
    tokio::task::yield_now().await;
    outbox.acked(next - 1).await.unwrap();
    assert_eq!(waiting.await.unwrap(), Pushed::Kept);
    assert_eq!(spool.sender().push(Table::Syscalls, Lane::File, big).await, Pushed::Kept);
}

#[tokio::test]
async fn whoever_waits_for_room_is_told_of_a_stop() {
    let scene = Scene::new(LEAST_BYTES);
    let spool = scene.open();
    spool.shared.locked(|state| state.stuck = true);
    let waits = spool.sender();
    let waiting = tokio::spawn(async move { waits.push(Table::ApiAccess, Lane::Audit, body("audit")).await });
    tokio::task::yield_now().await;
    scene.stop.cancel();
    assert_eq!(waiting.await.unwrap(), Pushed::Full);
}

/// Goal: whatever a power cut leaves of the last record, the records before it
/// stay and numbering goes on. Method: cut the file at every byte of it.
#[tokio::test]
async fn a_torn_tail_is_cut() {
    let scene = Scene::new(LEAST_BYTES);
    let spool = scene.open();
    push(&spool, "first").await;
    let mut outbox = spool.outbox_maker()();
    read(&mut outbox, 0).await;
    let whole_before = std::fs::metadata(&scene.segments()[0]).unwrap().len();
    push(&spool, "second").await;
    read(&mut outbox, 1).await;
    let incarnation = outbox.span().incarnation;
    spool.close().await;
    drop(outbox);
    let path = scene.segments()[0].clone();
    let whole = std::fs::read(&path).unwrap();
    for length in whole_before..whole.len() as u64 {
        std::fs::write(&path, &whole[..length as usize]).unwrap();
        let spool = scene.open();
        let mut outbox = spool.outbox_maker()();
        assert_eq!(outbox.span().next_seq, 1, "cut at {length}");
        assert_eq!(outbox.span().incarnation, incarnation);
        assert_eq!(read(&mut outbox, 0).await, "first");
        spool.close().await;
    }
    let spool = scene.open();
    push(&spool, "again").await;
    assert_eq!(read(&mut spool.outbox_maker()(), 1).await, "again");
}

#[tokio::test]
async fn a_lost_or_damaged_spool_begins_a_new_incarnation() {
    let scene = Scene::new(LEAST_BYTES);
    let mut incarnations = Vec::new();
    for step in 0..4 {
        let spool = scene.open();
        let mut outbox = spool.outbox_maker()();
        incarnations.push(outbox.span().incarnation);
        let next = outbox.span().next_seq;
        push(&spool, "x").await;
        read(&mut outbox, next).await;
        spool.close().await;
        drop(outbox);
        let identity = scene.dir.path().join("spool/identity");
        match step {
            0 => std::fs::remove_file(identity).unwrap(),
            1 => std::fs::write(identity, "bailiwick spool 1\ncollector_id c.n-1\n").unwrap(),
            2 => scene.segments().into_iter().for_each(|path| std::fs::remove_file(path).unwrap()),
            _ => {}
        }
    }
    assert!(incarnations.windows(2).all(|pair| pair[0] < pair[1]), "{incarnations:?}");
}

/// Goal: damage in the middle loses what is damaged, counts it, and keeps the
/// rest in order under new numbers. Method: change one byte of the second of
/// three segments.
#[tokio::test]
async fn a_hole_is_counted_and_closed() {
    let scene = Scene::new(LEAST_BYTES);
    let spool = scene.open();
    let mut outbox = spool.outbox_maker()();
    let text = |n: u64| format!("{n}{}", "x".repeat(40 << 10));
    for seq in 0..6 {
        push(&spool, &text(seq)).await;
        read(&mut outbox, seq).await;
    }
    let incarnation = outbox.span().incarnation;
    spool.close().await;
    drop(outbox);
    let segments = scene.segments();
    assert_eq!(segments.len(), 3);
    let file = File::options().write(true).open(&segments[1]).unwrap();
    file.write_all_at(b"?", 100).unwrap();

    let spool = scene.open();
    assert_eq!(spool.damage().unwrap().batches, 2);
    let mut outbox = spool.outbox_maker()();
    assert!(outbox.span().incarnation > incarnation);
    let span = outbox.span();
    assert_eq!((span.first_seq, span.next_seq), (0, 4));
    for (seq, was) in (0..).zip([0, 1, 4, 5]) {
        assert_eq!(read(&mut outbox, seq).await, text(was));
    }
    spool.close().await;
    drop(outbox);
    let spool = scene.open();
    assert!(spool.damage().is_none(), "it is counted once");
}

#[tokio::test]
async fn renumbering_survives_a_restart() {
    let scene = Scene::new(LEAST_BYTES);
    let spool = scene.open();
    let mut outbox = spool.outbox_maker()();
    for (seq, name) in (0..).zip(["a", "b", "c"]) {
        push(&spool, name).await;
        read(&mut outbox, seq).await;
    }
    outbox.acked(0).await.unwrap();
    outbox.renumber().await.unwrap();
    let span = outbox.span();
    assert_eq!((span.first_seq, span.next_seq), (0, 2));
    assert_eq!(read(&mut outbox, 0).await, "b");
    spool.close().await;
    drop(outbox);
    let spool = scene.open();
    let mut outbox = spool.outbox_maker()();
    assert_eq!(outbox.span(), span);
    assert_eq!(read(&mut outbox, 1).await, "c");
}

/// Whether this process may mount; prints why a test is skipped otherwise.
fn cannot_mount() -> bool {
    if nix::unistd::geteuid().is_root() {
        return false;
    }
    assert!(std::env::var_os("BAILIWICK_REQUIRE_KERNEL").is_none(), "needs root");
    println!("skipped: needs root, to mount a small file system");
    true
}

/// A file system of one mebibyte, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(at: PathBuf) -> Self {
        std::fs::create_dir_all(&at).unwrap();
        mount(Some("tmpfs"), &at, Some("tmpfs"), MsFlags::empty(), Some("size=1m")).unwrap();
        Self(at)
    }
}

/// A folder that looks read-only until this is dropped.
struct ReadOnly(PathBuf);

impl ReadOnly {
    fn new(at: PathBuf) -> Self {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(Some(&at), &at, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
        mount(None::<&str>, &at, None::<&str>, flags, None::<&str>).unwrap();
        Self(at)
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}

/// Waits until the spool takes batches again.
async fn until_kept(sender: &SpoolSender, text: &str) -> u64 {
    let mut refused = 0;
    while sender.push(Table::Syscalls, Lane::Process, body(text)).await == Pushed::Full {
        refused += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    refused
}

/// Goal: a full disk refuses batches, ends nothing, and when space returns so
/// does the flow, with every kept batch there once and in order. Method: a real
/// disk of one mebibyte with something else on it.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_the_flow_and_not_the_process() {
    if cannot_mount() {
        return;
    }
    let scene = Scene::new(4 << 20);
    let disk = SmallDisk::new(scene.dir.path().join("disk"));
    let spool = scene.open_at(disk.0.join("spool"));
    let other = disk.0.join("other");
    std::fs::write(&other, vec![0; 700 << 10]).unwrap();
    let sender = spool.sender();
    let mut kept = Vec::new();
    let mut refused = 0;
    let text = |n: u32| format!("{n} {}", "y".repeat(16 << 10));
    for n in 0..2_000 {
        match sender.push(Table::Syscalls, Lane::Process, body(&text(n))).await {
            Pushed::Kept => kept.push(n),
            Pushed::Full => refused += 1,
        }
        if refused > 10 {
            break;
        }
    }
    assert!(refused > 10, "the disk is full and the queue is bounded");
    assert!(spool.shared.queued_bytes.load(Ordering::Relaxed) <= QUEUE_BYTES as u64);
    // The rest of the queue needs more than the disk has: free some, deliver some.
    std::fs::remove_file(&other).unwrap();
    let mut outbox = spool.outbox_maker()();
    let mut seen = 0;
    while seen < kept.len() as u64 {
        let found = read(&mut outbox, seen).await;
        assert_eq!(found, text(kept[seen as usize]));
        outbox.acked(seen).await.unwrap();
        seen += 1;
    }
    until_kept(&sender, "after").await;
    assert_eq!(read(&mut outbox, seen).await, "after");
    scene.stop.cancel();
    spool.close().await;
    drop(outbox);
    drop(sender);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_disk_is_waited_out() {
    if cannot_mount() {
        return;
    }
    let scene = Scene::new(64 << 20);
    let spool = scene.open();
    let sender = spool.sender();
    let read_only = ReadOnly::new(scene.dir.path().join("spool"));
    assert_eq!(sender.push(Table::Syscalls, Lane::Process, body("waits")).await, Pushed::Kept);
    while !spool.shared.locked(|state| state.stuck) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(sender.push(Table::Syscalls, Lane::Process, body("lost")).await, Pushed::Full);
    drop(read_only);
    let mut outbox = spool.outbox_maker()();
    assert_eq!(read(&mut outbox, 0).await, "waits");
    until_kept(&sender, "after").await;
    assert_eq!(read(&mut outbox, 1).await, "after");
    spool.close().await;
}

/// What a spool should hold, as a map from number to text.
#[derive(Debug, Clone, Copy)]
enum Step {
    Push,
    Ack(u8),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![5 => Just(Step::Push), 3 => any::<u8>().prop_map(Step::Ack), 2 => Just(Step::Restart)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Goal: whatever happens in between, what was pushed and not acknowledged is
    /// there under its number.
    #[test]
    fn what_is_not_acknowledged_stays(steps in proptest::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let scene = Scene::new(LEAST_BYTES);
            let mut spool = scene.open();
            let mut model = BTreeMap::new();
            let mut next = 0_u64;
            for step in steps {
                let mut outbox = spool.outbox_maker()();
                match step {
                    Step::Push => {
                        let text = format!("{next}{}", "z".repeat(next as usize % 7 * 5_000));
                        push(&spool, &text).await;
                        read(&mut outbox, next).await;
                        model.insert(next, text);
                        next += 1;
                    }
                    Step::Ack(share) if next > 0 => {
                        let through = next * u64::from(share) / 256;
                        outbox.acked(through).await.unwrap();
                        model = model.split_off(&(through + 1));
                    }
                    Step::Ack(_) => {}
                    Step::Restart => {
                        drop(outbox);
                        spool.close().await;
                        spool = scene.open();
                        outbox = spool.outbox_maker()();
                        assert_eq!(outbox.span().next_seq, next);
                    }
                }
                for (seq, text) in &model {
                    assert_eq!(&read(&mut outbox, *seq).await, text);
                }
            }
        });
    }
}
