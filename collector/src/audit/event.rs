//! One Kubernetes audit event, `audit.k8s.io/v1`, as it was sent. Pure.
//!
//! Everything is optional: policies leave stages out, older API servers use
//! other names for the time, and hand-made events lack most of it. What is
//! there must be of the type that the format says; anything else is malformed.

use std::borrow::Cow;

use chrono::{DateTime, NaiveDateTime, Utc};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::body::{Extract, extract};

const DECISION: &str = "authorization.k8s.io/decision";
const DECISION_REASON: &str = "authorization.k8s.io/reason";
const TRUNCATED: &str = "audit.k8s.io/truncated";
const SERVICE_ACCOUNT: &str = "system:serviceaccount:";
/// How many parts of a query string are looked at.
const MAX_QUERY_PARTS: usize = 1024;

/// Why text is not an audit event.
#[derive(Debug, thiserror::Error)]
pub(super) enum EventError {
    #[error("not JSON of an audit event: {0}")]
    Json(#[from] serde_json::Error),
    #[error("not JSON of an audit event: it is no object")]
    NotAnObject,
    #[error("field {field:?} is {found:?}; an event of audit.k8s.io has {expected:?}")]
    Kind { field: &'static str, found: String, expected: &'static str },
    #[error("none of the fields verb, requestURI, user, objectRef is there; this is no audit event")]
    Empty,
    #[error("field {field:?}: {found:?} is not a time as in RFC 3339")]
    Time { field: &'static str, found: String },
}

/// The event as JSON has it. Bodies stay text: they are stored as they came.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Event<'a> {
    kind: Option<String>,
    api_version: Option<String>,
    pub(super) level: Option<String>,
    #[serde(rename = "auditID")]
    pub(super) audit_id: Option<String>,
    pub(super) stage: Option<String>,
    #[serde(rename = "requestURI")]
    pub(super) request_uri: Option<String>,
    pub(super) verb: Option<String>,
    #[serde(borrow)]
    pub(super) user: Option<User<'a>>,
    #[serde(borrow)]
    pub(super) impersonated_user: Option<User<'a>>,
    #[serde(rename = "sourceIPs")]
    pub(super) source_ips: Option<Vec<String>>,
    pub(super) user_agent: Option<String>,
    pub(super) object_ref: Option<ObjectRef>,
    pub(super) response_status: Option<ResponseStatus>,
    #[serde(borrow)]
    pub(super) request_object: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) response_object: Option<&'a RawValue>,
    request_received_timestamp: Option<String>,
    stage_timestamp: Option<String>,
    /// `v1beta1` and before.
    timestamp: Option<String>,
    #[serde(borrow)]
    pub(super) annotations: Option<&'a RawValue>,
}

/// Who asked, or as whom.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct User<'a> {
    pub(super) username: Option<String>,
    pub(super) uid: Option<String>,
    pub(super) groups: Option<Vec<String>>,
    #[serde(borrow)]
    pub(super) extra: Option<&'a RawValue>,
}

/// What was asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ObjectRef {
    pub(super) resource: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    pub(super) uid: Option<String>,
    pub(super) api_group: Option<String>,
    pub(super) api_version: Option<String>,
    pub(super) subresource: Option<String>,
}

/// How it was answered.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ResponseStatus {
    pub(super) code: Option<i64>,
    pub(super) reason: Option<String>,
    pub(super) message: Option<String>,
}

/// What follows from an event's fields.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Derived {
    /// When the request was received, microseconds since 1970.
    pub(super) time_us: Option<i64>,
    pub(super) stage_time_us: Option<i64>,
    pub(super) sa_namespace: Option<String>,
    pub(super) sa_name: Option<String>,
    pub(super) decision: Option<String>,
    pub(super) decision_reason: Option<String>,
    pub(super) truncated: bool,
    pub(super) body: Extract,
    /// The request's body is nested deeper than is read, so that what rules need
    /// of it is not known. It may be meant to be so.
    pub(super) body_unread: bool,
}

// === impl Event ===

impl<'a> Event<'a> {
    /// Reads one event. Fields that are not of the format are ignored.
    pub(super) fn parse(json: &'a [u8]) -> Result<Self, EventError> {
        // An array would be taken for the fields in their order.
        if !json.trim_ascii_start().starts_with(b"{") {
            return Err(EventError::NotAnObject);
        }
        let event: Self = serde_json::from_slice(json)?;
        expect("kind", event.kind.as_deref(), "Event", |kind| kind == "Event")?;
        let ours = |version: &str| version.starts_with("audit.k8s.io/");
        expect("apiVersion", event.api_version.as_deref(), "audit.k8s.io/v1", ours)?;
        let says_something = event.verb.is_some()
            || event.request_uri.is_some()
            || event.user.is_some()
            || event.object_ref.is_some();
        if says_something { Ok(event) } else { Err(EventError::Empty) }
    }

