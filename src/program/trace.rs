//! Writes the trace of a task, and implements `unisono trace`.

use std::io::{BufWriter, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::Args;

use super::metrics::Identity;
use crate::program::process::Process;
use crate::program::task_config::TaskConfig;
use unisono_core::host::{Observer, Turn};
use unisono_core::time::Moment;
use unisono_files::disk::{DiskError, RealDisk};
use unisono_net::tcp::wall_clock;
use unisono_observe::trace::log::{Kept, LARGEST_TRACE};
use unisono_observe::trace::{Event, History, LifeHeader, Line, Run, TraceLog, perfetto, tracer};
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

/// Writes the events of a run for ui.perfetto.dev.
///
/// # Errors
/// If there are no traces, a trace cannot be read, or the file cannot be written.
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

/// Writes the trace of a task until the disk refuses a line, or the file is full.
#[derive(Debug)]
pub(super) struct TraceKeeper {
    log: TraceLog,
    /// Whether the disk has refused a line or the file is full. No line is written after that.
    is_stopped: bool,
}

impl TraceKeeper {
    /// Opens the trace of this task for an incarnation whose clock shows `now`; `None` without
    /// `--trace`. If the file cannot be opened, a warning is logged and training continues without
    /// a trace.
    pub(super) fn open(config: &TaskConfig, identity: &Identity, now: Moment) -> Option<Self> {
        if !config.run.trace {
            return None;
        }
        let Identity { incarnation, cluster } = identity;
        let origin = wall_clock().saturating_sub(now.since_origin());
        let header = LifeHeader::new(config.task, *incarnation, origin, cluster);
        match TraceLog::open(&RealDisk, &config.run.logdir, &header) {
            Ok(log) => Some(Self { log, is_stopped: false }),
            Err(error) => {
                tracing::warn!("no trace is written, and training continues without it: {error}");
                None
            }
        }
    }

    /// Writes the buffered lines.
    pub(super) fn finish(&mut self) {
        if !self.is_stopped {
            let written = self.log.write().map(|()| Kept::Yes);
            self.check(written);
        }
    }

    fn check(&mut self, kept: Result<Kept, DiskError>) {
        match kept {
            Ok(Kept::Yes) => return,
            Ok(Kept::Full) => tracing::warn!(
                "the trace ends here, and training continues without it: its file has reached the \
                 limit of {} MiB; move the file away, and the next start of this task starts a new one",
                LARGEST_TRACE >> 20
            ),
            Err(error) => tracing::warn!(
                "the trace ends here, and training continues without it: {error}; the next start of \
                 this task resumes the trace"
            ),
        }
        self.is_stopped = true;
    }
}

impl Observer for TraceKeeper {
    fn turn(&mut self, turn: &Turn<'_>) {
        if self.is_stopped {
            return;
        }
        let input = tracer::input_entry(turn);
        let does = turn.effects.iter().filter_map(|effect| tracer::effect_entry(turn, effect));
        let does: Vec<_> = does.filter(tracer::is_kept).collect();
        if tracer::is_of_note(&input, &does) {
            let at = turn.now.since_origin();
            let kept = self.log.append(&Line::Event(Event { at, input, does }), at);
            self.check(kept);
        }
    }
}
