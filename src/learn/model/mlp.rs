//! The multilayer perceptron: a sparse first layer, dense layers with ReLU between the layers,
//! softmax cross-entropy, and an L2 term.

use std::collections::BTreeMap;

use crate::model::lanes::{Kernel, Lanes};
use crate::model::layout::Variable;
use crate::model::model::{Batch, Gradient, Model, Parameters};
use crate::model::simd::SimdLevel;
use crate::model::workspace::{Squares, Workspace};

/// A fully connected network with the variables `layer1/weights`, `layer1/biases`, ….
#[derive(Debug)]
pub struct Mlp {
    /// The number of features, the sizes of the hidden layers, and the number of classes.
    sizes: Vec<usize>,
    regularization_rate: f64,
    level: SimdLevel,
    workspace: Workspace,
    /// The row indices of the batch that [`Model::prepare`] has loaded into the workspace. Empty if
    /// no batch is prepared.
    prepared: Vec<usize>,
}

impl Mlp {
    /// Creates a network. `sizes` contains the number of features, the sizes of the hidden layers,
    /// and the number of classes, in this order.
    ///
    /// A network without hidden layers is softmax regression. `regularization_rate` is the factor λ
    /// of the L2 term Σ λ·w²/2 over the weights.
    ///
    /// # Panics
    /// If `sizes` has fewer than two elements or contains a 0, or if this CPU does not support
    /// `level`.
    #[must_use]
    pub fn new(sizes: &[usize], regularization_rate: f64, level: SimdLevel) -> Self {
        assert!(sizes.len() >= 2, "a model needs features and classes, not {sizes:?}");
        assert!(sizes.iter().all(|&size| size > 0), "no layer may be empty: {sizes:?}");
        assert!(level.is_available(), "this CPU does not support {level}");
        let workspace = Workspace::new(sizes);
        let prepared = Vec::new();
        Self { sizes: sizes.to_vec(), regularization_rate, level, workspace, prepared }
    }

    fn load_batch(&mut self, batch: Batch<'_>) {
        assert_eq!(batch.examples.n_features(), self.sizes[0], "features of the examples");
        let n_classes = self.sizes[self.sizes.len() - 1];
        assert_eq!(batch.examples.n_classes(), n_classes, "classes of the examples");
        assert!(!batch.rows.is_empty(), "a batch needs an example");
        self.prepared.clear();
        self.workspace.load_batch(batch);
    }
}

/// Returns the variables of a network, in creation order. `sizes` contains the number of features,
/// the sizes of the hidden layers, and the number of classes.
#[must_use]
pub fn variables(sizes: &[usize]) -> Vec<Variable> {
    let layer = |(i, pair): (usize, &[usize])| {
        let name = |what| format!("layer{}/{what}", i + 1);
        [
            Variable { name: name("weights"), shape: pair.to_vec(), regularized: true },
            Variable { name: name("biases"), shape: vec![pair[1]], regularized: false },
        ]
    };
    sizes.windows(2).enumerate().flat_map(layer).collect()
}

/// Returns the layer sizes of a network, from features to classes. `shapes` maps the names of the
/// network's tensors to their shapes.
///
/// # Errors
/// If the shapes are not the shapes of a multilayer perceptron. The error text is for the user.
pub fn layer_sizes(shapes: &BTreeMap<String, Vec<usize>>) -> Result<Vec<usize>, String> {
    let mut sizes = Vec::new();
    for layer in 1.. {
        let Some(shape) = shapes.get(&format!("layer{layer}/weights")) else { break };
        match shape[..] {
            [rows, columns] if sizes.is_empty() => sizes.extend([rows, columns]),
            [rows, columns] if sizes.last() == Some(&rows) => sizes.push(columns),
            _ => {
                return Err(format!(
                    "the shape of layer{layer}/weights does not fit the layer before"
                ));
            }
        }
    }
    if sizes.is_empty() {
        return Err("it has no tensor layer1/weights: it is not a multilayer perceptron".to_owned());
    }
    Ok(sizes)
}

impl Model for Mlp {
    fn variables(&self) -> Vec<Variable> {
        variables(&self.sizes)
    }

