//! Checkpoints on disk. A checkpoint file contains the named tensors of one version, and is either
//! complete or absent.
//!
//! | module | content |
//! |---|---|
//! | [`mod@file`] | the format of one checkpoint file |
//! | [`state`] | the format of TensorFlow's `checkpoint` file, which lists the checkpoints |
//! | [`directory`] | finds the newest valid checkpoint of a logdir |
//! | [`saver`] | writes checkpoints and removes old ones |
//! | [`incarnation`] | the file in which each chief records its incarnation |
//!
//! These modules do not know the layout of a model, use no threads and write no log. Functions
//! return warnings for the user to their callers.

pub mod directory;
pub mod file;
#[cfg(any(test, fuzzing))]
#[path = "../../../tests/fuzzing/checkpoint.rs"]
pub mod fuzzing;
pub mod incarnation;
pub mod saver;
pub mod state;

use std::collections::BTreeMap;

pub use directory::{DirectoryError, MissingLosses, Newest, Unusable, Warning, newest_valid};
pub use file::{FileError, ReadError, decode, read_tensors, step_of, steps_among};
pub use incarnation::{INCARNATION_FILE, last_incarnation, record_incarnation};
pub use saver::{Saved, Saver};
pub use state::StateError;

use serde::{Deserialize, Serialize};
use unisono_core::floats::Floats;
use unisono_core::ids::Step;
use unisono_core::protocol::Settings;

/// TensorFlow's name for the scalar tensor that holds the step.
pub const GLOBAL_STEP: &str = "global_step";

/// Name of the file in a logdir that holds the absolute path of the run's data. The file is empty
/// if the run uses the built-in data.
pub const DATA_DIR_FILE: &str = "data_dir";

/// Tensors that a model expects: name to shape.
pub type Shapes = BTreeMap<String, Vec<usize>>;

/// The state of a whole run at one version (rule 7 of the protocol). A run can resume from a
/// checkpoint.
///
/// A checkpoint contains nothing about crashes, restarts or timing. If R ≥ N (every update uses the
/// gradients of all slots), its file is therefore a pure function of the configuration, the data
/// and the step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Version of the state.
    pub step: Step,
    /// Settings that the state was trained with.
    pub settings: Settings,
    /// Digest of the data that the state was trained on; `None` if the file does not record it.
    pub data: Option<String>,
    /// The variables of the model, in creation order; empty if the file does not record them.
    pub variables: Vec<SavedVariable>,
    /// Variables, buffers of the optimizer and moving averages, under TensorFlow's names.
    /// [`GLOBAL_STEP`] is not included, because its value is `step`.
    pub tensors: BTreeMap<String, Tensor>,
}

/// A variable of a model, as a checkpoint describes it. Its shape is that of its tensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedVariable {
    /// Name of the variable and of its tensor.
    pub name: String,
    /// Whether the L2 term covers the variable.
    pub regularized: bool,
}

impl Checkpoint {
    /// Returns the names and shapes of the tensors.
    #[must_use]
    pub fn shapes(&self) -> Shapes {
        self.tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shape.clone())).collect()
    }
}

/// A tensor of `f32`, in row-major order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    shape: Vec<usize>,
    values: Floats,
}

impl Tensor {
    /// Creates a tensor. The shape of a scalar is empty.
    ///
    /// # Panics
    /// If the number of values differs from the number of elements of the shape.
    #[must_use]
    pub fn new(shape: Vec<usize>, values: Floats) -> Self {
        let n_elements = shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
        assert_eq!(n_elements, Some(values.len()), "the values of a tensor of shape {shape:?}");
        Self { shape, values }
    }

    /// Returns the size in each dimension.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Returns the values, row-major.
    #[must_use]
    pub const fn values(&self) -> &Floats {
        &self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "the values of a tensor of shape [2, 3]")]
    fn tensor_with_more_or_fewer_values_than_its_shape_panics() {
        let _ = Tensor::new(vec![2, 3], vec![0.0; 5].into());
    }
}
