//! Collectors that move, ingesters that die anywhere, a store that fails, clocks
//! that differ: sent is stored once.
//!
//! One task plays all parts and draws every choice from a seed, so a seed that
//! fails fails again. Ingesters are the real [`Wal`] and [`Flusher`]; one that
//! was replaced may wake up and try to go on, and any of them may finish what
//! another has left, whether that is alive or not.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bailiwick_lake::Lake;
use bailiwick_proto::{CollectorId, IngesterId, Table};
use object_store::memory::InMemory;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio_util::sync::CancellationToken;

use super::rows::{NOON_US, stored};
use super::store::{Fate, Faulty, Operation};
use super::takeover::{flusher_of, ready, take_over_of};
use crate::carry::Policy;
use crate::dedupe::Verdict;
use crate::flush::{Flusher, Round};
use crate::upkeep::retention::SharedRetention;
use crate::upkeep::{self, ByHand, Upkeep};
use crate::wal::{Ready, Wal};
use crate::window::Window;
use crate::{Config, IngestError};

const SEEDS: u64 = 2000;
const STEPS: usize = 40;
const TABLES: [Table; 2] = [Table::Losses, Table::Queries];
const SHORT_STEPS: usize = 36;
const HOUR_US: i64 = 3_600_000_000;

/// A bucket in which nothing has happened yet.
static TABLES_MADE: OnceLock<InMemory> = OnceLock::new();

/// A collector: what it sends keeps its number until it is acknowledged.
struct Sender {
    name: CollectorId,
    batches: Vec<(Table, Vec<i64>)>,
    acked: usize,
    next: u64,
    /// The ingester that it sends to.
    at: usize,
}

/// One process's parts.
struct Ingester {
    wal: Wal,
    flusher: Flusher,
    window: Window,
    /// A flush whose small rows are carried over and which is not committed.
    flushing: Option<(Round, Option<u64>, Window)>,
    deletable: Vec<u64>,
}

/// A name under which processes run, one after the other.
struct Seat {
    name: IngesterId,
    owner: Option<Ingester>,
    sleeper: Option<Ingester>,
    /// How far its clock is off.
    skew_us: i64,
}

struct World {
    random: StdRng,
    store: Arc<Faulty>,
    lake: Arc<Lake>,
    senders: Vec<Sender>,
    seats: Vec<Seat>,
    next_number: i64,
    now_us: i64,
    /// Whether the store's temper changes by itself.
    has_weather: bool,
}

// === impl Sender ===

impl Sender {
    fn ready(&self, seq: u64) -> Option<Ready> {
        let (table, numbers) = self.batches.get(seq as usize)?;
        Some(ready(self.name.as_str(), seq, *table, numbers))
    }
}

// === impl Ingester ===

impl Ingester {
    /// The first half of a flush: what is too small for a file is carried over.
    async fn begin_flush(&mut self, policy: Option<Policy>, now_us: i64) -> Result<(), IngestError> {
        let round = self.flusher.plan(&self.window, policy.as_ref(), now_us).await?;
        let flushing = std::mem::take(&mut self.window);
        let (mut later, mut carried) = (Window::default(), None);
        if let Some((rows, since_us)) = round.small() {
            match self.wal.carry(rows, since_us, now_us).await {
                Ok(landed) => {
                    carried = Some(landed.number);
                    later.push(&landed)
                }
                Err(error) => {
                    self.window = flushing;
                    return Err(error);
                }
            }
        }
        self.window = later;
        self.flushing = Some((round, carried, flushing));
        Ok(())
    }

    /// The second half: the rest becomes files.
    async fn finish_flush(&mut self) -> Result<(), IngestError> {
        let Some((round, carried, mut flushing)) = self.flushing.take() else { return Ok(()) };
        let done = self.flusher.commit(&round, carried).await;
        match done {
            Ok(()) => self.deletable.extend(flushing.into_numbers()),
            Err(_) => {
                flushing.append(std::mem::take(&mut self.window));
                self.window = flushing;
            }
        }
        done
    }

    async fn clean_up(&mut self) {
        let newest = self.wal.last_number();
        let kept: Vec<u64> = self.deletable.extract_if(.., |number| *number == newest).collect();
        let _ = self.flusher.clean_up(&mut self.deletable).await;
        self.deletable.extend(kept);
    }
}

// === impl World ===