    fn prepare(&mut self, batch: Batch<'_>) {
        self.load_batch(batch);
        self.prepared.extend_from_slice(batch.rows);
    }

    fn gradient(
        &mut self,
        batch: Batch<'_>,
        parameters: Parameters<'_>,
        gradient: Gradient<'_>,
    ) -> f32 {
        if self.prepared.is_empty() {
            self.load_batch(batch);
        } else {
            assert_eq!(self.prepared, batch.rows, "the batch that was prepared");
            self.prepared.clear();
        }
        let regularization_rate = self.regularization_rate;
        let workspace = &mut self.workspace;
        self.level.run(GradientKernel { workspace, parameters, gradient, regularization_rate })
    }

    fn logits(&mut self, batch: Batch<'_>, parameters: Parameters<'_>, logits: &mut Vec<f32>) {
        self.load_batch(batch);
        self.level.run(LogitsKernel { workspace: &mut self.workspace, parameters });
        logits.clear();
        for row in 0..batch.rows.len() {
            logits.extend_from_slice(self.workspace.logits(row));
        }
    }
}

/// The computation of a loss and its gradient as one kernel, so that all loops are compiled for the
/// same SIMD level.
struct GradientKernel<'a> {
    workspace: &'a mut Workspace,
    parameters: Parameters<'a>,
    gradient: Gradient<'a>,
    regularization_rate: f64,
}

impl Kernel for GradientKernel<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) -> f32 {
        let regularized = self.regularization_rate > 0.0;
        let squares = if regularized { Squares::Wanted } else { Squares::NotWanted };
        let squares = self.workspace.forward(lanes, self.parameters, squares);
        let cross_entropy = self.workspace.backward(lanes, &mut self.gradient);
        let l2 = if regularized { self.regularization_rate * squares / 2.0 } else { 0.0 };
        (cross_entropy + l2) as f32
    }
}

struct LogitsKernel<'a> {
    workspace: &'a mut Workspace,
    parameters: Parameters<'a>,
}

