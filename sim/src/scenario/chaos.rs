//! Faults, and shapes of the cluster, that each seed draws for itself.

use std::time::Duration;

use serde::Serialize;

use super::Family;

/// What a seed may draw.
#[derive(Clone, Debug, PartialEq)]
pub struct Chaos {
    /// Which kinds of faults there may be.
    pub families: Vec<Family>,
    /// Each seed takes a random half of them, or so: with fewer kinds at a time, each meets
    /// situations that the others would prevent ("Swarm testing", Groce et al., 2012).
    pub swarm: bool,
    /// How many faults.
    pub faults: Range<u32>,
    /// They begin before this time, or at a random event before this step.
    pub within: Duration,
    /// The longest that one lasts.
    pub longest: Duration,
    /// Parameter servers; `None` is what `[cluster]` says.
    pub ps: Option<Range<u32>>,
    /// Workers; `None` is what `[cluster]` says.
    pub workers: Option<Range<u32>>,
    /// Gradients an update; `None` is what `[sync]` says.
    pub replicas_to_aggregate: Option<Range<u32>>,
    /// Slots a worker, in one seed of sixteen instead of `replicas_to_aggregate`.
    pub slots_per_worker: Option<Range<u32>>,
    /// How much larger the model counts on links, in one seed of four.
    pub tensor_factor: Option<Range<u32>>,
    /// The optimizer, too, with its default parameters.
    pub optimizer: bool,
}

/// From `min` to `max`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Range<T> {
    /// The least.
    pub min: T,
    /// The most.
    pub max: T,
}

impl<T: PartialOrd> Range<T> {
    /// Whether a value is in it.
    pub fn contains(&self, value: &T) -> bool {
        (&self.min..=&self.max).contains(&value)
    }
}
