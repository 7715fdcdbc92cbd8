//! `unisono report`: writes one HTML page that shows a run.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use unisono_observe::report::{self, REPORT_FILE};
use unisono_task::process::Process;
use unisono_terminal::output::write_file;
use unisono_terminal::usage;

/// The arguments of `unisono report`.
#[derive(Args, Clone, Debug, PartialEq, Eq)]
pub struct ReportConfig {
    /// Folder with all traces of the run
    #[arg(value_name = "LOGDIR", default_value = "./mnist_model/")]
    logdir: PathBuf,
    /// File to write [default: report.html in the folder]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Writes the HTML page.
///
/// # Errors
/// Returns an error if the folder has no files of a run, a file cannot be read, or the page cannot
/// be written.
pub fn run_report(config: &ReportConfig, process: &Process) -> anyhow::Result<ExitCode> {
    let document = report::of_logdir(&config.logdir).map_err(usage)?;
    let path = config.output.clone().unwrap_or_else(|| config.logdir.join(REPORT_FILE));
    write_file(&path, report::page(&document))?;
    for note in &document.notes {
        process.screen.err(note);
    }
    process.screen.out(&format!("The report is in {}", path.display()));
    Ok(ExitCode::SUCCESS)
}
