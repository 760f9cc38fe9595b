//! How a subcommand ends badly: a message for a person and an exit code for a script.

use std::fmt;
use std::process::ExitCode;

use bailiwick_proto::Action;

/// Why a subcommand could not do what it was asked.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    message: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    /// It was tried and did not work.
    Failed,
    /// A service did not answer (EX_UNAVAILABLE).
    Unavailable,
    /// The configuration must be changed (EX_CONFIG).
    Config,
    /// This machine's kernel does not have what it takes (EX_OSERR).
    Unsupported,
    /// Privileges are missing (EX_NOPERM).
    NotPermitted,
    /// The person at the keyboard ended it.
    Interrupted,
}

// === impl Failure ===

impl Failure {
    /// Something was tried and did not work.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self { message: message.into(), kind: Kind::Failed }
    }

    /// A service did not answer.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Self { message: message.into(), kind: Kind::Unavailable }
    }

    /// A file, flag or variable must be changed.
    pub(crate) fn config(message: impl Into<String>) -> Self {
        Self { message: message.into(), kind: Kind::Config }
    }

    /// This machine's kernel does not have what it takes.
    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self { message: message.into(), kind: Kind::Unsupported }
    }

    /// Privileges are missing.
    pub(crate) fn not_permitted(message: impl Into<String>) -> Self {
        Self { message: message.into(), kind: Kind::NotPermitted }
    }

    /// It was ended by Ctrl-C.
    pub(crate) fn interrupted(message: impl Into<String>) -> Self {
        Self { message: message.into(), kind: Kind::Interrupted }
    }

    /// Whether it was.
    pub(crate) fn is_interrupted(&self) -> bool {
        matches!(self.kind, Kind::Interrupted)
    }

    /// A room could not start or go on.
    pub(crate) fn room(room: &str, action: Action, error: &dyn std::error::Error) -> Self {
        let message = format!("{room}: {}", chain(error));
        match action {
            Action::Retry => Self::unavailable(message),
            Action::Fix => Self::config(message),
            Action::Stop => Self::failed(message),
        }
    }

    /// The exit code.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.exit_status())
    }

    /// The exit code's number, as `--help` lists them.
    pub(crate) fn exit_status(&self) -> u8 {
        match self.kind {
            Kind::Failed => 1,
            Kind::Unavailable => 69,
            Kind::Unsupported => 71,
            Kind::NotPermitted => 77,
            Kind::Config => 78,
            Kind::Interrupted => 130,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some libraries repeat their cause in their own message.
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
