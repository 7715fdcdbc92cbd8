//! The production storage: a run's files, the slow work on them on a thread of its own.
//!
//! Losses are written by the caller at once, one small write an update, so that a process that is
//! killed has lost none; reading, writing and syncing checkpoints is left to the thread.

use std::collections::VecDeque;
use std::future;
use std::io;
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread;

use tokio::sync::mpsc;

use unisono_core::host::Storage;
use unisono_core::ids::Step;
use unisono_core::protocol::{Restored, Snapshot, StorageEvent, UpdateRecord};
use unisono_files::disk::LockedBy;
use unisono_files::losses::error::LossesError;
use unisono_files::run_files::{Losses, RunFiles, RunFilesConfig, RunFilesError};

/// Jobs that may wait for the disk. Each holds a whole state in memory; a disk that is so far
/// behind is not going to catch up, and its node should hear of it.
const MAX_WAITING: usize = 4;

/// The storage could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The logdir is of no use.
    #[error(transparent)]
    Files(#[from] RunFilesError),
    /// There is no thread for it.
    #[error("cannot start the storage thread: {0}; this user may have too many threads")]
    Thread(io::Error),
}

/// A [`Storage`] of real files.
#[derive(Debug)]
pub struct FileStorage {
    jobs: std_mpsc::Sender<Job>,
    /// Holds no more than is [`Self::waiting`].
    done: mpsc::UnboundedReceiver<StorageEvent>,
    losses: Losses,
    losses_refused: bool,
    /// What the thread was asked and has not answered, in order.
    waiting: VecDeque<Asked>,
    /// What is known without the thread.
    known: VecDeque<StorageEvent>,
}

#[derive(Debug)]
enum Job {
    Restore,
    Persist(Arc<Snapshot>),
}

#[derive(Clone, Copy, Debug)]
enum Asked {
    Restore,
    Persist(Step),
}

impl Asked {
    fn failed(self, why: &str) -> StorageEvent {
        let why = why.to_owned();
        match self {
            Self::Restore => StorageEvent::Restored(Err(why)),
            Self::Persist(step) => StorageEvent::Persisted { step, result: Err(why) },
        }
    }
}

impl FileStorage {
    /// Opens the files of a run and starts the thread. The logdir is known to be writable then.
    ///
    /// # Errors
    /// If the logdir cannot be used, in one line that says what to do.
    pub fn open(config: RunFilesConfig) -> Result<Self, StorageError> {
        Self::open_locked(config, LockedBy::Nobody)
    }

    /// As [`Self::open`], in a logdir that the parent process may have locked for this process.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_locked(config: RunFilesConfig, locked_by: LockedBy) -> Result<Self, StorageError> {
        let (files, warnings) = RunFiles::open_alone(config, locked_by)?;
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let losses = files.losses();
        let (jobs, queue) = std_mpsc::channel();
        let (results, done) = mpsc::unbounded_channel();
        thread::Builder::new()
            .name("storage".to_owned())
            .spawn(move || work(files, &queue, &results))
            .map_err(StorageError::Thread)?;
        let (waiting, known) = (VecDeque::new(), VecDeque::new());
        Ok(Self { jobs, done, losses, losses_refused: false, waiting, known })
    }

    fn ask(&mut self, asked: Asked, job: Job) {
        if self.waiting.len() >= MAX_WAITING {
            let why = format!(
                "the disk is still busy with {MAX_WAITING} earlier requests; save less often, or \
                 choose a faster disk for --logdir"
            );
            self.known.push_back(asked.failed(&why));
            return;
        }
        self.waiting.push_back(asked);
        // If the thread is gone, `next` says so.
        let _ = self.jobs.send(job);
    }
}

impl Storage for FileStorage {
    fn restore(&mut self) {
        self.ask(Asked::Restore, Job::Restore);
    }

    fn persist(&mut self, snapshot: Arc<Snapshot>) {
        self.ask(Asked::Persist(snapshot.step), Job::Persist(snapshot));
    }

    fn record(&mut self, update: UpdateRecord) {
        // A refusal is held back in the log and fails the next persist: a word is enough here.
        let recorded = self.losses.record(&update);
        if let Ok(Some(notice)) = &recorded {
            tracing::warn!("{notice}");
        }
        match recorded {
            Err(LossesError::NotRepeated(why)) => {
                self.known.push_back(StorageEvent::NotRepeated(why));
            }
            Err(error) if !self.losses_refused => {
                tracing::warn!("{error}; the losses are held in memory, and no checkpoint is made");
                self.losses_refused = true;
            }
            Ok(_) if self.losses_refused => {
                tracing::info!("the losses that were held in memory are written");
                self.losses_refused = false;
            }
            _ => {}
        }
    }

    async fn next(&mut self) -> StorageEvent {
        if let Some(event) = self.known.pop_front() {
            return event;
        }
        // Nothing below waits after the event was taken, so none is lost if this is cancelled.
        let event = self.done.recv().await;
        let asked = self.waiting.pop_front();
        match (event, asked) {
            (Some(event), _) => event,
            (None, Some(asked)) => asked.failed("the storage thread ended; its panic is above"),
            (None, None) => future::pending().await,
        }
    }
}

