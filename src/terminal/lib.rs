//! What the programs write for people and scripts: lines, tables, progress, logs, manual pages.

pub mod manual;
pub mod output;
pub mod signals;

/// Marks an error as the user's, not the run's: the program exits with 2.
#[derive(Debug, thiserror::Error)]
#[error("{}", in_one_line(.0))]
pub struct UsageError(pub anyhow::Error);

/// Marks an error as the user's.
pub fn usage(error: impl Into<anyhow::Error>) -> anyhow::Error {
    UsageError(error.into()).into()
}

/// An error and its causes, as `{:#}`, but for causes that the text before already tells.
#[must_use]
pub fn in_one_line(error: &anyhow::Error) -> String {
    let mut line = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !line.contains(&cause) {
            line.push_str(": ");
            line.push_str(&cause);
        }
    }
    line
}
