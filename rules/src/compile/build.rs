//! Conditions to trees of leaf numbers, and what stands in the way.

use std::collections::HashMap;

use super::leaf::{IntTest, Leaf, ListTest, Test, TextTest};
use super::options::Options;
use super::{Node, Term};
use crate::domains::Domains;
use crate::fields::{self, Access, Lookup, Type, services};
use crate::filter::{Check, Expr, FieldRef, Modifier, Op, Operand, Transformer, Value};
use crate::loader::Source;

/// Why a condition cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// What to underline.
    pub(crate) word: String,
    pub(crate) message: String,
    /// A field that is not known or not filled, which a rule may allow for.
    pub(crate) unknown_field: bool,
}

/// Collects distinct terms and leaves over all rules of a source.
pub(super) struct Builder {
    source: Source,
    terms: Vec<Term>,
    term_ids: HashMap<Term, usize>,
    leaves: Vec<Leaf>,
    leaf_ids: HashMap<String, Node>,
    domains: Domains,
}

/// Everything that keeps a condition from being compiled.
pub(crate) fn problems(source: Source, condition: &Expr) -> Vec<Problem> {
    let mut builder = Builder::new(source, &Domains::default());
    let mut problems = Vec::new();
    condition.checks(&mut |check| {
        let found = builder.check(check).err().into_iter().chain(unknown_types(source, check));
        for problem in found {
            if !problems.contains(&problem) {
                problems.push(problem);
            }
        }
    });
    problems
}

/// Types of events that there are not; to compare with them would be false in silence.
fn unknown_types(source: Source, check: &Check) -> Vec<Problem> {
    let is_type = matches!(&check.left, Operand::Field(field) if field.name == "evt.type");
    let whole = matches!(check.op.normal(), Op::Eq | Op::Ne | Op::In | Op::Intersects);
    let values = match &check.right {
        Value::One(name) => std::slice::from_ref(name),
        Value::Many(names) => names,
        _ => &[],
    };
    if source != Source::Syscall || !is_type || !whole {
        return Vec::new();
    }
    let problem = |name: &String| Problem {
        word: name.clone(),
        message: format!("there are no events of the type {name:?}"),
        unknown_field: true,
    };
    values.iter().filter(|name| !fields::events::is_known(name)).map(problem).collect()
}

/// Whether a text is the name of a field, e.g. one that was meant to be read.
pub(crate) fn is_field(text: &str) -> bool {
    fields::is_known(text)
}

/// The term of an operand, or why there is none.
pub(crate) fn term(source: Source, operand: &Operand) -> Result<Term, Problem> {
    match operand {
        Operand::Field(field) => access(source, field).map(Term::Field),
        Operand::Literal(text) => Ok(Term::Literal(text.clone())),
        Operand::Transform(Transformer::Val, inner) => term(source, inner),
        Operand::Transform(transformer, inner) => {
            let inner = one_value(term(source, inner)?, inner)?;
            match inner.value_type() {
                Type::Int | Type::Bool if *transformer != Transformer::Len => {
                    Err(Problem::new(transformer.as_str(), format!("{transformer}() takes texts")))
                }
                _ => Ok(Term::Transformed(*transformer, Box::new(inner))),
            }
        }
        Operand::Join(separator, parts) => {
            let parts = parts.iter().map(|part| one_value(term(source, part)?, part));
            Ok(Term::Joined(separator.clone(), parts.collect::<Result<_, _>>()?))
        }
        Operand::Concat(parts) => concat(source, parts),
        Operand::GetOpt(arguments, only) => options(source, arguments, only.as_deref()),
        Operand::List(_) => Err(Problem::new("", "a list stands only in join() and getopt()")),
    }
}

/// Some fields stand for several values, any of which may compare true: those of all
/// ancestors, of both ends, of a name's addresses. A function of them has no meaning.
fn one_value(term: Term, operand: &Operand) -> Result<Term, Problem> {
    let Some(what) = several(&term) else { return Ok(term) };
    let message = format!("{operand} stands for {what}, and is compared with literals only");
    Err(Problem::new(operand.to_string(), message))
}

fn several(term: &Term) -> Option<&'static str> {
    match term {
        Term::Field(Access::AnyAncestor(_)) => Some("any ancestor's"),
        Term::Field(Access::AnyIp | Access::AnyNet | Access::AnyPort) => Some("either end's"),
        Term::Field(Access::Domain(_)) => Some("a name's addresses"),
        _ => None,
    }
}

