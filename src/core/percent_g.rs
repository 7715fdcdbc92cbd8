//! Formats numbers like C's `%g`, which is the format of a loss in the original script's output and
//! in `losses.csv`.

use std::fmt;

/// A number that is formatted like C's and Python's `%g`, or like `%.9g` if the precision is 9.
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

    /// Formats the value as `%.{precision}g`. As in C, a precision of 0 is treated as 1.
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
        // The value is rounded first, because rounding may change the exponent, which selects the
        // form below.
        let scientific = format!("{value:.*e}", precision - 1);
        let (mantissa, exponent) = scientific.split_once('e').expect("{:e} prints an e");
        let exponent: i32 = exponent.parse().expect("an exponent is a number");
        // C uses the scientific form if the exponent is below -4, or is at least the precision.
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
    fn percent_g_prints_what_python_prints() {
        // python3 -c 'for x in [...]: print((x, "%g" % x, "%.9g" % x))'
        for (value, g, g9) in include!("percent_g.in") {
            assert_eq!(PercentG::new(value).to_string(), g);
            assert_eq!(PercentG::new(value).with_precision(9).to_string(), g9);
        }
    }
}
