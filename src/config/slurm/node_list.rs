//! Slurm's lists of nodes, such as `node[9-11,15],gpu[01-03]-x,login`.
//!
//! The expanded names keep the order of the list, because Slurm distributes tasks in this order.
//! TensorFlow instead sorts the names as text, which makes `node10` the first node of `node[9-11]`.

use crate::values::digits;

/// Maximum number of nodes in a list. Real clusters are smaller. The limit bounds the memory that a
/// malformed range can demand.
const MOST_NODES: usize = 1 << 16;

/// The error for a text that is not a valid node list of Slurm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NodeListError {
    /// Brackets do not match.
    #[error("the bracket in \"{0}\" is not closed, or not opened")]
    Bracket(String),
    /// A text in brackets is neither a number nor a range.
    #[error("\"{0}\" in brackets is neither a number nor a range, like 7 or 09-11")]
    Range(String),
    /// A name is empty.
    #[error("a name in the list is empty")]
    Empty,
    /// The list has more nodes than any real cluster.
    #[error("the list has more than {MOST_NODES} nodes")]
    TooMany,
}

/// Returns the names of the nodes that a node list describes, in the order of the list.
///
/// # Errors
/// Returns an error if the text is not a list of nodes.
pub(super) fn expand(list: &str) -> Result<Vec<String>, NodeListError> {
    let mut nodes = Vec::new();
    for name in names(list)? {
        nodes.append(&mut expand_name(name)?);
        if nodes.len() > MOST_NODES {
            return Err(NodeListError::TooMany);
        }
    }
    Ok(nodes)
}

/// Splits a list at the commas outside of brackets.
fn names(list: &str) -> Result<Vec<&str>, NodeListError> {
    let unmatched = || NodeListError::Bracket(list.to_owned());
    let (mut names, mut begin, mut is_open) = (Vec::new(), 0, false);
    for (at, byte) in list.bytes().enumerate() {
        match byte {
            b'[' if !is_open => is_open = true,
            b']' if is_open => is_open = false,
            b'[' | b']' => return Err(unmatched()),
            b',' if !is_open => {
                names.push(list[begin..at].trim());
                begin = at + 1;
            }
            _ => {}
        }
    }
    if is_open {
        return Err(unmatched());
    }
    names.push(list[begin..].trim());
    if names.iter().any(|name| name.is_empty()) { Err(NodeListError::Empty) } else { Ok(names) }
}

/// Returns all node names that one entry of a list, such as `rack[0-1]n[2,7]`, describes. The
/// number of the last bracket varies fastest.
fn expand_name(name: &str) -> Result<Vec<String>, NodeListError> {
    let mut found = vec![String::new()];
    let mut rest = name;
    while let Some((before, from)) = rest.split_once('[') {
        let (ranges, after) = from.split_once(']').expect("brackets match");
        let numbers = expand_ranges(ranges)?;
        if found.len() * numbers.len() > MOST_NODES {
            return Err(NodeListError::TooMany);
        }
        let with = |start: &String| {
            let start = format!("{start}{before}");
            numbers.iter().map(move |number| format!("{start}{number}")).collect::<Vec<_>>()
        };
        found = found.iter().flat_map(with).collect();
        rest = after;
    }
    Ok(found.into_iter().map(|start| start + rest).collect())
}

/// Returns all numbers of ranges such as `9-11,15`. Leading zeros are kept.
fn expand_ranges(ranges: &str) -> Result<Vec<String>, NodeListError> {
    let mut numbers = Vec::new();
    for range in ranges.split(',') {
        let wrong = || NodeListError::Range(range.to_owned());
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text| digits::<u64>(text).ok_or_else(wrong);
        let (from, to) = (number(first)?, number(last)?);
        if from > to {
            return Err(wrong());
        }
        if to - from >= MOST_NODES as u64 {
            return Err(NodeListError::TooMany);
        }
        let width = first.len();
        // `{:0width$}` panics if the width is above 65,535, and this text may have any length.
        let padded = |number: u64| {
            let digits = number.to_string();
            format!("{}{digits}", "0".repeat(width.saturating_sub(digits.len())))
        };
        numbers.extend((from..=to).map(padded));
        if numbers.len() > MOST_NODES {
            return Err(NodeListError::TooMany);
        }
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(list: &str) -> String {
        expand(list).expect(list).join(" ")
    }

    #[test]
    fn every_form_of_a_node_list_is_expanded_in_order() {
        assert_eq!(
            all("node[9-11,15],gpu[01-03]-x,login"),
            "node9 node10 node11 node15 gpu01-x gpu02-x gpu03-x login"
        );
        assert_eq!(all("b,a"), "b a");
        assert_eq!(all("n[098-101]"), "n098 n099 n100 n101");
        let zeros = "0".repeat(70_000);
        assert_eq!(all(&format!("n[{zeros}1-2]")), format!("n{zeros}1 n{zeros}2"));
        assert_eq!(
            all("rack[0-1]n[2,7].site"),
            "rack0n2.site rack0n7.site rack1n2.site rack1n7.site"
        );
        assert_eq!(all("127.0.0.[9-10]"), "127.0.0.9 127.0.0.10");
        assert_eq!(all("tux0"), "tux0");
    }

    #[test]
    fn malformed_node_list_is_reported() {
        let wrong = [
            "",
            "a,",
            "a[1",
            "a]1",
            "a[[1]]",
            "a[1]]",
            "a[]",
            "a[x]",
            "a[3-1]",
            "a[1-]",
            "a[-1]",
            "a[+1]",
            "a[1-99999999]",
            "a[0-999]b[0-999]",
            "a[18446744073709551616]",
        ]
        .map(|list| format!("{list}: {}", expand(list).expect_err(list)));
        insta::assert_snapshot!(wrong.join("\n"));
    }

    proptest! {
        #[test]
        fn expansion_of_arbitrary_node_lists_never_panics(list in "[a-z0-9\\[\\],-]{0,40}") {
            if let Ok(nodes) = expand(&list) {
                prop_assert!(!nodes.is_empty() && nodes.len() <= MOST_NODES);
            }
        }
    }
}
