//! What the simulator draws random numbers for. Each has streams of its own, one for each
//! (seed, purpose, entity, index), so that a fault less moves nothing else; and none of them is a
//! stream of `train.seed`, even if the two seeds are equal.

/// What a stream of the simulator is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// How long computations take; entity: the task.
    Compute = 1 << 32,
    /// How long messages take; entity: the ordered pair.
    Network,
    /// Which bit of a message is flipped; entity: the ordered pair.
    Corruption,
    /// What a power loss leaves; index: which one.
    PowerLoss,
    /// Which bits a disk flips.
    Disk,
    /// How much a fault delays a message; entity: the ordered pair, index: which message.
    Delay,
    /// How the cluster of a seed looks.
    Shape,
    /// Which faults there are; entity: the fault.
    Chaos,
    /// Whether a remembered gradient is computed again.
    Recheck,
    /// The order in which an executor runs what is ready.
    Schedule,
    /// Which pairs of crashes are played.
    CrashPairs,
}

impl From<Purpose> for u64 {
    fn from(purpose: Purpose) -> Self {
        purpose as Self
    }
}
