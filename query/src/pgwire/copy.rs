//! `COPY … TO STDOUT`: a query's rows as text, CSV or PostgreSQL's binary file format.
//!
//! The rows are those of a `SELECT`, and come from the same place with the same
//! limits. Nothing is ever copied from a client, or to a file of the server.

mod out;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use datafusion::sql::sqlparser::tokenizer::Token;
use pgwire::messages::copy::{CopyData, CopyOutResponse};
use pgwire::messages::data::DataRow;

use super::dialect;
use super::failure::Failure;
use super::words::Words;

/// A `COPY` whose rows go to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Copy {
    /// The query that gives the rows.
    pub(super) sql: String,
    pub(super) layout: Layout,
}

/// How rows are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) format: CopyFormat,
    delimiter: u8,
    null: String,
    header: bool,
    quote: u8,
    escape: u8,
    force_quote: Forced,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CopyFormat {
    Text,
    Csv,
    Binary,
}

/// Which columns of a CSV are always quoted.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Forced {
    All,
    Named(Vec<String>),
}

/// Options as they were given; the defaults depend on the format.
#[derive(Debug, Default)]
struct Given {
    format: Option<CopyFormat>,
    delimiter: Option<u8>,
    null: Option<String>,
    header: bool,
    quote: Option<u8>,
    escape: Option<u8>,
    force_quote: Option<Forced>,
}

/// What PostgreSQL's binary files begin with: the signature, no flags, no extension.
const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Reads a `COPY`. `None` if it reads or writes anything but the connection.
pub(super) fn parse(text: &str) -> Result<Option<Copy>, Failure> {
    let mut words = Words::of(text)?;
    words.expect("copy")?;
    let sql = match words.parenthesis()? {
        Some(query) => dialect::translate(query.trim()),
        None => of_table(text, &mut words)?,
    };
    if !words.take("to") || !words.take("stdout") {
        return Ok(None);
    }
    let layout = Layout::read(&mut words)?;
    words.end()?;
    Ok(Some(Copy { sql, layout }))
}

/// The query for `table` or `table (column, …)`.
fn of_table(text: &str, words: &mut Words<'_>) -> Result<String, Failure> {
    let began = words.offset();
    words.name()?;
    while words.take_sign(&Token::Period) {
        words.name()?;
    }
    let table = text[began..words.offset()].trim();
    let columns = words.parenthesis()?.unwrap_or("*");
    Ok(format!("SELECT {columns} FROM {table}"))
}

// === impl Layout ===

impl Layout {
    /// `[WITH] (option [, …])`, or the older `[WITH] option …`.
    fn read(words: &mut Words<'_>) -> Result<Self, Failure> {
        words.take("with");
        let mut given = Given::default();
        if let Some(inside) = words.parenthesis()? {
            let mut inside = Words::of(inside)?;
            loop {
                given.option(&mut inside)?;
                if !inside.take_sign(&Token::Comma) {
                    break;
                }
            }
            inside.end()?;
        } else {
            while words.end().is_err() {
                given.old_option(words)?;
            }
        }
        given.finish()
    }

    /// Announces the rows.
    pub(super) fn response(&self, columns: usize) -> CopyOutResponse {
        let code = i16::from(self.format == CopyFormat::Binary);
        let count = i16::try_from(columns).unwrap_or(i16::MAX);
        CopyOutResponse::new(i8::from(code == 1), count, vec![code; columns])
    }

    /// What comes before the first row.
    pub(super) fn head(&self, names: &[&str]) -> Option<CopyData> {
        match self.format {
            CopyFormat::Binary => Some(CopyData::new(Bytes::from_static(SIGNATURE))),
            _ if self.header => {
                let cells = names.iter().map(|name| (*name, Some(name.as_bytes())));
                Some(self.line(cells, false))
            }
            _ => None,
        }
    }

    /// One row, whose cells are in text or in binary as the format needs them.
    pub(super) fn row(&self, row: DataRow, names: &[&str]) -> CopyData {
        if self.format == CopyFormat::Binary {
            let mut bytes = BytesMut::with_capacity(row.data.len() + 2);
            bytes.put_i16(row.field_count);
            bytes.put_slice(&row.data);
            return CopyData::new(bytes.freeze());
        }
        let mut data = row.data.freeze();
        let cells: Vec<Option<Bytes>> = (0..row.field_count).map(|_| cell(&mut data)).collect();
        self.line(names.iter().copied().zip(cells.iter().map(|cell| cell.as_deref())), true)
    }

