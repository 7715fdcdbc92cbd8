//! Simulated tests of a workload, built in code. A test needs one expression:
//!
//! ```no_run
//! # fn workload() -> unisono_learn::Workload { unisono_learn::Workload::built_in() }
//! use std::time::Duration;
//! use unisono_core::TaskId;
//! use unisono_sim::check::{Sim, crash};
//!
//! Sim::of(workload())
//!     .ps(2)
//!     .workers(3)
//!     .fault(crash(TaskId::ps(1)).at_step(4).back_after(Duration::from_millis(20)))
//!     .seeds(0..64)
//!     .check();
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use unisono_core::Step;
use unisono_core::train_config::TrainConfig;
use unisono_learn::Workload;

use crate::many::case::{Case, Source};
use crate::many::pool;
use crate::many::shrink::Shrinker;
use crate::run::play::{configured, default_jobs};
use crate::run::played::{PlayOptions, Played};
use crate::scenario::{
    End, Fault, FaultKind, Oracle, PartitionMode, PeersSee, ScenarioError, TaskSet, Trigger,
};
use crate::show::capsule::Capsule;
use crate::show::report::{Explained, explain};
use crate::{ComputeCaches, Scenario};

/// The folder for the capsule and the small scenario of a failed check, relative to the folder in
/// which the test runs. `cargo test` runs a test in the folder of its package.
const FAILURES: &str = "target/unisono-failures";

/// A test under construction: a workload, a scenario and seeds.
#[derive(Debug)]
pub struct Sim {
    workload: Workload,
    scenario: Scenario,
    seeds: std::ops::Range<u64>,
}

/// A fault under construction. A fault without a beginning begins with the run.
#[derive(Clone, Debug)]
pub struct NewFault {
    kind: FaultKind,
    trigger: Trigger,
    end: Option<End>,
}

/// Kills tasks without a word to their peers. [`NewFault::back_after`] restarts them.
#[must_use]
pub fn crash(node: impl Into<TaskSet>) -> NewFault {
    let (node, peers) = (node.into(), PeersSee::default());
    NewFault::new(FaultKind::Crash { node, peers, power_loss: false })
}

/// Suspends tasks.
#[must_use]
pub fn pause(node: impl Into<TaskSet>) -> NewFault {
    NewFault::new(FaultKind::Pause { node: node.into() })
}

/// Asks tasks to stop, as SIGTERM does. [`NewFault::back_after`] restarts them.
#[must_use]
pub fn stop(node: impl Into<TaskSet>) -> NewFault {
    NewFault::new(FaultKind::Stop { node: node.into() })
}

/// Makes all computations of tasks take longer by a factor.
#[must_use]
pub fn slow(node: impl Into<TaskSet>, factor: f64) -> NewFault {
    NewFault::new(FaultKind::Slow { node: node.into(), factor })
}

/// Holds back all messages between two sets of tasks, in both directions.
#[must_use]
pub fn partition(from: impl Into<TaskSet>, to: impl Into<TaskSet>) -> NewFault {
    let (from, to, mode) = (from.into(), to.into(), PartitionMode::default());
    NewFault::new(FaultKind::Partition { from, to, both_ways: true, mode })
}

/// Breaks the links between two sets of tasks. Messages on their way are lost.
#[must_use]
pub fn reset(from: impl Into<TaskSet>, to: impl Into<TaskSet>) -> NewFault {
    NewFault::new(FaultKind::Reset { from: from.into(), to: to.into() })
}

impl NewFault {
    /// Creates a fault of any kind. It begins with the run, and does not end.
    #[must_use]
    pub const fn new(kind: FaultKind) -> Self {
        Self { kind, trigger: Trigger::At(Duration::ZERO), end: None }
    }

    /// Lets the fault begin at a virtual time.
    #[must_use]
    pub fn at(self, time: Duration) -> Self {
        Self { trigger: Trigger::At(time), ..self }
    }

    /// Lets the fault begin when ps 0 first has version `step`.
    #[must_use]
    pub fn at_step(self, step: u64) -> Self {
        Self { trigger: Trigger::AtStep(Step(step)), ..self }
    }

    /// Lets the fault end this long after its beginning. The end of a crash or a stop restarts the
    /// tasks.
    #[must_use]
    pub fn back_after(self, time: Duration) -> Self {
        Self { end: Some(End::For(time)), ..self }
    }

    /// Lets the fault end when ps 0 first has version `step`.
    #[must_use]
    pub fn until_step(self, step: u64) -> Self {
        Self { end: Some(End::UntilStep(Step(step))), ..self }
    }
}

impl Sim {
    /// Begins a test of a workload: 2 ps, 2 workers, few steps, no faults, and 16 seeds.
    #[must_use]
    pub fn of(workload: Workload) -> Self {
        Self { workload, scenario: Scenario::default(), seeds: 0..16 }
    }

    /// Takes everything but the workload from the text of a scenario file.
    ///
    /// # Panics
    /// If the text is not a scenario.
    #[must_use]
    pub fn scenario(self, toml: &str) -> Self {
        self.with(Scenario::parse(toml, "the scenario"))
    }

