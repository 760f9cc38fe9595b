//! Threads that one account's queries are planned and computed on.
//!
//! The engine computes between two awaits for as long as it likes, so on threads
//! that accounts share one's cross join would hold up another's dashboard by
//! whole milliseconds again and again. On threads of their own the kernel divides
//! the processors between them, and takes one away at once when another wakes up.

use std::collections::BTreeSet;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle, Runtime};

/// How far threads that computed for long give way: as `nice -n 15` does, which
/// leaves them a thirtieth of a processor that others want.
const NICE: libc::c_int = 15;

/// How long a thread for blocking calls stays when there are none.
const BLOCKING_STAYS: Duration = Duration::from_secs(2);

/// Planning recurses into a statement's tree; what is not used takes no memory.
const STACK_BYTES: usize = 16 << 20;

/// Threads for blocking calls, e.g. reads of a bucket that is a folder.
const MAX_BLOCKING: usize = 16;

/// Threads. They end with it, without being waited for.
#[derive(Debug)]
pub(crate) struct Lane {
    /// Taken only when it is dropped.
    runtime: Option<Runtime>,
    handle: Handle,
    threads: Arc<Threads>,
}

#[derive(Debug, Default)]
struct Threads {
    ids: Mutex<BTreeSet<libc::pid_t>>,
    gives_way: AtomicBool,
    /// Of threads that have ended, nanoseconds.
    past_ns: AtomicU64,
    /// Told already, nanoseconds.
    told_ns: AtomicU64,
}

// === impl Lane ===

impl Lane {
    /// Starts threads; they have the priority of whoever calls.
    pub(super) fn start() -> io::Result<Self> {
        let threads = Arc::new(Threads::default());
        let (started, ended) = (Arc::clone(&threads), Arc::clone(&threads));
        let runtime = Builder::new_multi_thread()
            .thread_name("query")
            .thread_stack_size(STACK_BYTES)
            .thread_keep_alive(BLOCKING_STAYS)
            .max_blocking_threads(MAX_BLOCKING)
            .on_thread_start(move || started.joined())
            .on_thread_stop(move || ended.left())
            .enable_all()
            .build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime), threads })
    }

    /// Where to spawn.
    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Processor time that its threads have used since this was asked last, nanoseconds.
    pub(super) fn newly_used_ns(&self) -> u64 {
        let used = self.threads.cpu_ns();
        used.saturating_sub(self.threads.told_ns.swap(used, Ordering::Relaxed))
    }

    /// Whether others go before it.
    pub(super) fn gives_way(&self) -> bool {
        self.threads.gives_way.load(Ordering::Relaxed)
    }

    /// From now on others go before it. There is no way back: raising a
    /// priority takes a privilege that lowering it does not.
    pub(super) fn give_way(&self) {
        self.threads.gives_way.store(true, Ordering::Relaxed);
        for id in self.threads.ids().iter() {
            lower(*id);
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // Waiting for threads is not possible inside another runtime, or on one of them.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

// === impl Threads ===

impl Threads {
    fn ids(&self) -> MutexGuard<'_, BTreeSet<libc::pid_t>> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn joined(&self) {
        let id = own_id();
        self.ids().insert(id);
        // Looked at after it can be found, so that it is lowered here or there.
        if self.gives_way.load(Ordering::Relaxed) {
            lower(id);
        }
    }

    fn left(&self) {
        let id = own_id();
        let used = cpu_ns(id);
        self.ids().remove(&id);
        self.past_ns.fetch_add(used, Ordering::Relaxed);
    }

    fn cpu_ns(&self) -> u64 {
        let now: u64 = self.ids().iter().map(|id| cpu_ns(*id)).sum();
        self.past_ns.load(Ordering::Relaxed) + now
    }
}

/// What a thread of this process has computed; zero where the kernel does not say.
fn cpu_ns(id: libc::pid_t) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/self/task/{id}/schedstat")).unwrap_or_default();
    text.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
}

