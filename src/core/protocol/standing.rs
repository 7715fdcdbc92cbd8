//! A node's version and its current wait as plain values, for metrics. Allocates nothing.

use crate::ids::Cut;
use crate::time::Moment;

/// A node's version and its current wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The node's version: the version of a ps's shard, or the version that a worker holds of every
    /// shard. `None` until the node has one.
    pub cut: Option<Cut>,
    /// The current wait, or `None` while the node computes.
    pub wait: Option<Wait>,
}

/// A wait of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The thing that the node waits for.
    pub what: WaitFor,
    /// The start of the wait, which is the time of the node's last progress. If only a part of the
    /// awaited message arrives, the start stays the same.
    pub since: Moment,
}

/// The kinds of waits of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WaitFor {
    /// The cluster's state: a node waits for the read of a checkpoint, the cuts of the ps, or a
    /// restore.
    State,
    /// The next version of a shard.
    Version,
    /// A worker's gradients.
    Gradient,
    /// The choice of the slots that an update uses, when R < N.
    Choice,
    /// The final checkpoint, which must become durable.
    Checkpoint,
    /// The confirmation of other tasks that they know of the run's end.
    Goodbye,
    /// The acknowledgement of pushes, because the window of pushes is full. The link or its ps is
    /// slow.
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

    /// Returns the wait's value of the label `what` in metrics.
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
