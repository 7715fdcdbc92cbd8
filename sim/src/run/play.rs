//! Plays a scenario: every task a madsim node that runs the production loop.

use crate::run::panics::RUN_THREAD;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use madsim::runtime::{Handle, NodeHandle, Runtime};
use unisono_core::host::{Clock, Compute, Host, Network, NoStorage, Stop, Storage, drive};
use unisono_core::protocol::{
    ClusterConfig, Failure as NodeFailure, Input, Node, Outcome, Ps, Raises, Settings, Snapshot,
    Worker,
};
use unisono_core::random::Stream;
use unisono_core::{Incarnation, Job, Slot, Step, TaskId};
use unisono_files::checkpoint::{last_incarnation, record_incarnation};
use unisono_files::losses;
use unisono_files::run_files::RunFiles;
use unisono_observe::ledger::{Ledger, Recorder};

use crate::invariants::Violation;
use crate::invariants::invariant::End;
use crate::lock::lock;
use crate::record::orders::LifeOrder;
use crate::run::lab::{Lab, Labs};
use crate::run::panics;
use crate::run::played::{Change, Failure, PlayOptions, Played};
use crate::run::verdict;
use crate::run::verdict::Verdict;
use crate::run::watch::{Counts, Record, Watcher};
use crate::scenario::Scenario;
use crate::streams::Purpose;
use crate::world::files::{ChiefFiles, restore};
use crate::world::host::{Place, SimCompute};
use crate::world::life::LifeId;
use crate::world::state::Order;
use crate::world::universe::Universe;
use unisono_observe::trace::Tracer;

/// Plays a scenario with a seed, on a thread of its own: what madsim and the standard library keep
/// for a thread is fresh in each run. Its chaos, if it has any, is drawn already.
///
/// # Panics
/// If the system has no thread to spare.
#[must_use]
pub fn play(scenario: &Arc<Scenario>, seed: u64, labs: &Labs, options: PlayOptions) -> Played {
    let lab = match labs.of(&scenario.run) {
        Ok(lab) => lab,
        Err(why) => return Played::of_nothing(seed, Failure::Panic(why)),
    };
    let (sender, receiver) = mpsc::sync_channel(1);
    let is_abandoned = Arc::new(AtomicBool::new(false));
    let (scenario, flag) = (Arc::clone(scenario), Arc::clone(&is_abandoned));
    let run = move || {
        let played =
            catch_unwind(AssertUnwindSafe(|| play_here(&scenario, seed, &lab, options, &flag)));
        let played = played.map_err(|panic| panic_text(&*panic));
        // Nobody listens if the watchdog has given up.
        let _ = sender.send(played);
    };
    let thread = thread::Builder::new().name(RUN_THREAD.to_owned()).spawn(run);
    let thread = thread.expect("the system has a thread to spare");
    match receiver.recv_timeout(options.watchdog) {
        Ok(Ok(played)) => {
            let _ = thread.join();
            played
        }
        Ok(Err(panic)) => {
            let _ = thread.join();
            Played::of_nothing(seed, Failure::Panic(panic))
        }
        Err(_) => {
            is_abandoned.store(true, Ordering::Relaxed);
            let why = format!(
                "the run did not come back within {:?} of the wall clock: a node loops for ever, \
                 or the watchdog is too short",
                options.watchdog
            );
            Played::of_nothing(seed, Failure::Stuck(why))
        }
    }
}

/// How many runs can be played side by side.
#[must_use]
pub fn default_jobs() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    match panics::take_place() {
        Some(place) => format!("{text}, at {place}"),
        None => text,
    }
}

fn play_here(
    scenario: &Scenario,
    seed: u64,
    lab: &Arc<Lab>,
    options: PlayOptions,
    is_abandoned: &AtomicBool,
) -> Played {
    #[cfg(feature = "planted-bugs")]
    unisono_core::planted::plant(options.bug);
    let schedule = Stream::new(seed, Purpose::Schedule, 0, 0).bits();
    let runtime = Runtime::with_seed_and_config(schedule, madsim::Config::default());
    let mut stage = Stage::new(scenario, seed, lab, options);
    let hang = runtime.block_on(stage.play(is_abandoned));
    stage.finish(hang)
}

