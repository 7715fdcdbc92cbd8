//! Whether a run that has ended is what it should be: the oracles, and what its scenario expects.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use unisono_core::protocol::{Outcome, ShardState};
use unisono_core::{Floats, Slot, Step, TaskId};
use unisono_files::losses::error::LOSSES_FILE;
use unisono_observe::audit::found::Audit;
use unisono_observe::audit::shard::Made;
use unisono_observe::audit::{LossRow, by_step};
use unisono_observe::ledger::StateHash;

use crate::counted::counted;
use crate::invariants::Violation;
use crate::invariants::unmet::{Breaker, Unmet};
use crate::run::lab::Lab;
use crate::run::played::{Failure, Played};
use crate::run::watch::Counts;
use crate::scenario::{
    Expect, ExpectedEvent, ExpectedOutcome, Oracle, Place, Places, Range, Scenario,
};
use crate::world::active_faults::Bites;
use unisono_observe::trace::EventKind;

/// What is wrong with a run that has ended.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// The first thing that is wrong: the outcome, then the result, then the other expectations, then
    /// faults without effect.
    pub(crate) failure: Option<Failure>,
    /// Every expectation that is not met, in the order of the documentation.
    pub(crate) unmet: Vec<Violation>,
}

/// Judges a run.
pub(crate) fn judge(
    scenario: &Scenario,
    lab: &Arc<Lab>,
    played: &Played,
    counts: &Counts,
    expected: &[(ExpectedEvent, u64)],
) -> Verdict {
    let expect = &scenario.expect;
    let outcome = outcome(expect, played);
    // A run that did not end as expected has no whole result to compare.
    let wrong_result = match &outcome {
        None => result(scenario, lab, played).err(),
        Some(_) => None,
    };
    let numbers = numbers(scenario, played, counts, outcome.is_none());
    let events = (0..).zip(expected).filter_map(|(number, (event, n))| {
        happened(event, *n, expect.places.of(&Places::event_key(number)))
    });
    let others: Vec<_> = numbers.into_iter().chain(events).collect();
    let first = outcome.clone().or(wrong_result).or_else(|| others.first().cloned());
    let failure = first.map(Failure::Violation);
    let failure = failure.or_else(|| played.faults.iter().find_map(without_effect));
    Verdict { failure, unmet: outcome.into_iter().chain(others).collect() }
}

