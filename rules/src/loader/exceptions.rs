//! Exceptions of a rule: read, checked, and turned into `and not (…)`.

use super::{Place, Refused, Report};
use crate::diagnostic::Code;
use crate::filter::{Modifier, Op};
use crate::yaml::{Mark, Node};

/// One exception as written.
#[derive(Clone)]
pub(super) struct Exception {
    pub(super) name: String,
    pub(super) fields: Option<Entry>,
    pub(super) comps: Option<Entry>,
    pub(super) values: Vec<Entry>,
    pub(super) at: Mark,
}

/// One text, or a list.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    One(String),
    Many(Vec<Self>),
}

/// Reads the `exceptions` of a rule; `partial` where fields may be missing
/// because they were given before.
pub(super) fn read(
    rule: &Node,
    partial: bool,
    place: &Place,
    report: &mut Report,
) -> Result<Vec<Exception>, Refused> {
    let Some(node) = rule.get("exceptions").filter(|node| !node.is_null()) else { return Ok(Vec::new()) };
    let Some(items) = node.items() else {
        return Err(Refused::shape(node.start, "exceptions must be a list"));
    };
    let mut exceptions: Vec<Exception> = Vec::new();
    for item in items {
        let exception = read_one(item, partial, place, report)?;
        if exceptions.iter().any(|other| other.name == exception.name) {
            let message = format!("exception {:?} is defined twice, both apply", exception.name);
            report.add_at(place, Code::ExceptionNameNotUnique, message, item.start, 1);
        }
        exceptions.push(exception);
    }
    Ok(exceptions)
}

fn read_one(item: &Node, partial: bool, place: &Place, report: &mut Report) -> Result<Exception, Refused> {
    let name = item.get("name").and_then(Node::text).filter(|name| !name.is_empty());
    let Some(name) = name else {
        return Err(Refused::shape(item.start, "an exception must be a mapping with a name"));
    };
    let entry = |key: &str| item.get(key).map(read_entry).transpose();
    let (fields, comps) = (entry("fields")?, entry("comps")?);
    if fields.is_none() && !partial {
        return Err(Refused::shape(item.start, format!("exception {name:?} has no fields")));
    }
    let values = match item.get("values") {
        Some(values) => match values.items() {
            Some(values) => values.iter().map(read_entry).collect::<Result<_, _>>()?,
            None => return Err(Refused::shape(values.start, "an exception's values must be a list")),
        },
        None => {
            if partial {
                let message = format!("exception {name:?} is appended to without values");
                report.add_at(place, Code::AppendNoValues, message, item.start, 1);
            }
            Vec::new()
        }
    };
    Ok(Exception { name: name.to_owned(), fields, comps, values, at: item.start })
}

fn read_entry(node: &Node) -> Result<Entry, Refused> {
    if let Some(items) = node.items() {
        return items.iter().map(read_entry).collect::<Result<_, _>>().map(Entry::Many);
    }
    match node.text() {
        Some(text) if !text.is_empty() => Ok(Entry::One(text.to_owned())),
        Some(_) => Err(Refused::shape(node.start, "the value must not be empty")),
        None => Err(Refused::shape(node.start, "a text or a list was expected")),
    }
}

// === impl Exception ===

impl Exception {
    /// The fields that it compares, as written.
    pub(super) fn field_names(&self) -> impl Iterator<Item = &str> {
        let entries = match &self.fields {
            Some(Entry::Many(fields)) => fields.as_slice(),
            Some(one) => std::slice::from_ref(one),
            None => &[],
        };
        entries.iter().filter_map(|entry| match entry {
            Entry::One(field) => Some(field.as_str()),
            Entry::Many(_) => None,
        })
    }

    /// Fills in the default operators and checks that the parts fit.
    pub(super) fn complete(&mut self) -> Result<(), Refused> {
        let refused = |message: String| Err(Refused::contradiction(self.at, message));
        match &self.fields {
            None => refused(format!("exception {:?} has no fields", self.name)),
            Some(Entry::One(_)) => {
                let comps = self.comps.get_or_insert_with(|| Entry::One("in".to_owned()));
                let Entry::One(comp) = comps else {
                    return refused("fields and comps must both be texts, or both lists".to_owned());
                };
                *comp = normal(comp);
                match Op::named(comp).filter(|op| op.is_list()) {
                    Some(_) => Ok(()),
                    None if modified(comp) => Ok(()),
                    None => {
                        let message = format!(
                            "{comp:?} takes no list; for a single field use in, pmatch or intersects"
                        );
                        Err(Refused::contradiction(self.at, message))
                    }
                }
            }
            Some(Entry::Many(fields)) => {
                let equal = || Entry::Many(vec![Entry::One("=".to_owned()); fields.len()]);
                let count = fields.len();
                let Entry::Many(comps) = self.comps.get_or_insert_with(equal) else {
                    return refused("fields and comps must both be texts, or both lists".to_owned());
                };
                if comps.len() != count {
                    return refused(format!("{count} fields but {} comps", comps.len()));
                }
                for comp in comps {
                    let Entry::One(text) = comp else { continue };
                    *text = normal(text);
                    if !modified(text) && Op::named(text).is_none_or(|op| op == Op::Exists) {
                        let message = format!("{text:?} is not an operator");
                        return Err(Refused::contradiction(self.at, message));
                    }
                }
                Ok(())
            }
        }
    }

