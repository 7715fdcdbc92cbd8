//! Restores a run from its files, records losses and saves checkpoints, for the run's chief. Every
//! function blocks until its file operations are done.
//!
//! [`RunFiles`] guarantees that before a checkpoint becomes visible, all losses that were recorded
//! before the checkpoint are durable. The chief's host decides when, and on which thread, to call
//! these functions.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::checkpoint::Checkpoint;
use crate::checkpoint::directory::{
    DirectoryError, MissingLosses, Warning, newest_step, newest_with_losses,
};
use crate::checkpoint::saver::{Saved, Saver};
use crate::disk::{
    Disk, DiskError, LockError, LockedBy, LogdirDisk, LogdirLock, RealDisk, check_writable,
    unsupported_sync,
};
use crate::losses::error::{LOSSES_FILE, LossesError, LossesNotice};
use crate::losses::{FindLosses, LossLog, LossesState, Rebuilt};
use unisono_core::ids::{Generation, Step};
use unisono_core::protocol::{Snapshot, UpdateRecord};

/// Converts a snapshot of the cluster to a checkpoint with named tensors.
pub type ToCheckpoint = Box<dyn Fn(&Snapshot) -> Checkpoint + Send>;

/// Converts a checkpoint to a snapshot of the cluster, or returns the reason why the checkpoint
/// cannot be used.
pub type FromCheckpoint = Box<dyn Fn(Checkpoint) -> Result<Taken, String> + Send>;

/// A checkpoint that was converted to the cluster's layout.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    /// State of the cluster.
    pub snapshot: Snapshot,
    /// Settings or data that have changed since the checkpoint was written, as text for the user.
    /// `None` if nothing changed, so that the training continues as if it had not been interrupted.
    pub changes: Option<String>,
}

/// Configuration of a run's files.
pub struct RunFilesConfig {
    /// Folder of the run's files.
    pub logdir: PathBuf,
    /// Number of checkpoints to keep.
    pub max_to_keep: NonZeroUsize,
    /// State from which a run without any checkpoint starts.
    pub initial: Arc<Snapshot>,
    /// Whether a recomputed update must equal its first computation. `true` if R ≥ N, because every
    /// update then uses the gradients of all slots. If R < N, timing decides which gradients an
    /// update uses.
    pub is_determined: bool,
    /// Whether the run may resume from a checkpoint that was written with other settings or other
    /// data.
    pub allows_changes: bool,
    /// Whether the run may resume from a checkpoint although losses before the checkpoint are
    /// missing.
    pub allows_missing_losses: bool,
    /// Number of losses of one update.
    pub n_losses: usize,
    /// Finds losses that are missing from the losses file.
    pub find_losses: Box<FindLosses>,
    /// Converts a snapshot to the checkpoint that is saved.
    pub to_checkpoint: ToCheckpoint,
    /// Converts a restored checkpoint to a snapshot.
    pub from_checkpoint: FromCheckpoint,
}

unisono_core::partial_debug!(RunFilesConfig { logdir });

/// The reason why a run cannot use its files.
#[derive(Debug, thiserror::Error)]
pub enum RunFilesError {
    /// The operating system refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// None of the checkpoints can be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The losses cannot be recorded.
    #[error(transparent)]
    Losses(#[from] LossesError),
    /// The newest checkpoint was written with other settings or data.
    #[error(
        "checkpoint {} belongs to another run: {changes}; to start a new run, use --fresh, which \
         moves the old run aside, or another --logdir; to continue this run, use the settings and \
         data that it was trained with, or --allow-changed-settings", path.display()
    )]
    Changed {
        /// Path of the checkpoint.
        path: PathBuf,
        /// Settings and data that differ between the checkpoint and this run, as text from
        /// [`RunFilesConfig::from_checkpoint`].
        changes: String,
    },
    /// [`RunFilesConfig::from_checkpoint`] rejected the checkpoint.
    #[error("checkpoint {} cannot be used: {why}", path.display())]
    Refused {
        /// Path of the checkpoint.
        path: PathBuf,
        /// Reason for the rejection.
        why: String,
    },
    /// The logdir cannot be locked.
    #[error(transparent)]
    Lock(#[from] LockError),
}

