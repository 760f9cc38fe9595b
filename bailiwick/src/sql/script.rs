//! A text as statements and commands. Pure.

/// A part of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// A statement that its semicolon ended, without it.
    Statement(String),
    /// A command without its backslash.
    Command(String),
    /// What is not ended: of a statement, before a command or the end.
    Open(String),
}

/// Where the text is at a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    Nothing,
    /// Until the same quote; a backslash takes the next character's meaning only
    /// in a text that began with `E'`.
    Quote(char, bool),
    LineComment,
    /// Comments in comments are counted.
    BlockComment(usize),
    /// From `$tag$` to the same.
    Dollar(usize, usize),
}

/// Cuts a text into its parts. Comments stay with their statements; a part that
/// has nothing else is none.
pub(super) fn parts(text: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let (mut start, mut at, mut within) = (0, 0, Within::Nothing);
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        let mut step = c.len_utf8();
        match within {
            Within::Nothing => match c {
                ';' => {
                    add(&mut parts, Part::Statement(text[start..at].trim().to_owned()));
                    start = at + 1;
                }
                '\\' => {
                    add(&mut parts, Part::Open(text[start..at].trim().to_owned()));
                    step = rest.find('\n').unwrap_or(rest.len());
                    parts.push(Part::Command(rest[1..step].trim().to_owned()));
                    start = at + step;
                }
                '\'' => within = Within::Quote('\'', is_escaped(&text[..at])),
                '"' => within = Within::Quote('"', false),
                '$' => {
                    if let Some(length) = tag(rest).filter(|_| !ends_in_word(&text[..at])) {
                        within = Within::Dollar(at, length);
                        step = length;
                    }
                }
                _ if rest.starts_with("--") => within = Within::LineComment,
                _ if rest.starts_with("/*") => (within, step) = (Within::BlockComment(1), 2),
                _ => {}
            },
            // A quote written twice ends a text and begins another: nothing between them can be taken apart.
            Within::Quote(quote, _) if c == quote => within = Within::Nothing,
            Within::Quote(_, true) if c == '\\' => {
                step += rest[step..].chars().next().map_or(0, char::len_utf8);
            }
            Within::Quote(..) => {}
            Within::LineComment => {
                if c == '\n' {
                    within = Within::Nothing;
                }
            }
            Within::BlockComment(depth) => {
                if rest.starts_with("*/") {
                    step = 2;
                    within = if depth == 1 { Within::Nothing } else { Within::BlockComment(depth - 1) };
                } else if rest.starts_with("/*") {
                    (within, step) = (Within::BlockComment(depth + 1), 2);
                }
            }
            Within::Dollar(from, length) => {
                if rest.starts_with(&text[from..from + length]) {
                    (within, step) = (Within::Nothing, length);
                }
            }
        }
        at += step;
    }
    add(&mut parts, Part::Open(text[start..].trim().to_owned()));
    parts
}

/// Whether a person has typed all of it.
pub(super) fn is_complete(text: &str) -> bool {
    !matches!(parts(text).last(), Some(Part::Open(_)))
}

fn add(parts: &mut Vec<Part>, part: Part) {
    let (Part::Statement(text) | Part::Command(text) | Part::Open(text)) = &part;
    if !is_comment(text) {
        parts.push(part);
    }
}

/// Whether there is nothing to be asked.
fn is_comment(text: &str) -> bool {
    let mut rest = text.trim_start();
    loop {
        if rest.is_empty() {
            return true;
        }
        rest = if rest.starts_with("--") {
            rest.split_once('\n').map_or("", |(_, rest)| rest).trim_start()
        } else if let Some(length) = block_comment(rest) {
            rest[length..].trim_start()
        } else {
            return false;
        };
    }
}

/// The length of the whole comment that a text begins with.
fn block_comment(text: &str) -> Option<usize> {
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with("*/") && depth > 0 {
            (depth, at) = (depth - 1, at + 2);
        } else {
            at += c.len_utf8();
        }
        match depth {
            0 if at == c.len_utf8() => return None,
            0 => return Some(at),
            _ => {}
        }
    }
    None
}