/// One text after the other: of two or more, as in Falco.
fn concat(source: Source, parts: &[Operand]) -> Result<Term, Problem> {
    if parts.len() < 2 {
        return Err(Problem::new("concat", "concat() takes two texts or more"));
    }
    let parts = parts.iter().map(|part| one_value(term(source, part)?, part));
    let parts = parts.collect::<Result<Vec<_>, _>>()?;
    if parts.iter().any(|part| part.value_type() != Type::Text) {
        return Err(Problem::new("concat", "concat() takes texts; join(\"\", (…)) takes numbers too"));
    }
    Ok(Term::Joined(String::new(), parts))
}

/// The options among a list of texts, or among those of a field that is a list.
fn options(source: Source, arguments: &[Operand], only: Option<&str>) -> Result<Term, Problem> {
    let wrong = |message: String| Problem::new("getopt", message);
    let [arguments, Operand::Literal(letters)] = arguments else {
        return Err(wrong(
            "getopt() takes a list of arguments, and the options' letters in quotes".to_owned(),
        ));
    };
    let options = Options::new(letters, only).map_err(wrong)?;
    let (parts, wanted) = match arguments {
        Operand::List(parts) => (parts.as_slice(), Type::Text),
        one => (std::slice::from_ref(one), Type::List),
    };
    let terms = parts.iter().map(|part| term(source, part)).collect::<Result<Vec<_>, _>>()?;
    match terms.iter().position(|term| term.value_type() != wanted) {
        None => Ok(Term::Options(options, terms)),
        Some(_) if wanted == Type::List => Err(wrong(format!(
            "getopt() takes a list, and {arguments} is one value; (…) makes a list of texts"
        ))),
        Some(at) => Err(wrong(format!("getopt() takes texts, and {} is none", parts[at]))),
    }
}

fn access(source: Source, field: &FieldRef) -> Result<Access, Problem> {
    let problem = |unknown_field, message| Problem { word: field.name.clone(), message, unknown_field };
    match fields::lookup(source, field) {
        Lookup::Filled(access) => Ok(access),
        Lookup::Unfilled => {
            let message = format!("no column of {} fills the field {field}", source.table());
            Err(problem(true, message))
        }
        Lookup::Unknown => Err(problem(true, format!("the source {source} has no field {:?}", field.name))),
        Lookup::BadArgument(what) => Err(problem(false, format!("{field}: {what}"))),
    }
}

// === impl Builder ===

impl Builder {
    pub(super) fn new(source: Source, domains: &Domains) -> Self {
        let (terms, leaves) = (Vec::new(), Vec::new());
        let (term_ids, leaf_ids) = (HashMap::new(), HashMap::new());
        Self { source, terms, term_ids, leaves, leaf_ids, domains: domains.clone() }
    }

    pub(super) fn finish(self) -> (Vec<Term>, Vec<Leaf>) {
        (self.terms, self.leaves)
    }

    /// The tree of a condition that has no problems.
    pub(super) fn node(&mut self, expr: &Expr) -> Node {
        match expr {
            Expr::And(parts) => Node::And(parts.iter().map(|part| self.node(part)).collect()),
            Expr::Or(parts) => Node::Or(parts.iter().map(|part| self.node(part)).collect()),
            Expr::Not(part) => Node::Not(Box::new(self.node(part))),
            // The loader lets no rule pass that has a problem or an open name.
            Expr::Check(check) => self.check(check).unwrap_or(Node::Never),
            Expr::Name(..) => Node::Never,
        }
    }

    fn check(&mut self, check: &Check) -> Result<Node, Problem> {
        let key = check.to_string();
        if let Some(known) = self.leaf_ids.get(&key) {
            return Ok(known.clone());
        }
        let node = match (&check.left, check.modifier, &check.right) {
            (Operand::Field(field), None, Value::One(text))
                if field.name == "evt.num" && check.op.normal() == Op::Eq && text == "0" =>
            {
                Node::Never
            }
            (_, Some(modifier), Value::Many(values)) => self.modified(check, modifier, values)?,
            _ => self.plain(check)?,
        };
        self.leaf_ids.insert(key, node.clone());
        Ok(node)
    }

