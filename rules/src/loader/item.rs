//! One item of a rule file: its shape, its keys, the types of its values.

use std::collections::BTreeSet;

use super::collect::{Collected, List, Macro, Order, RuleInfo, Text, Update};
use super::exceptions;
use super::{Place, Priority, Refused, Report, Source};
use crate::diagnostic::Code;
use crate::yaml::Node;

/// The engine whose rules are understood here.
const ENGINE_VERSION: [u64; 3] = [0, 63, 0];
/// Plugins whose fields are understood here, at which version.
const PLUGINS: [(&str, [u64; 3]); 3] =
    [("k8saudit", [0, 20, 0]), ("json", [0, 9, 0]), ("container", [0, 9, 0])];

const RULE_KEYS: &[&str] = &[
    "rule",
    "desc",
    "condition",
    "output",
    "priority",
    "source",
    "enabled",
    "tags",
    "exceptions",
    "append",
    "override",
    "warn_evttypes",
    "skip-if-unknown-filter",
    "capture",
    "capture_duration",
    "examples",
];
const APPENDABLE: &[&str] = &["condition", "output", "desc", "tags", "exceptions"];
const REPLACEABLE: &[&str] = &[
    "condition",
    "output",
    "desc",
    "priority",
    "tags",
    "exceptions",
    "enabled",
    "warn_evttypes",
    "skip-if-unknown-filter",
    "capture",
    "capture_duration",
];

/// Reads one item into the definitions.
pub(super) fn read(
    node: &Node,
    place: &mut Place,
    collected: &mut Collected,
    report: &mut Report,
) -> Result<(), Refused> {
    if !node.is_mapping() {
        return Err(Refused::shape(node.start, "an item is a mapping, e.g. '- rule: name'"));
    }
    if let Some(version) = node.get("required_engine_version") {
        return engine_version(version);
    }
    if let Some(plugins) = node.get("required_plugin_versions") {
        return plugin_versions(plugins, place, report);
    }
    for (kind, read) in [("list", list as Reader), ("macro", macro_item), ("rule", rule)] {
        if node.get(kind).is_some() {
            let name = required(node, kind)?;
            place.item = format!("{kind} {name:?}");
            return read(node, name, place, collected, report);
        }
    }
    report.add(place, Code::UnknownItem, "an item that is no rule, macro, list or requirement");
    Ok(())
}

type Reader = fn(&Node, String, &Place, &mut Collected, &mut Report) -> Result<(), Refused>;

fn list(
    node: &Node,
    name: String,
    place: &Place,
    into: &mut Collected,
    report: &mut Report,
) -> Result<(), Refused> {
    known_keys(node, &["list", "items", "append", "override"], place, report);
    let bare = |c: char| !c.is_whitespace() && !matches!(c, '(' | ')' | '"' | '\'' | '=' | ',');
    if !name.chars().all(bare) {
        let message =
            format!("no condition can name the list {name:?}: no blanks, quotes, parentheses, '=' or ','");
        report.add(place, Code::InvalidListName, message);
    }
    let Some(items) = node.get("items") else {
        return Err(Refused::shape(node.start, "the list has no items"));
    };
    let items = texts(items)?;
    let append = appends(node, "items", place, report)?;
    let list = List { name, items, order: Order::default(), place: place.clone() };
    if append {
        return into.append_list(list);
    }
    into.define_list(list);
    Ok(())
}

fn macro_item(
    node: &Node,
    name: String,
    place: &Place,
    into: &mut Collected,
    report: &mut Report,
) -> Result<(), Refused> {
    known_keys(node, &["macro", "condition", "append", "override"], place, report);
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic());
    if !starts || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        let message =
            format!("no condition can name the macro {name:?}: a letter, then letters, digits and _");
        report.add(place, Code::InvalidMacroName, message);
    }
    let condition = text(node, "condition")?;
    let append = appends(node, "condition", place, report)?;
    let item = Macro { name, condition, order: Order::default(), place: place.clone() };
    if append {
        return into.append_macro(&item);
    }
    into.define_macro(item);
    Ok(())
}

