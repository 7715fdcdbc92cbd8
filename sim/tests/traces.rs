//! Histories that are reconstructed from the traces of all tasks, compared with what the simulator
//! knows.

#![allow(missing_docs, reason = "a test program")]

use std::collections::BTreeMap;
use std::path::Path;

use unisono_observe::trace::timeline::{State, lanes};
use unisono_observe::trace::{EventKind, History, path};
use unisono_sim::ComputeCaches;
use unisono_sim::many::case::Source;
use unisono_sim::run::played::PlayOptions;

/// Scenarios with broken links, with lost, repeated or held messages, and with restarts.
const SCENARIOS: [&str; 9] = [
    "backup-worker-crash",
    "chief-crash-reopening",
    "corrupt-frames",
    "flaky-network",
    "half-open",
    "late-greeting",
    "partition-jam",
    "ps-crash",
    "swarm",
];
const SEEDS: u64 = 8;

/// Calls `check` for each scenario and seed, with the history and the true cause of each event.
fn for_each_history(mut check: impl FnMut(&str, &History, &[Option<usize>])) {
    let caches = ComputeCaches::default();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    for name in SCENARIOS {
        let source = Source::load(&folder.join(format!("{name}.toml"))).expect("the file exists");
        for seed in 0..SEEDS {
            let case = source.case(seed);
            let played = case.play(&caches, PlayOptions { trace: true, ..PlayOptions::default() });
            let trace = played.trace.expect("the run was traced");
            let history = History::of(trace.to_run(&case.scenario.run));
            // The history lists the events life by life.
            let mut by_life: Vec<_> = (0..trace.events.len()).collect();
            by_life.sort_by_key(|event| trace.events[*event].life);
            let place: BTreeMap<_, _> = by_life.iter().zip(0..).collect();
            let cause = |event: &usize| {
                let cause =
                    usize::try_from(trace.events[*event].cause?).expect("events fit in memory");
                Some(place[&cause])
            };
            let causes: Vec<_> = by_life.iter().map(cause).collect();
            check(&format!("{name}, seed {seed}"), &history, &causes);
        }
    }
}

#[test]
fn reconstructed_causes_of_messages_and_jobs_are_the_true_ones() {
    let (mut n_messages, mut n_jobs) = (0, 0);
    for_each_history(|name, history, causes| {
        for (number, event) in history.events.iter().enumerate() {
            let kind = event.input.what.kind;
            let is_message = kind.sent_as().is_some() && !event.input.is_noise();
            let is_job = matches!(kind, EventKind::Computed | EventKind::Updated);
            n_messages += u64::from(is_message);
            n_jobs += u64::from(is_job);
            if is_message || is_job {
                assert_eq!(event.cause, causes[number], "{name}: event {number}, {}", event.input);
            }
        }
    });
    assert!(n_messages > 10_000 && n_jobs > 3_000, "{n_messages} messages, {n_jobs} jobs");
}

#[test]
fn lanes_and_the_critical_path_have_no_gaps() {
    for_each_history(|name, history, _| {
        for lane in lanes(history) {
            let lives: Vec<_> = history.lives_of(lane.task).collect();
            let life = lives[lives.len() - 1].end - lives[0].begin;
            let sum: std::time::Duration = lane.work.iter().map(|it| it.end - it.begin).sum();
            assert_eq!(sum, life, "{name}: {}", lane.task);
            assert!(lane.work.windows(2).all(|two| two[0].end == two[1].begin), "{name}");
            assert!(lane.files.windows(2).all(|two| two[0].end <= two[1].begin), "{name}");
        }
        let path = path::critical_path(history);
        assert_eq!(path[0].begin, std::time::Duration::ZERO, "{name}");
        assert!(path.windows(2).all(|two| two[0].end == two[1].begin), "{name}");
    });
}

#[test]
fn critical_path_waits_for_the_ps_that_is_down_and_not_for_its_callers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
    let case = Source::load(&folder.join("ps-crash.toml")).expect("the file exists").case(7);
    let options = PlayOptions { trace: true, ..PlayOptions::default() };
    let trace = case.play(&ComputeCaches::default(), options).trace.expect("the run was traced");
    let history = History::of(trace.to_run(&case.scenario.run));
    let gated = path::gated(&path::critical_path(&history));
    // The ps is killed at 10 ms, for 50 ms.
    let down = gated[&unisono_core::TaskId::ps(1)][&State::Down];
    assert!(down >= std::time::Duration::from_millis(50), "{gated:?}");
}
