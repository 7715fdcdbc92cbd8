//! The verdict on a run: which checks exist, in which order they run, and which failure is
//! reported.
//!
//! No other file decides which checks exist, in which order they run, and which failure is
//! reported. Checks run at three times:
//!
//! 1. During the run, [`check_turn`] checks every handled input with its effects.
//! 2. If a run returns no result, `play` reports the failure. No other check can run then.
//! 3. After the run has ended, [`judge`] runs the list [`CHECKS`].
//!
//! The first failure in the order of the checks is the failure of the run. The order follows two
//! principles: a cause is checked before its consequences, and a check runs only on a result that
//! is complete enough for the check.

use std::sync::Arc;

use unisono_core::protocol::ClusterConfig;
use unisono_rules::{End, LifeTurn, Violation};

use crate::run::compute_cache::ComputeCache;
use crate::run::failure::Failure;
use crate::run::live_record::LiveRecord;
use crate::run::played::Played;
use crate::run::unmet::Unmet;
use crate::run::{expectations, oracles};
use crate::scenario::{Oracle, Scenario};
use crate::world::active_faults::FaultEffects;
use crate::world::universe::Universe;

/// A run that has ended, as input for the checks.
#[derive(Debug)]
pub(crate) struct Evidence<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) cache: &'a Arc<ComputeCache>,
    pub(crate) config: &'a ClusterConfig,
    pub(crate) played: &'a Played,
    pub(crate) record: &'a mut LiveRecord,
    /// The reason why the run was given up, and the tasks that have not ended; `None` if no task
    /// hangs.
    pub(crate) hang: Option<String>,
    /// A description of a checkpoint that is visible on the disk but invalid, or of an error in
    /// reading the files.
    pub(crate) invalid_checkpoint: Option<String>,
}

/// The failure of a run, and all expectations that the run did not meet.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) failure: Option<Failure>,
    /// The unmet expectations, in the order of the documentation.
    pub(crate) unmet: Vec<Unmet>,
}

/// Judges a run that has ended.
pub(crate) fn judge(mut run: Evidence<'_>) -> Verdict {
    if let Some(failure) = incomplete(&mut run) {
        return Verdict { failure: Some(failure), unmet: Vec::new() };
    }
    // All expectations are checked, so that the user can correct them together.
    let Evidence { scenario, played, ref record, .. } = run;
    let outcome = expectations::outcome(scenario, played);
    let mut unmet = expectations::numbers(scenario, played, record);
    unmet.extend(expectations::events(scenario, record));
    let failure = outcome
        .clone()
        .map(Failure::Unmet)
        // The outcome precedes the result: a run that fails unexpectedly has no complete result, so
        // its losses differ from an oracle for that reason alone.
        .or_else(|| wrong_result(&run).err().map(Failure::Violation))
        // Counts and times follow the result, because a wrong result explains a wrong count.
        .or_else(|| unmet.first().cloned().map(Failure::Unmet))
        // A fault without effect makes a passing run worthless, but explains no failure. This check
        // is the last one, because a run that fails early often ends before its later faults begin.
        .or_else(|| played.faults.iter().find_map(fault_without_effect));
    Verdict { failure, unmet: outcome.into_iter().chain(unmet).collect() }
}

/// Returns the failure of a run whose result is not complete. Expectations are not checked then, so
/// the report lists no unmet expectation.
fn incomplete(run: &mut Evidence<'_>) -> Option<Failure> {
    // A violation or a panic stops the run, so later checks would judge an incomplete run. If both
    // happen in one turn of the executor, the violation is reported, because it names a rule.
    let stopped = run.record.violation.take().map(Failure::Violation);
    let stopped = stopped.or_else(|| run.record.panic.take().map(Failure::Panic));
    stopped
        // A run that hangs has no result, even if it has broken no rule.
        .or_else(|| run.hang.take().map(Failure::Hang))
        // This check precedes the check of the rules at the end of the run, which would report an
        // invalid checkpoint as a missing one.
        .or_else(|| invalid_checkpoint(run))
        // The rules hold for every scenario, so their check precedes the scenario's expectations.
        .or_else(|| rule_broken_at_the_end(run))
}