/// The files of one run.
#[derive(Debug)]
pub struct RunFiles {
    disk: Arc<dyn Disk>,
    config: RunFilesConfig,
    saver: Saver,
    losses: Losses,
    /// Whether this process has saved a checkpoint. All losses that were recorded before this
    /// checkpoint are durable.
    has_saved: bool,
}

/// A handle to the losses of a run. The thread that records losses and the thread that saves
/// checkpoints share the losses.
///
/// A thread does not hold the mutex during a sync of the disk, so recording does not wait for the
/// sync.
#[derive(Clone, Debug)]
pub struct Losses(Arc<Mutex<LossLog>>);

impl Losses {
    /// Appends an update's rows with one write. Returns a notice for the user, if there is one.
    ///
    /// # Errors
    /// Returns the errors of [`LossLog::append`]. The log keeps rows in memory that could not be
    /// written. If these rows still cannot be written at the next [`RunFiles::persist`], that call
    /// fails.
    pub fn record(&self, update: &UpdateRecord) -> Result<Option<LossesNotice>, LossesError> {
        let mut log = self.log();
        log.append(update)?;
        Ok(log.take_notice())
    }

    fn log(&self) -> MutexGuard<'_, LossLog> {
        // If a thread panicked while it held the lock, the log is still usable, because every call
        // on it can be repeated.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state from which a run starts.
#[derive(Debug)]
pub struct Restored {
    /// State of the cluster.
    pub snapshot: Arc<Snapshot>,
    /// Path of the checkpoint from which the state was read; `None` if the state is the initial
    /// values.
    pub path: Option<PathBuf>,
    /// Whether the checkpoint was written with the same settings and data, so that the training
    /// continues as if without an interruption.
    pub is_same_run: bool,
    /// Warnings for the user.
    pub warnings: Vec<Warning>,
}

impl RunFilesConfig {
    /// Returns the same result as [`RunFiles::restore`], but opens no file for writing and changes
    /// no file.
    ///
    /// # Errors
    /// If the logdir has checkpoints, but the run cannot resume from any of them: no checkpoint is
    /// valid, losses before every valid checkpoint are missing, or the newest valid checkpoint does
    /// not fit the configuration.
    pub fn look(&self, disk: &dyn Disk) -> Result<Restored, RunFilesError> {
        let losses = self.look_at_losses(disk)?;
        self.restore(disk, losses.complete_below, losses.why_missing.as_deref())
    }

    /// Checks whether all losses before the newest checkpoint are available.
    fn look_at_losses(&self, disk: &dyn Disk) -> Result<LossesState, RunFilesError> {
        let needed = newest_step(disk, &self.logdir)?.unwrap_or_default();
        let (n_losses, find) = (self.n_losses, &*self.find_losses);
        Ok(LossesState::look(disk, &self.logdir, needed, n_losses, find)?)
    }

