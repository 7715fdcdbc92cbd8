//! The faults of a run, with the state (waiting, active or ended) and the number of effects of each
//! fault.
//!
//! This file decides how active faults affect a message, a call or a computation.
//! [`crate::world::fault_effects`] contains the actions at the beginning and at the end of a fault.

use std::num::NonZeroU64;
use std::time::Duration;

use unisono_core::protocol::Done;
use unisono_core::random::Stream;
use unisono_core::{Floats, Step, TaskId};
use unisono_rules::LifeId;

use crate::scenario::{
    ConnectMode, DiskMode, End, EventPattern, Family, Fault, FaultKind, GradientMode,
    PartitionMode, TaskSet, Trigger, When,
};
use crate::streams::Purpose;
use crate::world::network::pair_number;
use unisono_observe::trace::NamedEvent;

/// The factor by which a partition in `slow` mode multiplies latencies.
const SLOW_PARTITION: u32 = 100;

/// All faults of a run.
#[derive(Debug)]
pub(crate) struct Faults {
    all: Vec<Entry>,
    /// Faults that wait for an event or a step.
    pub(super) armed: Vec<usize>,
    /// Faults that have begun and have not ended.
    pub(super) active: Vec<usize>,
    /// The time of the last beginning or end of any fault.
    pub(crate) last_change: Duration,
    seed: u64,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) fault: Fault,
    /// Number of events so far that matched the trigger.
    seen: u64,
    pub(super) effects: FaultEffects,
    /// The incarnations that the fault killed or paused. At the end of the fault, the killed tasks
    /// are restarted and the paused incarnations are resumed.
    pub(super) lives: Vec<LifeId>,
}

/// The effects of one fault in a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultEffects {
    /// The id of the fault in the scenario.
    pub id: String,
    /// The kind of the fault.
    pub kind: Family,
    /// When the fault began, in virtual time; `None` if it never began.
    pub began: Option<Duration>,
    /// When the fault ended, in virtual time.
    pub ended: Option<Duration>,
    /// The number of times that the fault changed the course of the run.
    pub n_effects: u64,
    /// Whether the scenario allows the fault to have no effect.
    pub may_be_inert: bool,
}

/// Returns a function for [`Faults::affecting`] that returns a value for each fault of one kind.
macro_rules! of_kind {
    ($kind:pat $(if $affects:expr)? => $value:expr) => {
        |kind: &FaultKind, _: u64| match kind {
            $kind $(if $affects)? => Some($value),
            _ => None,
        }
    };
}

impl Faults {
    pub(super) fn new(faults: &[Fault], seed: u64) -> Self {
        let entry = |fault: &Fault| Entry {
            fault: fault.clone(),
            seen: 0,
            effects: FaultEffects {
                id: fault.id.clone(),
                kind: fault.kind.family(),
                began: None,
                ended: None,
                n_effects: 0,
                may_be_inert: fault.may_be_inert,
            },
            lives: Vec::new(),
        };
        let all: Vec<_> = faults.iter().map(entry).collect();
        let waits = |at: &usize| !matches!(all[*at].fault.trigger, Trigger::At(_));
        let armed = (0..all.len()).filter(waits).collect();
        Self { all, armed, active: Vec::new(), last_change: Duration::ZERO, seed }
    }

    /// Returns the index and the time of each fault that begins at a fixed time.
    pub(super) fn timed(&self) -> Vec<(usize, Duration)> {
        let time = |(fault, entry): (usize, &Entry)| match entry.fault.trigger {
            Trigger::At(at) => Some((fault, at)),
            Trigger::AtStep(_) | Trigger::On(_) => None,
        };
        self.all.iter().enumerate().filter_map(time).collect()
    }

    pub(super) fn entry(&mut self, fault: usize) -> &mut Entry {
        &mut self.all[fault]
    }

    /// Returns the effects of each fault, in the order of the scenario.
    pub(crate) fn effects(&self) -> Vec<FaultEffects> {
        self.all.iter().map(|entry| entry.effects.clone()).collect()
    }

    /// Returns whether any active fault will end by itself.
    pub(crate) fn any_will_end(&self) -> bool {
        self.active.iter().any(|&fault| self.all[fault].fault.end.is_some())
    }

