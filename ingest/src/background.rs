//! Work that may take long, on a thread that gives way to all others.
//!
//! Sorting and writing Parquet keeps a processor busy for seconds. On a machine
//! with few of them acknowledgements would wait behind it.

use tokio::sync::oneshot;

use crate::IngestError;

/// How far it gives way: as `nice -n 10` does.
const NICE: libc::c_int = 10;

/// Does the work on a thread of its own and waits for it.
pub(crate) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, IngestError> {
    let (done, result) = oneshot::channel();
    let thread = std::thread::Builder::new().name("bailiwick-flush".into());
    let spawned = thread.spawn(move || {
        give_way();
        // Nobody may be waiting any more.
        let _ = done.send(work());
    });
    spawned.map_err(|source| IngestError::Thread { source })?;
    result.await.map_err(|_| IngestError::Thread { source: std::io::Error::other("it ended by a panic") })
}

/// Lowers this thread's priority; where that is refused it is only as high as
/// the others'.
#[allow(unsafe_code, reason = "the standard library has no priorities")]
fn give_way() {
    // SAFETY: it takes numbers only; on Linux 0 is the calling thread.
    if unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) } != 0 {
        tracing::debug!("the priority of a flush cannot be lowered");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_caller_gets_what_the_thread_made_and_keeps_its_own_priority() {
        let nice = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            // The 19th field; the second is a name in brackets that may hold blanks.
            stat.rsplit(") ").next().unwrap().split(' ').nth(16).unwrap().parse::<i32>().unwrap()
        };
        let before = nice();
        assert_eq!(run(nice).await.unwrap(), (before + NICE).min(NICE));
        assert_eq!(nice(), before);
    }

    #[tokio::test]
    async fn a_thread_that_panics_is_an_error() {
        let failed = run(|| panic!("in the background")).await.map(|(): ()| ());
        assert!(failed.is_err());
    }
}
