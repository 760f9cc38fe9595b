//! Regular expressions as Falco reads them: RE2 in its POSIX syntax, over whole texts.
//!
//! The regex crate speaks a dialect of its own. What RE2 takes literally and the
//! crate does not is escaped here: braces that repeat nothing, brackets and doubled
//! signs in classes, `\<` and `\>`. `^` and `$` are of lines, as RE2 has them in this
//! syntax. What only the crate knows (`\d`, `(?i)`) is let through.

use std::iter::Peekable;
use std::str::Chars;

use regex::{Regex, RegexBuilder};

/// What compiling an expression may take, in bytes.
const SIZE_LIMIT_BYTES: usize = 1 << 20;

/// The classes that are known by name.
const NAMES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

/// The expression that matches the whole text.
pub(crate) fn whole(pattern: &str) -> Result<Regex, String> {
    let mut translated = String::with_capacity(pattern.len() + 8);
    translated.push_str(r"\A(?:");
    let wrong = |reason: &str| format!("{pattern:?} is no regular expression: {reason}");
    translate(pattern, &mut translated).map_err(|reason| wrong(&reason))?;
    translated.push_str(r")\z");
    let built =
        RegexBuilder::new(&translated).multi_line(true).octal(true).size_limit(SIZE_LIMIT_BYTES).build();
    // Its parser underlines the translated text, which nobody wrote.
    let told = |error: regex::Error| {
        let error = error.to_string();
        let reason = error.lines().last().unwrap_or_default();
        wrong(reason.trim_start_matches("error: "))
    };
    built.map_err(told)
}

fn translate(pattern: &str, out: &mut String) -> Result<(), String> {
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        rest = match c {
            '\\' => escape(after, out),
            '[' => class(after, out)?,
            '{' if !repeats(after) => {
                out.push_str(r"\{");
                after
            }
            c => {
                out.push(c);
                after
            }
        };
    }
    Ok(())
}

/// Whether `{n}`, `{n,}` or `{n,m}` stands here, after its brace.
fn repeats(text: &str) -> bool {
    let Some((inside, _)) = text.split_once('}') else { return false };
    let (least, most) = inside.split_once(',').unwrap_or((inside, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    !least.is_empty() && digits(least) && digits(most)
}

/// What follows a backslash; what follows that.
fn escape<'a>(text: &'a str, out: &mut String) -> &'a str {
    let mut chars = text.chars();
    match chars.next() {
        Some(c) if !c.is_ascii_alphanumeric() => literal(c, out),
        Some(c) => out.extend(['\\', c]),
        None => out.push('\\'),
    }
    chars.as_str()
}

/// A character that stands for itself; the crate gives `\<` and `\>` a meaning.
fn literal(c: char, out: &mut String) {
    if c.is_ascii_punctuation() && !matches!(c, '<' | '>') {
        out.push('\\');
    }
    out.push(c);
}

/// A class after its bracket; what follows it. One that does not end is left as
/// it is, for the crate to complain about.
fn class<'a>(text: &'a str, out: &mut String) -> Result<&'a str, String> {
    let mut inside = String::from("[");
    let mut rest = text;
    if let Some(negated) = rest.strip_prefix('^') {
        inside.push('^');
        rest = negated;
    }
    let mut is_first = true;
    while let Some(c) = rest.chars().next() {
        if c == ']' && !is_first {
            out.push_str(&inside);
            out.push(']');
            return Ok(&rest[1..]);
        }
        rest = match named(rest)? {
            Some(name) => {
                inside.push_str(name);
                &rest[name.len()..]
            }
            None => one_or_range(rest, &mut inside),
        };
        is_first = false;
    }
    out.push('[');
    Ok(text)
}

/// `[:alpha:]` and its like at the start of a text.
fn named(text: &str) -> Result<Option<&str>, String> {
    let inside = text.strip_prefix("[:").and_then(|rest| rest.split_once(":]"));
    let Some((name, _)) = inside else { return Ok(None) };
    match NAMES.contains(&name.strip_prefix('^').unwrap_or(name)) {
        true => Ok(Some(&text[..name.len() + 4])),
        false => Err(format!("there is no class [:{name}:]")),
    }
}

