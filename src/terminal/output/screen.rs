//! Standard output and standard error, which a progress bar shares with whole lines.

use std::io::{self, ErrorKind, IsTerminal as _, Write};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use indicatif::{ProgressBar, ProgressDrawTarget};
use tracing::Level;

use super::json_line::JsonLine;
use unisono_config::LogFormat;
use unisono_core::ids::TaskId;

/// The target of lines that are not of the log.
const TARGET: &str = "unisono";

/// Prints whole lines, above the bar if there is one. Clones are the same screen.
#[derive(Clone, Debug)]
pub struct Screen {
    bar: ProgressBar,
    form: Arc<OnceLock<Form>>,
    /// Why standard output lost a line, the first time that it did.
    lost_output: Arc<OnceLock<io::Error>>,
}

/// What lines on standard error look like.
#[derive(Clone, Copy, Debug, Default)]
struct Form {
    log_format: LogFormat,
    task: Option<TaskId>,
}

impl Screen {
    /// The process's standard output and error, with no bar yet.
    #[must_use]
    pub fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        Self { bar, form: Arc::default(), lost_output: Arc::default() }
    }

    /// From now on, lines on standard error have this form and are of this task. Only the first
    /// call does anything; until then they are text.
    pub fn set_form(&self, log_format: LogFormat, task: Option<TaskId>) {
        let _ = self.form.set(Form { log_format, task });
    }

    /// The form of lines on standard error.
    #[must_use]
    pub fn log_format(&self) -> LogFormat {
        self.form().log_format
    }

    /// The task whose lines they are.
    #[must_use]
    pub fn task(&self) -> Option<TaskId> {
        self.form().task
    }

    fn form(&self) -> Form {
        self.form.get().copied().unwrap_or_default()
    }

    /// Prints a line on standard output. A line that cannot be written does not stop the command,
    /// which may be training; [`Self::conclude`] reports it at the end.
    pub fn out(&self, line: &str) {
        self.bar.suspend(|| {
            let mut stdout = io::stdout().lock();
            self.note(writeln!(stdout, "{line}").and_then(|()| stdout.flush()));
        });
    }

    /// Prints what the parser of a command line has to say: help and the version on standard output,
    /// an error on standard error. Returns the exit code.
    pub fn usage(&self, said: &clap::Error) -> ExitCode {
        let printed = said.print().and_then(|()| io::stdout().flush());
        if said.use_stderr() {
            return ExitCode::from(2);
        }
        self.note(printed);
        self.conclude(ExitCode::SUCCESS)
    }

    /// The exit code of a command that ends with `code`: a success is a failure if standard output
    /// could not be written, and the error is printed. A closed pipe is no error, because its reader
    /// has seen enough, as `head` has.
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
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                let _ = self.lost_output.set(error);
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Prints a line on standard error.
    pub fn err(&self, line: &str) {
        self.say(&Level::INFO, line, "");
    }

    /// Prints what went wrong on standard error, as `error: …`.
    pub fn error(&self, message: &str) {
        self.say(&Level::ERROR, message, "error: ");
    }

    /// Prints a line that another task printed; in JSON, as that task's.
    pub fn err_of(&self, task: TaskId, line: &str) {
        let line = match self.log_format() {
            LogFormat::Json if !JsonLine::is_one(line) => {
                JsonLine::new(&Level::INFO, Some(task), TARGET).with_message(line).to_string()
            }
            _ => line.to_owned(),
        };
        self.err_bytes(format!("{line}\n").as_bytes());
    }

    fn say(&self, level: &Level, message: &str, before: &str) {
        let Form { log_format, task } = self.form();
        let line = match log_format {
            LogFormat::Text => format!("{before}{message}\n"),
            LogFormat::Json => {
                format!("{}\n", JsonLine::new(level, task, TARGET).with_message(message))
            }
        };
        self.err_bytes(line.as_bytes());
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
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !is_set("NO_COLOR") && !is_dumb
}

/// Whether a variable of the environment is there, and not empty.
fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| !value.is_empty())
}

impl Default for Screen {
    fn default() -> Self {
        Self::new()
    }
}
