//! Which namespaces of its tenants a principal may see.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// Kubernetes' longest name of a namespace.
const LONGEST: usize = 63;

/// One namespace, or all whose names begin alike: `shop`, `shop-*`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Namespace {
    name: String,
    is_prefix: bool,
}

/// Namespaces that are in sight; never empty, so that nothing named is never
/// taken for everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespaces(BTreeSet<Namespace>);

/// A text names no namespace.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no namespace: use a-z 0-9 and - (63 at most), with a * at the end for all that begin so")]
pub struct InvalidNamespace(String);

// === impl Namespace ===

impl Namespace {
    /// The name, or what the names begin with.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether every name that begins so is meant.
    pub(crate) fn is_prefix(&self) -> bool {
        self.is_prefix
    }
}

impl FromStr for Namespace {
    type Err = InvalidNamespace;

    fn from_str(text: &str) -> Result<Self, InvalidNamespace> {
        let (name, is_prefix) = match text.strip_suffix('*') {
            Some(name) => (name, true),
            None => (text, false),
        };
        let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        // A prefix may end in the middle of a name, a name not.
        let ends = !name.starts_with('-') && (is_prefix || !name.ends_with('-'));
        match (1..=LONGEST).contains(&name.len()) && name.bytes().all(letters) && ends {
            true => Ok(Self { name: name.to_owned(), is_prefix }),
            false => Err(InvalidNamespace(text.chars().take(80).collect())),
        }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name, if self.is_prefix { "*" } else { "" })
    }
}

// === impl Namespaces ===

impl Namespaces {
    /// These; `None` if there are none.
    pub fn new(namespaces: impl IntoIterator<Item = Namespace>) -> Option<Self> {
        let namespaces: BTreeSet<Namespace> = namespaces.into_iter().collect();
        (!namespaces.is_empty()).then_some(Self(namespaces))
    }

    /// One by one, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Namespace> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kubernetes_own_and_a_star_stands_at_its_end_alone() {
        for text in ["shop", "shop-*", "a", "0", "shop*", &"a".repeat(63)] {
            assert_eq!(text.parse::<Namespace>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "*",
            "**",
            "-a",
            "-*",
            "a-",
            "A",
            "a_b",
            "a.b",
            "sh*op",
            "*shop",
            "a'b",
            "a%",
            &"a".repeat(64),
        ] {
            assert!(text.parse::<Namespace>().is_err(), "{text}");
        }
    }

    #[test]
    fn none_named_is_not_everything() {
        assert!(Namespaces::new([]).is_none());
    }
}
