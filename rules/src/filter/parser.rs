//! Recursive descent over the grammar: or, and, not, check.

use super::lexer::Cursor;
use super::{Check, Expr, FieldRef, FilterError, MAX_DEPTH, Modifier, Op, Operand, Transformer, Value};

/// Reads a whole condition.
pub fn parse(text: &str) -> Result<Expr, FilterError> {
    let mut parser = Parser { cursor: Cursor::new(text), depth: 0 };
    if text.is_empty() {
        return Err(parser.cursor.error("the condition is empty"));
    }
    let expr = parser.or()?;
    if parser.cursor.at_end() {
        return Ok(expr);
    }
    let found = parser.cursor.rest().chars().take(20).collect::<String>();
    Err(parser.cursor.error(format!("unexpected {found:?}: 'and', 'or' or the end was expected")))
}

/// Reads the function over fields that a text begins with, e.g. `toupper(proc.name)`,
/// and how many bytes it takes; `None` where there is none.
pub(crate) fn parse_transformed(text: &str) -> Result<Option<(Operand, usize)>, FilterError> {
    let mut parser = Parser { cursor: Cursor::new(text), depth: 0 };
    match parser.operand(false)? {
        None | Some(Operand::Field(_)) => Ok(None),
        Some(operand) => Ok(Some((operand, parser.cursor.at()))),
    }
}

struct Parser<'a> {
    cursor: Cursor<'a>,
    depth: usize,
}

// === impl Parser ===

