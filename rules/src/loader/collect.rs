//! Definitions by name in the order of their first appearance, with append
//! and override applied.

use std::collections::{BTreeSet, HashMap};

use super::exceptions::Exception;
use super::{Place, Priority, Refused};
use crate::yaml::Node;

/// Everything that the files define.
#[derive(Default)]
pub(super) struct Collected {
    pub(super) lists: Named<List>,
    pub(super) macros: Named<Macro>,
    pub(super) rules: Named<RuleInfo>,
    count: usize,
}

/// Definitions that keep their first position when redefined.
pub(super) struct Named<T> {
    pub(super) items: Vec<T>,
    by_name: HashMap<String, usize>,
}

/// Where in the order of all definitions something stands: what it may refer
/// to must have been defined first (`index`) before its last change (`visible`).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Order {
    pub(super) index: usize,
    pub(super) visible: usize,
}

/// Text that a condition is made of: one scalar, or several appended.
#[derive(Clone)]
pub(super) struct Text {
    pub(super) value: String,
    /// The first scalar, which places in the text are looked up in.
    pub(super) node: Node,
}

pub(super) struct List {
    pub(super) name: String,
    pub(super) items: Vec<String>,
    pub(super) order: Order,
    pub(super) place: Place,
}

pub(super) struct Macro {
    pub(super) name: String,
    pub(super) condition: Text,
    pub(super) order: Order,
    pub(super) place: Place,
}

pub(super) struct RuleInfo {
    pub(super) name: String,
    pub(super) condition: Text,
    pub(super) output: Text,
    pub(super) desc: String,
    pub(super) priority: Priority,
    pub(super) source: String,
    pub(super) tags: BTreeSet<String>,
    pub(super) exceptions: Vec<Exception>,
    pub(super) enabled: bool,
    pub(super) warn_evttypes: bool,
    pub(super) skip_if_unknown: bool,
    pub(super) order: Order,
    pub(super) place: Place,
}

/// What an append or override gives.
#[derive(Default)]
pub(super) struct Update {
    pub(super) condition: Option<Text>,
    pub(super) output: Option<Text>,
    pub(super) desc: Option<String>,
    pub(super) tags: Option<BTreeSet<String>>,
    pub(super) exceptions: Option<Vec<Exception>>,
    pub(super) priority: Option<Priority>,
    pub(super) enabled: Option<bool>,
    pub(super) warn_evttypes: Option<bool>,
    pub(super) skip_if_unknown: Option<bool>,
}

// === impl Collected ===

impl Collected {
    fn next(&mut self) -> usize {
        self.count += 1;
        self.count
    }

    pub(super) fn define_list(&mut self, mut list: List) {
        list.order = self.order(self.lists.get(&list.name).map(|previous| previous.order));
        self.lists.put(list.name.clone(), list);
    }

    pub(super) fn append_list(&mut self, list: List) -> Result<(), Refused> {
        let visible = self.next();
        let Some(previous) = self.lists.get_mut(&list.name) else {
            let message = format!("list {:?} is appended to but was not defined before", list.name);
            return Err(Refused::contradiction(list.place.at, message));
        };
        previous.items.extend(list.items);
        previous.order.visible = visible;
        Ok(())
    }

    pub(super) fn define_macro(&mut self, mut item: Macro) {
        item.order = self.order(self.macros.get(&item.name).map(|previous| previous.order));
        self.macros.put(item.name.clone(), item);
    }

    pub(super) fn append_macro(&mut self, item: &Macro) -> Result<(), Refused> {
        let visible = self.next();
        let Some(previous) = self.macros.get_mut(&item.name) else {
            let message = format!("macro {:?} is appended to but was not defined before", item.name);
            return Err(Refused::contradiction(item.place.at, message));
        };
        previous.condition.append(&item.condition);
        previous.order.visible = visible;
        Ok(())
    }

