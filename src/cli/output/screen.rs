//! Standard output and standard error, which a progress bar shares with whole lines.

use std::io::{self, IsTerminal as _, Write};

use indicatif::{ProgressBar, ProgressDrawTarget};

/// Prints whole lines, above the bar if there is one. Clones are the same screen.
#[derive(Clone, Debug)]
pub struct Screen {
    bar: ProgressBar,
}

impl Screen {
    /// The process's standard output and error, with no bar yet.
    #[must_use]
    pub fn new() -> Self {
        Self { bar: ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()) }
    }

    /// Prints a line on standard output. A reader who is gone is no reason to stop training.
    pub fn out(&self, line: &str) {
        self.bar.suspend(|| {
            let _ = writeln!(io::stdout().lock(), "{line}");
        });
    }

    /// Prints a line on standard error.
    pub fn err(&self, line: &str) {
        self.err_bytes(format!("{line}\n").as_bytes());
    }

    /// Writes whole lines to standard error.
    pub(super) fn err_bytes(&self, lines: &[u8]) {
        self.bar.suspend(|| {
            let _ = io::stderr().lock().write_all(lines);
        });
    }

    /// The bar, hidden until it is given a place.
    #[must_use]
    pub const fn bar(&self) -> &ProgressBar {
        &self.bar
    }

    /// Whether standard error takes colours: a terminal, and nobody said `NO_COLOR`.
    #[must_use]
    pub fn has_colours() -> bool {
        io::stderr().is_terminal() && colours_are_wanted()
    }

    /// Whether standard output does.
    #[must_use]
    pub fn has_colours_on_stdout() -> bool {
        io::stdout().is_terminal() && colours_are_wanted()
    }
}

fn colours_are_wanted() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !is_set("NO_COLOR") && !is_dumb
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}
