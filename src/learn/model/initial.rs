//! Initial values of the variables, as a function of the seed and the variable's number.

use ndarray::ArrayD;

use crate::model::elementary::ln;
use crate::model::layout::Variable;
use unisono_core::random::{Purpose, Stream};

/// Standard deviation of the normal distribution before truncation, as in the original TensorFlow
/// script.
const STANDARD_DEVIATION: f64 = 0.1;
/// Random values that are further from the mean than this number of standard deviations are
/// rejected, as in `tf.truncated_normal`.
const TRUNCATION: f64 = 2.0;

/// Returns the initial values of `variables`. The variables must be in creation order.
///
/// Variables of two or more dimensions get values from a normal distribution with standard
/// deviation 0.1, truncated at two standard deviations. All other variables are 0.
#[must_use]
pub fn initial_values(variables: &[Variable], seed: u64) -> Vec<ArrayD<f32>> {
    let values = |(i, variable): (usize, &Variable)| {
        let n_elements = variable.n_elements();
        if variable.shape.len() < 2 {
            return variable.array(vec![0.0; n_elements]);
        }
        let mut normal = Normal::new(Stream::new(seed, Purpose::InitialValues, i as u64, 0));
        let mut value = || (normal.truncated() * STANDARD_DEVIATION) as f32;
        variable.array((0..n_elements).map(|_| value()).collect())
    };
    variables.iter().enumerate().map(values).collect()
}

/// Generates random numbers with a standard normal distribution. Marsaglia's polar method ("A
/// convenient method for generating normal variables", 1964) needs no sine or cosine.
struct Normal {
    stream: Stream,
    /// The second number of the last generated pair; `None` if this number was used. The method
    /// generates two numbers at a time.
    spare: Option<f64>,
}

impl Normal {
    const fn new(stream: Stream) -> Self {
        Self { stream, spare: None }
    }

    fn truncated(&mut self) -> f64 {
        loop {
            let z = self.next();
            if z.abs() < TRUNCATION {
                return z;
            }
        }
    }

    fn next(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let u = 2.0 * self.stream.unit() - 1.0;
            let v = 2.0 * self.stream.unit() - 1.0;
            let s = u * u + v * v;
            if s > 0.0 && s < 1.0 {
                let factor = (-2.0 * ln(s) / s).sqrt();
                self.spare = Some(v * factor);
                return u * factor;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Vec<Variable> {
        let variable = |shape: &[usize]| Variable {
            name: "v".into(),
            shape: shape.into(),
            regularized: false,
        };
        vec![variable(&[300, 500]), variable(&[500]), variable(&[300, 500])]
    }

    #[test]
    fn weights_are_normal_truncated_at_two_standard_deviations() {
        let weights = &initial_values(&variables(), 3)[0];
        let n = weights.len() as f64;
        let mean = weights.iter().map(|&w| f64::from(w)).sum::<f64>() / n;
        let deviation = (weights.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>() / n).sqrt();
        // Truncation at two standard deviations reduces the standard deviation of a normal
        // distribution to 0.87963 of its value.
        assert!(mean.abs() < 0.001 && (deviation - 0.087_963).abs() < 0.0005, "{mean} {deviation}");
        let largest = weights.iter().fold(0.0f32, |max, w| max.max(w.abs()));
        assert!((0.1995..=0.2).contains(&largest), "{largest}");
        let within_one = weights.iter().filter(|w| w.abs() < 0.1).count() as f64 / n;
        assert!((within_one - 0.682_69 / 0.954_5).abs() < 0.005, "{within_one}");
    }

    #[test]
    fn biases_are_zero_and_weights_depend_on_variable_and_seed() {
        let values = initial_values(&variables(), 3);
        assert!(values[1].iter().all(|&b| b == 0.0));
        assert_ne!(values[0], values[2]);
        assert_ne!(values[0], initial_values(&variables(), 4)[0]);
    }

    #[test]
    fn initial_values_keep_their_recorded_bits() {
        let values = initial_values(&variables(), 1);
        let first: Vec<_> = values[0].iter().take(6).map(|w| w.to_bits()).collect();
        insta::assert_snapshot!(format!("{first:08x?}"), @"[bd52167c, 3d82f53e, bc36f3aa, bd5f175f, 3d4ed55a, 3d9b020b]");
    }
}