    pub(super) fn define_rule(&mut self, mut rule: RuleInfo) -> Result<(), Refused> {
        let previous = self.rules.get(&rule.name);
        if previous.is_some_and(|previous| previous.source != rule.source) {
            let message = format!("rule {:?} was defined before with another source", rule.name);
            return Err(Refused::contradiction(rule.place.at, message));
        }
        rule.order = self.order(previous.map(|previous| previous.order));
        self.rules.put(rule.name.clone(), rule);
        Ok(())
    }

    /// The rule that an append, override or `enabled` is about.
    pub(super) fn defined_rule(&mut self, name: &str, place: &Place) -> Result<&mut RuleInfo, Refused> {
        let visible = self.next();
        let Some(rule) = self.rules.get_mut(name) else {
            let message = format!("rule {name:?} is changed here but was not defined before");
            return Err(Refused::contradiction(place.at, message));
        };
        rule.order.visible = visible;
        Ok(rule)
    }

    fn order(&mut self, previous: Option<Order>) -> Order {
        let visible = self.next();
        Order { index: previous.map_or(visible, |previous| previous.index), visible }
    }
}

// === impl RuleInfo ===

impl RuleInfo {
    pub(super) fn append(&mut self, update: Update) -> Result<(), Refused> {
        if let Some(condition) = &update.condition {
            self.condition.append(condition);
        }
        if let Some(output) = &update.output {
            self.output.append(output);
        }
        if let Some(desc) = &update.desc {
            self.desc = format!("{} {desc}", self.desc);
        }
        self.tags.extend(update.tags.into_iter().flatten());
        for exception in update.exceptions.into_iter().flatten() {
            self.append_exception(exception)?;
        }
        Ok(())
    }

    fn append_exception(&mut self, mut exception: Exception) -> Result<(), Refused> {
        let previous = self.exceptions.iter_mut().find(|previous| previous.name == exception.name);
        match previous {
            Some(previous) => {
                if exception.fields.is_some() || exception.comps.is_some() {
                    let message = "only values can be appended to an exception that exists";
                    return Err(Refused::contradiction(exception.at, message));
                }
                previous.values.append(&mut exception.values);
            }
            None => {
                exception.complete()?;
                if exception.values.is_empty() {
                    let message = "a new exception that is appended must have values";
                    return Err(Refused::contradiction(exception.at, message));
                }
                self.exceptions.push(exception);
            }
        }
        Ok(())
    }

    pub(super) fn replace(&mut self, update: Update) -> Result<(), Refused> {
        fn set<T>(target: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *target = value;
            }
        }
        let mut exceptions = update.exceptions;
        for exception in exceptions.iter_mut().flatten() {
            exception.complete()?;
        }
        set(&mut self.condition, update.condition);
        set(&mut self.output, update.output);
        set(&mut self.desc, update.desc);
        set(&mut self.tags, update.tags);
        set(&mut self.exceptions, exceptions);
        set(&mut self.priority, update.priority);
        set(&mut self.enabled, update.enabled);
        set(&mut self.warn_evttypes, update.warn_evttypes);
        set(&mut self.skip_if_unknown, update.skip_if_unknown);
        Ok(())
    }
}

// === impl Text ===

impl Text {
    fn append(&mut self, more: &Self) {
        self.value.push(' ');
        self.value.push_str(&more.value);
    }
}

// === impl Named ===

impl<T> Named<T> {
    pub(super) fn get(&self, name: &str) -> Option<&T> {
        self.by_name.get(name).and_then(|index| self.items.get(*index))
    }

    fn get_mut(&mut self, name: &str) -> Option<&mut T> {
        self.by_name.get(name).and_then(|index| self.items.get_mut(*index))
    }

    fn put(&mut self, name: String, item: T) {
        match self.by_name.get(&name) {
            Some(&index) => self.items[index] = item,
            None => {
                self.by_name.insert(name, self.items.len());
                self.items.push(item);
            }
        }
    }
}

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self { items: Vec::new(), by_name: HashMap::new() }
    }
}
