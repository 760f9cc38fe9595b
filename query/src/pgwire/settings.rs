//! `SET`, `SHOW` and `RESET`: settings of one connection, from a list of those that clients send.
//!
//! None of them reaches the engine's configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use super::failure::Failure;
use crate::functions;

/// The settings of a connection.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// Those that differ from [`functions::setting`], by name in lower case.
    changed: BTreeMap<String, String>,
    /// Those of the transaction alone.
    local: BTreeMap<String, String>,
    /// What the client wanted when it connected; `RESET` goes back to it.
    at_start: BTreeMap<String, String>,
    /// What a transaction that fails goes back to.
    before: Option<BTreeMap<String, String>>,
}

/// A setting and its value, and a note for the client.
type Checked = (Option<(String, String)>, Option<&'static str>);

/// What may be set.
enum Rule {
    /// Anything: it only matters to the client itself, or to writers.
    Free,
    /// One of these, whatever the case; the others are not built.
    OneOf(&'static [&'static str]),
    /// A time span: milliseconds, or a number with a unit.
    Span,
    /// Times are always shown in UTC, with their offset.
    Zone,
    /// A list that has one of these in it.
    Path,
}

/// Longest value that is kept.
const MAX_VALUE_BYTES: usize = 1_000;

/// Settings of its own that one connection may keep.
const MAX_CUSTOM: usize = 100;

/// Settings that PostgreSQL reports whenever they change, as it spells them.
pub(super) const REPORTED: &[&str] = &[
    "application_name",
    "client_encoding",
    "DateStyle",
    "default_transaction_read_only",
    "integer_datetimes",
    "IntervalStyle",
    "is_superuser",
    "search_path",
    "server_encoding",
    "server_version",
    "standard_conforming_strings",
    "TimeZone",
];

// === impl Settings ===

impl Settings {
    /// The value of a setting now.
    pub(super) fn show(&self, name: &str) -> Result<&str, Failure> {
        let name = spelled(name);
        if is_custom(&name) {
            return self.value(&name).ok_or_else(|| unknown(&name));
        }
        let started = functions::setting(&name).ok_or_else(|| unknown(&name))?;
        Ok(self.value(&name).unwrap_or(started))
    }

    /// All settings by name.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'static str, &str)> {
        functions::settings().map(|(name, started)| (name, self.value(name).unwrap_or(started)))
    }

    fn value(&self, name: &str) -> Option<&str> {
        self.local.get(name).or_else(|| self.changed.get(name)).map(String::as_str)
    }

    /// What is set by now is what the connection started with.
    pub(super) fn started(&mut self) {
        self.at_start.clone_from(&self.changed);
    }

    /// A transaction begins.
    pub(super) fn begin(&mut self) {
        self.before.get_or_insert_with(|| self.changed.clone());
    }

    /// A transaction ends; one that fails takes its settings with it.
    pub(super) fn end(&mut self, commits: bool) {
        self.local.clear();
        if let Some(before) = self.before.take()
            && !commits
        {
            self.changed = before;
        }
    }

    /// Sets one. The answer is a note for the client when the value will not
    /// have the effect that it may expect.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<Option<&'static str>, Failure> {
        let (changed, note) = self.checked(name, value)?;
        if let Some((name, value)) = changed {
            self.local.remove(&name);
            self.changed.insert(name, value);
        }
        Ok(note)
    }

    /// Sets one until the transaction ends.
    pub(super) fn set_local(&mut self, name: &str, value: &str) -> Result<Option<&'static str>, Failure> {
        let (changed, note) = self.checked(name, value)?;
        if self.before.is_none() {
            return Ok(Some("SET LOCAL can only be used in transaction blocks"));
        }
        self.local.extend(changed);
        Ok(note)
    }

    fn checked(&self, name: &str, value: &str) -> Result<Checked, Failure> {
        let name = spelled(name);
        if is_custom(&name) {
            return self.custom(name, value);
        }
        let Some((known, _)) = functions::settings().find(|(known, _)| *known == name) else {
            return Err(unknown(&name));
        };
        let rule = rule(known)
            .ok_or_else(|| Failure::new("55P02", format!("parameter {known:?} cannot be changed")))?;
        let value: String = value.to_owned();
        if value.len() > MAX_VALUE_BYTES || !rule.allows(&value) {
            let shown: String = value.chars().take(100).collect();
            let error = Failure::new("22023", format!("invalid value for parameter {known:?}: {shown:?}"));
            return Err(error.hint(rule.hint()));
        }
        match matches!(rule, Rule::Zone) && !is_utc(&value) {
            true => Ok((None, Some("times are shown in UTC, with their offset"))),
            false => Ok((Some((known.to_owned(), value)), None)),
        }
    }

    /// A setting of the client's own: it is kept, and nothing here reads it.
    fn custom(&self, name: String, value: &str) -> Result<Checked, Failure> {
        let shown: String = value.chars().take(100).collect();
        if value.len() > MAX_VALUE_BYTES {
            return Err(Failure::new("22023", format!("invalid value for parameter {name:?}: {shown:?}")));
        }
        let kept = self.changed.keys().chain(self.local.keys()).filter(|name| is_custom(name));
        if self.value(&name).is_none() && kept.count() >= MAX_CUSTOM {
            let message = format!("a connection keeps at most {MAX_CUSTOM} settings of its own");
            return Err(Failure::new("53400", message));
        }
        Ok((Some((name, value.to_owned())), None))
    }

    /// Back to the start, for one setting.
    pub(super) fn reset(&mut self, name: &str) -> Result<(), Failure> {
        let name = spelled(name);
        if !is_custom(&name) && functions::setting(&name).is_none() {
            return Err(unknown(&name));
        }
        self.local.remove(&name);
        match self.at_start.get(&name).cloned() {
            Some(value) => self.changed.insert(name, value),
            None => self.changed.remove(&name),
        };
        Ok(())
    }

    /// Back to the start, for all.
    pub(super) fn reset_all(&mut self) {
        self.local.clear();
        self.changed.clone_from(&self.at_start);
    }

    /// How long a statement may take, if the client limits it.
    pub(super) fn statement_timeout(&self) -> Option<Duration> {
        let value = self.value("statement_timeout")?;
        span(value).filter(|span| !span.is_zero())
    }
}

