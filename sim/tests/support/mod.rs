//! What several test programs of the simulator need: scenarios from text and from files, one memory
//! for all runs of a process, and questions to a trace.

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

/// Shared by all runs of a process, so that a gradient is computed once.
pub(crate) fn caches() -> &'static ComputeCaches {
    static CACHES: OnceLock<ComputeCaches> = OnceLock::new();
    CACHES.get_or_init(ComputeCaches::default)
}

/// The scenario of a text.
pub(crate) fn scenario(text: &str) -> Scenario {
    Scenario::parse(text, "test.toml").unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// All scenario files that tell a story, in the order of their names. Those in folders below are
/// for `enumerate`.
pub(crate) fn files() -> Vec<PathBuf> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../scenarios");
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("it can be read").path()).collect();
    // A failing story leaves capsules and reports beside the stories.
    files.retain(|path| path.is_file() && path.extension().is_none_or(|it| it != "html"));
    files.sort();
    assert!(!files.is_empty());
    files
}

/// All of these, read.
pub(crate) fn sources() -> Vec<Source> {
    let load = |path: &PathBuf| Source::load(path).unwrap_or_else(|error| panic!("{error}"));
    files().iter().map(load).collect()
}

/// Plays it with a trace, however it ends.
pub(crate) fn watch(scenario: &Scenario, seed: u64) -> Played {
    let options = PlayOptions { trace: true, ..PlayOptions::default() };
    play(&Arc::new(scenario.clone()), seed, caches(), options)
}

/// A scenario with constant times where it says nothing of them: for tests that compute when
/// something happens.
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

/// Plays a text with a trace, and with constant times where it says nothing of them. The run must be
/// right, and its faults must bite.
pub(crate) fn run(text: &str) -> Played {
    passed(watch(&steady(scenario(text)), 1))
}

/// A run that nothing is wrong with.
pub(crate) fn passed(played: Played) -> Played {
    if let Some(failure) = &played.failure {
        panic!("seed {}: {failure}", played.seed);
    }
    played
}

/// Questions to a run that was played with a trace.
pub(crate) trait Told {
    /// Everything that happened.
    fn events(&self) -> &[TracedEvent];

    /// How often this happened in the whole run.
    fn count(&self, kind: EventKind) -> u64;

    /// How often the faults bit, in their order.
    fn bites(&self) -> Vec<u64>;

    /// What happened to a task, of one kind.
    fn at(&self, task: TaskId, kind: EventKind) -> Vec<&TracedEvent> {
        let fits = |event: &&TracedEvent| event.life.task == task && event.what.kind == kind;
        self.events().iter().filter(fits).collect()
    }

    /// When that was.
    fn times(&self, task: TaskId, kind: EventKind) -> Vec<Duration> {
        self.at(task, kind).iter().map(|event| event.at).collect()
    }

    /// What a task did, of one kind, and the event at which it did.
    fn done(&self, task: TaskId, kind: EventKind) -> Vec<(&TracedEvent, &TracedEffect)> {
        let of_task = self.events().iter().filter(|event| event.life.task == task);
        let each = of_task.flat_map(|event| event.effects.iter().map(move |done| (event, done)));
        each.filter(|(_, done)| done.what.kind == kind).collect()
    }

    /// When it did.
    fn times_done(&self, task: TaskId, kind: EventKind) -> Vec<Duration> {
        self.done(task, kind).iter().map(|(event, _)| event.at).collect()
    }

    /// What one task heard from another, with the event at which that was sent.
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

impl Told for Played {
    fn events(&self) -> &[TracedEvent] {
        &self.trace.as_ref().expect("it was asked for").events
    }

    fn count(&self, kind: EventKind) -> u64 {
        self.counts.iter().find(|(other, _)| *other == kind).map_or(0, |(_, n)| *n)
    }

    fn bites(&self) -> Vec<u64> {
        self.faults.iter().map(|fault| fault.n_effects).collect()
    }
}
