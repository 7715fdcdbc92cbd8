//! The progress line of the original script. Every character is the same.

use std::fmt;

/// The progress line `After %d training steps (%d global step), loss on training batch is %g. (%.3f
/// sec/batch)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainingLine {
    /// The number of steps that this worker has made since it started.
    pub step: u64,
    /// The global step of the cluster.
    pub global_step: u64,
    /// The loss of the worker's last batch.
    pub loss: f32,
    /// The seconds since the start, divided by the number of global steps since the start.
    pub sec_per_batch: f64,
}

impl TrainingLine {
    /// The number of steps between two lines, as in the original script.
    pub const INTERVAL: u64 = 100;
}

impl fmt::Display for TrainingLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "After {} training steps ({} global step), loss on training batch is {}. ({:.3} \
             sec/batch)",
            self.step,
            self.global_step,
            PercentG::new(self.loss.into()),
            self.sec_per_batch,
        )
    }
}

/// A number that is formatted like `%g` in C and Python, or like `%.9g` with another precision.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PercentG {
    value: f64,
    /// The number of significant digits, at least 1.
    precision: usize,
}

impl PercentG {
    /// Formats `value` as `%g`, with 6 significant digits.
    #[must_use]
    pub const fn new(value: f64) -> Self {
        Self { value, precision: 6 }
    }

    /// Formats the value as `%.{precision}g`. As in C, a precision of 0 means 1.
    #[must_use]
    pub const fn with_precision(self, precision: usize) -> Self {
        Self { precision: if precision == 0 { 1 } else { precision }, ..self }
    }
}

impl fmt::Display for PercentG {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { value, precision } = *self;
        if value.is_nan() {
            return f.write_str("nan");
        }
        if value.is_infinite() {
            return f.write_str(if value > 0.0 { "inf" } else { "-inf" });
        }
        // The value is rounded first, because rounding may change the exponent, and the exponent
        // decides between the two forms below.
        let scientific = format!("{value:.*e}", precision - 1);
        let (mantissa, exponent) = scientific.split_once('e').expect("{:e} prints an e");
        let exponent: i32 = exponent.parse().expect("an exponent is a number");
        // C uses the scientific form if the exponent is below -4, or at least the precision.
        let last_digit = precision as i32 - 1;
        if exponent < -4 || exponent > last_digit {
            let sign = if exponent < 0 { '-' } else { '+' };
            write!(f, "{}e{sign}{:02}", without_trailing_zeros(mantissa), exponent.abs())
        } else {
            let decimals = (last_digit - exponent) as usize;
            f.write_str(without_trailing_zeros(&format!("{value:.decimals$}")))
        }
    }
}

fn without_trailing_zeros(number: &str) -> &str {
    if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn training_line_equals_that_of_the_original_script() {
        let line =
            TrainingLine { step: 100, global_step: 101, loss: 0.74, sec_per_batch: 0.004_49 };
        assert_eq!(
            line.to_string(),
            "After 100 training steps (101 global step), loss on training batch is 0.74. (0.004 \
             sec/batch)"
        );
    }

    #[test]
    fn percent_g_prints_what_python_prints() {
        // The expected texts come from: python3 -c 'for x in [...]: print((x, "%g" % x, "%.9g" %
        // x))'
        for (value, g, g9) in include!("percent_g.in") {
            assert_eq!(PercentG::new(value).to_string(), g);
            assert_eq!(PercentG::new(value).with_precision(9).to_string(), g9);
        }
    }

    #[test]
    fn seconds_are_rounded_as_in_python() {
        // The expected texts come from: python3: ["%.3f" % x for x in (0.0005, 0.0015, 2.5e-3,
        // 1e3)]
        let printed = [0.0005, 0.0015, 2.5e-3, 1e3].map(|secs: f64| format!("{secs:.3}"));
        assert_eq!(printed, ["0.001", "0.002", "0.003", "1000.000"]);
    }
}