/// One run.
struct Stage<'a> {
    scenario: &'a Scenario,
    seed: u64,
    set: Arc<Set>,
    nodes: BTreeMap<TaskId, NodeHandle>,
    /// When the last life began, of each task.
    began: BTreeMap<TaskId, Duration>,
    /// When the first task had finished, and the last.
    first_end: Option<Duration>,
    last_end: Duration,
    left_behind: Vec<TaskId>,
}

/// What every life of every task needs.
struct Set {
    universe: Universe,
    config: Arc<ClusterConfig>,
    wrong: Vec<crate::scenario::WrongSetting>,
    record: Arc<Mutex<Record>>,
    /// How many lives of each task have begun.
    n_lives: Mutex<BTreeMap<TaskId, u64>>,
    lab: Arc<Lab>,
    seed: u64,
    change: Option<Change>,
}

impl<'a> Stage<'a> {
    fn new(scenario: &'a Scenario, seed: u64, lab: &Arc<Lab>, options: PlayOptions) -> Self {
        let run = &scenario.run;
        let config = ClusterConfig {
            n_ps: run.n_ps,
            sync: run.sync,
            training_steps: Step(run.train.training_steps),
            settings: run.settings(),
            data: None,
            limits: scenario.limits,
        };
        let set = Set {
            universe: Universe::new(scenario, seed),
            config: Arc::new(config),
            wrong: scenario.wrong.clone(),
            record: Arc::new(Mutex::new(Record::new(&scenario.expect.events, options.trace))),
            n_lives: Mutex::default(),
            lab: Arc::clone(lab),
            seed,
            change: options.change,
        };
        Self {
            scenario,
            seed,
            set: Arc::new(set),
            nodes: BTreeMap::new(),
            began: BTreeMap::new(),
            first_end: None,
            last_end: Duration::ZERO,
            left_behind: Vec::new(),
        }
    }

    /// Plays until every task has ended, a rule is broken, or there is no hope.
    async fn play(&mut self, is_abandoned: &AtomicBool) -> Option<String> {
        let universe = self.set.universe.clone();
        loop {
            // Comes back when no task is ready to run, whatever madsim's clock says.
            madsim::time::sleep(Duration::ZERO).await;
            if lock(&self.set.record).is_over() || is_abandoned.load(Ordering::Relaxed) {
                return None;
            }
            let orders = std::mem::take(&mut universe.state().orders);
            if !orders.is_empty() {
                self.carry_out(orders);
                continue;
            }
            self.note_ends();
            if let Some(why) = self.is_hopeless() {
                return self.who_hangs(&why);
            }
            let mut state = universe.state();
            loop {
                if !state.advance() {
                    drop(state);
                    return self.who_hangs("nothing will ever happen");
                }
                if state.has_news() {
                    break;
                }
            }
        }
    }

    fn carry_out(&mut self, orders: Vec<Order>) {
        for order in orders {
            match order {
                Order::Bury(life) => {
                    lock(&self.set.record).invariants.killed(life);
                    if let Some(node) = self.nodes.get(&life.task) {
                        Handle::current().kill(node.id());
                    }
                }
                Order::Raise(task) => {
                    self.began.insert(task, self.set.universe.now());
                    match self.nodes.get(&task) {
                        Some(node) => Handle::current().restart(node.id()),
                        None => {
                            let node = raise(&self.set, task);
                            self.nodes.insert(task, node);
                        }
                    }
                }
            }
        }
    }

    fn note_ends(&mut self) {
        let mut state = self.set.universe.state();
        let state = &mut *state;
        if let Some((finished, at)) = state.ended.take() {
            self.last_end = at;
            if finished {
                self.first_end = self.first_end.or(Some(at));
            }
        }
    }

