//! Plays a scenario with a seed: the start of a run, its loop, and the collection of its result.
//!
//! Every task is a madsim node that runs the production loop (`process.rs`). madsim only polls the
//! futures of the tasks. Time and all events belong to the `Universe`. `ends.rs` decides when a
//! run is given up, and `verdict.rs` judges the result.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use madsim::runtime::{Handle, NodeHandle, Runtime};
use unisono_core::protocol::Snapshot;
use unisono_core::random::Stream;
use unisono_core::{Slot, Step, TaskId};
use unisono_files::losses;
use unisono_learn::Workload;
use unisono_observe::ledger::Ledger;

use crate::lock::lock;
use crate::run::compute_cache::{ComputeCache, ComputeCaches};
use crate::run::ends::{Ends, reached_limit};
use crate::run::failure::Failure;
use crate::run::panics::{self, RUN_THREAD};
use crate::run::played::{PlayOptions, Played};
use crate::run::process::{RunContext, create_node};
use crate::run::verdict::{self, Evidence, Verdict};
use crate::scenario::Scenario;
use crate::streams::Purpose;
use crate::world::disk::SimDisk;
use crate::world::files::{ChiefFiles, restore};
use crate::world::state::ExecutorOrder;

/// Returns the scenario with all settings of its workload.
///
/// # Errors
/// A text for the user, if the scenario has settings of another workload.
pub(crate) fn configured(
    scenario: &Arc<Scenario>,
    workload: &Workload,
) -> Result<Arc<Scenario>, String> {
    let run = workload.configure(&scenario.run).map_err(|error| error.to_string())?;
    if run == scenario.run {
        return Ok(Arc::clone(scenario));
    }
    Ok(Arc::new(Scenario { run, ..(**scenario).clone() }))
}

/// Plays a scenario with a seed and returns the result. The scenario must have no section
/// `[chaos]`: the caller replaces `[chaos]` by the draws of the seed, as
/// [`Source::case`](crate::many::case::Source::case) does.
///
/// The run has its own thread, because madsim and the standard library keep state for each thread,
/// and a run must not see the state of an earlier run.
///
/// # Panics
/// Panics if the system cannot start a thread.
#[must_use]
pub fn play(
    scenario: &Arc<Scenario>,
    seed: u64,
    caches: &ComputeCaches,
    options: PlayOptions,
) -> Played {
    let failed = |failure| Played { seed, failure: Some(failure), ..Played::default() };
    let cached = configured(scenario, caches.workload())
        .and_then(|scenario| Ok((caches.for_run(&scenario.run)?, scenario)));
    let (cache, scenario) = match cached {
        Ok(cached) => cached,
        Err(why) => return failed(Failure::Panic(why)),
    };
    let (sender, receiver) = mpsc::sync_channel(1);
    let is_abandoned = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&is_abandoned);
    let run = move || {
        let played =
            catch_unwind(AssertUnwindSafe(|| play_here(&scenario, seed, &cache, options, &flag)));
        let played = played.map_err(|panic| panics::text_of(&*panic));
        // Sending fails if the watchdog has given up. Nobody needs the result then.
        let _ = sender.send(played);
    };
    let thread = thread::Builder::new().name(RUN_THREAD.to_owned()).spawn(run);
    let thread = thread.expect("the system can start a thread");
    match receiver.recv_timeout(options.watchdog) {
        Ok(played) => {
            let _ = thread.join();
            // The simulator itself panicked. A panic of a node is caught earlier.
            played.unwrap_or_else(|panic| failed(Failure::Panic(panic)))
        }
        Err(_) => {
            // The thread is not joined, because a node that loops for ever never returns. If the
            // run is only slow, the flag ends the run, so that it does not compete with later runs.
            is_abandoned.store(true, Ordering::Relaxed);
            failed(Failure::Stuck(format!(
                "the run did not return within {:?} of wall-clock time: a node loops for ever, or \
                 the watchdog is too short",
                options.watchdog
            )))
        }
    }
}

/// Returns the default number of runs that are played at the same time.
pub(crate) fn default_jobs() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

fn play_here(
    scenario: &Scenario,
    seed: u64,
    cache: &Arc<ComputeCache>,
    options: PlayOptions,
    is_abandoned: &AtomicBool,
) -> Played {
    // The planted bug is a thread-local setting, so it is set on the thread of the run.
    #[cfg(feature = "planted-bugs")]
    unisono_core::planted::plant(options.bug);
    // The seed of madsim only decides which of several ready tasks is polled first. Madsim's seed
    // comes from a random stream of its own, which faults and durations do not use.
    let schedule = Stream::new(seed, Purpose::Schedule, 0, 0).bits();
    let runtime = Runtime::with_seed_and_config(schedule, madsim::Config::default());
    let mut run = SimRun::new(scenario, seed, cache, options);
    runtime.block_on(run.play(is_abandoned));
    run.finish()
}

struct SimRun<'a> {
    scenario: &'a Scenario,
    seed: u64,
    context: Arc<RunContext>,
    nodes: BTreeMap<TaskId, NodeHandle>,
    ends: Ends,
}

