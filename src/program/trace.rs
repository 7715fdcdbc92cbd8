//! `unisono trace`: writes the events of a run in a format that ui.perfetto.dev displays.

use std::io::{BufWriter, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;

use unisono_observe::trace::{History, Run, perfetto};
use unisono_task::process::Process;
use unisono_terminal::output::{cannot_write, create_file};
use unisono_terminal::usage;

/// The arguments of `unisono trace`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct TraceConfig {
    /// Folder with all traces of the run
    #[arg(value_name = "LOGDIR", default_value = "./mnist_model/")]
    logdir: PathBuf,
    /// File to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Writes the events of a run in a format that ui.perfetto.dev displays.
///
/// # Errors
/// Returns an error if there are no traces, a trace cannot be read, or the file cannot be written.
pub fn run_trace(config: &TraceConfig, process: &Process) -> anyhow::Result<ExitCode> {
    let run = Run::read(&config.logdir).map_err(usage)?;
    let history = History::of(run);
    match &config.output {
        Some(path) => {
            let mut file = BufWriter::new(create_file(path)?);
            let written = perfetto::write(&history, &mut file).and_then(|()| file.flush());
            written.map_err(|error| cannot_write(path, &error))?;
            process.screen.out(&format!(
                "The trace is in {}: open it in https://ui.perfetto.dev",
                path.display()
            ));
        }
        // Thousands of lines of JSON are useless on a terminal.
        None if std::io::stdout().is_terminal() => {
            return Err(usage(anyhow!(
                "the trace is JSON for ui.perfetto.dev: give -o FILE, or send it through a pipe"
            )));
        }
        None => process.screen.out(&perfetto::text(&history)),
    }
    Ok(ExitCode::SUCCESS)
}
