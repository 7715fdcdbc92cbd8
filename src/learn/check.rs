//! Checks that a model follows the contract of [`Model`]: its results are a pure function of the
//! arguments, and its gradient is the derivative of its loss.

use ndarray::ArrayD;

use unisono_config::RunConfig;
use unisono_core::floats::{Buffer, Floats};
use unisono_core::ids::{Slot, Step};
use unisono_core::random::Stream;
use unisono_core::train_config::Placement;

use crate::model::{Batch, Draw, Gradient, Layout, Model, Parameters, SimdLevel, Variable};
use crate::workload::Workload;

/// The purpose of the random streams of the checks. The purposes of training are below 2^32.
const CHECK: u64 = 1 << 33;
/// Number of directions in which the derivative with respect to each variable is compared.
const DIRECTIONS: u64 = 4;
/// Distance of the points of a difference quotient from the variable's value, in the Euclidean norm.
/// With a larger distance, more units of the model would cross a kink of their activation.
const H: f64 = 2e-3;
/// Largest relative difference between a derivative and its difference quotient.
const TOLERANCE: f64 = 0.02;

/// Checks the model of a workload on a batch of its training examples.
///
/// `run` has the settings of the model. The checks are: every call returns the same variables and
/// initial values; loss, gradient and logits have the same bits on a new instance, on a used one,
/// after [`Model::prepare`], for every SIMD level and every layout, whatever the buffers contained
/// before; every element of the gradient is written; and the gradient, with that of the L2 term,
/// agrees with difference quotients of the loss.
///
/// # Errors
/// Returns an error with the first violation.
pub fn check_model(workload: &Workload, run: &RunConfig) -> Result<(), String> {
    let level = SimdLevel::detect();
    let plan = workload.plan(run, level).map_err(|error| error.to_string())?;
    let n = plan.train.batch_size.min(plan.data.train.len());
    let rows: Vec<_> = (0..n).collect();
    let others: Vec<_> = (0..n.div_ceil(2)).rev().collect();
    let examples = &plan.data.train;
    let draw = Some(Draw { seed: 1, slot: Slot(0), step: Step(0) });
    let batch = Batch { examples, rows: &rows, draw };
    let mut model = plan.model();

    let variables = model.variables();
    if plan.model().variables() != variables || model.variables() != variables {
        return Err("two calls of `variables` return different variables".to_owned());
    }
    let values = model.initial_values(plan.train.seed);
    check_initial(&variables, &values)?;
    if plan.model().initial_values(plan.train.seed) != values {
        return Err("two calls of `initial_values` return different values".to_owned());
    }
    // The checks need other values than the initial ones. Initial biases are zero, and units may
    // lie on a kink of their activation.
    let values = moved(&values);

    let one = |layout: &Layout, model: &mut dyn Model| Computed::new(layout, model, &values, batch);
    let whole = Layout::new(variables.clone(), 1, Placement::Even);
    let first = one(&whole, &mut *model)?;
    if first.logits.len() != n * examples.n_classes() {
        return Err(format!(
            "`logits` returns {} values for {n} examples of {} classes",
            first.logits.len(),
            examples.n_classes()
        ));
    }
    let same = |computed: &Computed, when: &str| first.compare(computed, &variables, when);
    same(&one(&whole, &mut *model)?, "in a second call")?;
    Computed::new(&whole, &mut *model, &values, Batch { examples, rows: &others, draw })?;
    same(&one(&whole, &mut *model)?, "after a batch of another size")?;
    same(&one(&whole, &mut *plan.model())?, "on a new instance")?;
    model.prepare(batch);
    same(&one(&whole, &mut *model)?, "after `prepare`")?;
    for (n_ps, placement) in [(2, Placement::RoundRobin), (3, Placement::Even)] {
        let layout = Layout::new(variables.clone(), n_ps, placement);
        same(&one(&layout, &mut *plan.model())?, &format!("with {n_ps} shards"))?;
    }
    for level in SimdLevel::available() {
        let plan = workload.plan_on(run, plan.data.clone(), level);
        let mut model = plan.map_err(|error| error.to_string())?.model();
        same(&one(&whole, &mut *model)?, &format!("on the SIMD level {level}"))?;
    }
    let rate = plan.train.regularization_rate;
    check_derivatives(&whole, &mut *model, &values, &first, batch, rate)
}

fn check_initial(variables: &[Variable], values: &[ArrayD<f32>]) -> Result<(), String> {
    if values.len() != variables.len() {
        let (n, of) = (values.len(), variables.len());
        return Err(format!("`initial_values` returns {n} arrays for {of} variables"));
    }
    for (Variable { name, shape, .. }, values) in variables.iter().zip(values) {
        if values.shape() != shape {
            let found = values.shape();
            return Err(format!(
                "the initial value of {name} has the shape {found:?}, not {shape:?}"
            ));
        }
        if values.iter().any(|value| !value.is_finite()) {
            return Err(format!("an initial value of {name} is infinite or NaN"));
        }
    }
    Ok(())
}

