//! Labels of series: small, copied, and no memory asked for when a series is looked up.

use std::fmt::{self, Write as _};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

use unisono_core::ids::TaskId;

/// Whose doing something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Whose {
    /// Another task's.
    Task(TaskId),
    /// This task's own disk's.
    Storage,
}

impl EncodeLabelValue for Whose {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        match self {
            Self::Task(task) => write!(encoder, "{task}"),
            Self::Storage => encoder.write_str("storage"),
        }
    }
}

/// `peer`: the task at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Peer {
    pub(super) peer: Whose,
}

/// `kind` of a message, as `docs/protocol.md` calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Kind {
    pub(super) kind: &'static str,
}

/// `why` a gradient was not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Why {
    pub(super) why: &'static str,
}

/// `what` is waited for, and of whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct WaitLabels {
    pub(super) what: &'static str,
    pub(super) of: Whose,
}

/// `version` of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Build {
    pub(super) version: &'static str,
}