// === impl Rule ===

impl Rule {
    fn allows(&self, value: &str) -> bool {
        match self {
            Self::Free | Self::Zone => true,
            Self::OneOf(values) => values.iter().any(|known| known.eq_ignore_ascii_case(value)),
            Self::Span => span(value).is_some(),
            Self::Path => {
                let bare = |name: &str| name.trim().trim_matches(['"', '\'']).to_ascii_lowercase();
                value.is_empty()
                    || value.split(',').any(|name| ["public", "pg_catalog"].contains(&bare(name).as_str()))
            }
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Free | Self::Zone => format!("give it at most {MAX_VALUE_BYTES} bytes"),
            Self::OneOf(values) => format!("only {} is supported", values.join(", ")),
            Self::Span => "give it milliseconds, or a number with ms, s, min or h".to_owned(),
            Self::Path => "all tables are in schema public".to_owned(),
        }
    }
}

fn rule(name: &str) -> Option<Rule> {
    Some(match name {
        "application_name"
        | "extra_float_digits"
        | "jit"
        | "client_min_messages"
        | "row_security"
        | "xmloption" => Rule::Free,
        // How another server would plan, and what it would write.
        "backslash_quote"
        | "check_function_bodies"
        | "default_statistics_target"
        | "default_tablespace"
        | "effective_cache_size"
        | "enable_bitmapscan"
        | "enable_hashjoin"
        | "enable_indexscan"
        | "enable_mergejoin"
        | "enable_nestloop"
        | "enable_seqscan"
        | "escape_string_warning"
        | "from_collapse_limit"
        | "geqo"
        | "hash_mem_multiplier"
        | "join_collapse_limit"
        | "maintenance_work_mem"
        | "max_parallel_workers_per_gather"
        | "plan_cache_mode"
        | "random_page_cost"
        | "seq_page_cost"
        | "synchronous_commit"
        | "temp_buffers"
        | "temp_tablespaces"
        | "work_mem" => Rule::Free,
        "bytea_output" => Rule::OneOf(&["hex"]),
        "client_encoding" => Rule::OneOf(&["UTF8", "UTF-8", "unicode"]),
        "datestyle" => {
            Rule::OneOf(&["ISO", "ISO, MDY", "ISO, DMY", "ISO, YMD", "ISO,MDY", "ISO,DMY", "ISO,YMD"])
        }
        "intervalstyle" => Rule::OneOf(&["postgres"]),
        "standard_conforming_strings" => Rule::OneOf(&["on", "true", "yes", "1"]),
        // Every snapshot is one moment and nothing is ever written, so all of these hold.
        "default_transaction_read_only" | "transaction_read_only" => {
            Rule::OneOf(&["on", "true", "yes", "1", "off", "false", "no", "0"])
        }
        "default_transaction_isolation" | "transaction_isolation" => {
            Rule::OneOf(&["serializable", "repeatable read", "read committed", "read uncommitted"])
        }
        "statement_timeout"
        | "lock_timeout"
        | "idle_session_timeout"
        | "idle_in_transaction_session_timeout" => Rule::Span,
        "timezone" => Rule::Zone,
        "search_path" => Rule::Path,
        _ => return None,
    })
}