/// Adds a small random number to each value.
fn moved(values: &[ArrayD<f32>]) -> Vec<ArrayD<f32>> {
    let moved = |(number, values): (u64, &ArrayD<f32>)| {
        let mut stream = Stream::new(0, CHECK, number, u64::MAX);
        values.mapv(|value| value + 0.1 * (stream.unit() as f32 - 0.5))
    };
    (0..).zip(values).map(moved).collect()
}

/// The results of a model for a batch.
struct Computed {
    loss: f32,
    gradient: Vec<ArrayD<f32>>,
    logits: Vec<f32>,
}

impl Computed {
    /// Computes the results twice, with different garbage in the buffers of the gradient.
    fn new(
        layout: &Layout,
        model: &mut dyn Model,
        values: &[ArrayD<f32>],
        batch: Batch<'_>,
    ) -> Result<Self, String> {
        let shards = layout.split(values);
        let parameters = Parameters::new(layout, &shards);
        let mut gradient = |garbage: f32| {
            let buffer = |ps| Buffer::from(vec![garbage; layout.shard_len(ps)]);
            let mut buffers: Vec<_> = (0..layout.n_ps()).map(buffer).collect();
            let loss = model.gradient(batch, parameters, Gradient::new(layout, &mut buffers));
            let shards: Vec<_> = buffers.into_iter().map(Floats::from).collect();
            (loss, layout.gather(&shards))
        };
        let (loss, with_nan) = gradient(f32::NAN);
        let (_, with_one) = gradient(1.0);
        for (variable, (ours, theirs)) in
            layout.variables().iter().zip(with_nan.iter().zip(&with_one))
        {
            if let Some(at) = difference(ours.iter(), theirs.iter()) {
                return Err(format!(
                    "element {at} of the gradient of {} depends on what its buffer contained: write \
                     every element",
                    variable.name
                ));
            }
        }
        let mut logits = vec![f32::NAN; 3];
        model.logits(batch, parameters, &mut logits);
        Ok(Self { loss, gradient: with_nan, logits })
    }

    fn compare(&self, other: &Self, variables: &[Variable], when: &str) -> Result<(), String> {
        if self.loss.to_bits() != other.loss.to_bits() {
            return Err(format!("the loss is {:?}, but {:?} {when}", self.loss, other.loss));
        }
        for (variable, (ours, theirs)) in
            variables.iter().zip(self.gradient.iter().zip(&other.gradient))
        {
            if let Some(at) = difference(ours.iter(), theirs.iter()) {
                let name = &variable.name;
                return Err(format!("element {at} of the gradient of {name} is different {when}"));
            }
        }
        match difference(self.logits.iter(), other.logits.iter()) {
            Some(at) => Err(format!("logit {at} is different {when}")),
            None => Ok(()),
        }
    }
}

/// Returns the index of the first element with different bits, or of the first missing element.
fn difference<'a>(
    ours: impl ExactSizeIterator<Item = &'a f32>,
    theirs: impl ExactSizeIterator<Item = &'a f32>,
) -> Option<usize> {
    let shorter = ours.len().min(theirs.len());
    let same_length = ours.len() == theirs.len();
    let mut pairs = ours.zip(theirs);
    let differs = pairs.position(|(ours, theirs)| ours.to_bits() != theirs.to_bits());
    differs.or_else(|| (!same_length).then_some(shorter))
}

/// Compares the gradient with difference quotients of the loss, variable by variable.
fn check_derivatives(
    layout: &Layout,
    model: &mut dyn Model,
    values: &[ArrayD<f32>],
    computed: &Computed,
    batch: Batch<'_>,
    regularization_rate: f64,
) -> Result<(), String> {
    for (number, variable) in layout.variables().iter().enumerate() {
        let rate = if variable.regularized { regularization_rate } else { 0.0 };
        let (value, gradient) = (&values[number], &computed.gradient[number]);
        for nth in 0..DIRECTIONS {
            let direction = direction(variable.n_elements(), number as u64, nth);
            let terms = direction.iter().zip(value.iter().zip(gradient));
            let derivative: f64 =
                terms.map(|(d, (w, g))| d * (f64::from(*g) + rate * f64::from(*w))).sum();
            let mut loss_at = |distance: f64| {
                let mut values = values.to_vec();
                for (value, d) in values[number].iter_mut().zip(&direction) {
                    *value = (f64::from(*value) + distance * d) as f32;
                }
                Computed::new(layout, model, &values, batch).map(|at| f64::from(at.loss))
            };
            let mut quotient = |h: f64| Ok::<_, String>((loss_at(h)? - loss_at(-h)?) / (2.0 * h));
            let (coarse, fine) = (quotient(H)?, quotient(H / 2.0)?);
            // `rounding` bounds the rounding errors of the losses. `coarse - fine` shows the error
            // of the difference quotient that is due to the curvature.
            let rounding = 8.0 * f64::from(f32::EPSILON) * f64::from(computed.loss).abs() / H;
            let allowed = rounding + 2.0 * (coarse - fine).abs() + TOLERANCE * fine.abs();
            // A NaN is close to no number.
            let is_close = (derivative - fine).abs() <= allowed;
            if !is_close {
                let hint = if rate > 0.0 {
                    "; the loss must include the L2 term Σ λ·w²/2, and the gradient must not"
                } else {
                    ""
                };
                return Err(format!(
                    "the gradient of {} is not the derivative of the loss: in a random direction it \
                     is {derivative:.6}, but the loss has the slope {fine:.6}{hint}",
                    variable.name
                ));
            }
        }
    }
    Ok(())
}

