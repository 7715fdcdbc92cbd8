//! A node's version and its current wait as plain values, for metrics. Allocates nothing.

use crate::ids::Cut;
use crate::time::Moment;

/// A node's version and its current wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The node's version: that of a ps's shard, or the whole version of a worker. `None` until the
    /// node has one.
    pub cut: Option<Cut>,
    /// The current wait, or `None` while the node computes.
    pub wait: Option<Wait>,
}

/// A wait of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// The thing that the node waits for.
    pub what: WaitFor,
    /// The start of the wait, which is the node's last progress. The arrival of a part of the
    /// awaited thing does not start a new wait.
    pub since: Moment,
}

/// The things that a node can wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WaitFor {
    /// The cluster's state: the reading of a checkpoint, the cuts of the ps, or a restore.
    State,
    /// The next version of a shard.
    Version,
    /// A worker's gradients.
    Gradient,
    /// The choice of the slots that an update uses, when R < N.
    Choice,
    /// The durable final checkpoint.
    Checkpoint,
    /// The other tasks' confirmation that they know of the end of the run.
    Goodbye,
    /// The acknowledgement of a full window of pushes: a link or its ps is slow.
    Link,
}

impl WaitFor {
    /// All things that a node can wait for.
    pub const ALL: [Self; 7] = [
        Self::State,
        Self::Version,
        Self::Gradient,
        Self::Choice,
        Self::Checkpoint,
        Self::Goodbye,
        Self::Link,
    ];

    /// Returns the value of the label `what` in metrics.
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
