//! Counts, for people.

/// `1 update`, `2,000 updates`; the first word is the one that has a plural.
pub fn counted(n: u64, what: &str) -> String {
    let (word, rest) = what.split_once(' ').map_or((what, ""), |(word, rest)| (word, rest));
    let space = if rest.is_empty() { "" } else { " " };
    counted_as(n, what, &format!("{word}s{space}{rest}"))
}

/// With a plural that is not made by an s.
pub fn counted_as(n: u64, one: &str, many: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{} {many}", thousands(n)) }
}

/// Its digits in groups of three.
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let first = digits.len() % 3;
    let mut text = digits[..first].to_owned();
    for group in digits.as_bytes()[first..].chunks(3) {
        if !text.is_empty() {
            text.push(',');
        }
        text.extend(group.iter().map(|digit| char::from(*digit)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        let texts = [0, 999, 1_000, 1_234_567].map(thousands);
        assert_eq!(texts, ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([12, 123, 1234].map(thousands), ["12", "123", "1,234"]);
        assert_eq!(counted(1, "update"), "1 update");
        assert_eq!(counted(2, "row of losses.csv"), "2 rows of losses.csv");
    }
}
