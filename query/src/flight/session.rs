//! Session options: there is one catalog and one schema, and nothing to remember.
//!
//! The messages are those of Flight.proto; `arrow-flight` does not have them yet.

use std::collections::HashMap;

use prost::Message;

use crate::catalog::{CATALOG, SCHEMA};

pub(super) const CLOSE: &str = "CloseSession";
pub(super) const GET: &str = "GetSessionOptions";
pub(super) const SET: &str = "SetSessionOptions";

/// `CloseSessionResult.Status.CLOSED`
const CLOSED: i32 = 1;
/// `SetSessionOptionsResult.ErrorValue`
const INVALID_NAME: i32 = 1;
const INVALID_VALUE: i32 = 2;

#[derive(Clone, PartialEq, Message)]
struct CloseSessionResult {
    #[prost(int32, tag = "1")]
    status: i32,
}

#[derive(Clone, PartialEq, Message)]
struct GetSessionOptionsResult {
    #[prost(map = "string, message", tag = "1")]
    session_options: HashMap<String, SessionOptionValue>,
}

#[derive(Clone, PartialEq, Message)]
struct SetSessionOptionsRequest {
    #[prost(map = "string, message", tag = "1")]
    session_options: HashMap<String, SessionOptionValue>,
}

#[derive(Clone, PartialEq, Message)]
struct SetSessionOptionsResult {
    #[prost(map = "string, message", tag = "1")]
    errors: HashMap<String, SetError>,
}

#[derive(Clone, PartialEq, Message)]
struct SetError {
    #[prost(int32, tag = "1")]
    value: i32,
}

/// Only text is of interest; other kinds are read as no value.
#[derive(Clone, PartialEq, Message)]
struct SessionOptionValue {
    #[prost(string, optional, tag = "1")]
    string_value: Option<String>,
}

/// The one value that an option can have.
fn fixed(name: &str) -> Option<&'static str> {
    match name {
        "catalog" => Some(CATALOG),
        "schema" => Some(SCHEMA),
        _ => None,
    }
}

pub(super) fn close() -> Vec<u8> {
    CloseSessionResult { status: CLOSED }.encode_to_vec()
}

pub(super) fn get() -> Vec<u8> {
    let option = |name: &str| {
        let string_value = fixed(name).map(str::to_owned);
        (name.to_owned(), SessionOptionValue { string_value })
    };
    GetSessionOptionsResult { session_options: ["catalog", "schema"].map(option).into() }.encode_to_vec()
}

/// Accepts what is so already, and says of everything else what is wrong with
/// it; `None` if the request cannot be read.
pub(super) fn set(body: &[u8]) -> Option<Vec<u8>> {
    let request = SetSessionOptionsRequest::decode(body).ok()?;
    let wrong = |(name, value): (String, SessionOptionValue)| match fixed(&name) {
        Some(fixed) if value.string_value.as_deref() == Some(fixed) => None,
        Some(_) => Some((name, SetError { value: INVALID_VALUE })),
        None => Some((name, SetError { value: INVALID_NAME })),
    };
    let errors = request.session_options.into_iter().filter_map(wrong).collect();
    Some(SetSessionOptionsResult { errors }.encode_to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_what_is_so_already_can_be_set() {
        let option = |name: &str, value: &str| {
            (name.to_owned(), SessionOptionValue { string_value: Some(value.to_owned()) })
        };
        let request = SetSessionOptionsRequest {
            session_options: [
                option("catalog", "bailiwick"),
                option("schema", "other"),
                option("role", "admin"),
            ]
            .into(),
        };
        let answer = set(&request.encode_to_vec()).unwrap();
        let errors = SetSessionOptionsResult::decode(&answer[..]).unwrap().errors;
        let expected = [("schema".to_owned(), INVALID_VALUE), ("role".to_owned(), INVALID_NAME)];
        assert_eq!(
            errors.into_iter().map(|(name, error)| (name, error.value)).collect::<HashMap<_, _>>(),
            expected.into()
        );
        let options = GetSessionOptionsResult::decode(&get()[..]).unwrap().session_options;
        assert_eq!(options["catalog"].string_value.as_deref(), Some("bailiwick"));
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = set(&bytes);
        }
    }
}
