//! Bugs that are planted on purpose, to show that something catches them.
//!
//! This file is no part of the production tree. `unisono-sim bugs` adds it to a copy of the tree, in
//! which patches ask [`is_planted`] at the places where a bug changes what the code does.

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

/// Plants a bug in all nodes that run on this thread from now on, or with `None` takes it out.
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether the code is to have this bug.
#[must_use]
pub fn is_planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// The order in which a shard's gradients came.
#[derive(Debug)]
pub(crate) struct Arrivals(Vec<Slot>);

impl Arrivals {
    pub(crate) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(crate) fn note(&mut self, slot: Slot) {
        self.0.push(slot);
    }

    /// How many came before a slot did.
    pub(crate) fn rank(&self, slot: Slot) -> Option<usize> {
        self.0.iter().position(|came| *came == slot)
    }
}

/// The cut of which each worker has its tokens.
#[derive(Debug, Default)]
pub(crate) struct Issued(BTreeMap<TaskId, Cut>);

impl Issued {
    /// Whether the worker was given the tokens of this cut before.
    pub(crate) fn note(&mut self, worker: TaskId, cut: Cut) -> bool {
        self.0.insert(worker, cut) == Some(cut)
    }
}

/// Of which cut a ps believes a gradient to be that was pushed as of `pushed`.
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

/// What a worker has computed in place of what it was to compute.
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

/// As what a worker takes a result of `step` and `slot`: as that of the job it meant to give, if
/// it is of the job it gave.
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

/// Says of gradients that were just pushed that they are of where their ps stands.
pub(crate) fn restamp_pushes(pushed: &mut [Effect], stands: Option<Cut>) {
    for effect in pushed {
        if let (Effect::Send { message: Message::Push { cut, .. }, .. }, Some(at)) = (effect, stands)
        {
            *cut = at;
        }
    }
}

/// A restored state of which only the parameters are right.
pub(crate) fn without_auxiliary(state: ShardState) -> ShardState {
    let zeros = |buffer: &Floats| vec![0.0; buffer.len()].into();
    ShardState { auxiliary: state.auxiliary.iter().map(zeros).collect(), ..state }
}

/// Whether the last thing to be done is to write the checkpoint of this step.
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
            assert_eq!(bug as usize, n, "none is left out");
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
