//! The words of one statement, for the few statements that are read here and not by the engine's parser.
//!
//! `COPY`, `DECLARE`, `FETCH` and their like are PostgreSQL's own. What they
//! hold of SQL is cut out of the text as it was written and goes to the engine.

use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, Tokenizer};

use super::failure::Failure;

/// A statement's words in order, without blanks and comments.
pub(super) struct Words<'a> {
    text: &'a str,
    tokens: Vec<(Token, usize)>,
    next: usize,
}

/// The tokens of a text and the bytes at which they begin.
pub(super) fn located(text: &str) -> Result<Vec<(Token, usize)>, Failure> {
    let dialect = PostgreSqlDialect {};
    let tokens = Tokenizer::new(&dialect, text).tokenize_with_location().map_err(syntax)?;
    let mut letters = text.char_indices().peekable();
    let mut place = Location::new(1, 1);
    let mut located = Vec::with_capacity(tokens.len());
    for token in tokens {
        while place < token.span.start
            && let Some((_, letter)) = letters.next()
        {
            place = match letter {
                '\n' => Location::new(place.line + 1, 1),
                _ => Location::new(place.line, place.column + 1),
            };
        }
        let offset = letters.peek().map_or(text.len(), |(offset, _)| *offset);
        located.push((token.token, offset));
    }
    Ok(located)
}

/// What the tokenizer or the parser found wrong with a text.
pub(super) fn syntax(error: impl std::fmt::Display) -> Failure {
    Failure::new("42601", error.to_string().replace("sql parser error: ", ""))
}

// === impl Words ===

impl<'a> Words<'a> {
    pub(super) fn of(text: &'a str) -> Result<Self, Failure> {
        let mut tokens = located(text)?;
        tokens.retain(|(token, _)| !matches!(token, Token::Whitespace(_) | Token::SemiColon | Token::EOF));
        Ok(Self { text, tokens, next: 0 })
    }

    /// Takes the next word if it is this keyword.
    pub(super) fn take(&mut self, keyword: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(word))
            if word.quote_style.is_none() && word.value.eq_ignore_ascii_case(keyword));
        self.next += usize::from(found);
        found
    }

    /// Takes the next word if it is this sign.
    pub(super) fn take_sign(&mut self, sign: &Token) -> bool {
        let found = self.peek() == Some(sign);
        self.next += usize::from(found);
        found
    }

    /// The next word must be this keyword.
    pub(super) fn expect(&mut self, keyword: &str) -> Result<(), Failure> {
        match self.take(keyword) {
            true => Ok(()),
            false => Err(self.unexpected(keyword)),
        }
    }

    /// The next word as a name: in lower case unless it was quoted.
    pub(super) fn name(&mut self) -> Result<String, Failure> {
        let Some(Token::Word(word)) = self.peek() else { return Err(self.unexpected("a name")) };
        let name = match word.quote_style {
            Some(_) => word.value.clone(),
            None => word.value.to_lowercase(),
        };
        self.next += 1;
        Ok(name)
    }

    /// A whole number, if one comes next.
    pub(super) fn number(&mut self) -> Option<i64> {
        let (sign, place) = match self.peek()? {
            Token::Minus => (-1, self.next + 1),
            Token::Plus => (1, self.next + 1),
            _ => (1, self.next),
        };
        let Some((Token::Number(digits, false), _)) = self.tokens.get(place) else { return None };
        let number: i64 = digits.parse().ok()?;
        self.next = place + 1;
        Some(sign * number)
    }

    /// A literal text, if one comes next.
    pub(super) fn literal(&mut self) -> Option<String> {
        let text = match self.peek()? {
            Token::SingleQuotedString(text) | Token::EscapedStringLiteral(text) => text.clone(),
            Token::DollarQuotedString(text) => text.value.clone(),
            _ => return None,
        };
        self.next += 1;
        Some(text)
    }

    /// What stands between the next parenthesis and its other end, as it was written.
    pub(super) fn parenthesis(&mut self) -> Result<Option<&'a str>, Failure> {
        let Some((Token::LParen, began)) = self.tokens.get(self.next) else { return Ok(None) };
        let mut depth = 0;
        for (index, (token, offset)) in self.tokens.iter().enumerate().skip(self.next) {
            match token {
                Token::LParen => depth += 1,
                Token::RParen => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                self.next = index + 1;
                return Ok(Some(&self.text[began + 1..*offset]));
            }
        }
        Err(Failure::new("42601", "a parenthesis is not closed"))
    }

    /// Where the next word begins in the text.
    pub(super) fn offset(&self) -> usize {
        self.tokens.get(self.next).map_or(self.text.len(), |(_, offset)| *offset)
    }

    /// Everything from the next word on, as it was written.
    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.offset()..]
    }

    /// There must be nothing more.
    pub(super) fn end(&self) -> Result<(), Failure> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.unexpected("the statement's end")),
        }
    }

    /// The error that something else comes next.
    pub(super) fn unexpected(&self, expected: &str) -> Failure {
        let found: String = self.peek().map_or("nothing".to_owned(), ToString::to_string);
        let found: String = found.chars().take(100).collect();
        Failure::new("42601", format!("syntax error: expected {expected}, found {found}"))
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|(token, _)| token)
    }
}
