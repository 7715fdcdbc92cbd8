//! A model that is small enough to check by eye. Its gradients depend on every element of the whole
//! version, on the step and on the slot, so any confusion of these changes the bits.

use unisono_core::protocol::ShardState;
use unisono_core::{Floats, Slot, Step};

/// The number of elements in the shard of a ps. Neighbouring shards differ in length.
pub(crate) fn shard_len(ps: u32) -> usize {
    2 + ps as usize % 2
}

/// The shards at step 0.
pub(crate) fn initial(n_ps: u32) -> Vec<ShardState> {
    let shard = |ps: u32| {
        let parameters: Vec<f32> =
            (0..shard_len(ps)).map(|i| 0.5 + ps as f32 * 0.25 + i as f32 * 0.125).collect();
        let velocity = vec![0.0; shard_len(ps)].into();
        let (parameters, auxiliary) = (parameters.into(), vec![velocity]);
        ShardState { parameters, auxiliary, ..ShardState::default() }
    };
    (0..n_ps).map(shard).collect()
}

/// The loss and the gradient of a slot, with one buffer per shard.
pub(crate) fn gradient(parameters: &[Floats], step: Step, slot: Slot) -> (f32, Vec<Floats>) {
    let sum: f32 = parameters.iter().flat_map(|shard| shard.iter()).sum();
    let batch = ((step.0 * 31 + u64::from(slot.0) * 17) % 23) as f32 / 23.0;
    let shard = |shard: &Floats| {
        let gradient: Vec<f32> =
            shard.iter().map(|value| (value * 0.7 - batch) * (1.0 + sum * 0.01)).collect();
        gradient.into()
    };
    ((sum - batch).abs(), parameters.iter().map(shard).collect())
}

/// Returns a shard at the next version, by gradient descent with momentum. Momentum makes the
/// state more than the parameters.
pub(crate) fn update(state: &ShardState, gradients: &[(Slot, Floats)]) -> ShardState {
    let n = gradients.len() as f32;
    let velocity = |i: usize| {
        let sum = gradients.iter().fold(0.0, |sum, (_, gradient)| sum + gradient[i]);
        state.auxiliary[0][i] * 0.5 + sum / n
    };
    let velocities: Vec<f32> = (0..state.parameters.len()).map(velocity).collect();
    let moved = state.parameters.iter().zip(&velocities).map(|(value, v)| value - 0.1 * v);
    let (parameters, auxiliary) = (moved.collect::<Vec<_>>().into(), vec![velocities.into()]);
    ShardState { parameters, auxiliary, ..ShardState::default() }
}
