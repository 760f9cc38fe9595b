//! `DECLARE`, `FETCH`, `MOVE` and `CLOSE`: a query read in portions under a name.
//!
//! A cursor is a portal, as in PostgreSQL: drivers describe it by its name. It
//! reads forward only, since rows that were sent are not kept.

use super::command::{self, Asked, Command};
use super::failure::Failure;
use super::parameters::Told;
use super::words::Words;

/// A cursor that is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Declared {
    pub(super) name: String,
    /// The query, in the engine's dialect, and what it says of its parameters.
    pub(super) sql: String,
    pub(super) told: Told,
    pub(super) binary: bool,
    /// Whether it outlives its transaction.
    pub(super) hold: bool,
}

/// Rows that are to be read, or passed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fetched {
    pub(super) cursor: String,
    pub(super) how_far: HowFar,
    /// `MOVE`: the rows are passed over.
    pub(super) only_moves: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HowFar {
    /// So many rows at most; they are all sent.
    Next(u64),
    /// All that are left.
    All,
    /// The row that is so many further; those before it are passed over.
    Skip(u64),
    /// The row of this number, counted from 1.
    To(u64),
}

/// Reads a statement about cursors; `None` if it is not about them.
pub(super) fn parse(text: &str) -> Result<Option<Asked>, Failure> {
    let mut words = Words::of(text)?;
    let asked = if words.take("declare") {
        declare(words)?
    } else if words.take("fetch") {
        Asked::Command(Command::Fetch(fetch(words, false)?))
    } else if words.take("move") {
        Asked::Command(Command::Fetch(fetch(words, true)?))
    } else if words.take("close") {
        let name = match words.take("all") {
            true => None,
            false => Some(words.name()?),
        };
        words.end()?;
        Asked::Command(Command::Close(name))
    } else {
        return Ok(None);
    };
    Ok(Some(asked))
}

fn declare(mut words: Words<'_>) -> Result<Asked, Failure> {
    let name = words.name()?;
    let mut binary = false;
    while !words.take("cursor") {
        if words.take("binary") {
            binary = true;
        } else if words.take("scroll") {
            return Err(forward_only().hint("declare it with NO SCROLL, or without SCROLL"));
        } else if words.take("no") {
            words.expect("scroll")?;
        } else if !words.take("insensitive") && !words.take("asensitive") {
            return Err(words.unexpected("CURSOR"));
        }
    }
    let hold = words.take("with");
    if hold || words.take("without") {
        words.expect("hold")?;
    }
    words.expect("for")?;
    let (sql, told) = command::translated(words.rest());
    Ok(Asked::Declare(Declared { name, sql, told, binary, hold }))
}

fn fetch(mut words: Words<'_>, only_moves: bool) -> Result<Fetched, Failure> {
    let how_far = how_far(&mut words)?;
    if !words.take("from") {
        words.take("in");
    }
    let cursor = words.name()?;
    words.end()?;
    Ok(Fetched { cursor, how_far, only_moves })
}

fn how_far(words: &mut Words<'_>) -> Result<HowFar, Failure> {
    let forward = |number: i64| u64::try_from(number).map_err(|_| forward_only());
    if words.take("all") {
        return Ok(HowFar::All);
    }
    if words.take("absolute") {
        let number = words.number().ok_or_else(|| words.unexpected("a number"))?;
        return Ok(HowFar::To(forward(number)?));
    }
    if words.take("relative") {
        let number = words.number().ok_or_else(|| words.unexpected("a number"))?;
        return match forward(number)? {
            0 => Err(forward_only()),
            number => Ok(HowFar::Skip(number)),
        };
    }
    if words.take("first") {
        return Ok(HowFar::To(1));
    }
    if words.take("prior") || words.take("backward") || words.take("last") {
        return Err(forward_only());
    }
    if words.take("forward") && words.take("all") {
        return Ok(HowFar::All);
    }
    words.take("next");
    // Nothing means one; zero would mean the row that was sent last.
    match words.number() {
        None => Ok(HowFar::Next(1)),
        Some(0) => Err(forward_only()),
        Some(number) => Ok(HowFar::Next(forward(number)?)),
    }
}

/// What was sent cannot be sent again.
pub(super) fn forward_only() -> Failure {
    Failure::new("55000", "cursor can only scan forward")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fetched(text: &str) -> Fetched {
        match parse(text).unwrap().unwrap() {
            Asked::Command(Command::Fetch(fetched)) => fetched,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_declaration_keeps_its_query_as_it_was_written() {
        let text = "declare \"My c\" binary no scroll cursor with hold for select  1 -- one\n , 2;";
        let Some(Asked::Declare(declared)) = parse(text).unwrap() else { panic!() };
        assert_eq!((declared.name.as_str(), declared.binary, declared.hold), ("My c", true, true));
        assert_eq!(declared.sql, "select  1 -- one\n , 2;");
        let Some(Asked::Declare(declared)) =
            parse("DECLARE C INSENSITIVE CURSOR WITHOUT HOLD FOR VALUES (1)").unwrap()
        else {
            panic!()
        };
        assert_eq!((declared.name.as_str(), declared.binary, declared.hold), ("c", false, false));
    }

    #[test]
    fn every_way_forward_is_understood() {
        for (text, how_far) in [
            ("FETCH c", HowFar::Next(1)),
            ("FETCH NEXT FROM c", HowFar::Next(1)),
            ("FETCH 7 IN c", HowFar::Next(7)),
            ("FETCH FORWARD 100 FROM \"c\"", HowFar::Next(100)),
            ("FETCH FORWARD FROM c", HowFar::Next(1)),
            ("FETCH ALL c", HowFar::All),
            ("FETCH FORWARD ALL FROM c", HowFar::All),
            ("FETCH RELATIVE +3 FROM c", HowFar::Skip(3)),
            ("FETCH ABSOLUTE 3 FROM c", HowFar::To(3)),
            ("FETCH FIRST FROM c", HowFar::To(1)),
        ] {
            assert_eq!(fetched(text), Fetched { cursor: "c".into(), how_far, only_moves: false }, "{text}");
        }
        assert!(fetched("MOVE 3 FROM c").only_moves);
        assert_eq!(parse("close all").unwrap(), Some(Asked::Command(Command::Close(None))));
        assert_eq!(parse("select 1").unwrap(), None);
    }

    #[test]
    fn no_way_back_is_and_neither_is_nonsense() {
        for text in [
            "FETCH PRIOR FROM c",
            "FETCH BACKWARD 2 FROM c",
            "FETCH -1 FROM c",
            "FETCH 0 FROM c",
            "FETCH LAST FROM c",
            "MOVE RELATIVE -2 FROM c",
            "MOVE ABSOLUTE -2 FROM c",
            "DECLARE c SCROLL CURSOR FOR SELECT 1",
            "DECLARE c CURSOR SELECT 1",
            "DECLARE c",
            "FETCH",
            "FETCH 99999999999999999999999 FROM c",
            "CLOSE c d",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
