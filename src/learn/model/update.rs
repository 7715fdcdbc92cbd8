//! The update of a shard: mean over slots, L2 term, optimizer and moving average, in one pass over
//! memory.

use std::ops::Range;

use crate::model::lanes::{Kernel, Lanes};
use crate::model::mean::{CHUNK, Mean};
use crate::model::optimizer::{Rule, buffer_names};
use crate::model::simd::SimdLevel;
use unisono_core::floats::{Buffer, Floats, Pool};
use unisono_core::ids::{Slot, Step};
use unisono_core::protocol::ShardState;
use unisono_core::train_config::{Optimizer, TrainConfig};

/// The suffix of the name under which TensorFlow saves a moving average.
pub const MOVING_AVERAGE: &str = "ExponentialMovingAverage";
/// Largest number of auxiliary buffers of a shard: the two buffers of Adam, and the moving average.
const MAX_BUFFERS: usize = 3;

/// The rule that computes version k + 1 of a shard from version k and R gradients.
#[derive(Clone, Debug)]
pub struct UpdateRule {
    learning_rate: f64,
    learning_rate_decay: f64,
    decay_steps: f64,
    regularization_rate: f32,
    optimizer: Optimizer,
    moving_average_decay: Option<f64>,
    replicas_to_aggregate: u32,
    level: SimdLevel,
}

impl UpdateRule {
    /// Creates the rule of a configuration. `replicas_to_aggregate` is R, the number of gradients
    /// per update.
    #[must_use]
    pub const fn new(config: &TrainConfig, replicas_to_aggregate: u32, level: SimdLevel) -> Self {
        Self {
            learning_rate: config.learning_rate,
            learning_rate_decay: config.learning_rate_decay,
            decay_steps: config.decay_steps,
            regularization_rate: config.regularization_rate as f32,
            optimizer: config.optimizer,
            moving_average_decay: config.moving_average_decay,
            replicas_to_aggregate,
            level,
        }
    }

    /// Returns the learning rate of update `step`: base · decay^(step / decay_steps), computed in
    /// f64 and then rounded to f32. TensorFlow's `exponential_decay` without `staircase` uses the
    /// same formula.
    #[must_use]
    pub fn learning_rate(&self, step: Step) -> f32 {
        let exponent = step.0 as f64 / self.decay_steps;
        (self.learning_rate * libm::pow(self.learning_rate_decay, exponent)) as f32
    }

    /// Returns the suffixes of TensorFlow's names for the auxiliary buffers. The suffixes are in
    /// the order of [`ShardState::auxiliary`]: first the buffers of the optimizer, then the moving
    /// average.
    #[must_use]
    pub fn auxiliary_names(&self) -> Vec<&'static str> {
        let average = self.moving_average_decay.map(|_| MOVING_AVERAGE);
        buffer_names(self.optimizer).iter().copied().chain(average).collect()
    }

    /// Returns the initial auxiliary buffers of a shard whose initial parameters are `parameters`.
    ///
    /// The buffers of the optimizer are zero. The moving average equals the parameters.
    #[must_use]
    pub fn initial_auxiliary(&self, parameters: &Floats) -> Vec<Floats> {
        let zeros = || Floats::from(vec![0.0; parameters.len()]);
        let average = self.moving_average_decay.map(|_| parameters.clone());
        buffer_names(self.optimizer).iter().map(|_| zeros()).chain(average).collect()
    }

    /// Computes update `step` of a shard. Returns the state at version `step` + 1. The buffers of
    /// the new state come from `pool`.
    ///
    /// # Panics
    /// If the number of gradients is not `replicas_to_aggregate`, if the gradients are not strictly
    /// ascending by slot, or if a buffer does not have the length of the shard.
    #[must_use]
    pub fn update(
        &self,
        pool: &mut Pool,
        step: Step,
        state: &ShardState,
        gradients: &[(Slot, Floats)],
    ) -> ShardState {
        self.check(state, gradients);
        let buffers = state.auxiliary.iter().chain([&state.parameters]);
        let kernel = UpdateKernel {
            mean: Mean::new(gradients.iter().map(|(slot, values)| (*slot, values))),
            rule: Rule::new(self.optimizer, step, self.learning_rate(step)),
            regularization_rate: self.regularization_rate,
            one_minus_decay: self.moving_average_decay.map(|decay| one_minus_decay(decay, step)),
            runs: runs(state),
            state,
            scratch: Scratch::default(),
            next: buffers.map(|buffer| pool.take(buffer.len())).collect(),
        };
        let mut next = self.level.run(kernel);
        let parameters = pool.lend(next.pop().expect("the parameters come last"));
        let auxiliary = next.into_iter().map(|buffer| pool.lend(buffer)).collect();
        ShardState { parameters, auxiliary, regularized: state.regularized.clone() }
    }

    fn check(&self, state: &ShardState, gradients: &[(Slot, Floats)]) {
        let shard_len = state.parameters.len();
        let n_gradients = gradients.len();
        assert_eq!(n_gradients, self.replicas_to_aggregate as usize, "gradients of an update");
        assert_eq!(state.auxiliary.len(), self.auxiliary_names().len(), "auxiliary buffers");
        let buffers = state.auxiliary.iter().chain([&state.parameters]);
        for buffer in buffers.chain(gradients.iter().map(|(_, gradient)| gradient)) {
            assert_eq!(buffer.len(), shard_len, "length of a buffer of the shard");
        }
    }
}