    /// Returns whether no fault has begun yet.
    pub(crate) fn is_untouched(&self) -> bool {
        self.all.iter().all(|entry| entry.effects.began.is_none())
    }

    /// Returns the faults that this event triggers, and removes these faults from the waiting
    /// faults.
    pub(super) fn on_event(&mut self, node: TaskId, what: NamedEvent, when: When) -> Vec<usize> {
        let begins = |fault: &mut usize| {
            let entry = &mut self.all[*fault];
            let Trigger::On(pattern) = &entry.fault.trigger else { return false };
            if pattern.when != when || !fits(pattern, node, what) {
                return false;
            }
            // Each fault counts matching events by itself, so that removing a fault from a scenario
            // does not change when another fault begins.
            entry.seen += 1;
            entry.seen >= pattern.nth
        };
        self.armed.extract_if(.., begins).collect()
    }

    /// Returns the faults that begin, and the faults that end, when ps 0 first reaches version
    /// `step`.
    pub(super) fn on_step(&mut self, step: Step) -> (Vec<usize>, Vec<usize>) {
        let fault = |fault: usize| &self.all[fault].fault;
        // The comparison is `<=`, because a restore may set ps 0 to a version after `at`, so that
        // ps 0 never has version `at`.
        let begins =
            |&mut at: &mut usize| matches!(fault(at).trigger, Trigger::AtStep(at) if at <= step);
        let ends =
            |&at: &usize| matches!(fault(at).end, Some(End::UntilStep(until)) if until <= step);
        let end = self.active.iter().copied().filter(ends).collect();
        (self.armed.extract_if(.., begins).collect(), end)
    }

    pub(super) fn activate(&mut self, fault: usize, now: Duration) {
        self.active.push(fault);
        self.all[fault].effects.began = Some(now);
        self.last_change = now;
    }

    /// Ends a fault. Returns `false` if the fault was not active.
    pub(super) fn deactivate(&mut self, fault: usize, now: Duration) -> bool {
        let n_active = self.active.len();
        self.active.retain(|&other| other != fault);
        self.last_change = now;
        // If the fault was not active, `times.1` stays the time at which the fault first ended.
        let was_active = self.active.len() < n_active;
        if was_active {
            self.all[fault].effects.ended = Some(now);
        }
        was_active
    }

    pub(super) fn is_active(&self, fault: usize) -> bool {
        self.active.contains(&fault)
    }

    /// Returns whether a fault crashes a task.
    pub(super) fn kills(&self, fault: usize, task: TaskId) -> bool {
        matches!(&self.all[fault].fault.kind, FaultKind::Crash { node, .. } if node.contains(task))
    }

    /// Returns whether a stopped task must be restarted: a stop fault of the task has ended, and no
    /// stop fault of the task is active. Stop faults may overlap, so the fault that has ended need
    /// not be the fault that stopped the task.
    pub(super) fn restarts_stopped(&self, task: TaskId) -> bool {
        let stops =
            |kind: &FaultKind| matches!(kind, FaultKind::Stop { node } if node.contains(task));
        let begun = |(fault, entry): (usize, &Entry)| {
            entry.effects.began.is_some()
                && stops(&entry.fault.kind)
                && entry.fault.end.is_some()
                && !self.is_active(fault)
        };
        let is_stopped = self.active().any(|(_, kind)| stops(kind));
        !is_stopped && self.all.iter().enumerate().any(begun)
    }

    /// Returns the error of a task's clock rate in parts per million, which is the sum of the
    /// errors that all active clock faults cause.
    pub(super) fn skew_ppm(&self, task: TaskId) -> i32 {
        let skew = |(_, kind): (usize, &FaultKind)| match kind {
            FaultKind::Clock { node, skew_ppm, .. } if node.contains(task) => Some(*skew_ppm),
            _ => None,
        };
        self.active().filter_map(skew).sum()
    }

    /// Returns the time by which the active faults set back the wall clock of a task. Counts an
    /// effect of each such fault.
    pub(super) fn set_back(&mut self, task: TaskId) -> Duration {
        let behind = of_kind!(FaultKind::Clock { node, set_back, .. }
            if node.contains(task) && !set_back.is_zero() => *set_back);
        self.affecting(behind).into_iter().sum()
    }