    /// What comes after the last row.
    pub(super) fn foot(&self) -> Option<CopyData> {
        (self.format == CopyFormat::Binary).then(|| CopyData::new(Bytes::from_static(&[0xff, 0xff])))
    }

    fn line<'a>(
        &self,
        cells: impl ExactSizeIterator<Item = (&'a str, Option<&'a [u8]>)>,
        may_force: bool,
    ) -> CopyData {
        let (mut line, alone) = (BytesMut::new(), cells.len() == 1);
        for (index, (name, cell)) in cells.enumerate() {
            if index > 0 {
                line.put_u8(self.delimiter);
            }
            match cell {
                None => line.put_slice(self.null.as_bytes()),
                Some(cell) if self.format == CopyFormat::Csv => {
                    let forced = may_force && self.force_quote.has(name);
                    self.put_csv(&mut line, cell, forced || (alone && cell == b"\\."));
                }
                Some(cell) => self.put_text(&mut line, cell),
            }
        }
        line.put_u8(b'\n');
        CopyData::new(line.freeze())
    }

    /// Control characters, the delimiter and backslashes are written with a backslash.
    fn put_text(&self, line: &mut BytesMut, cell: &[u8]) {
        for byte in cell {
            let escaped = match byte {
                0x08 => b'b',
                0x0c => b'f',
                b'\n' => b'n',
                b'\r' => b'r',
                b'\t' => b't',
                0x0b => b'v',
                b'\\' => b'\\',
                byte if *byte == self.delimiter => *byte,
                byte => {
                    line.put_u8(*byte);
                    continue;
                }
            };
            line.put_slice(&[b'\\', escaped]);
        }
    }

    /// A cell that could be taken for something else is quoted: also one that looks like a null.
    fn put_csv(&self, line: &mut BytesMut, cell: &[u8], quoted: bool) {
        let special = |byte: &u8| [self.delimiter, self.quote, b'\n', b'\r'].contains(byte);
        if !quoted && cell != self.null.as_bytes() && !cell.iter().any(special) {
            return line.put_slice(cell);
        }
        line.put_u8(self.quote);
        for byte in cell {
            if *byte == self.quote || *byte == self.escape {
                line.put_u8(self.escape);
            }
            line.put_u8(*byte);
        }
        line.put_u8(self.quote);
    }
}

/// The next cell of a row; `None` for a null.
fn cell(data: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(data.try_get_i32().ok()?).ok()?;
    (length <= data.len()).then(|| data.split_to(length))
}

// === impl Forced ===

impl Forced {
    fn has(&self, column: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|name| name == column),
        }
    }
}

// === impl Given ===

impl Given {
    /// One option between the parentheses.
    fn option(&mut self, words: &mut Words<'_>) -> Result<(), Failure> {
        match words.name()?.as_str() {
            "format" => self.format = Some(format(words)?),
            "delimiter" => self.delimiter = Some(byte(words, "delimiter")?),
            "null" => self.null = Some(literal(words, "null")?),
            "header" => self.header = flag(words)?,
            "quote" => self.quote = Some(byte(words, "quote")?),
            "escape" => self.escape = Some(byte(words, "escape")?),
            "force_quote" => self.force_quote = Some(forced(words)?),
            "encoding" => encoding(words)?,
            other => return Err(unknown(other)),
        }
        Ok(())
    }

    /// One option in the way of releases before 9.0, which `\copy` is still often written in.
    fn old_option(&mut self, words: &mut Words<'_>) -> Result<(), Failure> {
        let name = words.name()?;
        match name.as_str() {
            "csv" => self.format = Some(CopyFormat::Csv),
            "binary" => self.format = Some(CopyFormat::Binary),
            "header" => self.header = true,
            "delimiter" | "delimiters" | "null" | "quote" | "escape" => {
                words.take("as");
                match name.as_str() {
                    "null" => self.null = Some(literal(words, "null")?),
                    "quote" => self.quote = Some(byte(words, "quote")?),
                    "escape" => self.escape = Some(byte(words, "escape")?),
                    _ => self.delimiter = Some(byte(words, "delimiter")?),
                }
            }
            "force" => {
                words.expect("quote")?;
                self.force_quote = Some(forced(words)?);
            }
            "encoding" => encoding(words)?,
            other => return Err(unknown(other)),
        }
        Ok(())
    }

