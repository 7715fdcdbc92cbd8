//! The process of a simulated task. The process runs a node on the production loop. A node that is
//! refused as older is replaced by a node with a larger incarnation.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use madsim::runtime::{Handle, NodeHandle};
use unisono_core::host::{Host, NoStorage, drive};
use unisono_core::protocol::{
    ClusterConfig, Failure as NodeFailure, Node, Outcome, Ps, Raises, Settings, Worker,
};
use unisono_core::{Incarnation, Job, Step, TaskId};
use unisono_files::checkpoint::{last_incarnation, record_incarnation};
use unisono_observe::ledger::Recorder;
use unisono_observe::trace::Entry;
use unisono_rules::LifeId;

use crate::lock::lock;
use crate::record::orders::LifeOrder;
use crate::run::compute_cache::ComputeCache;
use crate::run::failure::WHILE_HANDLING;
use crate::run::handled::Handled;
use crate::run::live_record::LiveRecord;
use crate::run::panics;
use crate::run::played::{Change, PlayOptions};
use crate::run::watch::Watcher;
use crate::scenario::{Scenario, WrongSetting};
use crate::world::disk::SimDisk;
use crate::world::files::ChiefFiles;
use crate::world::host::{LifeHost, SimCompute};
use crate::world::universe::Universe;

/// The state that the processes of all tasks of a run share.
#[derive(Debug)]
pub(super) struct RunContext {
    pub(super) universe: Universe,
    pub(super) config: Arc<ClusterConfig>,
    pub(super) record: Arc<Mutex<LiveRecord>>,
    pub(super) cache: Arc<ComputeCache>,
    wrong: Vec<WrongSetting>,
    /// Number of incarnations of each task that have begun.
    n_lives: Mutex<BTreeMap<TaskId, u64>>,
    seed: u64,
    change: Option<Change>,
}

impl RunContext {
    pub(super) fn new(
        scenario: &Scenario,
        seed: u64,
        cache: &Arc<ComputeCache>,
        options: PlayOptions,
    ) -> Self {
        let run = &scenario.run;
        let config = ClusterConfig {
            n_ps: run.n_ps,
            sync: run.sync,
            training_steps: Step(run.train.training_steps),
            settings: run.settings(),
            data: None,
            limits: scenario.limits,
        };
        let record = LiveRecord::new(&scenario.expect.events, options.trace);
        Self {
            universe: Universe::new(scenario, seed),
            config: Arc::new(config),
            record: Arc::new(Mutex::new(record)),
            cache: Arc::clone(cache),
            wrong: scenario.wrong.clone(),
            n_lives: Mutex::default(),
            seed,
            change: options.change,
        }
    }

    /// Counts an incarnation of a task that begins now. Returns the number of the incarnation,
    /// which is 1 for the first incarnation.
    fn next_number(&self, task: TaskId) -> u64 {
        let mut n_lives = lock(&self.n_lives);
        let number = n_lives.entry(task).or_default();
        *number += 1;
        *number
    }

    fn config_of(&self, task: TaskId) -> ClusterConfig {
        let mut config = (*self.config).clone();
        // A ps reads no training data, so it cannot know the digest of the data.
        if task.job == Job::Worker {
            config.data = Some(self.cache.plan().data.digest().to_owned());
        }
        for wrong in self.wrong.iter().filter(|wrong| wrong.node == task) {
            if wrong.key == "data" {
                config.data = Some(wrong.value.clone());
                continue;
            }
            let settings = config.settings.iter();
            config.settings = settings.fold(Settings::default(), |all, (key, value)| {
                all.with(key, if key == wrong.key { &*wrong.value } else { value })
            });
        }
        config
    }

    /// Starts the ledger of a ps. The ledger is in memory and not on the simulated disk: the run is
    /// checked against the ledger, so a disk fault must not damage the ledger.
    fn open_ledger(&self, life: LifeId, config: &ClusterConfig) -> Recorder {
        let ps = life.task.index;
        let (recorder, header) = Recorder::new(ps, life.incarnation, config);
        lock(&self.record).ledgers.entry(ps).or_default().push(header);
        recorder
    }

    /// Returns the chief's disk, which survives restarts of the chief.
    fn disk(&self) -> SimDisk {
        self.universe.state().files.disk.clone()
    }

    fn open_files(&self, life: LifeId) -> Result<(), String> {
        let disk = self.disk();
        let files = self.cache.open_files(&disk)?;
        let recorded = record_incarnation(&disk, &ChiefFiles::logdir(), life.incarnation);
        recorded.map_err(|error| error.to_string())?;
        self.universe.state().files.open(life, files);
        Ok(())
    }
}

