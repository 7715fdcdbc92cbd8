//! Deliberate bugs, which show that the tests and the invariants catch a wrong implementation.
//!
//! This file is not part of the production tree. `unisono-sim bugs` adds this file to a copy of the
//! tree. Patches in the copy call [`is_planted`] at the places where a bug changes the code's
//! behaviour.

mod catalogue;

use std::cell::Cell;
use std::collections::BTreeMap;

pub use self::catalogue::Bug;
use crate::floats::Floats;
use crate::ids::{Cut, Slot, Step, TaskId};
use crate::protocol::{Effect, Job, Message, ShardState};

thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

/// Plants (activates) a bug in all nodes that run on this thread from now on. `None` removes the
/// planted bug.
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Returns whether the bug is planted on this thread.
#[must_use]
pub fn is_planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// The slots of a shard's gradients, in the order in which the gradients arrived.
#[derive(Debug)]
pub(crate) struct Arrivals(Vec<Slot>);

impl Arrivals {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn note(&mut self, slot: Slot) {
        self.0.push(slot);
    }

    /// Returns the number of gradients that arrived before the gradient of `slot`. Returns `None`
    /// if the gradient of `slot` has not arrived.
    pub(crate) fn rank(&self, slot: Slot) -> Option<usize> {
        self.0.iter().position(|came| *came == slot)
    }
}

/// For each worker, the generation and step of the slot tokens that ps 0 sent to the worker last.
#[derive(Debug, Default)]
pub(crate) struct Issued(BTreeMap<TaskId, Cut>);

impl Issued {
    /// Records that ps 0 sends a worker the slot tokens of `cut`, a generation and step. Returns
    /// whether the last tokens sent to this worker were of the same generation and step.
    pub(crate) fn note(&mut self, worker: TaskId, cut: Cut) -> bool {
        self.0.insert(worker, cut) == Some(cut)
    }
}

/// Returns the generation and step to which a ps assigns a gradient. The gradient was pushed for
/// `pushed`, and the shard is at `present`. Without a planted bug that changes this assignment, the
/// result is `pushed`.
pub(crate) fn believed_cut(pushed: Cut, present: Cut) -> Cut {
    let same_generation = pushed.generation == present.generation;
    let is_stale = same_generation && pushed.step < present.step;
    let is_fenced = pushed.generation < present.generation && pushed.step == present.step;
    if is_planted(Bug::StaleApplied) && is_stale
        || is_planted(Bug::OldGenerationAccepted) && is_fenced
    {
        present
    } else {
        pushed
    }
}

/// Returns the job that a worker computes in place of `job`. Without a planted bug that changes the
/// batch, the result is `job`.
pub(crate) fn job_given(job: Job, worker: TaskId) -> Job {
    match job {
        Job::Gradient { cut, slot, parameters } => {
            let (cut, slot) = batch_taken(worker, cut, slot);
            Job::Gradient { cut, slot, parameters }
        }
        job @ Job::Update { .. } => job,
    }
}

fn batch_taken(worker: TaskId, cut: Cut, slot: Slot) -> (Cut, Slot) {
    if is_planted(Bug::SlotOfAnotherStep) && slot.0 % 2 == 1 {
        (cut.next(), slot)
    } else if is_planted(Bug::BatchOfWorker) {
        (cut, Slot(worker.index))
    } else {
        (cut, slot)
    }
}

/// Returns the generation, step and slot to which a worker assigns a computed gradient. `meant`
/// returns the job that a worker without a bug would have computed. If a planted bug made the
/// worker compute another job in its place, the gradient is assigned to the job that was meant.
pub(crate) fn result_taken(
    meant: impl FnOnce() -> Option<Job>,
    worker: TaskId,
    (cut, slot): (Cut, Slot),
) -> (Cut, Slot) {
    if !is_planted(Bug::SlotOfAnotherStep) && !is_planted(Bug::BatchOfWorker) {
        return (cut, slot);
    }
    match meant() {
        Some(Job::Gradient { cut: of, slot: in_slot, .. })
            if batch_taken(worker, of, in_slot) == (cut, slot) =>
        {
            (of, in_slot)
        }
        _ => (cut, slot),
    }
}

/// Replaces the generation and step in each push by `stands`, the generation and step of the
/// receiving ps. Changes nothing if `stands` is `None`.
pub(crate) fn restamp_pushes(pushed: &mut [Effect], stands: Option<Cut>) {
    for effect in pushed {
        if let (Effect::Send { message: Message::Push { cut, .. }, .. }, Some(at)) = (effect, stands)
        {
            *cut = at;
        }
    }
}

/// Returns `state` with every auxiliary buffer set to zero, and with unchanged parameters.
pub(crate) fn without_auxiliary(state: ShardState) -> ShardState {
    let zeros = |buffer: &Floats| vec![0.0; buffer.len()].into();
    ShardState { auxiliary: state.auxiliary.iter().map(zeros).collect(), ..state }
}

/// Returns whether the last effect writes the checkpoint of `step`.
pub(crate) fn ends_with_persist_of(step: Step, out: &[Effect]) -> bool {
    matches!(out.last(), Some(Effect::Persist(snapshot)) if snapshot.cut.step == step)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn catalogue_is_complete_and_finds_every_bug_by_its_name() {
        let names: BTreeSet<_> = Bug::ALL.iter().map(|bug| bug.name()).collect();
        assert_eq!(names.len(), Bug::ALL.len(), "names are unique");
        for (n, &bug) in Bug::ALL.iter().enumerate() {
            assert_eq!(bug as usize, n, "no bug is left out");
            assert_eq!(Bug::from_name(bug.name()), Some(bug));
        }
        assert_eq!(Bug::from_name("none"), None);
    }

    #[test]
    fn names_are_variants_in_kebab_case_and_every_bug_is_described() {
        for bug in Bug::ALL {
            let mut kebab = String::new();
            for c in format!("{bug:?}").chars() {
                if c.is_uppercase() && !kebab.is_empty() {
                    kebab.push('-');
                }
                kebab.extend(c.to_lowercase());
            }
            assert_eq!(bug.name(), kebab);
            assert!(bug.rule() <= 11, "{kebab}");
            assert!(!bug.description().is_empty() && !bug.needs().is_empty(), "{kebab}");
        }
    }

    #[test]
    fn bug_is_planted_only_in_the_current_thread() {
        plant(Some(Bug::StaleApplied));
        assert!(is_planted(Bug::StaleApplied) && !is_planted(Bug::StaleNotTold));
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(!is_planted(Bug::StaleApplied)));
        });
        plant(None);
        assert!(!is_planted(Bug::StaleApplied));
    }
}
