//! The trace of a task in this process, for as long as the disk takes it; and `unisono trace`.

use std::io::{BufWriter, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;

use super::metrics::Identity;
use crate::program::process::Process;
use crate::program::task_config::TaskConfig;
use unisono_core::host::Observer;
use unisono_core::protocol::{Effect, Input, Node};
use unisono_core::time::Moment;
use unisono_files::disk::DiskError;
use unisono_files::disk::RealDisk;
use unisono_net::tcp::wall_clock;
use unisono_observe::trace::log::{Kept, LARGEST_TRACE};
use unisono_observe::trace::{
    Entry, Event, History, LifeHeader, Line, Run, TraceLog, Tracer, perfetto, tracer,
};
use unisono_terminal::output::{cannot_write, create_file};
use unisono_terminal::usage;

/// What `unisono trace` takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceConfig {
    /// Where the traces are.
    pub logdir: PathBuf,
    /// The file to write; standard output without.
    pub output: Option<PathBuf>,
}

/// Writes what happened in a run for ui.perfetto.dev.
///
/// # Errors
/// If there are no traces, one cannot be read, or the file cannot be written.
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
        // A person has no use for thousands of lines of JSON.
        None if std::io::stdout().is_terminal() => {
            return Err(usage(anyhow!(
                "the trace is JSON for ui.perfetto.dev: give -o FILE, or send it through a pipe"
            )));
        }
        None => process.screen.out(&perfetto::text(&history)),
    }
    Ok(ExitCode::SUCCESS)
}

/// Keeps the trace of a task.
#[derive(Debug)]
pub(super) struct TraceKeeper {
    tracer: Tracer,
    log: TraceLog,
    /// The input that the node is taking.
    input: Option<(Moment, Entry)>,
    /// The disk refused, or the file is full.
    is_stopped: bool,
}

impl TraceKeeper {
    /// The trace of this task, if it was asked for one, for a life whose clock is at `now`. If its
    /// file cannot be opened that is said, and training goes on without.
    pub(super) fn open(config: &TaskConfig, identity: &Identity, now: Moment) -> Option<Self> {
        if !config.run.trace {
            return None;
        }
        let Identity { incarnation, cluster } = identity;
        let origin = wall_clock().saturating_sub(now.since_origin());
        let header = LifeHeader::new(config.task, *incarnation, origin, cluster);
        match TraceLog::open(&RealDisk, &config.run.logdir, &header) {
            Ok(log) => {
                Some(Self { tracer: Tracer::default(), log, input: None, is_stopped: false })
            }
            Err(error) => {
                tracing::warn!("no trace is kept, and training goes on without it: {error}");
                None
            }
        }
    }

    /// Writes what is there yet.
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
                "the trace ends here, and training goes on without it: its file has come to the \
                 limit of {} MiB; move it away, and the next start of this task begins another",
                LARGEST_TRACE >> 20
            ),
            Err(error) => tracing::warn!(
                "the trace ends here, and training goes on without it: {error}; the next start of \
                 this task takes it up again"
            ),
        }
        self.is_stopped = true;
    }
}

impl Observer for TraceKeeper {
    fn before(&mut self, now: Moment, input: &Input) {
        if !self.is_stopped {
            self.input = Some((now, self.tracer.of_input(input)));
        }
    }

    fn after(&mut self, _now: Moment, _node: &dyn Node, effects: &[Effect]) {
        let Some((at, input)) = self.input.take() else { return };
        let does = effects.iter().filter_map(|effect| self.tracer.of_effect(effect));
        let does: Vec<_> = does.filter(tracer::is_kept).collect();
        if tracer::is_of_note(&input, &does) {
            let at = at.since_origin();
            let kept = self.log.append(&Line::Event(Event { at, input, does }), at);
            self.check(kept);
        }
    }
}
