use super::*;
use crate::Code;
use proptest::prelude::*;

fn one(json: &str) -> Result<ScalarValue, QueryError> {
    param("$1", &serde_json::from_str(json).unwrap())
}

#[test]
fn a_value_has_the_type_of_its_json_or_the_one_it_names() {
    for (json, shown) in [
        ("1", "Int64(1)"),
        ("1.5", "Float64(1.5)"),
        ("18446744073709551615", "Float64(18446744073709552000)"),
        (r#""x""#, r#"Utf8("x")"#),
        ("true", "Boolean(true)"),
        ("null", "NULL"),
        (r#"{"type": "bigint", "value": "9007199254740993"}"#, "Int64(9007199254740993)"),
        (r#"{"type": "INT4", "value": 7}"#, "Int32(7)"),
        (r#"{"type": "smallint", "value": null}"#, "Int16(NULL)"),
        (r#"{"type": "boolean", "value": "true"}"#, "Boolean(true)"),
        (r#"{"type": "numeric", "value": "1.250"}"#, "Decimal128(1.250,38,3)"),
        (r#"{"type": "date", "value": "2026-11-24"}"#, r#"Date32("2026-11-24")"#),
        (
            r#"{"type": "timestamptz", "value": "2026-11-24T12:00:00+01:00"}"#,
            r#"TimestampMicrosecond(1795518000000000, Some("UTC"))"#,
        ),
        (
            r#"{"type": "timestamp", "value": "2026-11-24 12:00:00"}"#,
            "TimestampMicrosecond(1795521600000000, None)",
        ),
        (r#"{"type": "text", "value": 5}"#, r#"Utf8("5")"#),
        (
            r#"{"type": "interval", "value": "1 month 2 days 3hours"}"#,
            r#"IntervalMonthDayNano("IntervalMonthDayNano { months: 1, days: 2, nanoseconds: 10800000000000 }")"#,
        ),
        (r#"{"type": "bytea", "value": "\\x00Ff"}"#, r#"Binary("0,255")"#),
        (r#"{"type": "bytea", "value": null}"#, "Binary(NULL)"),
        (r#"{"type": "bigint[]", "value": [1, null, "3"]}"#, "List([1, , 3])"),
        (r#"{"type": "text[]", "value": []}"#, "List([])"),
    ] {
        assert_eq!(format!("{:?}", one(json).unwrap()), shown, "{json}");
    }
    let none = one(r#"{"type": "text[]", "value": null}"#).unwrap();
    assert!(none.is_null() && matches!(none.data_type(), DataType::List(_)));
}

#[test]
fn what_is_no_value_is_refused_with_the_parameters_name() {
    for json in [
        "[1]",
        "{}",
        r#"{"value": 1}"#,
        r#"{"type": "bigint"}"#,
        r#"{"type": "bigint", "value": 1, "more": 2}"#,
        r#"{"type": "bigint", "value": "x"}"#,
        r#"{"type": "smallint", "value": 70000}"#,
        r#"{"type": "bigint", "value": [1]}"#,
        r#"{"type": "bigint", "value": {"a": 1}}"#,
        r#"{"type": "bigint[]", "value": 1}"#,
        r#"{"type": "bigint[]", "value": [[1]]}"#,
        r#"{"type": "bigint[][]", "value": [1]}"#,
        r#"{"type": "map", "value": 1}"#,
        r#"{"type": "date", "value": "yesterday"}"#,
        r#"{"type": "interval", "value": "a while"}"#,
        r#"{"type": "interval", "value": 5}"#,
        r#"{"type": "interval", "value": "1 day 5"}"#,
        r#"{"type": "interval", "value": "5 2 hours"}"#,
        r#"{"type": "interval", "value": "03:00:00"}"#,
        r#"{"type": "bytea", "value": "00ff"}"#,
        r#"{"type": "bytea", "value": "\\x0"}"#,
        r#"{"type": "numeric", "value": "0.0000000000000000000000000000000000000000000000001"}"#,
        r#"{"type": "numeric", "value": "1e400"}"#,
    ] {
        let error = one(json).unwrap_err();
        assert_eq!(error.code(), Code::BadRequest, "{json}");
        assert!(error.to_string().contains("parameter $1"), "{json}: {error}");
    }
    let many: Vec<Value> = vec![Value::Null; MAX_PARAMS + 1];
    assert!(JsonParams::Numbered(many).read().is_err());
}

/// Any JSON, as deep as it likes.
fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "[-+0-9.eE:TZ ]{0,30}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let kind = prop_oneof![
            Just("bigint".to_owned()),
            Just("numeric".to_owned()),
            Just("timestamptz".to_owned()),
            Just("date".to_owned()),
            Just("time".to_owned()),
            Just("bigint[]".to_owned()),
            Just("numeric[]".to_owned()),
            Just("text[]".to_owned()),
            ".{0,10}",
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            (kind, inner.clone())
                .prop_map(|(kind, value)| serde_json::json!({ "type": kind, "value": value })),
            prop::collection::hash_map(".{0,6}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Goal: no JSON breaks the decoder. Whatever it refuses it refuses as the client's fault.
    #[test]
    fn no_json_breaks_it(value in json()) {
        if let Ok(params) = serde_json::from_value::<JsonParams>(value)
            && let Err(error) = params.read()
        {
            prop_assert_eq!(error.code(), Code::BadRequest, "{}", error);
        }
    }

    /// Goal: what is written as text of its type comes back as it was.
    #[test]
    fn whole_numbers_keep_every_digit(number: i64, as_text: bool) {
        let value = if as_text { Value::from(number.to_string()) } else { Value::from(number) };
        let typed = serde_json::json!({ "type": "bigint", "value": value });
        prop_assert_eq!(param("$1", &typed).unwrap(), ScalarValue::Int64(Some(number)));
    }
}

#[test]
fn values_that_nothing_asks_for_are_refused() {
    for (sql, most) in [
        ("SELECT 1", 0),
        ("SELECT $1", 1),
        ("SELECT $3, $1", 3),
        ("SELECT '$1', \"$2\", $$ $3 $$ -- $4\n/* $5 */", 0),
        ("SELECT $since", 0),
    ] {
        for count in 0..5 {
            let fits = JsonParams::Numbered(vec![Value::Null; count]).fit(sql);
            assert_eq!(fits.is_ok(), count <= most, "{sql} {count}");
        }
    }
    let error = JsonParams::Numbered(vec![Value::Null; 2]).fit("SELECT $1").unwrap_err();
    assert_eq!(error.to_string(), "field params: there are 2 values, and the statement has no parameter $2");
    assert!(JsonParams::Numbered(vec![Value::Null]).fit("SELECT 'unended").is_ok(), "the engine says it");
}
