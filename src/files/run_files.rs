//! The files of one run as its chief uses them: restore, record, persist, all waiting until done.
//!
//! It keeps the one rule that joins them: what was recorded is durable before a checkpoint behind
//! it is visible. On which thread that happens, and when, is the host's business.

use std::fmt;
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
use unisono_core::planted::{Bug, is_planted};
use unisono_core::protocol::{Snapshot, UpdateRecord};

/// Names the tensors of a snapshot.
pub type ToCheckpoint = Box<dyn Fn(&Snapshot) -> Checkpoint + Send>;

/// Lays a checkpoint over the shards, or says why it cannot be used.
pub type FromCheckpoint = Box<dyn Fn(Checkpoint) -> Result<Taken, String> + Send>;

/// What a run takes from a checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Taken {
    /// The state.
    pub snapshot: Snapshot,
    /// What is another since, in words, if what follows is not what would have followed then.
    pub changes: Option<String>,
}

/// What the files of a run are made of.
pub struct RunFilesConfig {
    /// Where they are.
    pub logdir: PathBuf,
    /// How many checkpoints are kept.
    pub max_to_keep: NonZeroUsize,
    /// Where a run without any checkpoint starts.
    pub initial: Arc<Snapshot>,
    /// Whether an update that is made again has to be the same. With R < N timing has a say in it.
    pub is_determined: bool,
    /// Whether it may go on from the checkpoint of a run in which something was another.
    pub allows_changes: bool,
    /// Whether a run may resume from a checkpoint although losses before it are missing.
    pub allows_missing_losses: bool,
    /// How many losses an update has.
    pub n_losses: usize,
    /// Finds losses that the losses file lacks.
    pub find_losses: Box<FindLosses>,
    /// From the cluster to files.
    pub to_checkpoint: ToCheckpoint,
    /// From files to the cluster.
    pub from_checkpoint: FromCheckpoint,
}

impl fmt::Debug for RunFilesConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunFilesConfig").field("logdir", &self.logdir).finish_non_exhaustive()
    }
}

/// Why a run's files are of no use to it.
#[derive(Debug, thiserror::Error)]
pub enum RunFilesError {
    /// The operating system refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// There are checkpoints that cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The losses cannot be kept.
    #[error(transparent)]
    Losses(#[from] LossesError),
    /// The newest checkpoint is of another run.
    #[error(
        "checkpoint {} is of another run: {changes}; to begin a new run, give --fresh, which moves \
         the old one aside, or another --logdir; to go on with this one, give what it was trained \
         with, or --allow-changed-settings", path.display()
    )]
    Changed {
        /// The checkpoint.
        path: PathBuf,
        /// The caller's words.
        changes: String,
    },
    /// The caller cannot use the checkpoint.
    #[error("checkpoint {} cannot be used: {why}", path.display())]
    Refused {
        /// The checkpoint.
        path: PathBuf,
        /// The caller's words.
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
    /// Whether this process has written a checkpoint, and so knows the losses before it.
    has_saved: bool,
}

/// The losses, shared by who records and who makes them durable. Nobody holds the lock while the
/// disk syncs, so recording does not wait for that.
#[derive(Clone, Debug)]
pub struct Losses(Arc<Mutex<LossLog>>);

impl Losses {
    /// Appends an update's rows with one write. Returns what a person should hear.
    ///
    /// # Errors
    /// As [`LossLog::append`]: the rows are held back, and the next persist fails if they still are.
    pub fn record(&self, update: &UpdateRecord) -> Result<Option<LossesNotice>, LossesError> {
        let mut log = self.log();
        log.append(update)?;
        Ok(log.take_notice())
    }

    fn log(&self) -> MutexGuard<'_, LossLog> {
        // A log is never left half changed: every call on it can be repeated.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a run starts from.
#[derive(Debug)]
pub struct Restored {
    /// The state.
    pub snapshot: Arc<Snapshot>,
    /// The checkpoint that it comes from; `None` for the initial values.
    pub path: Option<PathBuf>,
    /// Whether what follows is what would have followed in the run that wrote it.
    pub is_same_run: bool,
    /// What a person should hear.
    pub warnings: Vec<Warning>,
}

impl RunFilesConfig {
    /// What a run would start from, with nothing opened or changed: as [`RunFiles::restore`].
    ///
    /// # Errors
    /// If there are checkpoints that cannot be used, or before each of which losses are missing.
    pub fn look(&self, disk: &dyn Disk) -> Result<Restored, RunFilesError> {
        let losses = self.look_at_losses(disk)?;
        self.restore(disk, losses.complete_below, losses.why_missing.as_deref())
    }

