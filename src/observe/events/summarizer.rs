//! Turns observations into events: norms of tensors, histograms, the accuracy of a checkpoint.
//!
//! This computation is expensive, so the summarizer is meant to run on its own thread. The
//! summarizer reads tensors in place, one chunk at a time.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use super::event::{Content, Event, Payload, Value};
use super::histogram::Histogram;
use super::recorder::{Observation, StepSummary};
use unisono_core::floats::Floats;
use unisono_core::ids::{Slot, Step};
use unisono_core::protocol::{ShardState, Snapshot};
use unisono_learn::data::Dataset;
use unisono_learn::model::{Layout, Model, Parameters, UpdateRule, accuracy};
use unisono_learn::training::Plan;

/// Tag of the validation accuracy.
pub const VALIDATION_ACCURACY: &str = "accuracy/validation";
/// Tag of the curve of steps per second since the previous summary.
pub const STEPS_PER_SEC: &str = "global_step/sec";
/// Tag of the text with all settings.
pub(super) const CONFIGURATION: &str = "configuration";

/// Number of floats that are processed at a time. They fit into the L1 cache.
const CHUNK: usize = 4096;

/// Turns the observations of a run into events.
pub struct Summarizer {
    data: Arc<Dataset>,
    layout: Arc<Layout>,
    rule: UpdateRule,
    has_averages: bool,
    model: Box<dyn Model>,
    /// Steps whose accuracy was reported, without the steps that a rollback has voided. A summary
    /// and a checkpoint may have the same version, but a curve has only one point for each step.
    evaluated: BTreeSet<Step>,
    configuration: String,
}

unisono_core::partial_debug!(Summarizer { layout });

impl Summarizer {
    /// Creates a summarizer for a run.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        Self {
            data: Arc::clone(&plan.data),
            layout: Arc::clone(&plan.layout),
            rule: plan.rule.clone(),
            has_averages: plan.train.moving_average_decay.is_some(),
            model: plan.model(),
            evaluated: BTreeSet::new(),
            configuration: configuration(plan),
        }
    }

    /// Returns the events of an observation. `wall_time` is in seconds since 1970.
    pub fn events(&mut self, wall_time: f64, observation: Observation) -> Vec<Event> {
        let event = |step, what| Event { wall_time, step, what };
        let summary = |step, values| event(step, Payload::Summary(values));
        match observation {
            Observation::Began { step, restored } => {
                // Accuracies of this step and of later steps are void now, and may be reported
                // again.
                drop(self.evaluated.split_off(&step));
                let mut values = vec![self.configuration()];
                values.extend(restored.and_then(|snapshot| self.validation_accuracy(&snapshot)));
                vec![event(step, Payload::SessionStart), summary(step, values)]
            }
            Observation::Summary(of) => vec![summary(of.step, self.step_values(&of))],
            Observation::Checkpoint { snapshot, is_last } => {
                let mut values: Vec<_> = self.validation_accuracy(&snapshot).into_iter().collect();
                if is_last {
                    values.extend(self.histograms(&parameters(&snapshot)));
                }
                vec![summary(snapshot.cut.step, values)]
            }
            Observation::LastUpdate { step, losses, steps_per_sec } => {
                vec![summary(step, self.update_values(step, &losses, steps_per_sec))]
            }
        }
    }

    fn configuration(&self) -> Value {
        Value { tag: CONFIGURATION.to_owned(), content: Content::Text(self.configuration.clone()) }
    }

    fn step_values(&mut self, of: &StepSummary) -> Vec<Value> {
        let mut values = self.update_values(of.step, &of.losses, of.steps_per_sec);
        values.push(scalar("gradient_norm", norm(&of.gradient)));
        values.extend(self.histograms(&of.parameters));
        // With moving averages, the accuracy is left out. Checkpoints are evaluated with the
        // averages, which a summary does not contain, and one curve must not mix two models.
        if !self.has_averages {
            values.extend(self.accuracy(of.step, &of.parameters));
        }
        values
    }

    fn update_values(
        &self,
        step: Step,
        losses: &[(Slot, f32)],
        steps_per_sec: Option<f64>,
    ) -> Vec<Value> {
        let losses = || losses.iter().map(|(_, loss)| f64::from(*loss));
        let mean = losses().sum::<f64>() / losses().len() as f64;
        let mut values = vec![
            scalar("loss/mean", mean),
            scalar("loss/min", losses().fold(f64::INFINITY, f64::min)),
            scalar("loss/max", losses().fold(f64::NEG_INFINITY, f64::max)),
            scalar("learning_rate", self.rule.learning_rate(step).into()),
        ];
        values.extend(steps_per_sec.map(|rate| scalar(STEPS_PER_SEC, rate)));
        values
    }

    /// Returns a histogram of every variable, except of variables that contain infinity or NaN.
    fn histograms(&self, shards: &[Floats]) -> Vec<Value> {
        let variables = self.layout.variables();
        let mut histograms = vec![Histogram::default(); variables.len()];
        for (ps, shard) in shards.iter().enumerate() {
            let mut start = 0;
            for piece in self.layout.pieces(ps) {
                let histogram = &mut histograms[piece.variable];
                for_each_chunk(shard, start..start + piece.len, |values| histogram.add(values));
                start += piece.len;
            }
        }
        let named = variables.iter().zip(histograms).filter(|(_, histogram)| histogram.is_finite);
        let value = |(variable, histogram): (&unisono_learn::model::Variable, Histogram)| Value {
            tag: variable.name.clone(),
            content: Content::Histogram(histogram),
        };
        named.map(value).collect()
    }

    /// Returns the validation accuracy of a checkpoint, with the moving averages if the run has
    /// them. Returns `None` if the accuracy of this step was already reported, or there are no
    /// validation examples.
    fn validation_accuracy(&mut self, snapshot: &Snapshot) -> Option<Value> {
        // The moving average is the last auxiliary buffer of a shard.
        let average = |shard: &ShardState| shard.auxiliary.last().cloned();
        let averages: Option<Vec<_>> = snapshot.shards.iter().map(average).collect();
        let averages = averages.filter(|_| self.has_averages);
        self.accuracy(snapshot.cut.step, &averages.unwrap_or_else(|| parameters(snapshot)))
    }

    fn accuracy(&mut self, step: Step, shards: &[Floats]) -> Option<Value> {
        let examples = &self.data.validation;
        if examples.is_empty() || !self.evaluated.insert(step) {
            return None;
        }
        let parameters = Parameters::new(&self.layout, shards);
        Some(scalar(VALIDATION_ACCURACY, accuracy(&mut *self.model, parameters, examples)))
    }
}

