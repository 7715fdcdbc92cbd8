//! Draws the chaos of a seed: the shape of the cluster, and faults that a file could also list.
//!
//! Each fault has its own random stream, so that the removal of a fault does not change the others.

use std::num::NonZeroU64;
use std::time::Duration;

use unisono_core::random::Stream;
use unisono_core::train_config::{Optimizer, Placement, Sync};
use unisono_core::{Job, TaskId};

use crate::scenario::file::declare::Choice;
use crate::scenario::{
    Chaos, DiskMode, Distribution, End, EventPattern, Family, Fault, FaultKind, Oracle, Range,
    Scenario, TaskSet, Trigger, nanos,
};
use crate::streams::Purpose;
use unisono_observe::trace::EventKind;

/// The shortest fault, which is shorter than the latency of a message.
const SHORTEST: Duration = Duration::from_micros(50);
/// The time by which a fault sets a wall clock back. It exceeds the length of any run, so that the
/// next incarnation of a task is smaller than all earlier ones.
pub(super) const SET_BACK: Duration = Duration::from_secs(3600);
/// The highest number of an event of one node that a fault waits for. A small run has some hundred.
const MAX_NTH: u64 = 300;
/// The chief tries to write the final checkpoint for 20 s. A disk that fails for longer ends the
/// run, and rightly so.
const LONGEST_DISK_FAULT: Duration = Duration::from_secs(5);

/// The events at which a fault is most likely to find a mistake of the protocol.
const DELICATE: &[EventKind] = &[
    EventKind::Computes,
    EventKind::Computed,
    EventKind::SendsPush,
    EventKind::ReceivesPush,
    EventKind::Updates,
    EventKind::Updated,
    EventKind::SendsVersion,
    EventKind::ReceivesVersion,
    EventKind::SendsReceived,
    EventKind::SendsChosen,
    EventKind::ReceivesChosen,
    EventKind::ReceivesHello,
    EventKind::ReceivesWelcome,
    EventKind::SendsRestore,
    EventKind::ReceivesRestore,
    EventKind::ReceivesRestored,
    EventKind::SendsCapture,
    EventKind::ReceivesCapture,
    EventKind::ReceivesCaptured,
    EventKind::Saves,
    EventKind::Saved,
    EventKind::Records,
    EventKind::ReceivesFinished,
    EventKind::SendsGoodbye,
];

/// Returns the scenario that a seed plays, with the draws of the seed in place of `[chaos]`.
#[must_use]
pub fn draw(scenario: &Scenario, seed: u64) -> Scenario {
    let mut drawn = scenario.clone();
    let Some(chaos) = drawn.chaos.take() else { return drawn };
    let mut stream = Stream::new(seed, Purpose::Shape, 0, 0);
    draw_shape(&mut drawn, &chaos, seed, &mut stream);
    let families = draw_families(&chaos, &mut stream);
    let n_faults = within(chaos.faults, &mut stream);
    let faults: Vec<_> =
        (0..n_faults).map(|number| fault(&drawn, &chaos, &families, seed, number)).collect();
    drawn.faults.extend(faults);
    drawn
}

/// Draws fault number `number` of a seed, of one of these families.
#[must_use]
pub fn fault(
    scenario: &Scenario,
    chaos: &Chaos,
    families: &[Family],
    seed: u64,
    number: u32,
) -> Fault {
    let stream = Stream::new(seed, Purpose::Chaos, u64::from(number), 0);
    Draw { scenario, chaos, stream }.fault(number, families)
}

fn within(range: Range<u32>, stream: &mut Stream) -> u32 {
    let span = u64::from(range.max.saturating_sub(range.min)) + 1;
    range.min + u32::try_from(stream.below(span)).expect("no more than the range")
}

