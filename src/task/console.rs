//! Shows the progress of a task to the user: the lines of the original script, the progress bar,
//! and warnings.

use crate::pace::{Pace, Paced};
use crate::setup;
use crate::task_config::TaskConfig;
use unisono_config::RunConfig;
use unisono_core::host::{Observer, Turn};
use unisono_core::ids::{Cut, Slot, Step, TaskId};
use unisono_core::protocol::{Effect, Input, Report, Restored, StorageEvent};
use unisono_core::time::Moment;
use unisono_net::warnings::Warnings;
use unisono_terminal::output::{ProgressView, Screen, TrainingLine};

/// Shows the progress of a task to the user.
#[derive(Debug)]
pub(crate) struct Console {
    task: TaskId,
    run: RunConfig,
    screen: Screen,
    progress: ProgressView,
    pace: Pace,
    /// Limits the number of warnings that unknown callers on the network can cause.
    warnings: Warnings,
}

impl Console {
    pub(crate) fn new(config: &TaskConfig, screen: Screen) -> Self {
        let steps = config.run.train.training_steps;
        Self {
            task: config.task,
            run: config.run.clone(),
            progress: ProgressView::new(screen.clone(), config.run.progress, steps),
            screen,
            pace: Pace::default(),
            warnings: Warnings::default(),
        }
    }

    pub(crate) fn finish(&self) {
        self.progress.finish();
    }

    fn on_computed(&mut self, now: Moment, step: Step, slot: Slot, loss: f32) {
        let Paced { n_steps, is_new_step, elapsed, sec_per_step } =
            self.pace.on_computed(now, step);
        if !is_new_step {
            tracing::trace!("slot {slot} of step {step}: loss {loss}");
        }
        let global_step = step.next().0;
        self.progress.update(global_step, loss, elapsed);
        // A worker may compute several slots of a step. Only the slot with the worker's own index
        // prints a line, so that a step never prints two lines.
        if n_steps.is_multiple_of(TrainingLine::INTERVAL) && self.task.index == slot.0 {
            let line =
                TrainingLine { step: n_steps, global_step, loss, sec_per_batch: sec_per_step };
            self.progress.line(&line);
        }
    }

    fn on_report(&mut self, now: Moment, report: &Report) {
        match report {
            Report::Computed { step, slot, loss } => self.on_computed(now, *step, *slot, *loss),
            Report::Waiting { what, waited } => {
                let waited_secs = waited.as_secs_f64();
                tracing::warn!(
                    waited_secs,
                    awaited = what,
                    "{} has waited {waited_secs:.0} s {what}",
                    self.task
                );
            }
            Report::TurnedAway { why } => self.warnings.warn(now, why),
            Report::SaveFailed { step, why } => {
                tracing::warn!(
                    step = step.0,
                    "the checkpoint of step {step} could not be written: {why}"
                );
            }
            Report::ShardLost { ps, live: Ok(step) } => tracing::warn!(
                "{ps} has lost its shard: all tasks continue from version {step}, which the chief holds; \
                 no step is lost"
            ),
            Report::ShardLost { ps, live: Err(why) } => tracing::warn!(
                "{ps} has lost its shard: all tasks go back to the newest checkpoint, because {why}"
            ),
            Report::Adopted { restored: Some(Some(from)), .. } => {
                self.screen.err(&format!("Restored from {from}."));
            }
            Report::Adopted { restored: None, .. } => {
                self.screen.err("Continuing with the state that the ps hold: no step is lost.");
            }
            Report::Adopted { generation, restored: Some(None), .. } => {
                let number = generation.number;
                tracing::info!(
                    generation = number,
                    "generation {generation} starts with initial values"
                );
            }
            Report::PeerUp { peer } => tracing::info!(%peer, "{peer} connected"),
            Report::PeerDown { peer, why } => {
                tracing::info!(%peer, "{peer} disconnected: {why}");
            }
            Report::Saved { step, path } => {
                tracing::info!(
                    step = step.0,
                    path,
                    "saved the checkpoint of step {step} in {path}"
                );
            }
            Report::Dropped { step, slot, worker, verdict } => {
                let verdict = verdict.map_or_else(|| "Surplus".to_owned(), |v| format!("{v:?}"));
                tracing::debug!(
                    "dropped the gradient of slot {slot} of step {step} from {worker}: {verdict}"
                );
            }
            Report::Updated { cut: Cut { step, .. }, slots, .. } => {
                tracing::trace!("update {step} used {} slots", slots.len());
            }
        }
    }
}

impl Observer for Console {
    fn turn(&mut self, turn: &Turn<'_>) {
        let Turn { now, input, effects, .. } = *turn;
        if let Input::Stored(StorageEvent::Restored(Ok(Restored { snapshot, from: Some(_) }))) =
            input
            && snapshot.cut.step.0 >= self.run.train.training_steps
        {
            self.screen.err(&setup::already_finished(snapshot.cut.step, &self.run));
        }
        self.warnings.settle(now);
        let closes_link = effects.iter().any(|effect| matches!(effect, Effect::Close { .. }));
        for effect in effects {
            match effect {
                // This task closed the link, not the network. The peer was silent for too long, or
                // sent a message that the protocol forbids.
                Effect::Report(Report::PeerDown { peer, why }) if closes_link => {
                    self.warnings.warn(now, format_args!("disconnected {peer}: {why}"));
                }
                Effect::Report(report) => self.on_report(now, report),
                _ => {}
            }
        }
    }
}
