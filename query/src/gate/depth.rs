//! How deep a statement's tree would become, told from its words.
//!
//! The parser bounds what nests: parentheses, functions, subqueries. It does not
//! bound chains, e.g. `1+1+1+…`, whose trees lean to one side, and whoever walks
//! such a tree recurses once a link: parser, planner, even what drops it. So chains
//! are bounded before anything is parsed.
//!
//! ```text
//!   a = 1 AND b LIKE 'x' AND f(c+1, d) OR …
//!     │    └─ loose ─┘         └ tight ┘  each class binds tighter than the one before;
//!     └ compares               a link of one starts those below it anew
//! ```

use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use crate::{Code, QueryError};

/// How many links deep. A thread of 2 MiB takes three times as many.
const MAX_CHAIN: u32 = 500;

/// What a word counts that its parser recurses for, with large frames.
const RECURSES: u32 = 5;

/// No shorter text has a chain that is too long.
const SHORT_BYTES: usize = 200;

/// Classes of links, from the loosest to the tightest.
const CLASSES: usize = 6;
const SETS: usize = 0;
const JOINS: usize = 1;
const OR: usize = 2;
const AND: usize = 3;
const COMPARES: usize = 4;
const TIGHT: usize = 5;

/// Links of each class in the chain that is being read, one level of parentheses.
type Level = [u32; CLASSES];

/// What a token does to the chains around it.
#[derive(Clone, Copy)]
enum Effect {
    /// A level begins.
    Opens,
    /// A level ends.
    Closes,
    /// The expression ends, another of the same list begins.
    Next,
    /// One link, or more, of a class.
    Link(usize, u32),
    None,
}

/// Refuses a text whose chains are too long.
pub(crate) fn check(sql: &str) -> Result<(), QueryError> {
    if sql.len() < SHORT_BYTES {
        return Ok(());
    }
    // What cannot be read is for the parser to say.
    let Ok(tokens) = Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize() else { return Ok(()) };
    if deepest(&tokens) <= MAX_CHAIN {
        return Ok(());
    }
    let message = format!(
        "more than {MAX_CHAIN} operators stand in one chain; write a list, e.g. x IN (1, 2, …), or several statements"
    );
    Err(QueryError::new(Code::TooLarge, message))
}

fn deepest(tokens: &[Token]) -> u32 {
    let mut levels: Vec<Level> = vec![[0; CLASSES]];
    let (mut sum, mut deepest) = (0_u32, 0);
    for token in tokens {
        let effect = effect(token);
        let is_outermost = levels.len() == 1;
        let Some(level) = levels.last_mut() else { break };
        let before: u32 = level.iter().sum();
        match effect {
            // A call, a list or a subscript is a link of its own.
            Effect::Opens => level[TIGHT] += 1,
            Effect::Next => level[OR..].fill(0),
            Effect::Link(class, count) => {
                level[class] += count;
                level[class + 1..].fill(0);
            }
            Effect::Closes | Effect::None => {}
        }
        let after: u32 = level.iter().sum();
        sum = sum - before + after;
        deepest = deepest.max(sum);
        match effect {
            Effect::Opens => levels.push([0; CLASSES]),
            Effect::Closes if !is_outermost => {
                sum -= after;
                levels.pop();
            }
            _ => {}
        }
    }
    deepest
}

fn effect(token: &Token) -> Effect {
    match token {
        Token::LParen | Token::LBracket | Token::LBrace => Effect::Opens,
        Token::RParen | Token::RBracket | Token::RBrace => Effect::Closes,
        Token::Comma | Token::SemiColon => Effect::Next,
        Token::Word(word) if word.quote_style.is_none() => of_word(word.keyword),
        Token::Eq | Token::DoubleEq | Token::Neq | Token::Lt | Token::Gt | Token::LtEq | Token::GtEq => {
            Effect::Link(COMPARES, 1)
        }
        // `x -> y -> …` is read as functions within functions.
        Token::Arrow => Effect::Link(TIGHT, RECURSES),
        token if is_plain(token) => Effect::None,
        _ => Effect::Link(TIGHT, 1),
    }
}