impl<'a> SimRun<'a> {
    fn new(
        scenario: &'a Scenario,
        seed: u64,
        cache: &Arc<ComputeCache>,
        options: PlayOptions,
    ) -> Self {
        let context = Arc::new(RunContext::new(scenario, seed, cache, options));
        Self { scenario, seed, context, nodes: BTreeMap::new(), ends: Ends::default() }
    }

    /// Plays until all tasks have ended, a check has failed, or the run is given up.
    async fn play(&mut self, is_abandoned: &AtomicBool) {
        let universe = self.context.universe.clone();
        loop {
            // `sleep` returns when no other task is ready to run. Virtual time may advance only
            // then, because a ready task still acts at the present time. Virtual time is
            // `state.now`, and not the clock of madsim.
            madsim::time::sleep(Duration::ZERO).await;
            if verdict::has_failed(&lock(&self.context.record))
                || is_abandoned.load(Ordering::Relaxed)
            {
                return;
            }
            // Orders to the executor are carried out before time advances, because a killed task
            // must not see a later event.
            let orders = std::mem::take(&mut universe.state().orders);
            if !orders.is_empty() {
                self.carry_out(orders);
                continue;
            }
            let mut state = universe.state();
            self.ends.note_halts(&mut state);
            if let Some(why) = reached_limit(self.scenario, &state) {
                drop(state);
                return self.give_up(&why);
            }
            // Some events wake no task, for example a message to a paused task. This loop handles
            // such events without a return to the executor.
            loop {
                if !state.advance() {
                    drop(state);
                    return self.give_up("no event is pending");
                }
                if state.has_news() {
                    break;
                }
            }
        }
    }

    fn give_up(&mut self, why: &str) {
        let state = self.context.universe.state();
        let final_save = lock(&self.context.record).final_save;
        self.ends.give_up(why, self.scenario, &state, final_save);
    }

    fn carry_out(&mut self, orders: Vec<ExecutorOrder>) {
        for order in orders {
            match order {
                ExecutorOrder::Kill(life) => {
                    lock(&self.context.record).rules.killed(life);
                    if let Some(node) = self.nodes.get(&life.task) {
                        Handle::current().kill(node.id());
                    }
                }
                ExecutorOrder::Start(task) => {
                    self.ends.began.insert(task, self.context.universe.state().now);
                    match self.nodes.get(&task) {
                        Some(node) => Handle::current().restart(node.id()),
                        None => {
                            let node = create_node(&self.context, task);
                            self.nodes.insert(task, node);
                        }
                    }
                }
            }
        }
    }

    /// Collects the result of the run, and judges it.
    fn finish(self) -> Played {
        let mut state = self.context.universe.state();
        // Faults must not disturb the reading of the disk, so all faults end first. Files that
        // faults have damaged stay damaged.
        state.end_all_faults();
        let mut record = lock(&self.context.record);
        let files = state.files.disk.clone();
        let (losses, checkpoint, unreadable) = self.read_back(&files);
        let mut played = Played {
            seed: self.seed,
            failure: None,
            unmet: Vec::new(),
            outcomes: state.outcomes.clone(),
            left_behind: self.ends.left_behind.clone(),
            took: self.ends.last_halt,
            n_events: state.n_events,
            audit: record.audit,
            order: record.order,
            faults: state.faults.effects(),
            counts: record.counts.iter().filter(|(_, n)| *n > 0).collect(),
            n_generations: record.rules.n_generations() as u64,
            losses,
            checkpoint,
            ledgers: std::mem::take(&mut record.ledgers)
                .into_iter()
                .map(|(ps, lines)| Ledger::of_lines(ps, lines))
                .collect(),
            trace: record.trace.take(),
        };
        // A disk that lied or failed may have damaged durable data. The code that writes
        // checkpoints cannot prevent such damage, so an invalid checkpoint is then no failure.
        let is_damaged = state.disk_is_damaged;
        let invalid = state.files.invalid.take().or(unreadable).filter(|_| !is_damaged);
        drop(state);
        let Verdict { failure, unmet } = verdict::judge(Evidence {
            scenario: self.scenario,
            cache: &self.context.cache,
            config: &self.context.config,
            played: &played,
            record: &mut record,
            hang: self.ends.hang.clone(),
            invalid_checkpoint: invalid,
        });
        (played.failure, played.unmet) = (failure, unmet);
        played
    }

    /// Reads the losses and the newest checkpoint from the disk, with the production code. The
    /// third value describes a visible but invalid checkpoint, or the error that kept the files
    /// from being read.
    #[expect(clippy::type_complexity, reason = "three things that are read together")]
    fn read_back(
        &self,
        disk: &SimDisk,
    ) -> (Vec<(Step, Slot, f32)>, Option<Arc<Snapshot>>, Option<String>) {
        let logdir = ChiefFiles::logdir();
        let rows =
            losses::read_from(disk, &logdir.join(losses::error::LOSSES_FILE)).unwrap_or_default();
        let files = match self.context.cache.open_files(disk) {
            Ok(files) => files,
            Err(error) => return (rows, None, Some(error)),
        };
        let (restored, invalid) = restore(&files);
        match restored {
            Ok(restored) => (rows, restored.from.map(|_| restored.snapshot), invalid),
            Err(why) => (rows, None, Some(why)),
        }
    }
}