impl World {
    async fn new(seed: u64) -> Self {
        let store = Faulty::over(Arc::new(TABLES_MADE.get().unwrap().fork()));
        let lake = Lake::over(store.clone(), "c").await.unwrap();
        let mut random = StdRng::seed_from_u64(seed);
        let sender =
            |name: &str| Sender { name: name.parse().unwrap(), batches: vec![], acked: 0, next: 0, at: 0 };
        let senders = vec![sender("node-1"), sender("node-2"), sender("node-3")];
        let mut seat = |name: &str| Seat {
            name: name.parse().unwrap(),
            owner: None,
            sleeper: None,
            skew_us: random.random_range(-HOUR_US..HOUR_US),
        };
        // With one ingester half of the time, as in a small installation.
        let names = ["ingest-0", "ingest-1", "ingest-2"];
        let seats =
            names[..if seed.is_multiple_of(2) { 1 } else { 3 }].iter().map(|name| seat(name)).collect();
        Self { random, store, lake, senders, seats, next_number: 0, now_us: NOON_US, has_weather: true }
    }

    /// Gives the store another temper, drawn from the seed.
    fn weather(&mut self) {
        if !self.has_weather {
            return;
        }
        let mut random = StdRng::seed_from_u64(self.random.random());
        let (fails, dies) = (self.random.random_range(0..30), self.random.random_range(0..8));
        self.store.faults.decide(move |operation, _| {
            let changes = matches!(operation, Operation::Write | Operation::Delete);
            let drawn = random.random_range(0..100);
            match (drawn, random.random_range(0..3)) {
                (0..30, 0) if drawn < fails => Fate::Fails,
                (0..30, 1) if drawn < fails && changes => Fate::ReplyLost,
                (0..30, 2) if drawn < fails && changes => Fate::Late(random.random_range(1..60)),
                (30..40, 0) if drawn - 30 < dies => Fate::DiesBefore,
                (30..40, 1) if drawn - 30 < dies && changes => Fate::DiesAfter,
                _ => Fate::Done,
            }
        });
    }

    async fn step(&mut self) {
        self.now_us += self.random.random_range(0..120) * 1_000_000;
        let seat = self.random.random_range(0..self.seats.len());
        match self.random.random_range(0..100) {
            0..10 => self.weather(),
            10..15 => self.replace_owner(seat),
            15..20 => self.move_sender(),
            20..40 => self.produce(),
            40..70 => self.exchange(seat).await,
            70..88 => self.flush(seat).await,
            88..90 => self.adopt(seat).await,
            90..92 => self.keep_up(seat).await,
            92..96 => self.wake_sleeper(seat).await,
            _ => self.look().await,
        }
        self.bury(seat);
    }

    /// Whoever acted when the process died is gone.
    fn bury(&mut self, seat: usize) {
        if self.store.faults.is_dead() {
            self.store.faults.revive();
            self.seats[seat].owner = None;
        }
    }

    fn produce(&mut self) {
        let sender = self.random.random_range(0..self.senders.len());
        for _ in 0..self.random.random_range(1..4) {
            let rows = self.random.random_range(1..4);
            let numbers = (self.next_number..self.next_number + rows).collect();
            self.next_number += rows;
            let table = TABLES[self.random.random_range(0..2)];
            self.senders[sender].batches.push((table, numbers));
        }
    }

    fn move_sender(&mut self) {
        let sender = self.random.random_range(0..self.senders.len());
        self.senders[sender].at = self.random.random_range(0..self.seats.len());
    }

    /// The owner is replaced; it may be dead, or only asleep.
    fn replace_owner(&mut self, seat: usize) {
        let owner = self.seats[seat].owner.take();
        if self.random.random() {
            self.seats[seat].sleeper = owner;
        }
    }

    fn clock_us(&self, seat: usize) -> i64 {
        self.now_us + self.seats[seat].skew_us
    }

    async fn exchange(&mut self, seat: usize) {
        self.ensure_owner(seat).await;
        let Some(mut owner) = self.seats[seat].owner.take() else { return };
        if self.offer(seat, &mut owner).await.is_ok() {
            self.seats[seat].owner = Some(owner);
        }
    }

    /// Puts together a group as streams would, with repeats and gaps, and hands
    /// out acks. An error ends the ingester. Batches of a collector that has
    /// moved away may still arrive from a connection that it has forgotten.
    async fn offer(&mut self, seat: usize, ingester: &mut Ingester) -> Result<(), IngestError> {
        let now_us = self.clock_us(seat);
        self.connect(seat, ingester, now_us).await?;
        let mut group = Vec::new();
        for (index, sender) in self.senders.iter_mut().enumerate() {
            if sender.at != seat && self.random.random_range(0..5) > 0 {
                continue;
            }
            let expected = ingester.wal.expected_seq(&sender.name, 1).unwrap_or(sender.next);
            match self.random.random_range(0..10) {
                0 => sender.next = expected,
                1 => sender.next = sender.next.saturating_sub(2),
                2 => sender.next += 1,
                _ => sender.next = sender.next.max(expected),
            }
            for _ in 0..self.random.random_range(0..4) {
                let Some(ready) = sender.ready(sender.next) else { break };
                group.push((index, ready));
                sender.next += 1;
            }
        }
        let batches: Vec<Ready> = group.iter().map(|(_, ready)| ready.clone()).collect();
        let faults = Arc::clone(&self.store.faults);
        let (verdicts, landed) = tokio::select! {
            biased;
            () = faults.died() => return Err(IngestError::Stopped),
            done = ingester.wal.commit(&batches, now_us) => done?,
        };
        if let Some(landed) = &landed {
            ingester.window.push(landed);
        }
        // The reply may be lost on its way.
        let heard = self.random.random_range(0..10) > 0;
        for ((sender, ready), verdict) in group.iter().zip(verdicts) {
            let sender = &mut self.senders[*sender];
            match verdict {
                Verdict::Next | Verdict::Duplicate if heard => {
                    sender.acked = sender.acked.max(ready.seq as usize + 1)
                }
                Verdict::Next | Verdict::Duplicate => {}
                Verdict::Gap { expected_seq } => sender.next = expected_seq,
                Verdict::Left => sender.next = sender.next.min(ready.seq),
            }
        }
        Ok(())
    }

