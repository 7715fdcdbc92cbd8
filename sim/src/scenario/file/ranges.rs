//! Ranges: one value, or `{ min = …, max = … }`, of which either may be left out.

use toml::de::DeValue;
use unisono_config::file::Wrong;

use super::section::Value;
use crate::scenario::Range;

/// Reads one; `widest` is what an absent end is.
pub(super) fn read<'a, T: PartialOrd + Copy>(
    value: Value<'a>,
    widest: Range<T>,
    end: impl Fn(Value<'a>) -> Result<T, Wrong>,
) -> Result<Range<T>, Wrong> {
    let DeValue::Table(table) = value.raw else {
        let exactly = end(value)?;
        return Ok(Range { min: exactly, max: exactly });
    };
    if let Some(key) = table.keys().find(|key| !["min", "max"].contains(&&**key.get_ref())) {
        let what =
            format!("{}: unknown key {}; a range has min and max", value.key(), key.get_ref());
        return Err(Wrong { at: key.span().start, what });
    }
    let given = |key: &'static str, otherwise| {
        table.get(key).map_or(Ok(otherwise), |item| end(Value::new(value.key(), item)))
    };
    let range = Range { min: given("min", widest.min)?, max: given("max", widest.max)? };
    if range.max < range.min {
        return Err(value.wrong("the range is upside down: min is above max"));
    }
    Ok(range)
}

/// As TOML.
pub(super) fn text<T: PartialEq + Copy>(
    range: &Range<T>,
    widest: Range<T>,
    end: impl Fn(T) -> String,
) -> String {
    if range.min == range.max {
        return end(range.min);
    }
    let min = (range.min != widest.min).then(|| format!("min = {}", end(range.min)));
    let max = (range.max != widest.max).then(|| format!("max = {}", end(range.max)));
    let ends: Vec<_> = min.into_iter().chain(max).collect();
    if ends.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", ends.join(", ")) }
}
