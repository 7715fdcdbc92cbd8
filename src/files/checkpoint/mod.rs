//! Checkpoints on disk: named tensors of one version, as files that are either whole or not there.
//!
//! [`mod@file`] is one checkpoint file, [`state`] TensorFlow's `checkpoint` text file, [`directory`]
//! finds the newest valid one, [`saver`] writes and retires them, and [`incarnation`] numbers the
//! starts of the chief.
//! Nothing here knows a model's layout or a thread, and nothing logs: what a person should hear is
//! returned.

pub mod directory;
pub mod file;
#[cfg(any(test, fuzzing))]
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

use unisono_core::floats::Floats;
use unisono_core::ids::Step;
use unisono_core::protocol::Settings;

/// The scalar tensor that holds the step, under TensorFlow's name.
pub const GLOBAL_STEP: &str = "global_step";

/// The file in a logdir that holds the absolute path of the run's data; empty for the built-in ones.
pub const DATA_DIR_FILE: &str = "data_dir";

/// The tensors that a model expects: name to shape.
pub type Shapes = BTreeMap<String, Vec<usize>>;

/// The state of a whole run at one version (rule 7): all that is needed to go on from there. Nothing
/// of how the run came there is in it, so its file is a function of the configuration and the step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The version.
    pub step: Step,
    /// The settings it was trained with.
    pub settings: Settings,
    /// Digest of the data it was trained on; `None` in a file of a program that did not tell.
    pub data: Option<String>,
    /// Variables, optimizer slots and moving averages under TensorFlow's names;
    /// [`GLOBAL_STEP`] is not among them: the file's is made of `step`.
    pub tensors: BTreeMap<String, Tensor>,
}

impl Checkpoint {
    /// The names and shapes of its tensors.
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
    /// The tensor of this shape and these values; the empty shape is a scalar's.
    ///
    /// # Panics
    /// If the shape does not have as many elements as there are values.
    #[must_use]
    pub fn new(shape: Vec<usize>, values: Floats) -> Self {
        let n_elements = shape.iter().try_fold(1usize, |n, &size| n.checked_mul(size));
        assert_eq!(n_elements, Some(values.len()), "the values of a tensor of shape {shape:?}");
        Self { shape, values }
    }

    /// Its size in each dimension.
    #[must_use]
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Its values, row-major.
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
    fn a_tensor_has_as_many_values_as_its_shape_says() {
        let _ = Tensor::new(vec![2, 3], vec![0.0; 5].into());
    }
}