    /// `oneof`: exactly one of the values compares true; `anyof`: at least
    /// one; `allof`: all.
    fn modified(&mut self, check: &Check, modifier: Modifier, values: &[String]) -> Result<Node, Problem> {
        let single = |value: &String| Check {
            left: check.left.clone(),
            op: check.op,
            modifier: None,
            right: Value::One(value.clone()),
        };
        let nodes = values.iter().map(|value| self.check(&single(value))).collect::<Result<Vec<_>, _>>()?;
        Ok(match modifier {
            Modifier::AnyOf => Node::Or(nodes),
            Modifier::AllOf if nodes.is_empty() => Node::Never,
            Modifier::AllOf => Node::And(nodes),
            Modifier::OneOf => {
                let only = |chosen: usize| {
                    let part = |(index, node): (usize, &Node)| {
                        if index == chosen { node.clone() } else { Node::Not(Box::new(node.clone())) }
                    };
                    Node::And(nodes.iter().enumerate().map(part).collect())
                };
                Node::Or((0..nodes.len()).map(only).collect())
            }
        })
    }

    fn plain(&mut self, check: &Check) -> Result<Node, Problem> {
        let left = term(self.source, &check.left)?;
        if let Value::Of(right) = &check.right {
            let right = term(self.source, right)?;
            return self.between(check, left, right);
        }
        match left {
            Term::Field(Access::AnyIp) => {
                self.either(check, &["fd_lip", "fd_rip", "fd_cip", "fd_sip"].map(Access::Ip))
            }
            Term::Field(Access::AnyNet) => {
                self.either(check, &["fd_lip", "fd_rip", "fd_cip", "fd_sip"].map(Access::Net))
            }
            Term::Field(Access::AnyPort) => {
                self.either(check, &["fd_lport", "fd_rport", "fd_cport", "fd_sport"].map(Access::Int))
            }
            // `evt.around[T]=D` takes what happened at most D milliseconds from T.
            Term::Field(Access::Around(_)) => {
                let word = check.left.to_string();
                let within = match (check.op.normal(), &check.right) {
                    (Op::Eq, Value::One(text)) => number(text).and_then(|ms| ms.checked_mul(1_000_000)),
                    _ => None,
                };
                let within =
                    within.ok_or_else(|| Problem::new(word, "write evt.around[T]=D, D in milliseconds"))?;
                let test = IntTest::new(Op::Le, &[within]).map_or(Test::Exists, Test::Int);
                Ok(self.leaf(left, test))
            }
            left => {
                let test = test_of(check, &left, &self.domains)?;
                Ok(self.leaf(left, test))
            }
        }
    }

    /// Either end: true if one compares true; `!=` if there is an end and
    /// none is equal. A socket without an address yet has zeros at both ends.
    fn either(&mut self, check: &Check, ends: &[Access; 4]) -> Result<Node, Problem> {
        let is_negated = check.op == Op::Ne;
        let op = if is_negated { Op::Eq } else { check.op };
        let check = Check { left: check.left.clone(), op, modifier: None, right: check.right.clone() };
        let mut holds = Vec::new();
        let mut zero_holds = false;
        for end in ends {
            let left = Term::Field(end.clone());
            let test = test_of(&check, &left, &self.domains)?;
            zero_holds |= test.holds_for_zero();
            holds.push(self.leaf(left, test));
        }
        let present =
            Node::Or(ends.iter().map(|end| self.leaf(Term::Field(end.clone()), Test::Exists)).collect());
        let fresh = Node::And(vec![Node::Not(Box::new(present.clone())), self.is_ip_socket()?]);
        let holds = Node::Or(holds);
        Ok(match (is_negated, zero_holds) {
            (false, false) => holds,
            (false, true) => Node::Or(vec![holds, fresh]),
            (true, true) => Node::And(vec![present, Node::Not(Box::new(holds))]),
            (true, false) => {
                let differs = Node::And(vec![present, Node::Not(Box::new(holds))]);
                Node::Or(vec![differs, fresh])
            }
        })
    }

    fn is_ip_socket(&mut self) -> Result<Node, Problem> {
        let test = TextTest::new(Op::In, &["ipv4", "ipv6"]);
        let test = test.map_err(|message| Problem::new("fd.type", message))?;
        Ok(self.leaf(Term::Field(Access::Text("fd_type")), Test::Text(test)))
    }