#[allow(unsafe_code, reason = "the standard library does not tell the kernel's ids of threads")]
fn own_id() -> libc::pid_t {
    // SAFETY: it takes nothing and cannot fail.
    unsafe { libc::gettid() }
}

/// Lowers a thread's priority; where that is refused it is as high as the others'.
#[allow(unsafe_code, reason = "the standard library has no priorities")]
fn lower(id: libc::pid_t) {
    let Ok(id) = libc::id_t::try_from(id) else { return };
    // SAFETY: it takes numbers only.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, id, NICE) } != 0 {
        tracing::debug!("the priority of a query's thread cannot be lowered");
    }
}

// === who has computed much lately ===

/// How much processor time an account may use before others go first: so much at
/// once, and a part of what passes.
#[derive(Debug)]
pub(super) struct Credit {
    left_ns: i64,
    counted: Instant,
}

/// At most. A dashboard's queries stay below it, a day's group-by does not.
const CREDIT_NS: i64 = 300_000_000;
/// So much comes back in a second: a quarter of a processor.
const CREDIT_NS_PER_S: i64 = 250_000_000;
/// Who owes more has computed as if it were so much; it takes eight seconds to pay back.
const DEBT_NS: i64 = -2_000_000_000;

// === impl Credit ===

impl Credit {
    pub(super) fn new(now: Instant) -> Self {
        Self { left_ns: CREDIT_NS, counted: now }
    }

    /// Takes note of what has been used since the last time.
    pub(super) fn count(&mut self, used_ns: u64, now: Instant) {
        let passed = now.saturating_duration_since(self.counted).as_nanos().min(60_000_000_000);
        let back = i64::try_from(passed).unwrap_or(0) * (CREDIT_NS_PER_S / 1_000_000) / 1_000;
        let used = i64::try_from(used_ns).unwrap_or(i64::MAX);
        self.left_ns = self.left_ns.saturating_add(back).min(CREDIT_NS).saturating_sub(used).max(DEBT_NS);
        self.counted = now;
    }

    /// Whether others go first.
    pub(super) fn is_used_up(&self) -> bool {
        self.left_ns < 0
    }

    /// Whether it may go first again.
    pub(super) fn is_back(&self) -> bool {
        self.left_ns > CREDIT_NS / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nice(id: libc::pid_t) -> i32 {
        let stat = std::fs::read_to_string(format!("/proc/self/task/{id}/stat")).unwrap();
        // The 19th field; the second is a name in brackets that may hold blanks.
        stat.rsplit(") ").next().unwrap().split(' ').nth(16).unwrap().parse().unwrap()
    }

    #[tokio::test]
    async fn threads_give_way_also_those_that_come_later_and_are_counted() {
        let lane = Lane::start().unwrap();
        let before = lane.handle().spawn(async { nice(own_id()) }).await.unwrap();
        assert_eq!(before, nice(own_id()));
        lane.give_way();
        let after = lane.handle().spawn(async { nice(own_id()) }).await.unwrap();
        let later = lane.handle().spawn_blocking(|| nice(own_id())).await.unwrap();
        assert_eq!((after, later), ((before + NICE).min(19), (before + NICE).min(19)));
        let spin = || (0..30_000_000u64).fold(0, |sum: u64, number| std::hint::black_box(sum ^ number));
        lane.newly_used_ns();
        lane.handle().spawn_blocking(spin).await.unwrap();
        assert!(lane.newly_used_ns() > 1_000_000);
        drop(lane);
    }

    #[test]
    fn credit_is_used_up_by_computing_and_comes_back_with_time() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut credit = Credit::new(start);
        credit.count(200_000_000, at(100));
        assert!(!credit.is_used_up());
        credit.count(200_000_000, at(200));
        assert!(credit.is_used_up());
        // However much it was: what is owed has an end.
        credit.count(90_000_000_000, at(300));
        credit.count(0, at(9_000));
        assert!(!credit.is_used_up() && credit.is_back());
        let mut steady = Credit::new(start);
        for second in 1..100 {
            steady.count(200_000_000, at(second * 1_000));
            assert!(!steady.is_used_up());
        }
    }
}
