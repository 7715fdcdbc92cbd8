//! Draws the values that `[chaos]` leaves to the seed: the size of the cluster, and faults that a
//! scenario file could also list.
//!
//! Each fault has its own random stream, so that the removal of one fault does not change the other
//! faults.

use std::time::Duration;

use unisono_core::random::Stream;
use unisono_core::train_config::{Optimizer, Placement, Sync};

use super::dice::{Dice, Targets};
use crate::scenario::{
    Chaos, End, EventPattern, Family, Fault, FaultKind, Oracle, Range, Scenario, Trigger, nanos,
};
use crate::streams::Purpose;
use unisono_observe::trace::EventKind;

/// The maximum number of inputs of one node that a drawn fault waits for. In a small run, a node
/// takes a few hundred inputs.
const MAX_NTH: u64 = 300;
/// The maximum duration of a drawn fault of the disk. The chief tries to write the final checkpoint
/// for 20 s, so a disk that fails for longer rightly ends the run.
const LONGEST_DISK_FAULT: Duration = Duration::from_secs(5);

/// Events at which a fault is most likely to reveal a mistake in the protocol.
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

/// Returns the scenario that a seed plays: `[chaos]` is replaced by the draws of the seed.
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

/// Draws the fault with the number `number` of a seed. The kind of the fault is one of `families`.
#[must_use]
pub fn fault(
    scenario: &Scenario,
    chaos: &Chaos,
    families: &[Family],
    seed: u64,
    number: u32,
) -> Fault {
    let mut dice = Dice {
        stream: Stream::new(seed, Purpose::Chaos, u64::from(number), 0),
        longest: chaos.longest,
        tensor_factor: scenario.network.tensor_factor,
        n_ps: scenario.run.n_ps,
        n_workers: scenario.run.sync.total_num_replicas,
    };
    let family = dice.pick(families);
    // Every kind of fault draws all targets first, so that the draws of its own keys begin at the
    // same position.
    let node = dice.tasks();
    let (from, to) = dice.pair();
    let kind = FaultKind::draw(family, &mut dice, &Targets { node, from, to });
    let longest = match family {
        Family::Disk => chaos.longest.min(LONGEST_DISK_FAULT),
        _ => chaos.longest,
    };
    // A wall clock that was set back stays so for the rest of the run.
    let stays = matches!(kind, FaultKind::Clock { set_back, .. } if set_back > Duration::ZERO);
    let has_end = !kind.is_instant() && !stays;
    let end = has_end.then(|| End::For(dice.duration(longest)));
    let trigger = draw_trigger(&mut dice, chaos);
    let id = format!("chaos-{number}-{}", family.name());
    Fault { id, trigger, end, kind, may_be_inert: true }
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

/// In some seeds, draws a high load for the links: many slots per worker, or large tensors. The
/// load has its own random stream, so that drawing the load does not change the other draws.
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

fn draw_trigger(dice: &mut Dice, chaos: &Chaos) -> Trigger {
    let (event, node, most) = match dice.below(4) {
        0 => {
            let within = nanos(chaos.within).max(1);
            return Trigger::At(Duration::from_nanos(dice.below(within)));
        }
        1 => (None, Some(dice.task()), MAX_NTH),
        _ => {
            let event = dice.pick(DELICATE);
            // Most faults that wait for a delicate event begin at one of its first six occurrences.
            (Some(event), None, if dice.below(4) == 0 { 80 } else { 6 })
        }
    };
    let (nth, when) = (1 + dice.below(most), dice.choice());
    Trigger::On(EventPattern { event, node, step: None, nth, when })
}
