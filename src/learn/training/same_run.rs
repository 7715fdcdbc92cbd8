//! Compares a checkpoint with the run that is about to continue from it.
//!
//! All states in a logdir must be of one configuration, unless the user allows changed settings.

use std::collections::BTreeSet;

use super::files::Names;
use super::plan::Plan;
use unisono_core::protocol::{Difference, Settings};
use unisono_files::checkpoint::{Checkpoint, Shapes};

/// Name of the setting for the number of validation examples.
const VALIDATION_SIZE: &str = "validation_size";

/// The settings that a checkpoint does not record, because they change no bit of its tensors. The
/// number of workers is recorded if R < N.
pub const UNRECORDED: [&str; 3] = ["ps", "placement", "workers"];

impl Plan {
    /// Returns the settings that a checkpoint of this run records. These settings determine the
    /// checkpoint's tensors.
    ///
    /// Settings that change no bit are left out: the number of ps, the placement and, with R >= N,
    /// the number of workers. Therefore, if the tensors of two checkpoints are equal, their files
    /// are equal, too. The validation size is always recorded as a number, because the default and
    /// its number select the same examples.
    pub(crate) fn checkpoint_settings(&self) -> Settings {
        let has_no_effect = |key: &&str| *key != "workers" || self.sync.is_determined();
        let left_out = UNRECORDED.into_iter().filter(has_no_effect);
        let left_out: Vec<_> = left_out.chain([VALIDATION_SIZE]).collect();
        let settings = self.settings.without(&left_out);
        settings.with(VALIDATION_SIZE, self.data.validation.len())
    }

    /// Checks that this run can continue from a checkpoint, regardless of changed settings.
    ///
    /// # Errors
    /// If the checkpoint's step is beyond the run's last step, or if a tensor does not fit the
    /// model. The error text names the first mismatch and a remedy.
    pub(crate) fn check_fits(&self, checkpoint: &Checkpoint) -> Result<(), String> {
        let (step, training_steps) = (checkpoint.step, self.train.training_steps);
        if step.0 > training_steps {
            return Err(format!(
                "it is of step {step}, but --training-steps is {training_steps}: give {step} or more, \
                 or --fresh or another --logdir to begin a new run"
            ));
        }
        let shapes = Names::new(&self.layout, &self.rule).shapes();
        match mismatch(&checkpoint.shapes(), &shapes) {
            None => Ok(()),
            Some(why) => Err(format!(
                "{why}: train the model of the checkpoint, or give --fresh or another --logdir"
            )),
        }
    }

    /// Describes what changed since the checkpoint was written, with the old and the new value of
    /// each change.
    ///
    /// Returns `None` if the training continues, bit for bit, as if it had not been interrupted.
    /// Different numbers of training steps or of ps, and a different placement, do not count as
    /// changes. With R >= N, a different number of workers does not count either.
    pub(crate) fn changes_since(&self, checkpoint: &Checkpoint) -> Option<String> {
        let (ours, theirs) = (self.data.digest(), checkpoint.data.as_deref());
        let mut changes = self.changed_settings(&checkpoint.settings, theirs == Some(ours));
        if let Some(theirs) = theirs.filter(|theirs| *theirs != ours) {
            changes.push(format!("on data with digest {theirs} (this run: {ours})"));
        }
        (!changes.is_empty()).then(|| format!("it was trained {}", changes.join(", ")))
    }

    fn changed_settings(&self, theirs: &Settings, is_same_data: bool) -> Vec<String> {
        // Checkpoints of version 0.1.0 also record the settings that `checkpoint_settings` leaves
        // out. The run's values of these settings are added, so that they can be compared.
        let ours = self.checkpoint_settings().or(&self.settings);
        let replicas = theirs.value("replicas_to_aggregate").unwrap_or_default();
        let were_workers = theirs.value("workers").map(str::to_owned);
        // A checkpoint without the setting `workers` is of a run with R >= N, because such runs
        // leave that setting out.
        let was_determined = were_workers.as_ref().is_none_or(|workers| {
            let numbers = workers.parse::<u32>().ok().zip(replicas.parse().ok());
            numbers.is_some_and(|(workers, replicas)| workers <= replicas)
        });
        let is_determined = self.sync.is_determined();
        let moves_bits = |difference: &Difference<'_>| match difference.key {
            "training_steps" | "ps" | "placement" => false,
            // The word `default` and the default's number select the same examples.
            VALIDATION_SIZE => {
                !is_same_data && self.settings.value(VALIDATION_SIZE) != Some(difference.theirs)
            }
            // With R >= N, every slot is used, and it does not matter which worker computes a slot.
            // With R < N, timing chooses R of N slots.
            "workers" => !(is_determined && was_determined),
            _ => true,
        };
        let described = |Difference { key, ours, theirs }: Difference<'_>| match key {
            // The checkpoint does not record the number of workers. This number was at most R,
            // because the run had R >= N.
            "workers" if were_workers.is_none() => {
                format!("with at most {replicas} workers (this run: {ours})")
            }
            _ => format!("with {key} = {theirs} (this run: {ours})"),
        };
        ours.differences(theirs).filter(moves_bits).map(described).collect()
    }
}

