//! Falco's filter language: text to a tree, and the tree back to canonical text.
//!
//! ```text
//!   "evt.type = open and not shell_procs"
//!        │ lexer: tokens at a cursor      (filter/lexer.rs)
//!        │ parser: or > and > not > check (filter/parser.rs)
//!        ▼
//!   And[ Check(evt.type = open), Not(Name(shell_procs)) ]
//! ```
//!
//! A bare word is the name of a macro, which the loader replaces by the
//! macro's own tree. Lists were replaced as text before.

mod lexer;
mod parser;

use std::fmt;

pub use parser::parse;
pub(crate) use parser::parse_transformed;

/// How deep parentheses and transformers may nest.
pub const MAX_DEPTH: usize = 200;

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expr {
    /// All of them hold.
    And(Vec<Self>),
    /// Some of them holds.
    Or(Vec<Self>),
    /// It does not hold.
    Not(Box<Self>),
    /// One comparison.
    Check(Check),
    /// The name of a macro, and the byte at which it stands.
    Name(String, usize),
}

/// One comparison: what Falco calls a check and the engine here a leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What is compared.
    pub left: Operand,
    /// How.
    pub op: Op,
    /// Over which of the values on the right.
    pub modifier: Option<Modifier>,
    /// With what.
    pub right: Value,
}

/// A field, or something computed from fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operand {
    /// A field of the event.
    Field(FieldRef),
    /// A transformer applied to an operand.
    Transform(Transformer, Box<Self>),
    /// `join(separator, (parts))`.
    Join(String, Vec<Self>),
    /// `concat(part, part, …)`.
    Concat(Vec<Self>),
    /// `getopt(arguments, options)[option]`.
    GetOpt(Vec<Self>, Option<String>),
    /// A list, which only functions of several arguments take.
    List(Vec<Self>),
    /// A literal, which only they take as well.
    Literal(String),
}

/// A field by name, with its argument.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FieldRef {
    /// E.g. `proc.aname`.
    pub name: String,
    /// What stands in brackets.
    pub arg: Option<String>,
    /// The byte at which the name starts.
    pub at: usize,
}

/// The right side of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `exists` has none.
    None,
    /// One literal.
    One(String),
    /// A list of literals.
    Many(Vec<String>),
    /// Another field, by `val()` or a transformer.
    Of(Operand),
}

/// Which of several values on the right must compare true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Modifier {
    /// `oneof`: some value does.
    OneOf,
    /// `anyof`: some value does.
    AnyOf,
    /// `allof`: every value does.
    AllOf,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// All of them, in the order in which the lexer tries them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// As written in a condition.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words! {
    /// A comparison operator. A longer one stands before its own prefix.
    Op {
        /// The field has a value.
        Exists = "exists",
        /// At most.
        Le = "<=",
        /// Less.
        Lt = "<",
        /// At least.
        Ge = ">=",
        /// More.
        Gt = ">",
        /// The same, written twice.
        EqEq = "==",
        /// The same.
        Eq = "=",
        /// Not the same.
        Ne = "!=",
        /// Shell pattern.
        Glob = "glob",
        /// Shell pattern, any case.
        IGlob = "iglob",
        /// Substring.
        Contains = "contains",
        /// Substring, any case.
        IContains = "icontains",
        /// Bytes given in hexadecimal.
        BContains = "bcontains",
        /// Prefix.
        StartsWith = "startswith",
        /// Prefix of bytes given in hexadecimal.
        BStartsWith = "bstartswith",
        /// Suffix.
        EndsWith = "endswith",
        /// Regular expression, anchored at both ends.
        Regex = "regex",
        /// Some value is in the list.
        Intersects = "intersects",
        /// Every value is in the list.
        In = "in",
        /// A path below one of the list's.
        PMatch = "pmatch",
    }
}

words! {
    /// A function of one field.
    Transformer {
        /// ASCII lower case.
        ToLower = "tolower",
        /// ASCII upper case.
        ToUpper = "toupper",
        /// Decodes base 64.
        B64 = "b64",
        /// The last part of a path.
        Basename = "basename",
        /// Length in bytes, or number of values.
        Len = "len",
        /// The value itself; only on the right side.
        Val = "val",
    }
}

/// Where and why a text is not a condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FilterError {
    /// The byte at which reading stopped.
    pub at: usize,
    /// What was expected there.
    pub message: String,
}

// === impl Op ===

impl Op {
    /// Takes numbers only.
    pub const fn is_numeric(self) -> bool {
        matches!(self, Self::Le | Self::Lt | Self::Ge | Self::Gt)
    }

    /// Takes a list.
    pub const fn is_list(self) -> bool {
        matches!(self, Self::Intersects | Self::In | Self::PMatch)
    }

    /// Takes one text.
    pub const fn is_text(self) -> bool {
        !self.is_numeric() && !self.is_list() && !matches!(self, Self::Exists)
    }

    /// `==` and `=` are one.
    pub const fn normal(self) -> Self {
        match self {
            Self::EqEq => Self::Eq,
            other => other,
        }
    }

    /// The operator of this name, e.g. from an exception's `comps`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|op| op.as_str() == name)
    }
}

// === impl Modifier ===

impl Modifier {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::OneOf, Self::AnyOf, Self::AllOf];

    /// As written in a condition.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OneOf => "oneof",
            Self::AnyOf => "anyof",
            Self::AllOf => "allof",
        }
    }
}

// === impl Expr ===

