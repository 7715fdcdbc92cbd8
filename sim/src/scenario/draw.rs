//! Draws what a seed's chaos is: the cluster's shape, and faults like any that a file could list.
//!
//! Each fault has a stream of its own, so that one less moves no other.

use std::num::NonZeroU64;
use std::time::Duration;

use unisono_core::random::Stream;
use unisono_core::train_config::{Optimizer, Placement, Sync};
use unisono_core::{Job, TaskId};

use crate::scenario::{
    Chaos, ConnectMode, DiskMode, Distribution, End, EventPattern, Family, Fault, FaultKind,
    GradientMode, Oracle, PartitionMode, PeersSee, Range, Scenario, TaskSet, Trigger, When, nanos,
};
use crate::streams::Purpose;
use unisono_observe::trace::EventKind;

/// The shortest fault: less than a message takes.
const SHORTEST: Duration = Duration::from_micros(50);
/// How far back a wall clock is set: further than any run lasts, so that the next life of a task has a
/// smaller incarnation than every life before.
const AN_HOUR: Duration = Duration::from_secs(3600);
/// Events of one node that a fault may wait for: a small run has some hundred.
const MAX_NTH: u64 = 300;
/// The final checkpoint is tried for 20 s; a disk that refuses for longer rightly ends the run.
const LONGEST_DISK_FAULT: Duration = Duration::from_secs(5);

/// Moments of a step and of a run at which a fault is worth more than at others.
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

/// The scenario that a seed plays: without chaos, but with what this seed drew of it.
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

/// Fault number `number` of a seed, of one of these families.
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
    if scenario.expect.oracle.is_some() {
        let timing_chooses = replicas_to_aggregate < total_num_replicas;
        let oracle = if timing_chooses { Oracle::Provenance } else { Oracle::Serial };
        scenario.expect.oracle = Some(oracle);
    }
}

/// Some seeds put much on the links. Their stream is their own, so that it moves no other.
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

/// One fault being drawn.
struct Draw<'a> {
    scenario: &'a Scenario,
    chaos: &'a Chaos,
    stream: Stream,
}

