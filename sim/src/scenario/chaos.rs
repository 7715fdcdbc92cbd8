//! The section `[chaos]`: limits for the faults and the cluster sizes that each seed draws.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::fault::Family;
use super::keys::lines::quoted;
use super::keys::*;
use super::range::Range;
use super::sections::{PS, REPLICAS, TENSOR_FACTOR, WORKERS};

/// The number of faults of one run.
const FAULTS: RangeInclusive<i128> = 0..=1_000;
/// The number of slots per worker.
const SLOTS: RangeInclusive<i128> = 1..=64;

table! {
    /// Each seed draws its own faults, and may draw the size of the cluster. Without this section,
    /// nothing is drawn.
    Section "chaos" Check; pub struct Chaos {
        /// The kinds of faults that a seed may draw.
        families: Vec<Family> = all_but_gradient(); "all but `\"gradient\"`",
        /// Each seed uses only some of the kinds, each with probability 1/2. A run with few kinds
        /// reaches situations that the other kinds would prevent (Groce et al., Swarm testing,
        /// 2012).
        swarm: bool = true,
        /// The number of faults.
        faults: Range<u32>[FAULTS] = Range { min: 1, max: 6 },
        /// Faults begin before this time, or at a random event.
        within: Duration[ABOVE_ZERO] = Duration::from_millis(20),
        /// The longest duration of a fault.
        longest: Duration[ABOVE_ZERO] = Duration::from_secs(3),
        /// The number of parameter servers.
        ps: Option<Range<u32>>[PS] = None; "the value in `[cluster]`",
        /// The number of workers.
        workers: Option<Range<u32>>[WORKERS] = None; "the value in `[cluster]`",
        /// R, the number of gradients per update.
        replicas_to_aggregate: Option<Range<u32>>[REPLICAS] = None; "the value in `[sync]`",
        /// The number of slots per worker. One seed in sixteen draws this number, which then
        /// determines `replicas_to_aggregate`.
        slots_per_worker: Option<Range<u32>>[SLOTS] = None; "none",
        /// The factor by which the size of tensors is multiplied on links. One seed in four draws
        /// this factor.
        tensor_factor: Option<Range<u32>>[TENSOR_FACTOR] = None; "none",
        /// Each seed also draws the optimizer, with its default parameters.
        optimizer: bool = false,
    }
}

/// The kind `gradient` is not drawn by default, because a wrong gradient makes the result of the
/// run wrong.
fn all_but_gradient() -> Vec<Family> {
    let all = Family::NAMED.iter().map(|(family, _)| *family);
    all.filter(|family| *family != Family::Gradient).collect()
}

fn families(value: Value<'_>) -> Result<Vec<Family>, Wrong> {
    let expected = "an array of kinds of faults, such as [\"crash\", \"reset\"]";
    let mut families = Vec::new();
    for item in value.items(expected)? {
        let family = <Family as ValueType>::read(item, Bounds::ANY)?;
        if families.contains(&family) {
            return Err(item.wrong(format!("\"{}\" is listed twice", family.name())));
        }
        families.push(family);
    }
    if families.is_empty() {
        return Err(value.wrong("the array is empty; name kinds of faults, or omit the key"));
    }
    Ok(families)
}

value_types! {
    Vec<Family>: "array of fault kinds", |value, _| families(value), |families| {
        let names: Vec<_> = families.iter().map(|family| quoted(family.name())).collect();
        format!("[{}]", names.join(", "))
    };
}