/// An expectation that is not met.
fn unmet(
    expect: &Expect,
    (name, key): (&'static str, &str),
    what: String,
    broken_by: Option<Breaker>,
) -> Violation {
    let place = expect.places.of(key).cloned();
    Violation::of_expectation(name, what, Unmet { place, broken_by })
}

fn outcome(expect: &Expect, played: &Played) -> Option<Violation> {
    let failure = |(task, outcome): (&TaskId, &Outcome)| match outcome {
        Outcome::Failed(failure) => Some((*task, failure.to_string())),
        // The host turned it into a larger incarnation or a failure.
        Outcome::Finished | Outcome::Stopped { .. } | Outcome::Outdated { .. } => None,
    };
    let failures: Vec<_> = played.outcomes.iter().filter_map(failure).collect();
    let fails = |task| {
        let event = EventKind::Fails;
        Some(Breaker::Event { event, node: Some(task), step: None, nth: 1 })
    };
    match (&expect.outcome, failures.first()) {
        (ExpectedOutcome::Finished, Some((task, why))) => {
            let what = format!("{task} failed: {why}; expected every task to finish");
            Some(unmet(expect, ("outcome", "outcome"), what, fails(*task)))
        }
        (ExpectedOutcome::Failed { because }, None) => {
            let what = format!("no task failed; expected a failure because of {because:?}");
            Some(unmet(expect, ("outcome", "because"), what, None))
        }
        (ExpectedOutcome::Failed { because }, Some((task, first)))
            if failures.iter().all(|(_, why)| !why.contains(because.as_str())) =>
        {
            let what = format!("{task} failed: {first}; expected a failure because of {because:?}");
            Some(unmet(expect, ("outcome", "because"), what, fails(*task)))
        }
        _ => None,
    }
}

/// Compares the losses and the last checkpoint with what the scenario names.
fn result(scenario: &Scenario, lab: &Arc<Lab>, played: &Played) -> Result<(), Violation> {
    match scenario.expect.oracle {
        Some(Oracle::Serial) => audited(played, |audit| serial(scenario, lab, played, audit)),
        Some(Oracle::Provenance) => {
            audited(played, |audit| provenance(scenario, lab, played, audit))
        }
        None => Ok(()),
    }
    .and_then(|()| golden(&scenario.expect, played))
}

/// The ledgers by themselves and with the losses: what `unisono audit` says of them. Then what an
/// oracle says of what they hold.
fn audited(
    played: &Played,
    oracle: impl FnOnce(&Audit<'_>) -> Result<(), Violation>,
) -> Result<(), Violation> {
    let mut audit = Audit::of(&played.ledgers);
    let newest = played.checkpoint.as_ref().map(|checkpoint| checkpoint.cut.step);
    audit.check_losses(Path::new(LOSSES_FILE), &played.losses, newest);
    if let Some(checkpoint) = &played.checkpoint {
        audit.check_snapshot(Path::new("the newest checkpoint"), checkpoint);
    }
    match audit.first_violation() {
        None => oracle(&audit),
        Some(broken) => {
            let rule = broken.rule.number().unwrap_or(0);
            let violation = Violation::new(rule, "ledger", broken.to_string());
            Err(violation.at(broken.step).of(&broken.place))
        }
    }
}

/// With R of N and above: the same run in one loop.
fn serial(
    scenario: &Scenario,
    lab: &Arc<Lab>,
    played: &Played,
    audit: &Audit<'_>,
) -> Result<(), Violation> {
    let serial = lab.serial();
    for (step, updates) in audit.standing() {
        let hashes = usize::try_from(step.0).ok().and_then(|step| serial.hashes.get(step));
        for made in updates {
            let want = hashes.and_then(|hashes| hashes.get(made.ps() as usize)).copied();
            compare_hash(made, want)?;
        }
    }
    for ((step, got), want) in by_step(&played.losses).zip(&serial.updates) {
        compare_losses(step, got, want.cut.step, &want.losses)?;
    }
    let n_rows = by_step(&played.losses).count();
    if !scenario.expect.outcome.is_failure() && n_rows != serial.updates.len() {
        let what = format!("{n_rows} updates are in the losses, not {}", serial.updates.len());
        return Err(Violation::new(0, "trajectory", what));
    }
    match &played.checkpoint {
        Some(checkpoint) if checkpoint.cut.step == serial.end.cut.step => {
            compare_states(lab, checkpoint.cut.step, &checkpoint.shards, &serial.end.shards)
        }
        _ => Ok(()),
    }
}

/// With R below N: one loop that uses the slots that the ledgers say.
fn provenance(
    scenario: &Scenario,
    lab: &Arc<Lab>,
    played: &Played,
    audit: &Audit<'_>,
) -> Result<(), Violation> {
    let mut worker = lab.worker(played.seed);
    let mut shards = lab.initial().shards.clone();
    let mut next = Step(0);
    let rows: BTreeMap<_, _> = by_step(&played.losses).collect();
    for (step, updates) in audit.standing() {
        if step != next {
            let what = format!("update {step} stands in the ledgers where {next} should");
            return Err(Violation::new(0, "trajectory", what).at(next));
        }
        let slots = updates[0].update.slot_numbers();
        let computed: Vec<_> =
            slots.map(|slot| (slot, worker.gradient(step, slot, &shards))).collect();
        let want: Vec<_> = computed.iter().map(|(slot, (loss, _))| (*slot, *loss)).collect();
        if let Some(got) = rows.get(&step) {
            compare_losses(step, got, next, &want)?;
        }
        for (ps, shard) in shards.iter_mut().enumerate() {
            let of_shard: Vec<(Slot, Floats)> =
                computed.iter().map(|(slot, (_, parts))| (*slot, parts[ps].clone())).collect();
            *shard = worker.update(step, shard, of_shard);
        }
        for made in updates {
            compare_hash(made, shards.get(made.ps() as usize).map(StateHash::of))?;
        }
        next = step.next();
        if let Some(checkpoint) = played.checkpoint.as_ref().filter(|c| c.cut.step == next) {
            compare_states(lab, next, &checkpoint.shards, &shards)?;
        }
    }
    let last = Step(scenario.run.train.training_steps);
    if !scenario.expect.outcome.is_failure() && (next != last || rows.len() as u64 != last.0) {
        let what = format!(
            "the ledgers end before step {next}, the losses have {} updates, not {last}",
            rows.len()
        );
        return Err(Violation::new(0, "trajectory", what));
    }
    Ok(())
}

/// A version as its ledger says, and as it should be.
fn compare_hash(made: &Made<'_>, want: Option<StateHash>) -> Result<(), Violation> {
    let got = made.update.after;
    if want == Some(got) {
        return Ok(());
    }
    let want = want.map_or_else(|| "nothing".to_owned(), |want| want.to_string());
    let what = format!("the ledger says {got}, and it should be {want}");
    let subject = format!("the shard of ps {}", made.ps());
    Err(Violation::new(0, "trajectory", what).at(made.update.step).of(subject))
}

fn compare_losses(
    step: Step,
    got: &[LossRow],
    want_step: Step,
    want: &[(Slot, f32)],
) -> Result<(), Violation> {
    if step != want_step {
        let what = format!("a row of step {step} stands where step {want_step} should");
        return Err(Violation::new(0, "trajectory", what).at(want_step));
    }
    let (slots, want_slots) = (got.iter().map(|row| row.1), want.iter().map(|row| row.0));
    if !slots.clone().eq(want_slots.clone()) {
        let (slots, want_slots): (Vec<_>, Vec<_>) = (slots.collect(), want_slots.collect());
        let what = format!("slots {slots:?} should be {want_slots:?}");
        return Err(Violation::new(0, "trajectory", what).at(step));
    }
    let (losses, want) = (got.iter().map(|row| row.2), want.iter().map(|row| row.1));
    if losses.clone().map(f32::to_bits).eq(want.clone().map(f32::to_bits)) {
        return Ok(());
    }
    let (got, want): (Vec<_>, Vec<_>) = (losses.collect(), want.collect());
    let violation = Violation::new(0, "trajectory", "the loss is another");
    Err(violation.at(step).of("losses.csv").differing(&want.into(), &got.into()))
}

/// Both are whole versions: the first variable in which they differ is named.
fn compare_states(
    lab: &Lab,
    step: Step,
    got: &[ShardState],
    want: &[ShardState],
) -> Result<(), Violation> {
    for (ps, (got, want)) in got.iter().zip(want).enumerate() {
        if got.parameters != want.parameters {
            let first = crate::invariants::Difference::first(&want.parameters, &got.parameters);
            let place = first.map_or(0, |difference| difference.index);
            let subject = lab.plan().layout.variable_at(ps, place).map_or_else(
                || format!("ps {ps}"),
                |(variable, at)| format!("{} of ps {ps}, its element {at}", variable.name),
            );
            let violation = Violation::new(0, "trajectory", "the parameters are others");
            let violation = violation.at(step).of(subject);
            return Err(violation.differing(&want.parameters, &got.parameters));
        }
        for (buffer, (got, want)) in got.auxiliary.iter().zip(&want.auxiliary).enumerate() {
            if got != want {
                let violation = Violation::new(0, "trajectory", "the optimizer's state is another");
                let subject = format!("buffer {buffer} of ps {ps}");
                return Err(violation.at(step).of(subject).differing(want, got));
            }
        }
    }
    Ok(())
}

fn golden(expect: &Expect, played: &Played) -> Result<(), Violation> {
    let Some(path) = &expect.golden else { return Ok(()) };
    let rows = unisono_files::losses::read(path)
        .map_err(|error| Violation::new(0, "golden", error.to_string()))?;
    let is_same = |(got, want): (&LossRow, &LossRow)| {
        (got.0, got.1, got.2.to_bits()) == (want.0, want.1, want.2.to_bits())
    };
    let first = played.losses.iter().zip(&rows).find(|pair| !is_same(*pair));
    if let Some((got, want)) = first {
        let what =
            format!("{},{},{:?} should be {},{},{:?}", got.0, got.1, got.2, want.0, want.1, want.2);
        return Err(Violation::new(0, "golden", what).at(want.0).of(path.display()));
    }
    if played.losses.len() != rows.len() {
        let what = format!("{} rows, not {}", played.losses.len(), rows.len());
        return Err(Violation::new(0, "golden", what).of(path.display()));
    }
    Ok(())
}

/// The expectations of `[expect]` beside the outcome and the result.
fn numbers(
    scenario: &Scenario,
    played: &Played,
    counts: &Counts,
    is_outcome_met: bool,
) -> Vec<Violation> {
    let expect = &scenario.expect;
    let n_rollbacks = played.n_generations.saturating_sub(1);
    let n_left_behind = played.left_behind.len() as u64;
    let gradients = |kind: EventKind, name, range, what| {
        let broken_by = |nth| Breaker::Event { event: kind, node: None, step: None, nth };
        within(expect, (name, name), range, (counts.of(kind), what), |nth| Some(broken_by(nth)))
    };
    [
        gradients(EventKind::DropsDuplicate, "duplicates", expect.duplicates, "duplicate gradient"),
        gradients(EventKind::DropsStale, "stale", expect.stale, "stale gradient"),
        gradients(EventKind::DropsFenced, "fenced", expect.fenced, "fenced gradient"),
        // The first generation of a run is no rollback.
        within(
            expect,
            ("rollbacks", "rollbacks"),
            expect.rollbacks,
            (n_rollbacks, "rollback"),
            |nth| Some(Breaker::Generation { nth: nth + 1 }),
        ),
        within(
            expect,
            ("left-behind", "left_behind"),
            expect.left_behind,
            (n_left_behind, "left-behind task"),
            |_| None,
        ),
        virtual_time(expect, played),
        final_step(scenario, played).filter(|_| is_outcome_met || expect.final_step.is_some()),
        gradients_per_update(expect, played),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A count that is not in its range. `breaker` is the event that made the count so large.
fn within(
    expect: &Expect,
    names: (&'static str, &str),
    range: Option<Range<u64>>,
    (n, what): (u64, &str),
    breaker: impl FnOnce(u64) -> Option<Breaker>,
) -> Option<Violation> {
    let range = range.filter(|range| !range.contains(&n))?;
    let what = format!("{}; expected {}", counted(n, what), times_text(range));
    let broken_by = if n > range.max { breaker(range.max + 1) } else { None };
    Some(unmet(expect, names, what, broken_by))
}

fn virtual_time(expect: &Expect, played: &Played) -> Option<Violation> {
    let took = played.took;
    let range = expect.virtual_time.filter(|range| !range.contains(&took))?;
    let bounds = range_text(range, (Duration::ZERO, Duration::MAX), |time| format!("{time:?}"));
    let what = format!("the run took {took:?}; expected {bounds}");
    let broken_by = (took > range.max).then_some(Breaker::After(range.max));
    Some(unmet(expect, ("virtual-time", "virtual_time"), what, broken_by))
}

fn final_step(scenario: &Scenario, played: &Played) -> Option<Violation> {
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
    Some(unmet(expect, ("final-step", "final_step"), what, None))
}

fn gradients_per_update(expect: &Expect, played: &Played) -> Option<Violation> {
    let want = expect.gradients_per_update?;
    let (step, of) = by_step(&played.losses).find(|(_, of)| of.len() != want as usize)?;
    let what =
        format!("{} in update {step}; expected {want}", counted(of.len() as u64, "gradient"));
    let names = ("gradients-per-update", "gradients_per_update");
    let violation = unmet(expect, names, what, None);
    Some(Violation { rule: 1, step: Some(step), ..violation })
}

fn happened(expected: &ExpectedEvent, n: u64, place: Option<&Place>) -> Option<Violation> {
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
    let unmet = Unmet { place: place.cloned(), broken_by };
    Some(Violation::of_expectation("must-happen", what, unmet))
}

fn times_text(range: Range<u64>) -> String {
    range_text(range, (0, u64::MAX), |n| n.to_string())
}

/// `2`, `at least 1`, `at most 3` or `1 to 3`.
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

fn without_effect(fault: &Bites) -> Option<Failure> {
    if fault.n_bites > 0 || fault.may_be_inert {
        return None;
    }
    let why = if fault.has_begun {
        "it began, and there was nothing that it changed".to_owned()
    } else {
        "it never began".to_owned()
    };
    Some(Failure::Inert { fault: fault.id.clone(), why })
}