/// A character of a class, or two with a dash between them.
fn one_or_range<'a>(text: &'a str, out: &mut String) -> &'a str {
    let mut chars = text.chars().peekable();
    member(&mut chars, out);
    let rest: String = chars.clone().take(2).collect();
    if rest.starts_with('-') && rest.len() > 1 && rest != "-]" {
        chars.next();
        out.push('-');
        member(&mut chars, out);
    }
    let left: usize = chars.map(char::len_utf8).sum();
    &text[text.len() - left..]
}

fn member(chars: &mut Peekable<Chars<'_>>, out: &mut String) {
    match chars.next() {
        Some('\\') => match chars.next() {
            // A number in braces belongs to its letter.
            Some(letter @ ('x' | 'p' | 'P')) if chars.peek() == Some(&'{') => {
                out.extend(['\\', letter]);
                out.extend(chars.by_ref().take_while(|c| *c != '}'));
                out.push('}');
            }
            Some(c) if c.is_ascii_alphanumeric() => out.extend(['\\', c]),
            Some(c) => literal(c, out),
            None => out.push('\\'),
        },
        Some(c) => literal(c, out),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expressions, texts that RE2 matches in its POSIX syntax, and texts that it does not.
    const CASES: &[(&str, &[&str], &[&str])] = &[
        ("[a&&b]", &["a", "b", "&"], &["c", "a&"]),
        ("[a~~b]", &["~"], &[]),
        ("[^[]*", &["", "a]"], &["["]),
        ("[[]a", &["[a"], &["a"]),
        ("[]a]", &["]", "a"], &["[]a]"]),
        ("[^]a]", &["b"], &["]", "a"]),
        ("[a-]", &["a", "-"], &["b"]),
        ("[+--]", &["+", ",", "-"], &["."]),
        ("[[:digit:]x]+", &["1x2"], &[":"]),
        (r"[\]\\]", &["]", r"\"], &["a"]),
        (r"[\x41-\x43]", &["B"], &["x", "4"]),
        (r"[\x{41}-C]", &["B"], &["{"]),
        (r"\<a", &["<a"], &["a"]),
        (r"\>a", &[">a"], &["a"]),
        ("a{", &["a{"], &["a"]),
        ("{foo}", &["{foo}"], &["foo"]),
        ("a{,5}", &["a{,5}"], &["aa"]),
        ("a{2}", &["aa"], &["a{2}"]),
        ("a{1,}b{1,2}", &["aab"], &["abbb"]),
        (r"a\{2}", &["a{2}"], &["aa"]),
        ("a$\nb", &["a\nb"], &["ab"]),
        ("^a\n^b", &["a\nb"], &[]),
        ("a.b", &["a/b"], &["a\nb"]),
        ("a|bc", &["a", "bc"], &["ac", "abc"]),
        (r"\.\/\-\_é", &["./-_é"], &[]),
        ("é+[é-ï]", &["éî"], &["é"]),
    ];

    #[test]
    fn texts_match_as_in_re2() {
        for (pattern, yes, no) in CASES {
            let regex = whole(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
            for text in *yes {
                assert!(regex.is_match(text), "{pattern:?} does not match {text:?}: {regex}");
            }
            for text in *no {
                assert!(!regex.is_match(text), "{pattern:?} matches {text:?}: {regex}");
            }
        }
    }

    #[test]
    fn what_is_no_expression_is_refused_in_one_line() {
        for pattern in ["(", "[a", "[[:nosuch:]]", "a{2", "*a", r"a\", "[b-a]", "a{2000}{2000}"] {
            match whole(pattern) {
                Ok(regex) => assert_eq!(pattern, "a{2", "{regex}"),
                Err(error) => assert!(error.starts_with(&format!("{pattern:?} is")) && !error.contains('\n')),
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn no_pattern_panics(pattern in r"[\[\]{}a-c\-^$\\:x&<,0-9é]{0,24}") {
            let _ = whole(&pattern);
        }
    }
}
