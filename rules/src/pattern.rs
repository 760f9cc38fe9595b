//! Shell patterns and path prefixes as Falco matches them.

pub(crate) mod posix;

/// A shell pattern as `fnmatch` without flags reads it: `*` and `?` also cross
/// `/`, `[...]` is a set, a backslash takes the next character literally.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Glob {
    parts: Vec<GlobPart>,
    any_case: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum GlobPart {
    Literal(char),
    AnyOne,
    AnyRun,
    Set {
        negated: bool,
        ranges: Vec<(char, char)>,
        classes: Vec<usize>,
    },
    /// What no text has: a backslash at the end.
    Nothing,
}

/// Whether a character belongs to a class, e.g. `[:digit:]`.
type Class = fn(&char) -> bool;

/// The classes of POSIX, over ASCII.
const CLASSES: [(&str, Class); 12] = [
    ("alnum", char::is_ascii_alphanumeric),
    ("alpha", char::is_ascii_alphabetic),
    ("blank", |c| matches!(c, ' ' | '\t')),
    ("cntrl", char::is_ascii_control),
    ("digit", char::is_ascii_digit),
    ("graph", char::is_ascii_graphic),
    ("lower", char::is_ascii_lowercase),
    ("print", |c| matches!(c, ' '..='~')),
    ("punct", char::is_ascii_punctuation),
    ("space", |c| matches!(c, ' ' | '\t'..='\r')),
    ("upper", char::is_ascii_uppercase),
    ("xdigit", char::is_ascii_hexdigit),
];

/// Paths below which others are looked for, component by component; each
/// component is a shell pattern.
#[derive(Debug, Clone)]
pub(crate) struct PathPrefixes {
    prefixes: Vec<Vec<Glob>>,
}

// === impl Glob ===

impl Glob {
    pub(crate) fn new(pattern: &str, any_case: bool) -> Self {
        let chars: Vec<char> = pattern.chars().map(|c| fold(c, any_case)).collect();
        let mut parts = Vec::new();
        let mut at = 0;
        while let Some(&c) = chars.get(at) {
            at += 1;
            parts.push(match c {
                '*' => GlobPart::AnyRun,
                '?' => GlobPart::AnyOne,
                '\\' => match chars.get(at) {
                    Some(&next) => {
                        at += 1;
                        GlobPart::Literal(next)
                    }
                    None => GlobPart::Nothing,
                },
                '[' => match set(&chars[at..]) {
                    Some((part, len)) => {
                        at += len;
                        part
                    }
                    None => GlobPart::Literal('['),
                },
                other => GlobPart::Literal(other),
            });
        }
        parts.dedup_by(|next, previous| *next == GlobPart::AnyRun && *previous == GlobPart::AnyRun);
        Self { parts, any_case }
    }

    /// Greedy with one point to go back to: linear in text times pattern.
    pub(crate) fn matches(&self, text: &str) -> bool {
        let (mut part, mut rest) = (0, text);
        let mut again: Option<(usize, &str)> = None;
        loop {
            let next = rest.chars().next();
            match (self.parts.get(part), next) {
                (Some(GlobPart::AnyRun), _) => {
                    again = Some((part, rest));
                    part += 1;
                    continue;
                }
                (Some(wanted), Some(c)) if wanted.takes(fold(c, self.any_case)) => {
                    part += 1;
                    rest = &rest[c.len_utf8()..];
                    continue;
                }
                (None, None) => return true,
                _ => {}
            }
            // The last star takes one character more.
            let Some((star, from)) = again else { return false };
            let Some(c) = from.chars().next() else { return false };
            rest = &from[c.len_utf8()..];
            again = Some((star, rest));
            part = star + 1;
        }
    }
}

impl GlobPart {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Literal(literal) => *literal == c,
            Self::AnyOne => true,
            Self::AnyRun | Self::Nothing => false,
            Self::Set { negated, ranges, classes } => {
                let inside = ranges.iter().any(|(low, high)| (*low..=*high).contains(&c));
                (inside || classes.iter().any(|class| CLASSES[*class].1(&c))) != *negated
            }
        }
    }
}