/// Whether a list or macro appends, by the old key or by override.
fn appends(node: &Node, key: &str, place: &Place, report: &mut Report) -> Result<bool, Refused> {
    let append = append_flag(node, place, report)?;
    let (appended, replaced) = overrides(node, &[key], &[key])?;
    if append && !(appended.is_empty() && replaced.is_empty()) {
        return Err(Refused::shape(node.start, "'append' and 'override' exclude each other"));
    }
    Ok(append || !appended.is_empty())
}

fn append_flag(node: &Node, place: &Place, report: &mut Report) -> Result<bool, Refused> {
    let append = boolean(node, "append")?.unwrap_or(false);
    if append {
        report.add(place, Code::DeprecatedItem, "'append' is deprecated, use 'override'");
    }
    Ok(append)
}

fn rule(
    node: &Node,
    name: String,
    place: &Place,
    into: &mut Collected,
    report: &mut Report,
) -> Result<(), Refused> {
    known_keys(node, RULE_KEYS, place, report);
    let append = append_flag(node, place, report)?;
    let (appended, replaced) = overrides(node, APPENDABLE, REPLACEABLE)?;
    if !(appended.is_empty() && replaced.is_empty()) {
        if append {
            return Err(Refused::shape(node.start, "'append' and 'override' exclude each other"));
        }
        return override_rule(node, &name, &appended, &replaced, place, into, report);
    }
    if append {
        if ["condition", "exceptions"].iter().all(|key| node.get(key).is_none()) {
            let message =
                "an appended rule must have a condition or exceptions; for other keys use 'override'";
            return Err(Refused::shape(node.start, message));
        }
        let update = update(node, &["condition", "exceptions"], true, place, report)?;
        return into.defined_rule(&name, place)?.append(update);
    }
    if ["condition", "output", "desc", "priority"].iter().all(|key| node.get(key).is_none()) {
        let Some(enabled) = boolean(node, "enabled")? else {
            return Err(Refused::shape(node.start, "the rule has neither a condition nor 'enabled'"));
        };
        report.add(
            place,
            Code::DeprecatedItem,
            "'enabled' alone is deprecated, use 'override' with 'enabled: replace'",
        );
        into.defined_rule(&name, place)?.enabled = enabled;
        return Ok(());
    }
    let rule = new_rule(node, name, place, report)?;
    into.define_rule(rule)
}

fn new_rule(node: &Node, name: String, place: &Place, report: &mut Report) -> Result<RuleInfo, Refused> {
    let (condition, mut output) = (text(node, "condition")?, text(node, "output")?);
    output.value = output.value.trim().to_owned();
    let source = optional(node, "source")?.unwrap_or_else(|| Source::Syscall.as_str().to_owned());
    if source.parse::<Source>().is_err() {
        let message = format!("nothing here reads the source {source:?}, the rule is left out");
        report.add(place, Code::UnknownSource, message);
    }
    let mut exceptions = exceptions::read(node, false, place, report)?;
    for exception in &mut exceptions {
        exception.complete()?;
    }
    Ok(RuleInfo {
        name,
        condition,
        output,
        desc: required(node, "desc")?,
        priority: priority(node)?,
        source,
        tags: tags(node)?,
        exceptions,
        enabled: boolean(node, "enabled")?.unwrap_or(true),
        warn_evttypes: boolean(node, "warn_evttypes")?.unwrap_or(true),
        skip_if_unknown: boolean(node, "skip-if-unknown-filter")?.unwrap_or(false),
        order: Order::default(),
        place: place.clone(),
    })
}

