//! How far many runs are, by the wall clock: for people, and for `--for`.

use std::time::{Duration, Instant};

use indicatif::{ProgressDrawTarget, ProgressStyle};
use unisono_terminal::output::Screen;

use crate::many::tally::Tally;

/// The wall-clock time since a start, for rates that a person reads.
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

/// A bar, on a terminal only.
#[derive(Debug)]
pub(super) struct Progress<'a> {
    screen: &'a Screen,
    stopwatch: Stopwatch,
}

impl<'a> Progress<'a> {
    /// Of so many runs, if that is known.
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
        bar.set_draw_target(ProgressDrawTarget::stderr()); // hidden if that is no terminal
        Self { screen, stopwatch: Stopwatch::start() }
    }

    /// One run more.
    pub(super) fn step(&self) {
        self.screen.bar().inc(1);
    }

    /// What stands right of the bar.
    pub(super) fn note(&self, text: &str) {
        self.screen.bar().set_message(format!("  {text}"));
    }

    /// Shows the failures of a tally.
    pub(super) fn note_failures(&self, tally: &Tally) {
        let failures = tally.findings.iter().map(|it| format!("{} {}", it.signature, it.n_seeds));
        let failures: Vec<_> = failures.collect();
        if !failures.is_empty() {
            self.note(&failures.join(", "));
        }
    }

    /// The time since it began.
    pub(super) fn elapsed(&self) -> Duration {
        self.stopwatch.elapsed()
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        self.screen.bar().finish_and_clear();
    }
}
