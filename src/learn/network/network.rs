//! A network of layers as a model.

use std::ops::Range;

use ndarray::ArrayD;

use super::assembly::{Assembled, ShapeError, assemble, input_shape};
use super::edge::Edge;
use super::loss::loss_of;
use super::operation::{Backward, Forward, Operation, Start};
use crate::data::Examples;
use crate::model::initial::initial_values;
use crate::model::{Batch, Gradient, Model, Parameters, SimdLevel, Variable};
use unisono_core::network::{self, Loss};

/// The largest number of examples whose logits are computed at once. It bounds the memory, and does
/// not affect the result.
const LOGITS_AT_ONCE: usize = 100;

/// A network whose layers a configuration lists.
#[derive(Debug)]
pub struct Network {
    layers: Vec<Layer>,
    /// The examples, then the outputs of each layer.
    edges: Vec<Edge>,
    /// The layers in groups. The examples pass through a group one after the other, or all at once.
    groups: Vec<Group>,
    /// The first layer with variables. No layer before it needs deltas.
    first_trained: usize,
    loss: Loss,
    regularization_rate: f64,
    level: SimdLevel,
    room: Vec<f64>,
}

#[derive(Debug)]
struct Layer {
    operation: Box<dyn Operation>,
    /// The number of the first variable.
    first: usize,
}

#[derive(Debug)]
struct Group {
    layers: Range<usize>,
    takes_whole_batches: bool,
}

impl Network {
    /// Creates a network for `examples`. `regularization_rate` is the factor λ of the L2 term, which
    /// covers the weights of the regularized layers.
    ///
    /// # Errors
    /// Returns an error if the layers do not fit each other or the examples.
    ///
    /// # Panics
    /// Panics if this CPU does not support `level`.
    pub fn new(
        network: &network::Network,
        loss: Loss,
        regularization_rate: f64,
        examples: &Examples,
        level: SimdLevel,
    ) -> Result<Self, ShapeError> {
        assert!(level.is_available(), "this CPU does not support {level}");
        let input = input_shape(network.input.as_ref(), examples.shape())?;
        let layers = assemble(network, input, examples.n_classes())?;
        let sizes: Vec<_> = [input].into_iter().chain(layers.iter().map(|it| it.output)).collect();
        let takes_whole = |layer: Option<&Assembled>| {
            layer.is_none_or(|layer| layer.operation.takes_whole_batches())
        };
        let edge = |(i, shape): (usize, &super::shape::Shape)| {
            let before = i.checked_sub(1).map(|before| &layers[before]);
            let keeps_all = takes_whole(layers.get(i))
                || before.is_some_and(|before| before.operation.takes_whole_batches());
            Edge::new(shape.len(), keeps_all)
        };
        let edges = sizes.iter().enumerate().map(edge).collect();
        let groups = groups(&layers);
        let has_variables = |layer: &Assembled| !layer.operation.variables().is_empty();
        let first_trained = layers.iter().position(has_variables).unwrap_or(layers.len());
        let mut first = 0;
        let numbered = |Assembled { operation, .. }| {
            let layer = Layer { first, operation };
            first += layer.operation.variables().len();
            layer
        };
        Ok(Self {
            layers: layers.into_iter().map(numbered).collect(),
            edges,
            groups,
            first_trained,
            loss,
            regularization_rate,
            level,
            room: vec![0.0; examples.n_classes()],
        })
    }

    /// Checks that the values of a batch of `batch_size` examples can be numbered.
    ///
    /// # Errors
    /// Returns an error if a layer would have more than 2^32 values.
    pub fn check_batch_size(&self, batch_size: usize) -> Result<(), ShapeError> {
        let largest = self.edges.iter().map(|edge| edge.n_values).max().unwrap_or(0);
        let n_examples = batch_size.max(LOGITS_AT_ONCE);
        if largest.checked_mul(n_examples).is_some_and(|n| u32::try_from(n).is_ok()) {
            return Ok(());
        }
        Err(ShapeError::new(format!(
            "a layer with {largest} values per example is too large for batches of {n_examples} \
             examples: use smaller batches or layers"
        )))
    }

