//! `?` as a parameter, as ADBC's and JDBC's users write it.

use std::collections::HashSet;

use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

/// A statement with `$1`, `$2` for its question marks. One that has parameters
/// of its own, or cannot be read, stays as it is.
pub(super) fn numbered(sql: String) -> String {
    if !sql.contains('?') {
        return sql;
    }
    let Ok(tokens) = Tokenizer::new(&PostgreSqlDialect {}, &sql).tokenize_with_location() else {
        return sql;
    };
    if tokens.iter().any(|token| matches!(token.token, Token::Placeholder(_))) {
        return sql;
    }
    let marks = tokens.iter().filter(|token| token.token == Token::Question).map(|token| token.span.start);
    let marks: HashSet<(u64, u64)> = marks.map(|start| (start.line, start.column)).collect();
    let (mut number, mut line, mut column) = (0, 1, 0);
    let mut written = String::with_capacity(sql.len());
    for character in sql.chars() {
        column += 1;
        match character {
            '?' if marks.contains(&(line, column)) => {
                number += 1;
                // The space keeps a digit that follows from becoming part of the number.
                written += &format!("${number} ");
            }
            other => written.push(other),
        }
        if character == '\n' {
            (line, column) = (line + 1, 0);
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn question_marks_are_counted_where_they_are_parameters() {
        for (sql, expected) in [
            ("SELECT ?", "SELECT $1 "),
            (
                "SELECT a FROM t WHERE b = ? AND c IN (?, ?)",
                "SELECT a FROM t WHERE b = $1  AND c IN ($2 , $3 )",
            ),
            (
                "SELECT '?', \"a?\" FROM t -- why?\nWHERE b=?",
                "SELECT '?', \"a?\" FROM t -- why?\nWHERE b=$1 ",
            ),
            ("SELECT $$what?$$, E'a\\'?' , ?", "SELECT $$what?$$, E'a\\'?' , $1 "),
            ("SELECT 'it''s ?', ?", "SELECT 'it''s ?', $1 "),
            ("SELECT $1, '?'", "SELECT $1, '?'"),
            ("SELECT 'unended ?", "SELECT 'unended ?"),
            ("SELECT 1", "SELECT 1"),
        ] {
            assert_eq!(numbered(sql.to_owned()), expected);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_it(sql in "[ -~äß?$'\"]{0,60}") {
            let without = sql.replace('?', "");
            proptest::prop_assert_eq!(numbered(without.clone()), without);
            let _ = numbered(sql);
        }
    }
}