/// Finds the first tensor, in the order of the names, that differs between a checkpoint and the
/// model. Returns a description of the difference, or `None` if all tensors match.
fn mismatch(saved: &Shapes, expected: &Shapes) -> Option<String> {
    let names: BTreeSet<&String> = saved.keys().chain(expected.keys()).collect();
    names.into_iter().find_map(|name| match (saved.get(name), expected.get(name)) {
        (Some(saved), Some(expected)) if saved == expected => None,
        (Some(saved), Some(expected)) => Some(format!(
            "tensor {name} has shape {saved:?} in the checkpoint but {expected:?} in this model"
        )),
        (Some(saved), None) => Some(format!(
            "tensor {name} of shape {saved:?} is in the checkpoint but not in this model"
        )),
        (None, expected) => {
            let expected = expected.map(Vec::as_slice).unwrap_or_default();
            Some(format!(
                "tensor {name} of shape {expected:?} is in this model but not in the checkpoint"
            ))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;
    use crate::model::SimdLevel;
    use unisono_config::RunConfig;
    use unisono_core::ids::Step;
    use unisono_core::train_config::{Optimizer, Placement, Sync};
    use unisono_files::checkpoint::Tensor;

    fn run() -> RunConfig {
        let mut run = RunConfig::default();
        run.train.hidden = vec![4];
        run.sync = Sync { replicas_to_aggregate: 4, total_num_replicas: 4 };
        run
    }

    fn plan(run: &RunConfig) -> Plan {
        let data = Dataset::open(None, run.validation_size);
        Plan::new(run, data.expect("the built-in digits"), SimdLevel::detect()).expect("a plan")
    }

    fn checkpoint(run: &RunConfig) -> Checkpoint {
        let plan = plan(run);
        let files = plan.files("logdir".as_ref(), None).expect("no file is read");
        (files.to_checkpoint)(&files.initial)
    }

    /// Returns a checkpoint in the form of version 0.1.0, with all settings that tasks compare.
    fn checkpoint_of_0_1(run: &RunConfig) -> Checkpoint {
        Checkpoint { settings: run.settings(), ..checkpoint(run) }
    }

    /// Returns the reported changes between `checkpoint` and a run. The closure `change` modifies
    /// the configuration of the run.
    fn changes(checkpoint: &Checkpoint, change: impl Fn(&mut RunConfig)) -> Option<String> {
        let mut now = run();
        change(&mut now);
        plan(&now).changes_since(checkpoint)
    }

    #[test]
    fn settings_that_change_no_bit_may_differ() {
        let was = checkpoint(&run());
        assert_eq!(changes(&was, |_| ()), None);
        assert_eq!(changes(&was, |run| run.train.training_steps = 20_000), None);
        assert_eq!(changes(&was, |run| run.n_ps = 1), None);
        assert_eq!(changes(&was, |run| run.placement = Placement::RoundRobin), None);
        assert_eq!(changes(&was, |run| run.sync.total_num_replicas = 1), None);
        assert_eq!(
            changes(&was, |run| run.validation_size = Some(1000.into())),
            None,
            "the default"
        );
        let without_data = Checkpoint { data: None, ..was };
        assert_eq!(changes(&without_data, |_| ()), None, "a checkpoint without a digest");
        for old in
            [checkpoint_of_0_1(&run()), Checkpoint { data: None, ..checkpoint_of_0_1(&run()) }]
        {
            assert_eq!(changes(&old, |_| ()), None, "a checkpoint that records the layout");
            assert_eq!(changes(&old, |run| run.n_ps = 1), None);
            assert_eq!(changes(&old, |run| run.sync.total_num_replicas = 1), None);
        }
    }

    /// A checkpoint must not record the layout, so that a cluster of any layout writes the same
    /// bytes as the serial reference.
    #[test]
    fn checkpoint_of_a_determined_run_records_neither_layout_nor_workers() {
        let was = checkpoint(&run());
        let mut other = run();
        other.n_ps = 3;
        other.placement = Placement::RoundRobin;
        other.sync.total_num_replicas = 2;
        other.validation_size = Some(1000.into());
        assert_eq!(checkpoint(&other).settings, was.settings);
        assert_eq!(was.settings.value("validation_size"), Some("1000"));

        other.sync.total_num_replicas = 5;
        assert_eq!(
            checkpoint(&other).settings.value("workers"),
            Some("5"),
            "with R < N, the number of workers affects the result"
        );
    }

    #[test]
    fn settings_that_change_a_bit_are_reported_with_both_values() {
        let was = checkpoint(&run());
        let reported = |change: &dyn Fn(&mut RunConfig)| {
            let reported = changes(&was, change).expect("the settings differ");
            reported.strip_prefix("it was trained with ").expect("a setting").to_owned()
        };
        assert_eq!(
            reported(&|run| {
                run.train.batch_size = 50;
                run.train.seed = 7;
            }),
            "batch_size = 100 (this run: 50), with seed = 1 (this run: 7)"
        );
        assert_eq!(reported(&|run| run.train.hidden = vec![5]), "hidden = 4 (this run: 5)");
        let momentum = Optimizer::Momentum { momentum: 0.9, nesterov: false };
        assert_eq!(
            reported(&|run| run.train.optimizer = momentum),
            "optimizer = sgd (this run: momentum), with momentum = (absent) (this run: 0.9), with \
             nesterov = (absent) (this run: false)"
        );
        let other = changes(&Checkpoint { data: Some("d1".to_owned()), ..was.clone() }, |_| ());
        let other = other.expect("the data differ");
        assert!(other.starts_with("it was trained on data with digest d1 (this run: "), "{other}");
    }

    /// With R < N, each worker has one slot, and timing decides which R of these slots an update
    /// uses.
    #[test]
    fn number_of_workers_is_compared_only_where_it_affects_the_updates() {
        let was = checkpoint(&run());
        let reported = |checkpoint: &Checkpoint, replicas_to_aggregate, total_num_replicas| {
            let sync = Sync { replicas_to_aggregate, total_num_replicas };
            changes(checkpoint, |run| run.sync = sync).expect("the settings differ")
        };
        assert_eq!(reported(&was, 4, 5), "it was trained with at most 4 workers (this run: 5)");
        let old = checkpoint_of_0_1(&run());
        assert_eq!(reported(&old, 4, 5), "it was trained with workers = 4 (this run: 5)");
        assert_eq!(
            reported(&was, 5, 5),
            "it was trained with replicas_to_aggregate = 4 (this run: 5)"
        );
        let mut with_backup = run();
        with_backup.sync.total_num_replicas = 5;
        let was = checkpoint(&with_backup);
        assert_eq!(reported(&was, 4, 4), "it was trained with workers = 5 (this run: 4)");
    }

    #[test]
    fn checkpoint_beyond_the_last_step_or_with_other_tensors_does_not_fit() {
        let mut was = checkpoint(&run());
        was.step = Step(300);
        let why = |checkpoint: &Checkpoint, training_steps| {
            let mut now = run();
            now.train.training_steps = training_steps;
            plan(&now).check_fits(checkpoint).err()
        };
        assert_eq!(why(&was, 300), None);
        insta::assert_snapshot!(why(&was, 299).unwrap(), @"it is of step 300, but --training-steps is 299: give 300 or more, or --fresh or another --logdir to begin a new run");

        let with = |change: &dyn Fn(&mut Checkpoint)| {
            let mut other = was.clone();
            change(&mut other);
            why(&other, 300).expect("the tensors differ")
        };
        let tensor = |n| Tensor::new(vec![n], vec![0.0; n].into());
        insta::assert_snapshot!(with(&|other| { other.tensors.insert("layer1/biases".to_owned(), tensor(3)); }), @"tensor layer1/biases has shape [3] in the checkpoint but [4] in this model: train the model of the checkpoint, or give --fresh or another --logdir");
        insta::assert_snapshot!(with(&|other| { other.tensors.insert("a".to_owned(), tensor(3)); }), @"tensor a of shape [3] is in the checkpoint but not in this model: train the model of the checkpoint, or give --fresh or another --logdir");
        insta::assert_snapshot!(with(&|other| { other.tensors.remove("layer1/biases"); }), @"tensor layer1/biases of shape [4] is in this model but not in the checkpoint: train the model of the checkpoint, or give --fresh or another --logdir");
    }
}
