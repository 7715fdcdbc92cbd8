//! The chief's files: the production code that reads and writes them, on a simulated disk that can
//! fail.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use unisono_core::protocol::{Restored, Snapshot, StorageEvent, UpdateRecord};
use unisono_core::random::Stream;
use unisono_files::checkpoint::{DirectoryError, StateError, Warning, decode, step_of};
use unisono_files::disk::Disk as _;
use unisono_files::losses::error::LossesError;
use unisono_files::run_files::{RunFiles, RunFilesError};
use unisono_rules::LifeId;

use crate::scenario::{StorageModel, nanos};
use crate::streams::Purpose;
use crate::world::disk::SimDisk;
use crate::world::life::Cause;

/// The path of the chief's logdir on the simulated disk.
const LOGDIR: &str = "/logdir";

/// Number of writes and renames of a save: the checkpoint and the list of checkpoints are each
/// written and renamed.
const WRITES_A_SAVE: u32 = 4;
/// Number of syncs of a save: the losses, the checkpoint and the list of checkpoints are synced,
/// and the directory is synced once after the checkpoint and once after the list.
const SYNCS_A_SAVE: u32 = 5;
/// Number of reads at the beginning of a save: the stamp, the start and the end of the losses file
/// are read.
const LOOKS_A_SAVE: u32 = 3;
const OPERATIONS_A_SAVE: u64 = (LOOKS_A_SAVE + WRITES_A_SAVE + SYNCS_A_SAVE) as u64;
/// Number of reads of a restore: the list of checkpoints and the newest checkpoint are read.
const READS_A_RESTORE: u32 = 2;

/// The chief's disk, the open files on this disk, and the unfinished requests of the chief.
#[derive(Debug)]
pub(crate) struct ChiefFiles {
    pub(crate) disk: SimDisk,
    model: StorageModel,
    seed: u64,
    open: Option<(LifeId, RunFiles)>,
    /// Requests that the disk has not finished, oldest first.
    requests: VecDeque<Asked>,
    n_power_losses: u64,
    /// Size of the newest checkpoint in bytes. A restore reads this many bytes.
    n_bytes: u64,
    /// A description of the first invalid checkpoint that a restore found; `None` if all were
    /// valid.
    pub(crate) invalid: Option<String>,
}

/// A request of the chief to its disk.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Restore,
    Persist(Arc<Snapshot>),
}

#[derive(Debug)]
struct Asked {
    request: Request,
    cause: Cause,
    begins: Duration,
    ends: Duration,
}

impl ChiefFiles {
    pub(super) fn new(model: StorageModel, seed: u64) -> Self {
        let disk = SimDisk::new(Stream::new(seed, Purpose::Disk, 0, 0));
        let (requests, n_bytes) = (VecDeque::new(), 0);
        Self { disk, model, seed, open: None, requests, n_power_losses: 0, n_bytes, invalid: None }
    }

    /// Returns the path of the chief's logdir on the disk.
    pub(crate) fn logdir() -> PathBuf {
        Path::new(LOGDIR).to_owned()
    }

    pub(crate) fn open(&mut self, life: LifeId, files: RunFiles) {
        self.open = Some((life, files));
        self.requests.clear();
    }

    pub(super) fn close(&mut self, life: LifeId) {
        if self.open.as_ref().is_some_and(|(of, _)| *of == life) {
            self.open = None;
            self.requests.clear();
        }
    }

    /// Adds the losses of an update to the losses file. Returns an event only if the update was
    /// recomputed and its losses differ from the first time.
    pub(super) fn record(&mut self, update: &UpdateRecord) -> Option<StorageEvent> {
        let (_, files) = self.open.as_ref()?;
        match files.losses().record(update) {
            Err(LossesError::NotRepeated(why)) => Some(StorageEvent::NotRepeated(why)),
            // As on the real host, losses that could not be written stay in memory, and the next
            // save fails.
            Err(_) | Ok(_) => None,
        }
    }

    /// Queues a request of an incarnation behind all earlier requests. Returns the time at which
    /// the request will be finished; `None` if the incarnation has no open files.
    pub(super) fn ask(
        &mut self,
        life: LifeId,
        now: Duration,
        cause: Cause,
        request: Request,
        factor: u32,
    ) -> Option<Duration> {
        self.open.as_ref().filter(|(of, _)| *of == life)?;
        // The disk handles one request at a time, as the storage thread of the real host does.
        let begins = self.requests.back().map_or(now, |before| before.ends.max(now));
        let ends = begins + self.takes(&request) * factor;
        self.requests.push_back(Asked { request, cause, begins, ends });
        Some(ends)
    }

    fn takes(&mut self, request: &Request) -> Duration {
        let StorageModel { write, sync, read, bandwidth } = self.model;
        let fixed = match request {
            Request::Restore => read * READS_A_RESTORE,
            Request::Persist(snapshot) => {
                self.n_bytes = bytes_of(snapshot);
                write * WRITES_A_SAVE + sync * SYNCS_A_SAVE
            }
        };
        let transfer = bandwidth
            .map_or(0, |rate| u128::from(self.n_bytes) * 1_000_000_000 / u128::from(rate.get()));
        fixed + Duration::from_nanos(u64::try_from(transfer).unwrap_or(u64::MAX))
    }