    fn restore(
        &self,
        disk: &dyn Disk,
        complete_below: Step,
        why_missing: Option<&str>,
    ) -> Result<Restored, RunFilesError> {
        let missing = |step: Step| {
            let to = Step(step.0.checked_sub(1)?);
            let why = why_missing.map(str::to_owned);
            (complete_below < step).then_some(MissingLosses { from: complete_below, to, why })
        };
        // With --allow-missing-losses, missing losses do not influence which checkpoint is chosen.
        // The warnings below still report the missing losses.
        let allowed = |step| if self.allows_missing_losses { None } else { missing(step) };
        let newest = newest_with_losses(disk, &self.logdir, allowed)?;
        let mut warnings = newest.warnings;
        let Some((path, checkpoint)) = newest.found else {
            let snapshot = self.initial.clone();
            return Ok(Restored { snapshot, path: None, is_same_run: false, warnings });
        };
        let missing = missing(checkpoint.step);
        let missing = missing.map(|missing| Warning::LossesMissing { path: path.clone(), missing });
        warnings.extend(missing);
        let Taken { snapshot, changes } = match (self.from_checkpoint)(checkpoint) {
            Ok(taken) => taken,
            Err(why) => return Err(RunFilesError::Refused { path, why }),
        };
        let is_same_run = changes.is_none();
        if let Some(changes) = changes {
            if !self.allows_changes {
                return Err(RunFilesError::Changed { path, changes });
            }
            warnings.push(Warning::Changed { path: path.clone(), changes });
        }
        Ok(Restored { snapshot: Arc::new(snapshot), path: Some(path), is_same_run, warnings })
    }
}

impl RunFiles {
    /// Locks the logdir for this process, and then does the same as [`Self::open`].
    ///
    /// If the logdir has no usable checkpoint although it has checkpoints, the function fails
    /// without changing a file.
    ///
    /// # Errors
    /// Returns the errors of [`Self::open`] and [`Self::restore`]. Also fails if another process
    /// has locked the logdir and does not release the lock within five seconds.
    pub fn open_alone(
        config: RunFilesConfig,
        locked_by: LockedBy,
    ) -> Result<(Self, Vec<String>), RunFilesError> {
        let (lock, warning) = match locked_by {
            LockedBy::Nobody => lock(&config.logdir)?,
            LockedBy::Parent => (Some(LogdirLock::of_parent(&config.logdir)?), None),
        };
        let sync_warning = unsupported_sync(&config.logdir).map(|error| {
            format!(
                "cannot sync the folder {}: {error}; a loss of power may undo the newest checkpoints",
                config.logdir.display()
            )
        });
        let disk = LogdirDisk::open(&config.logdir, lock)?;
        // Unusable checkpoints are rejected here, before `open` changes anything in the logdir.
        config.look(&disk)?;
        let (files, mut warnings) = Self::open(Arc::new(disk), config)?;
        warnings.extend(warning.into_iter().chain(sync_warning));
        Ok((files, warnings))
    }

    /// Opens the files of a run, and creates a missing logdir. Does not restore a state.
    ///
    /// If the losses file lacks losses of steps before the newest checkpoint, the function adds the
    /// losses that [`RunFilesConfig::find_losses`] finds. The function also returns warnings for
    /// the user.
    ///
    /// # Errors
    /// If the logdir cannot be written, or its file `losses.csv` is not a losses file.
    pub fn open(
        disk: Arc<dyn Disk>,
        config: RunFilesConfig,
    ) -> Result<(Self, Vec<String>), RunFilesError> {
        check_writable(&*disk, &config.logdir)?;
        let (saver, warnings) = Saver::open(disk.clone(), &config.logdir, config.max_to_keep)?;
        let mut warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        if let Some(rebuilt) = config.look_at_losses(&*disk)?.rebuilt {
            rebuilt.publish(&*disk, &config.logdir)?;
            let Rebuilt { from, to, .. } = rebuilt;
            warnings.push(format!(
                "{} lacked losses of steps {from} to {to}: they were restored from the ledgers",
                config.logdir.join(LOSSES_FILE).display()
            ));
        }
        let path = config.logdir.join(LOSSES_FILE);
        let (mut log, damage) = LossLog::open(disk.clone(), &path, config.n_losses)?;
        if config.is_determined && log.is_empty() {
            log.expect_the_same();
        }
        warnings.extend(damage.map(|damage| damage.to_string()));
        let losses = Losses(Arc::new(Mutex::new(log)));
        Ok((Self { disk, config, saver, losses, has_saved: false }, warnings))
    }