    pub(super) fn count_effect(&mut self, fault: usize) {
        self.all[fault].effects.n_effects += 1;
    }

    /// Calls `of` for each active fault, and collects the results that are `Some`. Each collected
    /// result counts as an effect of its fault. The second argument of `of` is the number of this
    /// effect, counted from 1, which serves as the index of random streams.
    fn affecting<T>(&mut self, mut of: impl FnMut(&FaultKind, u64) -> Option<T>) -> Vec<T> {
        let mut found = Vec::new();
        for &fault in &self.active {
            let entry = &mut self.all[fault];
            if let Some(what) = of(&entry.fault.kind, entry.effects.n_effects + 1) {
                entry.effects.n_effects += 1;
                found.push(what);
            }
        }
        found
    }

    /// Returns the active faults, without counting effects.
    pub(super) fn active(&self) -> impl Iterator<Item = (usize, &FaultKind)> {
        self.active.iter().map(|&fault| (fault, &self.all[fault].fault.kind))
    }

    pub(super) fn slowness(&mut self, task: TaskId) -> f64 {
        let factor = of_kind!(FaultKind::Slow { node, factor } if node.contains(task) => *factor);
        // If several slow faults affect a task, only the largest factor applies.
        self.affecting(factor).into_iter().fold(1.0, f64::max)
    }

    pub(super) fn disk_slowness(&mut self) -> u32 {
        let factor = of_kind!(FaultKind::Disk { mode: DiskMode::Slow { factor } } => *factor);
        self.affecting(factor).into_iter().fold(1, u32::max)
    }

    pub(super) fn bandwidth(&mut self, from: TaskId, to: TaskId) -> Option<NonZeroU64> {
        let limit = of_kind!(FaultKind::NarrowLink { from: senders, to: receivers, rate }
            if leads((from, to), senders, receivers) => *rate);
        self.affecting(limit).into_iter().min()
    }

    /// Returns the rate to which active faults limit the reading of a task, in bytes per second.
    /// Returns `None` if no fault limits the reading.
    pub(super) fn reading_rate(&mut self, task: TaskId) -> Option<NonZeroU64> {
        let limit = of_kind!(FaultKind::SlowReader { node, rate } if node.contains(task) => *rate);
        self.affecting(limit).into_iter().min()
    }

    /// Returns the mode of the partition that stops a message on arrival. Returns `None` if no
    /// partition stops the message.
    pub(super) fn stops(&mut self, from: TaskId, to: TaskId) -> Option<PartitionMode> {
        let modes = self.affecting(|kind, _| {
            partition(kind, from, to).filter(|mode| *mode != PartitionMode::Slow)
        });
        // A jam takes precedence over other partitions. A jam loses the message, so no other
        // partition may hold the message and deliver it later.
        modes.into_iter().max_by_key(|mode| *mode == PartitionMode::Jam)
    }

    /// Returns the delay that active faults add to a message. `latency` draws a latency from the
    /// random stream of the network. Only a partition in `slow` mode calls `latency`, so that other
    /// faults do not change the later latencies of the network.
    pub(super) fn delay(
        &mut self,
        from: TaskId,
        to: TaskId,
        mut latency: impl FnMut() -> Duration,
    ) -> Duration {
        let seed = self.seed;
        let delays = self.affecting(|kind, nth| match kind {
            FaultKind::Delay { from: senders, to: receivers, by } => {
                let sample = || {
                    by.sample(&mut Stream::new(seed, Purpose::Delay, pair_number(from, to), nth))
                };
                leads((from, to), senders, receivers).then(sample)
            }
            _ if partition(kind, from, to) == Some(PartitionMode::Slow) => {
                // The message has already travelled for one of the `SLOW_PARTITION` latencies.
                Some(latency() * (SLOW_PARTITION - 1))
            }
            _ => None,
        });
        delays.into_iter().sum()
    }

