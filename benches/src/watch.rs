//! A reader in a process of its own, which looks at the table again and again.

use std::path::Path;
use std::time::{Duration, Instant};

use bailiwick_lake::Lake;
use bailiwick_proto::Table;

use crate::{Outcome, now_us};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks at `syscalls` for as long as said, through the same pinned view that
/// SQL reads, and writes when it showed how many rows.
pub async fn run(bucket: &Path, length: Duration, seen: &Path) -> Outcome<()> {
    let lake = Lake::open(&bucket.display().to_string(), "bench").await?;
    let (began, mut shown) = (Instant::now(), Vec::new());
    while began.elapsed() < length {
        let view = lake.view(Table::Syscalls).await?;
        let committed: u64 = view.files.iter().map(|file| file.rows).sum();
        let waiting: usize = view.wal.iter().map(|batch| batch.num_rows()).sum();
        shown.push((now_us(), committed as usize + waiting));
        tokio::time::sleep(PAUSE).await;
    }
    std::fs::write(seen, serde_json::to_vec(&shown)?)?;
    Ok(())
}

/// How long each batch took from being sent until a look showed it, milliseconds.
/// Both are times (microseconds) and how many rows by then. What no look showed
/// is left out.
pub fn delays_ms(sent: &[(i64, usize)], shown: &[(i64, usize)]) -> Vec<f64> {
    let delay = |(sent_us, rows): &(i64, usize)| {
        let (shown_us, _) = shown.iter().find(|(_, shown)| shown >= rows)?;
        Some((shown_us - sent_us) as f64 / 1_000.0)
    };
    sent.iter().filter_map(delay).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_visible_with_the_first_look_that_shows_its_last_row() {
        let (sent, shown) = ([(0, 10), (5_000, 20), (9_000, 30)], [(4_000, 10), (8_000, 19), (9_500, 20)]);
        assert_eq!(delays_ms(&sent, &shown), [4.0, 4.5]);
    }
}