    fn between(&mut self, check: &Check, left: Term, right: Term) -> Result<Node, Problem> {
        let word = check.left.to_string();
        let (a, b) = (left.value_type(), right.value_type());
        let pattern = matches!(check.op, Op::Glob | Op::IGlob | Op::Regex | Op::PMatch);
        if pattern || several(&left).or(several(&right)).is_some() || a == Type::List || b == Type::List {
            let message = format!("{} cannot compare these two fields with each other", check.op);
            return Err(Problem::new(word, message));
        }
        let number = |kind| kind == Type::Int;
        if number(a) != number(b) || (a == Type::Bool) != (b == Type::Bool) {
            return Err(Problem::new(word, "the two sides have different types"));
        }
        let right = self.term_id(right);
        Ok(self.leaf(left, Test::Between(check.op.normal(), right)))
    }

    fn leaf(&mut self, left: Term, test: Test) -> Node {
        // A long text is made only for the rows that are asked for it.
        let (left, test) = match (left, test) {
            (Term::Field(Access::Joined(name)), Test::Text(test)) => {
                (Term::Field(Access::List(name)), Test::Joined(test))
            }
            other => other,
        };
        let term = self.term_id(left);
        let leaf = Leaf { term, test };
        let index = self.leaves.iter().position(|known| *known == leaf).unwrap_or_else(|| {
            self.leaves.push(leaf);
            self.leaves.len() - 1
        });
        Node::Leaf(index)
    }

    fn term_id(&mut self, term: Term) -> usize {
        if let Some(id) = self.term_ids.get(&term) {
            return *id;
        }
        self.terms.push(term.clone());
        self.term_ids.insert(term, self.terms.len() - 1);
        self.terms.len() - 1
    }
}

/// The test that a comparison with literals makes on one value.
fn test_of(check: &Check, left: &Term, domains: &Domains) -> Result<Test, Problem> {
    if check.op == Op::Exists {
        return Ok(Test::Exists);
    }
    let values: Vec<&str> = match &check.right {
        Value::One(text) => vec![text],
        Value::Many(texts) => texts.iter().map(String::as_str).collect(),
        _ => Vec::new(),
    };
    let word = check.left.to_string();
    let wrong = |message: String| Problem::new(&*word, message);
    let unsupported = |what: &str| wrong(format!("{} does not apply to {what}", check.op));
    let op = check.op.normal();
    match left.value_type() {
        Type::List => match op {
            Op::In => Ok(Test::List(ListTest::all_in(&values))),
            Op::Intersects => Ok(Test::List(ListTest::some_in(&values))),
            _ => Err(unsupported("a list: use in, intersects or exists")),
        },
        Type::Int => {
            let is_port = matches!(left, Term::Field(Access::Int(column)) if column.ends_with("port"));
            let service = |text: &str| services::port(text).filter(|_| is_port);
            let numbers = values.iter().map(|text| number(text).or_else(|| service(text)));
            let numbers = numbers
                .collect::<Option<Vec<_>>>()
                .ok_or_else(|| wrong(format!("{} is no number", values.join(", "))))?;
            IntTest::new(op, &numbers).map(Test::Int).ok_or_else(|| unsupported("a number"))
        }
        Type::Bool => {
            let truths = values.iter().map(|text| text.parse::<bool>().ok()).collect::<Option<Vec<_>>>();
            let truths = truths.ok_or_else(|| wrong("the field is true or false".to_owned()))?;
            match op {
                Op::Eq | Op::In | Op::Intersects => {
                    Ok(Test::Bool { yes: truths.contains(&true), no: truths.contains(&false) })
                }
                Op::Ne => Ok(Test::Bool { yes: !truths.contains(&true), no: !truths.contains(&false) }),
                _ => Err(unsupported("true or false")),
            }
        }
        kind => {
            let test = match kind {
                Type::Ip => TextTest::addresses(op, &values),
                Type::Net => TextTest::networks(op, &values),
                Type::Domain => TextTest::domains(op, &values, domains),
                _ => TextTest::new(op, &values),
            };
            let any_ancestor = matches!(left, Term::Field(Access::AnyAncestor(_)));
            test.map(|test| if any_ancestor { Test::Any(test) } else { Test::Text(test) }).map_err(wrong)
        }
    }
}

fn number(text: &str) -> Option<i64> {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    match hex {
        Some(digits) => i64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok().or_else(|| text.strip_prefix('+')?.parse().ok()),
    }
}

// === impl Problem ===

impl Problem {
    fn new(word: impl Into<String>, message: impl Into<String>) -> Self {
        Self { word: word.into(), message: message.into(), unknown_field: false }
    }
}
