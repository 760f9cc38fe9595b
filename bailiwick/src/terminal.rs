//! Text from anywhere, made safe for a terminal.
//!
//! A process names itself, its arguments and its files as it likes. What it says
//! is kept exactly in the tables; but a terminal obeys some characters, and a
//! person believes what a line seems to say. So nothing is printed for people
//! that was not through here: [`crate::say!`] sees to it.

/// The text with every character that a terminal obeys, or that would show it
/// otherwise than it is, written as an escape. One line stays one line.
pub(crate) fn printable(text: &str) -> String {
    escaped(text, |c| c.escape_default().to_string(), |_| false)
}

/// The same for text of several lines, whose line breaks are the program's own.
pub(crate) fn printable_lines(text: &str) -> String {
    escaped(text, |c| c.escape_default().to_string(), |c| c == '\n')
}

/// The same for a JSON document, which stays one and means the same.
pub(crate) fn printable_json(text: &str) -> String {
    let escape = |c: char| {
        let mut units = [0; 2];
        c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect()
    };
    escaped(text, escape, |c| c == '\n')
}

fn escaped(text: &str, escape: impl Fn(char) -> String, keep: impl Fn(char) -> bool) -> String {
    let hostile = |c: char| (c.is_control() || is_misleading(c)) && !keep(c);
    if !text.contains(hostile) {
        return text.to_owned();
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match hostile(c) {
            true => safe.push_str(&escape(c)),
            false => safe.push(c),
        }
    }
    safe
}

/// Characters that turn the direction of what follows, end a line for some
/// readers, or are there without being seen.
fn is_misleading(c: char) -> bool {
    matches!(c,
        '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_event_cannot_move_the_cursor() {
        assert_eq!(printable("a\x1b[2Jb\r\n\u{202e}c"), "a\\u{1b}[2Jb\\r\\n\\u{202e}c");
        assert_eq!(printable("\u{9b}2J\x7f\u{200f}\u{2028}"), "\\u{9b}2J\\u{7f}\\u{200f}\\u{2028}");
        assert_eq!(printable("grün 日本"), "grün 日本");
        assert_eq!(printable_lines("a\nb\r\x1b]0;owned\x07"), "a\nb\\r\\u{1b}]0;owned\\u{7}");
    }

    fn is_safe(text: &str) -> bool {
        !text.chars().any(|c| c.is_control() || is_misleading(c))
    }

    proptest! {
        #[test]
        fn nothing_that_a_terminal_obeys_is_left(text in any::<String>()) {
            prop_assert!(is_safe(&printable(&text)));
            prop_assert!(printable_lines(&text).split('\n').all(is_safe));
            prop_assert_eq!(printable(&printable(&text)), printable(&text));
        }

        #[test]
        fn a_document_means_the_same(text in any::<String>()) {
            let document = serde_json::json!({ "a": text });
            for json in [document.to_string(), serde_json::to_string_pretty(&document).unwrap()] {
                let safe = printable_json(&json);
                prop_assert!(safe.split('\n').all(is_safe));
                prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(&safe).unwrap(), &document);
            }
        }
    }
}
