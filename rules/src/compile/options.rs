//! `getopt()`: the short options among a command's arguments, read as getopt(3)
//! reads them, with Falco's two differences: long options are passed over, and
//! an option whose value is missing is an empty text.

/// Which options there are, and whether one of them is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Options {
    /// Letters, and whether a value follows.
    known: Vec<(u8, bool)>,
    /// The one whose value is wanted, the last if it is given several times.
    pub(super) only: Option<u8>,
}

impl Options {
    /// From the letters as getopt(3) takes them, a colon after each that has a
    /// value, and what stood in brackets.
    pub(super) fn new(letters: &str, only: Option<&str>) -> Result<Self, String> {
        let only = match only.map(str::as_bytes) {
            None => None,
            Some([letter]) => Some(*letter),
            Some(_) => return Err("getopt() gives one option: write its letter in the brackets".to_owned()),
        };
        // A colon in front changes what getopt(3) returns on errors, and nothing here.
        let bytes = letters.strip_prefix(':').unwrap_or(letters).as_bytes();
        let takes_value = |at: usize| bytes.get(at + 1) == Some(&b':');
        let letter = |(at, letter): (usize, &u8)| (*letter != b':').then(|| (*letter, takes_value(at)));
        Ok(Self { known: bytes.iter().enumerate().filter_map(letter).collect(), only })
    }

    /// The options and their values in order, `?` for one that is not known; of
    /// one option its value, or its letter if it takes none.
    pub(super) fn read(&self, arguments: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next().filter(|argument| **argument != "--") {
            match argument.strip_prefix('-') {
                Some(long) if long.starts_with('-') => {}
                Some(letters) if !letters.is_empty() => self.cluster(letters, &mut rest, &mut found),
                // The first that is no option ends them.
                _ => break,
            }
        }
        if self.only.is_some() {
            found.drain(..found.len().saturating_sub(1));
        }
        found
    }

    /// What follows one dash: letters, the last of which may have a value, here
    /// or in the next argument.
    fn cluster<'a>(
        &self,
        letters: &'a str,
        rest: &mut impl Iterator<Item = &'a &'a str>,
        found: &mut Vec<String>,
    ) {
        for (at, letter) in letters.bytes().enumerate() {
            let known = self.known.iter().rev().find(|(known, _)| *known == letter && letter.is_ascii());
            let is_wanted = self.only.is_none_or(|only| only == letter);
            match known {
                None if self.only.is_none() => found.push("?".to_owned()),
                Some((_, false)) if is_wanted => found.push(char::from(letter).to_string()),
                None | Some((_, false)) => {}
                Some((_, true)) => {
                    // The letter is ASCII: what follows starts a character.
                    let attached = Some(&letters[at + 1..]).filter(|value| !value.is_empty());
                    let value = attached.or_else(|| rest.next().copied());
                    if is_wanted && self.only.is_none() && value.is_some() {
                        found.push(char::from(letter).to_string());
                    }
                    if is_wanted {
                        found.push(value.unwrap_or_default().to_owned());
                    }
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(letters: &str, arguments: &[&str]) -> Vec<String> {
        Options::new(letters, None).unwrap().read(arguments)
    }

    fn one(letters: &str, option: &str, arguments: &[&str]) -> Option<String> {
        Options::new(letters, Some(option)).unwrap().read(arguments).pop()
    }

    #[test]
    fn options_come_in_order_with_their_values() {
        assert_eq!(all("nt:", &["-n", "-t", "5", "-n"]), ["n", "t", "5", "n"]);
        assert_eq!(all("nt:", &["-nt5", "-nt", "-n"]), ["n", "t", "5", "n", "t", "-n"]);
        assert_eq!(all("nt:", &["-tä", "-xä"]), ["t", "ä", "?", "?", "?"], "each byte that is not known");
        assert_eq!(all("::n", &["-:", "-n"]), ["?", "n"], "a colon is no option");
    }

    #[test]
    fn they_end_where_getopt_ends() {
        assert_eq!(all("n", &["-n", "file", "-n"]), ["n"]);
        assert_eq!(all("n", &["-n", "--", "-n"]), ["n"]);
        assert_eq!(all("n", &["-n", "-", "-n"]), ["n"]);
        assert_eq!(all("n", &["--none", "-n"]), ["n"], "long options are passed over");
        assert_eq!(all("n", &["", "-n"]), Vec::<String>::new());
        assert_eq!(all("t:", &["-t"]), [""], "its value is missing");
    }

    #[test]
    fn of_one_option_the_last_value_counts() {
        assert_eq!(one("nt:", "t", &["-t", "1", "-n", "-t2"]), Some("2".to_owned()));
        assert_eq!(one("nt:", "n", &["-t", "1", "-xn"]), Some("n".to_owned()));
        assert_eq!(one("nt:", "t", &["-n"]), None);
        assert_eq!(one("nt:", "t", &["-t"]), Some(String::new()));
        assert!(Options::new("nt:", Some("nt")).is_err());
    }
}
