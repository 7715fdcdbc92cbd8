//! Compares the expectations in a scenario's `[expect]` with the run.
//!
//! `verdict.rs` decides which expectations are checked, and in which order they are reported.

use std::time::Duration;

use unisono_audit::by_step;
use unisono_core::protocol::Outcome;
use unisono_core::{Step, TaskId};
use unisono_observe::counted::{counted, counted_as};
use unisono_observe::trace::EventKind;

use crate::run::live_record::LiveRecord;
use crate::run::played::Played;
use crate::run::unmet::{Breaker, Unmet};
use crate::scenario::{ExpectedEvent, ExpectedOutcome, Places, Range, Scenario};

/// Compares the outcomes of the tasks with the expected outcome.
pub(super) fn outcome(scenario: &Scenario, played: &Played) -> Option<Unmet> {
    let expect = &scenario.expect;
    let failure = |(task, outcome): (&TaskId, &Outcome)| match outcome {
        Outcome::Failed(failure) => Some((*task, failure.to_string())),
        // `Outdated` is not a final outcome: `Raises` replaces the node by a node with a larger
        // incarnation, or turns `Outdated` into a failure.
        Outcome::Finished | Outcome::Stopped { .. } | Outcome::Outdated { .. } => None,
    };
    // If one task fails, the other tasks fail, too, with different texts. The expectation is met if
    // one of the failures has the expected text.
    let failures: Vec<_> = played.outcomes.iter().filter_map(failure).collect();
    let fails = |task| {
        let event = EventKind::Fails;
        Some(Breaker::Event { event, node: Some(task), step: None, nth: 1 })
    };
    match (&expect.outcome, failures.first()) {
        (ExpectedOutcome::Finished, Some((task, why))) => {
            let what = format!("{task} failed: {why}; expected every task to finish");
            Some(unmet(scenario, "outcome", what, fails(*task)))
        }
        (ExpectedOutcome::Failed { because }, None) => {
            let what = format!("no task failed; expected a failure because of {because:?}");
            Some(unmet_at(scenario, ("outcome", "because"), what, None))
        }
        (ExpectedOutcome::Failed { because }, Some((task, first)))
            if failures.iter().all(|(_, why)| !why.contains(because.as_str())) =>
        {
            let what = format!("{task} failed: {first}; expected a failure because of {because:?}");
            Some(unmet_at(scenario, ("outcome", "because"), what, fails(*task)))
        }
        _ => None,
    }
}

