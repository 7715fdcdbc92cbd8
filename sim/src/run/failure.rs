//! The failure of a run, and its signature and exit code.

use std::fmt;

use unisono_rules::Violation;

use crate::run::unmet::Unmet;

/// The separator, in the text of a panic, before the input that the node was handling.
pub(crate) const WHILE_HANDLING: &str = ", while handling ";

/// The failure of a run. If a run has several failures, `verdict.rs` decides which one is reported.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// A rule is broken, or the result is wrong.
    Violation(Violation),
    /// An expectation of the scenario is not met.
    Unmet(Unmet),
    /// The run did not end: no event was pending, or a limit of events or of time was reached.
    Hang(String),
    /// A node panicked.
    Panic(String),
    /// A fault had no effect, and the scenario does not set `may_be_inert` for this fault.
    FaultWithoutEffect {
        /// The id of the fault in the scenario.
        fault: String,
        /// The reason why the fault had no effect: the fault never began, or there was nothing to
        /// change.
        why: String,
    },
    /// The run did not return before the watchdog's wall-clock limit.
    Stuck(String),
}

impl Failure {
    /// Returns the signature. Two failures with the same signature count as the same failure. The
    /// file names of failure capsules contain the signature.
    #[must_use]
    pub fn signature(&self) -> String {
        match self {
            Self::Violation(Violation { rule: 0, name, .. }) => (*name).to_owned(),
            Self::Unmet(Unmet { rule: 0, name, .. }) => (*name).to_owned(),
            Self::Violation(Violation { rule, name, .. })
            | Self::Unmet(Unmet { rule, name, .. }) => {
                format!("rule-{rule}/{name}")
            }
            Self::Hang(_) => "hang".to_owned(),
            Self::Panic(what) => {
                // Digits and the input are left out, so that the same panic at another step, line
                // or input has the same text.
                let line = what.lines().next().unwrap_or_default();
                let line = line.split(WHILE_HANDLING).next().unwrap_or_default();
                let text: String = line.chars().filter(|c| !c.is_ascii_digit()).take(60).collect();
                format!("panic/{text}")
            }
            Self::FaultWithoutEffect { .. } => "inert-fault".to_owned(),
            Self::Stuck(_) => "stuck".to_owned(),
        }
    }

    /// Returns the exit code for this kind of failure.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Violation(_) | Self::Unmet(_) => 1,
            Self::Hang(_) | Self::Stuck(_) => 3,
            Self::Panic(_) => 4,
            Self::FaultWithoutEffect { .. } => 5,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Violation(violation) => violation.fmt(f),
            Self::Unmet(unmet) => unmet.fmt(f),
            Self::Hang(why) => write!(f, "the run does not end: {why}"),
            Self::Panic(what) => write!(f, "a node panicked: {what}"),
            Self::FaultWithoutEffect { fault, why } => write!(
                f,
                "fault {fault} had no effect: {why}; correct its trigger or its target, or set \
                 `may_be_inert = true`"
            ),
            Self::Stuck(why) => f.write_str(why),
        }
    }
}
