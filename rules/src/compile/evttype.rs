//! Which event types a condition can match, read from its tree.
//!
//! A comparison of `evt.type` can be true for some types and false for others;
//! everything else can be either for any. Both are followed through the tree,
//! so that `not` swaps them and nothing else has to be guessed.

use std::collections::BTreeSet;

use crate::filter::{Check, Expr, Op, Operand, Value};

/// A set of event types: some, or all but some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Types {
    Some(BTreeSet<String>),
    AllBut(BTreeSet<String>),
}

/// The types of which an event can match.
pub(crate) fn types(condition: &Expr) -> Types {
    outcomes(condition).0
}

/// For which types the tree can be true, and for which false.
fn outcomes(expr: &Expr) -> (Types, Types) {
    match expr {
        Expr::And(parts) => parts.iter().map(outcomes).fold((Types::all(), Types::none()), |so_far, next| {
            (so_far.0.intersect(next.0), so_far.1.unite(next.1))
        }),
        Expr::Or(parts) => parts.iter().map(outcomes).fold((Types::none(), Types::all()), |so_far, next| {
            (so_far.0.unite(next.0), so_far.1.intersect(next.1))
        }),
        Expr::Not(part) => {
            let (yes, no) = outcomes(part);
            (no, yes)
        }
        Expr::Check(check) => of_check(check),
        Expr::Name(..) => (Types::all(), Types::all()),
    }
}

fn of_check(check: &Check) -> (Types, Types) {
    let Operand::Field(field) = &check.left else { return (Types::all(), Types::all()) };
    let named: Option<BTreeSet<String>> = match &check.right {
        Value::One(text) => Some([text.clone()].into()),
        Value::Many(texts) => Some(texts.iter().cloned().collect()),
        _ => None,
    };
    match (field.name.as_str(), check.op.normal(), named) {
        // Events are numbered from 1: the idiom for "never".
        ("evt.num", Op::Eq, Some(number)) if number.iter().all(|number| number == "0") => {
            (Types::none(), Types::all())
        }
        ("evt.type", Op::Eq | Op::In | Op::Intersects, Some(named)) if check.modifier.is_none() => {
            (Types::Some(named.clone()), Types::AllBut(named))
        }
        ("evt.type", Op::Ne, Some(named)) if check.modifier.is_none() => {
            (Types::AllBut(named.clone()), Types::all())
        }
        _ => (Types::all(), Types::all()),
    }
}

// === impl Types ===

impl Types {
    fn all() -> Self {
        Self::AllBut(BTreeSet::new())
    }

    fn none() -> Self {
        Self::Some(BTreeSet::new())
    }

    /// Whether an event of any type could match.
    pub(crate) fn is_unbounded(&self) -> bool {
        matches!(self, Self::AllBut(_))
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        match self {
            Self::Some(names) => names.contains(name),
            Self::AllBut(names) => !names.contains(name),
        }
    }

    /// The names that the set is made of.
    pub(crate) fn names(&self) -> &BTreeSet<String> {
        match self {
            Self::Some(names) | Self::AllBut(names) => names,
        }
    }

    fn unite(self, other: Self) -> Self {
        match (self, other) {
            (Self::Some(a), Self::Some(b)) => Self::Some(&a | &b),
            (Self::AllBut(a), Self::AllBut(b)) => Self::AllBut(&a & &b),
            (Self::AllBut(a), Self::Some(b)) | (Self::Some(b), Self::AllBut(a)) => Self::AllBut(&a - &b),
        }
    }

    fn intersect(self, other: Self) -> Self {
        match (self, other) {
            (Self::Some(a), Self::Some(b)) => Self::Some(&a & &b),
            (Self::AllBut(a), Self::AllBut(b)) => Self::AllBut(&a | &b),
            (Self::AllBut(a), Self::Some(b)) | (Self::Some(b), Self::AllBut(a)) => Self::Some(&b - &a),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_follow_the_logic() {
        let of = |text: &str| types(&crate::filter::parse(text).unwrap());
        let some = |names: &[&str]| Types::Some(names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(of("evt.type in (open, openat) and proc.name = a"), some(&["open", "openat"]));
        assert_eq!(of("evt.type = open and evt.type = close"), some(&[]));
        assert_eq!(of("not (evt.type != open)"), Types::all());
        assert_eq!(of("not (not evt.type = open)"), some(&["open"]));
        assert_eq!(of("evt.type = open and not evt.num = 0"), some(&["open"]));
        assert_eq!(of("evt.num = 0"), some(&[]));
        assert!(of("evt.type = open or proc.name = a").is_unbounded());
        assert!(!of("not evt.type = open").contains("open"));
    }
}
