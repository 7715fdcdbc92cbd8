//! Exit codes.

use unisono_core::protocol::Failure;
use unisono_terminal::UsageError;

/// The command failed.
pub(super) const EXIT_FAILURE: u8 = 1;

/// The command line or the configuration is wrong.
pub(super) const EXIT_USAGE: u8 = 2;

/// The exit code after a loss that is not finite. A restart would compute the same loss.
pub(super) const EXIT_NOT_FINITE: u8 = 3;

/// The exit code of a task that gave up waiting for another task. Cluster managers, such as
/// Kubeflow, restart a task that exits with this code.
pub(super) const EXIT_GAVE_UP: u8 = 138;

pub(super) fn exit_code(error: &anyhow::Error) -> u8 {
    let of_cause = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref() {
        Some(Failure::NonFinite { .. }) => Some(EXIT_NOT_FINITE),
        Some(Failure::GaveUp(_)) => Some(EXIT_GAVE_UP),
        _ => cause.is::<UsageError>().then_some(EXIT_USAGE),
    };
    error.chain().find_map(of_cause).unwrap_or(EXIT_FAILURE)
}
