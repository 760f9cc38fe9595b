//! A listener's connections: how many there are, of whom, and who goes when there is no room.
//!
//! ```text
//!   accepted ─▶ its address has its share? ─▶ no place is free? ─▶ a place
//!                its oldest stranger goes,     anybody's oldest stranger goes, else it
//!                else it is refused            waits, and all behind it in the kernel
//! ```
//!
//! A stranger is a connection of which it is not known whose it is: nobody has
//! logged in on it. It costs whoever opens it next to nothing, so it is worth the
//! least: it goes for one that came later, whether it says nothing or asks what
//! everybody may ask. One that has just come is left alone for a moment, so that
//! clients that come together do not push each other out before any of them could
//! log in, and so that probes are answered.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// How long a stranger is safe. A login takes a few milliseconds, of which the
/// longest part is a network's.
const SAFE_FOR: Duration = Duration::from_secs(1);
/// How often it is looked for a stranger that is safe no longer.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Which connections an address's share is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counted {
    /// Every one.
    All,
    /// Those on which nobody has logged in.
    Strangers,
}

/// A listener's places.
#[derive(Debug)]
pub(crate) struct Places {
    all: Arc<Semaphore>,
    share: usize,
    counted: Counted,
    safe_for: Duration,
    held: Mutex<Held>,
}

/// Connections in the order in which they came, by where they came from.
#[derive(Debug, Default)]
struct Held {
    next: u64,
    by_source: HashMap<Source, BTreeMap<u64, Holder>>,
}

#[derive(Debug)]
struct Holder {
    came: Instant,
    stranger: bool,
    leave: CancellationToken,
}

/// One connection's place; it is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    source: Source,
    number: u64,
    leave: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

/// What counts as one address. Of IPv6 whoever has one has the 2⁶⁴ beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Source(IpAddr);

// === impl Places ===

impl Places {
    /// `max` connections, of which one address has `share`.
    pub(crate) fn new(max: usize, share: usize, counted: Counted) -> Arc<Self> {
        Self::with_safety(max, share, counted, SAFE_FOR)
    }

    fn with_safety(max: usize, share: usize, counted: Counted, safe_for: Duration) -> Arc<Self> {
        let all = Arc::new(Semaphore::new(max));
        Arc::new(Self { all, share, counted, safe_for, held: Mutex::default() })
    }

