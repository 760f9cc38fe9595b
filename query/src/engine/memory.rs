//! Memory of queries: one budget, of which every account has a part that nobody can take.
//!
//! ```text
//!   ┌── query.memory_bytes ─────────────────────────────────────┐
//!   │ floor │ floor │ floor │ … one for each place │  in common  │
//!   └───────────────────────────────────────────────────────────┘
//!        ▲ an account takes from its floor first, then of what is in common,
//!          query.tenant_memory_bytes in all
//! ```
//!
//! The floors are half of the budget, so an account always finds some, whatever
//! the others hold. Inside an account operators that can spill share fairly.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use datafusion::common::resources_datafusion_err;
use datafusion::error::Result as DfResult;
use datafusion::execution::memory_pool::{
    FairSpillPool, MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};

use crate::Config;

/// The whole budget. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    /// What each account has for itself, bytes.
    floor: usize,
    /// What one account may have, bytes.
    most: usize,
    common: Arc<Common>,
}

#[derive(Debug)]
struct Common {
    limit: usize,
    used: Mutex<usize>,
}

/// One account's part.
#[derive(Debug)]
pub(super) struct AccountPool {
    memory: Memory,
    fair: FairSpillPool,
    held: Mutex<usize>,
}

// === impl Memory ===

impl Memory {
    /// The budget, with floors for so many accounts at once.
    pub(super) fn new(config: &Config, accounts: usize) -> Self {
        let floors = config.memory_bytes / 2;
        let floor = floors / accounts.max(1);
        let common = Common { limit: config.memory_bytes - floors, used: Mutex::new(0) };
        Self { floor, most: config.tenant_memory_bytes.min(config.memory_bytes), common: Arc::new(common) }
    }

    /// A pool for one account.
    pub(super) fn pool(&self) -> Arc<AccountPool> {
        let (memory, fair) = (self.clone(), FairSpillPool::new(self.most));
        Arc::new(AccountPool { memory, fair, held: Mutex::new(0) })
    }

    /// How much of `held` bytes lies beyond an account's own.
    fn beyond(&self, held: usize) -> usize {
        held.saturating_sub(self.floor)
    }
}

// === impl Common ===

impl Common {
    fn used(&self) -> MutexGuard<'_, usize> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl AccountPool ===

impl AccountPool {
    fn held(&self) -> MutexGuard<'_, usize> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts more; `false` if there is none left and it may be refused.
    fn take(&self, bytes: usize, refusable: bool) -> bool {
        let mut held = self.held();
        let more = self.memory.beyond(*held + bytes) - self.memory.beyond(*held);
        let mut used = self.memory.common.used();
        if refusable && more > 0 && *used + more > self.memory.common.limit {
            return false;
        }
        *used += more;
        *held += bytes;
        true
    }

    fn give_back(&self, bytes: usize) {
        let mut held = self.held();
        let left = held.saturating_sub(bytes);
        let less = self.memory.beyond(*held) - self.memory.beyond(left);
        *held = left;
        let mut used = self.memory.common.used();
        *used = used.saturating_sub(less);
    }
}

impl MemoryPool for AccountPool {
    fn name(&self) -> &'static str {
        "account"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.fair.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.fair.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.fair.grow(reservation, additional);
        self.take(additional, false);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.fair.shrink(reservation, shrink);
        self.give_back(shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> DfResult<()> {
        self.fair.try_grow(reservation, additional)?;
        if self.take(additional, true) {
            return Ok(());
        }
        self.fair.shrink(reservation, additional);
        Err(resources_datafusion_err!("no memory is left in common for {additional} bytes more"))
    }

    fn reserved(&self) -> usize {
        self.fair.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.memory.most)
    }
}

impl fmt::Display for AccountPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: usize = 1 << 20;

    fn memory(total: usize, one: usize, accounts: usize) -> Memory {
        let config = Config { memory_bytes: total, tenant_memory_bytes: one, ..Config::default() };
        Memory::new(&config, accounts)
    }

    fn reservation(pool: &Arc<AccountPool>, can_spill: bool) -> MemoryReservation {
        let pool: Arc<dyn MemoryPool> = Arc::clone(pool) as _;
        MemoryConsumer::new("test").with_can_spill(can_spill).register(&pool)
    }

    #[test]
    fn who_takes_all_there_is_leaves_the_others_theirs() {
        let memory = memory(80 * MIB, 60 * MIB, 4);
        let (acme, globex, late) = (memory.pool(), memory.pool(), memory.pool());
        let (first, second, third) =
            (reservation(&acme, false), reservation(&globex, false), reservation(&late, false));
        // Its own ten, and all forty that are in common.
        first.try_grow(50 * MIB).unwrap();
        assert!(first.try_grow(1).is_err() && second.try_grow(10 * MIB + 1).is_err());
        second.try_grow(10 * MIB).unwrap();
        third.try_grow(10 * MIB).unwrap();
        assert!(third.try_grow(1).is_err());
        drop(first);
        second.try_grow(40 * MIB).unwrap();
    }

    #[test]
    fn no_account_has_more_than_its_share_though_more_is_free() {
        let memory = memory(80 * MIB, 20 * MIB, 4);
        let acme = memory.pool();
        let taken = reservation(&acme, false);
        taken.try_grow(20 * MIB).unwrap();
        assert!(taken.try_grow(1).is_err());
    }

    proptest! {
        /// Goal: the books are right whatever is taken and given back. Method:
        /// random steps of three accounts beside a plain model of them.
        #[test]
        fn what_is_given_back_is_there_again(steps in prop::collection::vec((0usize..3, 0usize..40, any::<bool>(), any::<bool>()), 1..100)) {
            let memory = memory(160, 100, 4);
            let pools: Vec<_> = (0..3).map(|_| memory.pool()).collect();
            let reservations: Vec<_> = pools.iter().map(|pool| reservation(pool, false)).collect();
            for (at, bytes, grows, forced) in steps {
                let taken = &reservations[at];
                match (grows, forced) {
                    (true, true) => taken.grow(bytes),
                    (true, false) => { let _ = taken.try_grow(bytes); }
                    (false, _) => taken.shrink(bytes.min(taken.size())),
                }
                let beyond: usize = reservations.iter().map(|taken| taken.size().saturating_sub(20)).sum();
                prop_assert_eq!(*memory.common.used(), beyond);
                for (pool, taken) in pools.iter().zip(&reservations) {
                    prop_assert_eq!((pool.reserved(), *pool.held()), (taken.size(), taken.size()));
                }
            }
            drop(reservations);
            prop_assert_eq!(*memory.common.used(), 0);
        }
    }
}