    /// The exception as text of a condition; empty when it has no values.
    pub(super) fn condition(&self) -> Result<String, Refused> {
        match (&self.fields, &self.comps) {
            (Some(Entry::One(field)), Some(Entry::One(comp))) => self.single(field, comp),
            (Some(Entry::Many(fields)), Some(Entry::Many(comps))) => self.several(fields, comps),
            _ => Err(Refused::contradiction(self.at, "fields and comps must both be texts, or both lists")),
        }
    }

    fn single(&self, field: &str, comp: &str) -> Result<String, Refused> {
        let mut values = Vec::new();
        for value in &self.values {
            match value {
                Entry::One(text) => values.push(quote_if_spaced(text)),
                Entry::Many(_) => {
                    let message = "with a single field, values must be a flat list of texts";
                    return Err(Refused::contradiction(self.at, message));
                }
            }
        }
        if values.is_empty() {
            Ok(String::new())
        } else {
            Ok(format!("({field} {comp} ({}))", values.join(", ")))
        }
    }

    fn several(&self, fields: &[Entry], comps: &[Entry]) -> Result<String, Refused> {
        let mut rows = Vec::new();
        for row in &self.values {
            let Entry::Many(values) = row else {
                return Err(Refused::contradiction(self.at, "each of the values must be a list"));
            };
            if values.len() != fields.len() {
                let message = format!("{} fields but {} values", fields.len(), values.len());
                return Err(Refused::contradiction(self.at, message));
            }
            let parts =
                fields.iter().zip(comps).zip(values).map(|((field, comp), value)| match (field, comp) {
                    (Entry::One(field), Entry::One(comp)) => {
                        Ok(format!("{field} {comp} {}", operand(comp, value)))
                    }
                    _ => Err(Refused::contradiction(self.at, "fields and comps must be lists of texts")),
                });
            rows.push(format!("({})", parts.collect::<Result<Vec<_>, _>>()?.join(" and ")));
        }
        if rows.is_empty() { Ok(String::new()) } else { Ok(format!("({})", rows.join(" or "))) }
    }
}

/// A value as the right side of `comp`.
fn operand(comp: &str, value: &Entry) -> String {
    match value {
        Entry::Many(items) => {
            let quote = if modified(comp) { quote_if_not_bare } else { quote_if_spaced };
            let texts = items.iter().map(|item| match item {
                Entry::One(text) => quote(text),
                Entry::Many(_) => "()".to_owned(),
            });
            format!("({})", texts.collect::<Vec<_>>().join(", "))
        }
        Entry::One(text) if text.starts_with('(') && is_list(comp) => text.clone(),
        // Several items, or lists, in one text, as Falco takes them.
        Entry::One(text) if text.contains(',') && Op::named(comp).is_some_and(Op::is_list) => {
            format!("({text})")
        }
        Entry::One(text) if is_list(comp) => format!("({})", quote_if_spaced(text)),
        Entry::One(text) => quote_if_spaced(text),
    }
}

/// Whether values are a list on the right of it.
fn is_list(comp: &str) -> bool {
    modified(comp) || Op::named(comp).is_some_and(Op::is_list)
}

/// Whether this is a text operator with a modifier, e.g. `startswith oneof`.
fn modified(comp: &str) -> bool {
    comp.split_once(' ').is_some_and(|(op, modifier)| {
        Op::named(op).is_some_and(Op::is_text) && Modifier::ALL.iter().any(|known| known.as_str() == modifier)
    })
}

/// Single blanks between words, none around.
fn normal(comp: &str) -> String {
    comp.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Falco quotes what has a space and no quote in front.
pub(super) fn quote_if_spaced(text: &str) -> String {
    if text.contains(' ') && !text.starts_with(['"', '\'']) { format!("\"{text}\"") } else { text.to_owned() }
}

/// A list behind a modifier is no place for the old trick of several items in
/// one text, so whatever would end a bare text is quoted.
fn quote_if_not_bare(text: &str) -> String {
    let ends_bare = |c: char| c.is_whitespace() || matches!(c, '(' | ')' | ',' | '=');
    if text.contains(ends_bare) && !text.starts_with(['"', '\'']) {
        format!("\"{text}\"")
    } else {
        text.to_owned()
    }
}
