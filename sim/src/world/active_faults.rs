//! Which faults there are, which wait for what, which are active, and which bit.
//!
//! Answers what active faults do to a message, a call or a computation. What a fault does when it
//! begins or ends is in [`crate::world::fault_effects`].

use std::num::NonZeroU64;
use std::time::Duration;

use unisono_core::protocol::Done;
use unisono_core::random::Stream;
use unisono_core::{Floats, Step, TaskId};

use crate::scenario::{
    ConnectMode, DiskMode, End, EventPattern, Fault, FaultKind, GradientMode, PartitionMode,
    TaskSet, Trigger, When,
};
use crate::streams::Purpose;
use crate::world::disk::DiskFault;
use crate::world::flight::Passage;
use crate::world::life::LifeId;
use crate::world::network::pair_number;
use unisono_observe::trace::Happening;

/// A partition that is `Slow` makes latencies so many times as long.
const SLOW_PARTITION: u32 = 100;

/// All faults of a run.
#[derive(Debug)]
pub(crate) struct Faults {
    all: Vec<Entry>,
    /// Those that wait for an event or a step.
    armed: Vec<usize>,
    /// Those that have begun, and have not ended.
    active: Vec<usize>,
    /// When a fault began or ended last.
    pub(crate) last_change: Duration,
    seed: u64,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) fault: Fault,
    /// Events that fit so far.
    seen: u64,
    pub(super) n_bites: u64,
    pub(super) has_begun: bool,
    /// When it began and ended, if it did.
    times: (Option<Duration>, Option<Duration>),
    /// Lives to be followed by others, or to let go on, when it ends.
    pub(super) lives: Vec<LifeId>,
}

/// How often a fault bit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bites {
    /// The fault.
    pub id: String,
    /// Whether it began.
    pub has_begun: bool,
    /// When it did.
    pub began: Option<Duration>,
    /// When it was over.
    pub ended: Option<Duration>,
    /// How often it changed what would have happened.
    pub n_bites: u64,
    /// It is no failure if it never did.
    pub may_be_inert: bool,
}

impl Faults {
    pub(super) fn new(faults: &[Fault], seed: u64) -> Self {
        let entry = |fault: &Fault| Entry {
            fault: fault.clone(),
            seen: 0,
            n_bites: 0,
            has_begun: false,
            times: (None, None),
            lives: Vec::new(),
        };
        let all: Vec<_> = faults.iter().map(entry).collect();
        let waits = |at: &usize| !matches!(all[*at].fault.trigger, Trigger::At(_));
        let armed = (0..all.len()).filter(waits).collect();
        Self { all, armed, active: Vec::new(), last_change: Duration::ZERO, seed }
    }

    /// Those that begin at a time.
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

    /// What each fault did.
    pub(crate) fn bites(&self) -> Vec<Bites> {
        let bites = |entry: &Entry| Bites {
            id: entry.fault.id.clone(),
            has_begun: entry.has_begun,
            began: entry.times.0,
            ended: entry.times.1,
            n_bites: entry.n_bites,
            may_be_inert: entry.fault.may_be_inert,
        };
        self.all.iter().map(bites).collect()
    }

    /// Whether anything is going on that will end.
    pub(crate) fn any_will_end(&self) -> bool {
        self.active.iter().any(|&fault| self.all[fault].fault.end.is_some())
    }

    /// Whether no fault has begun.
    pub(crate) fn is_untouched(&self) -> bool {
        self.all.iter().all(|entry| !entry.has_begun)
    }

    pub(super) fn all_active(&self) -> Vec<usize> {
        self.active.clone()
    }

    pub(super) const fn has_active(&self) -> bool {
        !self.active.is_empty()
    }

    pub(super) const fn has_armed(&self) -> bool {
        !self.armed.is_empty()
    }

    /// An event: which faults begin with it.
    pub(super) fn on_event(
        &mut self,
        node: TaskId,
        what: Happening,
        when: When,
        is_input: bool,
    ) -> Vec<usize> {
        let mut begin = Vec::new();
        let all = &mut self.all;
        self.armed.retain(|&fault| {
            let entry = &mut all[fault];
            let Trigger::On(pattern) = &entry.fault.trigger else { return true };
            if pattern.when != when || !fits(pattern, node, what, is_input) {
                return true;
            }
            entry.seen += 1;
            let begins = entry.seen >= pattern.nth;
            if begins {
                begin.push(fault);
            }
            !begins
        });
        begin
    }

    /// Ps 0 has a version for the first time: which faults begin, and which end.
    pub(super) fn on_step(&mut self, step: Step) -> (Vec<usize>, Vec<usize>) {
        let (mut begin, all) = (Vec::new(), &self.all);
        self.armed.retain(|&fault| {
            let begins = matches!(all[fault].fault.trigger, Trigger::AtStep(at) if at <= step);
            if begins {
                begin.push(fault);
            }
            !begins
        });
        let ends = |fault: &usize| matches!(all[*fault].fault.end, Some(End::UntilStep(until)) if until <= step);
        let end = self.active.iter().copied().filter(ends).collect();
        (begin, end)
    }

