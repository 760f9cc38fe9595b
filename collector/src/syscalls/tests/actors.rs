//! For every call, what makes it for real: well, failing, and by every kind of
//! name. Then what is not told by a call's own number. An actor runs in a child
//! of its own that ends right after.

mod elsewhere;
mod files;
mod identity;
mod kernel;
mod long;
mod names;
mod opens;
mod places;
mod programs;
mod sockets;
mod starts;

use super::stage::Stage;

/// A call's name, or a word for something else, and what makes it happen.
pub(super) type Actor = (&'static str, fn(&mut Stage));

/// Every actor.
pub(super) fn all() -> Vec<Actor> {
    let mut all = Vec::new();
    for some in [
        elsewhere::ACTORS,
        files::ACTORS,
        identity::ACTORS,
        kernel::ACTORS,
        long::ACTORS,
        names::ACTORS,
        opens::ACTORS,
        places::ACTORS,
        programs::ACTORS,
        sockets::ACTORS,
        starts::ACTORS,
    ] {
        all.extend_from_slice(some);
    }
    all
}

/// Plays the actor of this call and notes what rows it must have left.
pub(super) fn play(call: &str) {
    let (_, act) = all().into_iter().find(|(name, _)| *name == call).unwrap();
    let mut stage = Stage::new();
    act(&mut stage);
    stage.write();
}