impl Draw<'_> {
    fn fault(&mut self, number: u32, families: &[Family]) -> Fault {
        let family = self.pick(families);
        let kind = self.kind(family);
        let longest = match family {
            Family::Disk => self.chaos.longest.min(LONGEST_DISK_FAULT),
            _ => self.chaos.longest,
        };
        // Nobody sets a wall clock right while a run lasts.
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

    fn coin(&mut self) -> bool {
        self.stream.below(2) == 0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.stream.below(bound)
    }

    /// Short ones are as likely as long ones: any power of two is, from the shortest on.
    fn duration(&mut self, longest: Duration) -> Duration {
        let (shortest, longest) = (nanos(SHORTEST), nanos(longest).max(nanos(SHORTEST) + 1));
        let n_doublings = (longest / shortest).ilog2() + 1;
        let scale = shortest << self.below(u64::from(n_doublings));
        Duration::from_nanos((scale + self.below(scale)).min(longest))
    }

    fn trigger(&mut self) -> Trigger {
        match self.below(4) {
            0 => Trigger::At(Duration::from_nanos(self.below(nanos(self.chaos.within).max(1)))),
            1 => Trigger::On(EventPattern {
                event: None,
                node: Some(self.task()),
                step: None,
                nth: 1 + self.below(MAX_NTH),
                when: self.pick(&[When::Before, When::After]),
            }),
            _ => {
                let event = self.pick(DELICATE);
                let mostly_early = if self.below(4) == 0 { 80 } else { 6 };
                EventPattern {
                    event: Some(event),
                    node: None,
                    step: None,
                    nth: 1 + self.below(mostly_early),
                    when: self.pick(&[When::Before, When::After]),
                }
                .into()
            }
        }
    }

    fn task(&mut self) -> TaskId {
        let n_ps = u64::from(self.scenario.run.n_ps);
        let n_tasks = n_ps + u64::from(self.scenario.run.sync.total_num_replicas);
        let number = self.below(n_tasks);
        let index = |number| u32::try_from(number).expect("a task's number is one of 32 bits");
        if number < n_ps { TaskId::ps(index(number)) } else { TaskId::worker(index(number - n_ps)) }
    }

    /// Mostly one task.
    fn tasks(&mut self) -> TaskSet {
        match self.below(10) {
            0 => TaskSet::All,
            1 => TaskSet::Job(self.pick(&[Job::Ps, Job::Worker])),
            _ => TaskSet::Task(self.task()),
        }
    }

    /// Two ends of links: workers and ps, or ps and ps.
    fn pair(&mut self) -> (TaskSet, TaskSet) {
        match self.below(6) {
            0 => (TaskSet::Job(Job::Worker), TaskSet::Job(Job::Ps)),
            1 => (TaskSet::All, TaskSet::Task(self.task())),
            2 => (TaskSet::Task(self.task()), TaskSet::All),
            _ => (TaskSet::Task(self.task()), TaskSet::Task(self.task())),
        }
    }

    fn kind(&mut self, family: Family) -> FaultKind {
        let node = self.tasks();
        let (from, to) = self.pair();
        match family {
            Family::Crash => FaultKind::Crash {
                node,
                peers: self.pick(&[PeersSee::Silence, PeersSee::Reset]),
                power_loss: self.coin(),
            },
            Family::Pause => FaultKind::Pause { node },
            Family::Stop => FaultKind::Stop { node },
            Family::Slow => FaultKind::Slow { node, factor: (2 + self.below(500)) as f64 },
            Family::Delay => {
                let longest = self.duration(self.chaos.longest);
                let by = Distribution::Uniform { min: Duration::ZERO, max: longest };
                FaultKind::Delay { from, to, by }
            }
            Family::Partition => FaultKind::Partition {
                from,
                to,
                both_ways: self.coin(),
                mode: self.pick(&[PartitionMode::Stop, PartitionMode::Slow, PartitionMode::Jam]),
            },
            Family::Reset => FaultKind::Reset { from, to },
            Family::HalfOpen => FaultKind::HalfOpen { from, to },
            Family::Duplicate => FaultKind::Duplicate { from, to },
            Family::Connect => FaultKind::Connect {
                from,
                to,
                mode: self.pick(&[ConnectMode::Refuse, ConnectMode::Hang]),
            },
            Family::Corrupt => FaultKind::Corrupt { from, to },
            Family::NarrowLink => {
                let bytes = 10_000 << self.below(10);
                let rate = self.rate(bytes);
                FaultKind::NarrowLink { from, to, rate }
            }
            Family::SlowReader => {
                let bytes = 100_000 << self.below(7);
                let rate = self.rate(bytes);
                FaultKind::SlowReader { node, rate }
            }
            // Neither a lying disk nor flipped bits can be survived by anybody.
            Family::Disk => {
                let factor = 2 + u32::try_from(self.below(100)).expect("below 100");
                let modes = [
                    DiskMode::NoSpace,
                    DiskMode::Io,
                    DiskMode::Torn,
                    DiskMode::FailedSync,
                    DiskMode::Slow(factor),
                ];
                FaultKind::Disk { mode: self.pick(&modes) }
            }
            Family::Clock => self.clock(node),
            Family::Gradient => FaultKind::Gradient { node, mode: GradientMode::FlippedBit },
        }
    }

    /// Half of the time a wall clock that is set back. It shows only if the task restarts later.
    fn clock(&mut self, node: TaskSet) -> FaultKind {
        if self.coin() {
            let (skew_ppm, jump) = (0, Duration::ZERO);
            return FaultKind::Clock { node, skew_ppm, jump, set_back: AN_HOUR };
        }
        FaultKind::Clock {
            node,
            skew_ppm: i32::try_from(self.below(400_000)).expect("below 400,000") - 200_000,
            jump: if self.coin() { self.duration(self.chaos.longest) } else { Duration::ZERO },
            set_back: Duration::ZERO,
        }
    }

    /// Bytes a second, for a model of the size that counts. What is on its way when a fault ends
    /// keeps its time, so that a model a thousand times as large would take hours.
    fn rate(&self, of_the_small_model: u64) -> NonZeroU64 {
        let factor = u64::from(self.scenario.network.tensor_factor);
        NonZeroU64::MIN.saturating_add(of_the_small_model * factor)
    }
}

impl From<EventPattern> for Trigger {
    fn from(pattern: EventPattern) -> Self {
        Self::On(pattern)
    }
}