fn draw_shape(scenario: &mut Scenario, chaos: &Chaos, seed: u64, stream: &mut Stream) {
    let Sync { replicas_to_aggregate, total_num_replicas } = scenario.run.sync;
    let draw = |range: Option<Range<u32>>, given, stream: &mut Stream| {
        range.map_or(given, |range| within(range, stream))
    };
    scenario.run.n_ps = draw(chaos.ps, scenario.run.n_ps, stream);
    scenario.run.sync = Sync {
        total_num_replicas: draw(chaos.workers, total_num_replicas, stream),
        replicas_to_aggregate: draw(chaos.replicas_to_aggregate, replicas_to_aggregate, stream),
    };
    if chaos.ps.is_some() {
        scenario.run.placement = *pick(&[Placement::Even, Placement::RoundRobin], stream);
    }
    if chaos.optimizer {
        let optimizers = [
            Optimizer::Sgd,
            Optimizer::Momentum { momentum: 0.9, nesterov: false },
            Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 },
        ];
        scenario.run.train.optimizer = *pick(&optimizers, stream);
    }
    draw_load(scenario, chaos, seed);
    let Sync { replicas_to_aggregate, total_num_replicas } = scenario.run.sync;
    let timing_chooses = replicas_to_aggregate < total_num_replicas;
    let oracle = if timing_chooses { Oracle::Provenance } else { Oracle::Serial };
    scenario.expect.oracle = scenario.expect.oracle.map(|_| oracle);
}

/// Some seeds load the links heavily. The load has its own stream, so that it does not change the
/// other draws.
fn draw_load(scenario: &mut Scenario, chaos: &Chaos, seed: u64) {
    let mut stream = Stream::new(seed, Purpose::Shape, 1, 0);
    let (has_many_slots, has_large_model) = (stream.below(16) == 0, stream.below(4) == 0);
    if let Some(slots) = chaos.slots_per_worker.filter(|_| has_many_slots) {
        let sync = &mut scenario.run.sync;
        sync.replicas_to_aggregate = sync.total_num_replicas * within(slots, &mut stream);
    }
    if let Some(factor) = chaos.tensor_factor.filter(|_| has_large_model) {
        scenario.network.tensor_factor = within(factor, &mut stream);
    }
}

fn draw_families(chaos: &Chaos, stream: &mut Stream) -> Vec<Family> {
    if !chaos.swarm {
        return chaos.families.clone();
    }
    let chosen: Vec<_> = chaos.families.iter().copied().filter(|_| stream.below(2) == 0).collect();
    if chosen.is_empty() { vec![*pick(&chaos.families, stream)] } else { chosen }
}

fn pick<'a, T>(from: &'a [T], stream: &mut Stream) -> &'a T {
    &from[stream.below(from.len() as u64) as usize]
}

/// The tasks that a fault affects, of which its kind uses some.
pub(super) struct Targets {
    pub(super) node: TaskSet,
    pub(super) from: TaskSet,
    pub(super) to: TaskSet,
}

/// The draw of one fault.
pub(super) struct Draw<'a> {
    scenario: &'a Scenario,
    chaos: &'a Chaos,
    stream: Stream,
}

