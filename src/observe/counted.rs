//! Counts with units, for text that people read.

/// Formats a count with its unit, such as `1 update` or `2,000 updates`. `what` is the unit in the
/// singular. In the plural, its first word gets an `s`.
pub fn counted(n: u64, what: &str) -> String {
    let (word, rest) = what.split_once(' ').map_or((what, ""), |(word, rest)| (word, rest));
    let space = if rest.is_empty() { "" } else { " " };
    if n == 1 { format!("1 {what}") } else { format!("{} {word}s{space}{rest}", thousands(n)) }
}

/// Formats a count with its unit. `one` is the unit in the singular, and `many` is the unit in the
/// plural.
#[must_use]
pub fn counted_as(n: u64, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{} {many}", thousands(n)) }
}

/// Formats a number with its digits in groups of three.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let groups = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy);
    groups.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_grouped_digits_and_plurals() {
        let texts = [0, 999, 1_000, 1_234_567].map(thousands);
        assert_eq!(texts, ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([12, 123, 1234].map(thousands), ["12", "123", "1,234"]);
        assert_eq!(counted(1, "update"), "1 update");
        assert_eq!(counted(2, "row of losses.csv"), "2 rows of losses.csv");
    }
}
