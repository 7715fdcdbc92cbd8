//! Selects observations for TensorBoard from the inputs and effects of the chief's node.
//!
//! The recorder copies no tensor and computes nothing. Observations share tensors with the node,
//! and the summarizer turns observations into events. While no summary is due, the recorder only
//! compares the time and the step of each gradient with limits.

use std::sync::Arc;
use std::time::Duration;

use unisono_core::floats::Floats;
use unisono_core::ids::{Cut, Generation, Slot, Step};
use unisono_core::protocol::{
    Done, Effect, Input, Job, Report, Restored, Snapshot, StorageEvent, UpdateRecord,
};
use unisono_core::time::Moment;

/// An observation that becomes events.
#[derive(Clone, Debug, PartialEq)]
pub enum Observation {
    /// A generation starts at a step. Earlier observations of this step and of larger steps are
    /// void.
    Began {
        /// Step at which the generation starts.
        step: Step,
        /// Checkpoint from which the generation starts, if any.
        restored: Option<Arc<Snapshot>>,
    },
    /// A summary was due.
    Summary(StepSummary),
    /// A checkpoint is being written.
    Checkpoint {
        /// State in the checkpoint.
        snapshot: Arc<Snapshot>,
        /// Whether the checkpoint is the final checkpoint of the run.
        is_last: bool,
    },
    /// The last update of the run was made.
    LastUpdate {
        /// Step of the update.
        step: Step,
        /// Loss of each slot that the update used.
        losses: Vec<(Slot, f32)>,
        /// Steps per second since the last summary.
        steps_per_sec: Option<f64>,
    },
}

/// A version, the losses of the update that makes the next version, and the chief's gradient.
#[derive(Clone, Debug, PartialEq)]
pub struct StepSummary {
    /// Step of the version and of the update.
    pub step: Step,
    /// Loss of each slot that the update used.
    pub losses: Vec<(Slot, f32)>,
    /// Gradient that the chief computed from the version, one buffer per shard.
    pub gradient: Vec<Floats>,
    /// Parameters of the version, one buffer per shard.
    pub parameters: Vec<Floats>,
    /// Steps per second since the last summary of this generation; `None` for the first summary of
    /// the generation.
    pub steps_per_sec: Option<f64>,
}

/// Selects observations for event files from the inputs and effects of the chief's node.
#[derive(Debug)]
pub struct Recorder {
    interval: Duration,
    training_steps: Step,
    /// Time after which the next gradient gets a summary.
    due: Moment,
    /// The next step for which a summary is due regardless of time: one of 1, 2, 5, 10, 20, 50, and
    /// so on. With these steps, even a run of a few seconds has a curve.
    milestone: Step,
    generation: Option<Generation>,
    /// State that the chief has read from a checkpoint, and from which no generation has started
    /// yet.
    restored: Option<Arc<Snapshot>>,
    draft: Option<Draft>,
    /// Time and step of the last summary.
    last: Option<(Moment, Step)>,
}

/// A summary whose gradient or losses are still missing.
#[derive(Debug)]
struct Draft {
    since: Moment,
    cut: Cut,
    slot: Slot,
    parameters: Vec<Floats>,
    gradient: Option<Vec<Floats>>,
    losses: Option<Vec<(Slot, f32)>>,
}

impl Recorder {
    /// Creates a recorder for a run of `training_steps` updates.
    ///
    /// A summary is due for the first step, for the steps 1, 2, 5, 10, 20, 50, and so on, and for
    /// the next step whenever `interval` has passed since the last summary.
    #[must_use]
    pub const fn new(interval: Duration, training_steps: Step) -> Self {
        Self {
            interval,
            training_steps,
            due: Moment::from_origin(Duration::ZERO),
            milestone: Step(1),
            generation: None,
            restored: None,
            draft: None,
            last: None,
        }
    }

