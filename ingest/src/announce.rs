//! What has just become durable, told to whoever follows.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bailiwick_lake::EncodedRows;
use tokio::sync::mpsc;

/// Bytes that a slow follower may be behind before it is cut off.
const BEHIND_AT_MOST_BYTES: usize = 64 << 20;

/// A WAL object that is durable, as followers get it.
#[derive(Debug)]
pub(crate) struct Announced {
    pub(crate) number: u64,
    pub(crate) rows: Vec<EncodedRows>,
}

/// Tells followers about WAL objects, in order.
#[derive(Debug)]
pub(crate) struct Announcer {
    // Both change together, so that who joins knows exactly what it will not hear.
    told: Mutex<Told>,
    behind_at_most_bytes: usize,
}

#[derive(Debug)]
struct Told {
    last_number: u64,
    followers: Vec<Follower>,
}

#[derive(Debug)]
struct Follower {
    queue: mpsc::UnboundedSender<Arc<Announced>>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// One follower's end. It hears nothing more once it is too far behind.
#[derive(Debug)]
pub(crate) struct Heard {
    queue: mpsc::UnboundedReceiver<Arc<Announced>>,
    waiting_bytes: Arc<AtomicUsize>,
}

// === impl Announced ===

impl Announced {
    fn bytes(&self) -> usize {
        self.rows.iter().map(|rows| rows.arrow_ipc.len()).sum()
    }
}

// === impl Announcer ===

impl Announcer {
    pub(crate) fn new(last_number: u64) -> Self {
        let told = Mutex::new(Told { last_number, followers: Vec::new() });
        Self { told, behind_at_most_bytes: BEHIND_AT_MOST_BYTES }
    }

    pub(crate) fn announce(&self, number: u64, rows: &[EncodedRows]) {
        let announced = Arc::new(Announced { number, rows: rows.to_vec() });
        let bytes = announced.bytes();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.last_number = number;
        told.followers.retain(|follower| {
            let waiting = follower.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
            // However large, an object is heard by whoever keeps up.
            (waiting == 0 || waiting + bytes <= self.behind_at_most_bytes)
                && follower.queue.send(Arc::clone(&announced)).is_ok()
        });
    }

    /// The last number that the follower will not hear of, and what it hears.
    pub(crate) fn follow(&self) -> (u64, Heard) {
        let (sender, queue) = mpsc::unbounded_channel();
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.followers.push(Follower { queue: sender, waiting_bytes: Arc::clone(&waiting_bytes) });
        (told.last_number, Heard { queue, waiting_bytes })
    }
}

// === impl Heard ===

impl Heard {
    /// The next object, or nothing when this follower was too far behind.
    pub(crate) async fn next(&mut self) -> Option<Arc<Announced>> {
        let announced = self.queue.recv().await?;
        self.waiting_bytes.fetch_sub(announced.bytes(), Ordering::Relaxed);
        Some(announced)
    }
}

#[cfg(test)]
mod tests {
    use bailiwick_proto::Table;

    use super::*;

    fn rows(bytes: usize) -> Vec<EncodedRows> {
        vec![EncodedRows { table: Table::Usage, rows: 1, arrow_ipc: vec![0; bytes].into() }]
    }

    #[tokio::test]
    async fn who_is_too_far_behind_is_cut_off_after_what_it_still_gets_in_order() {
        let announcer = Announcer { behind_at_most_bytes: 100, ..Announcer::new(4) };
        let (last, mut slow) = announcer.follow();
        let (_, mut quick) = announcer.follow();
        assert_eq!(last, 4);
        for number in 5..9 {
            announcer.announce(number, &rows(40));
            assert_eq!(quick.next().await.unwrap().number, number);
        }
        assert_eq!(slow.next().await.unwrap().number, 5);
        assert_eq!(slow.next().await.unwrap().number, 6);
        assert!(slow.next().await.is_none());
        assert_eq!(announcer.follow().0, 8);
    }

    #[tokio::test]
    async fn one_object_over_the_limit_is_still_heard() {
        let announcer = Announcer { behind_at_most_bytes: 100, ..Announcer::new(0) };
        let (_, mut heard) = announcer.follow();
        announcer.announce(1, &rows(1000));
        assert_eq!(heard.next().await.unwrap().number, 1);
    }
}