    /// Returns a handle for recording losses from any thread.
    #[must_use]
    pub fn losses(&self) -> Losses {
        self.losses.clone()
    }

    /// Returns the newest valid checkpoint, or the initial values if there is no checkpoint.
    ///
    /// This function removes no rows from the losses file, because the cluster may still be running
    /// and may already be past the checkpoint. A later call of [`Losses::record`] removes old rows
    /// of the recorded step and of later steps.
    ///
    /// # Errors
    /// If the logdir has checkpoints, but the run cannot resume from any of them: no checkpoint is
    /// valid, losses before every valid checkpoint are missing, or the newest valid checkpoint does
    /// not fit the configuration.
    pub fn restore(&self) -> Result<Restored, RunFilesError> {
        let complete_below = {
            let mut log = self.losses.log();
            // Another program may have changed the losses file, so the file is first repaired from
            // the copy in memory. If the repair fails, `persist` repeats it before the next
            // checkpoint.
            let _ = log.make_whole_again();
            // If this process has saved a checkpoint, all losses before that checkpoint are
            // durable. A gap that an earlier process left was reported when this process first
            // restored.
            if self.has_saved { Step(u64::MAX) } else { log.complete_below() }
        };
        let mut restored = self.config.restore(&*self.disk, complete_below, None)?;
        let mut log = self.losses.log();
        // The checkpoint is of this run, so the rows of the losses file are of this run, too. If
        // the run is determined, recomputed updates must equal these rows.
        if restored.is_same_run && self.config.is_determined {
            log.expect_the_same();
        }
        restored.warnings.extend(log.take_notice().map(Warning::Losses));
        Ok(restored)
    }