    /// How complete the losses are, as far as the newest checkpoint needs them.
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
    /// As [`Self::open`], on the operating system's files, and with nobody else who writes there.
    /// What cannot be restored from is refused before anything in the logdir is changed.
    ///
    /// # Errors
    /// As [`Self::open`] and [`Self::restore`]; and if another process has the logdir, and keeps it
    /// for five seconds.
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
        config.look(&disk)?;
        let (files, mut warnings) = Self::open(Arc::new(disk), config)?;
        warnings.extend(warning.into_iter().chain(sync_warning));
        Ok((files, warnings))
    }

    /// Opens the files of a run, making what is missing; nothing is restored yet. Losses that the
    /// newest checkpoint needs and the losses file lacks are put back if they are found elsewhere.
    /// Tells what a person should hear, too.
    ///
    /// # Errors
    /// If the logdir cannot be written, or holds a losses file that is not one.
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
                "{} lacked losses of steps {from} to {to}: they were put back from the ledgers",
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

    /// A handle with which to record, on any thread.
    #[must_use]
    pub fn losses(&self) -> Losses {
        self.losses.clone()
    }

    /// The newest valid checkpoint, or the initial values if there is none at all.
    ///
    /// It takes no row from the losses: who asks may find the cluster alive and further on. What
    /// must go from the losses goes when an update of such a step is recorded.
    ///
    /// # Errors
    /// If there are checkpoints that cannot be used, or before each of which losses are missing.
    pub fn restore(&self) -> Result<Restored, RunFilesError> {
        let complete_below = {
            let mut log = self.losses.log();
            // What is known of the losses counts, and not what somebody made of the file meanwhile.
            // If the file cannot be made whole now, no checkpoint is written before it is.
            let _ = log.make_whole_again();
            // A gap from before this process was reported when the process met it.
            if self.has_saved { Step(u64::MAX) } else { log.complete_below() }
        };
        let mut restored = self.config.restore(&*self.disk, complete_below, None)?;
        let mut log = self.losses.log();
        // The rows of a life before count: the checkpoint beside them is of this run.
        if restored.is_same_run && self.config.is_determined {
            log.expect_the_same();
        }
        restored.warnings.extend(log.take_notice().map(Warning::Losses));
        Ok(restored)
    }

    /// Makes a checkpoint, and before it all that was recorded, durable.
    ///
    /// # Errors
    /// If the losses or the checkpoint cannot be written. All may be tried again.
    pub fn persist(&mut self, snapshot: &Snapshot) -> Result<Saved, RunFilesError> {
        let path = {
            let mut log = self.losses.log();
            log.flush_closely()?;
            log.path().to_owned()
        };
        if !is_planted(Bug::LossesNotSynced)
            && let Err(error) = self.disk.sync(&path)
        {
            self.losses.log().sync_failed();
            return Err(DiskError::at("sync", &path)(error).into());
        }
        let Generation { number, opener } = snapshot.generation;
        let writer = format!("g{number}-{opener}");
        let mut saved = self.saver.save(&(self.config.to_checkpoint)(snapshot), &writer)?;
        self.has_saved = true;
        saved.warnings.extend(self.losses.log().take_notice().map(Warning::Losses));
        Ok(saved)
    }
}