/// Creates the madsim node of a task and starts the first process of the task. A restart of the
/// madsim node starts the next process.
pub(super) fn create_node(run: &Arc<RunContext>, task: TaskId) -> NodeHandle {
    let run = Arc::clone(run);
    let process = move || process(Arc::clone(&run), task);
    Handle::current().create_node().name(task.to_string()).init(process).build()
}

/// Runs one process of a task. If a peer refuses the node because the peer knows a newer
/// incarnation, the process may take a larger incarnation and start another node.
fn process(run: Arc<RunContext>, task: TaskId) -> impl Future<Output = ()> {
    let number = run.next_number(task);
    // `number` stands for the time that a process takes to start, which is at least a microsecond.
    // So each incarnation is larger than the one before, unless a fault sets the wall clock back.
    // Only the chief reads a recorded incarnation. The other tasks record their incarnations only
    // in ledgers and traces, which are optional.
    let clock = run.universe.state().wall_clock(task) + number;
    let recorded = (task == TaskId::CHIEF)
        .then(|| last_incarnation(&run.disk(), &ChiefFiles::logdir()))
        .flatten();
    let mut id = LifeId { task, number, incarnation: Incarnation::first(clock, recorded) };
    run.universe.begin(id);
    async move {
        let mut raises = Raises::of_process(id.incarnation);
        loop {
            let host = LifeHost { universe: run.universe.clone(), id };
            // The future is on the heap from the start, because madsim moves it several times
            // before it runs.
            let outcome = match catch_panics(Box::pin(run_node(&run, host))).await {
                Ok(outcome) => outcome,
                Err(panic) => {
                    let mut record = lock(&run.record);
                    let handled = record.handled.take().map(Entry::of);
                    let handled = handled.map(|input| format!("{WHILE_HANDLING}{input}"));
                    record.panic = Some(format!("{id}: {panic}{}", handled.unwrap_or_default()));
                    return;
                }
            };
            match raises.after(outcome) {
                // A fault has killed the process between the refusal and this line.
                Ok(_) if !run.universe.state().on_outdated(id) => return,
                Ok(incarnation) => {
                    id = LifeId { task, number: run.next_number(task), incarnation };
                    run.universe.begin(id);
                }
                Err(outcome) => return run.universe.state().on_halt(id, outcome),
            }
        }
    }
}

/// Polls a future and catches its panics. If the executor caught a panic, the run would end at
/// once, and the trace and the states of the nodes would be lost.
async fn catch_panics<T>(mut future: Pin<Box<impl Future<Output = T>>>) -> Result<T, String> {
    let poll = |context: &mut Context<'_>| match catch_unwind(AssertUnwindSafe(|| {
        future.as_mut().poll(context)
    })) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(panics::text_of(&*panic))),
    };
    poll_fn(poll).await
}

async fn run_node(run: &RunContext, life_host: LifeHost) -> Outcome {
    let LifeId { task, incarnation, .. } = life_host.id;
    let compute = SimCompute { host: life_host.clone(), work: run.cache.worker(run.seed) };
    let (clock, network, stop) = (life_host.clone(), life_host.clone(), life_host.clone());
    let config = run.config_of(task);
    let observer = &mut Watcher {
        life: life_host.id,
        universe: run.universe.clone(),
        config: Arc::clone(&run.config),
        record: Arc::clone(&run.record),
        order: LifeOrder::new(life_host.id),
        recorder: (task.job == Job::Ps).then(|| run.open_ledger(life_host.id, &config)),
    };
    let node: Box<dyn Node> = match task.job {
        Job::Ps => Box::new(Ps::new(task.index, incarnation, config)),
        Job::Worker => Box::new(Worker::new(task.index, incarnation, config)),
    };
    let node = match run.change {
        Some(change) => change(task, node),
        None => node,
    };
    let node = &mut Handled { node, record: Arc::clone(&run.record) };
    if task != TaskId::CHIEF {
        let host = Host { clock, network, compute, storage: NoStorage, stop };
        return drive(node, host, observer).await;
    }
    // As in the program, the files are opened before the node runs, and an error ends the process.
    if let Err(why) = run.open_files(life_host.id) {
        return Outcome::Failed(NodeFailure::Storage(why));
    }
    let host = Host { clock, network, compute, storage: life_host, stop };
    drive(node, host, observer).await
}