    /// Makes all recorded losses durable, then saves a checkpoint.
    ///
    /// # Errors
    /// If the losses or the checkpoint cannot be written. The call can be repeated.
    pub fn persist(&mut self, snapshot: &Snapshot) -> Result<Saved, RunFilesError> {
        let path = {
            // The lock is released at the end of this block, so that recording goes on while the
            // disk syncs.
            let mut log = self.losses.log();
            log.flush_closely()?;
            log.path().to_owned()
        };
        if let Err(error) = self.disk.sync(&path) {
            self.losses.log().sync_failed();
            return Err(DiskError::at("sync", &path)(error).into());
        }
        let Generation { number, opener } = snapshot.cut.generation;
        let writer = format!("g{number}-{opener}");
        let mut saved = self.saver.save(&(self.config.to_checkpoint)(snapshot), &writer)?;
        self.has_saved = true;
        saved.warnings.extend(self.losses.log().take_notice().map(Warning::Losses));
        Ok(saved)
    }
}

/// Creates a logdir if necessary, and locks it. If the file system has no locks, returns a warning
/// instead of a lock.
///
/// # Errors
/// If the logdir cannot be created, or another process has locked the logdir and does not release
/// the lock within five seconds.
pub fn lock(logdir: &Path) -> Result<(Option<LogdirLock>, Option<String>), RunFilesError> {
    RealDisk.create_dir(logdir).map_err(DiskError::at("create the logdir", logdir))?;
    Ok(LogdirLock::take(logdir)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{config, snapshot, update};

    use crate::disk::test_disk::{Bug, Fault, TestDisk};
    use unisono_core::ids::Slot;

    const STEPS: u64 = 6;

    fn open(disk: &Arc<TestDisk>) -> Result<RunFiles, RunFilesError> {
        Ok(RunFiles::open(Arc::new(disk.clone()), config("/logdir".into()))?.0)
    }

    /// Restores a run, records all remaining updates, and saves a checkpoint after every second
    /// update.
    fn play(disk: &Arc<TestDisk>) -> Result<(), RunFilesError> {
        let mut files = open(disk)?;
        for step in files.restore()?.snapshot.cut.step.0..STEPS {
            // Like a host, this function continues after the error. If the rows still cannot be
            // written, the next `persist` fails.
            let _ = files.losses().record(&update(step));
            if step % 2 == 1 {
                files.persist(&snapshot(step + 1))?;
            }
        }
        Ok(())
    }

    fn rows(disk: &Arc<TestDisk>) -> String {
        let path = PathBuf::from("/logdir").join(LOSSES_FILE);
        disk.read(&path).map(|bytes| String::from_utf8(bytes).unwrap()).unwrap_or_default()
    }

    fn rows_below(step: u64) -> String {
        let rows = (0..step).map(|step| format!("{step},0,0.5\n{step},1,0.25\n"));
        format!("step,slot,loss\n{}", rows.collect::<String>())
    }

    fn crash_everywhere(bug: Bug) -> Result<(), String> {
        let whole = TestDisk::new(bug, None);
        play(&whole).unwrap();
        for at in 0..=whole.operations().len() {
            let disk = TestDisk::new(bug, Some((at, Fault::Stop)));
            let _ = play(&disk);
            for after in disk.after_a_crash() {
                let restored = open(&after).and_then(|files| files.restore());
                let step = restored.map_err(|error| format!("{at}: {error}"))?.snapshot.cut.step.0;
                if step > 0 && !rows(&after).starts_with(&rows_below(step)) {
                    return Err(format!("{at}: a checkpoint of {step}, but {}", rows(&after)));
                }
                play(&after).map_err(|error| format!("{at}: {error}"))?;
                if rows(&after) != rows_below(STEPS) {
                    return Err(format!("{at}: at the end {}", rows(&after)));
                }
            }
        }
        Ok(())
    }

    #[test]
    fn after_a_crash_anywhere_the_losses_before_the_checkpoint_are_complete() {
        crash_everywhere(Bug::None).unwrap();
    }

    #[test]
    fn crash_enumeration_catches_losses_that_are_not_durable() {
        crash_everywhere(Bug::NoSync).unwrap_err();
    }

    #[test]
    fn unwritable_losses_fail_the_next_persist_and_are_written_later() {
        let disk = TestDisk::new(Bug::None, None);
        let mut files = open(&disk).unwrap();
        disk.plan(Some((0, Fault::Stop)));
        files.losses().record(&update(0)).unwrap_err();
        let error = files.persist(&snapshot(1)).unwrap_err().to_string();
        assert!(error.contains("losses.csv.new.tmp: killed"), "{error}");
        assert_eq!(files.restore().unwrap().path, None, "no checkpoint is visible");
        disk.plan(None);
        files.losses().record(&update(1)).unwrap();
        files.persist(&snapshot(2)).unwrap();
        assert_eq!(rows(&disk), rows_below(2));
    }

    #[test]
    fn restoring_keeps_later_losses_until_they_are_recomputed() {
        let disk = TestDisk::new(Bug::None, None);
        let mut files = open(&disk).unwrap();
        files.losses().record(&update(0)).unwrap();
        files.persist(&snapshot(1)).unwrap();
        files.losses().record(&update(1)).unwrap();
        assert_eq!(files.restore().unwrap().snapshot.cut.step, Step(1));
        assert_eq!(rows(&disk), rows_below(2));
        files.losses().record(&update(1)).unwrap();
        assert_eq!(rows(&disk), rows_below(2));
    }

    #[test]
    fn recomputed_update_with_different_losses_is_an_error() {
        let other =
            |step| UpdateRecord { losses: vec![(Slot(0), 0.5), (Slot(1), 0.125)], ..update(step) };
        let disk = TestDisk::new(Bug::None, None);
        let mut files = open(&disk).unwrap();
        files.losses().record(&update(0)).unwrap();
        files.persist(&snapshot(1)).unwrap();
        files.losses().record(&update(1)).unwrap();
        let error = files.losses().record(&other(1)).unwrap_err();
        assert!(matches!(error, LossesError::NotRepeated(_)), "{error}");

        // After a restart, recomputed updates are compared with the file's rows only after a
        // restored checkpoint has shown that the rows are of this run.
        files.losses().record(&update(1)).unwrap();
        let files = open(&disk).unwrap();
        files.restore().unwrap();
        let error = files.losses().record(&other(1)).unwrap_err();
        let said = "update 1 was computed a second time, and the loss of slot 1 is 0.125 instead of \
                    0.25: faulty hardware, another build, or other data on one of the tasks; or the \
                    first loss is of a run with other settings that was killed before it saved, and \
                    then the same command continues";
        assert_eq!(error.to_string(), said);

        // With R < N, a recomputed update may differ from its first computation.
        let config = RunFilesConfig { is_determined: false, ..config("/logdir".into()) };
        let files = RunFiles::open(Arc::new(disk), config).unwrap().0;
        files.restore().unwrap();
        files.losses().record(&update(1)).unwrap();
        files.losses().record(&other(1)).unwrap();
    }

    #[test]
    fn changed_settings_are_refused_unless_allowed_and_then_losses_may_differ() {
        let disk = TestDisk::new(Bug::None, None);
        let mut files = open(&disk).unwrap();
        files.losses().record(&update(0)).unwrap();
        files.persist(&snapshot(1)).unwrap();
        files.losses().record(&update(1)).unwrap();

        let changed = |allows_changes| {
            let same = config("/logdir".into());
            let from_same = same.from_checkpoint;
            let from_checkpoint: FromCheckpoint = Box::new(move |checkpoint| {
                let changes = Some("it was trained with a = 1, and not 2".to_owned());
                Ok(Taken { changes, ..from_same(checkpoint)? })
            });
            let config =
                RunFilesConfig { allows_changes, from_checkpoint, ..config("/logdir".into()) };
            RunFiles::open(Arc::new(disk.clone()), config).unwrap().0
        };
        let refused = changed(false).restore().unwrap_err().to_string();
        insta::assert_snapshot!(refused, @"checkpoint /logdir/model.ckpt-1.safetensors belongs to another run: it was trained with a = 1, and not 2; to start a new run, use --fresh, which moves the old run aside, or another --logdir; to continue this run, use the settings and data that it was trained with, or --allow-changed-settings");

        let files = changed(true);
        let restored = files.restore().unwrap();
        let warnings: Vec<_> = restored.warnings.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(warnings.join("\n"), @"checkpoint /logdir/model.ckpt-1.safetensors belongs to another run: it was trained with a = 1, and not 2; continuing from it because of --allow-changed-settings");
        let losses = vec![(Slot(0), 0.5), (Slot(1), 0.125)];
        files.losses().record(&UpdateRecord { losses, ..update(1) }).unwrap();
    }

    #[test]
    fn logdir_has_one_writer_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first =
            RunFiles::open_alone(config(dir.path().to_owned()), LockedBy::Nobody).unwrap().0;
        let error =
            RunFiles::open_alone(config(dir.path().to_owned()), LockedBy::Nobody).unwrap_err();
        assert!(matches!(error, RunFilesError::Lock(LockError::InUse { .. })), "{error}");
        drop(first);
        RunFiles::open_alone(config(dir.path().to_owned()), LockedBy::Nobody).unwrap();
    }

    #[test]
    fn checkpoint_rejected_by_the_caller_is_an_error_with_the_callers_reason() {
        let disk = TestDisk::new(Bug::None, None);
        let mut config = config("/logdir".into());
        config.from_checkpoint = Box::new(|_| Err("the batch size changed".to_owned()));
        let mut files = RunFiles::open(Arc::new(disk), config).unwrap().0;
        files.losses().record(&update(0)).unwrap();
        files.persist(&snapshot(1)).unwrap();
        assert_eq!(
            files.restore().unwrap_err().to_string(),
            "checkpoint /logdir/model.ckpt-1.safetensors cannot be used: the batch size changed"
        );
    }
}
