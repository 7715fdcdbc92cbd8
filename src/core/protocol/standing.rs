//! Where a node stands, for who counts: no text, so that asking costs nothing.

use crate::ids::Cut;
use crate::time::Moment;

/// Where a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The version it is at; `None` until it has one.
    pub cut: Option<Cut>,
    /// What it waits for; `None` while it computes.
    pub wait: Option<Wait>,
}

/// What a node waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// What.
    pub what: WaitFor,
    /// Since when; what comes and is not all that is waited for begins no new wait.
    pub since: Moment,
}

/// What there is to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WaitFor {
    /// The cluster's state: read from a checkpoint, told of, or restored.
    State,
    /// The next version of a shard.
    Version,
    /// A worker's gradients.
    Gradient,
    /// Which slots an update uses, when R < N.
    Choice,
    /// The final checkpoint, to be durable.
    Checkpoint,
    /// Word from others that they know that all is done.
    Goodbye,
    /// A window of pushed gradients to be acknowledged: a link or its ps is slow.
    Link,
}

impl WaitFor {
    /// All there are.
    pub const ALL: [Self; 7] = [
        Self::State,
        Self::Version,
        Self::Gradient,
        Self::Choice,
        Self::Checkpoint,
        Self::Goodbye,
        Self::Link,
    ];

    /// Its name in metrics.
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
