//! A progress bar, and a stopwatch that measures wall-clock time for `--for` and for rates.

use std::time::{Duration, Instant};

use indicatif::{ProgressDrawTarget, ProgressStyle};
use unisono_terminal::output::Screen;

use crate::many::tally::Tally;

/// Measures the wall-clock time since its creation.
#[derive(Debug)]
pub(super) struct Stopwatch(Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "rates are by the wall clock")]
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    #[expect(clippy::disallowed_methods, reason = "rates are by the wall clock")]
    pub(super) fn elapsed(&self) -> Duration {
        Instant::now().duration_since(self.0)
    }
}

/// A progress bar. The bar is shown only on a terminal.
#[derive(Debug)]
pub(super) struct Progress<'a> {
    screen: &'a Screen,
    stopwatch: Stopwatch,
}

impl<'a> Progress<'a> {
    /// Creates a progress bar. `n_runs` is the number of runs, if it is known.
    pub(super) fn new(screen: &'a Screen, n_runs: Option<u64>) -> Self {
        let style = match n_runs {
            Some(_) => "{bar:24} {pos}/{len}, {per_sec}, {eta} left{wide_msg}",
            None => "{spinner} {pos} seeds, {per_sec}, {elapsed}{wide_msg}",
        };
        let bar = screen.bar();
        bar.reset();
        bar.set_style(ProgressStyle::with_template(style).expect("the style is right"));
        if let Some(n_runs) = n_runs {
            bar.set_length(n_runs);
        }
        bar.set_draw_target(ProgressDrawTarget::stderr()); // hidden if stderr is not a terminal
        Self { screen, stopwatch: Stopwatch::start() }
    }

    pub(super) fn step(&self) {
        self.screen.bar().inc(1);
    }

    /// Shows a text beside the bar.
    pub(super) fn note(&self, text: &str) {
        self.screen.bar().set_message(format!("  {text}"));
    }

    /// Shows the number of failures for each signature of a tally beside the bar.
    pub(super) fn note_failures(&self, tally: &Tally) {
        if tally.n_failed > 0 {
            self.note(&tally.signatures());
        }
    }

    /// Returns the wall-clock time since the creation of the bar.
    pub(super) fn elapsed(&self) -> Duration {
        self.stopwatch.elapsed()
    }

    /// Removes the bar from the terminal.
    pub(super) fn finish(&self) {
        self.screen.bar().finish_and_clear();
    }
}