    /// Why the run will not end by itself, if it has come so far.
    fn is_hopeless(&self) -> Option<String> {
        let state = self.set.universe.state();
        let limits = self.scenario.sim;
        if state.n_events >= limits.max_events {
            return Some(format!("{} events", limits.max_events));
        }
        if state.now >= limits.max_virtual_time {
            return Some(format!("{:?} of virtual time", limits.max_virtual_time));
        }
        let healed = state.faults.last_change.max(self.last_start());
        if !state.faults.any_will_end() && state.now >= healed + self.scenario.liveness {
            return Some(format!("{:?} after the last fault", self.scenario.liveness));
        }
        None
    }

    fn last_start(&self) -> Duration {
        self.scenario.start.values().copied().max().unwrap_or_default()
    }

    /// Who should have ended and has not; if nobody, all is well.
    fn who_hangs(&mut self, why: &str) -> Option<String> {
        let state = self.set.universe.state();
        let saved = lock(&self.set.record).final_save;
        // A link that broke without a word before the end is found out after it.
        let unnoticed = self.scenario.limits.heartbeat_timeout;
        let disturbed_at_the_end = saved
            .is_some_and(|at| state.faults.last_change + unnoticed >= at)
            && !state.faults.is_untouched();
        let comes_late = |task: &TaskId| {
            let began = self.began.get(task).copied().unwrap_or_default();
            self.first_end.is_some_and(|end| began >= end)
        };
        let (excused, hanging): (Vec<_>, Vec<_>) =
            state.lives.keys().copied().partition(|task| disturbed_at_the_end || comes_late(task));
        if hanging.is_empty() {
            drop(state);
            self.left_behind = excused;
            return None;
        }
        Some(format!("{why}, and there still are {}", in_words(&hanging)))
    }

    fn finish(self, hang: Option<String>) -> Played {
        let mut state = self.set.universe.state();
        state.end_all_faults();
        let mut record = lock(&self.set.record);
        let n_generations = record.history.generations.len() as u64;
        let counts: Counts = record.counts.clone();
        let files = state.files.disk().clone();
        let (losses, checkpoint, unreadable) = self.read_back(&files);
        let mut played = Played {
            seed: self.seed,
            failure: None,
            unmet: Vec::new(),
            outcomes: state.outcomes.clone(),
            left_behind: self.left_behind.clone(),
            took: self.last_end,
            n_events: state.n_events,
            audit: record.audit,
            order: record.order,
            faults: state.faults.bites(),
            counts: counts.iter().filter(|(_, n)| *n > 0).collect(),
            n_generations,
            losses,
            checkpoint,
            ledgers: std::mem::take(&mut record.ledgers)
                .into_iter()
                .map(|(ps, lines)| Ledger::of_lines(ps, lines))
                .collect(),
            trace: record.trace.take(),
        };
        let (found_invalid, is_damaged) = (state.files.invalid.take(), state.disk_is_damaged);
        drop(state);
        let broken = record.violation.take().map(Failure::Violation);
        let broken = broken.or_else(|| record.panic.take().map(Failure::Panic));
        played.failure = broken.or_else(|| hang.map(Failure::Hang));
        if played.failure.is_some() {
            return played;
        }
        let end = End {
            config: &self.set.config,
            history: &std::mem::take(&mut record.history),
            outcomes: &played.outcomes,
            losses: &played.losses,
            checkpoint: played.checkpoint.as_deref(),
        };
        // A disk that lied or failed may have damaged what was durable.
        let invalid = found_invalid.or(unreadable).filter(|_| !is_damaged);
        let checked =
            invalid.map_or(Ok(()), |why| Err(Violation::new(7, "visible-and-invalid", why)));
        let Verdict { failure, unmet } = match checked.and_then(|()| record.invariants.end(&end)) {
            Err(broken) => {
                Verdict { failure: Some(Failure::Violation(broken)), ..Verdict::default() }
            }
            Ok(()) => {
                let (lab, expected) = (&self.set.lab, std::mem::take(&mut record.expected));
                verdict::judge(self.scenario, lab, &played, &counts, &expected)
            }
        };
        (played.failure, played.unmet) = (failure, unmet);
        played
    }

