//! Talking to people on standard output.
//!
//! `println!` panics when whoever reads has gone (`bailiwick sql … | head`);
//! that is no failure, least of all of `up`, so it is noted and nothing more.

use std::fmt::Arguments;
use std::io::Write;

/// Writes one line to standard output.
macro_rules! say {
    ($($text:tt)*) => { $crate::say::line(format_args!($($text)*)) };
}
pub(crate) use say;

/// See [`say!`].
pub(crate) fn line(text: Arguments<'_>) {
    raw(format_args!("{text}\n"));
}

/// Writes text as it is, for answers that end their own lines.
pub(crate) fn raw(text: Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_fmt(text).and_then(|()| out.flush()) {
        tracing::debug!(%error, "standard output is closed");
    }
}