fn parameters(snapshot: &Snapshot) -> Vec<Floats> {
    snapshot.shards.iter().map(|shard| shard.parameters.clone()).collect()
}

fn scalar(tag: &str, value: f64) -> Value {
    Value { tag: tag.to_owned(), content: Content::Scalar(value as f32) }
}

/// Returns the Euclidean norm of all shards. The squares are added shard by shard.
fn norm(shards: &[Floats]) -> f64 {
    let mut sum = 0.0;
    for shard in shards {
        for_each_chunk(shard, 0..shard.len(), |values| {
            sum += values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
        });
    }
    sum.sqrt()
}

/// Calls `look` with each chunk of a range of floats. The range is not copied as a whole, because
/// the floats may be in the memory of another process.
fn for_each_chunk(floats: &Floats, range: std::ops::Range<usize>, mut look: impl FnMut(&[f32])) {
    let mut room = [0.0; CHUNK];
    for start in range.clone().step_by(CHUNK) {
        look(floats.chunk(start..range.end.min(start + CHUNK), &mut room));
    }
}

/// Returns all settings that affect the trajectory, the version of the program, and the digest of
/// the training data, as a Markdown table.
fn configuration(plan: &Plan) -> String {
    let mut text = String::from("| setting | value |\n|---|---|\n");
    let about = [("unisono", env!("CARGO_PKG_VERSION")), ("training_data", plan.data.digest())];
    for (key, value) in plan.settings.iter().chain(about) {
        let _infallible = writeln!(text, "| {key} | {value} |");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use unisono_config::RunConfig;
    use unisono_learn::data::Dataset;
    use unisono_learn::model::SimdLevel;

    fn plan(moving_average_decay: Option<f64>) -> Plan {
        let mut run = RunConfig::default();
        run.train.hidden = vec![4];
        run.train.moving_average_decay = moving_average_decay;
        Plan::new(&run, Dataset::embedded(), SimdLevel::detect()).expect("a plan")
    }

    fn summary_of(snapshot: &Snapshot) -> Observation {
        let parameters = parameters(snapshot);
        let (step, losses) = (snapshot.cut.step, vec![(Slot(0), 2.5)]);
        let gradient = parameters.clone();
        let steps_per_sec = None;
        Observation::Summary(StepSummary { step, losses, gradient, parameters, steps_per_sec })
    }

    fn accuracies(events: &[Event]) -> Vec<(u64, f32)> {
        let mut found = Vec::new();
        for event in events {
            let Payload::Summary(values) = &event.what else { continue };
            for value in values.iter().filter(|value| value.tag == VALIDATION_ACCURACY) {
                let Content::Scalar(accuracy) = value.content else { panic!("{value:?}") };
                found.push((event.step.0, accuracy));
            }
        }
        found
    }

    #[test]
    fn each_version_is_evaluated_once_in_a_session() {
        let plan = plan(None);
        let snapshot = Arc::new(plan.initial(None).expect("initial values"));
        // An untrained model classifies about one of ten digits correctly.
        let mut summarizer = Summarizer::new(&plan);
        let told = accuracies(&summarizer.events(1.0, summary_of(&snapshot)));
        let [(0, accuracy)] = told[..] else { panic!("{told:?}") };
        assert!((0.02..0.3).contains(&accuracy), "{accuracy}");
        let checkpoint = || Observation::Checkpoint { snapshot: snapshot.clone(), is_last: false };
        assert_eq!(accuracies(&summarizer.events(2.0, checkpoint())), [], "it was told");

        let restored = Some(snapshot.clone());
        let began = Observation::Began { step: Step(0), restored };
        assert_eq!(accuracies(&summarizer.events(3.0, began)), [(0, accuracy)]);
        assert_eq!(accuracies(&summarizer.events(4.0, summary_of(&snapshot))), []);
    }

    #[test]
    fn only_checkpoints_are_evaluated_with_moving_averages() {
        let plan = plan(Some(0.99));
        let snapshot = Arc::new(plan.initial(None).expect("initial values"));
        let mut summarizer = Summarizer::new(&plan);
        assert_eq!(accuracies(&summarizer.events(1.0, summary_of(&snapshot))), []);
        let checkpoint = Observation::Checkpoint { snapshot, is_last: false };
        assert_eq!(accuracies(&summarizer.events(2.0, checkpoint)).len(), 1);
    }
}
