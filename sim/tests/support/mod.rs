//! Helpers of the simulator's tests: scenarios from text and from files, compute caches for all
//! runs of a process, and queries of a trace.

#![allow(dead_code, reason = "each test program uses a part of this")]

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use unisono_core::TaskId;
use unisono_observe::trace::EventKind;
use unisono_sim::many::case::Source;
use unisono_sim::play;
use unisono_sim::record::trace::{TracedEffect, TracedEvent};
use unisono_sim::run::played::{PlayOptions, Played};
use unisono_sim::scenario::Distribution;
use unisono_sim::{ComputeCaches, Scenario};

/// The compute caches, shared by all runs of a process, so that each gradient is computed once.
pub(crate) fn caches() -> &'static ComputeCaches {
    static CACHES: OnceLock<ComputeCaches> = OnceLock::new();
    CACHES.get_or_init(ComputeCaches::default)
}

/// Parses a scenario.
pub(crate) fn scenario(text: &str) -> Scenario {
    Scenario::parse(text, "test.toml").unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Returns the scenario files directly in `scenarios/`, in the order of their names. The files in
/// subfolders are for `enumerate`.
pub(crate) fn files() -> Vec<PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios");
    let entries = std::fs::read_dir(folder).expect("the folder exists");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a readable entry").path()).collect();
    // A failing scenario leaves capsules and reports in the folder.
    files.retain(|path| path.is_file() && path.extension().is_none_or(|it| it != "html"));
    files.sort();
    assert!(!files.is_empty());
    files
}

/// Reads all of these files.
pub(crate) fn sources() -> Vec<Source> {
    let load = |path: &PathBuf| Source::load(path).unwrap_or_else(|error| panic!("{error}"));
    files().iter().map(load).collect()
}

/// Plays a scenario with a trace. The run may fail.
pub(crate) fn watch(scenario: &Scenario, seed: u64) -> Played {
    let options = PlayOptions { trace: true, ..PlayOptions::default() };
    play(&Arc::new(scenario.clone()), seed, caches(), options)
}

/// Makes default durations constant, for tests that compute the time of an event.
pub(crate) fn steady(mut scenario: Scenario) -> Scenario {
    let default = Scenario::default();
    let constant = |micros| Distribution::Const(Duration::from_micros(micros));
    if scenario.compute.gradient == default.compute.gradient {
        scenario.compute.gradient = constant(700);
    }
    if scenario.compute.update == default.compute.update {
        scenario.compute.update = constant(50);
    }
    if scenario.network.jitter == default.network.jitter {
        scenario.network.jitter = Distribution::ZERO;
    }
    scenario
}

/// Plays the scenario of a text with a trace, and with constant default durations. The run must
/// pass, so each fault must have an effect.
pub(crate) fn run(text: &str) -> Played {
    passed(watch(&steady(scenario(text)), 1))
}

/// Asserts that a run has passed.
pub(crate) fn passed(played: Played) -> Played {
    if let Some(failure) = &played.failure {
        panic!("seed {}: {failure}", played.seed);
    }
    played
}

/// Queries of a run that was played with a trace.
pub(crate) trait TraceQueries {
    /// Returns all events.
    fn events(&self) -> &[TracedEvent];

    /// Returns the number of events of a kind in the whole run.
    fn count(&self, kind: EventKind) -> u64;

    /// Returns the number of effects of each fault, in the order of the scenario.
    fn effects(&self) -> Vec<u64>;

    /// Returns the inputs of one kind that a task took.
    fn at(&self, task: TaskId, kind: EventKind) -> Vec<&TracedEvent> {
        let fits = |event: &&TracedEvent| event.life.task == task && event.what.kind == kind;
        self.events().iter().filter(fits).collect()
    }

    /// Returns the times of these inputs.
    fn times(&self, task: TaskId, kind: EventKind) -> Vec<Duration> {
        self.at(task, kind).iter().map(|event| event.at).collect()
    }

    /// Returns the effects of one kind of a task, each with its event.
    fn done(&self, task: TaskId, kind: EventKind) -> Vec<(&TracedEvent, &TracedEffect)> {
        let of_task = self.events().iter().filter(|event| event.life.task == task);
        let each = of_task.flat_map(|event| event.effects.iter().map(move |done| (event, done)));
        each.filter(|(_, done)| done.what.kind == kind).collect()
    }

    /// Returns the times of these effects.
    fn times_done(&self, task: TaskId, kind: EventKind) -> Vec<Duration> {
        self.done(task, kind).iter().map(|(event, _)| event.at).collect()
    }

    /// Returns the messages that one task received from another, each with the event that sent it.
    fn heard(&self, from: TaskId, to: TaskId) -> Vec<(&TracedEvent, &TracedEvent)> {
        let events = self.events();
        let sent = |event: &TracedEvent| {
            let is_message = event.what.kind.name().starts_with("receives-");
            let cause = usize::try_from(event.cause?).expect("events fit in memory");
            let sender = &events[cause];
            (is_message && event.life.task == to && sender.life.task == from).then_some(sender)
        };
        events.iter().filter_map(|event| Some((event, sent(event)?))).collect()
    }
}

impl TraceQueries for Played {
    fn events(&self) -> &[TracedEvent] {
        &self.trace.as_ref().expect("the run was traced").events
    }

    fn count(&self, kind: EventKind) -> u64 {
        self.counts.iter().find(|(other, _)| *other == kind).map_or(0, |(_, n)| *n)
    }

    fn effects(&self) -> Vec<u64> {
        self.faults.iter().map(|fault| fault.n_effects).collect()
    }
}
