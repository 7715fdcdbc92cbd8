//! Counts and durations as text for a person.

use std::time::Duration;

/// A duration for a person: three digits.
#[must_use]
pub fn short(duration: Duration) -> String {
    let secs = duration.as_secs_f64();
    match secs {
        100.0.. => format!("{secs:.0} s"),
        1.0.. => format!("{secs:.2} s"),
        0.1.. => format!("{:.0} ms", secs * 1e3),
        0.001.. => format!("{:.2} ms", secs * 1e3),
        _ => format!("{:.0} us", secs * 1e6),
    }
}

/// `1 step`, `2 steps`.
#[must_use]
pub fn counted(n: u64, what: &str) -> String {
    let plural = if n == 1 { "" } else { "s" };
    format!("{n} {what}{plural}")
}