    /// Prepares all layers for a batch, and copies its features.
    fn begin(&mut self, batch: Batch<'_>, parameters: Parameters<'_>) {
        let Batch { examples, rows, draw } = batch;
        assert_eq!(examples.n_features(), self.edges[0].n_values, "features of the examples");
        assert!(!rows.is_empty(), "a batch needs an example");
        let start = Start { n_examples: rows.len(), draw };
        self.edges.iter_mut().for_each(|edge| edge.reserve(rows.len()));
        for layer in &mut self.layers {
            layer.operation.begin(&start, parameters, layer.first);
        }
        let features = self.edges[0].values.chunks_exact_mut(examples.n_features());
        rows.iter().zip(features).for_each(|(&row, features)| examples.read_row(row, features));
    }

    fn forward(&mut self, n_examples: usize) {
        for group in 0..self.groups.len() {
            let Group { ref layers, takes_whole_batches } = self.groups[group];
            let layers = layers.clone();
            for examples in parts(n_examples, takes_whole_batches) {
                layers.clone().for_each(|layer| self.forward_layer(layer, examples.clone()));
            }
        }
    }

    fn forward_layer(&mut self, layer: usize, examples: Range<usize>) {
        let (before, behind) = self.edges.split_at_mut(layer + 1);
        let inputs = part(&examples, before[layer].n_values);
        let outputs = part(&examples, behind[0].n_values);
        let pass = Forward {
            examples,
            inputs: &before[layer].values[inputs],
            outputs: &mut behind[0].values[outputs],
        };
        self.layers[layer].operation.forward(self.level, pass);
    }

    /// Returns the mean loss of the batch, without the L2 term, and computes the deltas of the
    /// outputs.
    fn start_back(&mut self, batch: Batch<'_>) -> f64 {
        let Edge { n_values, values, deltas, .. } =
            self.edges.last_mut().expect("a network has outputs");
        let n_examples = batch.rows.len();
        deltas[..n_examples * *n_values].copy_from_slice(&values[..n_examples * *n_values]);
        let mut total = 0.0;
        for (&row, outputs) in batch.rows.iter().zip(deltas.chunks_exact_mut(*n_values)) {
            let label = batch.examples.label(row) as usize;
            total += loss_of(self.loss, outputs, label, n_examples, &mut self.room);
        }
        total / n_examples as f64
    }

    fn backward(&mut self, n_examples: usize) {
        for group in (0..self.groups.len()).rev() {
            let Group { ref layers, takes_whole_batches } = self.groups[group];
            let layers = layers.clone();
            for examples in parts(n_examples, takes_whole_batches) {
                let trained = layers.start.max(self.first_trained)..layers.end;
                trained.rev().for_each(|layer| self.backward_layer(layer, examples.clone()));
            }
        }
    }

    fn backward_layer(&mut self, layer: usize, examples: Range<usize>) {
        let (before, behind) = self.edges.split_at_mut(layer + 1);
        let (before, behind) = (&mut before[layer], &behind[0]);
        let deltas_of = |edge: &Edge| {
            let kept = if edge.keeps_all { examples.clone() } else { 0..1 };
            part(&kept, edge.n_values)
        };
        let before_deltas = deltas_of(before);
        let inputs = &before.values[part(&examples, before.n_values)];
        let pass = Backward {
            inputs,
            outputs: &behind.values[part(&examples, behind.n_values)],
            deltas: &behind.deltas[deltas_of(behind)],
            before: (layer > self.first_trained).then_some(&mut before.deltas[before_deltas]),
            examples,
        };
        self.layers[layer].operation.backward(self.level, pass);
    }

    /// Returns the L2 term of the loss (rule 19).
    fn l2(&self) -> f64 {
        if self.regularization_rate == 0.0 {
            return 0.0;
        }
        let add = |total, layer: &Layer| layer.operation.squares(self.level, total);
        (self.regularization_rate * self.layers.iter().fold(0.0, add)) / 2.0
    }
}

