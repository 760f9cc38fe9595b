//! What a text asks for: statements for the engine, or commands about the connection itself.

use datafusion::sql::sqlparser::ast::{
    DiscardObject, Expr, Reset, Set, SetSessionAuthorizationParamKind, Statement, TransactionMode, Value,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, Tokenizer};

use super::dialect;
use super::failure::Failure;

/// One statement of a text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Asked {
    /// For the engine, in its dialect, and the tag of its completion.
    Query { sql: String, tag: &'static str },
    /// About the connection.
    Command(Command),
}

/// A command that never reaches the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    /// `BEGIN`, `START TRANSACTION`; the tag differs.
    Begin(&'static str),
    /// `COMMIT`, `END`.
    Commit,
    /// `ROLLBACK`, `ABORT`.
    Rollback,
    /// `SET name = value`; `None` sets what the connection started with.
    Set(String, Option<String>),
    /// `RESET name`, or all.
    Reset(Option<String>),
    /// `SHOW name`, or all.
    Show(Option<String>),
    /// `DISCARD ALL` and its parts.
    Discard(&'static str),
    /// `DEALLOCATE name`, or all.
    Deallocate(Option<String>),
    /// What has nothing to act on here; only its tag is answered.
    Nothing(&'static str),
}

/// The statements of a text, in order; none if it holds only comments.
pub(super) fn parse(text: &str) -> Result<Vec<Asked>, Failure> {
    let mut asked = Vec::new();
    for text in pieces(text)? {
        // A synonym of ROLLBACK that the parser does not know.
        if text.trim().eq_ignore_ascii_case("abort") {
            asked.push(Asked::Command(Command::Rollback));
            continue;
        }
        let statements = Parser::parse_sql(&PostgreSqlDialect {}, text).map_err(syntax)?;
        for statement in statements {
            asked.push(self::asked(&statement, text)?);
        }
    }
    Ok(asked)
}

/// A text cut at its semicolons, each piece as it was written: that is what
/// `queries` records, and what the catalog's rules are written for. Pieces of
/// blanks and comments are left out.
fn pieces(text: &str) -> Result<Vec<&str>, Failure> {
    let dialect = PostgreSqlDialect {};
    let tokens = Tokenizer::new(&dialect, text).tokenize_with_location().map_err(syntax)?;
    let mut tokens = tokens.into_iter().peekable();
    let mut pieces = Vec::new();
    let (mut began, mut has_words) = (0, false);
    let mut place = Location::new(1, 1);
    for (offset, letter) in text.char_indices() {
        while let Some(token) = tokens.next_if(|token| token.span.start <= place) {
            if token.token != Token::SemiColon {
                has_words |= !matches!(token.token, Token::Whitespace(_));
            } else if std::mem::take(&mut has_words) {
                pieces.push(&text[began..offset]);
                began = offset + 1;
            } else {
                began = offset + 1;
            }
        }
        place = match letter {
            '\n' => Location::new(place.line + 1, 1),
            _ => Location::new(place.line, place.column + 1),
        };
    }
    if has_words {
        pieces.push(&text[began..]);
    }
    Ok(pieces)
}

fn syntax(error: impl std::fmt::Display) -> Failure {
    Failure::new("42601", error.to_string().replace("sql parser error: ", ""))
}

fn asked(statement: &Statement, text: &str) -> Result<Asked, Failure> {
    let command = match statement {
        Statement::StartTransaction { modes, begin, .. } => begin_transaction(modes, *begin),
        Statement::Commit { .. } => Command::Commit,
        Statement::Rollback { savepoint: None, .. } => Command::Rollback,
        Statement::Rollback { .. } | Statement::Savepoint { .. } | Statement::ReleaseSavepoint { .. } => {
            return Err(Failure::new("0A000", "savepoints are not supported: nothing is ever written"));
        }
        Statement::Set(set) => set_command(set)?,
        Statement::Reset(reset) => match &reset.reset {
            Reset::ALL => Command::Reset(None),
            Reset::ConfigurationParameter(name) => Command::Reset(Some(plain(&name.to_string()))),
        },
        Statement::ShowVariable { variable } => show(variable),
        Statement::Discard { object_type } => Command::Discard(match object_type {
            DiscardObject::ALL => "DISCARD ALL",
            DiscardObject::PLANS => "DISCARD PLANS",
            DiscardObject::SEQUENCES => "DISCARD SEQUENCES",
            DiscardObject::TEMP => "DISCARD TEMP",
        }),
        Statement::Deallocate { name, .. } => {
            let all = name.quote_style.is_none() && name.value.eq_ignore_ascii_case("all");
            Command::Deallocate((!all).then(|| name.value.clone()))
        }
        Statement::Close { .. } => Command::Nothing("CLOSE CURSOR"),
        Statement::UNLISTEN { .. } => Command::Nothing("UNLISTEN"),
        Statement::Declare { .. } | Statement::Fetch { .. } => {
            return Err(Failure::new("0A000", "cursors are not supported")
                .hint("read the rows as they come, or use a portal with a row limit"));
        }
        Statement::Prepare { .. } | Statement::Execute { .. } => {
            return Err(Failure::new("0A000", "PREPARE and EXECUTE are not supported as statements")
                .hint("use the extended protocol's Parse, as drivers do"));
        }
        Statement::Copy { .. } => {
            return Err(Failure::new("0A000", "COPY is not supported")
                .hint("ask with SELECT; psql writes files with \\o, or with --csv"));
        }
        Statement::Explain { .. } => return Ok(query(text, "EXPLAIN")),
        _ => return Ok(query(text, "SELECT")),
    };
    Ok(Asked::Command(command))
}

/// Anything else goes to the engine, whose gate decides whether it may run.
fn query(text: &str, tag: &'static str) -> Asked {
    Asked::Query { sql: dialect::translate(text), tag }
}

fn begin_transaction(modes: &[TransactionMode], begin: bool) -> Command {
    // Every mode holds: reads see one moment, and nothing is written.
    let _ = modes;
    Command::Begin(if begin { "BEGIN" } else { "START TRANSACTION" })
}

fn show(variable: &[datafusion::sql::sqlparser::ast::Ident]) -> Command {
    let words: Vec<&str> = variable.iter().map(|word| word.value.as_str()).collect();
    let name = words.join(" ");
    Command::Show((!name.eq_ignore_ascii_case("all")).then_some(name))
}

fn set_command(set: &Set) -> Result<Command, Failure> {
    Ok(match set {
        Set::SingleAssignment { variable, values, .. } => {
            let values: Vec<Option<String>> = values.iter().map(value).collect();
            let value = match values.as_slice() {
                [None] => None,
                values => Some(values.iter().flatten().map(String::as_str).collect::<Vec<_>>().join(", ")),
            };
            Command::Set(plain(&variable.to_string()), value)
        }
        Set::SetTimeZone { value: zone, .. } => Command::Set("timezone".to_owned(), value(zone)),
        Set::SetNames { charset_name, .. } => {
            Command::Set("client_encoding".to_owned(), Some(charset_name.value.clone()))
        }
        Set::SetTransaction { .. } => Command::Nothing("SET"),
        // Back to the one role there is.
        Set::SetRole { role_name: None, .. } => Command::Nothing("SET"),
        Set::SetSessionAuthorization(kind)
            if matches!(kind.kind, SetSessionAuthorizationParamKind::Default) =>
        {
            Command::Nothing("SET")
        }
        Set::SetRole { .. } | Set::SetSessionAuthorization(_) => {
            return Err(Failure::new("42501", "the role of a connection is that of its token"));
        }
        other => return Err(Failure::new("42601", format!("cannot {other}"))),
    })
}

/// A value as text; `None` for `DEFAULT`.
fn value(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Value(value) => match &value.value {
            Value::Number(number, _) => Some(number.to_string()),
            Value::Boolean(flag) => Some(if *flag { "on" } else { "off" }.to_owned()),
            other => Some(other.clone().into_string().unwrap_or_else(|| other.to_string())),
        },
        Expr::Identifier(word)
            if word.quote_style.is_none() && word.value.eq_ignore_ascii_case("default") =>
        {
            None
        }
        Expr::Identifier(word) => Some(word.value.clone()),
        other => Some(other.to_string()),
    }
}

fn plain(name: &str) -> String {
    name.trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(text: &str) -> Command {
        match parse(text).unwrap().remove(0) {
            Asked::Command(command) => command,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn what_clients_send_about_the_connection_is_understood() {
        let set = |name: &str, value: &str| Command::Set(name.to_owned(), Some(value.to_owned()));
        assert_eq!(command("SET TIME ZONE 'UTC'"), set("timezone", "UTC"));
        assert_eq!(command("set extra_float_digits = 3"), set("extra_float_digits", "3"));
        assert_eq!(command("SET SESSION statement_timeout TO '5s'"), set("statement_timeout", "5s"));
        assert_eq!(
            command("SET search_path TO public, pg_catalog"),
            set("search_path", "public, pg_catalog")
        );
        assert_eq!(
            command("SET application_name = DEFAULT"),
            Command::Set("application_name".to_owned(), None)
        );
        assert_eq!(command("SET client_encoding TO 'UTF8'"), set("client_encoding", "UTF8"));
        assert_eq!(
            command("SHOW transaction isolation level"),
            Command::Show(Some("transaction isolation level".into()))
        );
        assert_eq!(command("SHOW TIME ZONE"), Command::Show(Some("TIME ZONE".to_owned())));
        assert_eq!(command("SHOW ALL"), Command::Show(None));
        assert_eq!(command("BEGIN READ ONLY"), Command::Begin("BEGIN"));
        assert_eq!(
            command("START TRANSACTION ISOLATION LEVEL REPEATABLE READ"),
            Command::Begin("START TRANSACTION")
        );
        assert_eq!(command("END"), Command::Commit);
        assert_eq!(command("ABORT;"), Command::Rollback);
        assert_eq!(command("RESET ALL"), Command::Reset(None));
        assert_eq!(command("DISCARD ALL"), Command::Discard("DISCARD ALL"));
        assert_eq!(command("DEALLOCATE ALL"), Command::Deallocate(None));
        assert_eq!(command("DEALLOCATE PREPARE s1"), Command::Deallocate(Some("s1".to_owned())));
        assert_eq!(command("UNLISTEN *"), Command::Nothing("UNLISTEN"));
    }

    #[test]
    fn a_text_falls_apart_into_statements_and_comments_into_none() {
        assert_eq!(parse("-- ping").unwrap(), []);
        assert_eq!(parse(" ;; ").unwrap(), []);
        let asked = parse("SET TIME ZONE 'UTC'; SELECT 1 AS a; SELECT ';' AS b").unwrap();
        assert_eq!(asked.len(), 3);
        assert_eq!(asked[2], Asked::Query { sql: " SELECT ';' AS b".to_owned(), tag: "SELECT" });
        for text in [
            "SELECT E'a\\'b;', 'it''s', \"a\"\"b\", $$;$$ -- ;",
            "SELECT /* ; */ U&'d\\0061t', 1.50e3, x::text[1]",
        ] {
            assert_eq!(pieces(text).unwrap(), [text]);
        }
        assert_eq!(pieces("é;\n';é';--;\n;ü").unwrap(), ["é", "\n';é'", "ü"]);
    }

    #[test]
    fn what_would_pretend_is_refused() {
        for text in
            ["SAVEPOINT a", "SET ROLE postgres", "DECLARE c CURSOR FOR SELECT 1", "SELEC 1", "FETCH 1 FROM c"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_single_statement_reaches_the_engine_as_it_was_written() {
        let text = "select  count(*)\nfrom syscalls -- all";
        assert_eq!(parse(text).unwrap(), [Asked::Query { sql: text.to_owned(), tag: "SELECT" }]);
    }
}
