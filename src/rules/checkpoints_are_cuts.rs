//! Rule 7: a checkpoint is the states of all shards at one and the same cut, with the losses of all
//! updates before it; and what is restored is a checkpoint that was saved, whole, and the newest.
//!
//! Not checked: the losses beside a checkpoint that a replaced chief went on writing (a known limit
//! of `docs/protocol.md`), and that the newest checkpoint is found once a fault has damaged a disk.

use std::sync::Arc;

use unisono_core::protocol::{
    Effect, Input, Message, Report, Restored, ShardState, Snapshot, StorageEvent,
};
use unisono_core::{Cut, LinkId, Slot, Step};

use super::lives::Shard;
use super::{History, Violation};
use crate::invariant::{At, End, Invariant};
use crate::life_id::LifeId;

/// Looks at every state that is captured, written, read or restored.
#[derive(Debug, Default)]
pub(super) struct CheckpointsAreCuts {
    /// What the chief's storage gave it last.
    given: Option<(LifeId, Arc<Snapshot>)>,
    /// The newest checkpoint that was durable before this input.
    durable: Option<Step>,
    /// Up to here the recorded losses are known to be of this history.
    verified: Option<Cut>,
    /// The chief that has asked for the newest checkpoint, and has not taken up any state since.
    reading: Option<LifeId>,
}

impl Invariant for CheckpointsAreCuts {
    fn before(&mut self, at: &At<'_>, input: &Input) -> Result<(), Violation> {
        if let Input::Stored(StorageEvent::Restored(Ok(restored))) = input {
            self.given = Some((at.life, Arc::clone(&restored.snapshot)));
            check_read(at, restored, self.durable)?;
        }
        if matches!(input, Input::Stored(_)) {
            self.durable = at.history.files.newest_durable();
        }
        Ok(())
    }