impl Expr {
    /// Calls `visit` for every comparison in the tree.
    pub fn checks<'a>(&'a self, visit: &mut dyn FnMut(&'a Check)) {
        match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().for_each(|part| part.checks(visit)),
            Self::Not(part) => part.checks(visit),
            Self::Check(check) => visit(check),
            Self::Name(..) => {}
        }
    }

    /// How many nodes the tree has.
    pub fn size(&self) -> usize {
        match self {
            Self::And(parts) | Self::Or(parts) => 1 + parts.iter().map(Self::size).sum::<usize>(),
            Self::Not(part) => 1 + part.size(),
            Self::Check(_) | Self::Name(..) => 1,
        }
    }
}

impl Check {
    /// Calls `visit` for every field that the comparison reads.
    pub fn fields<'a>(&'a self, visit: &mut dyn FnMut(&'a FieldRef)) {
        self.left.fields(visit);
        if let Value::Of(operand) = &self.right {
            operand.fields(visit);
        }
    }
}

impl Operand {
    /// The fields in it.
    pub(crate) fn fields<'a>(&'a self, visit: &mut dyn FnMut(&'a FieldRef)) {
        match self {
            Self::Field(field) => visit(field),
            Self::Transform(_, inner) => inner.fields(visit),
            Self::Join(_, parts) | Self::Concat(parts) | Self::GetOpt(parts, _) | Self::List(parts) => {
                parts.iter().for_each(|part| part.fields(visit));
            }
            Self::Literal(_) => {}
        }
    }
}

// === canonical text ===

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |f: &mut fmt::Formatter<'_>, parts: &[Self], word: &str| {
            f.write_str("(")?;
            separated(f, parts, word)?;
            f.write_str(")")
        };
        match self {
            Self::And(parts) => joined(f, parts, " and "),
            Self::Or(parts) => joined(f, parts, " or "),
            Self::Not(part) => write!(f, "not {part}"),
            Self::Check(check) => check.fmt(f),
            Self::Name(name, _) => f.write_str(name),
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.left, self.op)?;
        if let Some(modifier) = self.modifier {
            write!(f, " {}", modifier.as_str())?;
        }
        match &self.right {
            Value::None => Ok(()),
            Value::One(text) => write!(f, " {}", quoted(text)),
            Value::Many(texts) => {
                f.write_str(" (")?;
                separated(f, &texts.iter().map(|text| quoted(text)).collect::<Vec<_>>(), ", ")?;
                f.write_str(")")
            }
            Value::Of(operand) => write!(f, " {operand}"),
        }
    }
}

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Field(field) => field.fmt(f),
            Self::Transform(transformer, inner) => write!(f, "{transformer}({inner})"),
            Self::Join(separator, parts) => {
                write!(f, "join({}, (", in_quotes(separator))?;
                separated(f, parts, ", ")?;
                f.write_str("))")
            }
            Self::Concat(parts) => {
                f.write_str("concat(")?;
                separated(f, parts, ", ")?;
                f.write_str(")")
            }
            Self::GetOpt(arguments, option) => {
                f.write_str("getopt(")?;
                separated(f, arguments, ", ")?;
                f.write_str(")")?;
                option.as_ref().map_or(Ok(()), |option| write!(f, "[{}]", argument(option)))
            }
            Self::List(parts) => {
                f.write_str("(")?;
                separated(f, parts, ", ")?;
                f.write_str(")")
            }
            Self::Literal(text) => f.write_str(&in_quotes(text)),
        }
    }
}

impl fmt::Display for FieldRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.arg {
            Some(arg) => write!(f, "{}[{}]", self.name, argument(arg)),
            None => f.write_str(&self.name),
        }
    }
}

fn separated<T: fmt::Display>(f: &mut fmt::Formatter<'_>, parts: &[T], word: &str) -> fmt::Result {
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            f.write_str(word)?;
        }
        write!(f, "{part}")?;
    }
    Ok(())
}

/// Quotes a literal where its bytes need it, as Falco prints it.
fn quoted(text: &str) -> String {
    let (escaped, needs_quotes) = escaped(text);
    if needs_quotes || escaped.is_empty() { format!("\"{escaped}\"") } else { escaped }
}

/// The same in brackets, which a bracket of its own would end.
fn argument(text: &str) -> String {
    if text.contains(['[', ']']) { in_quotes(text) } else { quoted(text) }
}

/// Quotes a literal where only one in quotes may stand.
fn in_quotes(text: &str) -> String {
    format!("\"{}\"", escaped(text).0)
}

/// A literal as it stands between quotes, and whether it must.
fn escaped(text: &str) -> (String, bool) {
    let mut out = String::with_capacity(text.len());
    let mut needs_quotes = false;
    for c in text.chars() {
        let escape = match c {
            '\u{8}' => "\\b",
            '\u{c}' => "\\f",
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            // It has no escape, and would end a text without quotes.
            '\u{b}' => "\u{b}",
            '\\' => "\\\\",
            '"' => "\\\"",
            ' ' => " ",
            '\'' => "'",
            '(' => "(",
            ')' => ")",
            ',' => ",",
            '=' => "=",
            _ => {
                out.push(c);
                continue;
            }
        };
        needs_quotes = true;
        out.push_str(escape);
    }
    if text.ends_with('\\') {
        // The quote after it would count as escaped; this is its other escape.
        out.truncate(out.len() - 1);
        out.push(' ');
    }
    (out, needs_quotes)
}

#[cfg(test)]
mod tests;
