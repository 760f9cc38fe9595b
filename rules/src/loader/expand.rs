//! Definitions to rules: lists into the text, exceptions after it, macros
//! into the tree.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::collect::{Collected, Macro, RuleInfo, Text};
use super::exceptions::quote_if_spaced;
use super::{Place, Refused, Report, Rule, RuleSet, Source};
use crate::compile::{self, evttype};
use crate::diagnostic::Code;
use crate::fields::{self, events};
use crate::filter::{self, Check, Expr, Op, Value};
use crate::output::Output;
use crate::yaml::Mark;

/// The most comparisons and connectives that one condition may expand to.
const MAX_NODES: usize = 50_000;
/// The most bytes of a condition after its lists are substituted.
const MAX_TEXT: usize = 4 << 20;
/// The most items of one list after nested lists are resolved.
const MAX_ITEMS: usize = 100_000;

/// Expands every rule; those that cannot be are reported and left out.
pub(super) fn expand(collected: &Collected, report: &mut Report) -> RuleSet {
    let mut expander = Expander {
        collected,
        lists: Vec::new(),
        macros: HashMap::new(),
        used_lists: HashSet::new(),
        used_macros: BTreeSet::new(),
    };
    expander.lists(report);
    expander.macros(report);
    let mut rules = Vec::new();
    for info in &collected.rules.items {
        let Ok(source) = info.source.parse() else { continue };
        match expander.rule(info, source, report) {
            Ok(Some(rule)) => rules.push(rule),
            Ok(None) => {}
            Err(refused) => report.refuse(&info.place, refused),
        }
    }
    expander.unused(report);
    RuleSet { rules, ..RuleSet::default() }
}

struct Expander<'a> {
    collected: &'a Collected,
    /// Each list as the text that replaces its name.
    lists: Vec<(&'a str, Vec<String>, String)>,
    /// Each macro with what it refers to replaced; `None` when it is wrong.
    macros: HashMap<&'a str, Option<Expr>>,
    used_lists: HashSet<&'a str>,
    used_macros: BTreeSet<String>,
}

// === impl Expander ===

impl<'a> Expander<'a> {
    fn lists(&mut self, report: &mut Report) {
        for list in &self.collected.lists.items {
            let mut items = Vec::new();
            for item in &list.items {
                let nested =
                    self.collected.lists.get(item).filter(|other| other.order.index < list.order.visible);
                let resolved =
                    nested.and_then(|nested| self.lists.iter().find(|(name, ..)| *name == nested.name));
                match resolved {
                    Some((name, resolved, _)) => {
                        self.used_lists.insert(name);
                        items.extend(resolved.iter().cloned());
                    }
                    None => items.push(item.clone()),
                }
                if items.len() > MAX_ITEMS {
                    report.add(
                        &list.place,
                        Code::Validate,
                        format!("the list has more than {MAX_ITEMS} items"),
                    );
                    items.clear();
                    break;
                }
            }
            let text = items.iter().map(|item| quote_if_spaced(item)).collect::<Vec<_>>().join(", ");
            self.lists.push((&list.name, items, text));
        }
    }

    fn macros(&mut self, report: &mut Report) {
        let mut parsed = HashMap::new();
        for item in &self.collected.macros.items {
            let expr = self.parse(&item.condition, &item.condition.value, &item.place, report);
            parsed
                .insert(item.name.as_str(), expr.map_err(|refused| report.refuse(&item.place, refused)).ok());
        }
        for item in &self.collected.macros.items {
            let mut chain = vec![item.name.as_str()];
            let resolved = match self.macro_body(item, &parsed, &mut chain) {
                Ok(expr) => expr,
                Err(message) => {
                    let at = locate_word(&item.condition, &message.0, &item.place, report);
                    report.refuse(&item.place, Refused::contradiction(at, message.1));
                    None
                }
            };
            self.macros.insert(&item.name, resolved);
        }
    }

    /// A macro's tree with the macros in it replaced. The error is the word to
    /// point at and the message.
    fn macro_body(
        &mut self,
        item: &'a Macro,
        parsed: &HashMap<&'a str, Option<Expr>>,
        chain: &mut Vec<&'a str>,
    ) -> Result<Option<Expr>, (String, String)> {
        let Some(expr) = parsed.get(item.name.as_str()).and_then(Option::as_ref) else { return Ok(None) };
        let mut names = Vec::new();
        macro_names(expr, &mut names);
        let mut bodies = HashMap::new();
        for name in names {
            let known =
                self.collected.macros.get(&name).filter(|other| other.order.index < item.order.visible);
            let Some(other) = known else {
                return Err((name.clone(), format!("the macro {name:?} is not defined before this")));
            };
            self.used_macros.insert(name.clone());
            if chain.contains(&other.name.as_str()) || chain.len() > 100 {
                return Err((name.clone(), format!("the macro {name:?} refers to itself")));
            }
            let body = match self.macros.get(other.name.as_str()) {
                Some(body) => body.clone(),
                None => {
                    chain.push(&other.name);
                    let body = self.macro_body(other, parsed, chain)?;
                    chain.pop();
                    body
                }
            };
            let Some(body) = body else { return Ok(None) };
            bodies.insert(name, body);
        }
        let mut budget = MAX_NODES;
        match substitute(expr, &bodies, &mut budget) {
            Some(expr) => Ok(Some(expr)),
            None => {
                Err((item.name.clone(), format!("the macro expands to more than {MAX_NODES} comparisons")))
            }
        }
    }