    /// A place for who has just been accepted; waits for one. `None` at once if its
    /// address has its share and nobody of it to send away.
    pub(crate) async fn take(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let source = Source::of(address);
        if !self.fits(source) {
            return None;
        }
        let permit = loop {
            if let Ok(permit) = Arc::clone(&self.all).try_acquire_owned() {
                break permit;
            }
            self.held().send_one_away(self.safe_for, |_| true);
            tokio::select! {
                permit = Arc::clone(&self.all).acquire_owned() => break permit.ok()?,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        };
        let (leave, mut held) = (CancellationToken::new(), self.held());
        let number = held.next;
        held.next += 1;
        let holder = Holder { came: Instant::now(), stranger: true, leave: leave.clone() };
        held.by_source.entry(source).or_default().insert(number, holder);
        Some(Place { places: Arc::clone(self), source, number, leave, _permit: permit })
    }

    /// Whether one more of an address fits into its share, by now.
    fn fits(&self, source: Source) -> bool {
        let mut held = self.held();
        let counts = |holder: &&Holder| self.counted == Counted::All || holder.stranger;
        let has = held.by_source.get(&source).map_or(0, |has| has.values().filter(counts).count());
        has < self.share || held.send_one_away(self.safe_for, |other| other == source)
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Held ===

impl Held {
    /// Ends the oldest stranger of those sources, if there is one that is not safe.
    fn send_one_away(&mut self, safe_for: Duration, of: impl Fn(Source) -> bool) -> bool {
        let holders = self.by_source.iter().filter(|(source, _)| of(**source));
        let strangers = holders.flat_map(|(source, holders)| {
            let strangers = holders.iter().filter(|(_, holder)| holder.stranger);
            strangers.map(|(number, holder)| (*number, *source, holder.came))
        });
        let oldest = strangers.min_by_key(|(number, ..)| *number);
        let Some((number, source, _)) = oldest.filter(|(.., came)| came.elapsed() >= safe_for) else {
            return false;
        };
        // It is taken off the list now: whoever comes next must not find it again.
        if let Some(holder) = self.remove(source, number) {
            holder.leave.cancel();
        }
        true
    }

    fn remove(&mut self, source: Source, number: u64) -> Option<Holder> {
        let holders = self.by_source.get_mut(&source)?;
        let holder = holders.remove(&number);
        if holders.is_empty() {
            self.by_source.remove(&source);
        }
        holder
    }
}

// === impl Place ===

impl Place {
    /// Somebody has logged in: it is no stranger from now on.
    pub(crate) fn logged_in(&self) {
        let mut held = self.places.held();
        let holders = held.by_source.get_mut(&self.source);
        if let Some(holder) = holders.and_then(|holders| holders.get_mut(&self.number)) {
            holder.stranger = false;
        }
    }

    /// Waits until it has to go for another.
    pub(crate) async fn taken_away(&self) {
        self.leave.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.held().remove(self.source, self.number);
    }
}

// === impl Source ===

impl Source {
    fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    const A: &str = "192.0.2.1";
    const B: &str = "192.0.2.2";

    fn places(max: usize, share: usize, counted: Counted) -> Arc<Places> {
        Places::with_safety(max, share, counted, Duration::ZERO)
    }

    async fn take(places: &Arc<Places>, address: &str) -> Option<Place> {
        places.take(address.parse().unwrap()).await
    }

    fn must_go(place: &Place) -> bool {
        place.taken_away().now_or_never().is_some()
    }

    #[tokio::test]
    async fn an_addresss_oldest_stranger_goes_for_its_next_one() {
        let places = places(8, 2, Counted::All);
        let (first, second) = (take(&places, A).await.unwrap(), take(&places, A).await.unwrap());
        let other = take(&places, B).await.unwrap();
        first.logged_in();
        let third = take(&places, A).await.unwrap();
        assert_eq!([&first, &second, &third, &other].map(must_go), [false, true, false, false]);
        third.logged_in();
        assert!(take(&places, A).await.is_none(), "two on which somebody has logged in are its share");
        drop(first);
        assert!(take(&places, A).await.is_some());
    }

    #[tokio::test]
    async fn who_has_logged_in_is_not_of_a_share_of_strangers() {
        let places = places(8, 1, Counted::Strangers);
        let mut known = Vec::new();
        for _ in 0..5 {
            let place = take(&places, A).await.unwrap();
            place.logged_in();
            known.push(place);
        }
        let (stranger, next) = (take(&places, A).await.unwrap(), take(&places, A).await.unwrap());
        assert!(must_go(&stranger) && !must_go(&next) && !known.iter().any(must_go));
    }

    /// Goal: strangers of many addresses keep nobody out. Method: all places are
    /// theirs; the next connection has one as soon as one of them has gone.
    #[tokio::test]
    async fn without_a_free_place_the_oldest_stranger_of_all_goes() {
        let places = places(2, 2, Counted::All);
        let (first, second) = (take(&places, A).await.unwrap(), take(&places, B).await.unwrap());
        let (third, ()) = tokio::join!(take(&places, "2001:db8::1"), async {
            first.taken_away().await;
            drop(first);
        });
        let third = third.unwrap();
        assert!(!must_go(&second));
        second.logged_in();
        third.logged_in();
        assert!(take(&places, B).now_or_never().is_none(), "those who have logged in stay");
    }

    #[tokio::test]
    async fn who_has_just_come_is_safe() {
        let places = Places::with_safety(2, 1, Counted::All, Duration::from_secs(3600));
        let first = take(&places, A).await.unwrap();
        assert!(take(&places, A).await.is_none() && !must_go(&first));
        let other = take(&places, B).await.unwrap();
        assert!(take(&places, "2001:db8::1").now_or_never().is_none());
        assert!(!must_go(&first) && !must_go(&other));
    }

    #[test]
    fn a_network_of_ipv6_is_one_address_and_a_mapped_address_is_ipv4() {
        let of = |address: &str| Source::of(address.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of(A));
        assert_ne!(of(A), of(B));
    }
}