/// The thread: one job after the other, until its storage is dropped.
fn work(
    mut files: RunFiles,
    queue: &std_mpsc::Receiver<Job>,
    results: &mpsc::UnboundedSender<StorageEvent>,
) {
    for job in queue {
        let event = match job {
            Job::Restore => StorageEvent::Restored(restore(&files)),
            Job::Persist(snapshot) => {
                let result = persist(&mut files, &snapshot);
                StorageEvent::Persisted { step: snapshot.step, result }
            }
        };
        if results.send(event).is_err() {
            return;
        }
    }
}

fn restore(files: &RunFiles) -> Result<Restored, String> {
    let restored = files.restore().map_err(|error| error.to_string())?;
    restored.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let from = restored.path.map(|path| path.display().to_string());
    Ok(Restored { snapshot: restored.snapshot, from })
}

fn persist(files: &mut RunFiles, snapshot: &Snapshot) -> Result<String, String> {
    let saved = files.persist(snapshot).map_err(|error| error.to_string())?;
    saved.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    Ok(saved.path.display().to_string())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use unisono_files::losses;
    use unisono_files::losses::error::LOSSES_FILE;
    use unisono_files::testing::{config, snapshot, update};

    fn open(logdir: &Path) -> FileStorage {
        FileStorage::open(config(logdir.to_owned())).unwrap()
    }

    fn run<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test)
    }

    #[test]
    fn a_new_run_restores_the_initial_values_and_its_successor_the_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        run(async {
            let mut storage = open(dir.path());
            storage.restore();
            let initial = Restored { snapshot: Arc::new(snapshot(0)), from: None };
            let initial = StorageEvent::Restored(Ok(initial));
            assert_eq!(storage.next().await, initial);
            storage.record(update(0));
            storage.persist(Arc::new(snapshot(1)));
            let path = dir.path().join("model.ckpt-1.safetensors").display().to_string();
            let result = Ok(path.clone());
            let persisted = StorageEvent::Persisted { step: Step(1), result };
            assert_eq!(storage.next().await, persisted);

            drop(storage); // It has the logdir to itself.
            let mut successor = open(dir.path());
            successor.restore();
            let restored = Restored { snapshot: Arc::new(snapshot(1)), from: Some(path) };
            let restored = StorageEvent::Restored(Ok(restored));
            assert_eq!(successor.next().await, restored);
        });
        assert_eq!(losses::read(&dir.path().join(LOSSES_FILE)).unwrap().len(), 2);
    }

    #[test]
    fn what_is_recorded_is_in_the_file_before_anything_is_awaited() {
        let dir = tempfile::tempdir().unwrap();
        let mut storage = open(dir.path());
        storage.record(update(0));
        storage.record(update(1));
        assert_eq!(losses::read(&dir.path().join(LOSSES_FILE)).unwrap().len(), 4);
    }

    #[test]
    fn a_cancelled_wait_loses_no_event() {
        let dir = tempfile::tempdir().unwrap();
        run(async {
            let mut storage = open(dir.path());
            for step in 1..=3 {
                storage.persist(Arc::new(snapshot(step)));
            }
            let mut steps = Vec::new();
            while steps.len() < 3 {
                tokio::select! {
                    biased;
                    event = storage.next() => match event {
                        StorageEvent::Persisted { step, result: Ok(_) } => steps.push(step.0),
                        event => panic!("{event:?}"),
                    },
                    () = tokio::task::yield_now() => {}
                }
            }
            assert_eq!(steps, [1, 2, 3]);
        });
    }

    #[test]
    fn an_unwritable_logdir_is_one_line_before_anything_starts() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = FileStorage::open(config(file)).unwrap_err().to_string();
        assert!(error.starts_with("cannot create the logdir "), "{error}");
        assert!(error.contains("choose another --logdir") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn a_disk_that_is_too_far_behind_is_told_instead_of_queued() {
        let dir = tempfile::tempdir().unwrap();
        let (release, gate) = std_mpsc::channel();
        let mut config = config(dir.path().to_owned());
        let to_checkpoint = config.to_checkpoint;
        config.to_checkpoint = Box::new(move |snapshot| {
            gate.recv().expect("the test releases every one");
            to_checkpoint(snapshot)
        });
        run(async {
            let mut storage = FileStorage::open(config).unwrap();
            for step in 0..=MAX_WAITING as u64 {
                storage.persist(Arc::new(snapshot(step)));
            }
            let StorageEvent::Persisted { step, result: Err(why) } = storage.next().await else {
                panic!("the last one is refused")
            };
            assert_eq!(step, Step(MAX_WAITING as u64));
            assert!(why.contains("still busy"), "{why}");
            for expected in 0..MAX_WAITING as u64 {
                release.send(()).unwrap();
                let event = storage.next().await;
                let StorageEvent::Persisted { step, result: Ok(_) } = event else {
                    panic!("{event:?}")
                };
                assert_eq!(step, Step(expected));
            }
        });
    }

    #[test]
    fn a_thread_that_panics_answers_whoever_waits_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path().to_owned());
        config.to_checkpoint = Box::new(|_| panic!("a planted bug"));
        run(async {
            let mut storage = FileStorage::open(config).unwrap();
            storage.persist(Arc::new(snapshot(1)));
            storage.restore();
            let died = "the storage thread ended; its panic is above";
            assert_eq!(storage.next().await, Asked::Persist(Step(1)).failed(died));
            assert_eq!(storage.next().await, Asked::Restore.failed(died));
        });
    }
}