/// Returns 1 - min(decay, (1 + n) / (10 + n)), where n = step + 1 is the number of updates made.
/// TensorFlow's `ExponentialMovingAverage` with `num_updates` uses the same formula.
fn one_minus_decay(decay: f64, step: Step) -> f32 {
    let n = step.next().0 as f64;
    (1.0 - decay.min((1.0 + n) / (10.0 + n))) as f32
}

/// A range of consecutive elements of a shard. The L2 term covers either all or none of these
/// elements.
#[derive(Clone, Copy, Debug)]
struct Run {
    start: usize,
    len: usize,
    regularized: bool,
}

/// Cuts a shard into runs, in order.
fn runs(state: &ShardState) -> Vec<Run> {
    let (mut runs, mut end) = (Vec::new(), 0);
    let mut push = |start: usize, end: usize, regularized| {
        if start < end {
            runs.push(Run { start, len: end - start, regularized });
        }
    };
    for range in &state.regularized {
        push(end, range.start, false);
        push(range.start, range.end, true);
        end = range.end;
    }
    push(end, state.parameters.len(), false);
    runs
}

struct UpdateKernel<'a> {
    mean: Mean<'a>,
    rule: Rule,
    regularization_rate: f32,
    one_minus_decay: Option<f32>,
    runs: Vec<Run>,
    state: &'a ShardState,
    scratch: Scratch,
    /// The buffers of the next version: first the auxiliary buffers, then the parameters.
    next: Vec<Buffer>,
}

/// Scratch memory with one chunk of each buffer that an update reads or writes. The chunks stay in
/// the L1 cache.
struct Scratch {
    var: [f32; CHUNK],
    gradient: [f32; CHUNK],
    buffers: [[f32; CHUNK]; MAX_BUFFERS],
    /// Scratch memory of [`Mean::chunk`].
    room: [f32; CHUNK],
}

impl Default for Scratch {
    fn default() -> Self {
        let zeros = [0.0; CHUNK];
        Self { var: zeros, gradient: zeros, buffers: [zeros; MAX_BUFFERS], room: zeros }
    }
}

impl Kernel for UpdateKernel<'_> {
    type Output = Vec<Buffer>;

    #[inline(always)]
    fn run<L: Lanes>(mut self, _: L) -> Vec<Buffer> {
        for i in 0..self.runs.len() {
            let Run { start, len, regularized } = self.runs[i];
            let end = start + len;
            let mut at = start;
            while at < end {
                let len = CHUNK.min(end - at);
                self.chunk(Run { start: at, len, regularized });
                at += len;
            }
        }
        self.next
    }
}

