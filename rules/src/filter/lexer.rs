//! Tokens at a cursor. Falco's grammar decides by context which token may
//! come next, so there is no token stream: the parser asks for one kind.

use super::FilterError;

/// A position in a condition.
pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

// === impl Cursor ===

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Goes back to where a try began.
    pub(super) fn reset(&mut self, at: usize) {
        self.at = at;
    }

    pub(super) fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub(super) fn at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    pub(super) fn error(&self, message: impl Into<String>) -> FilterError {
        FilterError { at: self.at, message: message.into() }
    }

    /// Skips blanks; whether there were any.
    pub(super) fn blank(&mut self) -> bool {
        self.take(blank_len(self.rest())).is_some()
    }

    /// Exactly this text.
    pub(super) fn word(&mut self, word: &str) -> bool {
        let found = self.rest().starts_with(word);
        if found {
            self.at += word.len();
        }
        found
    }

    /// This text and at least one blank after it.
    pub(super) fn word_blank(&mut self, word: &str) -> bool {
        let start = self.at;
        if self.word(word) && self.blank() {
            return true;
        }
        self.at = start;
        false
    }

    /// `letter (letter | digit | _)*`.
    pub(super) fn identifier(&mut self) -> Option<&'a str> {
        self.take(identifier_len(self.rest()))
    }

    /// At least two identifiers with dots between them.
    pub(super) fn field_name(&mut self) -> Option<&'a str> {
        let rest = self.rest();
        let mut len = identifier_len(rest);
        let mut dots = 0;
        while len > 0 && rest[len..].starts_with('.') {
            let more = identifier_len(&rest[len + 1..]);
            if more == 0 {
                break;
            }
            len += 1 + more;
            dots += 1;
        }
        if dots == 0 { None } else { self.take(len) }
    }

    /// What may stand in brackets without quotes.
    pub(super) fn bare_argument(&mut self) -> Option<&'a str> {
        self.take(run(self.rest(), |c| !c.is_ascii_whitespace() && !matches!(c, '[' | ']' | '"' | '\'')))
    }

    /// A text without quotes.
    pub(super) fn bare_text(&mut self) -> Option<&'a str> {
        let allowed = |c: char| !is_blank(c) && !matches!(c, '(' | ')' | '"' | '\'' | '=' | ',');
        self.take(run(self.rest(), allowed))
    }

    /// A decimal or hexadecimal number.
    pub(super) fn number(&mut self) -> Option<&'a str> {
        let rest = self.rest();
        if let Some(digits) = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
            let len = run(digits, |c| c.is_ascii_alphanumeric());
            if len > 0 {
                return self.take(2 + len);
            }
        }
        self.take(decimal_len(rest))
    }

    /// A text in quotes, with its escapes undone. A quote after a backslash
    /// never ends the text, even if that backslash was itself escaped.
    pub(super) fn quoted(&mut self) -> Result<Option<String>, FilterError> {
        let rest = self.rest();
        let Some(delimiter) = rest.chars().next().filter(|c| matches!(c, '"' | '\'')) else {
            return Ok(None);
        };
        let mut previous = '\\';
        for (index, c) in rest.char_indices() {
            if c == delimiter && previous != '\\' {
                let text = self.unescape(&rest[1..index], delimiter)?;
                self.at += index + 1;
                return Ok(Some(text));
            }
            previous = c;
        }
        Ok(None)
    }

    fn unescape(&self, raw: &str, delimiter: char) -> Result<String, FilterError> {
        let mut out = String::with_capacity(raw.len());
        let mut chars = raw.char_indices();
        while let Some((index, c)) = chars.next() {
            if c != '\\' {
                out.push(c);
                continue;
            }
            let escaped = chars.next().map(|(_, c)| c);
            out.push(match escaped {
                Some('b') => '\u{8}',
                Some('f') => '\u{c}',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                // A backslash before a blank stays a backslash: old rules rely on it.
                Some(' ' | '\\') => '\\',
                Some('/') => '/',
                Some(quote @ ('"' | '\'')) if quote == delimiter => quote,
                other => {
                    let shown = other.map(String::from).unwrap_or_default();
                    let message = format!("\\{shown} is no escape in a text quoted by {delimiter}");
                    return Err(FilterError { at: self.at + 1 + index, message });
                }
            });
        }
        Ok(out)
    }

    fn take(&mut self, len: usize) -> Option<&'a str> {
        let token = self.rest().get(..len).filter(|token| !token.is_empty())?;
        self.at += len;
        Some(token)
    }
}

fn is_blank(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\u{8}' || c == '\u{b}'
}

fn blank_len(text: &str) -> usize {
    run(text, is_blank)
}

fn identifier_len(text: &str) -> usize {
    if !text.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return 0;
    }
    run(text, |c| c.is_ascii_alphanumeric() || c == '_')
}

/// `[+-]? digits .? digits* ([eE] [+-] digits)?`
fn decimal_len(text: &str) -> usize {
    let digits = |text: &str| run(text, |c| c.is_ascii_digit());
    let sign = usize::from(text.starts_with(['+', '-']));
    let whole = digits(&text[sign..]);
    if whole == 0 {
        return 0;
    }
    let mut len = sign + whole;
    if text[len..].starts_with('.') {
        len += 1 + digits(&text[len + 1..]);
    }
    let exponent = text[len..].strip_prefix(['e', 'E']).and_then(|rest| rest.strip_prefix(['+', '-']));
    match exponent.map(digits) {
        Some(count @ 1..) => len + 2 + count,
        _ => len,
    }
}

fn run(text: &str, allowed: impl Fn(char) -> bool) -> usize {
    text.find(|c| !allowed(c)).unwrap_or(text.len())
}