    /// Derives what has columns of its own.
    pub(super) fn derive(&self) -> Result<Derived, EventError> {
        let received = time("requestReceivedTimestamp", self.request_received_timestamp.as_deref())?;
        let stage = time("stageTimestamp", self.stage_timestamp.as_deref())?;
        let older = time("timestamp", self.timestamp.as_deref())?;
        let account = self.user.as_ref().and_then(|user| service_account(user.username.as_deref()?));
        // What does not fit is stored as text all the same.
        let annotations: Map<String, Value> =
            self.annotations.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default();
        let annotation = |key: &str| annotations.get(key).and_then(Value::as_str).map(ToOwned::to_owned);
        let (body, body_unread) = self.bodies();
        Ok(Derived {
            time_us: received.or(older).or(stage),
            stage_time_us: stage,
            sa_namespace: account.map(|(namespace, _)| namespace.to_owned()),
            sa_name: account.map(|(_, name)| name.to_owned()),
            decision: annotation(DECISION),
            decision_reason: annotation(DECISION_REASON),
            truncated: annotation(TRUNCATED).is_some_and(|value| value == "true"),
            body,
            body_unread,
        })
    }

    /// What the request's body holds, and its query string for `exec`, `attach`
    /// and `log`; and whether there is a body that cannot be read.
    fn bodies(&self) -> (Extract, bool) {
        let object = self.object_ref.as_ref();
        let resource = object.and_then(|object| object.resource.as_deref()).unwrap_or_default();
        let subresource = object.and_then(|object| object.subresource.as_deref()).unwrap_or_default();
        let body = self.request_object.map(|body| serde_json::from_str::<Value>(body.get()));
        let unread = matches!(body, Some(Err(_)));
        let mut found = match body {
            Some(Ok(body)) => extract(resource, &body),
            _ => Extract::default(),
        };
        if matches!(subresource, "exec" | "attach" | "log") {
            let query =
                self.request_uri.as_deref().and_then(|uri| uri.split_once('?')).map(|(_, query)| query);
            let command = parameters(query.unwrap_or_default(), "command");
            if !command.is_empty() {
                found.command = command;
            }
            let container = parameters(query.unwrap_or_default(), "container").into_iter().next();
            found.container = container.or(found.container);
        } else {
            found.command.clear();
            found.container = None;
        }
        (found, unread)
    }
}

fn expect(
    field: &'static str,
    found: Option<&str>,
    expected: &'static str,
    fits: impl Fn(&str) -> bool,
) -> Result<(), EventError> {
    match found {
        Some(found) if !fits(found) => Err(EventError::Kind { field, found: cut(found), expected }),
        _ => Ok(()),
    }
}

/// RFC 3339, or as some log shippers write it: with a space and in UTC.
fn time(field: &'static str, text: Option<&str>) -> Result<Option<i64>, EventError> {
    let Some(text) = text else { return Ok(None) };
    let standard = DateTime::parse_from_rfc3339(text).map(|time| time.with_timezone(&Utc));
    let time = standard
        .or_else(|_| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").map(|time| time.and_utc()));
    match time {
        Ok(time) => Ok(Some(time.timestamp_micros())),
        Err(_) => Err(EventError::Time { field, found: cut(text) }),
    }
}

fn service_account(username: &str) -> Option<(&str, &str)> {
    let (namespace, name) = username.strip_prefix(SERVICE_ACCOUNT)?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}

/// All values of one parameter of a query string, decoded.
fn parameters(query: &str, name: &str) -> Vec<String> {
    let parts = query.split('&').take(MAX_QUERY_PARTS);
    let pairs = parts.map(|part| part.split_once('=').unwrap_or((part, "")));
    pairs
        .filter(|(key, _)| percent_decoded(key) == name)
        .map(|(_, value)| percent_decoded(value).into_owned())
        .collect()
}

/// `+` is a space and `%XX` a byte, as in a form. What is not a valid escape
/// stays as it is; bytes that are not UTF-8 are replaced.
fn percent_decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = after.first_chunk::<2>().filter(|_| first == b'%');
        let byte = escaped.and_then(|[high, low]| Some(hex_digit(*high)? << 4 | hex_digit(*low)?));
        rest = if byte.is_some() { after.get(2..).unwrap_or_default() } else { after };
        bytes.push(byte.unwrap_or(if first == b'+' { b' ' } else { first }));
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Quoted in messages, so short.
fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests;