    /// Returns the observations of one input and its effects, in order.
    pub fn turn(&mut self, now: Moment, input: &Input, effects: &[Effect]) -> Vec<Observation> {
        self.note_input(input);
        let mut seen = Vec::new();
        for effect in effects {
            match effect {
                Effect::Report(Report::Adopted { generation, step: Some(step), restored }) => {
                    let from_checkpoint = matches!(restored, Some(Some(_)));
                    let restored = self.restored.take().filter(|_| from_checkpoint);
                    seen.extend(self.begin(*generation, *step, restored));
                }
                Effect::Compute(Job::Gradient { cut, slot, parameters }) => {
                    seen.extend(self.begin(cut.generation, cut.step, None));
                    // The update of the previous step may be among these effects. Its summary is
                    // completed first: otherwise the unfinished summary would prevent a summary of
                    // this step, even if one is due.
                    seen.extend(self.complete().map(Observation::Summary));
                    self.on_compute(now, *cut, *slot, parameters);
                }
                Effect::Record(update) => seen.extend(self.on_record(now, update)),
                Effect::Persist(snapshot) => {
                    let is_last = snapshot.cut.step >= self.training_steps;
                    let snapshot = Arc::clone(snapshot);
                    seen.push(Observation::Checkpoint { snapshot, is_last });
                }
                _ => {}
            }
        }
        seen.extend(self.complete().map(Observation::Summary));
        seen
    }

    fn note_input(&mut self, input: &Input) {
        match input {
            Input::Computed(Done::Gradient { cut, slot, gradient, .. }) => {
                let of = (*cut, *slot);
                if let Some(draft) =
                    self.draft.as_mut().filter(|draft| (draft.cut, draft.slot) == of)
                {
                    draft.gradient = Some(gradient.clone());
                }
            }
            Input::Stored(StorageEvent::Restored(Ok(Restored { snapshot, from: Some(_) }))) => {
                self.restored = Some(Arc::clone(snapshot));
            }
            _ => {}
        }
    }

    /// Stores the generation of an effect. Returns [`Observation::Began`] if the generation is
    /// newer than the stored generation.
    fn begin(
        &mut self,
        generation: Generation,
        step: Step,
        restored: Option<Arc<Snapshot>>,
    ) -> Option<Observation> {
        // An effect of an older generation must not discard what was observed in a newer
        // generation. A generation that starts after the last step discards nothing, either.
        if self.generation >= Some(generation) || step >= self.training_steps {
            return None;
        }
        self.generation = Some(generation);
        self.draft = None;
        self.last = None;
        // Summaries of later steps are void now, and their steps will be due again.
        self.milestone = milestone_from(step);
        Some(Observation::Began { step, restored })
    }

    fn on_compute(&mut self, now: Moment, cut: Cut, slot: Slot, parameters: &[Floats]) {
        let is_due = now >= self.due || cut.step >= self.milestone;
        if self.draft.is_none() && is_due {
            let parameters = parameters.to_vec();
            let (gradient, losses) = (None, None);
            self.draft = Some(Draft { since: now, cut, slot, parameters, gradient, losses });
        }
    }

    fn on_record(&mut self, now: Moment, update: &UpdateRecord) -> Option<Observation> {
        let UpdateRecord { cut, losses } = update;
        if let Some(draft) = self.draft.as_mut().filter(|draft| draft.losses.is_none()) {
            if draft.cut == *cut {
                draft.losses = Some(losses.clone());
                return None;
            }
            // The update of the draft was recorded earlier and will not be recorded again, so the
            // draft is dropped.
            self.draft.take_if(|draft| cut.step > draft.cut.step);
        }
        let is_last = cut.step.next() == self.training_steps;
        is_last.then(|| {
            let (step, losses) = (cut.step, losses.clone());
            Observation::LastUpdate { step, losses, steps_per_sec: self.pace(now, step) }
        })
    }

