//! Accounts: whose budget a query is run on.
//!
//! ```text
//!   principal ─▶ account: its tenant ─┬▶ lane      threads of its own; they give way once it computed much
//!                                     ├▶ memory    a floor that nobody takes, a part of what is in common
//!                                     └▶ spill     a part of the disk
//! ```
//!
//! Everybody of one tenant shares an account, so more tokens or connections are
//! not more of anything. An account is there while it is used and a little longer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use datafusion::execution::disk_manager::DiskManagerBuilder;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};

use super::lane::{Credit, Lane};
use super::memory::Memory;
use crate::metrics::Metrics;
use crate::{Config, Principal, QueryError};

/// How often it is looked at who computes much.
const WATCH_EVERY: Duration = Duration::from_millis(50);
/// How long the threads of an account stay that asks nothing.
const LANE_STAYS: Duration = Duration::from_secs(5);
/// How long an account stays that asks nothing: until what it may owe is paid back.
const ACCOUNT_STAYS: Duration = Duration::from_secs(15);
/// Beyond so many the threads of all who ask nothing end at once.
const MANY_LANES: usize = 32;

/// All accounts.
#[derive(Debug)]
pub(super) struct Accounts {
    base: Arc<RuntimeEnv>,
    memory: Memory,
    spill_bytes: u64,
    spill_of_one: u64,
    metrics: Metrics,
    of: Mutex<HashMap<String, Arc<Account>>>,
}

/// One account.
#[derive(Debug)]
pub(crate) struct Account {
    name: String,
    environment: Arc<RuntimeEnv>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    lane: Option<Arc<Lane>>,
    /// Lanes that gave way and still have work.
    former: Vec<Weak<Lane>>,
    credit: Credit,
    asked: Instant,
}

// === impl Accounts ===

impl Accounts {
    /// No accounts yet, over an environment whose caches and store all share.
    pub(super) fn new(
        config: &Config,
        at_once: usize,
        base: Arc<RuntimeEnv>,
        metrics: Metrics,
    ) -> Result<Arc<Self>, QueryError> {
        let accounts = Arc::new(Self {
            base,
            memory: Memory::new(config, at_once),
            spill_bytes: config.spill_bytes,
            spill_of_one: config.tenant_spill_bytes.min(config.spill_bytes),
            metrics,
            of: Mutex::default(),
        });
        let watched = Arc::downgrade(&accounts);
        std::thread::Builder::new()
            .name("query-accounts".to_owned())
            .spawn(move || watch(&watched))
            .map_err(|error| QueryError::internal(format!("no thread to watch queries: {error}")))?;
        Ok(accounts)
    }

    /// The account of this name.
    pub(super) fn of(&self, name: &str) -> Result<Arc<Account>, QueryError> {
        let mut all = self.all();
        if let Some(account) = all.get(name) {
            account.state().asked = Instant::now();
            self.share_disk(&all);
            return Ok(Arc::clone(account));
        }
        let disk = DiskManagerBuilder::default().with_max_temp_directory_size(self.spill_of_one);
        let environment = RuntimeEnvBuilder::from_runtime_env(&self.base)
            .with_memory_pool(self.memory.pool())
            .with_disk_manager_builder(disk)
            .build_arc()?;
        let now = Instant::now();
        let state = State { lane: None, former: Vec::new(), credit: Credit::new(now), asked: now };
        let account = Arc::new(Account { name: name.to_owned(), environment, state: Mutex::new(state) });
        all.insert(name.to_owned(), Arc::clone(&account));
        self.share_disk(&all);
        Ok(account)
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Arc<Account>>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves to each what the others have not written. Looked at when a query
    /// begins, so what begins at the same moment may exceed the whole.
    fn share_disk(&self, all: &HashMap<String, Arc<Account>>) {
        let used = |account: &Account| account.environment.disk_manager.used_disk_space();
        let total: u64 = all.values().map(|account| used(account)).sum();
        for account in all.values() {
            let own = used(account);
            let left = self.spill_bytes.saturating_sub(total - own).min(self.spill_of_one);
            if let Err(error) = account.environment.disk_manager.set_max_temp_directory_size(left) {
                tracing::warn!(%error, "an account's disk for spilling cannot be limited");
            }
        }
    }

    /// Counts what was computed, and lets go of what nobody uses.
    fn look(&self, now: Instant) {
        let mut all = self.all();
        for account in all.values() {
            if account.look(now) {
                self.metrics.slowed.inc();
            }
        }
        let lanes = all.values().filter(|account| account.state().lane.is_some()).count();
        let stays = if lanes > MANY_LANES { Duration::ZERO } else { LANE_STAYS };
        for account in all.values() {
            account.rest(now, stays);
        }
        all.retain(|_, account| !account.is_over(now));
    }
}

/// Looks after accounts for as long as there are any to look after.
fn watch(accounts: &Weak<Accounts>) {
    while let Some(accounts) = accounts.upgrade() {
        accounts.look(Instant::now());
        drop(accounts);
        std::thread::sleep(WATCH_EVERY);
    }
}

// === impl Account ===

impl Account {
    /// Memory, disk and caches of its queries.
    pub(super) fn environment(&self) -> &Arc<RuntimeEnv> {
        &self.environment
    }

    /// Threads for its next query.
    pub(crate) fn lane(&self) -> Result<Arc<Lane>, QueryError> {
        let mut state = self.state();
        if let Some(lane) = &state.lane {
            return Ok(Arc::clone(lane));
        }
        let lane = Lane::start()
            .map_err(|error| QueryError::internal(format!("no threads for {}: {error}", self.name)))?;
        if state.credit.is_used_up() {
            lane.give_way();
        }
        let lane = Arc::new(lane);
        state.lane = Some(Arc::clone(&lane));
        Ok(lane)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it has to give way from now on.
    fn look(&self, now: Instant) -> bool {
        let mut state = self.state();
        let lane = state.lane.clone();
        let lanes = state.former.iter().filter_map(Weak::upgrade).chain(lane.clone());
        let used = lanes.map(|lane| lane.newly_used_ns()).sum();
        state.credit.count(used, now);
        let Some(lane) = lane else { return false };
        if state.credit.is_used_up() && !lane.gives_way() {
            lane.give_way();
            return true;
        }
        if state.credit.is_back() && lane.gives_way() {
            // What it does now goes on as it is; what comes next is as quick as others'.
            state.former.push(Arc::downgrade(&lane));
            state.lane = None;
        }
        false
    }

    /// Ends threads that have had nothing to do for so long.
    fn rest(&self, now: Instant, stays: Duration) {
        let mut state = self.state();
        let idle = state.lane.as_ref().is_some_and(|lane| Arc::strong_count(lane) == 1);
        if idle && now.saturating_duration_since(state.asked) > stays {
            state.lane = None;
        }
        state.former.retain(|lane| lane.strong_count() > 0);
    }

    fn is_over(self: &Arc<Self>, now: Instant) -> bool {
        let state = self.state();
        let unused = state.lane.is_none() && state.former.is_empty() && Arc::strong_count(self) == 1;
        unused && now.saturating_duration_since(state.asked) > ACCOUNT_STAYS
    }
}

/// The name of the account that a principal's queries are run on: its tenant's,
/// that of its tenants together if it has several, the operators' otherwise.
pub(super) fn name_of(principal: &Principal) -> String {
    match principal.scope().tenants() {
        Some(tenants) if tenants.len() != 1 => {
            tenants.iter().map(ToString::to_string).collect::<Vec<_>>().join("+")
        }
        _ => principal.owner().to_owned(),
    }
}

#[cfg(test)]
mod tests;
