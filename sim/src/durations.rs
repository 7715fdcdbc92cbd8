//! Durations as text for the user.

use std::time::Duration;

/// Formats a duration with three significant digits.
pub(crate) fn short(duration: Duration) -> String {
    let secs = duration.as_secs_f64();
    match secs {
        100.0.. => format!("{secs:.0} s"),
        1.0.. => format!("{secs:.2} s"),
        0.1.. => format!("{:.0} ms", secs * 1e3),
        0.001.. => format!("{:.2} ms", secs * 1e3),
        _ => format!("{:.0} us", secs * 1e6),
    }
}
