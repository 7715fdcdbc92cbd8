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
//! To write another model, start from these parts:
//!
//! 1. [`TwoHeads`] implements [`Model`]: variables, gradient and logits. The library provides
//!    everything else: initial values, L2 term, optimizers, layout over the ps, checkpoints and the
//!    protocol.
//! 2. [`Plan::of_model`] combines the model with data and settings.
//! 3. [`Reference`] trains serially; [`cluster`] runs the same plan on nodes.
#![expect(clippy::print_stdout, reason = "the example prints its results")]

use std::collections::BTreeMap;
use std::path::Path;

use ndarray::{Array1, Array2, ArrayD, ArrayView2, Axis, Ix1, Ix2};
use unisono_config::RunConfig;
use unisono_core::host::{Host, NeverStops, NoStorage, drive};
use unisono_core::protocol::{ClusterConfig, Outcome, Ps, Worker};
use unisono_core::random::Stream;
use unisono_core::train_config::Sync;
use unisono_core::{Incarnation, Slot, Step, TaskId};
use unisono_files::losses;
use unisono_files::losses::error::LOSSES_FILE;
use unisono_learn::data::{Dataset, Examples};
use unisono_learn::model::{Batch, Gradient, Model, Parameters, SimdLevel, Variable, accuracy};
use unisono_learn::training::reference::Reference;
use unisono_learn::training::{Gradients, Plan, Shapes, Updates};
use unisono_net::tcp::{
    ComputeThread, FileStorage, InlineCompute, NetworkConfig, RealClock, TcpNetwork, bind,
};

/// Rows per image, and pixels per row.
const SIDE: usize = 8;
const N_FEATURES: usize = SIDE * SIDE;
const N_HIDDEN: usize = 24;
/// Weight of the second head's error in the loss.
const PARITY_WEIGHT: f32 = 0.5;

fn main() -> anyhow::Result<()> {
    let logdir = tempfile::tempdir()?;
    let found = run(logdir.path())?;
    println!(
        "All {} losses of two ps and two workers equal those of the serial run, bit for bit. The \
         last loss is {}.",
        found.n_losses, found.last_loss
    );
    println!("The accuracy on the test images is {:.0} %.", found.accuracy * 100.0);
    Ok(())
}

/// The results of both runs.
#[derive(Debug)]
pub(crate) struct Found {
    /// Number of losses that were compared.
    pub(crate) n_losses: usize,
    /// The last loss.
    pub(crate) last_loss: f32,
    /// Fraction of test images whose bright row is predicted correctly, from 0 to 1.
    pub(crate) accuracy: f64,
}

/// Trains on nodes and serially, and compares the losses.
///
/// # Errors
/// If a bit differs, or if the machine has no loopback interface or no writable disk.
pub(crate) fn run(logdir: &Path) -> anyhow::Result<Found> {
    let plan = plan(logdir)?;

    let mut reference = Reference::new(&plan, plan.initial(None)?);
    let mut serial = Vec::new();
    while reference.step().0 < plan.train.training_steps {
        let update = reference.update(reference.default_slots())?;
        serial.extend(update.losses.iter().map(|(slot, loss)| (update.cut.step, *slot, *loss)));
    }

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcomes = runtime.block_on(cluster(&plan, logdir))?;
    anyhow::ensure!(outcomes == [const { Outcome::Finished }; 4], "{outcomes:?}");
    let parallel = losses::read(&logdir.join(LOSSES_FILE))?;
    let bits = |rows: &[(Step, Slot, f32)]| {
        rows.iter().map(|(step, slot, loss)| (*step, *slot, loss.to_bits())).collect::<Vec<_>>()
    };
    anyhow::ensure!(
        bits(&parallel) == bits(&serial),
        "the losses of the cluster differ from those of the serial run"
    );

    let shards: Vec<_> =
        reference.snapshot().shards.iter().map(|shard| shard.parameters.clone()).collect();
    let mut model = plan.model();
    let accuracy = accuracy(&mut *model, Parameters::new(&plan.layout, &shards), &plan.data.test);
    let last_loss = serial.last().map_or(f32::NAN, |(_, _, loss)| *loss);
    Ok(Found { n_losses: serial.len(), last_loss, accuracy })
}

/// Returns the plan of a run with two ps and two workers: 200 steps of 20 images per worker.
fn plan(logdir: &Path) -> anyhow::Result<Plan> {
    let mut run = RunConfig { logdir: logdir.to_owned(), ..RunConfig::default() };
    run.sync = Sync { replicas_to_aggregate: 2, total_num_replicas: 2 };
    run.train.batch_size = 20;
    run.train.training_steps = 200;
    run.train.learning_rate = 0.1;
    // With another rate, the model would have to add Σ λ·w²/2 to its loss.
    run.train.regularization_rate = 0.0;
    let data = Dataset::of_examples("bright rows", images(1, 400), images(2, 0), images(3, 200));
    Ok(Plan::of_model(&run, data, SimdLevel::detect(), "two heads", || Box::new(TwoHeads))?)
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
struct TwoHeads;

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
        let mut pixels = Array2::zeros((batch.rows.len(), N_FEATURES));
        for (mut row, &example) in pixels.outer_iter_mut().zip(batch.rows) {
            let (columns, values) = batch.examples.row(example);
            for (column, value) in columns.into_iter().zip(values) {
                row[column as usize] = value;
            }
        }
        let hidden = product(pixels.view(), matrix(parameters, HIDDEN).view())
            + vector(parameters, HIDDEN_BIASES);
        let hidden = hidden.mapv_into(|value| if value > 0.0 { value } else { 0.0 });
        let digit = product(hidden.view(), matrix(parameters, DIGIT).view());
        let parity = product(hidden.view(), matrix(parameters, PARITY).view());
        Forward { pixels, hidden, digit, parity: parity.remove_axis(Axis(1)) }
    }
}

