//! Rule 10: a run makes exactly `training_steps` updates and a durable final checkpoint. No task
//! learns of the end before this checkpoint is durable. At the end, the losses file contains every
//! step exactly once.

use unisono_core::protocol::{Effect, Job, Message, Outcome};
use unisono_core::{Slot, Step, TaskId};

use crate::history::History;
use crate::rule::{At, End, Rule};
use crate::violation::Violation;

/// Checks the steps of jobs, of recorded updates and of sent versions, the messages that announce
/// the end of the run, and the outcome of every task that halts.
#[derive(Debug)]
pub(crate) struct CleanEnd;

impl Rule for CleanEnd {
    fn turn(&mut self, at: &mut At<'_>) -> Result<(), Violation> {
        let last = at.turn.config.training_steps;
        let broken = |name, what: String| Err(Violation::new(10, name, what).of(at.turn.life.task));
        for effect in at.turn.effects {
            match effect {
                Effect::Compute(Job::Update { cut, .. } | Job::Gradient { cut, .. })
                    if cut.step >= last =>
                {
                    return broken(
                        "one-step-too-many",
                        format!("a job starts from version {}, but the last is {last}", cut.step),
                    );
                }
                Effect::Record(update) if update.cut.step >= last => {
                    let step = update.cut.step;
                    let what = format!("update {step} is recorded, but the last version is {last}");
                    return broken("one-step-too-many", what);
                }
                Effect::Send { message: Message::Version { cut, .. }, .. } if cut.step > last => {
                    let what = format!("version {} is sent, but the last is {last}", cut.step);
                    return broken("one-step-too-many", what);
                }
                Effect::Send { message: Message::Finished { .. } | Message::Goodbye, .. }
                | Effect::Halt(Outcome::Finished)
                    if !is_durable(at) =>
                {
                    let what = "the task finishes before a final checkpoint is durable";
                    return broken("finished-before-durable", what.to_owned());
                }
                Effect::Halt(Outcome::Stopped { saved }) => {
                    if at.seen().is_some_and(|life| !life.asked_to_stop) {
                        let what = "nobody asked the task to stop";
                        return broken("stopped-unasked", what.to_owned());
                    }
                    let is_unsaved = |step: &Step| !at.history.files.is_durable(*step);
                    if let Some(step) = saved.filter(is_unsaved) {
                        let what = format!(
                            "the checkpoint of step {step} is reported as saved, but is not durable"
                        );
                        return broken("stopped-unsaved", what);
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn end(&mut self, end: &End<'_>, history: &History) -> Result<(), Violation> {
        // Only the chief's outcome is checked. A late task may not have learned of the end, but the
        // chief knows that the files are complete.
        let is_finished = end.outcomes.get(&TaskId::CHIEF) == Some(&Outcome::Finished);
        if !is_finished || history.files.is_damaged {
            return Ok(());
        }
        check_checkpoint(end)?;
        check_losses(end, history)
    }
}

fn is_durable(at: &At<'_>) -> bool {
    at.history.files.newest_durable().is_some_and(|step| at.turn.config.is_last(step))
}

fn check_checkpoint(end: &End<'_>) -> Result<(), Violation> {
    let what = match end.checkpoint {
        Some(snapshot) if end.config.is_last(snapshot.cut.step) => return Ok(()),
        Some(snapshot) => {
            let last = end.config.training_steps;
            format!("the newest checkpoint is of step {}, not of step {last}", snapshot.cut.step)
        }
        None => "there is no checkpoint".to_owned(),
    };
    Err(Violation::new(10, "no-final-checkpoint", what))
}

/// Checks that the losses file contains the losses of every update since the run began, exactly
/// once.
fn check_losses(end: &End<'_>, history: &History) -> Result<(), Violation> {
    let files = &history.files;
    let first = files.base.as_ref().map_or(Step(0), |base| base.cut.step);
    let wanted = files.losses.values().flat_map(|update| {
        update.losses.iter().map(|(slot, loss)| (update.cut.step, *slot, loss.to_bits()))
    });
    let rows = end.losses.iter().map(|(step, slot, loss)| (*step, *slot, loss.to_bits()));
    let rows = rows.filter(|(step, ..)| *step >= first);
    if let Some((want, got)) = first_difference(wanted, rows) {
        // A missing row and an altered row are different violations.
        let is_missing = match (want, got) {
            (Some((want, at, _)), Some((got, of, _))) => (want, at) < (got, of),
            (want, _) => want.is_some(),
        };
        let name = if is_missing { "losses-lost" } else { "losses-differ" };
        let row = |row: Option<Loss>| match row {
            Some((step, slot, bits)) => {
                format!("step {step}, slot {slot}, loss {:e}", f32::from_bits(bits))
            }
            None => "no row".to_owned(),
        };
        let what = format!("the losses file has {}, but {} was recorded", row(got), row(want));
        let step = want.or(got).map(|(step, ..)| step);
        return Err(Violation { step, ..Violation::new(10, name, what) });
    }
    let next = files.losses.last_key_value().map_or(first, |(step, _)| step.next());
    let missing = files.first_missing;
    if missing < next || !end.config.is_last(next) {
        let what = format!("the losses of step {} were never recorded", missing.min(next));
        return Err(Violation::new(10, "losses-missing", what));
    }
    let wanted = end.config.sync.replicas_to_aggregate as usize;
    match files.losses.values().find(|update| update.losses.len() != wanted) {
        Some(update) => {
            let what = format!("the update has {} losses, but R is {wanted}", update.losses.len());
            Err(Violation::new(10, "losses-missing", what).at(update.cut.step))
        }
        None => Ok(()),
    }
}

type Loss = (Step, Slot, u32);

/// Returns the first recorded loss and row of the losses file that differ.
fn first_difference(
    mut wanted: impl Iterator<Item = Loss>,
    mut rows: impl Iterator<Item = Loss>,
) -> Option<(Option<Loss>, Option<Loss>)> {
    loop {
        let (want, got) = (wanted.next(), rows.next());
        if want != got {
            return Some((want, got));
        }
        want?;
    }
}

#[cfg(test)]
mod tests {
    use unisono_core::protocol::Input;

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