    /// Returns whether a fault drops a call, or the answer to the call.
    pub(super) fn hangs(&mut self, caller: TaskId, called: TaskId) -> bool {
        let stops = |kind: &FaultKind, from, to| {
            matches!(partition(kind, from, to), Some(PartitionMode::Stop | PartitionMode::Jam))
        };
        let hangs = self.affecting(|kind, _| {
            // A partition of either direction stops a call, because the handshake needs an answer.
            let hangs = stops(kind, caller, called)
                || stops(kind, called, caller)
                || connects(kind, caller, called) == Some(ConnectMode::Hang);
            hangs.then_some(())
        });
        !hangs.is_empty()
    }

    /// Returns whether a fault refuses a call, although the called task is alive.
    pub(super) fn refuses(&mut self, caller: TaskId, called: TaskId) -> bool {
        let refuses = |kind: &FaultKind, _| {
            (connects(kind, caller, called) == Some(ConnectMode::Refuse)).then_some(())
        };
        !self.affecting(refuses).is_empty()
    }

    /// Returns `Some(n)` if a fault corrupts this message. `n` counts corrupted messages from 1,
    /// and selects the bit to flip.
    pub(super) fn corrupts(&mut self, from: TaskId, to: TaskId) -> Option<u64> {
        let numbers = self.affecting(|kind, nth| match kind {
            FaultKind::Corrupt { from: senders, to: receivers } => {
                leads((from, to), senders, receivers).then_some(nth)
            }
            _ => None,
        });
        // If several faults corrupt a message, the message is corrupted only once. The sum of the
        // faults' numbers differs for each message.
        (!numbers.is_empty()).then(|| numbers.into_iter().sum())
    }

    /// Applies the active gradient faults of a task to a computed gradient.
    pub(super) fn spoil(&mut self, task: TaskId, done: &mut Done) {
        let mode = of_kind!(FaultKind::Gradient { node, mode } if node.contains(task) => *mode);
        let modes = self.affecting(mode);
        let Done::Gradient { loss, gradient, .. } = done else { return };
        for mode in modes {
            let Some(first) = gradient.first_mut() else { continue };
            // The values are copied, because the compute cache and other runs share the buffer.
            let mut values = first.to_vec();
            match mode {
                GradientMode::Nan => {
                    *loss = f32::NAN;
                    values.iter_mut().take(1).for_each(|value| *value = f32::NAN);
                }
                GradientMode::FlippedBit => flip_a_bit(&mut values),
            }
            *first = Floats::from(values);
        }
    }
}

/// Flips the highest mantissa bit of the value with the largest magnitude. A flipped bit in the
/// first value might have no effect, because this value is often the gradient of a weight whose
/// pixel is 0 in all images. The gradient is then 0, and with a flipped bit it is too small to
/// change the weight.
fn flip_a_bit(values: &mut [f32]) {
    let largest = values.iter_mut().max_by(|a, b| a.abs().total_cmp(&b.abs()));
    if let Some(value) = largest {
        *value = f32::from_bits(value.to_bits() ^ 1 << (f32::MANTISSA_DIGITS - 2));
    }
}

fn fits(pattern: &EventPattern, node: TaskId, what: NamedEvent) -> bool {
    pattern.event.map_or_else(|| what.is_input(), |kind| kind == what.kind)
        && pattern.node.is_none_or(|of| of == node)
        && pattern.step.is_none_or(|step| what.step == Some(step))
}

/// Returns whether a message or a call goes from one of the senders to one of the receivers.
fn leads((from, to): (TaskId, TaskId), senders: &TaskSet, receivers: &TaskSet) -> bool {
    senders.contains(from) && receivers.contains(to)
}

fn partition(kind: &FaultKind, from: TaskId, to: TaskId) -> Option<PartitionMode> {
    match kind {
        FaultKind::Partition { from: senders, to: receivers, both_ways, mode } => {
            let there = leads((from, to), senders, receivers);
            let back = *both_ways && leads((to, from), senders, receivers);
            (there || back).then_some(*mode)
        }
        _ => None,
    }
}

fn connects(kind: &FaultKind, caller: TaskId, called: TaskId) -> Option<ConnectMode> {
    match kind {
        FaultKind::Connect { from, to, mode } => leads((caller, called), from, to).then_some(*mode),
        _ => None,
    }
}
