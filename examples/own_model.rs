//! Trains a model of your own on real nodes over TCP, and compares every bit with the serial
//! reference. `cargo run --release --example own_model` takes a second or two.
//!
//! The images are 8 by 8 pixels, generated here, each with one bright row. The network has a hidden
//! layer and two heads. One head predicts the bright row, the other whether the row's number is
//! odd.
//!
//! Both heads have a squared error, so that the arithmetic is `+ - *` only. A run has the same bits
//! everywhere only if the model does. The result of `exp`, for example, depends on the CPU.
//!
//! The model is [`TwoHeads`]: variables, gradient and logits. The library provides everything else:
//! initial values, L2 term, optimizers, layout over the ps, checkpoints and the protocol.
#![expect(clippy::print_stdout, reason = "the example prints its results")]

use std::path::Path;

use ndarray::{Array1, Array2, Axis};
use unisono::config::RunConfig;
use unisono::data::{Dataset, Examples};
use unisono::in_process::{Trained, train_cluster, train_serially};
use unisono::model::blocks::{column_sums, product};
use unisono::model::{Batch, Gradient, Model, Parameters, Variable};
use unisono::random::Stream;
use unisono::{Setup, Workload};

/// Rows per image, and pixels per row.
const SIDE: usize = 8;
const N_FEATURES: usize = SIDE * SIDE;
/// Weight of the second head's error in the loss.
const PARITY_WEIGHT: f32 = 0.5;

fn main() -> anyhow::Result<()> {
    let logdir = tempfile::tempdir()?;
    let trained = run(logdir.path())?;
    let (_, _, last_loss) = trained.losses[trained.losses.len() - 1];
    println!(
        "All {} losses of two ps and two workers equal those of the serial run, bit for bit. The \
         last loss is {last_loss}.",
        trained.losses.len()
    );
    let accuracy = 100.0 * trained.accuracy(&trained.plan.data.test);
    println!("The accuracy on the test images is {accuracy:.0} %.");
    Ok(())
}

/// Trains on two ps and two workers, for 200 steps of 20 images per worker, and compares the losses
/// with those of the serial run.
///
/// # Errors
/// If a bit differs, or if the machine has no loopback interface or no writable disk.
pub(crate) fn run(logdir: &Path) -> anyhow::Result<Trained> {
    let mut run = RunConfig { logdir: logdir.to_owned(), ..RunConfig::default() };
    run.train.batch_size = 20;
    run.train.training_steps = 200;
    run.train.learning_rate = 0.1;
    // With another rate, the model would have to add Σ λ·w²/2 to its loss.
    run.train.regularization_rate = 0.0;
    let cluster = train_cluster(&bright_rows(), &run)?;
    cluster.check_same_losses(&train_serially(&bright_rows(), &run)?)?;
    Ok(cluster)
}

/// Returns the model, its flag, and its data.
pub(crate) fn bright_rows() -> Workload {
    let model = |setup: &Setup<'_>, _: &Dataset| Ok(TwoHeads { width: setup.get("width") });
    Workload::new("two-heads", model)
        .flag("width", &24_usize, "Units of the hidden layer")
        .with_data(|_| {
            let [train, validation, test] = [images(1, 400), images(2, 0), images(3, 200)];
            Ok(Dataset::of_examples("bright rows", train, validation, test))
        })
}

/// Generates images of noise with one bright row. The number of the bright row is the label.
fn images(seed: u64, n: u64) -> Examples {
    /// The purpose of the random streams. The library's purposes are below 2^32.
    const IMAGES: u64 = 1 << 32;
    let mut examples = Examples::new(N_FEATURES, SIDE);
    for index in 0..n {
        let mut stream = Stream::new(seed, IMAGES, 0, index);
        let label = stream.below(SIDE as u64) as usize;
        let pixels = (0..N_FEATURES).map(|pixel| {
            let noise = stream.below(256) as f32 / 256.0;
            if pixel / SIDE == label { 0.5 + 0.5 * noise } else { 0.6 * noise }
        });
        examples.push(pixels.collect::<Vec<_>>(), label as u32);
    }
    examples
}

