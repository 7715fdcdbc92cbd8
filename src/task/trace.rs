//! Writes the trace of a task.

use crate::metrics::Identity;
use crate::task_config::TaskConfig;
use unisono_core::host::{Observer, Turn};
use unisono_core::time::Moment;
use unisono_files::disk::{DiskError, RealDisk};
use unisono_net::tcp::wall_clock;
use unisono_observe::trace::log::{Kept, LARGEST_TRACE};
use unisono_observe::trace::{Event, LifeHeader, Line, TraceLog, tracer};

/// Writes the trace of a task until the disk refuses a line or the file is full.
#[derive(Debug)]
pub(crate) struct TraceKeeper {
    log: TraceLog,
    /// Whether the disk refused a line or the file is full. If so, no more lines are written.
    is_stopped: bool,
}

impl TraceKeeper {
    /// Opens the trace of this task for an incarnation whose clock is at `now`. Returns `None`
    /// without `--trace`, or if the file cannot be opened. If the file cannot be opened, a warning
    /// is logged and training continues without a trace.
    pub(crate) fn open(config: &TaskConfig, identity: &Identity, now: Moment) -> Option<Self> {
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
    pub(crate) fn finish(&mut self) {
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
