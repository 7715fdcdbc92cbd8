//! Checks the lengths of the tensors in messages.
//!
//! The arithmetic panics on tensors of a wrong length. This module rejects such tensors first, so
//! that a peer with a different model or a wrong shard cannot stop a task.

use super::plan::Plan;
use crate::model::UpdateRule;
use unisono_core::floats::Floats;
use unisono_core::ids::{Job, TaskId};
use unisono_core::protocol::{Message, ShardState};
use unisono_core::wire::Limits;

/// Maximum number of tensor bytes per frame that a task accepts if it does not know the model. The
/// limit of 4 GiB is enough for a shard of a billion parameters.
const MAX_TENSOR_BYTES: usize = 1 << 32;

/// The tensor lengths that a task expects in messages, as far as the task knows them.
#[derive(Clone, Debug)]
pub struct Shapes {
    /// Number of parameters of each shard, in the order of the ps. `None` at a ps, because a ps
    /// does not know the model. A ps gets its shard from the chief, and the protocol compares the
    /// lengths of gradients with the shard's length.
    shards: Option<Vec<usize>>,
    /// Number of auxiliary buffers of a shard: the buffers of the optimizer and of the moving
    /// average.
    n_auxiliary: usize,
}

impl Shapes {
    /// Returns the tensor lengths that a worker expects. A worker knows the length of every shard,
    /// because it has the model.
    #[must_use]
    pub fn of_plan(plan: &Plan) -> Self {
        let shards = (0..plan.layout.n_ps()).map(|ps| plan.layout.shard_len(ps)).collect();
        Self { shards: Some(shards), ..Self::of_rule(&plan.rule) }
    }

    /// Returns the tensor lengths that a ps expects. A ps has no model, and knows only the number
    /// of auxiliary buffers, from the update rule.
    #[must_use]
    pub fn of_rule(rule: &UpdateRule) -> Self {
        Self { shards: None, n_auxiliary: rule.auxiliary_names().len() }
    }

    /// Returns limits for received frames. The limits admit the whole state of the largest shard.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let largest = self.shards.as_ref().map(|shards| shards.iter().max().copied().unwrap_or(0));
        let state_bytes = |n_values: usize| 4 * n_values * (1 + self.n_auxiliary);
        Limits::with_tensor_bytes(largest.map_or(MAX_TENSOR_BYTES, state_bytes))
    }

    /// Checks that the tensors of a message from the task `from` have the right lengths.
    ///
    /// # Errors
    /// If a tensor has a wrong length, or if a state has a wrong number of auxiliary buffers. The
    /// error text names both numbers.
    pub fn check(&self, from: Option<TaskId>, message: &Message) -> Result<(), String> {
        match message {
            Message::Version { parameters, .. } => self.check_shard(from, "a version", parameters),
            Message::Captured { state, .. } => {
                self.check_state(state)?;
                self.check_shard(from, "a state", &state.parameters)
            }
            Message::Restore { state, .. } => self.check_state(state),
            _ => Ok(()),
        }
    }

    fn check_shard(
        &self,
        from: Option<TaskId>,
        what: &str,
        parameters: &Floats,
    ) -> Result<(), String> {
        let shard = from.filter(|from| from.job == Job::Ps).map(|from| from.index as usize);
        let Some((shards, shard)) = self.shards.as_ref().zip(shard) else { return Ok(()) };
        match shards.get(shard) {
            Some(wanted) if parameters.len() != *wanted => Err(format!(
                "it sent {what} of {} parameters, but its shard has {wanted}",
                parameters.len()
            )),
            _ => Ok(()),
        }
    }

    fn check_state(&self, state: &ShardState) -> Result<(), String> {
        let (found, wanted) = (state.auxiliary.len(), self.n_auxiliary);
        if found != wanted {
            return Err(format!(
                "it sent a state with {found} buffers beside the parameters, but the optimizer and \
                 the moving average keep {wanted}"
            ));
        }
        let len = state.parameters.len();
        match state.auxiliary.iter().find(|buffer| buffer.len() != len) {
            Some(buffer) => Err(format!(
                "it sent a state of {len} parameters with a buffer of {} values",
                buffer.len()
            )),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unisono_core::ids::Cut;
    use unisono_core::ids::{Generation, Step};

    const PS: Option<TaskId> = Some(TaskId::ps(1));

    fn floats(n_values: usize) -> Floats {
        vec![0.0; n_values].into()
    }

    fn version(n_values: usize) -> Message {
        Message::Version {
            cut: Cut { generation: Generation::default(), step: Step(3) },
            tokens: Vec::new(),
            received: Vec::new(),
            updates: Vec::new(),
            acknowledged: 0,
            parameters: floats(n_values),
        }
    }

    fn captured(lengths: &[usize]) -> Message {
        let mut buffers = lengths.iter().map(|n_values| floats(*n_values));
        let parameters = buffers.next().unwrap();
        let state = ShardState { parameters, auxiliary: buffers.collect(), regularized: vec![] };
        Message::Captured { cut: Cut { generation: Generation::default(), step: Step(3) }, state }
    }

    #[test]
    fn worker_refuses_versions_and_states_of_a_wrong_length() {
        let shapes = Shapes { shards: Some(vec![7, 5]), n_auxiliary: 1 };
        assert_eq!(shapes.check(PS, &version(5)), Ok(()));
        let error = shapes.check(PS, &version(7)).unwrap_err();
        assert_eq!(error, "it sent a version of 7 parameters, but its shard has 5");
        assert!(shapes.check(PS, &version(0)).is_err());
        assert_eq!(shapes.check(PS, &captured(&[5, 5])), Ok(()));
        for wrong in [&[5][..], &[5, 5, 5], &[5, 4], &[4, 4]] {
            assert!(shapes.check(PS, &captured(wrong)).is_err(), "{wrong:?}");
        }
        assert_eq!(shapes.limits().tensor_bytes, 4 * 7 * 2);
    }

    #[test]
    fn ps_refuses_states_without_all_buffers_of_its_optimizer() {
        let shapes = Shapes { shards: None, n_auxiliary: 2 };
        let restore = |lengths: &[usize]| match captured(lengths) {
            Message::Captured { cut, state } => Message::Restore { cut, state },
            other => other,
        };
        assert_eq!(shapes.check(Some(TaskId::CHIEF), &restore(&[9, 9, 9])), Ok(()));
        assert!(shapes.check(Some(TaskId::CHIEF), &restore(&[9, 9])).is_err());
    }
}
