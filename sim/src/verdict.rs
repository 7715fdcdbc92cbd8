//! Whether a run that has ended is what it should be: the oracles, and what its scenario expects.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use unisono::audit::{Audit, LossRow, Made, by_step};
use unisono::ledger::StateHash;
use unisono::losses::LOSSES_FILE;
use unisono::protocol::{Outcome, ShardState};
use unisono::{Floats, Slot, Step, TaskId};

use crate::invariants::Violation;
use crate::lab::Lab;
use crate::play::{Failure, Played};
use crate::scenario::{Expect, ExpectedEvent, ExpectedOutcome, Oracle, Range, Scenario};
use crate::universe::Bites;
use crate::watch::Counts;
use unisono::trace::EventKind;

/// Judges a run.
pub(crate) fn judge(
    scenario: &Scenario,
    lab: &Arc<Lab>,
    played: &Played,
    counts: &Counts,
    expected: &[(ExpectedEvent, u64)],
) -> Result<(), Failure> {
    let expect = &scenario.expect;
    outcome(expect, played).map_err(Failure::Violation)?;
    let checked = match expect.oracle {
        Some(Oracle::Serial) => audited(played, |audit| serial(scenario, lab, played, audit)),
        Some(Oracle::Provenance) => {
            audited(played, |audit| provenance(scenario, lab, played, audit))
        }
        None => Ok(()),
    };
    checked
        .and_then(|()| golden(expect, played))
        .and_then(|()| numbers(scenario, played, counts))
        .and_then(|()| expected.iter().try_for_each(|(event, n)| happened(event, *n)))
        .map_err(Failure::Violation)?;
    played.faults.iter().try_for_each(bit)
}

fn outcome(expect: &Expect, played: &Played) -> Result<(), Violation> {
    let failure = |(task, outcome): (&TaskId, &Outcome)| match outcome {
        Outcome::Failed(failure) => Some((*task, failure.to_string())),
        // The host turned it into a larger incarnation or a failure.
        Outcome::Finished | Outcome::Stopped { .. } | Outcome::Outdated { .. } => None,
    };
    let failures: Vec<_> = played.outcomes.iter().filter_map(failure).collect();
    let what = match (&expect.outcome, failures.first()) {
        (ExpectedOutcome::Finished, Some((task, why))) => {
            format!("{task} should have finished: {why}")
        }
        (ExpectedOutcome::Failed { because }, None) => {
            format!("a task should have failed because of {because:?}, and none has")
        }
        (ExpectedOutcome::Failed { because }, Some((_, first)))
            if failures.iter().all(|(_, why)| !why.contains(because.as_str())) =>
        {
            format!("a task should have failed because of {because:?}, not: {first}")
        }
        _ => return Ok(()),
    };
    Err(Violation::new(0, "outcome", what))
}

/// The ledgers by themselves and with the losses: what `unisono audit` says of them. Then what an
/// oracle says of what they hold.
fn audited(
    played: &Played,
    oracle: impl FnOnce(&Audit<'_>) -> Result<(), Violation>,
) -> Result<(), Violation> {
    let mut audit = Audit::of(&played.ledgers);
    let newest = played.checkpoint.as_ref().map(|checkpoint| checkpoint.step);
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
        compare_losses(step, got, want.step, &want.losses)?;
    }
    let n_rows = by_step(&played.losses).count();
    if !scenario.expect.outcome.is_failure() && n_rows != serial.updates.len() {
        let what = format!("{n_rows} updates are in the losses, not {}", serial.updates.len());
        return Err(Violation::new(0, "trajectory", what));
    }
    match &played.checkpoint {
        Some(checkpoint) if checkpoint.step == serial.end.step => {
            compare_states(lab, checkpoint.step, &checkpoint.shards, &serial.end.shards)
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
        if let Some(checkpoint) = played.checkpoint.as_ref().filter(|c| c.step == next) {
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
    let rows = unisono::losses::read(path)
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

fn numbers(scenario: &Scenario, played: &Played, counts: &Counts) -> Result<(), Violation> {
    let expect = &scenario.expect;
    let replies = |kind| counts.of(kind);
    within("duplicates", expect.duplicates, replies(EventKind::DropsDuplicate))?;
    within("stale", expect.stale, replies(EventKind::DropsStale))?;
    within("fenced", expect.fenced, replies(EventKind::DropsFenced))?;
    within("rollbacks", expect.rollbacks, played.n_generations.saturating_sub(1))?;
    within("left-behind", expect.left_behind, played.left_behind.len() as u64)?;
    if let Some(range) = expect.virtual_time
        && !range.contains(&played.took)
    {
        let Range { min, max } = range;
        let what = format!("the run took {:?}, not {min:?} to {max:?}", played.took);
        return Err(Violation::new(0, "virtual-time", what));
    }
    let finished = expect.outcome == ExpectedOutcome::Finished;
    let default = finished.then_some(Step(scenario.run.train.training_steps));
    if let Some(want) = expect.final_step.or(default) {
        let got = played.checkpoint.as_ref().map(|checkpoint| checkpoint.step);
        if got != Some(want) {
            let got = got.map_or_else(|| "none".to_owned(), |step| format!("of step {step}"));
            let what = format!("the last checkpoint is {got}, not of step {want}");
            return Err(Violation::new(0, "final-step", what));
        }
    }
    if let Some(want) = expect.gradients_per_update {
        let wrong = by_step(&played.losses).find(|(_, of)| of.len() != want as usize);
        if let Some((step, of)) = wrong {
            let what = format!("an update of {} gradients, not {want}", of.len());
            return Err(Violation::new(1, "gradients-per-update", what).at(step));
        }
    }
    Ok(())
}

fn within(name: &'static str, range: Option<Range<u64>>, n: u64) -> Result<(), Violation> {
    match range {
        Some(range) if !range.contains(&n) => {
            let what = format!("{n} {name}, not {} to {}", range.min, range.max);
            Err(Violation::new(0, name, what))
        }
        _ => Ok(()),
    }
}

fn happened(expected: &ExpectedEvent, n: u64) -> Result<(), Violation> {
    let ExpectedEvent { event, node, step, times } = expected;
    if times.contains(&n) {
        return Ok(());
    }
    let at = node.map_or_else(String::new, |node| format!(" at {node}"));
    let of = step.map_or_else(String::new, |step| format!(", step {step}"));
    let times = match (times.min, times.max) {
        (min, u64::MAX) => format!("at least {min}"),
        (min, max) if min == max => format!("{min}"),
        (min, max) => format!("{min} to {max}"),
    };
    let what = format!("{event}{at}{of} happened {n} times, not {times}");
    Err(Violation::new(0, "must-happen", what))
}

fn bit(fault: &Bites) -> Result<(), Failure> {
    if fault.n_bites > 0 || fault.may_be_inert {
        return Ok(());
    }
    let why = if fault.has_begun {
        "it began, and there was nothing that it changed".to_owned()
    } else {
        "it never began".to_owned()
    };
    Err(Failure::Inert { fault: fault.id.clone(), why })
}
