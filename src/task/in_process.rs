//! Runs of a workload within the calling process: serially, or as a whole cluster over loopback.
//!
//! A program or a test that embeds Unisono uses these functions. The nodes, the network and the
//! files are those of `unisono ps` and `unisono worker`.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail, ensure};
use tokio::task::{JoinSet, LocalSet};
use unisono_config::RunConfig;
use unisono_core::floats::Floats;
use unisono_core::host::{Compute, Host, NeverStops, NoStorage, Storage, drive};
use unisono_core::ids::{Incarnation, Slot, Step, TaskId};
use unisono_core::protocol::{Node, Outcome, Ps, Snapshot, Worker};
use unisono_files::disk::RealDisk;
use unisono_files::losses::{self, error::LOSSES_FILE};
use unisono_learn::Workload;
use unisono_learn::data::Examples;
use unisono_learn::model::{Parameters, accuracy};
use unisono_learn::training::reference::Reference;
use unisono_learn::training::{Gradients, Plan, Shapes, Updates};
use unisono_net::tcp::{
    ComputeThread, FileStorage, InlineCompute, Listeners, NetworkConfig, RealClock, TcpNetwork,
    bind,
};

use crate::setup;

/// The result of a run.
#[derive(Debug)]
pub struct Trained {
    /// The loss of each slot, ascending by step and slot.
    pub losses: Vec<(Step, Slot, f32)>,
    /// The plan of the run, with its data and its model.
    pub plan: Plan,
    /// The state after the last update.
    pub end: Snapshot,
}

impl Trained {
    /// Returns the fraction of examples whose label has the largest logit, from 0 to 1.
    #[must_use]
    pub fn accuracy(&self, examples: &Examples) -> f64 {
        let shards: Vec<Floats> =
            self.end.shards.iter().map(|shard| shard.parameters.clone()).collect();
        let parameters = Parameters::new(&self.plan.layout, &shards);
        accuracy(&mut *self.plan.model(), parameters, examples)
    }

    /// Checks that two runs have the same losses, bit for bit.
    ///
    /// # Errors
    /// Returns an error if they differ. The text names the first difference.
    pub fn check_same_losses(&self, other: &Self) -> anyhow::Result<()> {
        ensure!(
            self.losses.len() == other.losses.len(),
            "one run has {} losses, but the other has {}",
            self.losses.len(),
            other.losses.len()
        );
        let bits = |(step, slot, loss): &(Step, Slot, f32)| (*step, *slot, loss.to_bits());
        let mut pairs = self.losses.iter().zip(&other.losses);
        match pairs.find(|(ours, theirs)| bits(ours) != bits(theirs)) {
            None => Ok(()),
            Some(((step, slot, ours), (.., theirs))) => {
                bail!("the losses of slot {slot} at step {step} differ: {ours:?} and {theirs:?}")
            }
        }
    }
}

/// Computes a run in one loop, without nodes, messages and files. This is the reference that every
/// cluster has to match to the bit.
///
/// # Errors
/// Returns an error if the data or the model cannot be used, or a loss is not finite.
pub fn train_serially(workload: &Workload, run: &RunConfig) -> anyhow::Result<Trained> {
    let plan = workload.plan(run, setup::simd_level()?)?;
    let mut reference = Reference::new(&plan, plan.initial(run.init_from.as_deref())?);
    let mut losses = Vec::new();
    while reference.step().0 < plan.train.training_steps {
        let update = reference.update(reference.default_slots())?;
        losses.extend(update.losses.iter().map(|(slot, loss)| (update.cut.step, *slot, *loss)));
    }
    let end = reference.snapshot().clone();
    Ok(Trained { losses, plan, end })
}

/// Runs a whole cluster over loopback TCP within this process, until the training has finished. The
/// losses and checkpoints are in the logdir of the run. If there is a checkpoint, the run resumes
/// from it.
///
/// `run.n_ps` and `run.sync` determine the numbers of tasks. Each worker computes in a thread of its
/// own; everything else is in one thread.
///
/// # Errors
/// Returns an error if the data, the model or the logdir cannot be used, or if a task fails.
///
/// # Panics
/// Panics if the caller runs in a tokio runtime.
pub fn train_cluster(workload: &Workload, run: &RunConfig) -> anyhow::Result<Trained> {
    let run = workload.configure(run)?;
    let plan = workload.plan(&run, setup::simd_level()?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    let outcomes = local.block_on(&runtime, run_nodes(&run, &plan));
    for (task, outcome) in outcomes? {
        match outcome {
            Outcome::Finished => {}
            Outcome::Failed(failure) => return Err(failure).context(format!("{task} failed")),
            other => bail!("{task} ended early: {other:?}"),
        }
    }
    let losses = losses::read(&run.logdir.join(LOSSES_FILE))?;
    let end = setup::files(&plan, &run)?.look(&RealDisk)?.snapshot;
    Ok(Trained { losses, plan, end: (*end).clone() })
}

/// Runs the nodes of all tasks until each has halted.
async fn run_nodes(run: &RunConfig, plan: &Plan) -> anyhow::Result<Vec<(TaskId, Outcome)>> {
    let listeners = (0..run.n_ps).map(|_| bind("127.0.0.1:0")).collect::<Result<Vec<_>, _>>()?;
    let mut addresses = BTreeMap::new();
    for (index, listener) in (0..).zip(&listeners) {
        let address = *listener.addresses()?.first().context("a listener has an address")?;
        addresses.insert(TaskId::ps(index), address.to_string());
    }
    let shapes = Shapes::of_plan(plan);
    let network = |listeners: Option<Listeners>| {
        let config = NetworkConfig::open(addresses.clone(), shapes.limits());
        TcpNetwork::new(listeners, config).context("cannot use the network")
    };
    // All nodes are new, so each is the first incarnation of its task.
    let incarnation = Incarnation(1);
    let mut nodes = JoinSet::new();
    for (index, listener) in (0..).zip(listeners) {
        let node = Ps::new(index, incarnation, setup::cluster_config(run, None));
        let compute = InlineCompute::new(Box::new(Updates::new(plan.rule.clone(), 1)));
        let network = network(Some(listener))?;
        spawn(&mut nodes, TaskId::ps(index), node, network, compute, NoStorage);
    }
    let digest = Some(plan.data.digest().to_owned());
    for index in 0..run.sync.total_num_replicas {
        let node = Worker::new(index, incarnation, setup::cluster_config(run, digest.clone()));
        let compute = ComputeThread::start(Box::new(Gradients::new(plan)))?;
        let (task, network) = (TaskId::worker(index), network(None)?);
        if task == TaskId::CHIEF {
            let storage = FileStorage::open(setup::files(plan, run)?)?;
            spawn(&mut nodes, task, node, network, compute, storage);
        } else {
            spawn(&mut nodes, task, node, network, compute, NoStorage);
        }
    }
    Ok(nodes.join_all().await)
}

fn spawn(
    nodes: &mut JoinSet<(TaskId, Outcome)>,
    task: TaskId,
    mut node: impl Node + 'static,
    network: TcpNetwork,
    compute: impl Compute + 'static,
    storage: impl Storage + 'static,
) {
    let host = Host { clock: RealClock::start(), network, compute, storage, stop: NeverStops };
    nodes.spawn_local(async move {
        let outcome = drive(&mut node, host, &mut ()).await;
        (task, outcome)
    });
}