/// The name as the list has it, for the words that PostgreSQL has for some.
fn spelled(name: &str) -> String {
    let name: String = name.chars().take(100).collect::<String>().to_ascii_lowercase();
    match name.as_str() {
        "time zone" => "timezone".to_owned(),
        "names" => "client_encoding".to_owned(),
        "transaction isolation level" => "transaction_isolation".to_owned(),
        "session authorization" => "session_authorization".to_owned(),
        _ => name,
    }
}

/// Whether a name is of a client's own settings: in two parts, and not of the engine's.
fn is_custom(name: &str) -> bool {
    let word = |word: &str| {
        let mut letters = word.chars();
        letters.next().is_some_and(|first| first.is_alphabetic() || first == '_')
            && letters.all(|letter| letter.is_alphanumeric() || matches!(letter, '_' | '$'))
    };
    let mut words = name.split('.');
    name.contains('.') && words.all(word) && !name.starts_with("datafusion.")
}

fn is_utc(zone: &str) -> bool {
    ["utc", "etc/utc", "gmt", "z", "zulu", "0", "+00", "+00:00", "local", "default"]
        .contains(&zone.to_ascii_lowercase().as_str())
}

fn unknown(name: &str) -> Failure {
    Failure::new("42704", format!("unrecognized configuration parameter {name:?}"))
}

/// `1500`, `1500ms`, `5s`, `2min`, `1h`.
fn span(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().ok()?;
    let unit_ms = match unit.trim() {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    // PostgreSQL keeps it in 31 bits.
    let ms = number.checked_mul(unit_ms).filter(|ms| *ms <= 0x7fff_ffff)?;
    Some(Duration::from_millis(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_set_shown_and_reset() {
        let mut settings = Settings::default();
        assert_eq!(settings.show("SERVER_VERSION_NUM").unwrap(), "160006");
        assert!(settings.set("Statement_Timeout", "2s").unwrap().is_none());
        assert_eq!(settings.show("statement_timeout").unwrap(), "2s");
        assert_eq!(settings.statement_timeout(), Some(Duration::from_secs(2)));
        settings.reset("statement_timeout").unwrap();
        assert_eq!(settings.statement_timeout(), None);
    }

    #[test]
    fn a_client_may_have_settings_of_its_own() {
        let mut settings = Settings::default();
        assert!(settings.show("myapp.user").is_err());
        settings.set("MyApp.User", "olga").unwrap();
        settings.set("work_mem", "64MB").unwrap();
        assert_eq!(
            (settings.show("myapp.user").unwrap(), settings.show("work_mem").unwrap()),
            ("olga", "64MB")
        );
        settings.reset("myapp.user").unwrap();
        assert!(settings.show("myapp.user").is_err());
        for place in 0..MAX_CUSTOM {
            settings.set(&format!("myapp.a{place}"), "").unwrap();
        }
        for (name, value) in [
            ("myapp.more", ""),
            ("datafusion.catalog.x", "1"),
            ("a..b", "1"),
            ("myapp.a1", &"x".repeat(1_001)),
        ] {
            assert!(settings.set(name, value).is_err(), "{name}");
        }
    }

    #[test]
    fn a_transaction_takes_its_own_settings_with_it() {
        let mut settings = Settings::default();
        settings.set("application_name", "start").unwrap();
        settings.started();
        assert!(settings.set_local("statement_timeout", "1s").unwrap().is_some());
        assert_eq!(settings.statement_timeout(), None);
        settings.begin();
        assert!(settings.set_local("statement_timeout", "1s").unwrap().is_none());
        settings.set("application_name", "inside").unwrap();
        assert_eq!(settings.statement_timeout(), Some(Duration::from_secs(1)));
        settings.end(true);
        assert_eq!(
            (settings.statement_timeout(), settings.show("application_name").unwrap()),
            (None, "inside")
        );
        settings.begin();
        settings.set("application_name", "lost").unwrap();
        settings.end(false);
        assert_eq!(settings.show("application_name").unwrap(), "inside");
        settings.reset("application_name").unwrap();
        assert_eq!(settings.show("application_name").unwrap(), "start");
    }

    #[test]
    fn what_would_not_hold_is_refused_or_said() {
        let mut settings = Settings::default();
        for (name, value) in [
            ("client_encoding", "LATIN1"),
            ("datestyle", "German"),
            ("statement_timeout", "-1"),
            ("statement_timeout", "99999999999999999999s"),
            ("search_path", "secrets"),
            ("server_version", "9"),
            ("datafusion.execution.batch_size", "7"),
        ] {
            assert!(settings.set(name, value).is_err(), "{name} = {value}");
        }
        assert!(settings.set("TIME ZONE", "Europe/Berlin").unwrap().is_some());
        assert_eq!(settings.show("timezone").unwrap(), "UTC");
    }
}