/// Whether a quote here begins a text with escapes.
fn is_escaped(before: &str) -> bool {
    let Some(rest) = before.strip_suffix(['e', 'E']) else { return false };
    !ends_in_word(rest)
}

fn ends_in_word(text: &str) -> bool {
    text.chars().next_back().is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$')
}

/// The length of `$tag$`, if the text begins with one.
fn tag(text: &str) -> Option<usize> {
    let name = text.strip_prefix('$')?;
    let length = name.find(|c: char| !(c.is_alphanumeric() || c == '_'))?;
    let begins_well = !name.starts_with(|c: char| c.is_ascii_digit());
    (begins_well && name[length..].starts_with('$')).then_some(length + 2)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(text: &str) -> Vec<String> {
        let tell = |part: Part| match part {
            Part::Statement(text) => format!("S {text}"),
            Part::Command(text) => format!("C {text}"),
            Part::Open(text) => format!("O {text}"),
        };
        parts(text).into_iter().map(tell).collect()
    }

    #[test]
    fn semicolons_end_statements_and_lines_end_commands() {
        assert_eq!(told("SELECT 1; SELECT\n2 ;\n"), ["S SELECT 1", "S SELECT\n2"]);
        assert_eq!(told("SELECT 1"), ["O SELECT 1"]);
        assert_eq!(told("\\x\n\\d t ;\nSELECT 1;"), ["C x", "C d t ;", "S SELECT 1"]);
        assert_eq!(told("SELECT 1 \\watch 2\nSELECT 2"), ["O SELECT 1", "C watch 2", "O SELECT 2"]);
        assert!(told(" ;; \n -- only\n/* words /* here */ */ ;").is_empty());
        assert_eq!(told("\\"), ["C "]);
    }

    #[test]
    fn what_is_quoted_or_a_comment_is_no_end() {
        for text in [
            "SELECT ';', 'it''s; \\', \";\"",
            "SELECT E'\\'; ' -- ;\n, 1",
            "SELECT 1 /* ; /* ; */ ; */ + 1",
            "SELECT $$ ; ' $$, $a$ ; $$ ; $a$",
            "SELECT 1 -- ; '\n",
        ] {
            assert_eq!(told(&format!("{text};")), [format!("S {}", text.trim())], "{text}");
        }
        // A parameter is no quotation, nor is the end of a name.
        assert_eq!(told("SELECT $1; SELECT $2;"), ["S SELECT $1", "S SELECT $2"]);
        assert_eq!(told("SELECT a$b$; x"), ["S SELECT a$b$", "O x"]);
        // In a text without E the backslash is a backslash; a word's end is no E.
        assert_eq!(told("SELECT '\\'; x"), ["S SELECT '\\'", "O x"]);
        assert_eq!(told("SELECT name'\\'; x"), ["S SELECT name'\\'", "O x"]);
    }

    #[test]
    fn it_is_complete_when_nothing_is_open() {
        for text in ["", "\n", "SELECT 1;", "\\d", "SELECT 1 \\g", "-- nothing"] {
            assert!(is_complete(text), "{text}");
        }
        for text in ["SELECT 1", "SELECT ';", "SELECT 1 /* ;", "SELECT $$ ;", "SELECT 1; SELECT"] {
            assert!(!is_complete(text), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_nothing_is_lost(text in "[a-zE'\"$;\\\\/*\n -]{0,60}|\\PC{0,40}") {
            let parts = parts(&text);
            for part in &parts {
                let (Part::Statement(part) | Part::Command(part) | Part::Open(part)) = part;
                prop_assert!(text.contains(part.as_str()));
            }
            let opens = parts.iter().filter(|part| matches!(part, Part::Open(_))).count();
            let commands = parts.iter().filter(|part| matches!(part, Part::Command(_))).count();
            prop_assert!(opens <= commands + 1);
        }
    }
}