impl UpdateKernel<'_> {
    #[inline(always)]
    fn chunk(&mut self, Run { start, len, regularized }: Run) {
        let range = start..start + len;
        let gradient = &mut self.scratch.gradient[..len];
        self.mean.chunk(start, gradient, &mut self.scratch.room);
        let old = &self.state.parameters[range.clone()];
        // The rate is copied to a local variable. If it is read through `self`, which also contains
        // the output buffer, LLVM does not vectorise the loop.
        let regularization_rate = self.regularization_rate;
        let regularized = regularized && regularization_rate > 0.0;
        // SGD without a moving average is the most common case. It writes directly into the next
        // version.
        if let (Rule::Sgd { learning_rate }, [next]) = (self.rule, &mut self.next[..]) {
            let all = next[range].iter_mut().zip(old.iter().zip(&*gradient));
            if regularized {
                all.for_each(|(next, (w, g))| {
                    *next = w - learning_rate * (g + regularization_rate * w);
                });
            } else {
                all.for_each(|(next, (w, g))| *next = w - learning_rate * g);
            }
            return;
        }
        if regularized {
            gradient.iter_mut().zip(old).for_each(|(g, w)| *g += regularization_rate * w);
        }
        self.chunk_with_buffers(range);
    }

    /// Applies the optimizer and the moving average to a chunk. The scratch memory must contain the
    /// gradient of the chunk, including the gradient of the L2 term.
    #[inline(always)]
    fn chunk_with_buffers(&mut self, range: Range<usize>) {
        let len = range.len();
        let Scratch { var, gradient, buffers, .. } = &mut self.scratch;
        let (var, gradient) = (&mut var[..len], &gradient[..len]);
        let mut buffers = buffers.each_mut().map(|buffer| &mut buffer[..len]);
        var.copy_from_slice(&self.state.parameters[range.clone()]);
        for (buffer, old) in buffers.iter_mut().zip(&self.state.auxiliary) {
            buffer.copy_from_slice(&old[range.clone()]);
        }
        self.rule.apply(gradient, var, &mut buffers);
        let n_auxiliary = self.state.auxiliary.len();
        if let Some(one_minus_decay) = self.one_minus_decay {
            for (shadow, var) in buffers[n_auxiliary - 1].iter_mut().zip(&*var) {
                *shadow -= one_minus_decay * (*shadow - *var);
            }
        }
        for (next, buffer) in self.next.iter_mut().zip(&buffers[..n_auxiliary]) {
            next[range.clone()].copy_from_slice(buffer);
        }
        self.next[n_auxiliary][range].copy_from_slice(var);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::layout::{Layout, Variable};
    use crate::model::testing::{gather, split};
    use unisono_core::train_config::Placement;

    fn layout(n_ps: usize, placement: Placement) -> Layout {
        let variable = |name: &str, shape: &[usize], regularized| Variable {
            name: name.into(),
            shape: shape.into(),
            regularized,
        };
        let variables = vec![variable("w", &[700, 3], true), variable("b", &[3], false)];
        Layout::new(variables, n_ps, placement)
    }

    fn values(seed: u32, n: usize) -> Vec<f32> {
        let next = |i: u32| (i.wrapping_add(seed).wrapping_mul(0x9e37_79b9) >> 8) as f32;
        (0..n as u32).map(|i| next(i) / (1u32 << 24) as f32 - 0.5).collect()
    }

    fn variables(seed: u32) -> Vec<Vec<f32>> {
        vec![values(seed, 2100), values(seed + 9999, 3)]
    }

    fn configs() -> Vec<TrainConfig> {
        let optimizers = [
            Optimizer::Sgd,
            Optimizer::Momentum { momentum: 0.9, nesterov: false },
            Optimizer::Momentum { momentum: 0.9, nesterov: true },
            Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
        ];
        let config = |optimizer, moving_average_decay| TrainConfig {
            optimizer,
            moving_average_decay,
            regularization_rate: 0.01,
            ..TrainConfig::default()
        };
        optimizers.map(|o| [config(o, None), config(o, Some(0.99))]).concat()
    }

    /// Makes three updates, each from the gradients of three slots. Returns the parameters and the
    /// auxiliary buffers, gathered from all shards.
    fn run(config: &TrainConfig, layout: &Layout, level: SimdLevel) -> Vec<Vec<Vec<f32>>> {
        let rule = UpdateRule::new(config, 3, level);
        let mut states: Vec<_> = split(layout, &variables(1))
            .into_iter()
            .enumerate()
            .map(|(ps, parameters)| ShardState {
                auxiliary: rule.initial_auxiliary(&parameters),
                parameters,
                regularized: layout.regularized(ps),
            })
            .collect();
        for step in 0..3 {
            let gradients = [0, 1, 4].map(|slot| (Slot(slot), split(layout, &variables(7 * slot))));
            for (ps, state) in states.iter_mut().enumerate() {
                let gradients: Vec<_> =
                    gradients.iter().map(|(slot, shards)| (*slot, shards[ps].clone())).collect();
                *state = rule.update(&mut Pool::new(0), Step(step), state, &gradients);
            }
        }
        let gathered = |buffer: &dyn Fn(&ShardState) -> Floats| {
            gather(layout, &states.iter().map(buffer).collect::<Vec<_>>())
        };
        let auxiliary = (0..rule.auxiliary_names().len())
            .map(|i| gathered(&|state: &ShardState| state.auxiliary[i].clone()));
        std::iter::once(gathered(&|state| state.parameters.clone())).chain(auxiliary).collect()
    }

    #[test]
    fn update_has_the_same_bits_at_every_placement_and_level() {
        for config in configs() {
            let want = run(&config, &layout(1, Placement::RoundRobin), SimdLevel::Portable);
            for level in SimdLevel::available() {
                for n_ps in [1, 2, 3, 7] {
                    for placement in [Placement::RoundRobin, Placement::Even] {
                        assert_eq!(run(&config, &layout(n_ps, placement), level), want);
                    }
                }
            }
        }
    }

    #[test]
    fn sgd_with_l2_term_equals_its_formula_bit_for_bit() {
        let config = TrainConfig { regularization_rate: 0.01, ..TrainConfig::default() };
        let got = run(&config, &layout(1, Placement::Even), SimdLevel::detect());
        let rates = [0.01f64, 0.01 * 0.99f64.powi(1).powf_600(), 0.01 * 0.99f64.powi(2).powf_600()];
        for (variable, got) in got[0].iter().enumerate() {
            for (i, got) in got.iter().enumerate() {
                let g = [0, 1, 4].map(|slot| variables(7 * slot)[variable][i]);
                let mut var = variables(1)[variable][i];
                for rate in rates {
                    let mean = ((g[0] + g[1]) + g[2]) / 3.0;
                    let l2 = if variable == 0 { 0.01 * var } else { -0.0 };
                    var -= rate as f32 * (mean + l2);
                }
                assert_eq!(got.to_bits(), var.to_bits(), "variable {variable}, element {i}");
            }
        }
    }

    trait Root {
        fn powf_600(self) -> f64;
    }

    impl Root for f64 {
        fn powf_600(self) -> f64 {
            libm::pow(self, 1.0 / 600.0)
        }
    }

    #[test]
    fn learning_rate_decays_continuously() {
        let rule = UpdateRule::new(&TrainConfig::default(), 1, SimdLevel::Portable);
        assert_eq!(rule.learning_rate(Step(0)), 0.01);
        assert_eq!(rule.learning_rate(Step(600)), 0.0099);
        assert_eq!(rule.learning_rate(Step(1200)), 0.009_801);
        assert!(rule.learning_rate(Step(1)) < 0.01);
    }

    #[test]
    fn moving_average_starts_at_the_variable_with_a_small_decay() {
        let config = TrainConfig { moving_average_decay: Some(0.99), ..TrainConfig::default() };
        let rule = UpdateRule::new(&config, 1, SimdLevel::Portable);
        assert_eq!(rule.auxiliary_names(), ["ExponentialMovingAverage"]);
        let parameters = Floats::from(vec![1.0, 2.0]);
        assert!(rule.initial_auxiliary(&parameters)[0].same_buffer(&parameters));
        // At the first update, n = 1 and the decay is (1 + 1) / (10 + 1) = 2/11.
        assert_eq!(one_minus_decay(0.99, Step(0)), (9.0f64 / 11.0) as f32);
        assert_eq!(one_minus_decay(0.99, Step(10_000)), 0.01);
    }

    #[test]
    fn auxiliary_buffers_have_tensorflows_names() {
        let names = |optimizer| {
            let config = TrainConfig { optimizer, ..TrainConfig::default() };
            UpdateRule::new(&config, 1, SimdLevel::Portable).auxiliary_names()
        };
        assert!(names(Optimizer::Sgd).is_empty());
        assert_eq!(names(Optimizer::Momentum { momentum: 0.9, nesterov: true }), ["Momentum"]);
        let adam = Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
        assert_eq!(names(adam), ["Adam", "Adam_1"]);
    }

    #[test]
    fn update_of_an_empty_shard_is_empty() {
        let rule = UpdateRule::new(&TrainConfig::default(), 1, SimdLevel::detect());
        let gradients = [(Slot(0), Floats::default())];
        let next = rule.update(&mut Pool::new(0), Step(0), &ShardState::default(), &gradients);
        assert_eq!(next, ShardState::default());
    }
}
