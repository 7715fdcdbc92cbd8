//! The update rules of TensorFlow's `training_ops.cc`, which treat each element separately.
//!
//! Every operation on an element rounds its result to f32. The operations run in the order in which
//! the code states them.

use unisono_core::ids::Step;
use unisono_core::train_config::Optimizer;

/// An update rule with the numbers of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rule {
    /// Plain gradient descent.
    Sgd { learning_rate: f32 },
    /// Momentum, which keeps one buffer.
    Momentum { learning_rate: f32, momentum: f32, nesterov: bool },
    /// Adam, which keeps two buffers.
    Adam {
        /// The scheduled learning rate, multiplied by the bias correction of this step.
        learning_rate: f32,
        /// 1 - β1, subtracted in f32 as in TensorFlow.
        one_minus_beta1: f32,
        /// 1 - β2, subtracted in f32 as in TensorFlow.
        one_minus_beta2: f32,
        epsilon: f32,
    },
}

/// Returns the suffixes that TensorFlow appends to a variable's name to name the optimizer's
/// buffers.
pub(crate) const fn buffer_names(optimizer: Optimizer) -> &'static [&'static str] {
    match optimizer {
        Optimizer::Sgd => &[],
        Optimizer::Momentum { .. } => &["Momentum"],
        Optimizer::Adam { .. } => &["Adam", "Adam_1"],
    }
}

impl Rule {
    /// Returns the rule for update `step`. `learning_rate` is the scheduled learning rate of this
    /// update.
    pub(crate) fn new(optimizer: Optimizer, step: Step, learning_rate: f32) -> Self {
        match optimizer {
            Optimizer::Sgd => Self::Sgd { learning_rate },
            Optimizer::Momentum { momentum, nesterov } => {
                Self::Momentum { learning_rate, momentum: momentum as f32, nesterov }
            }
            Optimizer::Adam { beta1, beta2, epsilon } => {
                // Adam counts updates from 1. `libm` computes the powers, because the bits of the
                // platform's `pow` depend on the CPU.
                let t = step.next().0 as f64;
                let correction = (1.0 - libm::pow(beta2, t)).sqrt() / (1.0 - libm::pow(beta1, t));
                Self::Adam {
                    learning_rate: (f64::from(learning_rate) * correction) as f32,
                    one_minus_beta1: 1.0 - beta1 as f32,
                    one_minus_beta2: 1.0 - beta2 as f32,
                    epsilon: epsilon as f32,
                }
            }
        }
    }

    /// Applies a gradient to a chunk of a variable, and updates the same chunk of each of the
    /// optimizer's buffers.
    #[inline(always)]
    pub(crate) fn apply(self, gradient: &[f32], var: &mut [f32], buffers: &mut [&mut [f32]]) {
        let var_and_gradient = var.iter_mut().zip(gradient);
        match (self, buffers) {
            (Self::Sgd { learning_rate }, _) => {
                var_and_gradient.for_each(|(var, g)| *var -= learning_rate * g);
            }
            (Self::Momentum { learning_rate, momentum, nesterov: false }, [accum, ..]) => {
                for ((var, g), accum) in var_and_gradient.zip(accum.iter_mut()) {
                    *accum = momentum * *accum + g;
                    *var -= learning_rate * *accum;
                }
            }
            (Self::Momentum { learning_rate, momentum, nesterov: true }, [accum, ..]) => {
                for ((var, g), accum) in var_and_gradient.zip(accum.iter_mut()) {
                    *accum = momentum * *accum + g;
                    *var -= g * learning_rate + *accum * momentum * learning_rate;
                }
            }
            (
                Self::Adam { learning_rate, one_minus_beta1, one_minus_beta2, epsilon },
                [m, v, ..],
            ) => {
                let moments = m.iter_mut().zip(v.iter_mut());
                for ((var, g), (m, v)) in var_and_gradient.zip(moments) {
                    *m += (g - *m) * one_minus_beta1;
                    *v += (g * g - *v) * one_minus_beta2;
                    *var -= learning_rate * *m / (v.sqrt() + epsilon);
                }
            }
            (rule, buffers) => panic!("{rule:?} with {} buffers", buffers.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asserts that three steps of a rule agree with `reference`, which computes the rule in f64.
    fn compare(optimizer: Optimizer, reference: impl Fn(f64, f64, &mut f64, &mut [f64; 2])) {
        let gradients = [0.5f32, -0.25, 1.0, 0.125, -2.0];
        let (mut var, mut a, mut b) = ([1.0f32; 5], [0.0f32; 5], [0.0f32; 5]);
        let mut want: Vec<_> = (0..5).map(|_| (1.0f64, [0.0f64; 2])).collect();
        for step in 0..3 {
            let gradients = gradients.map(|g| g * (step + 1) as f32);
            let rule = Rule::new(optimizer, Step(step), 0.1);
            rule.apply(&gradients, &mut var, &mut [&mut a, &mut b]);
            for ((var, buffers), g) in want.iter_mut().zip(gradients) {
                reference((step + 1) as f64, f64::from(g), var, buffers);
            }
        }
        for (got, (want, _)) in var.iter().zip(&want) {
            assert!((f64::from(*got) - want).abs() < 2e-6, "{var:?}, want {want:?}");
        }
    }

    #[test]
    fn sgd_agrees_with_its_formula() {
        compare(Optimizer::Sgd, |_, g, var, _| *var -= 0.1 * g);
    }

    #[test]
    fn momentum_agrees_with_its_formula() {
        let optimizer = Optimizer::Momentum { momentum: 0.9, nesterov: false };
        compare(optimizer, |_, g, var, [accum, _]| {
            *accum = 0.9 * *accum + g;
            *var -= 0.1 * *accum;
        });
    }

    #[test]
    fn nesterov_momentum_agrees_with_its_formula() {
        let optimizer = Optimizer::Momentum { momentum: 0.9, nesterov: true };
        compare(optimizer, |_, g, var, [accum, _]| {
            *accum = 0.9 * *accum + g;
            *var -= 0.1 * (g + 0.9 * *accum);
        });
    }

    #[test]
    fn adam_agrees_with_its_formula_including_bias_correction() {
        let optimizer = Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
        compare(optimizer, |t, g, var, [m, v]| {
            *m = 0.9 * *m + 0.1 * g;
            *v = 0.999 * *v + 0.001 * g * g;
            let (m_hat, v_hat) = (*m / (1.0 - 0.9f64.powf_(t)), *v / (1.0 - 0.999f64.powf_(t)));
            *var -= 0.1 * m_hat / (v_hat.sqrt() + 1e-8);
        });
    }

    trait Power {
        fn powf_(self, exponent: f64) -> f64;
    }

    impl Power for f64 {
        fn powf_(self, exponent: f64) -> f64 {
            libm::pow(self, exponent)
        }
    }

    #[test]
    fn product_and_subtraction_are_rounded_separately() {
        // A fused multiply-subtract would not round the product, and would leave a remainder.
        let (lr, g) = (0.1f32, 0.3f32);
        let mut var = [lr * g];
        Rule::new(Optimizer::Sgd, Step(0), lr).apply(&[g], &mut var, &mut []);
        assert_eq!(var, [0.0]);
    }
}
