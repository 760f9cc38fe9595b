//! Giving up privileges, so that whoever takes over this process has little.
//!
//! ```text
//!   main, alone ── confine() ─┬─ all other threads, now and later: LASTING
//!                             └─ the loading thread: everything, for one piece of work
//!                                  load, attach ── settle_loader() ──▶ DRAINING
//!                                                                      └─ the thread that empties the rings
//! ```
//!
//! Linux keeps capabilities by thread, and a thread begins with its creator's. So
//! the process gives up before it has other threads, but for one that does what
//! needs more and then gives up too. None of them, nor a program that one of them
//! would start, gets any back: the bounding set is emptied as well.

mod thread;

use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::capabilities::Capabilities;

/// What a collector's threads keep: `SYS_PTRACE` for executable, folder and
/// descriptors of other users' processes, `DAC_READ_SEARCH` for an audit log and
/// paths that only their owners may read.
pub const LASTING: Capabilities = Capabilities::SYS_PTRACE.and(Capabilities::DAC_READ_SEARCH);

/// What the thread that empties the rings keeps besides: `BPF`, since before
/// Linux 5.19 not even a counter may be read without.
const DRAINING: Capabilities = LASTING.and(Capabilities::BPF);

type Work = Box<dyn FnOnce() + Send>;

/// Privileges are the process's own, so what is done about them is, too.
static LOADER: Mutex<Loader> = Mutex::new(Loader::Unconfined);

enum Loader {
    /// Nothing was given up: any thread will do.
    Unconfined,
    /// The thread that still has everything waits for work.
    Waiting(SyncSender<Work>),
    /// It has ended, or will with what it does now.
    Spent,
}

/// Gives up everything but `keep`, for good, on this thread and all that follow;
/// if a collector is to load programs, one thread keeps everything until it has.
/// Also: no program that is started gets more, and nobody but root may read this
/// process's memory or finds it in a core dump. Answers what was kept of `keep`.
///
/// Call it before there are other threads.
pub fn confine(keep: Capabilities, loads: bool) -> io::Result<Capabilities> {
    thread::forbid_more()?;
    let mut loader = lock();
    if loads && matches!(*loader, Loader::Unconfined) {
        let (sender, work) = sync_channel::<Work>(1);
        let run = move || {
            if let Ok(work) = work.recv() {
                work();
            }
        };
        std::thread::Builder::new().name("loader".into()).spawn(run)?;
        *loader = Loader::Waiting(sender);
    } else {
        *loader = Loader::Spent;
    }
    drop(loader);
    thread::keep(keep)
}

/// Does what may need privileges that the other threads do not have, where they
/// gave them up; else on any thread that may wait. The error says how it ended instead.
pub(crate) async fn with_privileges<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, oneshot::error::RecvError> {
    let (answer, answered) = oneshot::channel();
    let work: Work = Box::new(move || {
        // Nobody waits any more only when the whole process ends.
        let _ = answer.send(work());
    });
    let unsent = match take_loader() {
        Some(loader) => loader.send(work).err().map(|unsent| unsent.0),
        None => Some(work),
    };
    if let Some(work) = unsent {
        tokio::task::spawn_blocking(work);
    }
    answered.await
}

fn take_loader() -> Option<SyncSender<Work>> {
    let mut loader = lock();
    match std::mem::replace(&mut *loader, Loader::Spent) {
        Loader::Waiting(sender) => Some(sender),
        other => {
            *loader = other;
            None
        }
    }
}

/// Called by the work above when its programs are attached: from here on this
/// thread, and those that it starts, have what draining takes.
pub(crate) fn settle_loader() -> io::Result<()> {
    if matches!(*lock(), Loader::Unconfined) {
        return Ok(());
    }
    let keep = match thread::permitted()? {
        // Where the old, large one stands in for the new.
        held if !held.has(Capabilities::BPF) => DRAINING.and(Capabilities::SYS_ADMIN),
        _ => DRAINING,
    };
    thread::keep(keep).map(drop)
}

/// All sources were started: a loading thread that none of them needed ends.
pub(crate) fn dismiss_loader() {
    let mut loader = lock();
    if matches!(*loader, Loader::Waiting(_)) {
        *loader = Loader::Spent;
    }
}

fn lock() -> std::sync::MutexGuard<'static, Loader> {
    LOADER.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