fn override_rule(
    node: &Node,
    name: &str,
    appended: &[&str],
    replaced: &[&str],
    place: &Place,
    into: &mut Collected,
    report: &mut Report,
) -> Result<(), Refused> {
    for key in appended.iter().chain(replaced) {
        if node.get(key).is_none() {
            return Err(Refused::shape(node.start, format!("'{key}' is to be overridden but is not given")));
        }
    }
    for (key, _) in node.pairs() {
        let text = key.text().unwrap_or_default();
        let overridable = APPENDABLE.contains(&text) || REPLACEABLE.contains(&text);
        if overridable && !appended.contains(&text) && !replaced.contains(&text) {
            return Err(Refused::shape(
                key.start,
                format!("'{text}' is given but 'override' does not name it"),
            ));
        }
    }
    let (to_append, to_replace) =
        (update(node, appended, true, place, report)?, update(node, replaced, false, place, report)?);
    let rule = into.defined_rule(name, place)?;
    rule.append(to_append)?;
    rule.replace(to_replace)
}

fn update(
    node: &Node,
    keys: &[&str],
    partial: bool,
    place: &Place,
    report: &mut Report,
) -> Result<Update, Refused> {
    let has = |key: &str| keys.contains(&key) && node.get(key).is_some();
    let mut update = Update::default();
    if has("condition") {
        update.condition = Some(text(node, "condition")?);
    }
    if has("output") {
        update.output = Some(text(node, "output")?);
    }
    if has("desc") {
        update.desc = Some(required(node, "desc")?);
    }
    if has("tags") {
        update.tags = Some(tags(node)?);
    }
    if has("exceptions") {
        update.exceptions = Some(exceptions::read(node, partial, place, report)?);
    }
    if has("priority") {
        update.priority = Some(priority(node)?);
    }
    if has("enabled") {
        update.enabled = boolean(node, "enabled")?;
    }
    if has("warn_evttypes") {
        update.warn_evttypes = boolean(node, "warn_evttypes")?;
    }
    if has("skip-if-unknown-filter") {
        update.skip_if_unknown = boolean(node, "skip-if-unknown-filter")?;
    }
    Ok(update)
}

/// Which keys `override` appends to and which it replaces.
fn overrides<'a>(
    node: &'a Node,
    appendable: &[&str],
    replaceable: &[&str],
) -> Result<(Vec<&'a str>, Vec<&'a str>), Refused> {
    let (mut appended, mut replaced) = (Vec::new(), Vec::new());
    for (key_node, operation) in node.get("override").map(Node::pairs).unwrap_or_default() {
        let key = key_node.text().unwrap_or_default();
        match operation.text().unwrap_or_default() {
            "append" if appendable.contains(&key) => appended.push(key),
            "append" => return Err(Refused::shape(key_node.start, format!("'{key}' cannot be appended to"))),
            "replace" if replaceable.contains(&key) => replaced.push(key),
            "replace" => return Err(Refused::shape(key_node.start, format!("'{key}' cannot be replaced"))),
            other => {
                let message = format!("{other:?} is no override, use 'append' or 'replace'");
                return Err(Refused::shape(operation.start, message));
            }
        }
    }
    Ok((appended, replaced))
}

fn engine_version(node: &Node) -> Result<(), Refused> {
    let text = node.text().unwrap_or_default();
    let version = match text.parse::<u64>() {
        // A plain number was the version until the engine took up semver.
        Ok(minor) => Some([0, minor, 0]),
        Err(_) => semver(text),
    };
    let Some(version) = version else {
        return Err(Refused::shape(node.start, format!("{text:?} is no version, use x.y.z")));
    };
    if satisfies(ENGINE_VERSION, version) {
        return Ok(());
    }
    let [major, minor, patch] = ENGINE_VERSION;
    let message =
        format!("the file needs engine {text}, rules are understood here as of {major}.{minor}.{patch}");
    Err(Refused::contradiction(node.start, message))
}

