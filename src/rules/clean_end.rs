//! Rule 10: exactly `training_steps` updates; a durable final checkpoint; only then is anybody told
//! that all is done. At the end the files hold every step, once.

use unisono_core::ids::Cut;
use unisono_core::protocol::{Effect, Input, Job, Message, Outcome};
use unisono_core::{Slot, Step, TaskId};

use super::Violation;
use crate::invariant::{At, End, Invariant};

/// Looks at whatever is past the last step, says that all is done, or leaves.
#[derive(Debug, Default)]
pub(super) struct CleanEnd;

impl Invariant for CleanEnd {
    fn after(&mut self, at: &At<'_>, _input: &Input, effects: &[Effect]) -> Result<(), Violation> {
        let last = at.config.training_steps;
        let broken = |name, what: String| Err(Violation::new(10, name, what).of(at.life.task));
        for effect in effects {
            match effect {
                Effect::Compute(
                    Job::Update { cut: Cut { step, .. }, .. }
                    | Job::Gradient { cut: Cut { step, .. }, .. },
                ) if *step >= last => {
                    return broken("one-step-too-many", format!("a job of step {step} of {last}"));
                }
                Effect::Record(update) if update.cut.step >= last => {
                    let what = format!("step {} of {last} is recorded", update.cut.step);
                    return broken("one-step-too-many", what);
                }
                Effect::Send {
                    message: Message::Version { cut: Cut { step, .. }, .. }, ..
                } if *step > last => {
                    return broken("one-step-too-many", format!("version {step} of {last}"));
                }
                Effect::Send { message: Message::Finished { .. } | Message::Goodbye, .. }
                | Effect::Halt(Outcome::Finished)
                    if !is_durable(at) =>
                {
                    let what = "it says that all is done, and no final checkpoint is durable";
                    return broken("finished-before-durable", what.to_owned());
                }
                Effect::Halt(Outcome::Stopped { saved }) => check_stop(at, *saved)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn end(&mut self, end: &End<'_>) -> Result<(), Violation> {
        // Tasks that came late may not have been told; the chief's word is that the files are whole.
        if end.outcomes.get(&TaskId::CHIEF) != Some(&Outcome::Finished) {
            return Ok(());
        }
        check_checkpoint(end)?;
        check_losses(end)
    }
}

fn is_durable(at: &At<'_>) -> bool {
    at.history.files.newest_durable().is_some_and(|step| at.config.is_last(step))
}

fn check_stop(at: &At<'_>, saved: Option<Step>) -> Result<(), Violation> {
    let broken = |name, what: String| Err(Violation::new(10, name, what).of(at.life.task));
    if at.seen().is_some_and(|life| !life.asked_to_stop) {
        return broken("stopped-unasked", "it stops, and nobody asked it to".to_owned());
    }
    match saved {
        Some(step) if !at.history.files.is_durable(step) => {
            broken("stopped-unsaved", format!("it says that it saved step {step}, and did not"))
        }
        _ => Ok(()),
    }
}

fn check_checkpoint(end: &End<'_>) -> Result<(), Violation> {
    let last = end.config.training_steps;
    match end.checkpoint {
        Some(snapshot) if end.config.is_last(snapshot.cut.step) => Ok(()),
        _ if end.history.files.may_be_damaged() => Ok(()),
        Some(snapshot) => {
            let what = format!("the newest checkpoint is of step {} of {last}", snapshot.cut.step);
            Err(Violation::new(10, "no-final-checkpoint", what))
        }
        None => Err(Violation::new(10, "no-final-checkpoint", "there is no checkpoint")),
    }
}

/// The losses file has the slots of every update since the run began, once.
fn check_losses(end: &End<'_>) -> Result<(), Violation> {
    if end.history.files.may_be_damaged() {
        return Ok(());
    }
    let first = end.history.files.base().map_or(Step(0), |base| base.cut.step);
    let updates = end.history.files.losses().values();
    let wanted = updates.flat_map(|update| {
        update.losses.iter().map(|(slot, loss)| (update.cut.step, *slot, loss.to_bits()))
    });
    let rows = end.losses.iter().map(|(step, slot, loss)| (*step, *slot, loss.to_bits()));
    let rows = rows.filter(|(step, ..)| *step >= first);
    let last_recorded = end.history.files.losses().last_key_value();
    if let Some((want, got)) = first_difference(wanted, rows) {
        // A row that was recorded and is no more is another failure than one that was altered.
        let is_missing = match (want, got) {
            (Some((want, at, _)), Some((got, of, _))) => (want, at) < (got, of),
            (want, _) => want.is_some(),
        };
        let name = if is_missing { "losses-lost" } else { "losses-differ" };
        let step = want.or(got).map(|(step, ..)| step);
        return Err(Violation { step, ..Violation::new(10, name, Row { want, got }.to_string()) });
    }
    let next = last_recorded.map_or(first, |(step, _)| step.next());
    let missing = end.history.files.first_missing();
    if missing < next || !end.config.is_last(next) {
        let what = format!("the losses of step {} were never recorded", missing.min(next));
        return Err(Violation::new(10, "losses-missing", what));
    }
    let wanted = end.config.sync.replicas_to_aggregate as usize;
    match end.history.files.losses().values().find(|update| update.losses.len() != wanted) {
        Some(update) => {
            let what = format!("it has {} losses, and R is {wanted}", update.losses.len());
            Err(Violation::new(10, "losses-missing", what).at(update.cut.step))
        }
        None => Ok(()),
    }
}

type Losses = (Step, Slot, u32);

fn first_difference(
    mut wanted: impl Iterator<Item = Losses>,
    mut rows: impl Iterator<Item = Losses>,
) -> Option<(Option<Losses>, Option<Losses>)> {
    loop {
        match (wanted.next(), rows.next()) {
            (None, None) => return None,
            (want, got) if want == got => {}
            differing => return Some(differing),
        }
    }
}

/// A row as it was recorded, and as it is in the file.
struct Row {
    want: Option<Losses>,
    got: Option<Losses>,
}

impl std::fmt::Display for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let row = |row: Option<Losses>| match row {
            Some((step, slot, bits)) => {
                format!("step {step}, slot {slot}, loss {:e}", f32::from_bits(bits))
            }
            None => "no row".to_owned(),
        };
        write!(f, "the losses file has {}, and {} was recorded", row(self.got), row(self.want))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::fixture::{
        Fixture, LAST, cut, finished, gradients, ps, record, restored_event, send, snapshot,
        update, worker,
    };

    fn name(result: Result<(), Violation>) -> Option<&'static str> {
        result.err().map(|violation| violation.name)
    }

    fn durable() -> Fixture {
        let mut run = Fixture::new(2, 2);
        let event = restored_event(snapshot(cut(LAST.0), [1.0, 1.0]), true);
        run.takes(&mut CleanEnd, worker(0), Input::Stored(event)).unwrap();
        run
    }

    #[test]
    fn update_or_loss_after_the_last_step_is_a_violation() {
        let mut run = Fixture::new(2, 2);
        run.ready(2).unwrap();
        let job = |step| vec![update(cut(step), 1.0, gradients(0, &[0, 1]))];
        assert_eq!(name(run.does(&mut CleanEnd, ps(0), job(LAST.0 - 1))), None);
        assert_eq!(name(run.does(&mut CleanEnd, ps(0), job(LAST.0))), Some("one-step-too-many"));
        let row = vec![record(cut(LAST.0), &[0, 1])];
        assert_eq!(name(run.does(&mut CleanEnd, worker(0), row)), Some("one-step-too-many"));
    }

    #[test]
    fn finishing_before_the_final_checkpoint_is_durable_is_a_violation() {
        let done = || {
            let finished = Message::Finished { generation: cut(0).generation };
            [send(0, finished), send(0, Message::Goodbye), Effect::Halt(Outcome::Finished)]
        };
        for effect in done() {
            let early = Fixture::new(2, 2).does(&mut CleanEnd, worker(0), vec![effect.clone()]);
            assert_eq!(name(early), Some("finished-before-durable"));
            durable().does(&mut CleanEnd, worker(0), vec![effect]).unwrap();
        }
    }

    #[test]
    fn stop_must_be_requested_and_its_reported_checkpoint_saved() {
        let stops = |saved| vec![Effect::Halt(Outcome::Stopped { saved })];
        let mut run = durable();
        assert_eq!(name(run.does(&mut CleanEnd, worker(0), stops(None))), Some("stopped-unasked"));
        run.takes(&mut CleanEnd, worker(0), Input::Stop).unwrap();
        assert_eq!(name(run.does(&mut CleanEnd, worker(0), stops(Some(LAST)))), None);
        let unsaved = run.does(&mut CleanEnd, worker(0), stops(Some(Step(1))));
        assert_eq!(name(unsaved), Some("stopped-unsaved"));
    }

    #[test]
    fn files_must_contain_every_step_once_at_the_end_of_the_run() {
        let mut run = Fixture::new(2, 2);
        let mut rows = Vec::new();
        for step in 0..LAST.0 {
            run.does(&mut CleanEnd, worker(0), vec![record(cut(step), &[0, 1])]).unwrap();
            rows.extend([0, 1].map(|slot| (Step(step), Slot(slot), slot as f32 + 1.0)));
        }
        let last = snapshot(cut(LAST.0), [1.0, 1.0]);
        let early = snapshot(cut(1), [1.0, 1.0]);
        let ends = |rows: &[_], last| name(run.ends_with(&mut CleanEnd, &finished(), rows, last));
        assert_eq!(ends(&rows, Some(&last)), None);
        assert_eq!(ends(&rows, Some(&early)), Some("no-final-checkpoint"));
        assert_eq!(ends(&rows, None), Some("no-final-checkpoint"));
        assert_eq!(ends(&rows[1..], Some(&last)), Some("losses-lost"));
        rows.push(rows[0]);
        assert_eq!(ends(&rows, Some(&last)), Some("losses-differ"));
        let nothing =
            name(Fixture::new(2, 2).ends_with(&mut CleanEnd, &finished(), &[], Some(&last)));
        assert_eq!(nothing, Some("losses-missing"));
    }
}
