//! All updates of a run: the workers of their gradients, the last gradient of each update, and the
//! gradients that were not used.

use std::collections::BTreeMap;
use std::time::Duration;

use super::history::History;
use super::named_event::EventKind;
use crate::ledger::DropReason;
use unisono_core::ids::{Slot, Step, TaskId};

/// The last computation of an update. An update is computed again after a rollback.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpdateMade {
    /// Step of the update.
    pub step: Step,
    /// Time at which the last shard completed the update.
    pub at: Duration,
    /// Slots that the update used, ascending. Each slot comes with the worker that computed its
    /// gradient, if the worker is known.
    pub slots: Vec<(Slot, Option<TaskId>)>,
    /// Worker whose gradient arrived last at the shard that was the last to start the update.
    pub last: Option<TaskId>,
    /// Time between the arrivals of the last two gradients of the update.
    pub margin: Duration,
    /// Number of times that the update was computed.
    pub n_times: u32,
}

/// A gradient that arrived and was not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Step of the gradient.
    pub step: Step,
    /// Slot of the gradient.
    pub slot: Slot,
    /// Worker that computed the gradient, if it is known.
    pub worker: Option<TaskId>,
    /// Ps that dropped the gradient.
    pub ps: TaskId,
    /// Time at which the ps dropped the gradient; `None` if the drop is known only from a ledger.
    pub at: Option<Duration>,
    /// Reason why the gradient was not used.
    pub why: DropReason,
}

/// Returns all updates, ascending by step.
#[must_use]
pub fn updates(history: &History) -> Vec<UpdateMade> {
    let mut all: BTreeMap<Step, UpdateMade> = BTreeMap::new();
    let mut begun: BTreeMap<Step, Duration> = BTreeMap::new();
    for life in history.lives.iter().filter(|life| life.task.job == unisono_core::ids::Job::Ps) {
        // Gradients that have arrived since the last update.
        let mut came: BTreeMap<(Step, Slot), (Duration, Option<TaskId>)> = BTreeMap::new();
        for number in life.events.clone() {
            let event = &history.events[number];
            let what = event.input.what;
            if what.kind == EventKind::ReceivesRestore {
                // Gradients that arrived before the restore belong to another generation.
                came.clear();
            }
            if let (EventKind::ReceivesPush, Some(step), Some(slot)) =
                (what.kind, what.step, what.slot)
            {
                // The time of the first arrival is kept, because a duplicate changes nothing.
                came.entry((step, slot)).or_insert((event.at, event.input.details.peer));
            }
            for done in event.does.iter().filter(|done| done.what.kind == EventKind::Updates) {
                let Some(step) = done.what.step else { continue };
                let used = |slot: &Slot| (*slot, came.get(&(step, *slot)).copied());
                let slots: Vec<_> = done.details.slots.iter().map(used).collect();
                let new = || UpdateMade { step, ..UpdateMade::default() };
                let update = all.entry(step).or_insert_with(new);
                // Updates are counted on one shard only, because every shard makes each update.
                update.n_times += u32::from(life.task == TaskId::PS_ZERO);
                let last = begun.entry(step).or_insert(event.at);
                if *last <= event.at {
                    *last = event.at;
                    update.see(&slots);
                }
                came.retain(|(of, _), _| *of > step);
            }
            if let (EventKind::Updated, Some(step)) = (what.kind, what.step)
                && let Some(update) = all.get_mut(&step)
            {
                update.at = update.at.max(event.at);
            }
        }
    }
    all.into_values().collect()
}

type Came = Option<(Duration, Option<TaskId>)>;

impl UpdateMade {
    /// Stores the gradients of a shard that started the update later than all shards before.
    fn see(&mut self, slots: &[(Slot, Came)]) {
        let worker = |came: &Came| came.and_then(|(_, worker)| worker);
        self.slots = slots.iter().map(|(slot, came)| (*slot, worker(came))).collect();
        let mut by_time: Vec<_> = slots.iter().filter_map(|(_, came)| *came).collect();
        by_time.sort_by_key(|(at, _)| *at);
        self.last = by_time.last().and_then(|(_, worker)| *worker);
        self.margin = match *by_time {
            [.., (before, _), (last, _)] => last - before,
            _ => Duration::ZERO,
        };
    }
}

/// Returns the gradients that were not used, ascending by the time of the drop.
#[must_use]
pub fn dropped(history: &History) -> Vec<Dropped> {
    let why = |kind| match kind {
        EventKind::DropsStale => Some(DropReason::Stale),
        EventKind::DropsDuplicate => Some(DropReason::Duplicate),
        EventKind::DropsFenced => Some(DropReason::Fenced),
        EventKind::DropsSurplus => Some(DropReason::Surplus),
        _ => None,
    };
    let mut all = Vec::new();
    for (number, event) in history.events.iter().enumerate() {
        for done in &event.does {
            if let (Some(why), Some(step), Some(slot)) =
                (why(done.what.kind), done.what.step, done.what.slot)
            {
                let (worker, ps) = (done.details.peer, history.task(number));
                all.push(Dropped { step, slot, worker, ps, at: Some(event.at), why });
            }
        }
    }
    all.sort_by_key(|dropped| dropped.at);
    all
}

#[cfg(test)]
mod tests {
    use super::super::script::{Script, ms};
    use super::*;

    #[test]
    fn update_names_the_last_worker_and_its_margin() {
        let updates = updates(&Script::two_steps().history());
        let gates: Vec<_> =
            updates.iter().map(|it| (it.step.0, it.at, it.last, it.margin, it.n_times)).collect();
        let (fast, slow) = (TaskId::worker(0), TaskId::worker(1));
        assert_eq!(
            gates,
            [(0, ms(43), Some(slow), ms(20), 1), (1, ms(100), Some(fast), ms(18), 1)]
        );
        assert_eq!(updates[1].slots, [(Slot(0), Some(fast)), (Slot(1), Some(slow))]);
    }
}
