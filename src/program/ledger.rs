//! The ledger of a ps in this process: a line before anybody hears of what it says.

use std::io::ErrorKind;

use crate::program::task_config::TaskConfig;
use unisono_core::host::Observer;
use unisono_core::ids::Incarnation;
use unisono_core::protocol::{ClusterConfig, Effect, Input, Message, Node};
use unisono_core::time::Moment;
use unisono_files::disk::DiskError;
use unisono_files::disk::RealDisk;
use unisono_observe::ledger::{Line, Log, Recorder};

/// Keeps the ledger of a ps, for as long as the disk takes it.
#[derive(Debug)]
pub(super) struct LedgerKeeper {
    recorder: Recorder,
    log: Log,
    /// The disk refused: a ledger with a hole is of no use.
    is_stopped: bool,
}

impl LedgerKeeper {
    /// The ledger of this task, if it was asked for one. If its file cannot be opened that is said,
    /// and training goes on without: a ps that comes back to a full disk is needed all the same.
    ///
    /// # Errors
    /// If another process keeps the same ledger: then this start is a mistake, or the process of an
    /// older incarnation is only paused.
    pub(super) fn open(
        config: &TaskConfig,
        incarnation: Incarnation,
        cluster: &ClusterConfig,
    ) -> anyhow::Result<Option<Self>> {
        if !config.run.ledger {
            return Ok(None);
        }
        let ps = config.task.index;
        let (recorder, header) = Recorder::new(ps, incarnation, cluster);
        let log = Log::open(&RealDisk, &config.run.logdir, ps);
        match log.and_then(|mut log| log.append(&[header]).map(|()| log)) {
            Ok(log) => Ok(Some(Self { recorder, log, is_stopped: false })),
            Err(error) if error.source.kind() == ErrorKind::ResourceBusy => Err(error.into()),
            Err(error) => {
                tracing::warn!(
                    "no ledger is kept, and training goes on without it: {error}; the next start \
                     of this ps tries again"
                );
                Ok(None)
            }
        }
    }

    fn keep(&mut self, lines: &[Line], is_captured: bool) -> Result<(), DiskError> {
        if !lines.is_empty() {
            self.log.append(lines)?;
        }
        // A checkpoint will be made of it: what led there is to outlive the machine as it does.
        if is_captured { self.log.sync() } else { Ok(()) }
    }
}

impl Observer for LedgerKeeper {
    fn before(&mut self, _now: Moment, input: &Input) {
        if !self.is_stopped {
            self.recorder.before(input);
        }
    }

    fn after(&mut self, _now: Moment, _node: &dyn Node, effects: &[Effect]) {
        if self.is_stopped {
            return;
        }
        let lines = self.recorder.after(effects);
        let is_capture = |effect: &Effect| {
            matches!(effect, Effect::Send { message: Message::Captured { .. }, .. })
        };
        if let Err(error) = self.keep(&lines, effects.iter().any(is_capture)) {
            self.is_stopped = true;
            tracing::warn!(
                "the ledger ends here, and training goes on without it: {error}; the next start of \
                 this ps takes it up again"
            );
        }
    }
}