fn groups(layers: &[Assembled]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (i, layer) in layers.iter().enumerate() {
        let takes_whole_batches = layer.operation.takes_whole_batches();
        match groups.last_mut() {
            Some(group) if group.takes_whole_batches == takes_whole_batches => {
                group.layers.end = i + 1;
            }
            _ => groups.push(Group { layers: i..i + 1, takes_whole_batches }),
        }
    }
    groups
}

/// Returns the parts in which the examples of a batch pass through a group.
fn parts(n_examples: usize, at_once: bool) -> impl Iterator<Item = Range<usize>> {
    let size = if at_once { n_examples } else { 1 };
    (0..n_examples).step_by(size).map(move |start| start..start + size)
}

/// Returns the places of some examples with `n_values` values each.
fn part(examples: &Range<usize>, n_values: usize) -> Range<usize> {
    examples.start * n_values..examples.end * n_values
}

impl Model for Network {
    fn variables(&self) -> Vec<Variable> {
        let with_variables = self.layers.iter().map(|layer| layer.operation.variables());
        let with_variables = with_variables.filter(|variables| !variables.is_empty());
        let named = |(i, variables): (usize, Vec<Variable>)| {
            variables.into_iter().map(move |variable| {
                let name = format!("layer{}/{}", i + 1, variable.name);
                Variable { name, ..variable }
            })
        };
        with_variables.enumerate().flat_map(named).collect()
    }

    fn initial_values(&self, seed: u64) -> Vec<ArrayD<f32>> {
        let mut values = initial_values(&self.variables(), seed);
        for Layer { operation, first } in &self.layers {
            for (i, variable) in operation.variables().iter().enumerate() {
                if variable.shape.len() < 2 {
                    values[first + i].fill(operation.initial_value(i));
                }
            }
        }
        values
    }

    fn gradient(
        &mut self,
        batch: Batch<'_>,
        parameters: Parameters<'_>,
        mut gradient: Gradient<'_>,
    ) -> f32 {
        let n_examples = batch.rows.len();
        self.begin(batch, parameters);
        self.forward(n_examples);
        let loss = self.start_back(batch);
        self.backward(n_examples);
        for Layer { operation, first } in &self.layers {
            operation.write_gradient(&mut gradient, *first);
        }
        (loss + self.l2()) as f32
    }

    fn logits(&mut self, batch: Batch<'_>, parameters: Parameters<'_>, logits: &mut Vec<f32>) {
        logits.clear();
        for rows in batch.rows.chunks(LOGITS_AT_ONCE) {
            self.begin(Batch { rows, draw: None, ..batch }, parameters);
            self.forward(rows.len());
            let Edge { n_values, values, .. } = self.edges.last().expect("a network has outputs");
            logits.extend_from_slice(&values[..rows.len() * n_values]);
        }
    }
}

