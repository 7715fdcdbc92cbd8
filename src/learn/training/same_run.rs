//! What a checkpoint is to a run that would go on from it: a logdir holds the trajectory of one
//! configuration, unless the user wants it otherwise.

use std::collections::BTreeSet;

use super::files::Names;
use super::plan::Plan;
use unisono_core::ids::Step;
use unisono_core::protocol::{Difference, Settings};
use unisono_files::checkpoint::{Checkpoint, Shapes};

/// The setting of the number of validation examples.
const VALIDATION_SIZE: &str = "validation_size";

/// Why a run cannot go on from a checkpoint at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// The run ends before it.
    #[error(
        "it is of step {step}, and --training-steps is {training_steps}: give {step} or more, or \
         --fresh or another --logdir to begin a new run"
    )]
    Behind {
        /// Step of the checkpoint.
        step: Step,
        /// Updates of the run.
        training_steps: u64,
    },
    /// The tensors are those of another model.
    #[error("{0}: train the model it was made with, or give --fresh or another --logdir")]
    Tensors(String),
}

impl Plan {
    /// The settings that a checkpoint of this run names: those that its tensors are a function of.
    ///
    /// The layout over the ps moves no bit, and neither does the number of workers with R >= N, so
    /// that a checkpoint which named them would differ in its bytes alone. The validation size is a
    /// number even if it is the data's own: `default` and that number are the same examples.
    #[must_use]
    pub fn checkpoint_settings(&self) -> Settings {
        let mut left_out = vec!["ps", "placement", VALIDATION_SIZE];
        if self.sync.is_determined() {
            left_out.push("workers");
        }
        let settings = self.settings.without(&left_out);
        settings.with(VALIDATION_SIZE, self.data.validation.len())
    }

    /// Whether a run can go on from a checkpoint.
    ///
    /// # Errors
    /// Why not.
    pub fn check_fits(&self, checkpoint: &Checkpoint) -> Result<(), Misfit> {
        let (step, training_steps) = (checkpoint.step, self.train.training_steps);
        if step.0 > training_steps {
            return Err(Misfit::Behind { step, training_steps });
        }
        let shapes = Names::new(&self.layout, &self.rule).shapes();
        mismatch(&checkpoint.shapes(), &shapes).map_or(Ok(()), |why| Err(Misfit::Tensors(why)))
    }

    /// What is another than in the run that wrote a checkpoint, with both values, so that what
    /// follows is not what would have followed there; `None` if it is the same, to the bit. How
    /// long the run is, and how it is laid over tasks, moves no bit.
    #[must_use]
    pub fn changes_since(&self, checkpoint: &Checkpoint) -> Option<String> {
        let (ours, theirs) = (self.data.digest(), checkpoint.data.as_deref());
        let mut changes = self.changed_settings(&checkpoint.settings, theirs == Some(ours));
        if let Some(theirs) = theirs.filter(|theirs| *theirs != ours) {
            changes.push(format!("on data with the digest {theirs}, and not {ours}"));
        }
        (!changes.is_empty()).then(|| format!("it was trained {}", changes.join("; ")))
    }

    fn changed_settings(&self, theirs: &Settings, is_same_data: bool) -> Vec<String> {
        // Files of earlier versions also name what `checkpoint_settings` leaves out.
        let ours = self.checkpoint_settings().or(&self.settings);
        let replicas = theirs.value("replicas_to_aggregate").unwrap_or_default();
        let were_workers = theirs.value("workers").map(str::to_owned);
        let was_determined = were_workers.as_ref().is_none_or(|workers| {
            let numbers = workers.parse::<u32>().ok().zip(replicas.parse().ok());
            numbers.is_some_and(|(workers, replicas)| workers <= replicas)
        });
        let is_determined = self.sync.is_determined();
        let moves_bits = |difference: &Difference<'_>| match difference.key {
            "training_steps" | "ps" | "placement" => false,
            // With the same examples it does not matter how one says where they begin.
            VALIDATION_SIZE => {
                !is_same_data && self.settings.value(VALIDATION_SIZE) != Some(difference.theirs)
            }
            // With R >= N the worker that computes a slot has no influence on the slot's gradient.
            "workers" => !(is_determined && was_determined),
            _ => true,
        };
        let described = |Difference { key, ours, theirs }: Difference<'_>| match key {
            "workers" if were_workers.is_none() => {
                format!("with at most {replicas} workers, and not {ours}")
            }
            _ => format!("with {key} = {theirs}, and not {ours}"),
        };
        ours.differences(theirs).filter(moves_bits).map(described).collect()
    }
}

