//! Rule 7: a checkpoint contains the states of all shards at the same generation and step, and the
//! losses of all earlier updates are recorded before the checkpoint is written. A restored state
//! equals the newest saved checkpoint.
//!
//! The rule is not checked in two cases. The losses beside a checkpoint may be wrong if a replaced
//! chief has finished writing the checkpoint (a known limit of `docs/protocol.md`). The newest
//! checkpoint may not be found after a fault has damaged a disk.

use std::iter;

use unisono_core::protocol::{
    Effect, Input, Job, Message, Report, Restored, ShardState, Snapshot, StorageEvent,
};
use unisono_core::{Cut, LinkId, Slot, Step};

use crate::history::History;
use crate::life_id::LifeId;
use crate::made::Key;
use crate::rule::{At, End, Rule};
use crate::violation::Violation;

/// Checks every state of a shard that is captured, written, read or restored.
#[derive(Debug, Default)]
pub(crate) struct CheckpointsAreCuts {
    /// The generation and step of the last checkpoint whose earlier losses were compared with its
    /// history. Without this field, every checkpoint of a long run would compare all recorded
    /// losses again.
    verified: Option<Cut>,
    /// The process of the chief that has asked its storage for the newest checkpoint and has not
    /// adopted a state since.
    reading: Option<LifeId>,
}

