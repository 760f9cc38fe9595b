//! `format`, `like_escape`, `json_extract_path` and their like: texts that are made of texts.

use std::fmt::Write;

use datafusion::arrow::array::{Array, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::cast::as_string_array;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::json;

/// A function of texts.
#[derive(Debug, PartialEq, Eq, Hash)]
struct OfTexts {
    name: &'static str,
    signature: Signature,
    work: Work,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Work {
    /// `format('%I.%I', schema, name)`.
    Format,
    /// A pattern of `LIKE` with another escape, in that of the engine.
    LikeEscape,
    /// `set_config(name, value, is_local)`.
    SetConfig,
    /// `json_extract_path(document, key, …)`.
    JsonPath,
    /// The same as text, which `->>` is.
    JsonPathText,
    /// The regular expression of a pattern of `SIMILAR TO`, with its escape if there is one.
    SimilarTo,
}

/// Settings that change nothing here, so that a function may say that it has set them.
const WITHOUT_EFFECT: [&str; 7] = [
    "application_name",
    "client_min_messages",
    "extra_float_digits",
    "jit",
    "row_security",
    "search_path",
    "xmloption",
];

/// Longest text that one call makes; a width or a repetition cannot be asked for.
const MOST_BYTES: usize = 1 << 20;

/// Every such function.
pub(super) fn functions() -> Vec<ScalarUDF> {
    [Work::Format, Work::LikeEscape, Work::SetConfig, Work::JsonPath, Work::JsonPathText, Work::SimilarTo]
        .map(function)
        .into()
}

/// The function that does this.
pub(super) fn function(work: Work) -> ScalarUDF {
    let signature = Signature::variadic_any(Volatility::Stable);
    ScalarUDF::new_from_impl(OfTexts { name: work.name(), signature, work })
}

// === impl OfTexts ===

impl ScalarUDFImpl for OfTexts {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = super::rows(&arguments.args);
        let texts =
            |argument: &ColumnarValue| cast(&argument.to_array(rows)?, &DataType::Utf8).map_err(Into::into);
        let arrays = arguments.args.iter().map(texts).collect::<Result<Vec<_>>>()?;
        let columns = arrays.iter().map(|array| as_string_array(array)).collect::<Result<Vec<_>>>()?;
        let made = (0..rows).map(|row| {
            let cells: Vec<Option<&str>> =
                columns.iter().map(|column| column.is_valid(row).then(|| column.value(row))).collect();
            self.work.make(&cells)
        });
        let made = made.collect::<Result<StringArray>>()?;
        super::answer(&arguments.args, made)
    }
}

// === impl Work ===

impl Work {
    fn name(self) -> &'static str {
        match self {
            Self::Format => "format",
            Self::LikeEscape => "like_escape",
            Self::SetConfig => "set_config",
            Self::JsonPath => "json_extract_path",
            Self::JsonPathText => "json_extract_path_text",
            Self::SimilarTo => "similar_to_escape",
        }
    }

    fn make(self, cells: &[Option<&str>]) -> Result<Option<String>> {
        match (self, cells) {
            (Self::Format, [Some(template), values @ ..]) => formatted(template, values).map(Some),
            (Self::LikeEscape, [Some(pattern), Some(escape)]) => Ok(Some(escaped(pattern, escape))),
            (Self::SetConfig, [Some(name), Some(value), ..]) => set(name, value).map(Some),
            (Self::JsonPath, [Some(document), path @ ..]) => Ok(json::at_path(document, path, false)),
            (Self::JsonPathText, [Some(document), path @ ..]) => Ok(json::at_path(document, path, true)),
            (Self::SimilarTo, [Some(pattern)]) => similar(pattern, Some('\\')).map(Some),
            (Self::SimilarTo, [Some(pattern), Some(escape)]) => {
                similar(pattern, escape.chars().next()).map(Some)
            }
            (_, [_, ..]) => Ok(None),
            _ => Err(DataFusionError::Plan("a function of texts without any".to_owned())),
        }
    }
}

