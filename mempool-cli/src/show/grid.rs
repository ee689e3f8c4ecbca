//! Texts in aligned columns. A cell shows no more than a line of it, and nothing that a terminal would obey.

use std::fmt;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The widest cell.
const CELL_WIDTH_MAX: usize = 40;

/// Rows of cells below a header.
#[derive(Debug)]
pub(crate) struct Grid {
    /// Whether the cells of a column are aligned to the right.
    right: Vec<bool>,
    /// The header is the first.
    rows: Vec<Vec<String>>,
}

impl Grid {
    /// A grid of the columns that `header` names; `right` says which hold numbers.
    pub(crate) fn new(header: impl IntoIterator<Item = (String, bool)>) -> Self {
        let (names, right) = header.into_iter().map(|(name, right)| (cell(&name), right)).unzip();
        Self { right, rows: vec![names] }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|text| cell(&text)).collect());
    }
}

/// A text as one line of bounded width.
fn cell(text: &str) -> String {
    let (mut cell, mut width) = (String::new(), 0);
    for char in text.chars() {
        let shown = match char {
            '\n' => "\\n".to_owned(),
            '\t' => "\\t".to_owned(),
            // Others than control characters without a width turn the text around or hide it.
            char if char.width().is_none() || is_direction(char) => {
                char.escape_unicode().to_string()
            }
            char => char.to_string(),
        };
        width += shown.width();
        if width >= CELL_WIDTH_MAX {
            cell.push('…');
            break;
        }
        cell.push_str(&shown);
    }
    cell
}

/// Characters that say in which direction others are written.
fn is_direction(char: char) -> bool {
    matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl fmt::Display for Grid {
    /// Lines without spaces at their ends, and without a newline behind the last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut widths = vec![0; self.right.len()];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.width().max(*width);
            }
        }
        for (number, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for ((cell, width), right) in row.iter().zip(&widths).zip(&self.right) {
                let space = " ".repeat(width - cell.width());
                line.push_str("  ");
                match right {
                    true => line.extend([&space[..], cell]),
                    false => line.extend([cell, &space[..]]),
                }
            }
            let newline = if number == 0 { "" } else { "\n" };
            write!(f, "{newline}{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_what_a_terminal_shows() {
        let mut grid = Grid::new([("name".to_owned(), false), ("n".to_owned(), true)]);
        grid.row(["東京".to_owned(), "1".to_owned()]);
        grid.row(["Zürich".to_owned(), "10".to_owned()]);
        assert_eq!(grid.to_string(), "  name     n\n  東京     1\n  Zürich  10");
    }

    #[test]
    fn a_cell_is_one_short_line_that_commands_nothing() {
        assert_eq!(cell("a\nb\u{1b}[2J\u{202e}"), "a\\nb\\u{1b}[2J\\u{202e}");
        let long = cell(&"東".repeat(100));
        assert!(long.ends_with('…') && long.width() <= CELL_WIDTH_MAX, "{long}");
    }
}
