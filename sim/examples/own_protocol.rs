//! Tries out changes of the protocol in the simulator, without a change of the production code.
//!
//! `cargo run --release -p unisono-sim --example own_protocol` takes a few seconds.
//!
//! A [`Node`] takes an input and returns effects, so a wrapper around a node can change the node's
//! effects. This example changes a ps (parameter server) in two ways:
//!
//! - [`twice`] sends each version twice, as a ps might do if it does not know whether the first
//!   copy arrived. A worker begins each step once, so the second copy is harmless. Every run
//!   equals, bit for bit, the run that the simulator recomputes from the ledgers.
//! - [`mute`] saves a message: the ps does not answer a worker whose gradient came too late. All
//!   results are still right, but rule 5 of `docs/protocol.md` forbids a ps to drop a gradient
//!   silently. An invariant reports the broken rule, and the example prints the seed of the run.
//!
//! To try out your own change, write a wrapper, and choose a scenario in which the change can go
//! wrong. If your change concerns late gradients, use more workers than gradients per update.
//! `scenarios/` has many scenarios.
#![expect(clippy::print_stdout, reason = "the example prints its results")]

use std::sync::Arc;

use unisono_core::protocol::{Effect, Input, Message, Node, Standing, Status, Verdict};
use unisono_core::{Job, Moment, TaskId};
use unisono_sim::play;
use unisono_sim::run::failure::Failure;
use unisono_sim::run::played::{Change, PlayOptions};
use unisono_sim::scenario::draw;
use unisono_sim::{ComputeCaches, Scenario};

/// With four workers and three gradients per update, the slowest gradient of each step comes too
/// late, and the ps must answer its worker. Each seed also draws up to three faults.
const SCENARIO: &str = r#"
[train]
training_steps = 12

[cluster]
workers = 4

[sync]
replicas_to_aggregate = 3

[compute]
gradient = { exponential = "1ms", min = "300us" }

[chaos]
faults = { min = 0, max = 3 }
families = ["crash", "pause", "delay", "slow"]

[expect]
oracle = "provenance"
gradients_per_update = 3
"#;

const SEEDS: u64 = 64;

fn main() -> anyhow::Result<()> {
    for (name, change) in [("twice", twice as Change), ("mute", mute as Change)] {
        match first_failure(change)? {
            None => println!("{name}: {SEEDS} seeds passed, all with the bits of the serial run"),
            Some((seed, failure)) => println!("{name}: seed {seed}: {failure}"),
        }
    }
    Ok(())
}

/// Returns the first seed whose run fails, and the failure. Returns `None` if all runs pass.
///
/// # Errors
/// If the scenario is not valid.
pub(crate) fn first_failure(change: Change) -> anyhow::Result<Option<(u64, Failure)>> {
    let scenario = Scenario::parse(SCENARIO, "own_protocol.toml")?;
    let caches = ComputeCaches::default();
    let options = PlayOptions { change: Some(change), ..PlayOptions::default() };
    let fails = |seed| {
        let drawn = Arc::new(draw::draw(&scenario, seed));
        play(&drawn, seed, &caches, options).failure.map(|failure| (seed, failure))
    };
    Ok((0..SEEDS).find_map(fails))
}

/// Makes each ps send every version twice.
pub(crate) fn twice(task: TaskId, node: Box<dyn Node>) -> Box<dyn Node> {
    changed_ps(task, node, |effects| {
        // The copy directly follows its original, so that the order of the other effects stays the
        // same. The protocol relies on this order.
        for effect in std::mem::take(effects) {
            let is_version =
                matches!(effect, Effect::Send { message: Message::Version { .. }, .. });
            let copy = is_version.then(|| effect.clone());
            effects.push(effect);
            effects.extend(copy);
        }
    })
}

/// Removes each ps's answers to gradients that came too late.
pub(crate) fn mute(task: TaskId, node: Box<dyn Node>) -> Box<dyn Node> {
    changed_ps(task, node, |effects| {
        effects.retain(|effect| {
            let Effect::Send { message, .. } = effect else { return true };
            !matches!(message, Message::PushReply { verdict: Verdict::Stale, .. })
        });
    })
}

/// Applies `change` to the effects that a ps returns for each input. Workers stay unchanged.
pub(crate) fn changed_ps(
    task: TaskId,
    node: Box<dyn Node>,
    change: fn(&mut Vec<Effect>),
) -> Box<dyn Node> {
    if task.job == Job::Ps { Box::new(Changed { node, change }) } else { node }
}

/// A node with changed effects.
struct Changed {
    node: Box<dyn Node>,
    change: fn(&mut Vec<Effect>),
}

impl Node for Changed {
    fn handle(&mut self, now: Moment, input: &Input, out: &mut Vec<Effect>) {
        let mut effects = Vec::new();
        self.node.handle(now, input, &mut effects);
        (self.change)(&mut effects);
        out.append(&mut effects);
    }

    fn deadline(&self) -> Option<Moment> {
        self.node.deadline()
    }

    fn status(&self, now: Moment) -> Status {
        self.node.status(now)
    }

    fn standing(&self, of: &mut dyn FnMut(TaskId)) -> Standing {
        self.node.standing(of)
    }
}
