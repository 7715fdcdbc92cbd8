//! Output of the programs for people and scripts: lines, tables, progress, logs and manual pages.

pub mod manual;
pub mod output;
pub mod signals;

/// An error in the command line or the configuration. The program exits with code 2.
#[derive(Debug, thiserror::Error)]
#[error("{}", in_one_line(.0))]
pub struct UsageError(pub anyhow::Error);

/// Turns an error into a [`UsageError`].
pub fn usage(error: impl Into<anyhow::Error>) -> anyhow::Error {
    UsageError(error.into()).into()
}

/// Formats an error and its causes in one line, as `{:#}` does. A cause is left out if the line
/// already contains its text.
#[must_use]
pub fn in_one_line(error: &anyhow::Error) -> String {
    let mut line = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // The message of a library's error often already contains the message of its cause.
        if !line.contains(&cause) {
            line.push_str(": ");
            line.push_str(&cause);
        }
    }
    line
}