    /// What is on the disk at the end, as the production code reads it.
    #[expect(clippy::type_complexity, reason = "three things that are read together")]
    fn read_back(
        &self,
        disk: &crate::world::disk::SimDisk,
    ) -> (Vec<(Step, Slot, f32)>, Option<Arc<Snapshot>>, Option<String>) {
        let logdir = ChiefFiles::logdir();
        let rows =
            losses::read_from(disk, &logdir.join(losses::error::LOSSES_FILE)).unwrap_or_default();
        let config = self.set.lab.plan().files_from(&logdir, Arc::clone(self.set.lab.initial()));
        let files = match RunFiles::open(Arc::new(disk.clone()), config) {
            Ok((files, _)) => files,
            Err(error) => return (rows, None, Some(error.to_string())),
        };
        let (restored, invalid) = restore(&files);
        match restored {
            Ok(restored) => (rows, restored.from.map(|_| restored.snapshot), invalid),
            Err(why) => (rows, None, Some(why)),
        }
    }
}

/// The names of the first tasks, and the number of the others.
fn in_words(tasks: &[TaskId]) -> String {
    /// A report has to be readable for a cluster of a thousand.
    const MOST_NAMES: usize = 12;
    let names: Vec<_> = tasks.iter().take(MOST_NAMES).map(ToString::to_string).collect();
    match tasks.len().saturating_sub(MOST_NAMES) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

/// Makes a task's node and starts its first life; a restart starts the next.
fn raise(set: &Arc<Set>, task: TaskId) -> NodeHandle {
    let set = Arc::clone(set);
    let life = move || live(Arc::clone(&set), task);
    Handle::current().create_node().name(task.to_string()).init(life).build()
}

/// One process of a task: a node, and another one as often as the process raises its incarnation.
fn live(set: Arc<Set>, task: TaskId) -> impl Future<Output = ()> {
    let number = set.next_number(task);
    // A process takes a microsecond or more to start, so that without a fault each life has a
    // larger incarnation. Only the chief records its own, as without ledgers and traces.
    let clock = set.universe.wall_clock(task) + number;
    let recorded = (task == TaskId::CHIEF)
        .then(|| last_incarnation(&set.disk(), &ChiefFiles::logdir()))
        .flatten();
    let mut id = LifeId { task, number, incarnation: Incarnation::first(clock, recorded) };
    set.universe.begin(id);
    async move {
        let mut raises = Raises::of_process(id.incarnation);
        loop {
            let place = Place { universe: set.universe.clone(), id };
            // On the heap from the start: madsim moves a task several times before it runs.
            let outcome = match caught(Box::pin(run_node(&set, place))).await {
                Ok(outcome) => outcome,
                Err(panic) => {
                    lock(&set.record).panic = Some(format!("{id}: {panic}"));
                    return;
                }
            };
            match raises.after(outcome) {
                Ok(_) if !set.universe.end_outdated(id) => return,
                Ok(incarnation) => {
                    id = LifeId { task, number: set.next_number(task), incarnation };
                    set.universe.begin(id);
                }
                Err(outcome) => return set.universe.end(id, outcome),
            }
        }
    }
}

/// Caught here, and not by the executor, a panic leaves the run's trace and its nodes' states.
async fn caught<T>(mut future: Pin<Box<impl Future<Output = T>>>) -> Result<T, String> {
    let poll = |context: &mut Context<'_>| match catch_unwind(AssertUnwindSafe(|| {
        future.as_mut().poll(context)
    })) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(panic_text(&*panic))),
    };
    poll_fn(poll).await
}