impl Rule for CheckpointsAreCuts {
    fn turn(&mut self, at: &mut At<'_>) -> Result<(), Violation> {
        if let Input::Stored(StorageEvent::Restored(Ok(restored))) = at.turn.input {
            check_read(at, restored)?;
        }
        for effect in at.turn.effects {
            match effect {
                Effect::Persist(_) if self.reading == Some(at.turn.life) => {
                    let what = "a checkpoint is written while an older one is being restored";
                    return Err(Violation::new(7, "written-while-restoring", what));
                }
                Effect::Persist(snapshot) => self.check_persist(at, snapshot)?,
                Effect::Restore => self.reading = Some(at.turn.life),
                Effect::Report(Report::Adopted { .. }) => self.reading = None,
                Effect::Record(update) => {
                    // An update replaces the recorded rows from its step on, so these rows must be
                    // compared again.
                    self.verified =
                        self.verified.filter(|verified| verified.step <= update.cut.step);
                }
                Effect::Send { message: Message::Captured { cut, state }, .. } => {
                    check_shard(at.history, (*cut, at.turn.life.task.index), state)
                        .map_err(|violation| violation.of(at.turn.life.task))?;
                }
                Effect::Send { link, message: Message::Restore { cut, state } } => {
                    check_restore(at, *link, *cut, state)?;
                }
                Effect::Compute(Job::Update { cut, state, .. }) => check_updated(at, *cut, state)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn end(&mut self, end: &End<'_>, history: &History) -> Result<(), Violation> {
        let durable = history.files.newest_durable();
        let lost = |what| Err(Violation::new(7, "checkpoint-lost", what));
        match end.checkpoint {
            _ if history.files.is_damaged => Ok(()),
            Some(snapshot) if Some(snapshot.cut.step) < durable => {
                let step = snapshot.cut.step;
                lost(format!(
                    "the newest checkpoint on disk is of step {step}, but {durable:?} was durable"
                ))
            }
            Some(snapshot) => check_saved(history, snapshot),
            None if durable.is_some() => {
                lost(format!("no checkpoint is on the disk, but {durable:?} was durable"))
            }
            None => Ok(()),
        }
    }
}

impl CheckpointsAreCuts {
    fn check_persist(&mut self, at: &At<'_>, snapshot: &Snapshot) -> Result<(), Violation> {
        let (cut, n_ps) = (snapshot.cut, at.turn.config.n_ps);
        let broken = |name, what| Err(at.violation(7, name, cut.step, what));
        if snapshot.shards.len() != n_ps as usize {
            let n_shards = snapshot.shards.len();
            let what = format!("the checkpoint has {n_shards} shards, but the run has {n_ps}");
            return broken("not-a-cut", what);
        }
        check_whole(at.history, cut, snapshot)
            .map_err(|violation| violation.of(at.turn.life.task))?;
        let missing = at.history.files.first_missing;
        if missing < cut.step {
            let what = format!("the checkpoint lacks recorded losses from step {missing} on");
            return broken("losses-behind-checkpoint", what);
        }
        if let Some((step, slots)) = unlike(at.history, cut, self.verified) {
            let what = format!(
                "the losses of step {step} are of slots {slots:?}, but its update used others"
            );
            return broken("losses-of-another-history", what);
        }
        self.verified = Some(cut);
        Ok(())
    }
}

/// Checks that a chief restores the state that its storage has read.
fn check_restore(at: &At<'_>, link: LinkId, cut: Cut, state: &ShardState) -> Result<(), Violation> {
    let broken = |what| Err(at.violation(7, "restored-otherwise", cut.step, what));
    let Some(given) = at.history.files.given(at.turn.life) else {
        return broken(format!("the chief restores {cut}, but its storage has read nothing"));
    };
    if given.cut.step != cut.step {
        let read = given.cut.step;
        return broken(format!("the chief restores {cut}, but its storage has read step {read}"));
    }
    let Some(ps) = at.seen().and_then(|life| life.peer(link)) else { return Ok(()) };
    if given.shards.get(ps.index as usize) == Some(state) {
        return Ok(());
    }
    broken(format!("{ps} gets a state that differs from the state that the storage has read"))
}

/// Checks that a checkpoint that the storage has read was written before, and is not older than the
/// newest durable checkpoint.
fn check_read(at: &At<'_>, Restored { snapshot, from }: &Restored) -> Result<(), Violation> {
    let (files, durable) = (&at.history.files, at.before.durable);
    let read = from.is_some().then_some(snapshot.cut.step);
    if read < durable && !files.is_damaged {
        let what = format!("the storage has read {from:?}, but {durable:?} was durable");
        return Err(Violation::new(7, "checkpoint-lost", what).at(snapshot.cut.step));
    }
    check_saved(at.history, snapshot)
}

/// Checks that the states in a checkpoint were given to the storage to write, or are the states
/// with which the run began.
fn check_saved(history: &History, snapshot: &Snapshot) -> Result<(), Violation> {
    let step = snapshot.cut.step;
    let begins = history
        .files
        .base
        .as_ref()
        .is_some_and(|base| base.cut.step == step && base.shards == snapshot.shards);
    if begins || history.cut_of(snapshot).is_some() {
        return Ok(());
    }
    match history.files.persisted(step).next_back() {
        Some(cut) => check_whole(history, cut, snapshot),
        None => {
            let what = format!("a checkpoint of step {step} is found, but none was written");
            Err(Violation::new(7, "checkpoint-of-nothing", what).at(step))
        }
    }
}

fn check_whole(history: &History, cut: Cut, snapshot: &Snapshot) -> Result<(), Violation> {
    (0..).zip(&snapshot.shards).try_for_each(|(ps, shard)| check_shard(history, (cut, ps), shard))
}

fn check_shard(
    history: &History,
    (cut, ps): (Cut, u32),
    shard: &ShardState,
) -> Result<(), Violation> {
    let key = Key::State(ps);
    let violation = |what| Violation::new(7, "not-a-cut", what).at(cut.step);
    history.check((cut, key, 0), &shard.parameters, violation)?;
    if history.made(cut, key).is_some_and(|made| made.is(&shard.into())) {
        return Ok(());
    }
    Err(violation(format!(
        "at {cut}, the optimizer's part of {key} differs from the part that was computed first"
    )))
}

/// Checks that an update starts from the complete state of the optimizer. Rule 1 checks the
/// parameters.
fn check_updated(at: &At<'_>, cut: Cut, state: &ShardState) -> Result<(), Violation> {
    let Some(made) = at.history.made(cut, Key::State(at.turn.life.task.index)) else {
        return Ok(());
    };
    let is_parameters = made.buffers.first().is_some_and(|kept| kept.is(&state.parameters));
    if !is_parameters || made.is(&state.into()) {
        return Ok(());
    }
    let what = "the update starts from the right parameters, but the optimizer's part is wrong";
    Err(at.violation(7, "state-not-whole", cut.step, what))
}

/// Returns the step and the recorded slots of an update in the losses file that is not part of the
/// history of the version `cut`; `None` if there is no such update.
fn unlike(history: &History, cut: Cut, verified: Option<Cut>) -> Option<(Step, Vec<Slot>)> {
    // `cuts` begins with `cut`. Then follow the checkpoints from which its generation and each
    // earlier generation were restored.
    let origin = |cut: &Cut| history.generations.get(&cut.generation);
    let cuts = iter::successors(Some(cut), |cut| origin(cut)?.parent);
    let mut above = cut.step;
    for cut in cuts {
        let origin = origin(&cut)?;
        let known = verified.filter(|known| known.generation == cut.generation);
        let from = known.map_or(origin.step, |known| known.step.clamp(origin.step, above));
        for (step, record) in history.files.losses.range(from..above) {
            let of = Cut { step: *step, ..cut };
            let recorded: Vec<_> = record.losses.iter().map(|(slot, _)| *slot).collect();
            if history.slots_of_update(of) != Some(&recorded) {
                return Some((*step, recorded));
            }
        }
        if known.is_some() {
            return None;
        }
        above = origin.step;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::tests::fixture::{
        Fixture, LAST, PS_LINK, WORKER_LINK, cut, later, ps, record, restored_event, send,
        snapshot, state, worker,
    };

    fn ready() -> Fixture {
        let mut run = Fixture::new(2, 2);
        run.ready(2).unwrap();
        run.step(1).unwrap();
        run
    }

    fn persist(values: [f32; 2]) -> Effect {
        Effect::Persist(Arc::new(snapshot(cut(1), values)))
    }

    fn name(result: Result<(), Violation>) -> Option<&'static str> {
        result.err().map(|violation| violation.name)
    }

    #[test]
    fn only_a_whole_cut_with_recorded_losses_may_be_saved() {
        let mut rule = CheckpointsAreCuts::default();
        let early = ready().does(&mut rule, worker(0), vec![persist([2.0, 2.0])]);
        assert_eq!(name(early), Some("losses-behind-checkpoint"));
        let mut run = ready();
        run.does(&mut rule, worker(0), vec![record(cut(0), &[0, 1])]).unwrap();
        run.does(&mut rule, worker(0), vec![persist([2.0, 2.0])]).unwrap();
        let mixed = run.does(&mut rule, worker(0), vec![persist([2.0, 1.0])]);
        assert_eq!(name(mixed), Some("not-a-cut"));
        let mut half = snapshot(cut(1), [2.0, 2.0]);
        half.shards.pop();
        let half = run.does(&mut rule, worker(0), vec![Effect::Persist(Arc::new(half))]);
        assert_eq!(name(half), Some("not-a-cut"));
    }

    #[test]
    fn checkpoint_beside_losses_of_another_history_is_a_violation() {
        let mut run = ready();
        let mut rule = CheckpointsAreCuts::default();
        run.does(&mut rule, worker(0), vec![record(cut(0), &[0])]).unwrap();
        let result = run.does(&mut rule, worker(0), vec![persist([2.0, 2.0])]);
        assert_eq!(name(result), Some("losses-of-another-history"));
    }

    #[test]
    fn captured_state_must_be_the_state_of_its_cut() {
        let mut rule = CheckpointsAreCuts::default();
        let mut captured = |value| {
            let message = Message::Captured { cut: cut(1), state: state(value) };
            name(ready().does(&mut rule, ps(0), vec![send(PS_LINK, message)]))
        };
        assert_eq!(captured(2.0), None);
        assert_eq!(captured(1.0), Some("not-a-cut"));
    }

    #[test]
    fn restored_state_must_equal_a_written_checkpoint() {
        let mut run = ready();
        let mut rule = CheckpointsAreCuts::default();
        run.does(&mut rule, worker(0), vec![record(cut(0), &[0, 1]), persist([2.0, 2.0])]).unwrap();
        let saved = |values| Input::Stored(restored_event(snapshot(cut(1), values), true));
        assert_eq!(name(run.takes(&mut rule, worker(0), saved([2.0, 3.0]))), Some("not-a-cut"));
        run.takes(&mut rule, worker(0), saved([2.0, 2.0])).unwrap();
        let restore = |value| {
            vec![send(WORKER_LINK, Message::Restore { cut: later(1), state: state(value) })]
        };
        run.does(&mut rule, worker(0), restore(2.0)).unwrap();
        let other = run.does(&mut rule, worker(0), restore(1.0));
        assert_eq!(name(other), Some("restored-otherwise"));
        let none = Input::Stored(restored_event(snapshot(cut(2), [9.0, 9.0]), true));
        assert_eq!(name(run.takes(&mut rule, worker(0), none)), Some("checkpoint-of-nothing"));
        let initial = Input::Stored(restored_event(snapshot(cut(0), [1.0, 1.0]), false));
        assert_eq!(name(run.takes(&mut rule, worker(0), initial)), Some("checkpoint-lost"));
    }

    #[test]
    fn checkpoint_is_attributed_to_the_newest_generation_that_wrote_its_states() {
        let mut run = ready();
        let mut rule = CheckpointsAreCuts::default();
        run.does(&mut rule, worker(0), vec![record(cut(0), &[0, 1]), persist([2.0, 2.0])]).unwrap();
        let read = |values| Input::Stored(restored_event(snapshot(cut(1), values), true));
        run.takes(&mut rule, worker(0), read([2.0, 2.0])).unwrap();
        assert_eq!(run.seen.history.files.last_read, Some(cut(1)));
        for of in [ps(0), ps(1)] {
            run.restored(of, later(1), 2.0).unwrap();
        }
        let again = Effect::Persist(Arc::new(snapshot(later(1), [2.0, 2.0])));
        run.does(&mut rule, worker(0), vec![again]).unwrap();
        run.takes(&mut rule, worker(0), read([2.0, 2.0])).unwrap();
        assert_eq!(run.seen.history.files.last_read, Some(later(1)));
        // The two shards are of different versions, so no checkpoint contained both.
        assert_eq!(name(run.takes(&mut rule, worker(0), read([2.0, 1.0]))), Some("not-a-cut"));
        assert_eq!(run.seen.history.files.last_read, None);
    }

    #[test]
    fn update_that_drops_a_part_of_the_state_is_a_violation() {
        let mut run = ready();
        let mut job = crate::tests::fixture::update(cut(1), 2.0, vec![]);
        if let Effect::Compute(Job::Update { state, .. }) = &mut job {
            state.auxiliary = vec![vec![0.0].into()];
        }
        let result = run.does(&mut CheckpointsAreCuts::default(), ps(0), vec![job]);
        assert_eq!(name(result), Some("state-not-whole"));
    }

    #[test]
    fn newest_checkpoint_must_exist_at_the_end_of_the_run() {
        let mut run = ready();
        let mut rule = CheckpointsAreCuts::default();
        run.does(&mut rule, worker(0), vec![record(cut(0), &[0, 1]), persist([2.0, 2.0])]).unwrap();
        run.persisted(&mut rule, worker(0), cut(1).step, true).unwrap();
        let good = snapshot(cut(1), [2.0, 2.0]);
        assert_eq!(name(run.ends(&mut rule, &[], Some(&good))), None);
        assert_eq!(name(run.ends(&mut rule, &[], None)), Some("checkpoint-lost"));
        let bad = snapshot(cut(1), [2.0, 1.0]);
        assert_eq!(name(run.ends(&mut rule, &[], Some(&bad))), Some("not-a-cut"));
        run.seen.history.files.is_damaged = true;
        assert_eq!(name(run.ends(&mut rule, &[], None)), None);
        assert!(LAST > Step(1));
    }
}
