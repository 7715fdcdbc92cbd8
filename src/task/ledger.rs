//! Writes the ledger of a ps. Each line is written before the effects that the line records are
//! carried out.

use std::io::ErrorKind;

use crate::task_config::TaskConfig;
use unisono_core::host::{Observer, Turn};
use unisono_core::ids::Incarnation;
use unisono_core::protocol::{ClusterConfig, Effect, Message};
use unisono_files::disk::lines::Lines;
use unisono_files::disk::{DiskError, RealDisk};
use unisono_observe::ledger::{Line, Recorder, file_name};

/// Writes the ledger of a ps until the disk refuses a line.
#[derive(Debug)]
pub(crate) struct LedgerKeeper {
    recorder: Recorder,
    file: Lines,
    /// Whether the disk has refused a line. A ledger with a gap is useless, so no line is written
    /// after a refused line.
    is_stopped: bool,
}

impl LedgerKeeper {
    /// Opens the ledger of this task. Returns `None` without `--ledger`, or if the file cannot be
    /// opened. If the file cannot be opened, a warning is logged and training continues without a
    /// ledger, because the run needs this ps even if its disk is full.
    ///
    /// # Errors
    /// Returns an error if another process writes to the same ledger. Then this process was started
    /// by mistake, or a process of an older incarnation is only paused.
    pub(crate) fn open(
        config: &TaskConfig,
        incarnation: Incarnation,
        cluster: &ClusterConfig,
    ) -> anyhow::Result<Option<Self>> {
        if !config.run.ledger {
            return Ok(None);
        }
        let ps = config.task.index;
        let (recorder, header) = Recorder::new(ps, incarnation, cluster);
        let file =
            Lines::open(&RealDisk, &config.run.logdir, &file_name(ps)).and_then(|mut file| {
                file.push(&header);
                file.write().map(|()| file)
            });
        match file {
            Ok(file) => Ok(Some(Self { recorder, file, is_stopped: false })),
            Err(error) if error.source.kind() == ErrorKind::ResourceBusy => Err(error.into()),
            Err(error) => {
                tracing::warn!(
                    "no ledger is written, and training continues without it: {error}; the next start \
                     of this ps retries"
                );
                Ok(None)
            }
        }
    }

    fn keep(&mut self, lines: &[Line], is_captured: bool) -> Result<(), DiskError> {
        if !lines.is_empty() {
            lines.iter().for_each(|line| self.file.push(line));
            self.file.write()?;
        }
        // If the chief captures this state, the checkpoint survives a power failure. So the ledger
        // lines before this state must survive a power failure, too.
        if is_captured { self.file.sync() } else { Ok(()) }
    }
}

impl Observer for LedgerKeeper {
    fn turn(&mut self, turn: &Turn<'_>) {
        if self.is_stopped {
            return;
        }
        let lines = self.recorder.turn(turn);
        let is_capture = |effect: &Effect| {
            matches!(effect, Effect::Send { message: Message::Captured { .. }, .. })
        };
        if let Err(error) = self.keep(&lines, turn.effects.iter().any(is_capture)) {
            self.is_stopped = true;
            tracing::warn!(
                "the ledger ends here, and training continues without it: {error}; the next start of \
                 this ps resumes the ledger"
            );
        }
    }
}