/// `%s`, `%I`, `%L` and `%%`, each with the next value.
fn formatted(template: &str, values: &[Option<&str>]) -> Result<String> {
    let (mut text, mut values) = (String::new(), values.iter());
    let mut letters = template.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        let kind = letters.next();
        if kind == Some('%') {
            text.push('%');
            continue;
        }
        let too_few = || DataFusionError::Execution("too few arguments for format()".to_owned());
        let value = *values.next().ok_or_else(too_few)?;
        match kind {
            Some('s') => text.push_str(value.unwrap_or_default()),
            Some('I') => text.push_str(&identifier(value.unwrap_or_default())),
            Some('L') => match value {
                Some(value) => text.push_str(&super::names::literal(value)),
                None => text.push_str("NULL"),
            },
            _ => return Err(DataFusionError::Execution("format() knows %s, %I, %L and %%".to_owned())),
        }
        if text.len() > MOST_BYTES {
            return Err(DataFusionError::Execution(format!("format() makes at most {MOST_BYTES} bytes")));
        }
    }
    Ok(text)
}

/// A name in quotes if it needs them.
fn identifier(name: &str) -> String {
    let plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    let starts = name.starts_with(|letter: char| letter.is_ascii_lowercase() || letter == '_');
    match starts && name.chars().all(plain) {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

/// The pattern with a backslash as its escape; without an escape nothing is special but `%` and `_`.
fn escaped(pattern: &str, escape: &str) -> String {
    let escape = escape.chars().next();
    let (mut text, mut letters) = (String::with_capacity(pattern.len()), pattern.chars());
    while let Some(letter) = letters.next() {
        if Some(letter) == escape {
            // What follows stands for itself.
            if let Some(next) = letters.next() {
                if matches!(next, '%' | '_' | '\\') {
                    text.push('\\');
                }
                text.push(next);
            }
        } else if letter == '\\' {
            text.push_str("\\\\");
        } else {
            let _ = text.write_char(letter);
        }
    }
    text
}

/// The regular expression of a pattern of `SIMILAR TO`: it is about the whole text, `%` and `_`
/// are those of `LIKE`, and signs that only expressions have stand for themselves.
fn similar(pattern: &str, escape: Option<char>) -> Result<String> {
    let (mut text, mut letters) = (String::from("(?s)^(?:"), pattern.chars());
    let mut in_class = false;
    while let Some(letter) = letters.next() {
        if Some(letter) == escape {
            let unended = || DataFusionError::Execution("a pattern ends with its escape".to_owned());
            let letter = letters.next().ok_or_else(unended)?;
            if !letter.is_alphanumeric() && letter.is_ascii() {
                text.push('\\');
            }
            text.push(letter);
            continue;
        }
        match letter {
            ']' if in_class => in_class = false,
            '[' if !in_class => in_class = true,
            '%' if !in_class => {
                text.push_str(".*");
                continue;
            }
            '_' if !in_class => {
                text.push('.');
                continue;
            }
            '.' | '^' | '$' if !in_class => text.push('\\'),
            '\\' => text.push('\\'),
            '[' => text.push('\\'),
            _ => {}
        }
        text.push(letter);
    }
    Ok(text + ")$")
}

fn set(name: &str, value: &str) -> Result<String> {
    let shown: String = name.chars().take(100).collect();
    if super::setting(name).is_none() {
        return Err(DataFusionError::Plan(format!("unrecognized configuration parameter {shown:?}")));
    }
    let same = super::setting(name).is_some_and(|now| now.eq_ignore_ascii_case(value));
    match same || WITHOUT_EFFECT.iter().any(|known| known.eq_ignore_ascii_case(name)) {
        true => Ok(value.to_owned()),
        false => Err(DataFusionError::NotImplemented(format!("set_config of {shown:?}; use SET"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_and_patterns_are_postgresqls() {
        assert_eq!(
            formatted("%I.%I = %L%%%s", &[Some("a"), Some("B c"), Some("it's"), None]).unwrap(),
            "a.\"B c\" = 'it''s'%"
        );
        assert!(formatted("%s", &[]).is_err() && formatted("%d", &[Some("1")]).is_err());
        assert_eq!(escaped("pg/_a//b\\%", "/"), "pg\\_a/b\\\\%");
        assert_eq!(escaped("a\\_b", "\\"), "a\\_b");
        assert_eq!(escaped("a\\b", ""), "a\\\\b");
    }

    #[test]
    fn only_what_has_no_effect_is_set_by_a_function() {
        assert_eq!(set("jit", "off").unwrap(), "off");
        assert_eq!(set("bytea_output", "hex").unwrap(), "hex");
        assert!(set("statement_timeout", "1").is_err() && set("no.such", "1").is_err());
    }
}
