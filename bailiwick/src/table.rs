//! Tables for people, fit to the terminal, never with a control byte from an event.

use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};

/// A line below the header and nothing else: rows are what one looks at.
const PLAIN: TableStyle = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// A table of texts; `numeric` columns are aligned right.
pub(crate) fn render(header: &[String], numeric: &[bool], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(PLAIN).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header.iter().map(|name| printable(name)));
    for row in rows {
        table.add_row(row.iter().map(|text| Cell::new(printable(text))));
    }
    for (column, numeric) in table.column_iter_mut().zip(numeric) {
        if *numeric {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.trim_fmt()
}

/// The text with every control character written as an escape.
pub(crate) fn printable(text: &str) -> String {
    let hostile = |c: char| c.is_control() || is_bidi_override(c);
    if !text.contains(hostile) {
        return text.to_owned();
    }
    let escaped = |c: char| match hostile(c) {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escaped).collect()
}

/// Characters that make a terminal show text in another order than it is.
fn is_bidi_override(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_cannot_move_the_cursor() {
        assert_eq!(printable("a\x1b[2Jb\r\n\u{202e}c"), "a\\u{1b}[2Jb\\r\\n\\u{202e}c");
        assert_eq!(printable("grün 日本"), "grün 日本");
    }

    #[test]
    fn numbers_stand_on_the_right() {
        let header = ["tenant".to_owned(), "n".to_owned()];
        let rows = [vec!["acme".to_owned(), "7".to_owned()], vec!["globex".to_owned(), "1200".to_owned()]];
        insta::assert_snapshot!(render(&header, &[false, true], &rows));
    }
}