impl Parser<'_> {
    fn or(&mut self) -> Result<Expr, FilterError> {
        self.joined("or", Self::and, Expr::Or)
    }

    fn and(&mut self) -> Result<Expr, FilterError> {
        self.joined("and", Self::not, Expr::And)
    }

    /// `part (word part)*`, where a parenthesis may follow the word at once.
    fn joined(
        &mut self,
        word: &str,
        part: fn(&mut Self) -> Result<Expr, FilterError>,
        build: fn(Vec<Expr>) -> Expr,
    ) -> Result<Expr, FilterError> {
        self.cursor.blank();
        let first = part(self)?;
        let mut parts = vec![first];
        self.cursor.blank();
        while self.cursor.word(word) {
            let next = if self.cursor.blank() {
                part(self)?
            } else if self.cursor.word("(") {
                self.embedded()?
            } else {
                return Err(self.cursor.error(format!("a blank or '(' was expected after '{word}'")));
            };
            parts.push(next);
            self.cursor.blank();
        }
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { build(parts) })
    }

    fn not(&mut self) -> Result<Expr, FilterError> {
        self.cursor.blank();
        let mut negated = false;
        while self.cursor.word_blank("not") {
            negated = !negated;
        }
        let inner = if self.cursor.word("not(") {
            negated = !negated;
            self.embedded()?
        } else {
            self.check()?
        };
        Ok(if negated { Expr::Not(Box::new(inner)) } else { inner })
    }

    /// What follows an opening parenthesis, with the closing one.
    fn embedded(&mut self) -> Result<Expr, FilterError> {
        self.nested(|parser| {
            let inner = parser.or()?;
            parser.cursor.blank();
            parser.close(")")?;
            Ok(inner)
        })
    }

    fn check(&mut self) -> Result<Expr, FilterError> {
        self.cursor.blank();
        if self.cursor.word("(") {
            return self.embedded();
        }
        if let Some(left) = self.operand(false)? {
            return self.condition(left).map(Expr::Check);
        }
        let at = self.cursor.at();
        match self.cursor.identifier() {
            Some(name) => Ok(Expr::Name(name.to_owned(), at)),
            None => Err(self.cursor.error("'(', a field or the name of a macro was expected")),
        }
    }

    /// A field, or a transformer over one; `val()` only on the right side.
    fn operand(&mut self, right_side: bool) -> Result<Option<Operand>, FilterError> {
        if !right_side && let Some(field) = self.field()? {
            return Ok(Some(Operand::Field(field)));
        }
        let at = self.cursor.at();
        let Some(word) = self.cursor.identifier() else { return Ok(None) };
        if !self.cursor.word("(") {
            self.cursor.reset(at);
            return Ok(None);
        }
        match word {
            "join" => return self.nested(Self::join).map(Some),
            "concat" => return self.nested(Self::arguments).map(Operand::Concat).map(Some),
            "getopt" => return self.getopt().map(Some),
            _ => {}
        }
        let transformer = Transformer::ALL.iter().copied().find(|known| known.as_str() == word);
        match transformer {
            Some(Transformer::Val) if right_side => self.val().map(Some),
            Some(transformer) if transformer != Transformer::Val => {
                self.nested(|parser| parser.transformed(transformer)).map(Some)
            }
            _ => {
                self.cursor.reset(at);
                Ok(None)
            }
        }
    }

    fn transformed(&mut self, transformer: Transformer) -> Result<Operand, FilterError> {
        self.cursor.blank();
        let Some(inner) = self.operand(false)? else {
            return Err(self.cursor.error(format!("a field or transformer was expected in {transformer}()")));
        };
        self.cursor.blank();
        self.close(")")?;
        Ok(Operand::Transform(transformer, Box::new(inner)))
    }

    fn val(&mut self) -> Result<Operand, FilterError> {
        self.cursor.blank();
        let Some(field) = self.field()? else {
            return Err(self.cursor.error("a field was expected in val()"));
        };
        self.cursor.blank();
        self.close(")")?;
        Ok(Operand::Transform(Transformer::Val, Box::new(Operand::Field(field))))
    }

    /// `"separator", (part, part))` after `join(`.
    fn join(&mut self) -> Result<Operand, FilterError> {
        self.cursor.blank();
        let Some(separator) = self.cursor.quoted()? else {
            return Err(self.cursor.error("a quoted separator was expected in join()"));
        };
        self.cursor.blank();
        self.close(",")?;
        self.cursor.blank();
        self.close("(")?;
        let parts = self.parts()?;
        self.cursor.blank();
        self.close(")")?;
        Ok(Operand::Join(separator, parts))
    }

    /// `(part, part))[option]`: an option is picked by one character.
    fn getopt(&mut self) -> Result<Operand, FilterError> {
        let arguments = self.nested(Self::arguments)?;
        let option = if self.cursor.word("[") { Some(self.bracketed()?) } else { None };
        Ok(Operand::GetOpt(arguments, option))
    }

    /// The arguments of a function of several, up to its closing parenthesis.
    fn arguments(&mut self) -> Result<Vec<Operand>, FilterError> {
        let mut arguments = Vec::new();
        loop {
            self.cursor.blank();
            arguments.push(match self.cursor.word("(") {
                true => Operand::List(self.parts()?),
                false => self.part()?,
            });
            self.cursor.blank();
            if self.cursor.word(")") {
                return Ok(arguments);
            }
            self.close(",")?;
        }
    }

    /// What follows a list's opening parenthesis, with the closing one.
    fn parts(&mut self) -> Result<Vec<Operand>, FilterError> {
        let mut parts = Vec::new();
        self.cursor.blank();
        if self.cursor.word(")") {
            return Ok(parts);
        }
        loop {
            self.cursor.blank();
            parts.push(self.part()?);
            self.cursor.blank();
            if self.cursor.word(")") {
                return Ok(parts);
            }
            self.close(",")?;
        }
    }

    fn part(&mut self) -> Result<Operand, FilterError> {
        if let Some(text) = self.cursor.quoted()? {
            return Ok(Operand::Literal(text));
        }
        if let Some(operand) = self.operand(false)? {
            return Ok(operand);
        }
        match self.cursor.number() {
            Some(number) => Ok(Operand::Literal(number.to_owned())),
            None => Err(self.cursor.error("a field, a quoted text or a number was expected")),
        }
    }

    fn field(&mut self) -> Result<Option<FieldRef>, FilterError> {
        let at = self.cursor.at();
        let Some(name) = self.cursor.field_name() else { return Ok(None) };
        let arg = if self.cursor.word("[") { Some(self.bracketed()?) } else { None };
        Ok(Some(FieldRef { name: name.to_owned(), arg, at }))
    }

    /// What follows an opening bracket, with the closing one.
    fn bracketed(&mut self) -> Result<String, FilterError> {
        let quoted = self.cursor.quoted()?;
        let argument = quoted.or_else(|| self.cursor.bare_argument().map(str::to_owned));
        let argument =
            argument.ok_or_else(|| self.cursor.error("an argument was expected between the brackets"))?;
        self.close("]")?;
        Ok(argument)
    }

    fn condition(&mut self, left: Operand) -> Result<Check, FilterError> {
        self.cursor.blank();
        let op = self.operator()?;
        let mut modifier = None;
        let right = if op == Op::Exists {
            Value::None
        } else if op.is_numeric() {
            self.cursor.blank();
            self.number_value()?
        } else if op.is_list() {
            self.cursor.blank();
            self.list_value()?
        } else {
            modifier = self.modifier(op);
            self.cursor.blank();
            if modifier.is_some() { self.list_value()? } else { self.text_value()? }
        };
        Ok(Check { left, op, modifier, right })
    }

    fn operator(&mut self) -> Result<Op, FilterError> {
        for &op in Op::ALL {
            // Word operators that take one text need a blank after them.
            let is_word = op.as_str().starts_with(|c: char| c.is_ascii_alphabetic());
            let at = self.cursor.at();
            if !self.cursor.word(op.as_str()) {
                continue;
            }
            if op.is_text() && is_word {
                if !self.cursor.blank() {
                    self.cursor.reset(at);
                    continue;
                }
                // The blank is looked at again for a modifier.
                self.cursor.reset(at + op.as_str().len());
            }
            return Ok(op);
        }
        let names = Op::ALL.iter().map(|op| op.as_str()).collect::<Vec<_>>().join(" ");
        Err(self.cursor.error(format!("an operator was expected: {names}")))
    }

    /// `oneof`, `anyof` or `allof` before a list. Each is also a text like any
    /// other, which it is meant to be when no list follows.
    fn modifier(&mut self, op: Op) -> Option<Modifier> {
        let start = self.cursor.at();
        let separated = self.cursor.blank();
        for modifier in Modifier::ALL {
            if separated && op.is_text() && self.cursor.word_blank(modifier.as_str()) {
                let list_at = self.cursor.at();
                let opens = self.cursor.rest().starts_with('(');
                let named = self.cursor.identifier().is_some_and(|word| !matches!(word, "and" | "or"));
                self.cursor.reset(list_at);
                if opens || named {
                    return Some(modifier);
                }
            }
            self.cursor.reset(start);
            self.cursor.blank();
        }
        self.cursor.reset(start);
        None
    }

    fn number_value(&mut self) -> Result<Value, FilterError> {
        if let Some(operand) = self.operand(true)? {
            return Ok(Value::Of(operand));
        }
        match self.cursor.number() {
            Some(number) => Ok(Value::One(number.to_owned())),
            None => Err(self.cursor.error("a number, val() or a transformer was expected")),
        }
    }

    fn text_value(&mut self) -> Result<Value, FilterError> {
        if let Some(operand) = self.operand(true)? {
            return Ok(Value::Of(operand));
        }
        match self.text()? {
            Some(text) => Ok(Value::One(text)),
            None => Err(self.cursor.error("a value, val() or a transformer was expected")),
        }
    }

    fn text(&mut self) -> Result<Option<String>, FilterError> {
        let quoted = self.cursor.quoted()?;
        Ok(quoted.or_else(|| self.cursor.bare_text().map(str::to_owned)))
    }

    fn list_value(&mut self) -> Result<Value, FilterError> {
        if self.cursor.word("(") {
            return self.list();
        }
        if let Some(operand) = self.operand(true)? {
            return Ok(Value::Of(operand));
        }
        match self.cursor.identifier() {
            Some(name) => Ok(Value::One(name.to_owned())),
            None => Err(self.cursor.error("a list, val() or a transformer was expected")),
        }
    }

    fn list(&mut self) -> Result<Value, FilterError> {
        self.cursor.blank();
        let mut values = Vec::new();
        if let Some(first) = self.text()? {
            values.push(first);
            self.cursor.blank();
            while self.cursor.word(",") {
                self.cursor.blank();
                let Some(next) = self.text()? else {
                    return Err(self.cursor.error("a value was expected after ','"));
                };
                values.push(next);
                self.cursor.blank();
            }
        }
        self.close(")")?;
        Ok(Value::Many(values))
    }

    fn close(&mut self, token: &str) -> Result<(), FilterError> {
        if self.cursor.word(token) {
            return Ok(());
        }
        Err(self.cursor.error(format!("'{token}' was expected")))
    }

    fn nested<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, FilterError>,
    ) -> Result<T, FilterError> {
        if self.depth >= MAX_DEPTH {
            return Err(self.cursor.error(format!("more than {MAX_DEPTH} levels of parentheses")));
        }
        self.depth += 1;
        let result = work(self);
        self.depth -= 1;
        result
    }
}
