//! Tables for people, fit to the terminal, never with a control byte from an event.

use comfy_table::{Cell, CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};

use crate::terminal::printable;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_on_the_right() {
        let header = ["tenant".to_owned(), "n".to_owned()];
        let rows = [vec!["acme".to_owned(), "7".to_owned()], vec!["globex".to_owned(), "1200".to_owned()]];
        insta::assert_snapshot!(render(&header, &[false, true], &rows));
    }
}
