//! Rows of cells as text.

/// Rows of cells, each column as wide as its widest, to the right or to the left.
///
/// # Panics
/// If a row is shorter than the list of columns.
#[must_use]
pub fn table(is_right: &[bool], rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..is_right.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).zip(is_right).map(|((cell, &width), is_right)| {
            if *is_right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}