fn of_word(word: Keyword) -> Effect {
    match word {
        Keyword::CASE => Effect::Opens,
        Keyword::END => Effect::Closes,
        Keyword::WHEN | Keyword::THEN | Keyword::ELSE => Effect::Next,
        Keyword::UNION => Effect::Link(SETS, 1),
        // Each is planned as a join.
        Keyword::EXCEPT | Keyword::INTERSECT | Keyword::MINUS => Effect::Link(SETS, RECURSES),
        Keyword::JOIN | Keyword::APPLY => Effect::Link(JOINS, 1),
        Keyword::OR | Keyword::XOR => Effect::Link(OR, 1),
        Keyword::AND => Effect::Link(AND, 1),
        Keyword::IS | Keyword::IN | Keyword::LIKE | Keyword::ILIKE | Keyword::SIMILAR | Keyword::BETWEEN => {
            Effect::Link(COMPARES, 1)
        }
        Keyword::REGEXP | Keyword::RLIKE | Keyword::NOTNULL | Keyword::OVERLAPS => Effect::Link(COMPARES, 1),
        Keyword::MEMBER | Keyword::DIV | Keyword::OPERATOR | Keyword::COLLATE => Effect::Link(TIGHT, 1),
        // `AT TIME ZONE` becomes a function within functions.
        Keyword::AT => Effect::Link(TIGHT, RECURSES),
        Keyword::NOT | Keyword::INTERVAL | Keyword::EXPLAIN | Keyword::PRIOR => Effect::Link(TIGHT, RECURSES),
        _ => Effect::None,
    }
}

/// Whether a token is a name, a value or a blank.
fn is_plain(token: &Token) -> bool {
    matches!(
        token,
        Token::EOF
            | Token::Word(_)
            | Token::Number(..)
            | Token::Char(_)
            | Token::SingleQuotedString(_)
            | Token::DoubleQuotedString(_)
            | Token::DollarQuotedString(_)
            | Token::NationalStringLiteral(_)
            | Token::EscapedStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
            | Token::HexStringLiteral(_)
            | Token::Whitespace(_)
            | Token::Period
            | Token::Placeholder(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depth(sql: &str) -> u32 {
        deepest(&Tokenizer::new(&PostgreSqlDialect {}, sql).tokenize().unwrap())
    }

    #[test]
    fn what_is_wide_is_not_deep() {
        let wide = |unit: &str, between: &str| format!("SELECT {}", vec![unit; 2_000].join(between));
        for sql in [
            wide("a+1", ", "),
            wide("f(a, b)", ", "),
            format!("SELECT 1 WHERE a IN ({})", vec!["'x'"; 5_000].join(",")),
            format!("SELECT CASE {} END", vec!["WHEN a = 1 AND b = 2 THEN -1"; 1_000].join(" ")),
            format!("VALUES {}", vec!["(1, -2)"; 1_000].join(", ")),
            wide("a LIKE 'x' AND b = 1 + 2", " OR ").replace(" OR ", ", "),
        ] {
            assert!(depth(&sql) < 20, "{} {}", depth(&sql), &sql[..40]);
        }
        let ors = vec!["(a LIKE 'x' AND b = 1 + 2)"; 400].join(" OR ");
        assert!(check(&format!("SELECT 1 WHERE {ors}")).is_ok());
    }

    #[test]
    fn chains_of_every_kind_are_refused() {
        for unit in [
            "+1",
            "||'a'",
            " AND true",
            " OR x",
            " = 1",
            " IS NULL",
            " LIKE 'a'",
            "::int",
            "[1]",
            " -> 'a'",
            " UNION ALL SELECT 1",
            " EXCEPT SELECT 1",
            " BETWEEN 1 AND 1",
            " AT TIME ZONE 'UTC'",
            " COLLATE \"C\"",
            " NOT IN (1)",
            " || (1)",
            " + CASE WHEN true THEN 1 END",
            " , LATERAL (SELECT 1) JOIN b ON a = b",
        ] {
            let sql = format!("SELECT 1{}", unit.repeat(1_600));
            assert!(check(&sql).is_err(), "{unit}: {}", depth(&sql));
        }
        for unit in ["INTERVAL ", "EXPLAIN ", "NOT ", "- ", "~ ", "x -> ", "(1 + ", "[", "CASE WHEN 1 + "] {
            let sql = format!("SELECT {} 1", unit.repeat(600));
            assert!(check(&sql).is_err(), "{unit}: {}", depth(&sql));
        }
        let nested = format!("SELECT {}1", "1 + (".repeat(300));
        assert!(check(&nested).is_err());
    }
}