    pub(super) fn activate(&mut self, fault: usize, now: Duration) {
        self.active.push(fault);
        self.all[fault].has_begun = true;
        self.all[fault].times = (Some(now), None);
        self.last_change = now;
    }

    /// `false` if it was not active.
    pub(super) fn deactivate(&mut self, fault: usize, now: Duration) -> bool {
        let n_active = self.active.len();
        self.active.retain(|&other| other != fault);
        self.last_change = now;
        let was_active = self.active.len() < n_active;
        if was_active {
            self.all[fault].times.1 = Some(now);
        }
        was_active
    }

    pub(super) fn is_active(&self, fault: usize) -> bool {
        self.active.contains(&fault)
    }

    /// Whether a fault is the death of a task.
    pub(super) fn kills(&self, fault: usize, task: TaskId) -> bool {
        matches!(&self.all[fault].fault.kind, FaultKind::Crash { node, .. } if node.contains(task))
    }

    /// Whether a task that stopped is started again by a fault that is over.
    pub(super) fn restarts_stopped(&self, task: TaskId) -> bool {
        let stops =
            |kind: &FaultKind| matches!(kind, FaultKind::Stop { node } if node.contains(task));
        let begun = |(fault, entry): (usize, &Entry)| {
            entry.has_begun
                && stops(&entry.fault.kind)
                && entry.fault.end.is_some()
                && !self.is_active(fault)
        };
        let is_stopped = self.active().any(|(_, kind)| stops(kind));
        !is_stopped && self.all.iter().enumerate().any(begun)
    }

    /// What all active faults together do to a clock.
    pub(super) fn skew_ppm(&self, task: TaskId) -> i32 {
        let skew = |(_, kind): (usize, &FaultKind)| match kind {
            FaultKind::Clock { node, skew_ppm, .. } if node.contains(task) => Some(*skew_ppm),
            _ => None,
        };
        self.active().filter_map(skew).sum()
    }

    /// How far the wall clock of a task is behind at the start of one of its lives.
    pub(super) fn set_back(&mut self, task: TaskId) -> Duration {
        let behind = |kind: &FaultKind, _| match kind {
            FaultKind::Clock { node, set_back, .. }
                if node.contains(task) && !set_back.is_zero() =>
            {
                Some(*set_back)
            }
            _ => None,
        };
        self.biting(behind).into_iter().sum()
    }

    pub(super) fn bite(&mut self, fault: usize) {
        self.all[fault].n_bites += 1;
    }

    /// What `of` has of the active faults, which have bitten then. It is given which bite of the
    /// fault's that would be, counted from 1.
    fn biting<T>(&mut self, mut of: impl FnMut(&FaultKind, u64) -> Option<T>) -> Vec<T> {
        let mut found = Vec::new();
        for &fault in &self.active {
            let entry = &mut self.all[fault];
            if let Some(what) = of(&entry.fault.kind, entry.n_bites + 1) {
                entry.n_bites += 1;
                found.push(what);
            }
        }
        found
    }

    /// The active kinds, without a bite.
    pub(super) fn active(&self) -> impl Iterator<Item = (usize, &FaultKind)> {
        self.active.iter().map(|&fault| (fault, &self.all[fault].fault.kind))
    }

    pub(super) fn slowness(&mut self, task: TaskId) -> f64 {
        let factor = |kind: &FaultKind, _| match kind {
            FaultKind::Slow { node, factor } if node.contains(task) => Some(*factor),
            _ => None,
        };
        // The slowest counts: two stragglers in one are no slower.
        self.biting(factor).into_iter().fold(1.0, f64::max)
    }

    pub(super) fn disk_slowness(&mut self) -> u32 {
        let factor = |kind: &FaultKind, _| match kind {
            FaultKind::Disk { mode: DiskMode::Slow { factor } } => Some(*factor),
            _ => None,
        };
        self.biting(factor).into_iter().fold(1, u32::max)
    }

    pub(super) fn bandwidth(&mut self, from: TaskId, to: TaskId) -> Option<NonZeroU64> {
        let limit = |kind: &FaultKind, _| match kind {
            FaultKind::NarrowLink { from: senders, to: receivers, rate } => {
                leads((from, to), senders, receivers).then_some(*rate)
            }
            _ => None,
        };
        self.biting(limit).into_iter().min()
    }

    /// Bytes a second that a task reads, if a fault makes it slow.
    pub(super) fn reading_rate(&mut self, task: TaskId) -> Option<NonZeroU64> {
        let limit = |kind: &FaultKind, _| match kind {
            FaultKind::SlowReader { node, rate } if node.contains(task) => Some(*rate),
            _ => None,
        };
        self.biting(limit).into_iter().min()
    }

