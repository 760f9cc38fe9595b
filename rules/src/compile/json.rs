//! Values out of JSON bodies, and two small decodings.

use serde_json::Value;

use crate::fields::{JsonForm, JsonPath, Step};

/// What a null in a body is as text.
const NULL: &str = "null";

/// The values at a path of a JSON text; none when the text is not JSON.
pub(super) fn values(text: &str, path: &JsonPath) -> Vec<String> {
    let Ok(value) = serde_json::from_str::<Value>(text) else { return Vec::new() };
    let mut found = Vec::new();
    walk(&value, &value, &path.steps, path.form, &mut found);
    found
}

/// Whether some value at the path is `true`; `None` without the list that it goes through.
pub(super) fn any_true(text: &str, path: &JsonPath) -> Option<String> {
    let list = path.steps.iter().position(|step| *step == Step::Each)?;
    let exists = JsonPath { steps: path.steps.get(..list)?.to_vec(), ..path.clone() };
    let is_there = values(text, &exists).iter().any(|value| value != NULL);
    is_there.then(|| values(text, path).iter().any(|value| value == "true").to_string())
}

/// Whether a value at the path is this one, or begins with what stands before
/// a `*` at its end; `None` without the list that the path goes through.
pub(super) fn has(text: &str, path: &JsonPath, wanted: &str) -> Option<String> {
    let list = path.steps.iter().position(|step| *step == Step::Each)?;
    let exists = JsonPath { steps: path.steps.get(..list)?.to_vec(), ..path.clone() };
    let is_there = values(text, &exists).iter().any(|value| value != NULL);
    let prefix = wanted.strip_suffix('*');
    let fits = |value: &String| value == wanted || prefix.is_some_and(|prefix| value.starts_with(prefix));
    is_there.then(|| values(text, path).iter().any(fits).to_string())
}

fn walk(root: &Value, value: &Value, steps: &[Step], form: JsonForm, found: &mut Vec<String>) {
    let Some((step, rest)) = steps.split_first() else {
        return shaped(root, value, form, found);
    };
    match (step, value) {
        (Step::Each, Value::Array(items)) => {
            items.iter().for_each(|item| walk(root, item, rest, form, found));
        }
        (Step::Key(key), Value::Object(object)) => {
            object.get(key).into_iter().for_each(|inner| walk(root, inner, rest, form, found));
        }
        (Step::Key(key), Value::Array(items)) => {
            let item = key.parse::<usize>().ok().and_then(|index| items.get(index));
            item.into_iter().for_each(|inner| walk(root, inner, rest, form, found));
        }
        _ => {}
    }
}

fn shaped(root: &Value, value: &Value, form: JsonForm, found: &mut Vec<String>) {
    match form {
        // A null that is written is a value, as in Falco.
        JsonForm::AsIs => found.push(printed(value).unwrap_or_else(|| NULL.to_owned())),
        JsonForm::Repository => {
            let repository = |text: String| text.split([':', '@']).next().unwrap_or_default().to_owned();
            found.extend(printed(value).map(repository));
        }
        JsonForm::Port => {
            let port = value.get("hostPort").or_else(|| value.get("containerPort"));
            found.extend(port.and_then(printed));
        }
        JsonForm::Keys => {
            let keys = value.as_object().into_iter().flatten().map(|(key, _)| key);
            found.extend(keys.filter(|key| *key != "name").cloned());
        }
        JsonForm::Effective(key) => {
            let own = value.pointer(&format!("/securityContext/{key}")).and_then(printed);
            let pod = || root.pointer(&format!("/spec/securityContext/{key}")).and_then(printed);
            found.push(own.or_else(pod).unwrap_or_else(|| "0".to_owned()));
        }
    }
}

fn printed(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// The first value of a query parameter, decoded.
pub(super) fn uri_param(uri: &str, wanted: &str) -> Option<String> {
    let query = uri.split_once('?')?.1;
    let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs
        .map(|(name, value)| (percent(name), value))
        .find(|(name, _)| name == wanted)
        .map(|(_, value)| percent(value))
}

fn percent(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let code = bytes
            .get(at + 1..at + 3)
            .filter(|_| byte == b'%')
            .and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(decoded) => {
                out.push(decoded);
                at += 3;
            }
            None => {
                out.push(if byte == b'+' { b' ' } else { byte });
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Base 64 decoded; `None` when it is not base 64 of a text.
pub(super) fn base64(text: &str) -> Option<String> {
    let text = text.trim_end_matches('=');
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0_u32, 0);
    for c in text.bytes() {
        let value = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodings() {
        assert_eq!(base64("aGVsbG8="), Some("hello".to_owned()));
        assert_eq!(base64("a!"), None);
        assert_eq!(uri_param("/a?x=1&command=ls%20-l", "command"), Some("ls -l".to_owned()));
        assert_eq!(uri_param("/a?x=1", "command"), None);
    }
}