impl Kernel for LogitsKernel<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        self.workspace.forward(lanes, self.parameters, Squares::NotWanted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Examples;
    use crate::model::elementary::{exp, ln};
    use crate::model::layout::Layout;
    use crate::model::testing::{flat, gather, split};
    use crate::model::update::UpdateRule;
    use unisono_core::floats::{Buffer, Floats, Pool};
    use unisono_core::ids::{Slot, Step};
    use unisono_core::protocol::ShardState;
    use unisono_core::random::{Purpose, Stream};
    use unisono_core::train_config::{Placement, TrainConfig};

    const REGULARIZATION_RATE: f64 = 0.01;

    /// Returns random examples. Three quarters of their features are zero.
    fn examples(n: usize, n_features: usize, n_classes: usize) -> Examples {
        let mut stream = Stream::new(5, Purpose::Permutation, 0, 0);
        let mut examples = Examples::new(n_features, n_classes);
        for _ in 0..n {
            let label = stream.below(n_classes as u64) as u32;
            let mut feature = || if stream.below(4) == 0 { stream.unit() as f32 } else { 0.0 };
            examples.push((0..n_features).map(|_| feature()).collect::<Vec<_>>(), label);
        }
        examples
    }

    fn run_gradient(
        model: &mut Mlp,
        layout: &Layout,
        variables: &[Vec<f32>],
        batch: Batch<'_>,
    ) -> (f32, Vec<Vec<f32>>) {
        let shards = split(layout, variables);
        // The gradient is first filled with NaNs. The kernel must overwrite all of them.
        let mut gradient: Vec<Buffer> =
            shards.iter().map(|shard| vec![f32::NAN; shard.len()].into()).collect();
        let parameters = Parameters::new(layout, &shards);
        let loss = model.gradient(batch, parameters, Gradient::new(layout, &mut gradient));
        let gradient: Vec<_> = gradient.into_iter().map(Floats::from).collect();
        (loss, gather(layout, &gradient))
    }

    /// Computes the loss, including the L2 term, and the gradient of the cross-entropy. All
    /// arithmetic is in f64, by the textbook formulas.
    fn naive(sizes: &[usize], variables: &[Vec<f64>], batch: Batch<'_>) -> (f64, Vec<Vec<f64>>) {
        let mut gradient: Vec<_> = variables.iter().map(|v| vec![0.0; v.len()]).collect();
        let n_layers = sizes.len() - 1;
        let n_rows = batch.rows.len() as f64;
        let mut loss = 0.0;
        for &row in batch.rows {
            let mut input = vec![0.0; sizes[0]];
            let (columns, values) = batch.examples.row(row);
            for (&column, &value) in columns.iter().zip(&values) {
                input[column as usize] = f64::from(value);
            }
            let mut outputs = vec![input];
            for l in 0..n_layers {
                let (weights, biases) = (&variables[2 * l], &variables[2 * l + 1]);
                let sum = |j: usize| {
                    let terms = outputs[l].iter().enumerate();
                    terms.map(|(i, x)| x * weights[i * sizes[l + 1] + j]).sum::<f64>() + biases[j]
                };
                let relu = |z: f64| if l + 1 < n_layers { z.max(0.0) } else { z };
                outputs.push((0..sizes[l + 1]).map(|j| relu(sum(j))).collect());
            }
            let label = batch.examples.label(row) as usize;
            let total: f64 = outputs[n_layers].iter().map(|&z| exp(z)).sum();
            loss += (ln(total) - outputs[n_layers][label]) / n_rows;
            let softmax = outputs[n_layers].iter().map(|&z| exp(z) / total);
            let mut deltas: Vec<f64> =
                softmax.enumerate().map(|(j, p)| (p - f64::from(j == label)) / n_rows).collect();
            for l in (0..n_layers).rev() {
                let weights = &variables[2 * l];
                let mut before = vec![0.0; sizes[l]];
                for i in 0..sizes[l] {
                    for j in 0..sizes[l + 1] {
                        gradient[2 * l][i * sizes[l + 1] + j] += outputs[l][i] * deltas[j];
                        before[i] += weights[i * sizes[l + 1] + j] * deltas[j];
                    }
                    if outputs[l][i] <= 0.0 {
                        before[i] = 0.0;
                    }
                }
                for (sum, delta) in gradient[2 * l + 1].iter_mut().zip(&deltas) {
                    *sum += delta;
                }
                deltas = before;
            }
        }
        let squares: f64 = variables.iter().step_by(2).flatten().map(|w| w * w).sum();
        (loss + REGULARIZATION_RATE * squares / 2.0, gradient)
    }

    fn wide(variables: &[Vec<f32>]) -> Vec<Vec<f64>> {
        variables.iter().map(|v| v.iter().map(|&x| f64::from(x)).collect()).collect()
    }

    const SHAPES: [&[usize]; 5] = [&[9, 3], &[1, 1], &[20, 13, 4], &[12, 7, 5, 3], &[90, 70, 10]];

    /// Returns initial values, but with biases of which most are not zero.
    fn variables(model: &Mlp) -> Vec<Vec<f32>> {
        let mut variables: Vec<_> = model.initial_values(2).iter().map(flat).collect();
        for (i, bias) in variables.iter_mut().skip(1).step_by(2).flatten().enumerate() {
            *bias = 0.05 * ((i % 5) as f32 - 2.0);
        }
        variables
    }

    #[test]
    fn gradient_agrees_with_the_textbook_formulas() {
        for sizes in SHAPES {
            let examples = examples(17, sizes[0], sizes[sizes.len() - 1]);
            let batch = Batch::evaluation(&examples, &[3, 0, 16, 3, 8]);
            let mut model = Mlp::new(sizes, REGULARIZATION_RATE, SimdLevel::detect());
            let layout = Layout::new(model.variables(), 2, Placement::Even);
            let variables = variables(&model);
            let (loss, gradient) = run_gradient(&mut model, &layout, &variables, batch);
            let (want_loss, want) = naive(sizes, &wide(&variables), batch);
            assert!((f64::from(loss) - want_loss).abs() < 1e-6, "{sizes:?}: {loss}, {want_loss}");
            for (got, want) in gradient.iter().flatten().zip(want.iter().flatten()) {
                assert!((f64::from(*got) - want).abs() < 1e-6, "{sizes:?}: {got}, want {want}");
            }
        }
    }

    #[test]
    fn gradient_agrees_with_finite_differences_of_the_loss() {
        const H: f64 = 1e-5;
        let sizes = [20, 13, 4];
        let examples = examples(8, 20, 4);
        let batch = Batch::evaluation(&examples, &[0, 1, 2, 3, 4, 5, 6, 7]);
        let mut model = Mlp::new(&sizes, REGULARIZATION_RATE, SimdLevel::detect());
        let layout = Layout::new(model.variables(), 3, Placement::Even);
        let variables = variables(&model);
        let (_, gradient) = run_gradient(&mut model, &layout, &variables, batch);
        let mut at = wide(&variables);
        for variable in 0..at.len() {
            for i in 0..at[variable].len() {
                let middle = at[variable][i];
                let [above, below] = [H, -H].map(|h| {
                    at[variable][i] = middle + h;
                    naive(&sizes, &at, batch).0
                });
                at[variable][i] = middle;
                let is_weight = variable % 2 == 0;
                let l2 = if is_weight { REGULARIZATION_RATE * middle } else { 0.0 };
                let slope = (above - below) / (2.0 * H);
                let got = f64::from(gradient[variable][i]) + l2;
                assert!((got - slope).abs() < 1e-6, "{variable}, {i}: {got}, want {slope}");
            }
        }
    }

    /// Trains for six steps and returns a checksum of all losses and the final parameters.
    fn train(sizes: &[usize], n_ps: usize, placement: Placement, level: SimdLevel) -> u32 {
        let examples = examples(64, sizes[0], sizes[sizes.len() - 1]);
        let mut model = Mlp::new(sizes, REGULARIZATION_RATE, level);
        let layout = Layout::new(model.variables(), n_ps, placement);
        let config = TrainConfig {
            learning_rate: 0.5,
            regularization_rate: REGULARIZATION_RATE,
            moving_average_decay: Some(0.99),
            ..TrainConfig::default()
        };
        let rule = UpdateRule::new(&config, 2, level);
        let mut shards = layout.split(&model.initial_values(1));
        let mut auxiliary: Vec<_> = shards.iter().map(|s| rule.initial_auxiliary(s)).collect();
        let mut losses = Vec::new();
        for step in 0..6 {
            let mut gradients = Vec::new();
            for slot in 0..2 {
                let rows: Vec<_> = (0..11).map(|j| (step * 22 + slot * 11 + j) % 64).collect();
                let batch = Batch::evaluation(&examples, &rows);
                let mut gradient: Vec<_> = (0..n_ps).map(|_| Buffer::default()).collect();
                let parameters = Parameters::new(&layout, &shards);
                losses.push(model.gradient(
                    batch,
                    parameters,
                    Gradient::new(&layout, &mut gradient),
                ));
                gradients.push(gradient.into_iter().map(Floats::from).collect::<Vec<_>>());
            }
            for ps in 0..n_ps {
                let of_shard = |slot: usize| (Slot(slot as u32), gradients[slot][ps].clone());
                let state = ShardState {
                    parameters: shards[ps].clone(),
                    auxiliary: auxiliary[ps].clone(),
                    regularized: layout.regularized(ps),
                };
                let step = Step(step as u64);
                let next =
                    rule.update(&mut Pool::new(0), step, &state, &[of_shard(0), of_shard(1)]);
                (shards[ps], auxiliary[ps]) = (next.parameters, next.auxiliary);
            }
        }
        let all = [losses].into_iter().chain(gather(&layout, &shards)).collect::<Vec<_>>().concat();
        assert!(all.iter().all(|x| x.is_finite()));
        Floats::from(all).checksum()
    }

    #[test]
    fn training_keeps_its_recorded_bits_at_every_level_and_placement() {
        let runs = SHAPES.map(|sizes| {
            let want = train(sizes, 1, Placement::RoundRobin, SimdLevel::Portable);
            for level in SimdLevel::available() {
                for n_ps in [1, 2, 3, 7] {
                    for placement in [Placement::RoundRobin, Placement::Even] {
                        let got = train(sizes, n_ps, placement, level);
                        assert_eq!(got, want, "{sizes:?} on {n_ps} ps, {placement:?}, {level}");
                    }
                }
            }
            want
        });
        insta::assert_snapshot!(format!("{runs:08x?}"), @"[4b592af7, c05e10f5, 4ba33cc2, d10ed545, e7ea639c]");
    }

    #[test]
    fn gradient_does_not_depend_on_an_earlier_larger_batch() {
        let sizes = [20, 13, 4];
        let examples = examples(40, 20, 4);
        let all: Vec<_> = (0..40).collect();
        let run = |first: &[usize]| {
            let mut model = Mlp::new(&sizes, REGULARIZATION_RATE, SimdLevel::detect());
            let layout = Layout::new(model.variables(), 1, Placement::Even);
            let variables = variables(&model);
            let mut run = |rows| {
                let batch = Batch::evaluation(&examples, rows);
                run_gradient(&mut model, &layout, &variables, batch)
            };
            run(first);
            run(&[1, 2, 3])
        };
        assert_eq!(run(&all), run(&[1, 2, 3]));
    }

    #[test]
    fn gradient_of_a_prepared_batch_is_the_same() {
        let sizes = [20, 13, 4];
        let examples = examples(40, 20, 4);
        let batch = |rows| Batch::evaluation(&examples, rows);
        let run = |prepared: &[&'static [usize]]| {
            let mut model = Mlp::new(&sizes, REGULARIZATION_RATE, SimdLevel::detect());
            let layout = Layout::new(model.variables(), 1, Placement::Even);
            let variables = variables(&model);
            prepared.iter().for_each(|rows| model.prepare(batch(rows)));
            let one = run_gradient(&mut model, &layout, &variables, batch(&[1, 2, 3]));
            (one, run_gradient(&mut model, &layout, &variables, batch(&[4, 5])))
        };
        assert_eq!(run(&[&[1, 2, 3]]), run(&[]));
        assert_eq!(run(&[&[9; 30], &[1, 2, 3]]), run(&[]));
    }

    #[test]
    #[should_panic(expected = "the batch that was prepared")]
    fn gradient_of_another_batch_than_the_prepared_one_panics() {
        let examples = examples(4, 20, 4);
        let mut model = Mlp::new(&[20, 4], 0.0, SimdLevel::detect());
        let layout = Layout::new(model.variables(), 1, Placement::Even);
        let variables = variables(&model);
        model.prepare(Batch::evaluation(&examples, &[0, 1]));
        run_gradient(&mut model, &layout, &variables, Batch::evaluation(&examples, &[1]));
    }

    #[test]
    fn nan_in_the_parameters_makes_the_loss_nan() {
        let sizes = [20, 13, 4];
        let examples = examples(4, 20, 4);
        let batch = Batch::evaluation(&examples, &[0, 1, 2, 3]);
        for variable in 0..4 {
            let mut model = Mlp::new(&sizes, 0.0, SimdLevel::detect());
            let layout = Layout::new(model.variables(), 1, Placement::Even);
            let mut variables = variables(&model);
            variables[variable].fill(f32::NAN);
            let (loss, _) = run_gradient(&mut model, &layout, &variables, batch);
            assert!(loss.is_nan(), "variable {variable}");
        }
    }

    #[test]
    fn variables_have_tensorflows_names_and_only_weights_are_regularized() {
        let model = Mlp::new(&[784, 500, 10], 1e-4, SimdLevel::Portable);
        let variables = model.variables();
        let names: Vec<_> = variables.iter().map(|v| (&v.name[..], v.regularized)).collect();
        assert_eq!(
            names,
            [
                ("layer1/weights", true),
                ("layer1/biases", false),
                ("layer2/weights", true),
                ("layer2/biases", false),
            ]
        );
        assert_eq!(variables[2].shape, [500, 10]);
    }
}
