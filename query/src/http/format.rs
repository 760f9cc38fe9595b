//! What an answer is written in, as its client wants it.

use ::http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::{Code, QueryError};

/// What an answer is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// One document.
    Json,
    /// A document a line, each a row.
    Ndjson,
    /// A line of names, then lines of values.
    Csv,
    /// Arrow's IPC stream.
    Arrow,
    /// One Parquet file.
    Parquet,
}

/// What parameter and header may say.
const NAMES: &str = "json, ndjson, csv, arrow or parquet";

// === impl Format ===

impl Format {
    /// By parameter or by header; JSON if the client does not say.
    pub(super) fn wanted(parameter: Option<&str>, headers: &HeaderMap) -> Result<Self, Refused> {
        if let Some(name) = parameter {
            return Self::named(name).ok_or_else(|| {
                Refused::Parameter(QueryError::new(
                    Code::BadRequest,
                    format!("parameter format: use {NAMES}"),
                ))
            });
        }
        let mut accepted = headers.get_all(header::ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
        let Some(first) = accepted.next() else { return Ok(Self::Json) };
        let ranges = std::iter::once(first).chain(accepted).flat_map(|accept| accept.split(','));
        let mut best: Option<(u16, Self)> = None;
        for range in ranges {
            let mut parts = range.split(';');
            let format = parts.next().and_then(|name| Self::of_media_range(name.trim()));
            let weight = parts.find_map(weight).unwrap_or(1_000);
            if let Some(format) = format
                && weight > 0
                && best.is_none_or(|(heavier, _)| weight > heavier)
            {
                best = Some((weight, format));
            }
        }
        best.map(|(_, format)| format).ok_or(Refused::Accept)
    }

    pub(super) fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Parquet => "application/vnd.apache.parquet",
        })
    }

    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "json" => Self::Json,
            "ndjson" | "jsonl" => Self::Ndjson,
            "csv" => Self::Csv,
            "arrow" => Self::Arrow,
            "parquet" => Self::Parquet,
            _ => return None,
        })
    }

    fn of_media_range(range: &str) -> Option<Self> {
        Some(match range.to_ascii_lowercase().as_str() {
            "*/*" | "application/*" | "application/json" => Self::Json,
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => Self::Ndjson,
            "text/csv" | "text/*" => Self::Csv,
            "application/vnd.apache.arrow.stream" => Self::Arrow,
            "application/vnd.apache.parquet" | "application/x-parquet" => Self::Parquet,
            _ => return None,
        })
    }
}

/// Why no format could be chosen.
#[derive(Debug)]
pub(super) enum Refused {
    Parameter(QueryError),
    /// The header names nothing that there is.
    Accept,
}

impl From<Refused> for super::Failed {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Parameter(error) => error.into(),
            Refused::Accept => {
                let message =
                    format!("header accept names none of the formats: take {NAMES}, or say ?format=");
                Self::with_status(QueryError::new(Code::BadRequest, message), StatusCode::NOT_ACCEPTABLE)
            }
        }
    }
}

/// `q=0.5` in thousandths.
fn weight(part: &str) -> Option<u16> {
    let (name, value) = part.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let weight: f32 = value.trim().parse().unwrap_or(0.0);
    // Clamped to what the header allows; the cast drops what is beyond thousandths.
    Some((weight.clamp(0.0, 1.0) * 1_000.0) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(accept: &str) -> Option<Format> {
        let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_str(accept).unwrap())]);
        Format::wanted(None, &headers).ok()
    }

    #[test]
    fn the_heaviest_format_that_there_is_is_taken() {
        for (accept, format) in [
            ("*/*", Some(Format::Json)),
            ("text/html, application/xml;q=0.9, */*;q=0.8", Some(Format::Json)),
            ("text/csv", Some(Format::Csv)),
            ("application/json;q=0.2, Text/CSV;q=0.9", Some(Format::Csv)),
            ("application/json;q=0, application/x-ndjson", Some(Format::Ndjson)),
            ("application/vnd.apache.arrow.stream, application/json;q=0.5", Some(Format::Arrow)),
            ("application/vnd.apache.parquet;q=nonsense", None),
            ("application/vnd.apache.parquet; v=1; q=0.4", Some(Format::Parquet)),
            ("text/html", None),
            ("application/json;q=0", None),
            ("", None),
            (",;,;q=1,=", None),
        ] {
            assert_eq!(wanted(accept), format, "{accept}");
        }
        assert_eq!(Format::wanted(None, &HeaderMap::new()).ok(), Some(Format::Json));
        assert_eq!(Format::wanted(Some("jsonl"), &HeaderMap::new()).ok(), Some(Format::Ndjson));
        assert!(Format::wanted(Some("JSON"), &HeaderMap::new()).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_header_breaks_it(accept in "[ -~]{0,80}") {
            let _ = wanted(&accept);
        }
    }
}
