//! A cluster in a universe: every task a madsim node that runs the production loop.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use madsim::runtime::{Handle, NodeHandle, Runtime};
use unisono::host::{Host, NoStorage, Observer, drive};
use unisono::protocol::{ClusterConfig, Done, Effect, Input, Job, Node, Outcome, Ps, Worker};
use unisono::{Incarnation, Moment, TaskId};

use crate::host::{Files, Place, SimCompute, SimStorage};
use crate::links::{LifeId, LinkModel};
use crate::universe::Universe;

/// The longest virtual time that a run may take; a hang ends there.
const MAX_VIRTUAL_TIME: Duration = Duration::from_secs(24 * 3600);

/// Does the jobs of one task.
pub type Work = Box<dyn FnMut(Job) -> Done>;

/// A cluster to be simulated.
pub struct Cluster<F> {
    /// What its nodes are told.
    pub config: ClusterConfig,
    /// How long messages take.
    pub links: LinkModel,
    /// How long a gradient takes.
    pub gradient_takes: Duration,
    /// How long an update takes.
    pub update_takes: Duration,
    /// How long a checkpoint takes.
    pub checkpoint_takes: Duration,
    /// Makes whoever does a task's jobs, for each of its lives.
    pub work: Box<dyn Fn(TaskId) -> Work + Send + Sync>,
    /// What the chief keeps.
    pub files: F,
}

impl<F> fmt::Debug for Cluster<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("config", &self.config).finish_non_exhaustive()
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended<F> {
    /// How each task did, of those that did.
    pub outcomes: BTreeMap<TaskId, Outcome>,
    /// The virtual time that it took.
    pub took: Duration,
    /// The events that it took.
    pub n_events: u64,
    /// What the chief kept.
    pub files: F,
}

impl<F: Files + Send + 'static> Cluster<F> {
    /// Runs the cluster until every task has ended, on a thread of its own: what madsim and the
    /// standard library keep for a thread is fresh in each run.
    ///
    /// # Panics
    /// If a task panics, or the run does not end.
    #[must_use]
    pub fn run(self, seed: u64) -> Ended<F> {
        let run = move || {
            let runtime = Runtime::with_seed_and_config(seed, madsim::Config::default());
            runtime.block_on(self.play())
        };
        let thread = thread::Builder::new().name(format!("seed {seed}")).spawn(run);
        match thread.expect("the system has a thread to spare").join() {
            Ok(ended) => ended,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }

    async fn play(self) -> Ended<F> {
        let universe = Universe::new(self.links);
        let tasks: Vec<_> = self
            .config
            .all_ps()
            .chain((0..self.config.sync.total_num_replicas).map(TaskId::worker))
            .collect();
        let n_tasks = tasks.len();
        let stage = Arc::new(Stage {
            universe: universe.clone(),
            outcomes: Mutex::new(BTreeMap::new()),
            incarnations: Mutex::new(BTreeMap::new()),
            files: Arc::new(Mutex::new(Some(self.files))),
            config: self.config,
            gradient_takes: self.gradient_takes,
            update_takes: self.update_takes,
            checkpoint_takes: self.checkpoint_takes,
            work: self.work,
        });
        let nodes: Vec<NodeHandle> = tasks.into_iter().map(|task| raise(&stage, task)).collect();
        while lock(&stage.outcomes).len() < n_tasks {
            // Comes back when no task is ready to run, whatever madsim's clock says.
            madsim::time::sleep(Duration::ZERO).await;
            assert!(universe.now() < MAX_VIRTUAL_TIME, "no end after {MAX_VIRTUAL_TIME:?}");
            if lock(&stage.outcomes).len() < n_tasks {
                assert!(universe.advance(), "nothing will ever happen, and tasks live");
            }
        }
        drop(nodes);
        let outcomes = std::mem::take(&mut *lock(&stage.outcomes));
        // madsim keeps what could start a node again, so the files are taken out from under it.
        let files = lock(&stage.files).take().expect("they are taken only here");
        Ended { outcomes, took: universe.now(), n_events: universe.n_events(), files }
    }
}

/// What every life of every task needs.
struct Stage<F> {
    universe: Universe,
    config: ClusterConfig,
    outcomes: Mutex<BTreeMap<TaskId, Outcome>>,
    incarnations: Mutex<BTreeMap<TaskId, u64>>,
    files: Arc<Mutex<Option<F>>>,
    gradient_takes: Duration,
    update_takes: Duration,
    checkpoint_takes: Duration,
    work: Box<dyn Fn(TaskId) -> Work + Send + Sync>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes a task's node and starts its first life; a restart starts the next.
fn raise<F: Files + Send + 'static>(stage: &Arc<Stage<F>>, task: TaskId) -> NodeHandle {
    let stage = Arc::clone(stage);
    let life = move || live(Arc::clone(&stage), task);
    Handle::current().create_node().name(task.to_string()).init(life).build()
}

/// One life of a task, from its start until it halts.
fn live<F: Files + Send + 'static>(stage: Arc<Stage<F>>, task: TaskId) -> impl Future<Output = ()> {
    let incarnation = {
        let mut incarnations = lock(&stage.incarnations);
        let incarnation = incarnations.entry(task).or_default();
        *incarnation += 1;
        Incarnation(*incarnation)
    };
    let id = LifeId { task, incarnation };
    stage.universe.begin(id);
    async move {
        let place = Place { universe: stage.universe.clone(), id };
        let outcome = run_node(&stage, &place).await;
        stage.universe.end(id, "the task has ended");
        lock(&stage.outcomes).insert(task, outcome);
    }
}

async fn run_node<F: Files>(stage: &Stage<F>, place: &Place) -> Outcome {
    let LifeId { task, incarnation } = place.id;
    let takes = match task.job {
        unisono::Job::Ps => stage.update_takes,
        unisono::Job::Worker => stage.gradient_takes,
    };
    let work = (stage.work)(task);
    let compute = SimCompute { place: place.clone(), work, takes, busy_until: Duration::ZERO };
    let (clock, network, stop) = (place.clone(), place.clone(), place.clone());
    let config = stage.config.clone();
    let observer = &mut Blind;
    match task.job {
        unisono::Job::Ps => {
            let storage = NoStorage;
            let host = Host { clock, network, compute, storage, stop };
            drive(&mut Ps::new(task.index, incarnation, config), host, observer).await
        }
        unisono::Job::Worker if task != TaskId::CHIEF => {
            let storage = NoStorage;
            let host = Host { clock, network, compute, storage, stop };
            drive(&mut Worker::new(task.index, incarnation, config), host, observer).await
        }
        unisono::Job::Worker => {
            let files = Arc::clone(&stage.files);
            let storage = SimStorage { place: place.clone(), files, takes: stage.checkpoint_takes };
            let host = Host { clock, network, compute, storage, stop };
            drive(&mut Worker::new(task.index, incarnation, config), host, observer).await
        }
    }
}

/// Watches nothing.
struct Blind;

impl Observer for Blind {
    fn before(&mut self, _now: Moment, _input: &Input) {}

    fn after(&mut self, _now: Moment, _node: &dyn Node, _effects: &[Effect]) {}
}
