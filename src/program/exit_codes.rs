//! Exit codes, and errors in one line.

use unisono_core::protocol::Failure;
use unisono_terminal::UsageError;

/// It could not go on.
pub(super) const EXIT_FAILURE: u8 = 1;

/// A wrong command line or configuration.
pub(super) const EXIT_USAGE: u8 = 2;

/// The training itself came to nothing: a loss that is no number.
pub(super) const EXIT_NOT_FINITE: u8 = 3;

/// Given up waiting for others; engines take it for "start me again".
pub(super) const EXIT_GAVE_UP: u8 = 138;

pub(super) fn exit_code(error: &anyhow::Error) -> u8 {
    let of_cause = |cause: &(dyn std::error::Error + 'static)| match cause.downcast_ref() {
        Some(Failure::NonFinite { .. }) => Some(EXIT_NOT_FINITE),
        Some(Failure::GaveUp(_)) => Some(EXIT_GAVE_UP),
        _ => cause.is::<UsageError>().then_some(EXIT_USAGE),
    };
    error.chain().find_map(of_cause).unwrap_or(EXIT_FAILURE)
}
