//! Compares the losses, the checkpoint and the ledgers of a run bit for bit with an oracle (a
//! reference result): the serial run, a recomputed run, or a golden file.
//!
//! `verdict.rs` decides which comparisons are made, and in which order.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use unisono_audit::found::Audit;
use unisono_audit::replay::{Replayed, recompute};
use unisono_audit::shard::Made;
use unisono_audit::{LossRow, by_step};
use unisono_core::protocol::{ShardState, Snapshot};
use unisono_core::{Slot, Step};
use unisono_files::losses::error::LOSSES_FILE;
use unisono_learn::training::reference::Reference;
use unisono_observe::ledger::StateHash;
use unisono_rules::{Difference, Violation};

use crate::run::compute_cache::ComputeCache;
use crate::run::played::Played;
use crate::scenario::Scenario;

/// Audits the ledgers, the losses and the newest checkpoint, as `unisono audit` does.
pub(super) fn audit(played: &Played) -> Audit<'_> {
    let mut audit = Audit::of(&played.ledgers);
    let newest = played.checkpoint.as_ref().map(|checkpoint| checkpoint.cut.step);
    audit.check_losses(Path::new(LOSSES_FILE), &played.losses, newest);
    if let Some(checkpoint) = &played.checkpoint {
        audit.check_snapshot(Path::new("the newest checkpoint"), checkpoint);
    }
    audit
}

/// Returns the first violation that the audit has found.
pub(super) fn ledgers(audit: &Audit<'_>) -> Result<(), Violation> {
    let Some(broken) = audit.first_violation() else { return Ok(()) };
    let rule = broken.rule.number().unwrap_or(0);
    let violation = Violation::new(rule, "ledger", broken.to_string());
    Err(violation.at(broken.step).of(&broken.place))
}

/// Compares the run with the serial run, which does not depend on the schedule. A serial run exists
/// only for R ≥ N.
pub(super) fn serial(
    scenario: &Scenario,
    cache: &Arc<ComputeCache>,
    played: &Played,
    audit: &Audit<'_>,
) -> Result<(), Violation> {
    let serial = cache.serial();
    // Hashes are compared before losses: hashes differ at the first wrong update, but losses may
    // differ only at a later update.
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
    // `zip` ends with the shorter list, so missing rows are not noticed until here.
    let n_rows = by_step(&played.losses).count();
    if !scenario.expect.outcome.is_failure() && n_rows != serial.updates.len() {
        let what = format!("{n_rows} updates have losses, not {}", serial.updates.len());
        return Err(Violation::new(0, "trajectory", what));
    }
    match &played.checkpoint {
        // The serial run keeps only its last state. The audit compares an earlier checkpoint with
        // the hashes in the ledgers.
        Some(checkpoint) if checkpoint.cut.step == serial.end.cut.step => {
            compare_states(cache, checkpoint.cut.step, &checkpoint.shards, &serial.end.shards)
        }
        _ => Ok(()),
    }
}

/// Recomputes the run in one loop, with the slots that the ledgers name, and compares the results.
/// For R < N, timing selects the slots, so only the ledgers show which slots the run used.
pub(super) fn provenance(
    scenario: &Scenario,
    cache: &Arc<ComputeCache>,
    played: &Played,
    audit: &Audit<'_>,
) -> Result<(), Violation> {
    let worker = cache.worker(played.seed);
    let initial = (**cache.initial()).clone();
    let mut reference = Reference::with_work(worker, scenario.run.sync, initial);
    let mut compared = Replayed::default();
    let rows: BTreeMap<_, _> = by_step(&played.losses).collect();
    for (step, updates) in audit.standing() {
        let next = reference.step();
        if step != next {
            let what = format!("the ledgers have update {step} where update {next} should be");
            return Err(Violation::new(0, "trajectory", what).at(next));
        }
        let update = recompute(&mut reference, &updates, &mut compared)
            .map_err(|error| Violation::new(0, "trajectory", error.to_string()).at(step))?;
        // Missing rows are counted after the loop, where the report can contain their number.
        if let Some(got) = rows.get(&step) {
            compare_losses(step, got, step, &update.losses)?;
        }
        let Snapshot { cut, shards } = reference.snapshot();
        if let Some(checkpoint) = played.checkpoint.as_ref().filter(|c| c.cut.step == cut.step) {
            compare_states(cache, cut.step, &checkpoint.shards, shards)?;
        }
    }
    let next = reference.step();
    let last = Step(scenario.run.train.training_steps);
    if !scenario.expect.outcome.is_failure() && (next != last || rows.len() as u64 != last.0) {
        let what = format!(
            "{} updates have losses, and {next} are in the ledgers, but the run has {last}",
            rows.len()
        );
        return Err(Violation::new(0, "trajectory", what));
    }
    Ok(())
}

