//! What a text asks for: statements for the engine, or commands about the connection itself.

use datafusion::sql::sqlparser::ast::{
    ContextModifier, DiscardObject, Expr, Ident, Reset, Set, SetSessionAuthorizationParamKind, Statement,
    Value,
};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::copy::{self, Copy};
use super::cursor::{self, Declared, Fetched};
use super::dialect;
use super::failure::Failure;
use super::parameters::{self, Told};
use super::words::{Words, located, syntax};
use crate::gate::reading;

/// One statement of a text.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Asked {
    /// For the engine, in its dialect, what it says of its parameters, and the tag of its completion.
    Query { sql: String, told: Told, tag: &'static str },
    /// For the engine; the rows go out as a file would hold them.
    Copy(Copy),
    /// For the engine, once its rows are fetched.
    Declare(Declared),
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
    /// `SET LOCAL name = value`: until the transaction ends.
    SetLocal(String, Option<String>),
    /// `RESET name`, or all.
    Reset(Option<String>),
    /// `SHOW name`, or all.
    Show(Option<String>),
    /// `DISCARD ALL` and its parts.
    Discard(&'static str),
    /// `DEALLOCATE name`, or all.
    Deallocate(Option<String>),
    /// `FETCH` and `MOVE`.
    Fetch(Fetched),
    /// `CLOSE name`, or all.
    Close(Option<String>),
    /// `SAVEPOINT name`.
    Savepoint(String),
    /// `RELEASE name`.
    Release(String),
    /// `ROLLBACK TO name`.
    RollbackTo(String),
    /// What has nothing to act on here; only its tag is answered.
    Nothing(&'static str),
}

// === impl Asked ===

impl Asked {
    /// Whether it is refused in a transaction that has failed.
    pub(super) fn needs_sound_transaction(&self) -> bool {
        !matches!(self, Self::Command(command) if command.ends_failure())
    }
}

// === impl Command ===

impl Command {
    /// Whether it ends a failed transaction, or the part of it that failed.
    pub(super) fn ends_failure(&self) -> bool {
        matches!(self, Self::Commit | Self::Rollback | Self::RollbackTo(_))
    }
}

/// The statements of a text, in order; none if it holds only comments.
pub(super) fn parse(text: &str) -> Result<Vec<Asked>, Failure> {
    // The engine says why it does not take it, and records it.
    if reading::check(text).is_err() {
        return Ok(vec![Asked::Query { sql: text.to_owned(), told: Told::default(), tag: "SELECT" }]);
    }
    let mut asked = Vec::new();
    for text in pieces(text)? {
        match own(text)? {
            Some(one) => asked.push(one),
            None => {
                let statements = reading::statements(text).map_err(syntax)?;
                for statement in statements {
                    asked.push(self::asked(&statement, text)?);
                }
            }
        }
    }
    Ok(asked)
}

/// Statements that are PostgreSQL's own, and that the engine's parser does not know or not well enough.
fn own(text: &str) -> Result<Option<Asked>, Failure> {
    let mut words = Words::of(text)?;
    if words.take("copy") {
        return Ok(Some(match copy::parse(text)? {
            Some(copy) => Asked::Copy(copy),
            // Files and what clients send are nothing for the engine either; it says so and records it.
            None => Asked::Query { sql: text.to_owned(), told: Told::default(), tag: "COPY" },
        }));
    }
    if words.take("table") {
        return Ok(Some(query(&format!("SELECT * FROM {}", words.rest()), "SELECT")));
    }
    // The parser forgets the points of a name.
    if words.take("show") && words.rest().contains('.') && !words.rest().contains(char::is_whitespace) {
        return Ok(Some(Asked::Command(Command::Show(Some(words.rest().replace('"', ""))))));
    }
    if words.take("abort") {
        return Ok(Some(Asked::Command(Command::Rollback)));
    }
    if words.take("begin") || words.take("start") {
        return begin(text).map(|command| Some(Asked::Command(command)));
    }
    cursor::parse(text)
}

/// A text cut at its semicolons, each piece as it was written: that is what
/// `queries` records, and what the catalog's rules are written for. Pieces of
/// blanks and comments are left out.
fn pieces(text: &str) -> Result<Vec<&str>, Failure> {
    let mut pieces = Vec::new();
    let (mut began, mut has_words) = (0, false);
    for (token, offset) in located(text)? {
        if token != Token::SemiColon {
            has_words |= !matches!(token, Token::Whitespace(_) | Token::EOF);
            continue;
        }
        if std::mem::take(&mut has_words) {
            pieces.push(&text[began..offset]);
        }
        began = offset + 1;
    }
    if has_words {
        pieces.push(&text[began..]);
    }
    Ok(pieces)
}

fn asked(statement: &Statement, text: &str) -> Result<Asked, Failure> {
    let command = match statement {
        Statement::Commit { .. } => Command::Commit,
        Statement::Rollback { savepoint: None, .. } => Command::Rollback,
        Statement::Rollback { savepoint: Some(name), .. } => Command::RollbackTo(folded(name)),
        Statement::Savepoint { name } => Command::Savepoint(folded(name)),
        Statement::ReleaseSavepoint { name } => Command::Release(folded(name)),
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
        Statement::UNLISTEN { .. } => Command::Nothing("UNLISTEN"),
        Statement::Prepare { .. } | Statement::Execute { .. } => {
            return Err(Failure::new("0A000", "PREPARE and EXECUTE are not supported as statements")
                .hint("use the extended protocol's Parse, as drivers do"));
        }
        Statement::Explain { .. } => return Ok(query(text, "EXPLAIN")),
        _ => return Ok(query(text, "SELECT")),
    };
    Ok(Asked::Command(command))
}

/// Anything else goes to the engine, whose gate decides whether it may run.
fn query(text: &str, tag: &'static str) -> Asked {
    let (sql, told) = translated(text);
    Asked::Query { sql, told, tag }
}

/// A statement as the engine can plan it, and what it says of its parameters.
pub(super) fn translated(text: &str) -> (String, Told) {
    let (sql, mut told) = (dialect::translate(text), parameters::told(text));
    // What was added on the way is told too.
    if sql != text {
        for (number, kind) in parameters::told(&sql).types {
            told.types.entry(number).or_insert(kind);
        }
    }
    (sql, told)
}

/// A name as PostgreSQL keeps it.
fn folded(name: &Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    }
}

/// `BEGIN` and `START TRANSACTION`. Every mode holds: reads see one moment, and nothing is written.
fn begin(text: &str) -> Result<Command, Failure> {
    const LEVELS: [&str; 4] = ["serializable", "repeatable read", "read committed", "read uncommitted"];
    let mut words = Words::of(text)?;
    let tag = if words.take("start") {
        words.expect("transaction")?;
        "START TRANSACTION"
    } else {
        let _ = words.take("begin") && (words.take("work") || words.take("transaction"));
        "BEGIN"
    };
    let all = |words: &mut Words<'_>, phrase: &str| phrase.split(' ').all(|word| words.take(word));
    while words.end().is_err() {
        if words.take("isolation") {
            words.expect("level")?;
            let known = words.take("serializable")
                || (words.take("repeatable") && words.take("read"))
                || (words.take("read") && (words.take("committed") || words.take("uncommitted")));
            if !known {
                return Err(words.unexpected(&LEVELS.join(", ")));
            }
        } else if words.take("read") {
            if !words.take("only") && !words.take("write") {
                return Err(words.unexpected("ONLY or WRITE"));
            }
        } else if !words.take("deferrable") && !all(&mut words, "not deferrable") {
            return Err(words.unexpected("a mode of transactions"));
        }
        words.take_sign(&Token::Comma);
    }
    Ok(Command::Begin(tag))
}

fn show(variable: &[Ident]) -> Command {
    let words: Vec<&str> = variable.iter().map(|word| word.value.as_str()).collect();
    let name = words.join(" ");
    Command::Show((!name.eq_ignore_ascii_case("all")).then_some(name))
}

fn set_command(set: &Set) -> Result<Command, Failure> {
    Ok(match set {
        Set::SingleAssignment { scope, variable, values, .. } => {
            let values: Vec<Option<String>> = values.iter().map(value).collect();
            let value = match values.as_slice() {
                [None] => None,
                values => Some(values.iter().flatten().map(String::as_str).collect::<Vec<_>>().join(", ")),
            };
            let name = plain(&variable.to_string());
            match scope {
                Some(ContextModifier::Local) => Command::SetLocal(name, value),
                _ => Command::Set(name, value),
            }
        }
        Set::SetTimeZone { local: true, value: zone } => {
            Command::SetLocal("timezone".to_owned(), value(zone))
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
        assert_eq!(
            command("BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY NOT DEFERRABLE;"),
            Command::Begin("BEGIN")
        );
        assert!(parse("BEGIN ISOLATION LEVEL CHAOS").is_err() && parse("BEGIN READ").is_err());
        assert_eq!(command("END"), Command::Commit);
        assert_eq!(command("ABORT;"), Command::Rollback);
        assert_eq!(command("RESET ALL"), Command::Reset(None));
        assert_eq!(command("DISCARD ALL"), Command::Discard("DISCARD ALL"));
        assert_eq!(command("DEALLOCATE ALL"), Command::Deallocate(None));
        assert_eq!(command("DEALLOCATE PREPARE s1"), Command::Deallocate(Some("s1".to_owned())));
        assert_eq!(command("UNLISTEN *"), Command::Nothing("UNLISTEN"));
        assert_eq!(command("SAVEPOINT \"A b\""), Command::Savepoint("A b".to_owned()));
        assert_eq!(command("RELEASE SAVEPOINT A"), Command::Release("a".to_owned()));
        assert_eq!(command("ROLLBACK TO SAVEPOINT a"), Command::RollbackTo("a".to_owned()));
        assert_eq!(command("rollback to a"), Command::RollbackTo("a".to_owned()));
        assert_eq!(
            command("SET LOCAL statement_timeout = 5"),
            Command::SetLocal("statement_timeout".to_owned(), Some("5".to_owned()))
        );
    }

    #[test]
    fn a_text_falls_apart_into_statements_and_comments_into_none() {
        assert_eq!(parse("-- ping").unwrap(), []);
        assert_eq!(parse(" ;; ").unwrap(), []);
        let asked = parse("SET TIME ZONE 'UTC'; SELECT 1 AS a; SELECT ';' AS b").unwrap();
        assert_eq!(asked.len(), 3);
        assert_eq!(asked[2], query(" SELECT ';' AS b", "SELECT"));
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
            ["SET ROLE postgres", "PREPARE p AS SELECT 1", "SELEC 1", "DECLARE c SCROLL CURSOR FOR SELECT 1"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_single_statement_reaches_the_engine_as_it_was_written() {
        let text = "select  count(*)\nfrom syscalls -- all";
        let expected = Asked::Query { sql: text.to_owned(), told: Told::default(), tag: "SELECT" };
        assert_eq!(parse(text).unwrap(), [expected]);
    }
}