    fn rule(
        &mut self,
        info: &RuleInfo,
        source: Source,
        report: &mut Report,
    ) -> Result<Option<Rule>, Refused> {
        if !exception_fields(info, source, report) {
            return Ok(None);
        }
        let mut text = info.condition.value.clone();
        if !info.exceptions.is_empty() {
            text = format!("({text})");
            for exception in &info.exceptions {
                let condition = exception.condition()?;
                if !condition.is_empty() {
                    text += &format!(" and not {condition}");
                }
            }
        }
        let expr = self.parse(&info.condition, &text, &info.place, report)?;
        let condition = self.resolve(&expr, info, report)?;
        let Some(output) = self.output(info, source, report)? else { return Ok(None) };
        check_warnings(&condition, info, report);
        domain_warning(&condition, info, report);
        if !self.compiles(&condition, info, source, report) {
            return Ok(None);
        }
        if source == Source::Syscall && info.warn_evttypes && evttype::types(&condition).is_unbounded() {
            let message = "the rule looks at events of every type, name some with evt.type";
            report.add(&info.place, Code::NoEvttype, message);
        }
        if source == Source::Syscall {
            unrecorded_warning(&condition, info, report);
        }
        Ok(Some(Rule {
            name: info.name.clone(),
            desc: info.desc.clone(),
            condition,
            output,
            priority: info.priority,
            source,
            tags: info.tags.clone(),
            enabled: info.enabled,
            file: report.file_name(&info.place),
        }))
    }

    /// Reports everything that keeps the condition from being compiled.
    fn compiles(&self, condition: &Expr, info: &RuleInfo, source: Source, report: &mut Report) -> bool {
        let problems = compile::problems(source, condition);
        for problem in &problems {
            let allowed = problem.unknown_field && info.skip_if_unknown;
            let code = if allowed { Code::UnknownFilter } else { Code::CompileCondition };
            let at = locate_word(&info.condition, &problem.word, &info.place, report);
            let length = problem.word.chars().count().max(1);
            report.add_at(&info.place, code, problem.message.clone(), at, length);
        }
        problems.is_empty()
    }

    fn resolve(&mut self, expr: &Expr, info: &RuleInfo, report: &Report) -> Result<Expr, Refused> {
        let mut names = Vec::new();
        macro_names(expr, &mut names);
        let mut bodies = HashMap::new();
        for name in names {
            let at = || locate_word(&info.condition, &name, &info.place, report);
            match self.macros.get(name.as_str()) {
                Some(Some(body)) => {
                    self.used_macros.insert(name.clone());
                    bodies.insert(name, body.clone());
                }
                Some(None) => {
                    let message = format!("the macro {name:?} does not load, so this rule does not");
                    return Err(Refused::contradiction(at(), message));
                }
                None => {
                    let mut refused =
                        Refused::contradiction(at(), format!("the macro {name:?} is not defined"));
                    refused.length = name.chars().count();
                    return Err(refused);
                }
            }
        }
        let mut budget = MAX_NODES;
        substitute(expr, &bodies, &mut budget).ok_or_else(|| {
            let message = format!("the condition expands to more than {MAX_NODES} comparisons");
            Refused::new(Code::CompileCondition, info.condition.node.start, message)
        })
    }