    /// Returns the draft as a summary if both its gradient and its losses have arrived, in any
    /// order; otherwise `None`.
    fn complete(&mut self) -> Option<StepSummary> {
        let is_complete = |draft: &mut Draft| draft.gradient.is_some() && draft.losses.is_some();
        let draft = self.draft.take_if(is_complete)?;
        let Draft { since, cut: Cut { step, .. }, parameters, gradient, losses, .. } = draft;
        let steps_per_sec = self.pace(since, step);
        // The interval is counted from the start of the step, so that a slow gradient does not
        // delay the next summary.
        self.due = since + self.interval;
        self.milestone = milestone_from(step.next());
        self.last = Some((since, step));
        let (losses, gradient) = losses.zip(gradient)?;
        Some(StepSummary { step, losses, gradient, parameters, steps_per_sec })
    }

    /// Returns the steps per second since the last summary.
    fn pace(&self, now: Moment, step: Step) -> Option<f64> {
        let (since, from) = self.last?;
        let (n_steps, elapsed) = (step.0.checked_sub(from.0)?, now.since(since));
        (n_steps > 0 && !elapsed.is_zero()).then(|| n_steps as f64 / elapsed.as_secs_f64())
    }
}

/// Returns the smallest of the steps 1, 2, 5, 10, 20, 50, and so on, that is not smaller than
/// `step`.
fn milestone_from(step: Step) -> Step {
    let decades = std::iter::successors(Some(1_u64), |decade| decade.checked_mul(10));
    let mut milestones =
        decades.flat_map(|decade| [1, 2, 5].map(|factor| decade.saturating_mul(factor)));
    Step(milestones.find(|milestone| *milestone >= step.0).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use unisono_core::ids::Incarnation;

    const A: Generation = Generation { opener: Incarnation(7), number: 1 };
    const B: Generation = Generation { opener: Incarnation(7), number: 2 };
    const NO_CHECKPOINT: Option<Option<String>> = Some(None);

    fn at(secs: u64) -> Moment {
        Moment::from_origin(Duration::from_secs(secs))
    }

    fn recorder() -> Recorder {
        Recorder::new(Duration::from_secs(10), Step(1000))
    }

    fn floats(value: f32) -> Vec<Floats> {
        vec![vec![value].into()]
    }

    fn compute(generation: Generation, step: u64) -> Effect {
        let (step, parameters) = (Step(step), floats(step as f32));
        Effect::Compute(Job::Gradient { cut: Cut { generation, step }, slot: Slot(0), parameters })
    }

    fn computed(generation: Generation, step: u64) -> Input {
        let (step, slot, gradient) = (Step(step), Slot(0), floats(-(step as f32)));
        Input::Computed(Done::Gradient { cut: Cut { generation, step }, slot, loss: 0.5, gradient })
    }

    fn record(generation: Generation, step: u64) -> Effect {
        let losses = vec![(Slot(0), 0.5), (Slot(1), 0.25)];
        Effect::Record(UpdateRecord { cut: Cut { generation, step: Step(step) }, losses })
    }

    fn adopted(generation: Generation, step: u64, restored: Option<Option<String>>) -> Effect {
        let step = Some(Step(step));
        Effect::Report(Report::Adopted { generation, step, restored })
    }

    fn began(step: u64) -> Observation {
        Observation::Began { step: Step(step), restored: None }
    }

    fn acts(recorder: &mut Recorder, now: Moment, effects: &[Effect]) -> Vec<Observation> {
        recorder.turn(now, &Input::Wake, effects)
    }

    /// Plays one step of a cluster: the chief's gradient, then the update.
    fn step(
        recorder: &mut Recorder,
        now: Moment,
        generation: Generation,
        step: u64,
    ) -> Vec<Observation> {
        let mut seen = acts(recorder, now, &[compute(generation, step)]);
        seen.extend(recorder.turn(now, &computed(generation, step), &[]));
        seen.extend(acts(recorder, now, &[record(generation, step)]));
        seen
    }

    fn summary(step: u64, steps_per_sec: Option<f64>) -> Observation {
        Observation::Summary(StepSummary {
            step: Step(step),
            losses: vec![(Slot(0), 0.5), (Slot(1), 0.25)],
            gradient: floats(-(step as f32)),
            parameters: floats(step as f32),
            steps_per_sec,
        })
    }

    #[test]
    fn milestones_are_one_two_and_five_of_each_power_of_ten() {
        let milestone = |step| milestone_from(Step(step)).0;
        let steps = [0, 1, 2, 3, 5, 6, 10, 11, 20, 21, 50, 51, 100, 9999];
        let expected = [1, 1, 2, 5, 5, 10, 10, 20, 20, 50, 50, 100, 100, 10_000];
        assert_eq!(steps.map(milestone), expected);
        assert_eq!(milestone(u64::MAX), u64::MAX);
    }

    #[test]
    fn first_step_and_milestones_are_summarised_and_then_one_step_per_interval() {
        let mut recorder = recorder();
        let of = |seen: Vec<Observation>| {
            let of = |it: Observation| match it {
                Observation::Summary(summary) => Some(summary.step.0),
                _ => None,
            };
            seen.into_iter().filter_map(of).collect::<Vec<_>>()
        };
        // All thousand steps fall within one interval.
        let at_step = |k: u64| Moment::from_origin(Duration::from_millis(3000 + k));
        let all = (0..1000).map(|k| of(step(&mut recorder, at_step(k), A, k)));
        assert_eq!(all.flatten().collect::<Vec<_>>(), [0, 1, 2, 5, 10, 20, 50, 100, 200, 500]);

        let mut slow = Recorder::new(Duration::from_secs(10), Step(2000));
        step(&mut slow, at(3), A, 1001);
        let later = (4..34).map(|secs| of(step(&mut slow, at(secs), A, 998 + secs)));
        assert_eq!(later.flatten().collect::<Vec<_>>(), [1011, 1021, 1031]);
    }

    #[test]
    fn pace_is_measured_since_the_last_summary() {
        let mut recorder = recorder();
        assert_eq!(step(&mut recorder, at(3), A, 501), [began(501), summary(501, None)]);
        assert_eq!(step(&mut recorder, at(13), A, 521), [summary(521, Some(2.0))]);
    }

    /// While the chief handles one input, it records update 1 and starts to compute the gradient of
    /// step 2.
    #[test]
    fn two_consecutive_milestones_are_both_summarised() {
        let mut recorder = recorder();
        acts(&mut recorder, at(0), &[compute(A, 1)]);
        recorder.turn(at(0), &computed(A, 1), &[]);
        let seen = acts(&mut recorder, at(1), &[record(A, 1), compute(A, 2)]);
        assert_eq!(seen, [summary(1, None)]);
        assert_eq!(recorder.turn(at(1), &computed(A, 2), &[record(A, 2)]), [summary(2, Some(1.0))]);
    }

    #[test]
    fn milestones_after_a_rollback_are_summarised_again() {
        let mut recorder = recorder();
        step(&mut recorder, at(0), A, 1);
        step(&mut recorder, at(0), A, 2);
        step(&mut recorder, at(0), A, 5);
        acts(&mut recorder, at(1), &[adopted(B, 2, NO_CHECKPOINT)]);
        assert_eq!(step(&mut recorder, at(1), B, 2), [summary(2, None)]);
        assert_eq!(step(&mut recorder, at(1), B, 3), []);
        assert_eq!(step(&mut recorder, at(2), B, 5), [summary(5, Some(3.0))]);
    }

    #[test]
    fn summary_shares_its_tensors_with_the_node() {
        let mut recorder = recorder();
        let (compute, computed) = (compute(A, 0), computed(A, 0));
        acts(&mut recorder, at(0), std::slice::from_ref(&compute));
        let seen = recorder.turn(at(0), &computed, &[record(A, 0)]);
        let [Observation::Summary(summary)] = &seen[..] else { panic!("{seen:?}") };
        let Effect::Compute(Job::Gradient { parameters, .. }) = &compute else { unreachable!() };
        let Input::Computed(Done::Gradient { gradient, .. }) = &computed else { unreachable!() };
        assert!(summary.parameters[0].same_buffer(&parameters[0]));
        assert!(summary.gradient[0].same_buffer(&gradient[0]));
    }

    #[test]
    fn summary_is_complete_even_if_the_chiefs_gradient_is_last_and_unused() {
        let mut recorder = recorder();
        assert_eq!(acts(&mut recorder, at(0), &[compute(A, 0)]), [began(0)]);
        assert_eq!(acts(&mut recorder, at(1), &[record(A, 0), record(A, 1), compute(A, 2)]), []);
        assert_eq!(recorder.turn(at(1), &computed(A, 0), &[]), [summary(0, None)]);
    }

    #[test]
    fn draft_is_dropped_if_its_update_was_already_recorded() {
        let mut recorder = recorder();
        assert_eq!(acts(&mut recorder, at(0), &[record(A, 3), compute(A, 3)]), [began(3)]);
        assert_eq!(recorder.turn(at(0), &computed(A, 3), &[record(A, 4), compute(A, 5)]), []);
        assert_eq!(recorder.turn(at(0), &computed(A, 5), &[record(A, 5)]), [summary(5, None)]);
    }

    #[test]
    fn rollback_starts_a_generation_and_drops_the_draft() {
        let mut recorder = recorder();
        step(&mut recorder, at(0), A, 40);
        assert_eq!(acts(&mut recorder, at(20), &[compute(A, 50)]), []);
        assert_eq!(acts(&mut recorder, at(21), &[adopted(B, 45, NO_CHECKPOINT)]), [began(45)]);
        assert_eq!(recorder.turn(at(21), &computed(A, 50), &[record(A, 50)]), []);
        assert_eq!(
            step(&mut recorder, at(22), B, 45),
            [summary(45, None)],
            "and no pace over both"
        );
    }

    #[test]
    fn restored_checkpoint_is_reported_when_its_generation_starts() {
        let mut recorder = recorder();
        let snapshot =
            Arc::new(Snapshot { cut: Cut { generation: A, step: Step(30) }, shards: Vec::new() });
        let from = Some("model.ckpt-30.safetensors".to_owned());
        let restored = Restored { snapshot: Arc::clone(&snapshot), from: from.clone() };
        let read = Input::Stored(StorageEvent::Restored(Ok(restored)));
        let seen = recorder.turn(at(0), &read, &[adopted(A, 30, Some(from))]);
        assert_eq!(seen, [Observation::Began { step: Step(30), restored: Some(snapshot) }]);
        assert_eq!(acts(&mut recorder, at(0), &[compute(A, 30)]), [], "once");
    }

    #[test]
    fn last_update_and_every_checkpoint_are_reported_even_if_no_summary_is_due() {
        let mut recorder = recorder();
        step(&mut recorder, at(0), A, 600);
        let losses = vec![(Slot(0), 0.5), (Slot(1), 0.25)];
        let last = Observation::LastUpdate { step: Step(999), losses, steps_per_sec: Some(133.0) };
        assert_eq!(step(&mut recorder, at(3), A, 999), [last]);
        for (step, is_last) in [(999, false), (1000, true)] {
            let snapshot = Arc::new(Snapshot {
                cut: Cut { generation: A, step: Step(step) },
                shards: Vec::new(),
            });
            let seen = acts(&mut recorder, at(3), &[Effect::Persist(Arc::clone(&snapshot))]);
            assert_eq!(seen, [Observation::Checkpoint { snapshot, is_last }]);
        }
    }

    #[test]
    fn generation_after_the_last_step_is_not_reported() {
        assert_eq!(recorder().turn(at(0), &Input::Wake, &[adopted(A, 1000, None)]), []);
    }

    #[test]
    fn last_step_is_reported_only_once() {
        assert_eq!(step(&mut recorder(), at(0), A, 999), [began(999), summary(999, None)]);
    }
}