    /// Finishes the oldest request, which is due now.
    pub(super) fn answer(&mut self, life: LifeId) -> Option<(Cause, StorageEvent)> {
        // A save writes its files only now, at its end. If the chief crashes before this time,
        // `kill` lets the save write as much as its time allowed.
        let (_, files) = self.open.as_mut().filter(|(of, _)| *of == life)?;
        let asked = self.requests.pop_front()?;
        let event = match &asked.request {
            Request::Restore => {
                let (restored, invalid) = restore(files);
                // `restore` checks only the checkpoints in the list. A torn file with a
                // checkpoint's name that is not in the list can only come from a power loss. So all
                // checkpoint files are checked, but only after a power loss.
                let torn = || {
                    let lost_power = self.n_power_losses > 0;
                    lost_power.then(|| first_invalid(&self.disk)).flatten()
                };
                self.invalid = self.invalid.take().or(invalid).or_else(torn);
                StorageEvent::Restored(restored)
            }
            Request::Persist(snapshot) => persist(files, snapshot),
        };
        Some((asked.cause, event))
    }

    /// Simulates the death of the chief's process. The number of operations that a save in progress
    /// has carried out is proportional to the elapsed time.
    pub(super) fn kill(&mut self, life: LifeId, now: Duration) {
        let Some((of, files)) = &mut self.open else { return };
        if *of != life {
            return;
        }
        if let Some(Asked { request: Request::Persist(snapshot), begins, ends, .. }) =
            self.requests.front()
            && *begins < now
        {
            let (passed, whole) = (nanos(now - *begins), nanos(*ends - *begins).max(1));
            // The operations of the save are carried out only now, because only a crash decides
            // after which operation the save stops.
            self.disk.kill_after(Some(passed * OPERATIONS_A_SAVE / whole));
            persist(files, snapshot);
            self.disk.kill_after(None);
        }
        self.close(life);
    }

    /// Simulates a power loss of the chief's machine.
    pub(super) fn lose_power(&mut self) {
        let index = self.n_power_losses;
        self.n_power_losses += 1;
        self.disk.power_loss(&mut Stream::new(self.seed, Purpose::PowerLoss, 0, index));
    }
}

fn bytes_of(snapshot: &Snapshot) -> u64 {
    let values = snapshot.shards.iter().map(|shard| {
        let auxiliary: usize = shard.auxiliary.iter().map(|buffer| buffer.len()).sum();
        shard.parameters.len() + auxiliary
    });
    4 * values.sum::<usize>() as u64
}

/// Returns a description of the first file that has the name of a checkpoint but is not a valid
/// checkpoint. The list of checkpoints need not contain the file.
fn first_invalid(disk: &SimDisk) -> Option<String> {
    let logdir = Path::new(LOGDIR);
    let invalid = |name: String| {
        let step = step_of(&name)?;
        let bytes = disk.read(&logdir.join(&name)).ok()?;
        decode(step, &bytes).err().map(|why| format!("{name}: {why}"))
    };
    disk.list(logdir).ok()?.into_iter().find_map(invalid)
}

fn persist(files: &mut RunFiles, snapshot: &Snapshot) -> StorageEvent {
    let result = files.persist(snapshot).map(|saved| saved.path.display().to_string());
    StorageEvent::Persisted { step: snapshot.cut.step, result: result.map_err(|e| e.to_string()) }
}

/// Restores the newest checkpoint. Also returns a description of the first invalid checkpoint that
/// the restore found, if any.
pub(crate) fn restore(files: &RunFiles) -> (Result<Restored, String>, Option<String>) {
    let restored = match files.restore() {
        Ok(restored) => restored,
        Err(error) => {
            let text = error.to_string();
            let is_invalid = matches!(
                error,
                RunFilesError::Directory(
                    DirectoryError::NoneValid { .. } | DirectoryError::NoLosses { .. }
                )
            );
            return (Err(text.clone()), is_invalid.then_some(text));
        }
    };
    // `Unreadable` is not reported as invalid, because the list may be missing: a power loss may
    // come before the first list is published.
    let is_invalid = |warning: &&Warning| match warning {
        Warning::State { why, .. } => !matches!(why, StateError::Unreadable(_)),
        Warning::Skipped { .. } => true,
        Warning::LossesMissing { .. } => true,
        Warning::Changed { .. } | Warning::NotRemoved(_) | Warning::Losses(_) => false,
    };
    let skipped = restored.warnings.iter().find(is_invalid);
    let invalid = skipped.map(ToString::to_string);
    let from = restored.path.map(|path| path.display().to_string());
    (Ok(Restored { snapshot: restored.snapshot, from }), invalid)
}