    /// Takes everything but the workload from a scenario file.
    ///
    /// # Panics
    /// If the file cannot be read, or is not a scenario.
    #[must_use]
    pub fn scenario_file(self, path: impl AsRef<Path>) -> Self {
        self.with(Scenario::load(path.as_ref()))
    }

    fn with(self, scenario: Result<Scenario, ScenarioError>) -> Self {
        let scenario = scenario.unwrap_or_else(|why| panic!("{why}"));
        let seeds = 0..scenario.sim.seeds.into();
        Self { scenario, seeds, ..self }
    }

    /// Sets the number of ps.
    #[must_use]
    pub const fn ps(mut self, n: u32) -> Self {
        self.scenario.run.n_ps = n;
        self
    }

    /// Sets the number of workers. Every update uses one gradient of each worker, unless
    /// [`Self::replicas_to_aggregate`] is called after this method.
    #[must_use]
    pub const fn workers(mut self, n: u32) -> Self {
        self.scenario.run.sync.total_num_replicas = n;
        self.replicas_to_aggregate(n)
    }

    /// Sets R, the number of gradients in each update. With R below the number of workers, timing
    /// chooses the gradients, and the losses are compared with a replay of the choice.
    #[must_use]
    pub const fn replicas_to_aggregate(mut self, r: u32) -> Self {
        self.scenario.run.sync.replicas_to_aggregate = r;
        let is_determined = self.scenario.run.sync.is_determined();
        let oracle = if is_determined { Oracle::Serial } else { Oracle::Provenance };
        self.scenario.expect.oracle = Some(oracle);
        self
    }

    /// Changes the training configuration, such as the number of steps.
    #[must_use]
    pub fn train(mut self, change: impl FnOnce(&mut TrainConfig)) -> Self {
        change(&mut self.scenario.run.train);
        self
    }

    /// Adds a fault. The check fails if the fault has no effect in a run.
    #[must_use]
    pub fn fault(mut self, fault: NewFault) -> Self {
        let NewFault { kind, trigger, end } = fault;
        let id = format!("fault {}, {}", self.scenario.faults.len() + 1, kind.family().name());
        self.scenario.faults.push(Fault { id, kind, trigger, end, may_be_inert: false });
        self
    }

    /// Sets the seeds. Each seed is one run, with its own timing.
    #[must_use]
    pub fn seeds(self, seeds: std::ops::Range<u64>) -> Self {
        Self { seeds, ..self }
    }

    /// Plays all seeds. In each run, the rules of the protocol must hold, the run must end as
    /// expected, and the losses must be those of the serial run, bit for bit.
    ///
    /// # Panics
    /// If a run fails: with the report of the first failing seed. The capsule of that run, and a
    /// smaller scenario that fails in the same way, are written to `target/unisono-failures`. Also
    /// panics if the scenario is not valid.
    pub fn check(self) {
        let Self { workload, scenario, seeds } = self;
        let caches = ComputeCaches::new(workload);
        // The scenario was built in code and has not been checked. Every valid scenario can be
        // written as a file, so parsing the file's text makes all checks.
        let scenario = Scenario::parse(&scenario.to_toml(), "the scenario");
        let scenario = Arc::new(scenario.unwrap_or_else(|why| panic!("{why}")));
        let scenario = configured(&scenario, caches.workload());
        let scenario = scenario.unwrap_or_else(|why| panic!("{why}"));
        let source =
            Source { path: Path::new(FAILURES).join(format!("{}.toml", test_name())), scenario };
        let options = PlayOptions::default();
        let fails = |seed| {
            let played = source.case(seed).brief(&caches, options);
            played.failure.is_some().then_some(played)
        };
        if let Some((seed, first)) = pool::first(default_jobs(), seeds, fails) {
            panic!("{}", failure(&source, &source.case(seed), &first, &caches));
        }
    }
}

/// Writes the files of a failed run, and returns the message for the user.
fn failure(source: &Source, case: &Case, first: &Played, caches: &ComputeCaches) -> String {
    let options = PlayOptions::default();
    let Explained { report, played } = explain(&source.name(), case, first, caches, options);
    let failure = first.failure.as_ref().expect("the run has failed");
    let folder = source.path.parent().unwrap_or_else(|| Path::new(""));
    let capsule = Capsule::new(&source.path, case, failure, &played);
    let file = capsule.file_in(folder);
    let report = match capsule.save(file) {
        Ok(path) => report.kept_in(&path.display().to_string()),
        Err(why) => return format!("{report}\n{why}"),
    };
    let (jobs, signature) = (default_jobs(), failure.signature());
    let shrunk = Shrinker { caches, options, jobs, signature }.shrink(case, |_| ());
    let small = source.path.with_file_name(format!("{}-small.toml", source.name()));
    match std::fs::write(&small, shrunk.case.scenario.to_toml()) {
        Ok(()) => {
            format!("{report}\nA smaller scenario fails in the same way: {}", small.display())
        }
        Err(why) => format!("{report}\ncannot write {}: {why}", small.display()),
    }
}

/// Returns the name of the running test, which is the name of its thread.
fn test_name() -> String {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("check");
    name.rsplit("::").next().unwrap_or(name).to_owned()
}
