//! Places to run in, handed out so that nobody's queries wait behind another's.
//!
//! ```text
//!   account ─▶ its own line ─┐   so many of one account run, so many of it wait
//!   account ─▶ its own line ─┼─▶ a place that falls free goes to the account that runs fewest,
//!   account ─▶ its own line ─┘   among these to the one that has waited for its turn longest
//! ```
//!
//! The last places are kept for accounts that run nothing: however much the
//! others ask, a first query finds one. Only when those are taken too, it waits,
//! and then it is the next.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::metrics::Metrics;
use crate::{Code, Config, QueryError};

/// Of so many places one is kept for accounts that run nothing.
const ONE_KEPT_OF: usize = 4;

/// Hands out places. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Admission {
    shared: Arc<Shared>,
}

/// How many may run and wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    /// At once, of all accounts.
    pub(super) running: usize,
    /// At once, of one account.
    pub(super) running_of_one: usize,
    /// Of all accounts.
    pub(super) waiting: usize,
    /// Of one account.
    pub(super) waiting_of_one: usize,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    account: String,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    places: Places,
    metrics: Metrics,
    lines: Mutex<Lines>,
}

#[derive(Debug, Default)]
struct Lines {
    running: usize,
    waiting: usize,
    /// Counts turns, to tell who had none for longest.
    turn: u64,
    of: BTreeMap<String, Line>,
}

/// One account's.
#[derive(Debug, Default)]
struct Line {
    running: usize,
    last_turn: u64,
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    told: oneshot::Sender<Place>,
}

/// Leaves the line when it is dropped.
struct InLine<'a> {
    shared: &'a Shared,
    account: &'a str,
    number: u64,
}

// === impl Places ===

impl Places {
    /// As configured for everybody's questions.
    pub(super) fn of(config: &Config) -> Self {
        Self {
            running: config.max_concurrent,
            running_of_one: config.tenant_max_concurrent.min(config.max_concurrent),
            waiting: config.max_queued,
            waiting_of_one: config.tenant_max_queued.min(config.max_queued),
        }
    }

    /// So many at once for one account alone.
    pub(super) fn alone(running: usize, waiting: usize) -> Self {
        Self { running, running_of_one: running, waiting, waiting_of_one: waiting }
    }

    /// Whether an account that runs `own` may run one more when `all` run.
    fn leave_room(&self, own: usize, all: usize) -> bool {
        let kept = match own {
            0 => 0,
            _ if self.running_of_one == self.running => 0,
            _ => self.running / ONE_KEPT_OF,
        };
        own < self.running_of_one && all + kept < self.running
    }
}

// === impl Admission ===

impl Admission {
    pub(super) fn new(places: Places, metrics: Metrics) -> Self {
        Self { shared: Arc::new(Shared { places, metrics, lines: Mutex::default() }) }
    }

    /// Waits for a place, unless too many wait already. Cancel-safe.
    pub(super) async fn enter(&self, account: &str) -> Result<Place, QueryError> {
        let (number, turn) = {
            let mut lines = self.shared.lines();
            if lines.may_start(&self.shared.places, account) {
                lines.start(account);
                drop(lines);
                return Ok(self.shared.place(account));
            }
            self.shared.check_waiting(&lines, account)?;
            lines.wait(account)
        };
        self.shared.metrics.waiting.inc();
        let _in_line = InLine { shared: &self.shared, account, number };
        turn.await.map_err(|_| QueryError::new(Code::Cancelled, "the server stops"))
    }
}

// === impl Shared ===

impl Shared {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place that has been counted.
    fn place(self: &Arc<Self>, account: &str) -> Place {
        self.metrics.running.inc();
        Place { account: account.to_owned(), shared: Arc::clone(self) }
    }

    fn check_waiting(&self, lines: &Lines, account: &str) -> Result<(), QueryError> {
        let own = lines.of.get(account).map_or(0, |line| line.waiting.len());
        let Places { waiting, waiting_of_one, .. } = self.places;
        let (reason, message) = if own >= waiting_of_one {
            ("tenant", format!("{own} of your queries wait already, try again later"))
        } else if lines.waiting >= waiting {
            ("all", "too many queries wait already, try again later".to_owned())
        } else {
            return Ok(());
        };
        self.metrics.turned_away(reason);
        Err(QueryError::new(Code::TooBusy, message))
    }

    /// Gives free places to whoever is next.
    fn call(self: &Arc<Self>) {
        loop {
            let mut lines = self.lines();
            let Some((account, waiter)) = lines.next(&self.places) else { return };
            drop(lines);
            // Who is gone meanwhile gives the place back by dropping it.
            if let Err(unwanted) = waiter.told.send(self.place(&account)) {
                drop(unwanted);
            }
        }
    }
}

// === impl Lines ===

impl Lines {
    fn may_start(&self, places: &Places, account: &str) -> bool {
        let line = self.of.get(account);
        let nobody_before = line.is_none_or(|line| line.waiting.is_empty());
        nobody_before && places.leave_room(line.map_or(0, |line| line.running), self.running)
    }

    fn start(&mut self, account: &str) {
        self.turn += 1;
        self.running += 1;
        let turn = self.turn;
        let line = self.of.entry(account.to_owned()).or_default();
        line.running += 1;
        line.last_turn = turn;
    }

    fn wait(&mut self, account: &str) -> (u64, oneshot::Receiver<Place>) {
        self.turn += 1;
        self.waiting += 1;
        let (told, turn) = oneshot::channel();
        let number = self.turn;
        self.of.entry(account.to_owned()).or_default().waiting.push_back(Waiter { number, told });
        (number, turn)
    }

    /// Takes the next waiter out of its line and counts it as running.
    fn next(&mut self, places: &Places) -> Option<(String, Waiter)> {
        let all = self.running;
        let ready = |line: &Line| !line.waiting.is_empty() && places.leave_room(line.running, all);
        let next = self.of.iter().filter(|(_, line)| ready(line));
        let account = next.min_by_key(|(_, line)| (line.running, line.last_turn))?.0.clone();
        let waiter = self.of.get_mut(&account)?.waiting.pop_front()?;
        self.waiting -= 1;
        self.start(&account);
        Some((account, waiter))
    }

    /// Forgets an account of which there is nothing.
    fn tidy(&mut self, account: &str) {
        if self.of.get(account).is_some_and(|line| line.running == 0 && line.waiting.is_empty()) {
            self.of.remove(account);
        }
    }
}

// === impl InLine ===

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.shared.metrics.waiting.dec();
        let mut lines = self.shared.lines();
        let Some(line) = lines.of.get_mut(self.account) else { return };
        let before = line.waiting.len();
        // Whose turn has come is not in line any more.
        line.waiting.retain(|waiter| waiter.number != self.number);
        let left = before - line.waiting.len();
        lines.waiting -= left;
        lines.tidy(self.account);
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.metrics.running.dec();
        {
            let mut lines = self.shared.lines();
            lines.running -= 1;
            if let Some(line) = lines.of.get_mut(&self.account) {
                line.running -= 1;
            }
            lines.tidy(&self.account);
        }
        self.shared.call();
    }
}

#[cfg(test)]
mod tests;
