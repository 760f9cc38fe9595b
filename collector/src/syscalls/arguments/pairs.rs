//! Arguments in order, in one piece of memory that is used again and again: a
//! call has eight of them, and there are many calls.

use std::fmt::{self, Write};

/// Names, and texts one behind the other.
#[derive(Debug, Default)]
pub(in crate::syscalls) struct Pairs {
    texts: String,
    /// Each name, and where its text ends.
    ends: Vec<(&'static str, usize)>,
}

// === impl Pairs ===

impl Pairs {
    /// The same memory without arguments.
    pub(super) fn cleared(mut self) -> Self {
        self.texts.clear();
        self.ends.clear();
        self
    }

    /// Adds an argument whose text is written at the end of the others.
    pub(super) fn write(&mut self, name: &'static str, write: impl FnOnce(&mut String)) {
        write(&mut self.texts);
        self.ends.push((name, self.texts.len()));
    }

    /// Adds an argument.
    pub(super) fn text(&mut self, name: &'static str, text: &str) {
        self.write(name, |texts| texts.push_str(text));
    }

    /// Adds an argument that is formatted.
    pub(super) fn shown(&mut self, name: &'static str, value: impl fmt::Display) {
        // A string takes whatever is written.
        self.write(name, |texts| {
            let _ = write!(texts, "{value}");
        });
    }

    /// The arguments.
    pub(in crate::syscalls) fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let mut start = 0;
        self.ends.iter().map(move |(name, end)| {
            let text = self.texts.get(start..*end).unwrap_or_default();
            start = *end;
            (*name, text)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn arguments_are_read_as_they_were_written(texts in proptest::collection::vec(".{0,6}", 0..9)) {
            let mut pairs = Pairs::default();
            for round in 0..2 {
                pairs = pairs.cleared();
                for text in texts.iter().skip(round) {
                    pairs.text("name", text);
                }
                pairs.shown("number", round);
                let read: Vec<_> = pairs.iter().map(|(_, text)| text.to_owned()).collect();
                let number = round.to_string();
                let written: Vec<_> = texts.iter().skip(round).chain([&number]).cloned().collect();
                proptest::prop_assert_eq!(read, written);
            }
        }
    }
}
