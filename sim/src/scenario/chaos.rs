//! Faults and shapes of the cluster that each seed draws for itself.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::Serialize;

use super::Family;
use super::file::declare::*;
use super::sections::{PS, REPLICAS, TENSOR_FACTOR, WORKERS};

/// The number of faults of one run.
const FAULTS: RangeInclusive<i128> = 0..=1_000;
/// The number of slots per worker.
const SLOTS: RangeInclusive<i128> = 1..=64;

table! {
    /// Faults and shapes of the cluster that each seed draws for itself. Without this section,
    /// nothing is drawn.
    Section "chaos" check check_within; pub struct Chaos {
        /// The kinds of faults that a seed may draw.
        families: Vec<Family> = all_but_gradient(),
        /// Each seed uses a random half of the kinds. With fewer kinds at a time, a run reaches
        /// situations that the other kinds would prevent (Groce et al., Swarm testing, 2012).
        swarm: bool = true,
        /// The number of faults.
        faults: Range<u32>[FAULTS] = Range { min: 1, max: 6 },
        /// Faults begin before this time, or at a random event.
        within: Duration[ABOVE_ZERO] = Duration::from_millis(20),
        /// The longest duration of a fault.
        longest: Duration[ABOVE_ZERO] = Duration::from_secs(3),
        /// The number of parameter servers.
        ps: Option<Range<u32>>[PS] = None; "what `[cluster]` says",
        /// The number of workers.
        workers: Option<Range<u32>>[WORKERS] = None; "what `[cluster]` says",
        /// R, the number of gradients per update.
        replicas_to_aggregate: Option<Range<u32>>[REPLICAS] = None; "what `[sync]` says",
        /// The number of slots per worker. One seed in sixteen draws it, instead of
        /// `replicas_to_aggregate`.
        slots_per_worker: Option<Range<u32>>[SLOTS] = None; "none",
        /// The factor by which tensors count as larger on links. One seed in four draws it.
        tensor_factor: Option<Range<u32>>[TENSOR_FACTOR] = None; "none",
        /// Each seed also draws the optimizer, with its default parameters.
        optimizer: bool = false,
    }
}

/// A wrong gradient makes a wrong run, so a fault of the kind `gradient` must be asked for.
fn all_but_gradient() -> Vec<Family> {
    let all = Family::NAMED.iter().map(|(family, _)| *family);
    all.filter(|family| *family != Family::Gradient).collect()
}

fn check_within(chaos: &Chaos, section: Section<'_>) -> Result<(), Wrong> {
    let what = "faults would begin after max_virtual_time, when the run is given up";
    section.deny("within", chaos.within > section.shape.max_virtual_time, what)
}

/// The values from `min` to `max`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Range<T> {
    /// The least value.
    pub min: T,
    /// The greatest value.
    pub max: T,
}

impl<T: PartialOrd> Range<T> {
    /// Returns whether a value is in the range.
    pub fn contains(&self, value: &T) -> bool {
        (&self.min..=&self.max).contains(&value)
    }
}