    /// Senders that come to this ingester for the first time, or again.
    async fn connect(
        &mut self,
        seat: usize,
        ingester: &mut Ingester,
        now_us: i64,
    ) -> Result<(), IngestError> {
        let coming = |sender: &&Sender| sender.at == seat;
        let coming: Vec<CollectorId> =
            self.senders.iter().filter(coming).map(|sender| sender.name.clone()).collect();
        let faults = Arc::clone(&self.store.faults);
        tokio::select! {
            biased;
            () = faults.died() => Err(IngestError::Stopped),
            done = ingester.wal.claim(&coming, now_us) => done,
        }
    }

    async fn flush(&mut self, seat: usize) {
        self.ensure_owner(seat).await;
        let (now_us, carries, cleans) = (self.clock_us(seat), self.random.random(), self.random.random());
        let below_rows = self.random.random_range(0..12);
        let at_most_us = self.random.random_range(0..900) * 1_000_000;
        let policy = Policy { below_rows, at_most_us, at_most_bytes: usize::MAX };
        let Some(mut owner) = self.seats[seat].owner.take() else { return };
        let faults = Arc::clone(&self.store.faults);
        let flushed = tokio::select! {
            biased;
            () = faults.died() => return,
            done = async {
                if owner.flushing.is_none() {
                    owner.begin_flush(Some(policy).filter(|_| carries), now_us).await?;
                    if self.random.random() {
                        return Ok(());
                    }
                }
                owner.finish_flush().await
            } => done,
        };
        let fenced = matches!(flushed, Err(IngestError::Fenced { .. }));
        if flushed.is_ok() && cleans && !faults.is_dead() {
            owner.clean_up().await;
        }
        if !fenced {
            self.seats[seat].owner = Some(owner);
        }
    }

    /// Takes the log over and commits what is left, as a start does.
    async fn ensure_owner(&mut self, seat: usize) {
        if self.seats[seat].owner.is_none()
            && let Some((wal, flusher)) = self.take_over(seat, seat).await
        {
            let (window, deletable) = (Window::default(), vec![]);
            self.seats[seat].owner = Some(Ingester { wal, flusher, window, flushing: None, deletable });
        }
    }

    /// Commits what another ingester has left in its log.
    async fn adopt(&mut self, seat: usize) {
        let other = self.random.random_range(0..self.seats.len());
        if other != seat {
            let _ = self.take_over(other, seat).await;
        }
    }

    /// Merges files, cleans up the log, compares checksums.
    async fn keep_up(&mut self, seat: usize) {
        let upkeep = upkeep::Config { merge_at_files: 2, ..upkeep::Config::default() };
        let config = Config { checkpoint_every: 5, upkeep, ..Config::default() };
        let (name, stop) = (self.seats[seat].name.clone(), CancellationToken::new());
        let (retention, metrics) = (SharedRetention::default(), upkeep::Metrics::default());
        let upkeep = Upkeep::new(Arc::clone(&self.lake), name, &config, retention, metrics, stop);
        let faults = Arc::clone(&self.store.faults);
        tokio::select! {
            biased;
            () = faults.died() => {}
            _ = upkeep.pass(ByHand { scrub_all: true, vacuum_now: true }) => {}
        }
    }

    async fn take_over(&mut self, seat: usize, by: usize) -> Option<(Wal, Flusher)> {
        let (name, now_us) = (self.seats[seat].name.clone(), self.clock_us(by));
        let faults = Arc::clone(&self.store.faults);
        let taken = tokio::select! {
            biased;
            () = faults.died() => return None,
            taken = take_over_of(&self.lake, &name, now_us) => taken,
        };
        let (wal, left) = taken.ok()?;
        let flusher = flusher_of(&self.lake, &name);
        let mut deletable = flusher.replay(&left, 4_000, now_us).await.ok()?;
        if faults.is_dead() {
            return None;
        }
        let _ = flusher.clean_up(&mut deletable).await;
        Some((wal, flusher))
    }