    fn output(
        &self,
        info: &RuleInfo,
        source: Source,
        report: &mut Report,
    ) -> Result<Option<String>, Refused> {
        let mut output = info.output.value.trim().to_owned();
        if output.contains("%container.info") {
            report.add(&info.place, Code::DeprecatedItem, "%container.info is deprecated and prints nothing");
            output = output.replace("%container.info", "").trim_end().to_owned();
        }
        if output.contains("%evt.dir") {
            report.add(
                &info.place,
                Code::DeprecatedItem,
                "%evt.dir is deprecated: there are only exit events",
            );
        }
        match Output::parse(source, &output) {
            Ok(parsed) => {
                for field in parsed.unfilled() {
                    let at = locate_word(&info.output, field, &info.place, report);
                    let message = format!("no column of {} fills {field}, it prints <NA>", source.table());
                    report.add_at(&info.place, Code::Extension, message, at, field.len());
                }
                Ok(Some(output))
            }
            Err(error) => {
                let at = locate_word(&info.output, &error.word, &info.place, report);
                let length = error.word.chars().count().max(1);
                if info.skip_if_unknown {
                    report.add_at(&info.place, Code::UnknownFilter, error.message, at, length);
                    return Ok(None);
                }
                Err(Refused { code: Code::CompileOutput, message: error.message, at, length })
            }
        }
    }

    /// Substitutes lists and parses. Errors are looked up in the text as
    /// written, where a list's name stands for its items.
    fn parse(&mut self, written: &Text, text: &str, place: &Place, report: &Report) -> Result<Expr, Refused> {
        let limited = |text: &str| match text.len() > MAX_TEXT {
            true => Err(Refused::new(
                Code::CompileCondition,
                written.node.start,
                format!("the condition has more than {MAX_TEXT} bytes after lists are substituted"),
            )),
            false => Ok(()),
        };
        let mut substituted = text.to_owned();
        limited(&substituted)?;
        for (name, _, items) in &self.lists {
            if let Some(replaced) = replace_list(&substituted, name, items) {
                self.used_lists.insert(name);
                substituted = replaced;
                limited(&substituted)?;
            }
        }
        filter::parse(&substituted).map_err(|error| {
            let plain = filter::parse(&written.value).err();
            let at = plain.as_ref().map_or(0, |error| error.at);
            let at = report.locate(place, &written.node, at);
            Refused::new(Code::CompileCondition, at, plain.unwrap_or(error).message)
        })
    }

    fn unused(&self, report: &mut Report) {
        for item in &self.collected.macros.items {
            if !self.used_macros.contains(&item.name) {
                report.add(&item.place, Code::UnusedMacro, "no rule or macro uses this macro");
            }
        }
        for list in &self.collected.lists.items {
            if !self.used_lists.contains(list.name.as_str()) {
                report.add(&list.place, Code::UnusedList, "no condition or list uses this list");
            }
        }
    }
}

// === texts and trees ===

/// Replaces a list's name by its items wherever it stands between delimiters.
/// `None` when it stands nowhere.
fn replace_list(text: &str, name: &str, items: &str) -> Option<String> {
    let is_blank = |c: char| matches!(c, ' ' | '\t' | '\n' | '\r');
    let delimits = |c: Option<char>| c.is_none_or(|c| is_blank(c) || matches!(c, '(' | ')' | ',' | '='));
    let mut out = String::new();
    let mut rest = text;
    let mut scanned = 0;
    let mut used = false;
    while let Some(found) = rest.get(scanned..).and_then(|tail| tail.find(name)).filter(|_| !name.is_empty())
    {
        let (start, end) = (scanned + found, scanned + found + name.len());
        if !delimits(rest[..start].chars().next_back()) || !delimits(rest[end..].chars().next()) {
            scanned = start + rest[start..].chars().next().map_or(1, char::len_utf8);
            continue;
        }
        used = true;
        let mut before = rest[..start].trim_end_matches(is_blank);
        let mut after = rest[end..].trim_start_matches(is_blank);
        if items.is_empty() {
            // An empty list takes one of the commas beside it along.
            if let Some(shorter) = before.strip_suffix(',') {
                before = shorter;
            } else if let Some(shorter) = after.strip_prefix(',') {
                after = shorter;
            }
        }
        out.push_str(before);
        out.push(' ');
        out.push_str(items);
        out.push(' ');
        rest = after;
        scanned = 0;
    }
    out.push_str(rest);
    used.then_some(out)
}

fn macro_names(expr: &Expr, names: &mut Vec<String>) {
    match expr {
        Expr::And(parts) | Expr::Or(parts) => parts.iter().for_each(|part| macro_names(part, names)),
        Expr::Not(part) => macro_names(part, names),
        Expr::Name(name, _) if !names.contains(name) => names.push(name.clone()),
        Expr::Name(..) | Expr::Check(_) => {}
    }
}

/// Replaces macro names by their trees; `None` when the result is too large.
fn substitute(expr: &Expr, bodies: &HashMap<String, Expr>, budget: &mut usize) -> Option<Expr> {
    *budget = budget.checked_sub(1)?;
    let mut each =
        |parts: &[Expr]| parts.iter().map(|part| substitute(part, bodies, budget)).collect::<Option<_>>();
    Some(match expr {
        Expr::And(parts) => Expr::And(each(parts)?),
        Expr::Or(parts) => Expr::Or(each(parts)?),
        Expr::Not(part) => Expr::Not(Box::new(substitute(part, bodies, budget)?)),
        Expr::Check(check) => Expr::Check(check.clone()),
        Expr::Name(name, _) => {
            let body = bodies.get(name)?;
            *budget = budget.checked_sub(body.size())?;
            body.clone()
        }
    })
}

