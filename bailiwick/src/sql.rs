//! `bailiwick sql`: questions, and their answers as a person or a script wants them.
//!
//! ```text
//!   arguments, files, standard input ─┐ text    script      session          ask          print
//!   a person at a terminal (prompt) ──┴─────▶ statements ─▶ settings, ─▶ the server ─▶ table, CSV, JSON …
//!                                             commands      commands     progress       terminal or file
//! ```
//!
//! A statement ends with a semicolon, a command is a line that begins with a
//! backslash, as in psql. Ctrl-C ends the statement on the server too: the
//! connection goes with the request, and the server's work with it.

mod ask;
mod command;
mod history;
mod print;
mod prompt;
mod script;
mod session;

use std::io::{IsTerminal, Read};
use std::path::Path;

use crate::cli;
use crate::client::Api;
use crate::config::Config;
use crate::failure::Failure;
use session::Session;

pub(crate) use print::rendered;

/// Asks and prints, or talks with whoever sits at the terminal.
pub(crate) async fn run(config: &Config, args: cli::Sql) -> Result<(), Failure> {
    let api = Api::new(config, &args.server)?;
    let mut session = Session::new(api, &args)?;
    let texts = texts(&args)?;
    if texts.is_empty() {
        return prompt::talk(session).await;
    }
    for text in texts {
        if !session.run(&text, true).await? {
            break;
        }
    }
    session.finish_whole()
}

/// What is to be run without a conversation; nothing if there shall be one.
fn texts(args: &cli::Sql) -> Result<Vec<String>, Failure> {
    let mut texts = args.file.iter().map(|file| from_file(file)).collect::<Result<Vec<_>, _>>()?;
    match args.statement.as_deref() {
        Some("-") => texts.push(from_stdin()?),
        Some(given) => texts.push(given.to_owned()),
        None if texts.is_empty() && !std::io::stdin().is_terminal() => texts.push(from_stdin()?),
        None => {}
    }
    Ok(texts)
}

fn from_file(file: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(file).map_err(|error| Failure::config(format!("{}: {error}", file.display())))
}

fn from_stdin() -> Result<String, Failure> {
    let mut text = String::new();
    std::io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| Failure::failed(format!("standard input: {error}")))?;
    Ok(text)
}