/// A network with two heads: h = relu(x·W + b), digit = h·V, parity = h·u. It has no state.
#[derive(Clone, Copy, Debug)]
struct TwoHeads {
    /// Units of the hidden layer.
    width: usize,
}

// The numbers of the variables, in the order of `Model::variables`.
const HIDDEN: usize = 0;
const HIDDEN_BIASES: usize = 1;
const DIGIT: usize = 2;
const PARITY: usize = 3;

/// The inputs and outputs of all layers for a batch, one row per image.
struct Forward {
    pixels: Array2<f32>,
    hidden: Array2<f32>,
    digit: Array2<f32>,
    parity: Array1<f32>,
}

impl TwoHeads {
    fn forward(batch: Batch<'_>, parameters: Parameters<'_>) -> Forward {
        let pixels = batch.features();
        let hidden = product(pixels.view(), parameters.matrix(HIDDEN).view())
            + parameters.vector(HIDDEN_BIASES);
        let hidden = hidden.mapv_into(|value| if value > 0.0 { value } else { 0.0 });
        let digit = product(hidden.view(), parameters.matrix(DIGIT).view());
        let parity = product(hidden.view(), parameters.matrix(PARITY).view());
        Forward { pixels, hidden, digit, parity: parity.remove_axis(Axis(1)) }
    }
}

impl Model for TwoHeads {
    fn variables(&self) -> Vec<Variable> {
        vec![
            Variable::new("hidden/weights", &[N_FEATURES, self.width]).regularized(),
            Variable::new("hidden/biases", &[self.width]),
            Variable::new("digit/weights", &[self.width, SIDE]).regularized(),
            Variable::new("parity/weights", &[self.width, 1]).regularized(),
        ]
    }

    fn gradient(
        &mut self,
        batch: Batch<'_>,
        parameters: Parameters<'_>,
        mut gradient: Gradient<'_>,
    ) -> f32 {
        let Forward { pixels, hidden, mut digit, mut parity } = Self::forward(batch, parameters);
        let scale = 1.0 / batch.rows.len() as f32;
        let mut loss = 0.0;
        // Adds the errors (y − t)²/2 in the order of the batch, and replaces y by (y − t) / n, the
        // derivative of the mean.
        for (row, &example) in batch.rows.iter().enumerate() {
            let label = batch.examples.label(example) as usize;
            for class in 0..SIDE {
                let error = digit[[row, class]] - if class == label { 1.0 } else { 0.0 };
                loss += error * error / 2.0;
                digit[[row, class]] = error * scale;
            }
            let error = parity[row] - if label % 2 == 1 { 1.0 } else { 0.0 };
            loss += PARITY_WEIGHT * (error * error / 2.0);
            parity[row] = PARITY_WEIGHT * error * scale;
        }
        let parity = parity.insert_axis(Axis(1));
        let back = product(digit.view(), parameters.matrix(DIGIT).t())
            + product(parity.view(), parameters.matrix(PARITY).t());
        let back = ndarray::Zip::from(&back)
            .and(&hidden)
            .map_collect(|back, hidden| if *hidden > 0.0 { *back } else { 0.0 });
        let biases = column_sums(back.view());
        gradient.write(HIDDEN, product(pixels.t(), back.view()).view().into_dyn());
        gradient.write(HIDDEN_BIASES, biases.view().into_dyn());
        gradient.write(DIGIT, product(hidden.t(), digit.view()).view().into_dyn());
        gradient.write(PARITY, product(hidden.t(), parity.view()).view().into_dyn());
        loss * scale
    }

    fn logits(&mut self, batch: Batch<'_>, parameters: Parameters<'_>, logits: &mut Vec<f32>) {
        logits.clear();
        logits.extend(Self::forward(batch, parameters).digit);
    }
}
