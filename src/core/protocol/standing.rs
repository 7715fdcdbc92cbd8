//! The version and the current wait of a node, as plain values for metrics. Reading these values
//! allocates no memory.

use crate::ids::Cut;
use crate::time::Moment;

/// A node's version and its current wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The version of a ps's shard, or the version that a worker holds of every shard. `None` until
    /// the node has a version.
    pub cut: Option<Cut>,
    /// The current wait, or `None` while the node computes.
    pub wait: Option<Wait>,
}

/// A wait of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The thing that the node waits for.
    pub what: WaitFor,
    /// The start of the wait, which is the time of the node's last progress. The arrival of a part
    /// of the awaited message does not change the start.
    pub since: Moment,
}

/// The kinds of waits of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WaitFor {
    /// The cluster's state. The node waits for the storage to read a checkpoint, for every ps to
    /// report its generation and step, or for a restore.
    State,
    /// The next version of a shard.
    Version,
    /// A worker's gradients.
    Gradient,
    /// The choice of the slots that an update uses. Occurs only if R < N.
    Choice,
    /// The final checkpoint, which must become durable.
    Checkpoint,
    /// The other tasks' confirmation that they know of the run's end.
    Goodbye,
    /// The acknowledgement of pushes. The window of pushes is full, because the link or the ps at
    /// its other end is slow.
    Link,
}

impl WaitFor {
    /// All kinds of waits.
    pub const ALL: [Self; 7] = [
        Self::State,
        Self::Version,
        Self::Gradient,
        Self::Choice,
        Self::Checkpoint,
        Self::Goodbye,
        Self::Link,
    ];

    /// Returns the name of this kind of wait, which metrics use as the value of the label `what`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Version => "version",
            Self::Gradient => "gradient",
            Self::Choice => "choice",
            Self::Checkpoint => "checkpoint",
            Self::Goodbye => "goodbye",
            Self::Link => "link",
        }
    }
}
