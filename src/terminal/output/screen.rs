//! Whole lines on standard output and standard error, and the progress bar below them.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use indicatif::{ProgressBar, ProgressDrawTarget};
use tracing::Level;

use super::json_line::JsonLine;
use unisono_config::LogFormat;
use unisono_core::ids::TaskId;

/// The value of `target` in JSON lines that do not come from the log.
const TARGET: &str = "unisono";

/// Prints whole lines above the progress bar, if there is one. Clones print on the same screen.
#[derive(Clone, Debug)]
pub struct Screen {
    bar: ProgressBar,
    form: Arc<OnceLock<Form>>,
    /// The first error of a write to standard output.
    lost_output: Arc<OnceLock<io::Error>>,
}

/// The format of lines on standard error.
#[derive(Clone, Copy, Debug, Default)]
struct Form {
    log_format: LogFormat,
    task: Option<TaskId>,
}

impl Screen {
    /// Returns a screen for standard output and standard error. The progress bar of the screen is
    /// hidden at first.
    #[must_use]
    pub fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        Self { bar, form: Arc::default(), lost_output: Arc::default() }
    }

    /// Sets the format of lines on standard error, and the task that the lines name. Before the
    /// first call, lines are text. Further calls have no effect.
    pub fn set_form(&self, log_format: LogFormat, task: Option<TaskId>) {
        let _ = self.form.set(Form { log_format, task });
    }

    /// Returns the format of lines on standard error.
    #[must_use]
    pub fn log_format(&self) -> LogFormat {
        self.form().log_format
    }

    /// Returns the task that lines on standard error name.
    #[must_use]
    pub fn task(&self) -> Option<TaskId> {
        self.form().task
    }

    fn form(&self) -> Form {
        self.form.get().copied().unwrap_or_default()
    }

    /// Prints a line on standard output. An error does not stop the command, because the command
    /// may be training. [`Self::conclude`] reports the error at the end.
    pub fn out(&self, line: &str) {
        self.bar.suspend(|| {
            // Every line is flushed, so that a reader of a pipe gets each line at once.
            let mut stdout = io::stdout().lock();
            self.note(writeln!(stdout, "{line}").and_then(|()| stdout.flush()));
        });
    }

    /// Prints the result of clap's parser. Help and version go to standard output, and an error
    /// goes to standard error. Returns the exit code.
    pub fn usage(&self, result: &clap::Error) -> ExitCode {
        let printed = result.print().and_then(|()| io::stdout().flush());
        if result.use_stderr() {
            return ExitCode::from(2);
        }
        self.note(printed);
        self.conclude(ExitCode::SUCCESS)
    }

    /// Returns the exit code of a command that ends with `code`. If a line on standard output could
    /// not be written, prints the error, and turns a success into a failure.
    #[must_use]
    pub fn conclude(&self, code: ExitCode) -> ExitCode {
        let Some(error) = self.lost_output.get() else { return code };
        self.error(&format!(
            "cannot write standard output: {error}; make room there or redirect it, and run the command \
             again"
        ));
        if code == ExitCode::SUCCESS { ExitCode::FAILURE } else { code }
    }

    fn note(&self, written: io::Result<()>) {
        match written {
            // A closed pipe is not an error: its reader, such as `head`, needs no more lines.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                let _ = self.lost_output.set(error);
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Prints a line on standard error.
    pub fn err(&self, line: &str) {
        self.print_err(&Level::INFO, line, "");
    }

    /// Prints an error on standard error, in the form `error: …`.
    pub fn error(&self, message: &str) {
        self.print_err(&Level::ERROR, message, "error: ");
    }

    /// Prints on standard error a line that another task has printed. In the JSON format, the line
    /// names the other task.
    pub fn err_of(&self, task: TaskId, line: &str) {
        let line = match self.log_format() {
            // A task that panics, or fails at its start, prints text even if the format is JSON.
            LogFormat::Json if !JsonLine::is_one(line) => {
                JsonLine::new(&Level::INFO, Some(task), TARGET, line).to_string()
            }
            _ => line.to_owned(),
        };
        self.err_bytes(format!("{line}\n").as_bytes());
    }

    fn print_err(&self, level: &Level, message: &str, before: &str) {
        let Form { log_format, task } = self.form();
        let line = match log_format {
            LogFormat::Text => format!("{before}{message}\n"),
            LogFormat::Json => format!("{}\n", JsonLine::new(level, task, TARGET, message)),
        };
        self.err_bytes(line.as_bytes());
    }

    /// Writes whole lines to standard error.
    pub(super) fn err_bytes(&self, lines: &[u8]) {
        // The bar is hidden while the line is written. An error is ignored, because there is no
        // place to report it.
        self.bar.suspend(|| {
            let _ = io::stderr().lock().write_all(lines);
        });
    }

    /// Returns the progress bar, which is hidden until a draw target is set.
    #[must_use]
    pub const fn bar(&self) -> &ProgressBar {
        &self.bar
    }

    /// Returns whether to use colours on a stream. Colours are used on a terminal, unless `NO_COLOR`
    /// is set or `TERM` is `dumb`.
    #[must_use]
    pub fn has_colours(stream: &impl IsTerminal) -> bool {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let is_refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        stream.is_terminal() && !is_refused && !is_dumb
    }
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}
