//! Warnings that strangers on the network can cause. The number of log lines per minute is limited.

use std::fmt::Display;
use std::time::Duration;

use unisono_core::time::Moment;

/// The maximum number of lines that are logged within [`WINDOW`]. Ten lines suffice to diagnose a
/// problem, and are too few to fill a disk.
const MAX_LINES: u32 = 10;

/// The length of a window.
const WINDOW: Duration = Duration::from_secs(60);

/// Logs at most ten warnings per minute, and counts the warnings that it omits.
#[derive(Debug, Default)]
pub struct Warnings {
    /// Start of the current window of one minute; `None` until a warning starts a window.
    began: Option<Moment>,
    n_logged: u32,
    n_omitted: u64,
}

impl Warnings {
    /// Logs a line. If ten lines have already been logged in the current minute, only counts the
    /// line.
    pub fn warn(&mut self, now: Moment, line: impl Display) {
        self.settle(now);
        if self.admits(now) {
            tracing::warn!("{line}");
        }
    }

    /// If the current window of one minute is over, ends the window and logs the number of omitted
    /// lines.
    pub fn settle(&mut self, now: Moment) {
        if let Some(n_omitted) = self.end_window(now) {
            let window = WINDOW.as_secs();
            tracing::warn!("{n_omitted} more warnings of this kind were left out in {window} s");
        }
    }

    /// Returns the time at which [`Self::settle`] will log a number of omitted lines; `None` if no
    /// line has been omitted.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        self.began.filter(|_| self.n_omitted > 0).map(|began| began + WINDOW)
    }

    fn admits(&mut self, now: Moment) -> bool {
        // A window begins with its first warning. No line of a new window has been logged yet, so
        // the first warning is always admitted.
        self.began.get_or_insert(now);
        let admits = self.n_logged < MAX_LINES;
        if admits {
            self.n_logged += 1
        } else {
            self.n_omitted += 1
        }
        admits
    }

    /// Ends the current window of one minute if the minute is over. Returns the number of omitted
    /// lines, or `None` if the minute is not over or no line was omitted.
    fn end_window(&mut self, now: Moment) -> Option<u64> {
        let is_over = self.began.is_some_and(|began| now - began >= WINDOW);
        let ended = is_over.then(|| std::mem::take(self))?;
        Some(ended.n_omitted).filter(|n_omitted| *n_omitted > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_a_minute_are_logged_and_the_others_are_counted() {
        let at = |secs| Moment::from_origin(Duration::from_secs(secs));
        let mut warnings = Warnings::default();
        assert_eq!(warnings.deadline(), None);
        let logged: Vec<_> = (0..1000).map(|_| warnings.admits(at(5))).collect();
        assert_eq!(logged.iter().position(|logged| !logged), Some(10));
        assert_eq!(logged.iter().filter(|logged| **logged).count(), 10);
        assert_eq!(warnings.deadline(), Some(at(65)));
        assert_eq!(warnings.end_window(at(64)), None, "the window is not over");
        assert_eq!(warnings.end_window(at(65)), Some(990));
        assert_eq!((warnings.end_window(at(65)), warnings.deadline()), (None, None), "logged once");
        assert!(warnings.admits(at(70)), "a new window begins");
        assert_eq!(warnings.end_window(at(130)), None, "no line was omitted");
    }
}