/// The first way in which a checkpoint's tensors are not those that a model expects.
fn mismatch(saved: &Shapes, expected: &Shapes) -> Option<String> {
    let names: BTreeSet<&String> = saved.keys().chain(expected.keys()).collect();
    names.into_iter().find_map(|name| match (saved.get(name), expected.get(name)) {
        (Some(saved), Some(expected)) if saved == expected => None,
        (Some(saved), Some(expected)) => {
            Some(format!("tensor {name} has shape {saved:?} in it, and {expected:?} in this model"))
        }
        (Some(saved), None) => {
            Some(format!("tensor {name} of shape {saved:?} is in it, and not in this model"))
        }
        (None, expected) => {
            let expected = expected.map(Vec::as_slice).unwrap_or_default();
            Some(format!("tensor {name} of shape {expected:?} is in this model, and not in it"))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Dataset, Source};
    use crate::model::SimdLevel;
    use unisono_config::RunConfig;
    use unisono_core::train_config::{Optimizer, Placement, Sync};
    use unisono_files::checkpoint::Tensor;

    fn run() -> RunConfig {
        let mut run = RunConfig::default();
        run.train.hidden = vec![4];
        run.sync = Sync { replicas_to_aggregate: 4, total_num_replicas: 4 };
        run
    }

    fn plan(run: &RunConfig) -> Plan {
        let data = Dataset::open(&Source::Embedded, run.validation_size);
        Plan::new(run, data.expect("the built-in digits"), SimdLevel::detect()).expect("a plan")
    }

    fn checkpoint(run: &RunConfig) -> Checkpoint {
        let plan = plan(run);
        let files = plan.files("logdir".as_ref(), None).expect("no file is read");
        (files.to_checkpoint)(&files.initial)
    }

    /// A checkpoint as version 0.1.0 wrote it, with all settings that tasks compare.
    fn checkpoint_of_0_1(run: &RunConfig) -> Checkpoint {
        Checkpoint { settings: run.settings(), ..checkpoint(run) }
    }

    /// What the run that `change` makes has another than the one of `checkpoint`.
    fn changes(checkpoint: &Checkpoint, change: impl Fn(&mut RunConfig)) -> Option<String> {
        let mut now = run();
        change(&mut now);
        plan(&now).changes_since(checkpoint)
    }

    #[test]
    fn what_moves_no_bit_may_be_another() {
        let was = checkpoint(&run());
        assert_eq!(changes(&was, |_| ()), None);
        assert_eq!(changes(&was, |run| run.train.training_steps = 20_000), None);
        assert_eq!(changes(&was, |run| run.n_ps = 1), None);
        assert_eq!(changes(&was, |run| run.placement = Placement::RoundRobin), None);
        assert_eq!(changes(&was, |run| run.sync.total_num_replicas = 1), None);
        assert_eq!(changes(&was, |run| run.validation_size = Some(1000)), None, "its own split");
        let without_data = Checkpoint { data: None, ..was };
        assert_eq!(changes(&without_data, |_| ()), None, "a file of a program without the digest");
        for old in
            [checkpoint_of_0_1(&run()), Checkpoint { data: None, ..checkpoint_of_0_1(&run()) }]
        {
            assert_eq!(changes(&old, |_| ()), None, "a file that names the layout");
            assert_eq!(changes(&old, |run| run.n_ps = 1), None);
            assert_eq!(changes(&old, |run| run.sync.total_num_replicas = 1), None);
        }
    }

    /// The bytes of a checkpoint are those of a checkpoint of the reference, whatever the layout.
    #[test]
    fn checkpoint_of_a_determined_run_names_neither_its_layout_nor_its_workers() {
        let was = checkpoint(&run());
        let mut other = run();
        other.n_ps = 3;
        other.placement = Placement::RoundRobin;
        other.sync.total_num_replicas = 2;
        other.validation_size = Some(1000);
        assert_eq!(checkpoint(&other).settings, was.settings);
        assert_eq!(was.settings.value("validation_size"), Some("1000"));

        other.sync.total_num_replicas = 5;
        assert_eq!(
            checkpoint(&other).settings.value("workers"),
            Some("5"),
            "with R < N they count"
        );
    }

    #[test]
    fn what_moves_a_bit_is_told_with_both_values() {
        let was = checkpoint(&run());
        let told = |change: &dyn Fn(&mut RunConfig)| {
            let told = changes(&was, change).expect("it is another run");
            told.strip_prefix("it was trained with ").expect("a setting").to_owned()
        };
        assert_eq!(
            told(&|run| {
                run.train.batch_size = 50;
                run.train.seed = 7;
            }),
            "batch_size = 100, and not 50; with seed = 1, and not 7"
        );
        assert_eq!(told(&|run| run.train.hidden = vec![5]), "hidden = 4, and not 5");
        let momentum = Optimizer::Momentum { momentum: 0.9, nesterov: false };
        assert_eq!(
            told(&|run| run.train.optimizer = momentum),
            "optimizer = sgd, and not momentum; with momentum = (absent), and not 0.9; with nesterov \
             = (absent), and not false"
        );
        let other = changes(&Checkpoint { data: Some("d1".to_owned()), ..was.clone() }, |_| ());
        let other = other.expect("other data");
        assert!(
            other.starts_with("it was trained on data with the digest d1, and not "),
            "{other}"
        );
    }

    /// With R < N the number of workers is that of the slots, and timing chooses of them.
    #[test]
    fn the_number_of_workers_counts_where_it_changes_what_an_update_is_made_of() {
        let was = checkpoint(&run());
        let told = |checkpoint: &Checkpoint, replicas_to_aggregate, total_num_replicas| {
            let sync = Sync { replicas_to_aggregate, total_num_replicas };
            changes(checkpoint, |run| run.sync = sync).expect("it is another run")
        };
        assert_eq!(told(&was, 4, 5), "it was trained with at most 4 workers, and not 5");
        let old = checkpoint_of_0_1(&run());
        assert_eq!(told(&old, 4, 5), "it was trained with workers = 4, and not 5");
        assert_eq!(told(&was, 5, 5), "it was trained with replicas_to_aggregate = 4, and not 5");
        let mut with_backup = run();
        with_backup.sync.total_num_replicas = 5;
        let was = checkpoint(&with_backup);
        assert_eq!(told(&was, 4, 4), "it was trained with workers = 5, and not 4");
    }

    #[test]
    fn a_checkpoint_behind_the_last_step_or_of_another_model_does_not_fit() {
        let mut was = checkpoint(&run());
        was.step = Step(300);
        let why = |checkpoint: &Checkpoint, training_steps| {
            let mut now = run();
            now.train.training_steps = training_steps;
            plan(&now).check_fits(checkpoint).err().map(|why| why.to_string())
        };
        assert_eq!(why(&was, 300), None);
        insta::assert_snapshot!(why(&was, 299).unwrap(), @"it is of step 300, and --training-steps is 299: give 300 or more, or --fresh or another --logdir to begin a new run");

        let with = |change: &dyn Fn(&mut Checkpoint)| {
            let mut other = was.clone();
            change(&mut other);
            why(&other, 300).expect("another model")
        };
        let tensor = |n| Tensor::new(vec![n], vec![0.0; n].into());
        insta::assert_snapshot!(with(&|other| { other.tensors.insert("layer1/biases".to_owned(), tensor(3)); }), @"tensor layer1/biases has shape [3] in it, and [4] in this model: train the model it was made with, or give --fresh or another --logdir");
        insta::assert_snapshot!(with(&|other| { other.tensors.insert("a".to_owned(), tensor(3)); }), @"tensor a of shape [3] is in it, and not in this model: train the model it was made with, or give --fresh or another --logdir");
        insta::assert_snapshot!(with(&|other| { other.tensors.remove("layer1/biases"); }), @"tensor layer1/biases of shape [4] is in this model, and not in it: train the model it was made with, or give --fresh or another --logdir");
    }
}
