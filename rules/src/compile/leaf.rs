//! One comparison over a column: on dictionary values where that is less work.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::OnceLock;

use arrow::array::Array;
use memchr::memmem;

use super::bits::Bits;
use super::column::Column;
use crate::domains::Domains;
use crate::filter::Op;
use crate::pattern::{Glob, PathPrefixes, posix};

/// A comparison of one term.
#[derive(Debug, PartialEq)]
pub(super) struct Leaf {
    pub(super) term: usize,
    pub(super) test: Test,
}

/// What is asked of the term's value.
#[derive(Debug)]
pub(super) enum Test {
    Exists,
    Text(TextTest),
    /// Some value of a list passes.
    Any(TextTest),
    /// The values of a list, joined by spaces, pass as one text.
    Joined(TextTest),
    List(ListTest),
    Int(IntTest),
    Bool {
        yes: bool,
        no: bool,
    },
    /// A comparison with another term.
    Between(Op, usize),
}

/// A test on a text. Tests of the same key are the same.
#[derive(Debug)]
pub(super) struct TextTest {
    key: String,
    kind: TextKind,
}

#[derive(Debug)]
enum TextKind {
    Equal(String),
    Different(String),
    Among(HashSet<String>),
    Contains(Box<memmem::Finder<'static>>),
    ContainsAnyCase(String),
    StartsWith(Vec<u8>),
    EndsWith(String),
    Glob(Glob),
    Regex(regex::Regex),
    Below(PathPrefixes),
    Ordered(Op, String),
    Address { addresses: Vec<IpAddr>, equal: bool },
    Network { networks: Vec<(IpAddr, u8)>, inside: bool },
    Domain { names: Vec<String>, domains: Domains, equal: bool },
}

/// A test on a list.
#[derive(Debug, PartialEq)]
pub(super) struct ListTest {
    values: HashSet<String>,
    all: bool,
}

/// A test on a number.
#[derive(Debug, PartialEq)]
pub(super) struct IntTest {
    op: Op,
    numbers: Vec<i64>,
}

/// A text test's outcome on every dictionary value.
#[derive(Debug)]
pub(super) struct Table {
    holds: Vec<bool>,
    any: bool,
}

// === impl Leaf ===

impl Leaf {
    /// The leaf over `len` rows, the `at`-th being `row(at)` of the batch.
    pub(super) fn evaluate<'a>(
        &self,
        column: impl Fn(usize) -> &'a Column,
        table: &OnceLock<Table>,
        len: usize,
        row: impl Fn(usize) -> usize,
    ) -> Bits {
        let left = column(self.term);
        if matches!(left, Column::Missing) {
            return Bits::None;
        }
        match &self.test {
            Test::Exists => Bits::from_fn(len, |at| left.is_present(row(at))),
            Test::Text(test) => text_bits(left, test, table, len, row),
            Test::Any(test) => Bits::from_fn(len, |at| left.texts(row(at)).any(|text| test.matches(text))),
            Test::Joined(test) => {
                let mut joined = String::new();
                Bits::from_fn(len, |at| {
                    joined.clear();
                    let mut texts = left.texts(row(at));
                    let Some(first) = texts.next() else { return false };
                    joined.push_str(first);
                    texts.for_each(|text| {
                        joined.push(' ');
                        joined.push_str(text);
                    });
                    test.matches(&joined)
                })
            }
            Test::List(test) => Bits::from_fn(len, |at| test.matches(left.texts(row(at)))),
            Test::Int(test) => {
                Bits::from_fn(len, |at| left.int(row(at)).is_some_and(|number| test.matches(number)))
            }
            Test::Bool { yes, no } => Bits::from_fn(len, |at| {
                left.bool(row(at)).is_some_and(|truth| if truth { *yes } else { *no })
            }),
            Test::Between(op, right) => {
                let right = column(*right);
                Bits::from_fn(len, |at| between(*op, left, right, row(at)))
            }
        }
    }
}

fn text_bits(
    column: &Column,
    test: &TextTest,
    table: &OnceLock<Table>,
    len: usize,
    row: impl Fn(usize) -> usize,
) -> Bits {
    let Some((values, keys)) = column.dictionary().filter(|(values, _)| values.len() <= len.max(64) * 4)
    else {
        return Bits::from_fn(len, |at| column.text(row(at)).is_some_and(|text| test.matches(text)));
    };
    let table = table.get_or_init(|| {
        let holds: Vec<bool> =
            values.iter().map(|value| value.is_some_and(|text| test.matches(text))).collect();
        Table { any: holds.contains(&true), holds }
    });
    if !table.any {
        return Bits::None;
    }
    let known = |key: Option<usize>| key.and_then(|key| table.holds.get(key)).is_some_and(|holds| *holds);
    Bits::from_fn(len, |at| known(keys.key(row(at))))
}