/// Checks the counts, the virtual time and the steps of `[expect]`, in the order in which the
/// documentation lists them.
pub(super) fn numbers(scenario: &Scenario, played: &Played, record: &LiveRecord) -> Vec<Unmet> {
    let expect = &scenario.expect;
    let is_outcome_met = outcome(scenario, played).is_none();
    let n_rollbacks = played.n_generations.saturating_sub(1);
    let left_behind = (played.left_behind.len() as u64, "left-behind task");
    let gradients = |event: EventKind, name, range, what| {
        within(scenario, name, range, (record.counts.get(event), what), |nth| {
            Some(Breaker::Event { event, node: None, step: None, nth })
        })
    };
    [
        gradients(EventKind::DropsDuplicate, "duplicates", expect.duplicates, "duplicate gradient"),
        gradients(EventKind::DropsStale, "stale", expect.stale, "stale gradient"),
        gradients(EventKind::DropsFenced, "fenced", expect.fenced, "fenced gradient"),
        // The first generation is not a rollback, so rollback `nth` opens generation `nth + 1`.
        within(scenario, "rollbacks", expect.rollbacks, (n_rollbacks, "rollback"), |nth| {
            Some(Breaker::Generation { nth: nth + 1 })
        }),
        within(scenario, "left-behind", expect.left_behind, left_behind, |_| None),
        virtual_time(scenario, played),
        // The default final step is that of a finished run. If the outcome is not the expected one,
        // a check against the default would only repeat the report of the wrong outcome.
        final_step(scenario, played).filter(|_| is_outcome_met || expect.final_step.is_some()),
        gradients_per_update(scenario, played),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Returns an unmet expectation if a count is outside the expected range. `breaker` returns the
/// event at which the count exceeded the range.
fn within(
    scenario: &Scenario,
    name: &'static str,
    range: Option<Range<u64>>,
    (n, what): (u64, &str),
    breaker: impl FnOnce(u64) -> Option<Breaker>,
) -> Option<Unmet> {
    let range = range.filter(|range| !range.contains(&n))?;
    let n_text = counted_as(n, what, &format!("{what}s"));
    let what = format!("{n_text}; expected {}", times_text(range));
    // If the count is too large, one event exceeds the range. If the count is too small, there is
    // no such event.
    let broken_by = if n > range.max { breaker(range.max + 1) } else { None };
    Some(unmet(scenario, name, what, broken_by))
}

fn virtual_time(scenario: &Scenario, played: &Played) -> Option<Unmet> {
    let took = played.took;
    let range = scenario.expect.virtual_time.filter(|range| !range.contains(&took))?;
    let bounds = range_text(range, (Duration::ZERO, Duration::MAX), |time| format!("{time:?}"));
    let what = format!("the run took {took:?}; expected {bounds}");
    let broken_by = (took > range.max).then_some(Breaker::After(range.max));
    Some(unmet(scenario, "virtual-time", what, broken_by))
}

fn final_step(scenario: &Scenario, played: &Played) -> Option<Unmet> {
    let expect = &scenario.expect;
    let finished = expect.outcome == ExpectedOutcome::Finished;
    let default = finished.then_some(Step(scenario.run.train.training_steps));
    let want = expect.final_step.or(default)?;
    let got = played.checkpoint.as_ref().map(|checkpoint| checkpoint.cut.step);
    if got == Some(want) {
        return None;
    }
    let got = got.map_or_else(
        || "there is no checkpoint".to_owned(),
        |step| format!("the last checkpoint is of step {step}"),
    );
    let what = format!("{got}; expected one of step {want}");
    Some(unmet(scenario, "final-step", what, None))
}

fn gradients_per_update(scenario: &Scenario, played: &Played) -> Option<Unmet> {
    let want = scenario.expect.gradients_per_update?;
    let (step, of) = by_step(&played.losses).find(|(_, of)| of.len() != want as usize)?;
    let what =
        format!("{} in update {step}; expected {want}", counted(of.len() as u64, "gradient"));
    let unmet = unmet(scenario, "gradients-per-update", what, None);
    Some(Unmet { rule: 1, step: Some(step), ..unmet })
}

/// Returns an unmet expectation. Its line is that of the key `name`.
fn unmet(
    scenario: &Scenario,
    name: &'static str,
    what: String,
    broken_by: Option<Breaker>,
) -> Unmet {
    unmet_at(scenario, (name, &name.replace('-', "_")), what, broken_by)
}

/// Returns an unmet expectation, with the line of the key `key` in the scenario file.
fn unmet_at(
    scenario: &Scenario,
    (name, key): (&'static str, &str),
    what: String,
    broken_by: Option<Breaker>,
) -> Unmet {
    let place = scenario.places.of(key).cloned();
    Unmet { name, rule: 0, step: None, what, place, broken_by }
}

/// Checks each `[[expect.event]]`.
pub(super) fn events(scenario: &Scenario, record: &LiveRecord) -> Vec<Unmet> {
    let numbered = (0..).zip(&record.expected);
    numbered.filter_map(|(number, (event, n))| happened(scenario, number, event, *n)).collect()
}

fn happened(scenario: &Scenario, number: usize, expected: &ExpectedEvent, n: u64) -> Option<Unmet> {
    let ExpectedEvent { event, node, step, times } = *expected;
    if times.contains(&n) {
        return None;
    }
    let at = node.map_or_else(String::new, |node| format!(" of {node}"));
    let of = step.map_or_else(String::new, |step| format!(", step {step}"));
    let (n_times, range) = (counted(n, "time"), times_text(times));
    let what = format!("{event}{at}{of}: {n_times}; expected {range}");
    let nth = times.max.saturating_add(1);
    let broken_by = (n > times.max).then_some(Breaker::Event { event, node, step, nth });
    Some(unmet_at(scenario, ("must-happen", &Places::event_key(number)), what, broken_by))
}

fn times_text(range: Range<u64>) -> String {
    range_text(range, (0, u64::MAX), |n| n.to_string())
}

/// Formats a range as `2`, `at least 1`, `at most 3` or `1 to 3`.
fn range_text<T: PartialEq + Copy>(
    Range { min, max }: Range<T>,
    (least, most): (T, T),
    text: impl Fn(T) -> String,
) -> String {
    if min == max {
        text(min)
    } else if max == most {
        format!("at least {}", text(min))
    } else if min == least {
        format!("at most {}", text(max))
    } else {
        format!("{} to {}", text(min), text(max))
    }
}
