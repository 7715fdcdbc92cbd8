//! Durations and rates as text, without rounding.

use std::num::NonZeroU64;
use std::time::Duration;

use unisono_config::file::nearest;

use crate::scenario::distribution::nanos;

/// The name of a unit, and its size: in nanoseconds for a duration, in bits per second for a rate.
type Unit = (&'static str, u64);

/// The units of durations, in nanoseconds.
pub(crate) const DURATIONS: [Unit; 6] = [
    ("h", 3_600_000_000_000),
    ("min", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// The units of rates, in bits per second.
pub(crate) const RATES: [Unit; 8] = [
    ("Gbit", 1_000_000_000),
    ("GB", 8_000_000_000),
    ("Mbit", 1_000_000),
    ("MB", 8_000_000),
    ("kbit", 1_000),
    ("kB", 8_000),
    ("bit", 1),
    ("B", 8),
];

/// Reads a duration such as `"1.5ms"`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = split(text, &DURATIONS, "\"100us\" or \"1.5s\"")?;
    if number.starts_with('-') {
        return Err(format!("{text:?} is negative; a duration is 0 or above"));
    }
    let nanos = times(number, unit).map_err(|problem| match problem {
        Problem::NoNumber => {
            format!("{text:?} is no duration; write one like \"100us\" or \"1.5s\"")
        }
        Problem::Broken => format!("{text:?} is not a whole number of nanoseconds"),
        Problem::TooLarge => format!("{text:?} is too long; the longest duration is 584 years"),
    })?;
    Ok(Duration::from_nanos(nanos))
}

/// Reads a rate such as `"1Gbit"`, and returns bytes per second.
pub(crate) fn parse_rate(text: &str) -> Result<NonZeroU64, String> {
    let (number, unit) = split(text, &RATES, "\"1Gbit\" or \"50MB\"")?;
    if number.starts_with('-') {
        return Err(format!("{text:?} is negative; a rate is above 0"));
    }
    let whole = || format!("{text:?} is not a whole number of bytes a second");
    let bits = times(number, unit).map_err(|problem| match problem {
        Problem::NoNumber => format!("{text:?} is no rate; write one like \"1Gbit\" or \"50MB\""),
        Problem::Broken => whole(),
        Problem::TooLarge => {
            format!("{text:?} is too fast; the highest rate is 10^18 bytes a second")
        }
    })?;
    if bits % 8 != 0 {
        return Err(whole());
    }
    NonZeroU64::new(bits / 8).ok_or_else(|| {
        format!("{text:?}: nothing would ever arrive; give a rate above 0, or a partition fault")
    })
}

/// Returns the shortest text that [`parse_duration`] reads as this duration.
pub(crate) fn duration_text(duration: Duration) -> String {
    if duration.is_zero() { "0s".to_owned() } else { shortest(nanos(duration), &DURATIONS) }
}

/// Returns the shortest text that [`parse_rate`] reads as this rate. `rate` is in bytes per second.
pub(crate) fn rate_text(rate: NonZeroU64) -> String {
    rate.get().checked_mul(8).map_or_else(|| format!("{rate}B"), |bits| shortest(bits, &RATES))
}

fn shortest(value: u64, units: &[Unit]) -> String {
    let texts = units.iter().filter(|(_, size)| value >= *size).map(|(unit, size)| {
        let (whole, rest) = (value / size, value % size);
        let digits = fraction(rest, *size);
        digits.map(|digits| format!("{whole}{digits}{unit}"))
    });
    texts.flatten().min_by_key(String::len).expect("the smallest unit measures everything")
}

/// Returns the fraction `rest / size` as a decimal point and digits, such as `.5`. Returns an empty
/// text for 0, and `None` if the fraction has infinitely many digits.
fn fraction(rest: u64, size: u64) -> Option<String> {
    if rest == 0 {
        return Some(String::new());
    }
    // The largest unit, the hour, has 3.6e12 ns = 2^13 · 3^2 · 5^11. So a fraction with finitely
    // many decimals has at most 13 decimals.
    let (scaled, size) = (u128::from(rest) * 10_u128.pow(13), u128::from(size));
    let digits = format!(".{:013}", scaled / size);
    (scaled % size == 0).then(|| digits.trim_end_matches('0').to_owned())
}

/// Splits a text such as `"1.5ms"` into the number `"1.5"` and the size of the unit `ms`.
fn split<'a>(text: &'a str, units: &[Unit], example: &str) -> Result<(&'a str, u64), String> {
    let text = text.trim();
    let begin = text.find(|c: char| c.is_alphabetic()).unwrap_or(text.len());
    let (number, unit) = (text[..begin].trim_end(), text[begin..].trim_end());
    if unit.is_empty() {
        return Err(format!("{text:?} has no unit; write one like {example}"));
    }
    if let Some((_, size)) = units.iter().find(|(name, _)| *name == unit) {
        return Ok((number, *size));
    }
    let names: Vec<_> = units.iter().rev().map(|(name, _)| *name).collect();
    let hint = nearest(unit, names.iter().copied()).map_or_else(
        || format!("there are {}", names.join(", ")),
        |name| format!("did you mean {name}?"),
    );
    Err(format!("{text:?}: there is no unit {unit}; {hint}"))
}

enum Problem {
    NoNumber,
    Broken,
    TooLarge,
}

/// Returns a decimal number times a unit, without rounding.
fn times(number: &str, unit: u64) -> Result<u64, Problem> {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let is_number = |text: &str| text.chars().all(|c| c.is_ascii_digit());
    let dangling = number.contains('.') && decimals.is_empty();
    if whole.is_empty() || dangling || !is_number(whole) || !is_number(decimals) {
        return Err(Problem::NoNumber);
    }
    let decimals = decimals.trim_end_matches('0');
    // A duration or a rate with more than 13 decimals is never a whole number of the smallest unit.
    if decimals.len() > 13 {
        return Err(Problem::Broken);
    }
    let digits: u128 = format!("{whole}{decimals}").parse().map_err(|_| Problem::TooLarge)?;
    let product = digits.checked_mul(u128::from(unit)).ok_or(Problem::TooLarge)?;
    let scale = 10_u128.pow(decimals.len() as u32);
    if product % scale != 0 {
        return Err(Problem::Broken);
    }
    u64::try_from(product / scale).map_err(|_| Problem::TooLarge)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_and_rates_are_written_in_their_shortest_form() {
        let texts = [0, 1, 1_500, 100_000_000, 1_500_000_000, 60_000_000_000, 3_600_000_000_000]
            .map(|nanos| duration_text(Duration::from_nanos(nanos)));
        assert_eq!(texts, ["0s", "1ns", "1.5us", "100ms", "1.5s", "60s", "1h"]);
        let texts = [1, 125, 125_000_000, 50_000_000, 1_000, u64::MAX]
            .map(|rate| rate_text(NonZeroU64::new(rate).unwrap()));
        assert_eq!(texts, ["1B", "125B", "1Gbit", "50MB", "1kB", "18446744073709551615B"]);
    }

    #[test]
    fn errors_of_durations_name_the_reason() {
        let all =
            ["-1ms", "100", "1.5ns", "5sec", "7 lightyears", "ms", "1.2.3s", "1.s", "6000000h"]
                .map(|text| parse_duration(text).unwrap_err())
                .join("\n");
        insta::assert_snapshot!(all, @r#"
        "-1ms" is negative; a duration is 0 or above
        "100" has no unit; write one like "100us" or "1.5s"
        "1.5ns" is not a whole number of nanoseconds
        "5sec": there is no unit sec; there are ns, us, ms, s, min, h
        "7 lightyears": there is no unit lightyears; there are ns, us, ms, s, min, h
        "ms" is no duration; write one like "100us" or "1.5s"
        "1.2.3s" is no duration; write one like "100us" or "1.5s"
        "1.s" is no duration; write one like "100us" or "1.5s"
        "6000000h" is too long; the longest duration is 584 years
        "#);
    }

    #[test]
    fn errors_of_rates_name_the_reason() {
        let all = ["-1MB", "100", "0MB", "1bit", "1Gbits", "5mb", "fast", "9000000000GB"]
            .map(|text| parse_rate(text).unwrap_err())
            .join("\n");
        insta::assert_snapshot!(all, @r#"
        "-1MB" is negative; a rate is above 0
        "100" has no unit; write one like "1Gbit" or "50MB"
        "0MB": nothing would ever arrive; give a rate above 0, or a partition fault
        "1bit" is not a whole number of bytes a second
        "1Gbits": there is no unit Gbits; did you mean Gbit?
        "5mb": there is no unit mb; there are B, bit, kB, kbit, MB, Mbit, GB, Gbit
        "fast": there is no unit fast; there are B, bit, kB, kbit, MB, Mbit, GB, Gbit
        "9000000000GB" is too fast; the highest rate is 10^18 bytes a second
        "#);
    }

    proptest! {
        #[test]
        fn written_durations_and_rates_are_read_back(nanos in prop_oneof![any::<u64>(), 0..100_000_000_000_u64]) {
            let duration = Duration::from_nanos(nanos);
            prop_assert_eq!(parse_duration(&duration_text(duration)), Ok(duration));
            let rate = NonZeroU64::new(nanos / 8 + 1).unwrap();
            prop_assert_eq!(parse_rate(&rate_text(rate)), Ok(rate));
        }
    }
}