/// Where a word stands in a scalar of the file; its start when it does not.
fn locate_word(text: &Text, word: &str, place: &Place, report: &Report) -> Mark {
    let value = text.node.text().unwrap_or_default();
    let inner = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.');
    let whole = |(at, _): &(usize, &str)| {
        !inner(value[..*at].chars().next_back()) && !inner(value[at + word.len()..].chars().next())
    };
    let found = if word.is_empty() { None } else { value.match_indices(word).find(whole) };
    report.locate(place, &text.node, found.map_or(0, |(at, _)| at))
}

fn check_warnings(condition: &Expr, info: &RuleInfo, report: &mut Report) {
    let (mut unsafe_na, mut dir, mut field_like) = (None, false, None);
    condition.checks(&mut |check: &Check| {
        check.fields(&mut |field| {
            let optional = field.name.starts_with("ka.") || field.name.starts_with("jevt.");
            let equality =
                matches!(check.op, Op::Eq | Op::EqEq | Op::Ne | Op::In | Op::Intersects | Op::PMatch);
            if optional && equality && has_value(&check.right, "<NA>") {
                unsafe_na = Some(field.name.clone());
            }
            dir |= field.name == "evt.dir";
        });
        if let Value::One(text) = &check.right
            && compile::is_field(text)
        {
            field_like = Some(text.clone());
        }
    });
    if let Some(name) = unsafe_na {
        let at = locate_word(&info.condition, &name, &info.place, report);
        let message = format!("{name} is null when absent, never \"<NA>\": use '{name} exists'");
        report.add_at(&info.place, Code::UnsafeNaCheck, message, at, name.len());
    }
    if dir {
        let at = locate_word(&info.condition, "evt.dir", &info.place, report);
        let message = "evt.dir is deprecated: there are only exit events, '<' is always true".to_owned();
        report.add_at(&info.place, Code::DeprecatedItem, message, at, 7);
    }
    if let Some(text) = field_like {
        let at = locate_word(&info.condition, &text, &info.place, report);
        let message = format!("{text:?} is compared as a text; to compare with the field write val({text})");
        report.add_at(&info.place, Code::ConditionWarning, message, at, text.len());
    }
}

/// A rule all of whose event types are such that no collector records them never
/// matches, but over rows that others wrote.
fn unrecorded_warning(condition: &Expr, info: &RuleInfo, report: &mut Report) {
    let types = evttype::types(condition);
    let names = types.names();
    if types.is_unbounded() || names.is_empty() || names.iter().any(|name| events::is_recorded(name)) {
        return;
    }
    let names = names.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
    let message = format!("collectors record no events of the type {names}: nothing of theirs will match");
    report.add(&info.place, Code::Extension, message);
}

/// Whether the fields of all exceptions are known; they are told even of one that
/// has no values yet, and so does no harm before somebody adds some.
fn exception_fields(info: &RuleInfo, source: Source, report: &mut Report) -> bool {
    let mut all_known = true;
    for exception in &info.exceptions {
        for field in exception.field_names() {
            let name = field.split('[').next().unwrap_or_default();
            if name.contains('(') || fields::is_known_in(source, name) {
                continue;
            }
            let code = if info.skip_if_unknown { Code::UnknownFilter } else { Code::CompileCondition };
            let message =
                format!("exception {:?}: the source {source} has no field {name:?}", exception.name);
            report.add_at(&info.place, code, message, exception.at, 1);
            all_known = false;
        }
    }
    all_known
}

/// A comparison with a domain name is of the time at which it is made.
fn domain_warning(condition: &Expr, info: &RuleInfo, report: &mut Report) {
    let mut named = None;
    condition.checks(&mut |check: &Check| {
        check.fields(&mut |field| {
            if field.name.starts_with("fd.") && field.name.ends_with("ip.name") {
                named = Some(field.name.clone());
            }
        });
    });
    if let Some(name) = named {
        let at = locate_word(&info.condition, &name, &info.place, report);
        let message = format!("{name} is compared with the addresses that its names have when the rule runs");
        report.add_at(&info.place, Code::Extension, message, at, name.len());
    }
}

fn has_value(value: &Value, wanted: &str) -> bool {
    match value {
        Value::One(text) => text == wanted,
        Value::Many(texts) => texts.iter().any(|text| text == wanted),
        _ => false,
    }
}