impl Draw<'_> {
    fn fault(&mut self, number: u32, families: &[Family]) -> Fault {
        let family = self.pick(families);
        // Every kind draws all targets, so that its own draws begin at the same place.
        let node = self.tasks();
        let (from, to) = self.pair();
        let kind = FaultKind::draw(family, self, &Targets { node, from, to });
        let longest = match family {
            Family::Disk => self.chaos.longest.min(LONGEST_DISK_FAULT),
            _ => self.chaos.longest,
        };
        // A wall clock that was set back stays wrong for the rest of the run.
        let stays = matches!(kind, FaultKind::Clock { set_back, .. } if set_back > Duration::ZERO);
        let has_end = !kind.is_instant() && !stays;
        let end = has_end.then(|| End::For(self.duration(longest)));
        let trigger = self.trigger();
        let id = format!("chaos-{number}-{}", family.name());
        Fault { id, trigger, end, kind, may_be_inert: true }
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        *pick(from, &mut self.stream)
    }

    /// Any value with a name.
    pub(super) fn choice<T: Choice>(&mut self) -> T {
        self.pick(&T::named()).0
    }

    pub(super) fn coin(&mut self) -> bool {
        self.stream.below(2) == 0
    }

    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.stream.below(bound)
    }

    /// A duration for which every power of two, from the shortest duration on, is equally likely.
    fn duration(&mut self, longest: Duration) -> Duration {
        let (shortest, longest) = (nanos(SHORTEST), nanos(longest).max(nanos(SHORTEST) + 1));
        let n_doublings = (longest / shortest).ilog2() + 1;
        let scale = shortest << self.below(u64::from(n_doublings));
        Duration::from_nanos((scale + self.below(scale)).min(longest))
    }

    fn trigger(&mut self) -> Trigger {
        let (event, node, most) = match self.below(4) {
            0 => {
                let within = nanos(self.chaos.within).max(1);
                return Trigger::At(Duration::from_nanos(self.below(within)));
            }
            1 => (None, Some(self.task()), MAX_NTH),
            _ => {
                let event = self.pick(DELICATE);
                // Most of these faults come early in a run.
                (Some(event), None, if self.below(4) == 0 { 80 } else { 6 })
            }
        };
        let (nth, when) = (1 + self.below(most), self.choice());
        Trigger::On(EventPattern { event, node, step: None, nth, when })
    }

    fn task(&mut self) -> TaskId {
        let n_ps = u64::from(self.scenario.run.n_ps);
        let n_tasks = n_ps + u64::from(self.scenario.run.sync.total_num_replicas);
        let number = self.below(n_tasks);
        let index = |number| u32::try_from(number).expect("a task's number is one of 32 bits");
        if number < n_ps { TaskId::ps(index(number)) } else { TaskId::worker(index(number - n_ps)) }
    }

    /// The tasks of a fault, in most cases one task.
    fn tasks(&mut self) -> TaskSet {
        match self.below(10) {
            0 => TaskSet::All,
            1 => TaskSet::Job(self.pick(&[Job::Ps, Job::Worker])),
            _ => TaskSet::Task(self.task()),
        }
    }

    /// The two ends of links.
    fn pair(&mut self) -> (TaskSet, TaskSet) {
        match self.below(6) {
            0 => (TaskSet::Job(Job::Worker), TaskSet::Job(Job::Ps)),
            1 => (TaskSet::All, TaskSet::Task(self.task())),
            2 => (TaskSet::Task(self.task()), TaskSet::All),
            _ => (TaskSet::Task(self.task()), TaskSet::Task(self.task())),
        }
    }

    /// The delay of a delayed message.
    pub(super) fn delay(&mut self) -> Distribution {
        Distribution::Uniform { min: Duration::ZERO, max: self.duration(self.chaos.longest) }
    }

    /// `base` bytes per second, or one of the next `n_doublings - 1` doublings, times the factor by
    /// which the model counts as larger. What is on its way when a fault ends keeps its time, so
    /// that a model a thousand times as large would otherwise take hours.
    pub(super) fn rate(&mut self, base: u64, n_doublings: u64) -> NonZeroU64 {
        let factor = u64::from(self.scenario.network.tensor_factor);
        NonZeroU64::MIN.saturating_add((base << self.below(n_doublings)) * factor)
    }

    /// Any failure of the disk but a lying disk and flipped bits, which no task can survive.
    pub(super) fn disk_mode(&mut self) -> DiskMode {
        let factor = 2 + u32::try_from(self.below(100)).expect("below 100");
        self.pick(&[
            DiskMode::NoSpace,
            DiskMode::Io,
            DiskMode::Torn,
            DiskMode::FailedSync,
            DiskMode::Slow { factor },
        ])
    }

    pub(super) fn skew_ppm(&mut self) -> i32 {
        i32::try_from(self.below(400_000)).expect("below 400,000") - 200_000
    }

    /// The jump of a clock; half of the clocks do not jump.
    pub(super) fn jump(&mut self) -> Duration {
        if self.coin() { self.duration(self.chaos.longest) } else { Duration::ZERO }
    }
}
