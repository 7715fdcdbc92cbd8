//! Warnings that anybody on the network can cause: a few a minute, and a count of the rest.

use std::fmt::Display;
use std::time::Duration;

use unisono_core::time::Moment;

/// The most lines a window: enough to see what goes on, too few to fill a disk.
const MAX_LINES: u32 = 10;

/// Over how long lines are counted.
const WINDOW: Duration = Duration::from_secs(60);

/// Logs warnings, but no more than ten a minute.
#[derive(Debug, Default)]
pub struct Warnings {
    /// When the present window began, if there is one.
    began: Option<Moment>,
    said: u32,
    left_out: u64,
}

impl Warnings {
    /// Logs a line, or leaves it out and counts it.
    pub fn warn(&mut self, now: Moment, line: impl Display) {
        self.settle(now);
        if self.admits(now) {
            tracing::warn!("{line}");
        }
    }

    /// Logs how many lines were left out, once their window is over.
    pub fn settle(&mut self, now: Moment) {
        if let Some(left_out) = self.left_out(now) {
            let window = WINDOW.as_secs();
            tracing::warn!("{left_out} more warnings of this kind were left out in {window} s");
        }
    }

    /// When [`Self::settle`] has something to say.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        self.began.filter(|_| self.left_out > 0).map(|began| began + WINDOW)
    }

    fn admits(&mut self, now: Moment) -> bool {
        self.began.get_or_insert(now);
        let admits = self.said < MAX_LINES;
        if admits {
            self.said += 1
        } else {
            self.left_out += 1
        }
        admits
    }

    /// Ends a window that is over. The number of lines that it left out, if there were any.
    fn left_out(&mut self, now: Moment) -> Option<u64> {
        let is_over = self.began.is_some_and(|began| now - began >= WINDOW);
        let ended = is_over.then(|| std::mem::take(self))?;
        Some(ended.left_out).filter(|left_out| *left_out > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_a_minute_are_said_and_the_rest_is_counted() {
        let at = |secs| Moment::from_origin(Duration::from_secs(secs));
        let mut warnings = Warnings::default();
        assert_eq!(warnings.deadline(), None);
        let said: Vec<_> = (0..1000).map(|_| warnings.admits(at(5))).collect();
        assert_eq!(said.iter().position(|said| !said), Some(10));
        assert_eq!(said.iter().filter(|said| **said).count(), 10);
        assert_eq!(warnings.deadline(), Some(at(65)));
        assert_eq!(warnings.left_out(at(64)), None, "the window is not over");
        assert_eq!(warnings.left_out(at(65)), Some(990));
        assert_eq!((warnings.left_out(at(65)), warnings.deadline()), (None, None), "told once");
        assert!(warnings.admits(at(70)), "a new window begins");
        assert_eq!(warnings.left_out(at(130)), None, "nothing was left out of it");
    }
}