    fn after(&mut self, at: &At<'_>, _input: &Input, effects: &[Effect]) -> Result<(), Violation> {
        for effect in effects {
            match effect {
                Effect::Persist(_) if self.reading == Some(at.life) => {
                    let what = "a checkpoint is written while an older one is being restored";
                    return Err(Violation::new(7, "written-while-restoring", what));
                }
                Effect::Persist(snapshot) => self.check_persist(at, snapshot)?,
                Effect::Restore => self.reading = Some(at.life),
                Effect::Report(Report::Adopted { .. }) => self.reading = None,
                Effect::Record(update) => {
                    // What is written again has to be looked at again.
                    self.verified =
                        self.verified.filter(|verified| verified.step <= update.cut.step);
                }
                Effect::Send { link, message } => match Shard::carried(message) {
                    Some((cut, state)) if matches!(message, Message::Captured { .. }) => {
                        check_captured(at, cut, state)?;
                    }
                    Some((cut, state)) => self.check_restore(at, *link, cut, state)?,
                    None => {}
                },
                Effect::Compute(unisono_core::protocol::Job::Update { cut, state, .. }) => {
                    check_updated(at, *cut, state)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn end(&mut self, end: &End<'_>) -> Result<(), Violation> {
        let durable = end.history.files.newest_durable();
        if end.history.files.may_be_damaged() {
            return Ok(());
        }
        match end.checkpoint {
            None if durable.is_some() => {
                let what = format!("none is on the disk, and that of step {durable:?} was durable");
                Err(Violation::new(7, "checkpoint-lost", what))
            }
            None => Ok(()),
            Some(snapshot) if durable.is_some_and(|durable| snapshot.cut.step < durable) => {
                let what =
                    format!("the newest on the disk is older than {durable:?}, once durable");
                Err(Violation::new(7, "checkpoint-lost", what).at(snapshot.cut.step))
            }
            Some(snapshot) => check_saved(end.history, snapshot),
        }
    }
}

impl CheckpointsAreCuts {
    /// What a shard is given is its part of what the storage gave.
    fn check_restore(
        &self,
        at: &At<'_>,
        link: LinkId,
        cut: Cut,
        state: &ShardState,
    ) -> Result<(), Violation> {
        let broken =
            |what| Err(Violation::new(7, "restored-otherwise", what).at(cut.step).of(at.life.task));
        let Some((_, given)) = self.given.as_ref().filter(|(to, _)| *to == at.life) else {
            return broken(format!("it restores {cut}, and its storage gave it nothing"));
        };
        if given.cut.step != cut.step {
            return broken(format!(
                "it restores {cut}, and its storage gave step {}",
                given.cut.step
            ));
        }
        let Some(ps) = at.seen().and_then(|life| life.peer(link)) else { return Ok(()) };
        match given.shards.get(ps.index as usize) {
            Some(shard) if shard == state => Ok(()),
            _ => broken(format!("what it restores {ps} to is not what its storage gave")),
        }
    }

    fn check_persist(&mut self, at: &At<'_>, snapshot: &Snapshot) -> Result<(), Violation> {
        let broken =
            |name, what| Err(Violation::new(7, name, what).at(snapshot.cut.step).of(at.life.task));
        if snapshot.shards.len() != at.config.n_ps as usize {
            let what =
                format!("a checkpoint of {} shards, of {}", snapshot.shards.len(), at.config.n_ps);
            return broken("not-a-cut", what);
        }
        let cut = snapshot.cut;
        check_whole(at.history, cut, snapshot).map_err(|violation| violation.of(at.life.task))?;
        let missing = at.history.files.first_missing();
        if missing < snapshot.cut.step {
            let what = format!("its losses are not recorded from step {missing} on");
            return broken("losses-behind-checkpoint", what);
        }
        match unlike(at.history, cut, self.verified) {
            Some((step, slots)) => {
                let what =
                    format!("the losses of step {step} are of slots {slots:?}, not those used");
                broken("losses-of-another-history", what)
            }
            None => {
                self.verified = Some(cut);
                Ok(())
            }
        }
    }
}

/// What a storage gives was once given to it, or is what the run began with.
fn check_read(
    at: &At<'_>,
    Restored { snapshot, from }: &Restored,
    durable: Option<Step>,
) -> Result<(), Violation> {
    let files = &at.history.files;
    let is_older = durable.is_some_and(|durable| from.is_none() || snapshot.cut.step < durable);
    if is_older && !files.may_be_damaged() {
        let what = format!("{from:?} is read, and {durable:?} was durable");
        return Err(Violation::new(7, "checkpoint-lost", what).at(snapshot.cut.step));
    }
    check_saved(at.history, snapshot)
}

/// What a file holds was given to the storage, or is what the run began with.
fn check_saved(history: &History, snapshot: &Snapshot) -> Result<(), Violation> {
    let begins = history
        .files
        .base()
        .is_some_and(|base| base.cut.step == snapshot.cut.step && base.shards == snapshot.shards);
    if begins || history.cut_of(snapshot).is_some() {
        return Ok(());
    }
    match history.files.persisted(snapshot.cut.step).next_back() {
        Some(cut) => check_whole(history, cut, snapshot),
        None => {
            let what = format!(
                "a checkpoint of step {} is found, and none was written",
                snapshot.cut.step
            );
            Err(Violation::new(7, "checkpoint-of-nothing", what).at(snapshot.cut.step))
        }
    }
}

fn check_whole(history: &History, cut: Cut, snapshot: &Snapshot) -> Result<(), Violation> {
    for (ps, shard) in (0..).zip(&snapshot.shards) {
        check_shard(history, (cut, ps), shard)?;
    }
    Ok(())
}

fn check_shard(
    history: &History,
    (cut, ps): (Cut, u32),
    shard: &ShardState,
) -> Result<(), Violation> {
    match history.state(cut, ps) {
        Some(made) if made.is(shard) => Ok(()),
        Some(made) => {
            let what = format!("the state of ps {ps} is not that of {cut}");
            let violation = Violation::new(7, "not-a-cut", what).at(cut.step);
            Err(violation.with_first(&made.parameters, &shard.parameters))
        }
        None => {
            let what = format!("the state of ps {ps} is of {cut}, to which it never came");
            Err(Violation::new(7, "not-a-cut", what).at(cut.step))
        }
    }
}

fn check_captured(at: &At<'_>, cut: Cut, state: &ShardState) -> Result<(), Violation> {
    check_shard(at.history, (cut, at.life.task.index), state)
        .map_err(|violation| violation.of(at.life.task))
}

/// What the optimizer keeps beside the parameters is carried on, too; the parameters themselves are
/// rule 1's.
fn check_updated(at: &At<'_>, cut: Cut, state: &ShardState) -> Result<(), Violation> {
    let Some(made) = at.history.state(cut, at.life.task.index) else { return Ok(()) };
    if made.parameters.is(&state.parameters) && !made.is(state) {
        let what = "an update of a state whose parameters are right, and the rest is not";
        return Err(Violation::new(7, "state-not-whole", what).at(cut.step).of(at.life.task));
    }
    Ok(())
}

/// The first of the recorded updates that did not lead to `cut`.
fn unlike(history: &History, mut cut: Cut, verified: Option<Cut>) -> Option<(Step, Vec<Slot>)> {
    // From the newest generation back to the first: each began where another one was saved.
    let mut above = cut.step;
    loop {
        let origin = history.generations.get(&cut.generation)?;
        let known = verified.filter(|known| known.generation == cut.generation);
        let from = known.map_or(origin.step, |known| known.step.clamp(origin.step, above));
        for (step, record) in history.files.losses().range(from..above) {
            let of = Cut { step: *step, ..cut };
            let used = history.version(of).and_then(|version| version.update.as_ref());
            let recorded = record.losses.iter().map(|(slot, _)| slot);
            if used.is_none_or(|used| !used.iter().eq(recorded)) {
                return Some((*step, record.losses.iter().map(|(slot, _)| *slot).collect()));
            }
        }
        if known.is_some() {
            return None;
        }
        above = origin.step;
        cut = origin.parent?;
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(run.history.files.last_read(), Some(cut(1)));
        for of in [ps(0), ps(1)] {
            run.restored(of, later(1), 2.0).unwrap();
        }
        let again = Effect::Persist(Arc::new(snapshot(later(1), [2.0, 2.0])));
        run.does(&mut rule, worker(0), vec![again]).unwrap();
        run.takes(&mut rule, worker(0), read([2.0, 2.0])).unwrap();
        assert_eq!(run.history.files.last_read(), Some(later(1)));
        // No file holds one shard of each.
        assert_eq!(name(run.takes(&mut rule, worker(0), read([2.0, 1.0]))), Some("not-a-cut"));
        assert_eq!(run.history.files.last_read(), None);
    }

    #[test]
    fn update_that_drops_a_part_of_the_state_is_a_violation() {
        let mut run = ready();
        let mut job = crate::tests::fixture::update(cut(1), 2.0, vec![]);
        if let Effect::Compute(unisono_core::protocol::Job::Update { state, .. }) = &mut job {
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
        run.history.files.damaged();
        assert_eq!(name(run.ends(&mut rule, &[], None)), None);
        assert!(LAST > Step(1));
    }
}
