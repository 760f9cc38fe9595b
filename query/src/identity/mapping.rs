//! From what is known of somebody to a role and tenants; who fits no rule gets nothing.
//!
//! ```toml
//! [[query.oidc.map]]
//! groups = ["sec-*"]            # every condition that is there must hold, each by one of its patterns
//! role = "auditor"
//!
//! [[query.oidc.map]]
//! groups = ["bailiwick-*"]      # `{}` in tenants is what the `*` stood for
//! tenants = ["{}"]
//! ```
//!
//! All rules that fit count together.

use std::collections::BTreeMap;

use bailiwick_proto::TenantId;
use serde::Deserialize;

use crate::principal::Rights;
use crate::{QueryError, Role};

/// In a tenant's name: what the `*` stood for.
const CAPTURED: &str = "{}";
/// More values of one kind are not looked at: no honest token has them.
const MAX_VALUES: usize = 1_000;

/// One rule, as the configuration has it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MappingRule {
    /// Names of principals, without the prefix.
    pub names: Vec<String>,
    /// Groups.
    pub groups: Vec<String>,
    /// Kubernetes namespaces of service accounts.
    pub namespaces: Vec<String>,
    /// URIs in a certificate, e.g. SPIFFE ids.
    pub uris: Vec<String>,
    /// DNS names in a certificate.
    pub dns: Vec<String>,
    /// A certificate's common name.
    pub common_names: Vec<String>,
    /// Values of other claims of a token; `realm_access.roles` looks inside.
    pub claims: BTreeMap<String, Vec<String>>,
    /// What who fits may do.
    pub role: Role,
    /// Whose rows who fits sees if the role is `tenant`.
    pub tenants: Vec<String>,
}

/// What is known of somebody, by kind.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    values: BTreeMap<String, Vec<String>>,
}

/// Rules, checked.
#[derive(Debug, Default)]
pub(crate) struct Mapping {
    rules: Vec<Rule>,
}

#[derive(Debug)]
struct Rule {
    /// Kind of fact and what it may look like.
    conditions: Vec<(String, Vec<Pattern>)>,
    role: Role,
    tenants: Vec<String>,
}

/// A text in which one `*` stands for one character or more.
#[derive(Debug)]
struct Pattern {
    before: String,
    /// What follows the `*`, if there is one.
    after: Option<String>,
}

// === impl Facts ===

impl Facts {
    pub(crate) fn add(&mut self, kind: impl Into<String>, values: impl IntoIterator<Item = String>) {
        self.values.entry(kind.into()).or_default().extend(values.into_iter().take(MAX_VALUES));
    }

    fn of(&self, kind: &str) -> &[String] {
        self.values.get(kind).map(Vec::as_slice).unwrap_or_default()
    }
}

// === impl Mapping ===

impl Mapping {
    /// Checks rules; `field` names the list in messages, `kinds` what its rules may ask for.
    pub(crate) fn new(field: &str, rules: &[MappingRule], kinds: &[&str]) -> Result<Self, QueryError> {
        let rule = |(index, rule): (usize, &MappingRule)| {
            Rule::new(rule, kinds)
                .map_err(|reason| QueryError::config(format!("{field}, entry {}: {reason}", index + 1)))
        };
        Ok(Self { rules: rules.iter().enumerate().map(rule).collect::<Result<_, _>>()? })
    }

    /// The claims that rules ask for beside the usual ones.
    pub(crate) fn claims(&self) -> impl Iterator<Item = &str> {
        let kinds = self.rules.iter().flat_map(|rule| &rule.conditions);
        kinds.filter_map(|(kind, _)| kind.strip_prefix(CLAIM))
    }

    /// What all rules that fit give together.
    pub(crate) fn rights(&self, facts: &Facts) -> Rights {
        let none = Rights::new(Role::Tenant, []);
        self.rules.iter().filter_map(|rule| rule.rights(facts)).fold(none, |sum, rights| sum.and(&rights))
    }
}

/// Before the name of a claim, in kinds of facts.
pub(crate) const CLAIM: &str = "claims.";

// === impl Rule ===

