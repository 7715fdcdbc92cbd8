//! Tables as aligned text.

/// The maximum width of a column, in characters. A cell that is longer is printed completely and
/// extends beyond its column, so that a single long cell does not widen all rows.
const WIDEST: usize = 200;

/// Formats rows of cells in columns. `is_right` has one entry for each column: `true` aligns the
/// column to the right, and `false` to the left.
///
/// # Panics
/// Panics if a row has fewer cells than there are columns.
#[must_use]
pub fn table(is_right: &[bool], rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> =
        (0..is_right.len()).map(|column| width(column).unwrap_or(0).min(WIDEST)).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).zip(is_right);
        let cells = cells.map(|((cell, &width), &is_right)| padded(cell, width, is_right));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Pads a cell with spaces to `width` characters.
fn padded(cell: &str, width: usize, is_right: bool) -> String {
    // `repeat` is used, because a width above 65,535 in a format string would panic.
    let spaces = " ".repeat(width.saturating_sub(cell.chars().count()));
    if is_right { spaces + cell } else { cell.to_owned() + &spaces }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: [&str; 3]) -> Vec<String> {
        cells.map(str::to_owned).to_vec()
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [row(["a", "1", "x"]), row(["äöü", "200", ""]), row(["", "30", "yz"])];
        assert_eq!(
            table(&[false, true, false], &rows),
            "a      1  x\n\
             äöü  200\n\
             \x20     30  yz\n"
        );
    }

    #[test]
    fn long_cell_is_printed_whole_and_widens_no_other_row() {
        let long = "x".repeat(65_536);
        let rows = [row([&long, "1", "a"]), row(["short", "2", "b"])];
        let text = table(&[false, true, false], &rows);
        let [first, second] = text.lines().collect::<Vec<_>>()[..] else { panic!("two rows") };
        assert_eq!(first, format!("{long}  1  a"));
        assert_eq!(second, format!("{:200}  2  b", "short"));
    }
}
