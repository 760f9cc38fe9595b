//! What is asked: a statement, values for its parameters, and how much the asker wants at most.

use std::time::Duration;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::logical_expr::LogicalPlan;

use crate::gate::Argument;
use crate::{Code, QueryError, text};

/// Parameters that a statement may have.
pub(crate) const MAX_PARAMS: usize = 1_000;

/// A statement and what goes with it.
#[derive(Debug, Clone, Default)]
pub struct Ask {
    /// One statement.
    pub sql: String,
    /// Values for its parameters.
    pub params: Params,
    /// How long it may take, where that is less than the server allows.
    pub timeout: Option<Duration>,
    /// How many rows it may answer, where that is less than the server allows.
    pub max_rows: Option<u64>,
    /// How long the asker waits until the answer starts.
    pub(crate) start_within: Option<Duration>,
    /// What the asker calls it, to cancel it by.
    pub(crate) handle: Option<u128>,
}

/// Values for parameters.
#[derive(Debug, Clone)]
pub enum Params {
    /// For `$1`, `$2` and so on.
    Numbered(Vec<ScalarValue>),
    /// For `$name`, by name without the dollar.
    Named(Vec<(String, ScalarValue)>),
}

/// One parameter of a statement, and its type as far as it follows from the statement.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Parameter {
    /// With the dollar.
    pub(crate) name: String,
    pub(crate) kind: Option<DataType>,
}

// === impl Ask ===

impl Ask {
    /// A statement without parameters, within the server's limits.
    pub fn new(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), ..Self::default() }
    }

    /// With values for its parameters.
    #[must_use]
    pub fn with(mut self, params: Params) -> Self {
        self.params = params;
        self
    }
}

// === impl Params ===

impl Default for Params {
    fn default() -> Self {
        Self::Numbered(Vec::new())
    }
}

impl Params {
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Numbered(values) => values.is_empty(),
            Self::Named(values) => values.is_empty(),
        }
    }

    /// The plan with values in its parameters' places. Every parameter needs
    /// one; a value that no parameter asks for is left alone.
    pub(crate) fn fill(self, plan: LogicalPlan) -> Result<LogicalPlan, QueryError> {
        let wanted = Parameter::all_of(&plan, Vec::new())?;
        if let Some(missing) = wanted.iter().find(|parameter| !self.has(&parameter.name)) {
            return Err(self.missing(&wanted, missing));
        }
        match self.is_empty() {
            true => Ok(plan),
            false => Ok(plan.with_param_values(ParamValues::from(self))?),
        }
    }

    fn has(&self, wanted: &str) -> bool {
        self.value(wanted).is_some()
    }

    /// The value of a parameter like `$1` or `$from`.
    pub(crate) fn value(&self, wanted: &str) -> Option<&ScalarValue> {
        let name = wanted.trim_start_matches('$');
        match self {
            Self::Numbered(values) => number(wanted).and_then(|number| values.get(number - 1)),
            Self::Named(values) => values.iter().find(|(known, _)| known == name).map(|(_, value)| value),
        }
    }

    fn missing(&self, wanted: &[Parameter], missing: &Parameter) -> QueryError {
        let message = match (self, number(&missing.name)) {
            (Self::Numbered(values), Some(_)) => format!(
                "the statement has {} parameters and {} values came with it",
                wanted.len(),
                values.len()
            ),
            _ => {
                let name: String = missing.name.chars().take(100).collect();
                format!("no value came for the parameter {name}: give it by its name")
            }
        };
        QueryError::new(Code::InvalidQuery, message)
    }
}

impl From<Params> for ParamValues {
    fn from(params: Params) -> Self {
        match params {
            Params::Numbered(values) => Self::from(values),
            Params::Named(values) => Self::from(values),
        }
    }
}

// === impl Parameter ===

impl Parameter {
    /// Whether it is one like `$1`.
    pub(crate) fn is_numbered(&self) -> bool {
        number(&self.name).is_some()
    }

    /// A plan's parameters: `$1` to the highest number, then names in their order;
    /// with those that it has no places for.
    pub(crate) fn all_of(plan: &LogicalPlan, others: Vec<Argument>) -> Result<Vec<Self>, QueryError> {
        let mut numbered: Vec<Self> = Vec::new();
        let mut named: Vec<Self> = Vec::new();
        let mut known = plan.get_parameter_types()?;
        for (name, kind) in others {
            let known = known.entry(name).or_default();
            known.get_or_insert(kind);
        }
        for (name, kind) in known {
            let kind = kind.map(text::plain_type);
            match number(&name) {
                Some(number) => {
                    if numbered.len() < number {
                        let unnamed = |number| Self { name: format!("${number}"), kind: None };
                        numbered.extend((numbered.len() + 1..=number).map(unnamed));
                    }
                    numbered[number - 1].kind = kind;
                }
                None if name.as_bytes().get(1).is_some_and(u8::is_ascii_digit) => {
                    let name: String = name.chars().take(100).collect();
                    let message = format!("parameter {name}: use $1 to ${MAX_PARAMS}");
                    return Err(QueryError::new(Code::NotSupported, message));
                }
                None => named.push(Self { name, kind }),
            }
        }
        named.sort_by(|one, other| one.name.cmp(&other.name));
        numbered.extend(named);
        Ok(numbered)
    }
}

/// The number in `$1`, if it is one that may be.
fn number(name: &str) -> Option<usize> {
    name.strip_prefix('$')?.parse().ok().filter(|number| (1..=MAX_PARAMS).contains(number))
}
