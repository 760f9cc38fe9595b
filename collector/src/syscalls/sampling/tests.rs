use proptest::prelude::*;

use super::*;

const RING: u64 = 1 << 20;
const TURN: Duration = Duration::from_millis(40);

/// A load of this many bytes.
fn load(bytes: u64) -> Load {
    Load { records: bytes.div_ceil(256), bytes }
}

/// A ring and what comes into it, turn by turn.
struct Flood {
    level: Level,
    now: Instant,
}

impl Flood {
    fn new(most: u32) -> Self {
        Self { level: Level::new(RING, most), now: Instant::now() }
    }

    /// A turn in which this many opens of 256 bytes came; how many were lost.
    fn turn(&mut self, opens: u64) -> u64 {
        self.now += TURN;
        let kept = opens / u64::from(self.level.one_of);
        let (room, mut load) = (RING / 256, Load::default());
        (0..kept.min(room)).for_each(|_| load.add(248));
        let lost = kept.saturating_sub(room);
        self.level.turn(&load, lost, self.now);
        lost
    }
}

#[test]
fn a_record_takes_what_the_kernel_gives_it() {
    let mut load = Load::default();
    load.add(248);
    load.add(249);
    assert_eq!(load, Load { records: 2, bytes: 256 + 264 });
    assert_eq!((load.wanted(0), load.wanted(2)), (520, 1040));
    assert_eq!(Load::default().wanted(u64::MAX), 0);
}

#[test]
fn it_rises_at_once_and_falls_slowly() {
    let start = Instant::now();
    let mut level = Level::new(RING, 64);
    assert!(!level.turn(&load(RING / 2), 0, start), "half a ring is fine");
    assert!(level.turn(&load(RING / 2 + 256), 0, start));
    assert_eq!(level.one_of, 2);
    // What is read now is of before the change in part.
    assert!(!level.turn(&load(RING), 0, start));
    // Three rings came: eight times fewer would be less than half a ring.
    assert!(level.turn(&load(RING), 2 * RING / 256, start));
    assert_eq!(level.one_of, 16);
    level.turn(&load(RING), 0, start);
    level.turn(&load(RING), u64::MAX, start);
    assert_eq!(level.one_of, 64, "and no further");
    let calm = load(RING / 8 - 1);
    assert!(!level.turn(&calm, 0, start), "it waits");
    assert!(!level.turn(&calm, 0, start + CALM - Duration::from_millis(1)));
    assert!(level.turn(&calm, 0, start + CALM));
    assert!(!level.turn(&calm, 0, start + CALM + CALM / 2));
    assert!(!level.turn(&load(RING / 8), 0, start + 2 * CALM), "not so calm any more");
    assert_eq!(level.one_of, 32);
}

#[test]
fn a_loss_in_an_almost_empty_ring_counts() {
    let mut level = Level::new(RING, 64);
    let start = Instant::now();
    assert!(level.turn(&Load::default(), 1, start));
    assert_eq!(level.one_of, 2);
}

#[test]
fn it_can_be_off() {
    for most in [0, 1] {
        let mut flood = Flood::new(most);
        assert!(flood.turn(1_000_000) > 0);
        assert_eq!(flood.level.one_of, 1);
    }
}

proptest! {
    /// Goal: whatever comes, the level is within its bounds, and never falls by
    /// more than half, nor within a second of the last fall.
    #[test]
    fn it_stays_in_bounds(
        most in 1_u32..200,
        turns in proptest::collection::vec((0_u64..2 * RING, prop::option::of(0_u64..10_000), 0_u64..2_000), 0..100),
    ) {
        let mut level = Level::new(RING, most);
        let (mut now, mut fell) = (Instant::now(), None);
        for (bytes, lost, later_ms) in turns {
            now += Duration::from_millis(later_ms);
            let before = level.one_of;
            let changed = level.turn(&load(bytes), lost.unwrap_or(0), now);
            prop_assert_eq!(changed, before != level.one_of);
            prop_assert!(level.one_of >= 1 && level.one_of <= most);
            if level.one_of < before {
                prop_assert_eq!(level.one_of, (before / 2).max(1));
                prop_assert!(fell.is_none_or(|then| now - then >= CALM));
                fell = Some(now);
            }
        }
    }

    /// Goal: a steady flood is lost in few turns only, if the most that may be
    /// left out is enough; when it ends, all is kept again.
    #[test]
    fn a_steady_flood_is_lost_for_an_instant(opens in 0_u64..64 * RING / 512) {
        let mut flood = Flood::new(64);
        for _ in 0..8 {
            flood.turn(opens);
        }
        let highest = flood.level.one_of;
        for _ in 0..100 {
            prop_assert_eq!(flood.turn(opens), 0);
            prop_assert!(flood.level.one_of <= highest, "it does not swing");
        }
        for _ in 0..7 * 27 {
            flood.turn(0);
        }
        prop_assert_eq!(flood.level.one_of, 1);
    }
}