fn plugin_versions(node: &Node, place: &Place, report: &mut Report) -> Result<(), Refused> {
    let Some(plugins) = node.items() else {
        return Err(Refused::shape(node.start, "required_plugin_versions must be a list"));
    };
    for plugin in plugins {
        let mut choices = vec![requirement(plugin)?];
        if let Some(alternatives) = plugin.get("alternatives") {
            let Some(alternatives) = alternatives.items() else {
                return Err(Refused::shape(alternatives.start, "alternatives must be a list"));
            };
            for alternative in alternatives {
                let choice = requirement(alternative)?;
                if choices.iter().any(|(name, _)| *name == choice.0) {
                    let message = format!("plugin {:?} is required twice among alternatives", choice.0);
                    return Err(Refused::contradiction(alternative.start, message));
                }
                choices.push(choice);
            }
        }
        let met = |(name, version): &(String, [u64; 3])| {
            PLUGINS.iter().any(|(known, has)| known == name && satisfies(*has, *version))
        };
        if !choices.iter().any(met) {
            let message =
                format!("no plugin {:?} here; rules that use its fields are refused by field", choices[0].0);
            report.add_at(place, Code::Extension, message, plugin.start, 1);
        }
    }
    Ok(())
}

fn requirement(node: &Node) -> Result<(String, [u64; 3]), Refused> {
    let (name, version) = (required(node, "name")?, required(node, "version")?);
    match semver(&version) {
        Some(version) => Ok((name, version)),
        None => Err(Refused::contradiction(node.start, format!("{version:?} is no version, use x.y.z"))),
    }
}

fn semver(text: &str) -> Option<[u64; 3]> {
    let core = text.split(['-', '+']).next().unwrap_or_default();
    let mut parts = core.split('.').map(|part| part.parse::<u64>().ok());
    let version = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(version)
}

fn satisfies(has: [u64; 3], needs: [u64; 3]) -> bool {
    has[0] == needs[0] && has >= needs
}

// === values ===

fn known_keys(node: &Node, keys: &[&str], place: &Place, report: &mut Report) {
    for (key, _) in node.pairs() {
        let text = key.text().unwrap_or_default();
        if !keys.contains(&text) {
            let message = format!("the key '{text}' means nothing here");
            report.add_at(place, Code::UnknownKey, message, key.start, text.chars().count());
        }
    }
}

fn required(node: &Node, key: &str) -> Result<String, Refused> {
    optional(node, key)?.ok_or_else(|| Refused::shape(node.start, format!("'{key}' is missing")))
}

fn optional(node: &Node, key: &str) -> Result<Option<String>, Refused> {
    let Some(value) = node.get(key) else { return Ok(None) };
    match value.text() {
        None => Err(Refused::shape(value.start, format!("'{key}' must be a text"))),
        Some(text) if text.is_empty() || value.is_null() => {
            Err(Refused::shape(value.start, format!("'{key}' must not be empty")))
        }
        Some(text) => Ok(Some(text.to_owned())),
    }
}

fn text(node: &Node, key: &str) -> Result<Text, Refused> {
    let value = required(node, key)?;
    let node = node.get(key).unwrap_or(node).clone();
    Ok(Text { value, node })
}

fn texts(node: &Node) -> Result<Vec<String>, Refused> {
    let Some(items) = node.items() else { return Err(Refused::shape(node.start, "a list was expected")) };
    let text = |item: &Node| {
        let text = item.text().ok_or_else(|| Refused::shape(item.start, "a text was expected"));
        text.map(str::to_owned)
    };
    items.iter().map(text).collect()
}

fn tags(node: &Node) -> Result<BTreeSet<String>, Refused> {
    match node.get("tags").filter(|tags| !tags.is_null()) {
        Some(tags) => Ok(texts(tags)?.into_iter().collect()),
        None => Ok(BTreeSet::new()),
    }
}

fn boolean(node: &Node, key: &str) -> Result<Option<bool>, Refused> {
    let Some(text) = optional(node, key)? else { return Ok(None) };
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "y" => Ok(Some(true)),
        "false" | "no" | "off" | "n" => Ok(Some(false)),
        _ => {
            let at = node.get(key).unwrap_or(node).start;
            Err(Refused::shape(at, format!("'{key}' must be true or false, not {text:?}")))
        }
    }
}

fn priority(node: &Node) -> Result<Priority, Refused> {
    let text = required(node, "priority")?;
    text.parse().map_err(|()| {
        let at = node.get("priority").unwrap_or(node).start;
        let names = Priority::ALL.map(Priority::as_str).join(", ");
        Refused::shape(at, format!("{text:?} is no priority, use one of {names}"))
    })
}