    /// What becomes of a message that arrives.
    pub(super) fn passage(&mut self, from: TaskId, to: TaskId) -> Passage {
        let modes = self.biting(|kind, _| match partition(kind, from, to) {
            Some(PartitionMode::Stop) => Some(Passage::Held),
            Some(PartitionMode::Jam) => Some(Passage::Lost),
            Some(PartitionMode::Slow) | None => None,
        });
        modes.into_iter().max_by_key(|passage| *passage == Passage::Lost).unwrap_or(Passage::Free)
    }

    /// What a message is delayed by. `latency` draws another one; only a slow partition needs it, so
    /// that no other fault moves what the network draws next.
    pub(super) fn delay(
        &mut self,
        from: TaskId,
        to: TaskId,
        mut latency: impl FnMut() -> Duration,
    ) -> Duration {
        let seed = self.seed;
        let delays = self.biting(|kind, bite| match kind {
            FaultKind::Delay { from: senders, to: receivers, by } => {
                let sample = || {
                    by.sample(&mut Stream::new(seed, Purpose::Delay, pair_number(from, to), bite))
                };
                leads((from, to), senders, receivers).then(sample)
            }
            _ if partition(kind, from, to) == Some(PartitionMode::Slow) => {
                Some(latency() * (SLOW_PARTITION - 1))
            }
            _ => None,
        });
        delays.into_iter().sum()
    }

    /// Whether a call, or its answer, does not get through.
    pub(super) fn hangs(&mut self, caller: TaskId, called: TaskId) -> bool {
        let stops = |kind: &FaultKind, from, to| {
            matches!(partition(kind, from, to), Some(PartitionMode::Stop | PartitionMode::Jam))
        };
        let hangs = self.biting(|kind, _| {
            let hangs = stops(kind, caller, called)
                || stops(kind, called, caller)
                || connects(kind, caller, called) == Some(ConnectMode::Hang);
            hangs.then_some(())
        });
        !hangs.is_empty()
    }

    /// Whether a call is refused although somebody is there.
    pub(super) fn refuses(&mut self, caller: TaskId, called: TaskId) -> bool {
        let refuses = |kind: &FaultKind, _| {
            (connects(kind, caller, called) == Some(ConnectMode::Refuse)).then_some(())
        };
        !self.biting(refuses).is_empty()
    }

    /// Whether a message is damaged; and if so, the how-manieth that is.
    pub(super) fn corrupts(&mut self, from: TaskId, to: TaskId) -> Option<u64> {
        let bites = self.biting(|kind, bite| match kind {
            FaultKind::Corrupt { from: senders, to: receivers } => {
                leads((from, to), senders, receivers).then_some(bite)
            }
            _ => None,
        });
        (!bites.is_empty()).then(|| bites.into_iter().sum())
    }

    /// Makes a gradient wrong, if a fault says so.
    pub(super) fn spoil(&mut self, task: TaskId, done: &mut Done) {
        let modes = self.biting(|kind, _| match kind {
            FaultKind::Gradient { node, mode } if node.contains(task) => Some(*mode),
            _ => None,
        });
        let Done::Gradient { loss, gradient, .. } = done else { return };
        for mode in modes {
            let Some(first) = gradient.first_mut() else { continue };
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

/// Flips the highest bit of the mantissa of the largest value: one of a pixel that is never lit is
/// 0, and would be lost in the update.
fn flip_a_bit(values: &mut [f32]) {
    let largest = values.iter_mut().max_by(|a, b| a.abs().total_cmp(&b.abs()));
    if let Some(value) = largest {
        *value = f32::from_bits(value.to_bits() ^ 1 << (f32::MANTISSA_DIGITS - 2));
    }
}

fn fits(pattern: &EventPattern, node: TaskId, what: Happening, is_input: bool) -> bool {
    pattern.event.map_or(is_input, |kind| kind == what.kind)
        && pattern.node.is_none_or(|of| of == node)
        && pattern.step.is_none_or(|step| what.step == Some(step))
}

/// Whether the way of a message or a call is one from these tasks to those.
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

/// The disk's own word for how it misbehaves; none if it only takes long, for it has no clock.
pub(super) const fn disk_fault(mode: DiskMode) -> Option<DiskFault> {
    Some(match mode {
        DiskMode::NoSpace => DiskFault::NoSpace,
        DiskMode::Io => DiskFault::Io,
        DiskMode::Torn => DiskFault::Torn,
        DiskMode::FailedSync => DiskFault::FailedSync,
        DiskMode::LostUnsynced => DiskFault::LostUnsynced,
        DiskMode::BitFlip => DiskFault::BitFlip,
        DiskMode::Slow { .. } => return None,
    })
}

/// Whether a task is one of two sets' members.
pub(super) fn chooses(set: TaskSet) -> impl Fn(TaskId) -> bool {
    move |task| set.contains(task)
}