impl Rule {
    fn new(raw: &MappingRule, kinds: &[&str]) -> Result<Self, String> {
        let fixed = [
            ("names", &raw.names),
            ("groups", &raw.groups),
            ("namespaces", &raw.namespaces),
            ("uris", &raw.uris),
            ("dns", &raw.dns),
            ("common_names", &raw.common_names),
        ];
        let fixed = fixed.into_iter().map(|(kind, patterns)| (kind.to_owned(), patterns));
        let claims = raw.claims.iter().map(|(claim, patterns)| (format!("{CLAIM}{claim}"), patterns));
        let mut conditions = Vec::new();
        for (kind, patterns) in fixed.chain(claims).filter(|(_, patterns)| !patterns.is_empty()) {
            let root = kind.split_once('.').map_or(kind.as_str(), |(root, _)| root);
            if !kinds.contains(&root) {
                return Err(format!("field {root}: it says nothing here; use {}", kinds.join(", ")));
            }
            let patterns = patterns.iter().map(|pattern| Pattern::new(&kind, pattern));
            let patterns = patterns.collect::<Result<Vec<_>, _>>()?;
            conditions.push((kind, patterns));
        }
        let rule = Self { conditions, role: raw.role, tenants: raw.tenants.clone() };
        rule.check(kinds).map(|()| rule)
    }

    fn check(&self, kinds: &[&str]) -> Result<(), String> {
        if self.conditions.is_empty() {
            return Err(format!("it would fit everybody; give it one of {}", kinds.join(", ")));
        }
        if self.role != Role::Tenant && !self.tenants.is_empty() {
            return Err("field tenants: auditors and admins see every tenant: name none".to_owned());
        }
        if self.role == Role::Tenant && self.tenants.is_empty() {
            return Err("field tenants: name at least one, or what the `*` stands for as \"{}\"".to_owned());
        }
        for tenant in self.tenants.iter().filter(|tenant| !tenant.contains(CAPTURED)) {
            tenant.parse::<TenantId>().map_err(|error| format!("field tenants: {error}"))?;
        }
        let with_star = |(_, patterns): &&(String, Vec<Pattern>)| patterns.iter().any(|p| p.after.is_some());
        let captures = self.tenants.iter().any(|tenant| tenant.contains(CAPTURED));
        if captures && self.conditions.iter().filter(with_star).count() != 1 {
            return Err(
                "field tenants: for \"{}\" exactly one condition must have patterns with a `*`".to_owned()
            );
        }
        Ok(())
    }

    /// What it gives, if every condition holds.
    fn rights(&self, facts: &Facts) -> Option<Rights> {
        let mut captured = Vec::new();
        for (kind, patterns) in &self.conditions {
            let values = facts.of(kind);
            let matches =
                values.iter().flat_map(|value| patterns.iter().filter_map(move |p| p.matches(value)));
            let matches: Vec<&str> = matches.collect();
            if matches.is_empty() {
                return None;
            }
            captured.extend(matches.into_iter().filter(|captured| !captured.is_empty()));
        }
        let tenants = self.tenants.iter().flat_map(|tenant| named(tenant, &captured));
        Some(Rights::new(self.role, tenants))
    }
}

/// The tenants that a name with what was captured stands for. What cannot be a
/// tenant's name, or is a reserved one, is nobody's.
fn named(tenant: &str, captured: &[&str]) -> Vec<TenantId> {
    if !tenant.contains(CAPTURED) {
        return tenant.parse().ok().into_iter().collect();
    }
    let filled = captured.iter().map(|part| tenant.replace(CAPTURED, part));
    filled.filter_map(|name| TenantId::configured(&name).ok()).collect()
}

// === impl Pattern ===

impl Pattern {
    fn new(kind: &str, text: &str) -> Result<Self, String> {
        match text.split_once('*') {
            _ if text.is_empty() => Err(format!("field {kind}: a pattern is empty")),
            Some((_, after)) if after.contains('*') => {
                Err(format!("field {kind}: {text:?} has more than one `*`"))
            }
            Some((before, after)) => Ok(Self { before: before.to_owned(), after: Some(after.to_owned()) }),
            None => Ok(Self { before: text.to_owned(), after: None }),
        }
    }

