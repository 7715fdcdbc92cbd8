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

use std::cell::OnceCell;
use std::sync::Arc;

use unisono_audit::found::Audit;
use unisono_core::protocol::ClusterConfig;
use unisono_rules::{End, LifeTurn, Violation};

use crate::run::compute_cache::ComputeCache;
use crate::run::failure::Failure;
use crate::run::live_record::LiveRecord;
use crate::run::played::Played;
use crate::run::unmet::Unmet;
use crate::run::{expectations, oracles};
use crate::scenario::Scenario;
use crate::world::active_faults::FaultEffects;
use crate::world::universe::Universe;

/// A check of a run that has ended.
enum Check {
    /// If this check fails, no further check runs, because the result of the run is not complete.
    /// The report then lists no unmet expectations.
    Required(fn(&mut Evidence<'_>) -> Option<Failure>),
    /// This check runs unless a `Required` check has failed. All unmet expectations are reported,
    /// so that the user can correct them together.
    Expectations(fn(&Evidence<'_>) -> Vec<Unmet>),
    /// Runs only if no earlier check has failed.
    Result(fn(&Evidence<'_>) -> Option<Failure>),
}

/// All checks of a run that has ended, in order.
const CHECKS: [Check; 12] = [
    // A violation or a panic stops the run, so later checks would judge an incomplete run. If a run
    // has both, the violation is reported, because it names a rule.
    Check::Required(|run| run.record.violation.take().map(Failure::Violation)),
    Check::Required(|run| run.record.panic.take().map(Failure::Panic)),
    // A run that hangs has no result, even if it has broken no rule.
    Check::Required(|run| run.hang.take().map(Failure::Hang)),
    // An invalid checkpoint is reported before rules that are broken at the end of the run, because
    // the check of these rules would report the invalid checkpoint as a missing one.
    Check::Required(invalid_checkpoint),
    // The rules hold for every scenario, so their check precedes the scenario's expectations.
    Check::Required(rule_broken_at_the_end),
    // The outcome is checked before the result. A run that fails unexpectedly has no complete
    // result, so its losses differ from an oracle for that reason alone.
    Check::Expectations(|run| {
        expectations::outcome(run.scenario, run.played).into_iter().collect()
    }),
    // The ledgers are checked before the trajectory, because the check of the trajectory relies on
    // the ledgers. The golden file is checked last, because that check names only a row, and the
    // check of the trajectory names the update.
    Check::Result(|run| run.compare(oracles::ledgers)),
    Check::Result(|run| {
        run.compare(|audit| oracles::trajectory(run.scenario, run.cache, run.played, audit))
    }),
    Check::Result(|run| oracles::golden(run.scenario, run.played).err().map(Failure::Violation)),
    // Counts and times are checked after the result, because a wrong result explains a wrong count.
    Check::Expectations(|run| expectations::numbers(run.scenario, run.played, run.record)),
    Check::Expectations(|run| expectations::events(run.scenario, run.record)),
    // A fault without effect makes a passing run worthless, but explains no failure. This check is
    // the last one, because a run that fails early often ends before its later faults begin.
    Check::Result(|run| run.played.faults.iter().find_map(fault_without_effect)),
];

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
    /// The audit of the ledgers. The first check that needs the audit computes it.
    pub(crate) audit: OnceCell<Audit<'a>>,
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
    let mut verdict = Verdict::default();
    for check in CHECKS {
        match check {
            Check::Required(check) => {
                if let Some(failure) = check(&mut run) {
                    return Verdict { failure: Some(failure), unmet: Vec::new() };
                }
            }
            Check::Expectations(check) => {
                let unmet = check(&run);
                let first = || unmet.first().cloned().map(Failure::Unmet);
                verdict.failure = verdict.failure.or_else(first);
                verdict.unmet.extend(unmet);
            }
            Check::Result(check) => verdict.failure = verdict.failure.or_else(|| check(&run)),
        }
    }
    verdict
}

impl<'a> Evidence<'a> {
    /// Runs `check` on the audit of the run's ledgers. Returns `None` without a check if the
    /// scenario names no oracle.
    fn compare(&self, check: impl FnOnce(&Audit<'a>) -> Result<(), Violation>) -> Option<Failure> {
        self.scenario.expect.oracle?;
        // The audit is stored, so that the second comparison does not audit the ledgers again.
        let audit = self.audit.get_or_init(|| oracles::audit(self.played));
        check(audit).err().map(Failure::Violation)
    }
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
    let why = match fault.has_begun {
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
                audit: OnceCell::new(),
            });
            assert!(verdict.unmet.is_empty(), "expectations are not checked after these failures");
            verdict.failure.expect("a failure").signature()
        };
        assert_eq!(failure(true, true), "rule-5/not-told");
        assert_eq!(failure(false, true), "panic/text");
        assert_eq!(failure(false, false), "hang");
    }
}