impl Model for TwoHeads {
    fn variables(&self) -> Vec<Variable> {
        let variable = |name: &str, shape: &[usize], regularized| Variable {
            name: name.to_owned(),
            shape: shape.to_vec(),
            regularized,
        };
        vec![
            variable("hidden/weights", &[N_FEATURES, N_HIDDEN], true),
            variable("hidden/biases", &[N_HIDDEN], false),
            variable("digit/weights", &[N_HIDDEN, SIDE], true),
            variable("parity/weights", &[N_HIDDEN, 1], true),
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
        let back = product(digit.view(), matrix(parameters, DIGIT).t())
            + product(parity.view(), matrix(parameters, PARITY).t());
        let back = ndarray::Zip::from(&back)
            .and(&hidden)
            .map_collect(|back, hidden| if *hidden > 0.0 { *back } else { 0.0 });
        let ones = Array2::ones((1, batch.rows.len()));
        let biases = product(ones.view(), back.view()).remove_axis(Axis(0));
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

/// Returns a·b. Each element is a sum in the order of k, because a library's product may sum in an
/// order that depends on the CPU.
fn product(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>) -> Array2<f32> {
    Array2::from_shape_fn((a.nrows(), b.ncols()), |(row, column)| {
        (0..a.ncols()).fold(0.0, |sum, k| sum + a[[row, k]] * b[[k, column]])
    })
}

fn matrix(parameters: Parameters<'_>, variable: usize) -> Array2<f32> {
    of_rank::<Ix2>(parameters.read(variable))
}

fn vector(parameters: Parameters<'_>, variable: usize) -> Array1<f32> {
    of_rank::<Ix1>(parameters.read(variable))
}

fn of_rank<D: ndarray::Dimension>(array: ArrayD<f32>) -> ndarray::Array<f32, D> {
    array.into_dimensionality().expect("the array has the rank of its variable")
}

/// Runs the nodes of `unisono ps` and `unisono worker` in one process, on one thread.
async fn cluster(plan: &Plan, logdir: &Path) -> anyhow::Result<[Outcome; 4]> {
    let listeners = [bind("127.0.0.1:0")?, bind("127.0.0.1:0")?];
    let mut addresses = BTreeMap::new();
    for (index, listener) in (0..).zip(&listeners) {
        addresses.insert(TaskId::ps(index), listener.addresses()?[0].to_string());
    }
    let shapes = Shapes::of_plan(plan);
    let network = |listener| {
        let config = NetworkConfig::open(addresses.clone(), shapes.limits());
        TcpNetwork::new(listener, config)
    };
    let config = |data| ClusterConfig {
        n_ps: 2,
        sync: plan.sync,
        training_steps: Step(plan.train.training_steps),
        settings: plan.settings.clone(),
        data,
        limits: RunConfig::default().limits,
    };
    let [first, second] = listeners;
    let ps = async |index, listener| -> anyhow::Result<Outcome> {
        let updates = InlineCompute::new(Box::new(Updates::new(plan.rule.clone(), 1)));
        let host = Host {
            clock: RealClock::start(),
            network: network(Some(listener))?,
            compute: updates,
            storage: NoStorage,
            stop: NeverStops,
        };
        let mut node = Ps::new(index, Incarnation(1), config(None));
        Ok(drive(&mut node, host, &mut ()).await)
    };
    let digest = || Some(plan.data.digest().to_owned());
    let gradients = || ComputeThread::start(Box::new(Gradients::new(plan)));
    let chief = async {
        let host = Host {
            clock: RealClock::start(),
            network: network(None)?,
            compute: gradients()?,
            storage: FileStorage::open(plan.files(logdir, None)?)?,
            stop: NeverStops,
        };
        let mut node = Worker::new(0, Incarnation(1), config(digest()));
        anyhow::Ok(drive(&mut node, host, &mut ()).await)
    };
    let worker = async {
        let host = Host {
            clock: RealClock::start(),
            network: network(None)?,
            compute: gradients()?,
            storage: NoStorage,
            stop: NeverStops,
        };
        let mut node = Worker::new(1, Incarnation(1), config(digest()));
        anyhow::Ok(drive(&mut node, host, &mut ()).await)
    };
    let all = tokio::try_join!(ps(0, first), ps(1, second), chief, worker)?;
    Ok(all.into())
}
