//! Logs: on standard error, quiet unless `UNISONO_LOG` says otherwise, never through the bar.

use std::io;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::Screen;

/// Names what is to be logged, as `debug` or `unisono::tcp=trace`.
const VARIABLE: &str = "UNISONO_LOG";
const DEFAULT: &str = "warn";

/// Sends the process's logs to `screen`. Only the first call does anything.
pub fn init(screen: &Screen) {
    let given = std::env::var(VARIABLE).ok().filter(|given| !given.is_empty());
    let filter = EnvFilter::try_new(given.as_deref().unwrap_or(DEFAULT));
    if let Err(error) = &filter {
        screen.err(&format!("{VARIABLE} is ignored: {error}"));
    }
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|_| EnvFilter::new(DEFAULT)))
        .with_writer(ScreenWriter(screen.clone()))
        .with_ansi(Screen::has_colours())
        .with_target(false)
        .try_init();
}

/// Writes each event at once, so that no two tear each other.
struct ScreenWriter(Screen);

impl MakeWriter<'_> for ScreenWriter {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        Self(self.0.clone())
    }
}

impl io::Write for ScreenWriter {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.0.err_bytes(event);
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