    /// Whoever slept while it was replaced goes on as if nothing had happened.
    async fn wake_sleeper(&mut self, seat: usize) {
        let Some(mut sleeper) = self.seats[seat].sleeper.take() else { return };
        if sleeper.flushing.is_none() {
            let _ = sleeper.flusher.flush(&sleeper.window).await;
        }
        let _ = sleeper.finish_flush().await;
        if self.offer(seat, &mut sleeper).await.is_ok() {
            self.seats[seat].sleeper = Some(sleeper);
        }
    }

    /// What a reader sees now: nothing twice, and everything acknowledged.
    async fn look(&self) {
        let calm = self.store.faults.calm();
        for table in TABLES {
            let seen = stored(&self.lake, table).await;
            assert!(seen.is_sorted_by(|a, b| a < b), "a row is there twice: {seen:?}");
            for sender in &self.senders {
                let acked = sender.batches[..sender.acked].iter().filter(|(of, _)| *of == table);
                for number in acked.flat_map(|(_, numbers)| numbers) {
                    assert!(
                        seen.binary_search(number).is_ok(),
                        "{number} was acknowledged and is not in {seen:?}"
                    );
                }
            }
        }
        drop(calm);
    }

    /// Fair weather until everything is delivered and committed.
    async fn settle(&mut self) {
        self.store.faults.release();
        while self.senders.iter().any(|sender| sender.acked < sender.batches.len()) {
            for seat in 0..self.seats.len() {
                self.exchange(seat).await;
            }
        }
        for seat in 0..self.seats.len() {
            self.seats[seat].owner = None;
            self.ensure_owner(seat).await;
        }
        self.lake = Lake::over(self.store.clone(), "c").await.unwrap();
        self.look().await;
        for table in TABLES {
            let batches = self.senders.iter().flat_map(|sender| &sender.batches);
            let mut sent: Vec<i64> =
                batches.filter(|(of, _)| *of == table).flat_map(|(_, rows)| rows.clone()).collect();
            sent.sort_unstable();
            assert_eq!(stored(&self.lake, table).await, sent);
            assert!(self.lake.view(table).await.unwrap().wal.is_empty(), "everything is committed");
        }
    }
}

async fn run(seed: u64) {
    let mut world = World::new(seed).await;
    for _ in 0..STEPS {
        world.step().await;
    }
    world.settle().await;
}

/// A history in which nothing fails but one operation, which is the last of the
/// process that does it. Returns how many operations there were.
async fn run_until(seed: u64, last: u64, fate: Fate) -> u64 {
    let operations = Arc::new(AtomicU64::new(0));
    let mut world = World::new(seed).await;
    world.has_weather = false;
    let counted = Arc::clone(&operations);
    world.store.faults.decide(
        move |_, _| {
            if counted.fetch_add(1, Ordering::SeqCst) == last { fate } else { Fate::Done }
        },
    );
    for _ in 0..SHORT_STEPS {
        world.step().await;
    }
    world.settle().await;
    operations.load(Ordering::SeqCst)
}

fn make_tables() {
    TABLES_MADE.get_or_init(|| {
        let made = Arc::new(InMemory::new());
        block_on(Lake::over(made.clone(), "c")).unwrap();
        made.fork()
    });
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// Plays every number in two threads; says which one fails.
fn play(numbers: &Range<u64>, how: &str, run: impl Fn(u64) + Sync) {
    std::thread::scope(|scope| {
        for half in 0..2 {
            let (numbers, run) = (numbers.clone(), &run);
            scope.spawn(move || {
                for number in numbers.filter(|number| number % 2 == half) {
                    let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(number)));
                    assert!(played.is_ok(), "{how} {number} fails");
                }
            });
        }
    });
}

/// `BAILIWICK_SEED=n` plays one seed, `BAILIWICK_SEEDS=n` another number of them.
#[test]
fn sent_is_stored_once() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("BAILIWICK_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("BAILIWICK_SEEDS").unwrap_or(SEEDS),
    };
    make_tables();
    play(&seeds, "BAILIWICK_SEED", |seed| block_on(run(seed)));
}

/// Goal: there is no step at which a process may not die. Method: two histories,
/// of one ingester and of three, once for each of their operations, before and
/// after it.
#[test]
fn every_operation_may_be_the_last() {
    make_tables();
    for seed in [4, 5] {
        let operations = block_on(run_until(seed, u64::MAX, Fate::Done));
        assert!(operations > 100, "{operations} operations are no history");
        for fate in [Fate::DiesBefore, Fate::DiesAfter] {
            let how = format!("seed {seed}, {fate:?} operation");
            play(&(0..operations), &how, |last| {
                block_on(run_until(seed, last, fate));
            });
        }
    }
}
