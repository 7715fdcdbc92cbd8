//! Test helpers: a disk on which chosen operations fail, and small snapshots, checkpoints and
//! losses.

use std::path::PathBuf;
use std::sync::Arc;

use unisono_core::ids::{Cut, Generation, Slot, Step};
use unisono_core::protocol::{Settings, ShardState, Snapshot, UpdateRecord};

use crate::checkpoint::{Checkpoint, SavedVariable, Saver, Tensor};
pub use crate::disk::test_disk::{Bug, Fault, TestDisk};
use crate::run_files::{RunFilesConfig, Taken};

/// Returns a snapshot of one shard with two parameters.
pub fn snapshot(step: u64) -> Snapshot {
    let parameters = vec![step as f32, 0.5].into();
    let shards = vec![ShardState { parameters, ..ShardState::default() }];
    Snapshot { cut: Cut { generation: Generation::default(), step: Step(step) }, shards }
}

/// Returns the configuration of a run whose states are [`snapshot`]s.
pub fn config(logdir: PathBuf) -> RunFilesConfig {
    RunFilesConfig {
        logdir,
        max_to_keep: Saver::MAX_TO_KEEP,
        initial: Arc::new(snapshot(0)),
        is_determined: true,
        allows_changes: false,
        allows_missing_losses: false,
        n_losses: 2,
        find_losses: Box::new(|_| Err("there is no ledger".to_owned())),
        to_checkpoint: Box::new(|snapshot| Checkpoint {
            step: snapshot.cut.step,
            settings: Settings::default(),
            data: None,
            variables: Vec::new(),
            tensors: snapshot
                .shards
                .iter()
                .map(|shard| ("w".to_owned(), Tensor::new(vec![2], shard.parameters.clone())))
                .collect(),
        }),
        from_checkpoint: Box::new(|checkpoint| {
            let parameters = checkpoint.tensors["w"].values().clone();
            let shards = vec![ShardState { parameters, ..ShardState::default() }];
            let (generation, step) = (Generation::default(), checkpoint.step);
            Ok(Taken {
                snapshot: Snapshot { cut: Cut { generation, step }, shards },
                changes: None,
            })
        }),
    }
}

/// Returns the losses of an update with two slots.
pub fn update(step: u64) -> UpdateRecord {
    let losses = vec![(Slot(0), 0.5), (Slot(1), 0.25)];
    UpdateRecord { cut: Cut { generation: Generation::default(), step: Step(step) }, losses }
}

/// Returns a small checkpoint. Its values depend on `step` and `life`, so that two checkpoints of
/// the same step can differ.
pub fn checkpoint_of(step: Step, life: u64) -> Checkpoint {
    let tensor = |shape: &[usize]| {
        let n_values: usize = shape.iter().product();
        let value = |i| (step.0 as f32 + 0.1) * (life as f32 + 0.7) + i as f32;
        Tensor::new(shape.to_vec(), (0..n_values).map(value).collect::<Vec<f32>>().into())
    };
    let saved = |name: &str, regularized| SavedVariable { name: name.to_owned(), regularized };
    Checkpoint {
        step,
        settings: Settings::default().with("batch_size", 100).with("order", "shuffled"),
        data: Some("d1".to_owned()),
        variables: vec![saved("layer1/weights", true), saved("layer1/biases", false)],
        tensors: [("layer1/weights", &[2, 3][..]), ("layer1/biases", &[1])]
            .map(|(name, shape)| (name.to_owned(), tensor(shape)))
            .into(),
    }
}