#[cfg(feature = "benching")]
#[path = "../../../benches/support/network_parts.rs"]
pub mod benching;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check_model;
    use crate::data::Dataset;
    use crate::serial_run::trained;
    use crate::workload::Workload;
    use unisono_config::RunConfig;
    use unisono_core::random::Stream;

    /// Images of 6 x 5 pixels with two channels and three classes.
    fn images() -> Dataset {
        let mut stream = Stream::new(3, 1u64 << 32, 0, 0);
        let mut part = |n: u32| {
            let mut examples = Examples::new(60, 3).with_shape(&[6, 5, 2]);
            for row in 0..n {
                examples.push((0..60).map(|_| stream.unit() as f32 - 0.3), row % 3);
            }
            examples
        };
        Dataset::of_examples("images", part(40), part(10), part(10))
    }

    fn workload(layers: &str, loss: Loss) -> Workload {
        let layers = network::Network::parse_layers(layers).unwrap();
        let network = network::Network { input: None, layers };
        Workload::new("layers", move |setup, data: &Dataset| {
            let rate = setup.run().train.regularization_rate;
            Network::new(&network, loss, rate, &data.train, setup.level())
                .map_err(|error| error.to_string())
        })
        .with_data(|_| Ok(images()))
    }

    fn run() -> RunConfig {
        let mut run = RunConfig::default();
        run.train.batch_size = 7;
        run.train.regularization_rate = 0.01;
        run.train.learning_rate = 0.5;
        run
    }

    #[test]
    fn every_kind_of_layer_is_a_sound_model() {
        let conv = "conv2d filters=5 kernel=3x2";
        let layers = [
            "flatten; dense".to_owned(),
            "flatten; dense units=9; tanh; dense units=8; sigmoid; dense".to_owned(),
            "flatten; dense units=9; gelu; dropout rate=0.4; dense".to_owned(),
            "flatten; dense units=9; layer_norm; dense".to_owned(),
            format!("{conv}; flatten; dense"),
            format!("{conv} padding=same; gelu; {conv}; layer_norm; flatten; dense"),
            format!("{conv} stride=2x3 padding=same; tanh; {conv} padding=same; flatten; dense"),
            format!("{conv} regularized=false; {conv} stride=2; flatten; dense"),
            format!("{conv} padding=same; max_pool size=2; {conv} padding=same; flatten; dense"),
            format!("{conv}; max_pool size=3 stride=1 padding=same; {conv}; flatten; dense"),
            format!("{conv}; average_pool size=3 stride=2 padding=same; flatten; dense"),
            "layer_norm; average_pool size=2; dropout rate=0.2; flatten; dense".to_owned(),
        ];
        for layers in layers {
            let workload = workload(&layers, Loss::SoftmaxCrossEntropy);
            check_model(&workload, &run()).unwrap_or_else(|what| panic!("{layers}: {what}"));
        }
    }

    #[test]
    fn every_loss_makes_a_sound_model() {
        for loss in [Loss::SigmoidCrossEntropy, Loss::MeanSquaredError] {
            let workload = workload("flatten; dense units=9; tanh; dense", loss);
            check_model(&workload, &run()).unwrap_or_else(|what| panic!("{loss:?}: {what}"));
        }
    }

    /// The kernels of the multilayer perceptron are another implementation of the same rules.
    #[test]
    fn dense_layers_with_relu_have_the_bits_of_the_multilayer_perceptron() {
        let mut run = run();
        run.train.hidden = vec![13, 6];
        let layers = "flatten; dense units=13; relu; dense units=6; relu; dense";
        let built_in = Workload::built_in().with_data(|_| Ok(images()));
        let network = workload(layers, Loss::SoftmaxCrossEntropy);
        assert_eq!(trained(&network, &run), trained(&built_in, &run));
    }

    #[test]
    fn dropout_drops_the_rate_in_training_and_nothing_in_evaluations() {
        let workload = workload("dropout rate=0.25; flatten; dense", Loss::SoftmaxCrossEntropy);
        let plan = workload.plan(&run(), SimdLevel::detect()).expect("a good plan");
        let mut network = plan.model();
        let values = network.initial_values(1);
        let shards = plan.layout.split(&values);
        let parameters = Parameters::new(&plan.layout, &shards);
        let rows: Vec<_> = (0..40).collect();
        let loss = |network: &mut Box<dyn Model>, draw| {
            let mut shards: Vec<_> = (0..plan.layout.n_ps()).map(|_| Default::default()).collect();
            let batch = Batch { examples: &plan.data.train, rows: &rows, draw };
            network.gradient(batch, parameters, Gradient::new(&plan.layout, &mut shards))
        };
        let draw = |slot, step| {
            let (slot, step) = (unisono_core::Slot(slot), unisono_core::Step(step));
            Some(crate::model::Draw { seed: 1, slot, step })
        };
        let whole = loss(&mut network, None);
        let first = loss(&mut network, draw(0, 0));
        assert_ne!(first, whole);
        assert_ne!(loss(&mut network, draw(1, 0)), first);
        assert_ne!(loss(&mut network, draw(0, 1)), first);
        assert_eq!(loss(&mut network, draw(0, 0)), first);
        assert_eq!(loss(&mut network, None), whole);
    }
}
