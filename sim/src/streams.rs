//! The purposes of random numbers in the simulator.
//!
//! Each combination of seed, purpose, entity and index has its own random stream. So the removal of
//! a fault does not change other draws. The simulator never shares a stream with `train.seed`, even
//! if the two seeds are equal.

/// The purpose of a random stream of the simulator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Durations of computations. Entity: the task; index: the step and the slot.
    // The values are far above those of the purposes of `train.seed`, which count from 0.
    Compute = 1 << 32,
    /// Latencies of messages. Entity: the ordered pair of tasks.
    Network,
    /// The bit of a message that is flipped. Entity: the ordered pair of tasks; index: the number
    /// of the corrupted message.
    Corruption,
    /// The parts of files that a power loss keeps. Index: the number of the power loss.
    PowerLoss,
    /// Lengths of torn writes, and bits that the disk flips.
    Disk,
    /// The delay of a message. Entity: the ordered pair of tasks; index: the number of the delayed
    /// message.
    Delay,
    /// The cluster that a seed draws.
    Shape,
    /// The faults that a seed draws. Entity: the number of the fault.
    Chaos,
    /// The choice of cached results that are computed again.
    Recheck,
    /// The order in which the executor polls tasks that are ready.
    Schedule,
    /// The pairs of crashes that `enumerate` plays.
    CrashPairs,
}

impl From<Purpose> for u64 {
    fn from(purpose: Purpose) -> Self {
        purpose as Self
    }
}