fn between(op: Op, left: &Column, right: &Column, row: usize) -> bool {
    if let (Some(a), Some(b)) = (left.int(row), right.int(row)) {
        return IntTest { op, numbers: vec![b] }.matches(a);
    }
    if let (Some(a), Some(b)) = (left.bool(row), right.bool(row)) {
        return match op {
            Op::Eq | Op::In | Op::Intersects => a == b,
            Op::Ne => a != b,
            _ => false,
        };
    }
    let (Some(a), Some(b)) = (left.text(row), right.text(row)) else { return false };
    match op {
        Op::Eq | Op::In | Op::Intersects => a == b,
        Op::Ne => a != b,
        Op::Contains | Op::BContains => a.contains(b),
        Op::IContains => a.to_ascii_lowercase().contains(&b.to_ascii_lowercase()),
        Op::StartsWith | Op::BStartsWith => a.starts_with(b),
        Op::EndsWith => a.ends_with(b),
        Op::Lt => a < b,
        Op::Le => a <= b,
        Op::Gt => a > b,
        Op::Ge => a >= b,
        _ => false,
    }
}

// === impl Test ===

impl Test {
    /// Whether an address or port that is not set yet passes.
    pub(super) fn holds_for_zero(&self) -> bool {
        match self {
            Self::Text(test) => test.matches("0.0.0.0") || test.matches("::"),
            Self::Int(test) => test.matches(0),
            _ => false,
        }
    }
}

impl PartialEq for Test {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exists, Self::Exists) => true,
            (Self::Text(a), Self::Text(b))
            | (Self::Any(a), Self::Any(b))
            | (Self::Joined(a), Self::Joined(b)) => a.key == b.key,
            (Self::List(a), Self::List(b)) => a == b,
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Bool { yes: a, no: b }, Self::Bool { yes: c, no: d }) => (a, b) == (c, d),
            (Self::Between(a, b), Self::Between(c, d)) => (a, b) == (c, d),
            _ => false,
        }
    }
}

// === impl TextTest ===

impl TextTest {
    /// A comparison of texts, or why the operator or value does not do.
    pub(super) fn new(op: Op, values: &[&str]) -> Result<Self, String> {
        let first = values.first().copied().unwrap_or_default();
        let kind = match op {
            Op::Eq | Op::EqEq => TextKind::Equal(first.to_owned()),
            Op::Ne => TextKind::Different(first.to_owned()),
            Op::In | Op::Intersects => {
                TextKind::Among(values.iter().map(|value| (*value).to_owned()).collect())
            }
            Op::Contains => TextKind::Contains(Box::new(memmem::Finder::new(first).into_owned())),
            Op::IContains => TextKind::ContainsAnyCase(first.to_ascii_lowercase()),
            Op::BContains => TextKind::Contains(Box::new(memmem::Finder::new(&bytes(first)?).into_owned())),
            Op::StartsWith => TextKind::StartsWith(first.as_bytes().to_vec()),
            Op::BStartsWith => TextKind::StartsWith(bytes(first)?),
            Op::EndsWith => TextKind::EndsWith(first.to_owned()),
            Op::Glob => TextKind::Glob(Glob::new(first, false)),
            Op::IGlob => TextKind::Glob(Glob::new(first, true)),
            Op::Regex => TextKind::Regex(posix::whole(first)?),
            Op::PMatch => TextKind::Below(PathPrefixes::new(values.iter().copied())),
            Op::Lt | Op::Le | Op::Gt | Op::Ge => TextKind::Ordered(op, first.to_owned()),
            Op::Exists => return Err("exists takes no value".to_owned()),
        };
        Ok(Self { key: format!("{op} {values:?}"), kind })
    }

    pub(super) fn addresses(op: Op, values: &[&str]) -> Result<Self, String> {
        let address = |text: &&str| text.parse().map_err(|_| format!("{text:?} is no IP address"));
        let addresses = values.iter().map(address).collect::<Result<_, _>>()?;
        let equal = match op {
            Op::Eq | Op::In | Op::Intersects => true,
            Op::Ne => false,
            _ => return Err(format!("{op} does not apply to an address")),
        };
        Ok(Self { key: format!("address {op} {values:?}"), kind: TextKind::Address { addresses, equal } })
    }

    pub(super) fn networks(op: Op, values: &[&str]) -> Result<Self, String> {
        let networks = values.iter().map(|text| network(text)).collect::<Result<_, _>>()?;
        let inside = match op {
            Op::Eq | Op::In | Op::Intersects => true,
            Op::Ne => false,
            _ => return Err(format!("{op} does not apply to a network")),
        };
        Ok(Self { key: format!("network {op} {values:?}"), kind: TextKind::Network { networks, inside } })
    }

