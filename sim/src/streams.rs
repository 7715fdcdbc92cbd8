//! The purposes of random numbers in the simulator.
//!
//! Each combination of seed, purpose, entity and index has its own random stream. Removing a fault
//! from a scenario therefore does not change the random numbers of other faults. The streams of the
//! simulator differ from those of `train.seed`, even if the two seeds are equal.

/// The purpose of a random stream of the simulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Durations of computations. The entity is the task. The index is made of the step and the
    /// slot.
    // The values are far above those of the purposes of `train.seed`, which count from 0.
    Compute = 1 << 32,
    /// Latencies of messages. The entity is the ordered pair of tasks.
    Network,
    /// The bit that a fault flips in a message. The entity is the ordered pair of tasks. The index
    /// is the number of the corrupted message.
    Corruption,
    /// The parts of files that survive a power loss. The index is the number of the power loss.
    PowerLoss,
    /// Lengths of torn writes, and bits that the disk flips.
    Disk,
    /// The delay that a fault adds to a message. The entity is the ordered pair of tasks. The index
    /// is the number of the delayed message.
    Delay,
    /// The cluster that a seed draws within the ranges of `[chaos]`.
    Shape,
    /// The faults that a seed draws within the ranges of `[chaos]`. The entity is the number of the
    /// fault.
    Chaos,
    /// The selection of cached results that are recomputed as a check.
    Recheck,
    /// The order in which the executor polls tasks that are ready.
    Schedule,
    /// The pairs of crashes that the command `enumerate` plays.
    CrashPairs,
}

impl From<Purpose> for u64 {
    fn from(purpose: Purpose) -> Self {
        purpose as Self
    }
}
