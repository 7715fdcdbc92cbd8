//! The log on standard error. The level of the log is `warn`, unless the environment variable
//! `UNISONO_LOG` sets a filter. Log lines do not disturb the progress bar.
//!
//! Log lines are text for people, or JSON for programs. With JSON, every line on standard error is
//! a JSON object.

use std::fmt;
use std::io;
use std::process::Command;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::Screen;
use super::json_line::JsonLine;
use unisono_config::LogFormat;

/// The environment variable that contains the filter of the log, such as `debug` or
/// `unisono_net::tcp=trace`.
const VARIABLE: &str = "UNISONO_LOG";

/// Fields for programs, whose values are also part of the message. The text form leaves these
/// fields out.
const FOR_PROGRAMS: [&str; 6] = ["waited_secs", "awaited", "peer", "step", "generation", "path"];

/// Sends the log of this process to `screen`, in the format of the screen. Only the first call has
/// an effect.
pub fn init(screen: &Screen) {
    let filter = filter_from_env();
    if let Err(given) = &filter {
        screen.err(&format!(
            "{VARIABLE}={given} is ignored: give error, warn, info, debug or trace, or a list like \
             warn,unisono_net::tcp=debug"
        ));
    }
    let subscriber = tracing_subscriber::registry().with(filter.unwrap_or_else(|_| default()));
    let writer = screen.clone();
    let lines = tracing_subscriber::fmt::layer().with_writer(move || ScreenWriter(writer.clone()));
    // `try_init` fails only if a subscriber is already installed, as in tests.
    let _ = match screen.log_format() {
        LogFormat::Json => subscriber.with(lines.event_format(AsJson(screen.clone()))).try_init(),
        LogFormat::Text => {
            let fields =
                debug_fn(|writer: &mut Writer<'_>, field: &Field, value| match field.name() {
                    "message" => write!(writer, "{value:?}"),
                    name if FOR_PROGRAMS.contains(&name) => Ok(()),
                    name => write!(writer, " {name}={value:?}"),
                });
            let lines = lines.with_ansi(Screen::has_colours(&io::stderr())).with_target(false);
            subscriber.with(lines.fmt_fields(fields)).try_init()
        }
    };
}

/// Reads the log filter from the environment. If the filter is invalid, returns the text of the
/// filter as the error.
fn filter_from_env() -> Result<Targets, String> {
    let given = std::env::var(VARIABLE).ok().filter(|given| !given.is_empty());
    let Some(given) = given else { return Ok(default()) };
    // The filter's parser takes any word for the name of a target, and would then log only that
    // target. So a misspelt level would silence the log.
    let is_valid = |part: &str| {
        let part = part.trim();
        part.contains('=') || part.starts_with("unisono") || part.parse::<LevelFilter>().is_ok()
    };
    match given.replace(' ', "").parse() {
        Ok(filter) if given.split(',').all(is_valid) => Ok(filter),
        _ => Err(given),
    }
}

/// Returns the filter that applies if the environment variable is not set.
fn default() -> Targets {
    Targets::new().with_default(LevelFilter::WARN)
}

/// Removes an invalid filter from the environment of a child process, so that only this process
/// reports it.
pub fn hand_on(command: &mut Command) {
    if filter_from_env().is_err() {
        command.env_remove(VARIABLE);
    }
}

/// Formats each event as one JSON object.
struct AsJson(Screen);

impl<S, N> FormatEvent<S, N> for AsJson
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let mut line = JsonLine::new(metadata.level(), self.0.task(), metadata.target(), "");
        event.record(&mut line);
        writeln!(writer, "{line}")
    }
}

impl Visit for JsonLine {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record(field.name(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record(field.name(), value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.record(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.record(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.record(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.record(field.name(), value.into());
    }
}

/// Writes each log event with a single call, so that the lines of concurrent events do not mix.
struct ScreenWriter(Screen);

impl io::Write for ScreenWriter {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        // The screen hides the progress bar during the write.
        self.0.err_bytes(event);
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