/// Returns a random direction of length 1.
fn direction(n: usize, variable: u64, nth: u64) -> Vec<f64> {
    let mut stream = Stream::new(0, CHECK, variable, nth);
    let direction: Vec<f64> = (0..n).map(|_| stream.unit() - 0.5).collect();
    let length = direction.iter().map(|d| d * d).sum::<f64>().sqrt();
    direction.iter().map(|d| d / length).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;

    /// Linear regression to the label: loss = mean (x·w + b − label)² / 2, with one mistake.
    struct Line {
        mistake: Mistake,
        n_calls: f32,
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Mistake {
        None,
        WrongGradient,
        ForgetsAnElement,
        Remembers,
        DependsOnLevel(SimdLevel),
        CountsLogits,
    }

    impl Model for Line {
        fn variables(&self) -> Vec<Variable> {
            let variable = |name: &str, shape: &[usize], regularized| Variable {
                name: name.to_owned(),
                shape: shape.to_vec(),
                regularized,
            };
            vec![variable("w", &[784, 1], true), variable("b", &[1], false)]
        }

        fn gradient(
            &mut self,
            Batch { examples, rows, .. }: Batch<'_>,
            parameters: Parameters<'_>,
            mut gradient: Gradient<'_>,
        ) -> f32 {
            let (w, b) = (parameters.read(0), parameters.read(1));
            let (mut dw, mut db, mut loss) = (ArrayD::zeros(vec![784, 1]), 0.0, 0.0);
            for &row in rows {
                let (columns, values) = examples.row(row);
                let terms = columns.iter().zip(&values).map(|(c, x)| w[[*c as usize, 0]] * x);
                let error = terms.sum::<f32>() + b[[0]] - examples.label(row) as f32;
                loss += error * error / 2.0;
                db += error;
                columns.iter().zip(&values).for_each(|(c, x)| dw[[*c as usize, 0]] += error * x);
            }
            let scale = 1.0 / rows.len() as f32;
            let factor = if self.mistake == Mistake::WrongGradient { 1.1 } else { 1.0 };
            gradient.write(0, (dw * scale * factor).view());
            if self.mistake != Mistake::ForgetsAnElement {
                gradient.write(1, ArrayD::from_elem(vec![1], db * scale).view());
            }
            self.n_calls += 1.0;
            loss * scale
                + match self.mistake {
                    Mistake::Remembers => self.n_calls,
                    Mistake::DependsOnLevel(SimdLevel::Portable) => 1.0,
                    _ => 0.0,
                }
        }

        fn logits(&mut self, batch: Batch<'_>, _: Parameters<'_>, logits: &mut Vec<f32>) {
            logits.clear();
            let n = if self.mistake == Mistake::CountsLogits { 1 } else { 10 };
            logits.resize(n * batch.rows.len(), 0.0);
        }
    }

    fn checked(make: impl Fn(SimdLevel) -> Mistake + Send + Sync + 'static, rate: f64) -> String {
        let workload = Workload::new("line", move |setup, _: &Dataset| {
            Ok(Line { mistake: make(setup.level()), n_calls: 0.0 })
        });
        let mut run = RunConfig::default();
        run.train.batch_size = 20;
        run.train.regularization_rate = rate;
        check_model(&workload, &run).err().unwrap_or_default()
    }

    #[test]
    fn every_mistake_is_reported() {
        let found = |mistake| checked(move |_| mistake, 0.0);
        assert_eq!(found(Mistake::None), "");
        insta::assert_snapshot!(found(Mistake::ForgetsAnElement), @"element 0 of the gradient of b depends on what its buffer contained: write every element");
        insta::assert_snapshot!(found(Mistake::CountsLogits), @"`logits` returns 20 values for 20 examples of 10 classes");
        let wrong = found(Mistake::WrongGradient);
        assert!(
            wrong.starts_with("the gradient of w is not the derivative of the loss"),
            "{wrong}"
        );
        assert!(found(Mistake::Remembers).ends_with("in a second call"));
        let by_level = checked(Mistake::DependsOnLevel, 0.0);
        assert!(by_level.ends_with("on the SIMD level portable"), "{by_level}");
        let without_l2 = checked(|_| Mistake::None, 0.5);
        assert!(without_l2.contains("must include the L2 term"), "{without_l2}");
    }

    #[test]
    fn built_in_model_passes() {
        let mut run = RunConfig::default();
        run.train.hidden = vec![12, 7];
        run.train.batch_size = 20;
        run.train.regularization_rate = 0.01;
        assert_eq!(check_model(&Workload::built_in(), &run), Ok(()));
    }
}