/// The set after a `[`, and how many characters it takes; `None` when it does
/// not end, and the bracket stands for itself.
fn set(chars: &[char]) -> Option<(GlobPart, usize)> {
    let negated = matches!(chars.first(), Some('!' | '^'));
    let start = usize::from(negated);
    let (mut ranges, mut classes) = (Vec::new(), Vec::new());
    let mut at = start;
    loop {
        let mut low = *chars.get(at)?;
        if low == ']' && at > start {
            return Some((GlobPart::Set { negated, ranges, classes }, at + 1));
        }
        if let Some((class, len)) = class(&chars[at..]) {
            classes.push(class);
            at += len;
            continue;
        }
        if low == '\\' {
            at += 1;
            low = *chars.get(at)?;
        }
        at += 1;
        let is_range = chars.get(at) == Some(&'-') && chars.get(at + 1).is_some_and(|c| *c != ']');
        let high = if is_range { chars[at + 1] } else { low };
        at += if is_range { 2 } else { 0 };
        ranges.push((low, high));
    }
}

/// `[:name:]` at the start, and how many characters it takes.
fn class(chars: &[char]) -> Option<(usize, usize)> {
    let inside = chars.strip_prefix(&['[', ':'])?;
    let end = inside.windows(2).position(|two| two == [':', ']'])?;
    let name: String = inside[..end].iter().collect();
    let class = CLASSES.iter().position(|(known, _)| *known == name)?;
    Some((class, end + 4))
}

fn fold(c: char, any_case: bool) -> char {
    if any_case { c.to_ascii_lowercase() } else { c }
}

// === impl PathPrefixes ===

impl PathPrefixes {
    pub(crate) fn new<'a>(paths: impl IntoIterator<Item = &'a str>) -> Self {
        let components = |path: &'a str| components(path).map(|part| Glob::new(part, false)).collect();
        Self { prefixes: paths.into_iter().map(components).collect() }
    }

    /// Whether the path is one of them or below one.
    pub(crate) fn matches(&self, path: &str) -> bool {
        self.prefixes.iter().any(|prefix| {
            let mut parts = components(path);
            prefix.iter().all(|glob| parts.next().is_some_and(|part| glob.matches(part)))
        })
    }
}

fn components(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_fnmatch_does() {
        let yes = [
            ("*", ""),
            ("/etc/*", "/etc/a/b"),
            ("a?c", "abc"),
            ("[a-c]x", "bx"),
            ("[!a]x", "bx"),
            ("\\*", "*"),
            ("[[:digit:][:upper:]_]*", "7x"),
            ("[^[:space:]]", "x"),
            ("[[:nosuch:]]]", ":]]"),
        ];
        let no = [
            ("[[:digit:]]*", "d]x"),
            ("a\\", "a\\"),
            ("", "a"),
            ("a?c", "ac"),
            ("[a-c]x", "dx"),
            ("[!a]x", "ax"),
            ("\\*", "a"),
            ("a*b", "abc"),
        ];
        for (pattern, text) in yes {
            assert!(Glob::new(pattern, false).matches(text), "{pattern} {text}");
        }
        for (pattern, text) in no {
            assert!(!Glob::new(pattern, false).matches(text), "{pattern} {text}");
        }
        assert!(Glob::new("*SHD*", true).matches("sshd"));
    }

    #[test]
    fn many_stars_end_soon() {
        let pattern = "*a".repeat(30) + "b";
        assert!(!Glob::new(&pattern, false).matches(&"a".repeat(5_000)));
    }

    #[test]
    fn path_prefixes_match_whole_components() {
        let prefixes = PathPrefixes::new(["/var/run", "/etc/ssl*", "/home/*/.ssh"]);
        for path in ["/var/run", "/var/run/docker", "/etc/ssl-certs/a", "/home/ann/.ssh/id"] {
            assert!(prefixes.matches(path), "{path}");
        }
        for path in ["/var/running", "/var", "/home/ann/x/.ssh"] {
            assert!(!prefixes.matches(path), "{path}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_star_pattern_is_a_substring_search(text in "[ab]{0,12}", part in "[ab]{0,4}") {
            let glob = Glob::new(&format!("*{part}*"), false);
            proptest::prop_assert_eq!(glob.matches(&text), text.contains(&part));
        }
    }
}
