//! Implements [`Storage`] with the files of a run. A separate thread does the slow work.
//!
//! The caller's thread appends losses, with one small write per update, so that recorded losses
//! survive a kill of the process. A separate thread reads, writes and syncs checkpoints.

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

/// The maximum number of requests that may wait for the disk. Each waiting request to save keeps a
/// whole state in memory. Further requests fail, because a disk that is this far behind does not
/// catch up.
const MAX_WAITING: usize = 4;

/// The reason why the storage could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The logdir cannot be used.
    #[error(transparent)]
    Files(#[from] RunFilesError),
    /// The system cannot start another thread.
    #[error("cannot start the storage thread: {0}; this user may have too many threads")]
    Thread(io::Error),
}

/// [`Storage`] in the files of a logdir.
#[derive(Debug)]
pub struct FileStorage {
    jobs: std_mpsc::Sender<Job>,
    /// The results of the storage thread: at most one for each pending request.
    done: mpsc::UnboundedReceiver<StorageEvent>,
    losses: Losses,
    /// Whether the last append of losses failed and was logged.
    losses_refused: bool,
    /// Requests that the thread has not answered, oldest first.
    pending: VecDeque<Request>,
    /// Events that did not come from the thread.
    ready: VecDeque<StorageEvent>,
}

#[derive(Debug)]
enum Job {
    Restore,
    Persist(Arc<Snapshot>),
}

#[derive(Clone, Copy, Debug)]
enum Request {
    Restore,
    Persist(Step),
}

impl Request {
    fn failed(self, why: &str) -> StorageEvent {
        let why = why.to_owned();
        match self {
            Self::Restore => StorageEvent::Restored(Err(why)),
            Self::Persist(step) => StorageEvent::Persisted { step, result: Err(why) },
        }
    }
}

impl FileStorage {
    /// Opens the files of a run, checks that the logdir is writable, and starts the storage thread.
    ///
    /// # Errors
    /// Returns an error if the logdir cannot be used, or the storage thread cannot start. The
    /// message is one line with a remedy.
    pub fn open(config: RunFilesConfig) -> Result<Self, StorageError> {
        Self::open_locked(config, LockedBy::Nobody)
    }

    /// Opens the files of a run like [`Self::open`]. `locked_by` says whether the parent process
    /// has locked the logdir for this process.
    ///
    /// # Errors
    /// Returns an error in the same cases as [`Self::open`].
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
        let (pending, ready) = (VecDeque::new(), VecDeque::new());
        Ok(Self { jobs, done, losses, losses_refused: false, pending, ready })
    }

    fn submit(&mut self, request: Request, job: Job) {
        if self.pending.len() >= MAX_WAITING {
            let why = format!(
                "the disk is still busy with {MAX_WAITING} earlier requests; save less often, or \
                 choose a faster disk for --logdir"
            );
            self.ready.push_back(request.failed(&why));
            return;
        }
        self.pending.push_back(request);
        // Sending fails only if the thread panicked, which `next` reports.
        let _ = self.jobs.send(job);
    }
}

impl Storage for FileStorage {
    fn restore(&mut self) {
        self.submit(Request::Restore, Job::Restore);
    }

    fn persist(&mut self, snapshot: Arc<Snapshot>) {
        self.submit(Request::Persist(snapshot.cut.step), Job::Persist(snapshot));
    }

    fn record(&mut self, update: UpdateRecord) {
        // A failed append needs no event: the losses stay in memory, and the next save fails if
        // they still cannot be written. A warning suffices here.
        let recorded = self.losses.record(&update);
        if let Ok(Some(notice)) = &recorded {
            tracing::warn!("{notice}");
        }
        match recorded {
            Err(LossesError::NotRepeated(why)) => {
                self.ready.push_back(StorageEvent::NotRepeated(why));
            }
            // A lasting error is logged once, instead of once per update.
            Err(error) if !self.losses_refused => {
                tracing::warn!("{error}; the losses are held in memory, and no checkpoint is made");
                self.losses_refused = true;
            }
            Ok(_) if self.losses_refused => {
                tracing::info!("the losses that were held in memory have been written");
                self.losses_refused = false;
            }
            _ => {}
        }
    }

    async fn next(&mut self) -> StorageEvent {
        if let Some(event) = self.ready.pop_front() {
            return event;
        }
        // This is cancel-safe, because nothing is awaited after an event has left the channel.
        let event = self.done.recv().await;
        let request = self.pending.pop_front();
        match (event, request) {
            (Some(event), _) => event,
            // The thread has panicked. Each pending request fails, so that the node does not wait
            // forever for an answer.
            (None, Some(request)) => request.failed("the storage thread panicked, as logged above"),
            (None, None) => future::pending().await,
        }
    }
}

/// Runs the jobs in `queue` in order, until the [`FileStorage`] is dropped.
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
                StorageEvent::Persisted { step: snapshot.cut.step, result }
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
    fn new_run_restores_initial_values_and_its_successor_restores_the_checkpoint() {
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

            drop(storage); // An open storage keeps others out of the logdir.
            let mut successor = open(dir.path());
            successor.restore();
            let restored = Restored { snapshot: Arc::new(snapshot(1)), from: Some(path) };
            let restored = StorageEvent::Restored(Ok(restored));
            assert_eq!(successor.next().await, restored);
        });
        assert_eq!(losses::read(&dir.path().join(LOSSES_FILE)).unwrap().len(), 2);
    }

    #[test]
    fn recorded_losses_are_in_the_file_before_anything_is_awaited() {
        let dir = tempfile::tempdir().unwrap();
        let mut storage = open(dir.path());
        storage.record(update(0));
        storage.record(update(1));
        assert_eq!(losses::read(&dir.path().join(LOSSES_FILE)).unwrap().len(), 4);
    }

    #[test]
    fn cancelled_wait_loses_no_event() {
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
    fn open_reports_an_unwritable_logdir_in_one_line() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = FileStorage::open(config(file)).unwrap_err().to_string();
        assert!(error.starts_with("cannot create the logdir "), "{error}");
        assert!(error.contains("choose another --logdir") && !error.contains('\n'), "{error}");
    }

    #[test]
    fn persist_fails_if_too_many_requests_wait_for_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let (release, gate) = std_mpsc::channel();
        let mut config = config(dir.path().to_owned());
        let to_checkpoint = config.to_checkpoint;
        config.to_checkpoint = Box::new(move |snapshot| {
            gate.recv().expect("the test releases every checkpoint");
            to_checkpoint(snapshot)
        });
        run(async {
            let mut storage = FileStorage::open(config).unwrap();
            for step in 0..=MAX_WAITING as u64 {
                storage.persist(Arc::new(snapshot(step)));
            }
            let StorageEvent::Persisted { step, result: Err(why) } = storage.next().await else {
                panic!("the last request is refused")
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
    fn panic_of_the_thread_fails_every_pending_request() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path().to_owned());
        config.to_checkpoint = Box::new(|_| panic!("a planted bug"));
        run(async {
            let mut storage = FileStorage::open(config).unwrap();
            storage.persist(Arc::new(snapshot(1)));
            storage.restore();
            let died = "the storage thread panicked, as logged above";
            assert_eq!(storage.next().await, Request::Persist(Step(1)).failed(died));
            assert_eq!(storage.next().await, Request::Restore.failed(died));
        });
    }
}