async fn run_node(set: &Set, place: Place) -> Outcome {
    let LifeId { task, incarnation, .. } = place.id;
    let mut worker = set.lab.worker(set.seed);
    let compute = SimCompute { place: place.clone(), work: move |job| worker.work(job) };
    let (clock, network, stop) = (place.clone(), place.clone(), place.clone());
    let config = set.config_of(task);
    let observer = &mut Watcher {
        life: place.id,
        universe: set.universe.clone(),
        config: Arc::clone(&set.config),
        record: Arc::clone(&set.record),
        input: Input::Start,
        order: LifeOrder::new(place.id),
        tracer: Tracer::default(),
        recorder: (task.job == Job::Ps).then(|| set.open_ledger(place.id, &config)),
    };
    if task.job == Job::Ps {
        let host = Host { clock, network, compute, storage: NoStorage, stop };
        let node = Ps::new(task.index, incarnation, config);
        return drive_changed(set.change, task, node, host, observer).await;
    }
    let node = Worker::new(task.index, incarnation, config);
    if task != TaskId::CHIEF {
        let host = Host { clock, network, compute, storage: NoStorage, stop };
        return drive_changed(set.change, task, node, host, observer).await;
    }
    if let Err(why) = set.open_files(place.id) {
        return Outcome::Failed(NodeFailure::Storage(why));
    }
    let host = Host { clock, network, compute, storage: place, stop };
    drive_changed(set.change, task, node, host, observer).await
}

/// Runs a node, or what a change makes of it.
async fn drive_changed<C: Clock, N: Network, K: Compute, S: Storage, T: Stop>(
    change: Option<Change>,
    task: TaskId,
    mut node: impl Node + 'static,
    host: Host<C, N, K, S, T>,
    observer: &mut Watcher,
) -> Outcome {
    match change {
        None => drive(&mut node, host, observer).await,
        Some(change) => drive(&mut change(task, Box::new(node)), host, observer).await,
    }
}

impl Set {
    /// The number of a life that begins.
    fn next_number(&self, task: TaskId) -> u64 {
        let mut n_lives = lock(&self.n_lives);
        let number = n_lives.entry(task).or_default();
        *number += 1;
        *number
    }

    fn config_of(&self, task: TaskId) -> ClusterConfig {
        let mut config = (*self.config).clone();
        if task.job == Job::Worker {
            config.data = Some(self.lab.plan().data.digest().to_owned());
        }
        for wrong in self.wrong.iter().filter(|wrong| wrong.node == task) {
            if wrong.key == "data" {
                config.data = Some(wrong.value.clone());
                continue;
            }
            let settings = config.settings.iter().map(|(key, value)| {
                (
                    key.to_owned(),
                    if key == wrong.key { wrong.value.clone() } else { value.to_owned() },
                )
            });
            config.settings = settings
                .collect::<Vec<_>>()
                .into_iter()
                .fold(Settings::default(), |all, (key, value)| all.with(&key, value));
        }
        config
    }

    /// In memory: no fault of a disk reaches it.
    fn open_ledger(&self, life: LifeId, config: &ClusterConfig) -> Recorder {
        let ps = life.task.index;
        let (recorder, header) = Recorder::new(ps, life.incarnation, config);
        lock(&self.record).ledgers.entry(ps).or_default().push(header);
        recorder
    }

    /// The disk of the chief, which outlives its lives.
    fn disk(&self) -> crate::world::disk::SimDisk {
        self.universe.state().files.disk().clone()
    }

    fn open_files(&self, life: LifeId) -> Result<(), String> {
        let logdir = ChiefFiles::logdir();
        let config = self.lab.plan().files_from(&logdir, Arc::clone(self.lab.initial()));
        let disk = self.disk();
        let (files, _) =
            RunFiles::open(Arc::new(disk.clone()), config).map_err(|e| e.to_string())?;
        record_incarnation(&disk, &logdir, life.incarnation).map_err(|e| e.to_string())?;
        self.universe.open_files(life, files);
        Ok(())
    }
}