    fn finish(self) -> Result<Layout, Failure> {
        let format = self.format.unwrap_or(CopyFormat::Text);
        let only_csv = self.quote.is_some() || self.escape.is_some() || self.force_quote.is_some();
        if only_csv && format != CopyFormat::Csv {
            return Err(invalid("QUOTE, ESCAPE and FORCE_QUOTE are for the format csv"));
        }
        if format == CopyFormat::Binary && (self.delimiter.is_some() || self.null.is_some() || self.header) {
            return Err(invalid("DELIMITER, NULL and HEADER are not for the format binary"));
        }
        let (delimiter, null) = match format {
            CopyFormat::Csv => (b',', ""),
            _ => (b'\t', "\\N"),
        };
        let quote = self.quote.unwrap_or(b'"');
        let layout = Layout {
            format,
            delimiter: self.delimiter.unwrap_or(delimiter),
            null: self.null.unwrap_or_else(|| null.to_owned()),
            header: self.header,
            quote,
            escape: self.escape.unwrap_or(quote),
            force_quote: self.force_quote.unwrap_or(Forced::Named(Vec::new())),
        };
        layout.check()
    }
}

impl Layout {
    /// What could not be read back is refused.
    fn check(self) -> Result<Self, Failure> {
        let delimiter = self.delimiter;
        if self.null.contains(['\n', '\r']) || self.null.as_bytes().contains(&delimiter) {
            return Err(invalid("NULL cannot hold the delimiter or an end of line"));
        }
        let letters = b"\\.abcdefghijklmnopqrstuvwxyz0123456789";
        match self.format {
            CopyFormat::Text if letters.contains(&delimiter) => {
                Err(invalid("the delimiter cannot be a small letter, digit, dot or backslash"))
            }
            CopyFormat::Csv if self.null.as_bytes().contains(&self.quote) || delimiter == self.quote => {
                Err(invalid("the quote can neither be the delimiter nor be in NULL"))
            }
            _ => Ok(self),
        }
    }
}

fn format(words: &mut Words<'_>) -> Result<CopyFormat, Failure> {
    let name = match words.literal() {
        Some(name) => name,
        None => words.name()?,
    };
    match name.to_ascii_lowercase().as_str() {
        "text" => Ok(CopyFormat::Text),
        "csv" => Ok(CopyFormat::Csv),
        "binary" => Ok(CopyFormat::Binary),
        _ => Err(invalid("the format is text, csv or binary")),
    }
}

/// A single character that is one byte and no end of line.
fn byte(words: &mut Words<'_>, option: &str) -> Result<u8, Failure> {
    match literal(words, option)?.as_bytes() {
        [byte] if ![0, b'\n', b'\r'].contains(byte) && byte.is_ascii() => Ok(*byte),
        _ => Err(invalid(&format!("{option} must be a single one-byte character"))),
    }
}

fn literal(words: &mut Words<'_>, option: &str) -> Result<String, Failure> {
    words.literal().ok_or_else(|| words.unexpected(&format!("a text for {option}")))
}

/// Whether an option is on; nothing means that it is.
fn flag(words: &mut Words<'_>) -> Result<bool, Failure> {
    for (word, value) in [("true", true), ("on", true), ("false", false), ("off", false)] {
        if words.take(word) {
            return Ok(value);
        }
    }
    match (words.number(), words.literal().as_deref()) {
        (Some(0), _) | (_, Some("false" | "off" | "0")) => Ok(false),
        (None | Some(1), None) | (_, Some("true" | "on" | "1")) => Ok(true),
        _ => Err(invalid("header is on or off")),
    }
}

/// `*`, or columns, with parentheses around them in the newer way.
fn forced(words: &mut Words<'_>) -> Result<Forced, Failure> {
    if words.take_sign(&Token::Mul) {
        return Ok(Forced::All);
    }
    match words.parenthesis()? {
        Some(inside) => names(&mut Words::of(inside)?),
        None => names(words),
    }
}

fn names(words: &mut Words<'_>) -> Result<Forced, Failure> {
    let mut names = vec![words.name()?];
    while words.take_sign(&Token::Comma) {
        names.push(words.name()?);
    }
    Ok(Forced::Named(names))
}

fn encoding(words: &mut Words<'_>) -> Result<(), Failure> {
    let name = literal(words, "encoding")?.to_ascii_lowercase();
    match ["utf8", "utf-8", "unicode"].contains(&name.as_str()) {
        true => Ok(()),
        false => Err(invalid("the encoding is UTF8")),
    }
}

fn unknown(option: &str) -> Failure {
    let option: String = option.chars().take(100).collect();
    Failure::new("42601", format!("option {option:?} of COPY TO is not known"))
}

fn invalid(why: &str) -> Failure {
    Failure::new("22023", why)
}

#[cfg(test)]
mod tests;