/// Makes a logdir if need be, and locks it. Tells why there is no lock, if the system has none.
///
/// # Errors
/// If the logdir cannot be made, or another process has it, and keeps it for five seconds.
pub fn lock(logdir: &Path) -> Result<(Option<LogdirLock>, Option<String>), RunFilesError> {
    RealDisk.create_dir(logdir).map_err(DiskError::at("make the logdir", logdir))?;
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

    /// A run from wherever the files say, with a checkpoint every other step.
    fn play(disk: &Arc<TestDisk>) -> Result<(), RunFilesError> {
        let mut files = open(disk)?;
        for step in files.restore()?.snapshot.step.0..STEPS {
            // As a host does: told to a person, and left for the next persist to judge.
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
                let step = restored.map_err(|error| format!("{at}: {error}"))?.snapshot.step.0;
                if step > 0 && !rows(&after).starts_with(&rows_below(step)) {
                    return Err(format!("{at}: a checkpoint of {step}, and {}", rows(&after)));
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
    fn after_a_crash_anywhere_the_losses_before_the_checkpoint_are_there() {
        crash_everywhere(Bug::None).unwrap();
    }

    #[test]
    fn the_enumeration_catches_losses_that_are_not_durable() {
        crash_everywhere(Bug::NoSync).unwrap_err();
    }

    #[cfg(feature = "planted-bugs")]
    #[test]
    fn the_enumeration_catches_every_planted_bug_of_the_losses() {
        use unisono_core::planted::{Bug as Planted, plant};

        for bug in [Planted::LossesNotSynced, Planted::LossesNotRewound] {
            plant(Some(bug));
            let caught = crash_everywhere(Bug::None);
            plant(None);
            assert!(caught.is_err(), "{}", bug.name());
        }
    }

    #[test]
    fn losses_that_cannot_be_written_fail_the_next_persist_and_are_not_lost() {
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
    fn reading_the_checkpoint_leaves_later_losses_until_they_are_made_again() {
        let disk = TestDisk::new(Bug::None, None);
        let mut files = open(&disk).unwrap();
        files.losses().record(&update(0)).unwrap();
        files.persist(&snapshot(1)).unwrap();
        files.losses().record(&update(1)).unwrap();
        assert_eq!(files.restore().unwrap().snapshot.step, Step(1));
        assert_eq!(rows(&disk), rows_below(2));
        files.losses().record(&update(1)).unwrap();
        assert_eq!(rows(&disk), rows_below(2));
    }

    #[test]
    fn what_is_recorded_again_must_be_what_it_was() {
        let other =
            |step| UpdateRecord { losses: vec![(Slot(0), 0.5), (Slot(1), 0.125)], ..update(step) };
        let disk = TestDisk::new(Bug::None, None);
        let mut files = open(&disk).unwrap();
        files.losses().record(&update(0)).unwrap();
        files.persist(&snapshot(1)).unwrap();
        files.losses().record(&update(1)).unwrap();
        let error = files.losses().record(&other(1)).unwrap_err();
        assert!(matches!(error, LossesError::NotRepeated(_)), "{error}");

        // The rows of a life before count once the checkpoint says that they are of this run.
        files.losses().record(&update(1)).unwrap();
        let files = open(&disk).unwrap();
        files.restore().unwrap();
        let error = files.losses().record(&other(1)).unwrap_err();
        let said = "update 1 was made a second time, and the loss of slot 1 is 0.125, where it was \
                    0.25: faulty hardware, another build, or other data on one of the tasks; or the \
                    first was left by a run with other settings that was killed before it saved, \
                    and then the same command goes on";
        assert_eq!(error.to_string(), said);

        // With R < N it may be another.
        let config = RunFilesConfig { is_determined: false, ..config("/logdir".into()) };
        let files = RunFiles::open(Arc::new(disk), config).unwrap().0;
        files.restore().unwrap();
        files.losses().record(&update(1)).unwrap();
        files.losses().record(&other(1)).unwrap();
    }

    #[test]
    fn what_was_changed_is_refused_or_wanted_and_then_an_update_may_be_another() {
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
        insta::assert_snapshot!(refused, @"checkpoint /logdir/model.ckpt-1.safetensors is of another run: it was trained with a = 1, and not 2; to begin a new run, give --fresh, which moves the old one aside, or another --logdir; to go on with this one, give what it was trained with, or --allow-changed-settings");

        let files = changed(true);
        let restored = files.restore().unwrap();
        let warnings: Vec<_> = restored.warnings.iter().map(ToString::to_string).collect();
        insta::assert_snapshot!(warnings.join("\n"), @"checkpoint /logdir/model.ckpt-1.safetensors is of another run: it was trained with a = 1, and not 2; training goes on from it, as --allow-changed-settings says");
        let losses = vec![(Slot(0), 0.5), (Slot(1), 0.125)];
        files.losses().record(&UpdateRecord { losses, ..update(1) }).unwrap();
    }

    #[test]
    fn a_logdir_has_one_writer_at_a_time() {
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
    fn a_checkpoint_that_the_caller_refuses_is_an_error_with_its_words() {
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
