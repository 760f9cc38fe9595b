//! Regular expressions that are none, told to whoever wrote them.
//!
//! The engine has no error of its own for them. Its functions pass on what the
//! `regex` crate says, as an error of another library or as text:
//!
//! ```text
//!   regex parse error:                      Compiled regex exceeds size limit of 10485760 bytes.
//!       ([                                  CompiledTooBig(10485760)
//!        ^                                  Regular expression did not compile: ([
//!   error: unclosed character class
//! ```

use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;

/// PostgreSQL's `invalid_regular_expression`.
pub(super) const SQLSTATE: &str = "2201B";

/// How much of a pattern is repeated, characters.
const SHOWN: usize = 60;
/// What the `regex` crate begins with.
const SYNTAX: &str = "regex parse error:";
/// How it puts a pattern, and what is wrong with it, below that.
const INDENT: &str = "    ";
/// How the engine begins.
const NOT_COMPILED: &str = "Regular expression did not compile: ";
/// The same of `SIMILAR TO`.
const SIMILAR_TO: &str = "failed to call 'regex_match_dyn_scalar' Compute error: ";

/// What is wrong with a pattern, if that is what an error is about.
pub(super) fn wrong(root: &DataFusionError) -> Option<String> {
    let (text, is_text_of_the_engine) = match root {
        DataFusionError::External(error) => (error.to_string(), false),
        // `SIMILAR TO`, which takes every failure for its own.
        DataFusionError::Internal(text) if text.starts_with(SIMILAR_TO) => {
            (text.split_once(NOT_COMPILED)?.1.to_owned(), true)
        }
        DataFusionError::ArrowError(error, _) => match error.as_ref() {
            ArrowError::ComputeError(text) => (text.strip_prefix(NOT_COMPILED)?.to_owned(), true),
            ArrowError::ExternalError(error) => (error.to_string(), false),
            _ => return None,
        },
        _ => return None,
    };
    if text.starts_with("Compiled regex exceeds size limit") || text.starts_with("CompiledTooBig(") {
        return Some("invalid regular expression: it is too large".to_owned());
    }
    match text.find(SYNTAX) {
        // As it is, or within the crate's own rendering for programmers.
        Some(0) => Some(syntax(&text)),
        Some(start) if is_text_of_the_engine && text.starts_with("Syntax(") => Some(syntax(&text[start..])),
        _ if is_text_of_the_engine => Some(format!("invalid regular expression {}", shown(&text))),
        _ => None,
    }
}

/// The crate's drawing as a sentence.
fn syntax(drawing: &str) -> String {
    let reason = drawing.lines().rev().find_map(|line| line.strip_prefix("error: "));
    let reason = reason.unwrap_or("it cannot be read");
    let mut lines = drawing.lines().skip(1).map(|line| line.strip_prefix(INDENT));
    // A pattern of several lines is drawn otherwise, and the reason has the line then.
    let (Some(Some(pattern)), Some(Some(marks))) = (lines.next(), lines.next()) else {
        return format!("invalid regular expression: {reason}");
    };
    let place = marks.chars().position(|mark| mark == '^').map_or(1, |before| before + 1);
    format!("invalid regular expression {}: {reason}, at character {place}", shown(pattern))
}

fn shown(pattern: &str) -> String {
    let mut shown: String = pattern.chars().take(SHOWN).collect();
    if shown.len() < pattern.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Code, QueryError};

    const DRAWING: &str = "regex parse error:\n    a([\n      ^\nerror: unclosed character class";

    fn told(error: DataFusionError) -> (Code, &'static str, String) {
        let error = QueryError::from(error);
        (error.code(), error.sqlstate(), error.to_string())
    }

    #[test]
    fn a_wrong_pattern_is_its_authors_and_says_where() {
        let sentence = "invalid regular expression \"a([\": unclosed character class, at character 3";
        let compute = |text: String| DataFusionError::from(ArrowError::ComputeError(text));
        for error in [
            DataFusionError::External(DRAWING.into()),
            DataFusionError::External(DRAWING.into()).context("Invalid regex"),
            compute(format!("{NOT_COMPILED}Syntax(\n~~~\n{DRAWING}\n~~~\n)")),
            DataFusionError::Internal(format!("{SIMILAR_TO}{NOT_COMPILED}Syntax(\n~~~\n{DRAWING}\n~~~\n)")),
        ] {
            assert_eq!(told(error), (Code::ExecutionFailed, "2201B", sentence.to_owned()));
        }
        let lines =
            "regex parse error:\n~~~~\n1: a\n2: (\n   ^\n~~~~\nerror: on line 2 (column 1) unclosed group";
        let message = told(DataFusionError::External(lines.into())).2;
        assert_eq!(message, "invalid regular expression: on line 2 (column 1) unclosed group");
        let message = told(compute(format!("{NOT_COMPILED}tables/(["))).2;
        assert_eq!(message, "invalid regular expression \"tables/([\"");
        for large in ["Compiled regex exceeds size limit of 10 bytes.", "CompiledTooBig(10)"] {
            let message = told(compute(format!("{NOT_COMPILED}{large}"))).2;
            assert_eq!(message, "invalid regular expression: it is too large");
        }
        let message = told(DataFusionError::External(DRAWING.replace("a([", &"é".repeat(70)).into())).2;
        assert!(message.contains(&format!("\"{}…\"", "é".repeat(60))), "{message}");
    }

    /// Goal: the words of a pattern in another error open nothing.
    #[test]
    fn what_only_mentions_patterns_is_none() {
        let path = "cannot open tables/tenant=globex/x: regex parse error:\n    globex\n    ^\nerror: globex";
        for error in [
            DataFusionError::External(path.into()),
            DataFusionError::from(ArrowError::ExternalError(path.into())),
            DataFusionError::Internal(DRAWING.into()),
        ] {
            let (code, _, message) = told(error);
            assert!(code == Code::Internal && !message.contains("globex"), "{message}");
        }
    }
}