/// Compares the run with its ledgers and its oracle, if the scenario names one, and with its golden
/// file.
fn wrong_result(run: &Evidence<'_>) -> Result<(), Violation> {
    let Evidence { scenario, cache, played, .. } = *run;
    // The ledgers precede the oracles, because the oracles rely on the ledgers. The golden file
    // comes last of these three, because it only names a row, while an oracle names the update.
    if let Some(oracle) = scenario.expect.oracle {
        let audit = oracles::audit(played);
        oracles::ledgers(&audit)?;
        match oracle {
            Oracle::Serial => oracles::serial(scenario, cache, played, &audit)?,
            Oracle::Provenance => oracles::provenance(scenario, cache, played, &audit)?,
        }
    }
    oracles::golden(scenario, played)
}

fn invalid_checkpoint(run: &mut Evidence<'_>) -> Option<Failure> {
    let why = run.invalid_checkpoint.take()?;
    Some(Failure::Violation(Violation::new(7, "visible-and-invalid", why)))
}

fn rule_broken_at_the_end(run: &mut Evidence<'_>) -> Option<Failure> {
    let end = End {
        config: run.config,
        outcomes: &run.played.outcomes,
        losses: &run.played.losses,
        checkpoint: run.played.checkpoint.as_deref(),
    };
    run.record.rules.end(&end).err().map(Failure::Violation)
}

fn fault_without_effect(fault: &FaultEffects) -> Option<Failure> {
    if fault.n_effects > 0 || fault.may_be_inert {
        return None;
    }
    let why = match fault.began.is_some() {
        true => "it began, and there was nothing to change",
        false => "it never began",
    };
    Some(Failure::FaultWithoutEffect { fault: fault.id.clone(), why: why.to_owned() })
}

/// Checks one input that a node has handled, with the effects of the node. The first violation of a
/// rule stops the run.
pub(crate) fn check_turn(record: &mut LiveRecord, turn: LifeTurn<'_>, universe: &Universe) {
    // After the first violation, the executor may still poll other nodes before the run stops.
    // Violations of these nodes must not replace the first violation.
    if record.violation.is_some() {
        return;
    }
    if let Err(violation) = record.rules.turn(turn) {
        record.violation = Some(violation);
        universe.state().is_stopped = true;
    }
}

/// Returns whether a rule is broken or a node has panicked. The run can end then, because its
/// failure is already known.
pub(crate) const fn has_failed(record: &LiveRecord) -> bool {
    record.violation.is_some() || record.panic.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::compute_cache::ComputeCaches;

    #[test]
    fn violation_outranks_a_panic_and_a_panic_outranks_a_hang() {
        let scenario = Scenario::default();
        let cache = ComputeCaches::default().for_run(&scenario.run).unwrap();
        let config = ClusterConfig {
            n_ps: scenario.run.n_ps,
            sync: scenario.run.sync,
            training_steps: unisono_core::Step(scenario.run.train.training_steps),
            settings: scenario.run.settings(),
            data: None,
            limits: scenario.limits,
        };
        let played = Played::default();
        let failure = |has_violation: bool, has_panic: bool| {
            let mut record = LiveRecord::new(&[], false);
            record.violation = has_violation.then(|| Violation::new(5, "not-told", "text"));
            record.panic = has_panic.then(|| "text".to_owned());
            let verdict = judge(Evidence {
                scenario: &scenario,
                cache: &cache,
                config: &config,
                played: &played,
                record: &mut record,
                hang: Some("text".to_owned()),
                invalid_checkpoint: Some("text".to_owned()),
            });
            assert!(verdict.unmet.is_empty(), "expectations are not checked after these failures");
            verdict.failure.expect("a failure").signature()
        };
        assert_eq!(failure(true, true), "rule-5/not-told");
        assert_eq!(failure(false, true), "panic/text");
        assert_eq!(failure(false, false), "hang");
    }
}
