//! The types that an event can have: system calls of every architecture that
//! Falco names, and its events that are none.

/// Their names, with a star behind those that a collector records.
const NAMES: &str = include_str!("events.txt");

/// Whether Falco knows events of this type.
pub(crate) fn is_known(name: &str) -> bool {
    NAMES.split_whitespace().any(|known| known.strip_suffix('*').unwrap_or(known) == name)
}

/// Whether a collector records events of this type.
pub(crate) fn is_recorded(name: &str) -> bool {
    NAMES.split_whitespace().any(|known| known.strip_suffix('*') == Some(name))
}