    /// What the `*` stands for, empty where there is none; `None` if it does not match.
    fn matches<'a>(&self, value: &'a str) -> Option<&'a str> {
        match &self.after {
            None => (self.before == value).then_some(""),
            Some(after) => {
                let captured = value.strip_prefix(&*self.before)?.strip_suffix(&**after)?;
                (!captured.is_empty()).then_some(captured)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Scope;

    const KINDS: [&str; 3] = ["names", "groups", "claims"];

    fn rule(text: &str) -> MappingRule {
        serde_json::from_str(text).unwrap()
    }

    fn facts(pairs: &[(&str, &str)]) -> Facts {
        let mut facts = Facts::default();
        pairs.iter().for_each(|(kind, value)| facts.add(*kind, [(*value).to_owned()]));
        facts
    }

    fn given(rules: &[&str], pairs: &[(&str, &str)]) -> Rights {
        let rules: Vec<MappingRule> = rules.iter().map(|text| rule(text)).collect();
        Mapping::new("map", &rules, &KINDS).unwrap().rights(&facts(pairs))
    }

    #[test]
    fn who_fits_no_rule_gets_nothing_and_who_fits_several_gets_all() {
        let rules = [
            r#"{"groups": ["acme-dev", "acme-ops"], "tenants": ["acme"]}"#,
            r#"{"groups": ["bw-*"], "names": ["ann"], "tenants": ["{}", "shared"]}"#,
            r#"{"claims": {"realm_access.roles": ["sec-*"]}, "role": "auditor"}"#,
        ];
        assert!(given(&rules, &[]).are_none());
        assert!(given(&rules, &[("groups", "acme"), ("groups", "acme-dev2"), ("names", "ann")]).are_none());
        assert!(given(&rules, &[("groups", "bw-globex"), ("names", "bob")]).are_none(), "half a rule");
        let both = given(&rules, &[("groups", "bw-globex"), ("names", "ann"), ("groups", "acme-ops")]);
        assert_eq!(
            (both.role, both.scope.names().join(" ")),
            (Role::Tenant, "acme globex shared".to_owned())
        );
        let all = given(&rules, &[("claims.realm_access.roles", "sec-on-call")]);
        assert_eq!((all.role, all.scope), (Role::Auditor, Scope::All));
    }

    #[test]
    fn what_a_star_stands_for_cannot_be_bent_into_another_tenant() {
        let rules = [r#"{"groups": ["bw-*"], "tenants": ["{}"]}"#];
        for hostile in [
            "bw-",
            "bw-_host",
            "bw-_cluster",
            "bw-../acme",
            "bw-a/b",
            "bw-ACME ",
            "xbw-acme",
            "bw-*",
            "bw-{}",
        ] {
            assert!(given(&rules, &[("groups", hostile)]).are_none(), "{hostile}");
        }
        assert_eq!(given(&rules, &[("groups", "bw-acme")]).scope.names(), ["acme"]);
        let affixed = [r#"{"groups": ["bw-*-read"], "tenants": ["t-{}"]}"#];
        assert_eq!(given(&affixed, &[("groups", "bw-acme-read")]).scope.names(), ["t-acme"]);
        assert!(given(&affixed, &[("groups", "bw--read")]).are_none());
    }

    #[test]
    fn a_rule_that_would_fit_everybody_or_nobody_is_refused_by_field() {
        for (text, part) in [
            (r#"{"role": "auditor"}"#, "everybody"),
            (r#"{"groups": ["a"]}"#, "field tenants"),
            (r#"{"groups": ["a"], "tenants": ["a/b"]}"#, "field tenants"),
            (r#"{"groups": ["a"], "tenants": ["acme"], "role": "admin"}"#, "field tenants"),
            (r#"{"groups": ["a*b*"], "tenants": ["acme"]}"#, "more than one"),
            (r#"{"groups": [""], "tenants": ["acme"]}"#, "empty"),
            (r#"{"groups": ["a"], "tenants": ["{}"]}"#, "exactly one condition"),
            (r#"{"groups": ["a*"], "names": ["b*"], "tenants": ["{}"]}"#, "exactly one condition"),
            (r#"{"uris": ["spiffe://x/*"], "tenants": ["{}"]}"#, "field uris"),
        ] {
            let error = Mapping::new("query.oidc.map", &[rule(text)], &KINDS).unwrap_err().to_string();
            assert!(error.starts_with("query.oidc.map, entry 1") && error.contains(part), "{text}: {error}");
        }
        assert!(serde_json::from_str::<MappingRule>(r#"{"group": ["a"]}"#).is_err(), "a slip of the pen");
    }
}