/// Compares the hash of a shard's version in a ledger with the expected hash.
fn compare_hash(made: &Made<'_>, want: Option<StateHash>) -> Result<(), Violation> {
    let got = made.update.after;
    if want == Some(got) {
        return Ok(());
    }
    let want = want.map_or_else(|| "nothing".to_owned(), |want| want.to_string());
    let what = format!("the hash in the ledger is {got}, but should be {want}");
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
        let what = format!("the losses have a row of step {step} where step {want_step} should be");
        return Err(Violation::new(0, "trajectory", what).at(want_step));
    }
    let (slots, want_slots) = (got.iter().map(|row| row.1), want.iter().map(|row| row.0));
    if !slots.clone().eq(want_slots.clone()) {
        let (slots, want_slots): (Vec<_>, Vec<_>) = (slots.collect(), want_slots.collect());
        let what = format!("the losses are of slots {slots:?}, not of {want_slots:?}");
        return Err(Violation::new(0, "trajectory", what).at(step));
    }
    let (losses, want) = (got.iter().map(|row| row.2), want.iter().map(|row| row.1));
    // The losses are compared as bits: then NaN equals NaN, and the two zeros differ.
    if losses.clone().map(f32::to_bits).eq(want.clone().map(f32::to_bits)) {
        return Ok(());
    }
    let (got, want): (Vec<_>, Vec<_>) = (losses.collect(), want.collect());
    let violation = Violation::new(0, "trajectory", "the losses differ");
    Err(violation.at(step).of("losses.csv").differing(Some(&want.into()), &got.into()))
}

/// Compares two complete versions, and reports the first variable or optimizer buffer that differs.
fn compare_states(
    cache: &ComputeCache,
    step: Step,
    got: &[ShardState],
    want: &[ShardState],
) -> Result<(), Violation> {
    for (ps, (got, want)) in got.iter().zip(want).enumerate() {
        if got.parameters != want.parameters {
            let first = Difference::first(&want.parameters, &got.parameters);
            let place = first.map_or(0, |difference| difference.index);
            let subject = cache.plan().layout.variable_at(ps, place).map_or_else(
                || format!("ps {ps}"),
                |(variable, at)| format!("element {at} of {} on ps {ps}", variable.name),
            );
            let violation = Violation::new(0, "trajectory", "the parameters differ");
            let violation = violation.at(step).of(subject);
            return Err(violation.differing(Some(&want.parameters), &got.parameters));
        }
        for (buffer, (got, want)) in got.auxiliary.iter().zip(&want.auxiliary).enumerate() {
            if got != want {
                let violation = Violation::new(0, "trajectory", "the optimizer's state differs");
                let subject = format!("buffer {buffer} of ps {ps}");
                return Err(violation.at(step).of(subject).differing(Some(want), got));
            }
        }
    }
    Ok(())
}

/// Compares the losses with the golden file, if the scenario names one.
pub(super) fn golden(scenario: &Scenario, played: &Played) -> Result<(), Violation> {
    let Some(path) = &scenario.expect.golden else { return Ok(()) };
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
        let what = format!("{} rows instead of {}", played.losses.len(), rows.len());
        return Err(Violation::new(0, "golden", what).of(path.display()));
    }
    Ok(())
}
