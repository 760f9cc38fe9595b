//! Talking to people on standard output, and answering programs there.
//!
//! Whatever is said goes through [`crate::terminal`], so that no event, file name
//! or server can give orders to a terminal. An answer in a format of programs
//! goes out exactly as it is, unless a person's terminal is what reads it.
//!
//! `println!` panics when whoever reads has gone (`bailiwick sql … | head`);
//! that is no failure, least of all of `up`, so it is noted and nothing more. A
//! full disk is one: [`written`] tells of it.

use std::fmt::Arguments;
use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::failure::Failure;
use crate::terminal::{printable_json, printable_lines};

/// Says one line, or several, to a person.
macro_rules! say {
    ($($text:tt)*) => { $crate::say::line(format_args!($($text)*)) };
}
pub(crate) use say;

/// Whether lines for people go to standard error, as what is on standard output is for programs.
static OUTPUT_IS_FOR_PROGRAMS: AtomicBool = AtomicBool::new(false);

/// The first thing that kept something off standard output, unless its reader just went.
static LOST: OnceLock<String> = OnceLock::new();

/// Leaves standard output to answers in a format of programs from now on; lines
/// for people go to standard error.
pub(crate) fn leave_output_to_programs() {
    OUTPUT_IS_FOR_PROGRAMS.store(true, Ordering::Relaxed);
}

/// See [`say!`].
pub(crate) fn line(text: Arguments<'_>) {
    if OUTPUT_IS_FOR_PROGRAMS.load(Ordering::Relaxed) {
        return complain(text);
    }
    write(&format!("{}\n", printable_lines(&text.to_string())));
}

/// Says a line that holds colours. Everything else in it must have been through
/// [`crate::terminal::printable`].
pub(crate) fn coloured(line: &str) {
    write(&format!("{line}\n"));
}

/// Answers with CSV, which ends its own lines.
pub(crate) fn csv(text: &str) {
    match std::io::stdout().is_terminal() {
        true => write(&printable_lines(text)),
        false => write(text),
    }
}

/// Answers with one JSON document.
pub(crate) fn json(text: &str) {
    match std::io::stdout().is_terminal() {
        true => write(&format!("{}\n", printable_json(text))),
        false => write(&format!("{text}\n")),
    }
}

/// Says one line, or several, on standard error.
pub(crate) fn complain(text: Arguments<'_>) {
    let text = format!("{}\n", printable_lines(&text.to_string()));
    // Where nobody listens there is nobody to tell.
    let _ = std::io::stderr().lock().write_all(text.as_bytes());
}

/// Whether everything that was said on standard output is there, or was not wanted any more.
pub(crate) fn written() -> Result<(), Failure> {
    match LOST.get() {
        None => Ok(()),
        Some(error) => Err(Failure::failed(format!("standard output: {error}"))),
    }
}

fn write(text: &str) {
    let mut out = std::io::stdout().lock();
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        tracing::debug!(%error, "standard output takes nothing");
        if error.kind() != ErrorKind::BrokenPipe {
            LOST.get_or_init(|| error.to_string());
        }
    }
}