    /// Whether an address is one of those that names stand for.
    pub(super) fn domains(op: Op, values: &[&str], domains: &Domains) -> Result<Self, String> {
        let equal = match op {
            Op::Eq | Op::In | Op::Intersects => true,
            Op::Ne => false,
            _ => return Err(format!("{op} does not apply to a domain name")),
        };
        values.iter().for_each(|name| domains.ask_for(name));
        let names = values.iter().map(|name| (*name).to_owned()).collect();
        let kind = TextKind::Domain { names, domains: domains.clone(), equal };
        Ok(Self { key: format!("domain {op} {values:?}"), kind })
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        match &self.kind {
            TextKind::Equal(value) => text == value,
            TextKind::Different(value) => text != value,
            TextKind::Among(values) => values.contains(text),
            TextKind::Contains(finder) => finder.find(text.as_bytes()).is_some(),
            TextKind::ContainsAnyCase(lower) => contains_any_case(text, lower),
            TextKind::StartsWith(prefix) => text.as_bytes().starts_with(prefix),
            TextKind::EndsWith(suffix) => text.ends_with(suffix),
            TextKind::Glob(glob) => glob.matches(text),
            TextKind::Regex(regex) => regex.is_match(text),
            TextKind::Below(prefixes) => prefixes.matches(text),
            TextKind::Ordered(op, value) => ordered(*op, text.cmp(value)),
            TextKind::Address { addresses, equal } => {
                text.parse().is_ok_and(|address: IpAddr| addresses.contains(&address) == *equal)
            }
            TextKind::Domain { names, domains, equal } => {
                text.parse().is_ok_and(|address| domains.is_of_any(address, names) == *equal)
            }
            TextKind::Network { networks, inside } => text.parse().is_ok_and(|address: IpAddr| {
                networks.iter().any(|(network, bits)| is_inside(address, *network, *bits)) == *inside
            }),
        }
    }
}

fn contains_any_case(text: &str, lower: &str) -> bool {
    let (text, lower) = (text.as_bytes(), lower.as_bytes());
    let Some(first) = lower.first() else { return true };
    let begins = memchr::memchr2_iter(*first, first.to_ascii_uppercase(), text);
    let there = |at: usize| text.get(at..at.saturating_add(lower.len()));
    begins.filter_map(there).any(|piece| piece.eq_ignore_ascii_case(lower))
}

/// Bytes written in hexadecimal, e.g. `48545450`.
fn bytes(text: &str) -> Result<Vec<u8>, String> {
    hex::decode(text).map_err(|_| format!("{text:?} is not an even number of hexadecimal digits"))
}

fn network(text: &str) -> Result<(IpAddr, u8), String> {
    let wrong = || format!("{text:?} is no network, write e.g. 10.0.0.0/8");
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.map_or(Ok(most), |bits| bits.parse().map_err(|_| wrong()))?;
    if bits > most { Err(wrong()) } else { Ok((address, bits)) }
}

fn is_inside(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let high = |address: u128, width: u32| {
        // The unused low bits are shifted out; a shift by the full width is none left.
        address.checked_shr(width - u32::from(bits)).unwrap_or(0)
    };
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            high(u128::from(a.to_bits()), 32) == high(u128::from(b.to_bits()), 32)
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => high(a.to_bits(), 128) == high(b.to_bits(), 128),
        _ => false,
    }
}

fn ordered(op: Op, ordering: std::cmp::Ordering) -> bool {
    match op {
        Op::Lt => ordering.is_lt(),
        Op::Le => ordering.is_le(),
        Op::Gt => ordering.is_gt(),
        Op::Ge => ordering.is_ge(),
        _ => false,
    }
}

// === impl ListTest, IntTest ===

impl ListTest {
    pub(super) fn all_in(values: &[&str]) -> Self {
        Self { values: values.iter().map(|value| (*value).to_owned()).collect(), all: true }
    }

    pub(super) fn some_in(values: &[&str]) -> Self {
        Self { all: false, ..Self::all_in(values) }
    }

    /// An empty list is no value, so it passes neither test.
    fn matches<'a>(&self, mut texts: impl Iterator<Item = &'a str>) -> bool {
        if !self.all {
            return texts.any(|text| self.values.contains(text));
        }
        let Some(first) = texts.next() else { return false };
        self.values.contains(first) && texts.all(|text| self.values.contains(text))
    }
}

impl IntTest {
    pub(super) fn new(op: Op, numbers: &[i64]) -> Option<Self> {
        let known =
            matches!(op, Op::Eq | Op::Ne | Op::Lt | Op::Le | Op::Gt | Op::Ge | Op::In | Op::Intersects);
        known.then(|| Self { op, numbers: numbers.to_vec() })
    }

    fn matches(&self, number: i64) -> bool {
        let first = self.numbers.first();
        match self.op {
            Op::In | Op::Intersects | Op::Eq => self.numbers.contains(&number),
            Op::Ne => !self.numbers.contains(&number),
            op => first.is_some_and(|first| ordered(op, number.cmp(first))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn any_case_is_found_as_in_lower_case(text in "[aAbBé]{0,12}", part in "[aAbBé]{0,3}") {
            let lower = part.to_ascii_lowercase();
            let expected = text.to_ascii_lowercase().contains(&lower);
            proptest::prop_assert_eq!(contains_any_case(&text, &lower), expected);
        }
    }
}
