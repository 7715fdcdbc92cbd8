//! The event file of a run in this process: written on a thread of its own, which nobody waits for.
//!
//! Whatever goes wrong here is told, and training goes on.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

use crate::checkpoint::disk::DiskError;
use crate::checkpoint::{Disk as _, RealDisk};
use crate::config::RunConfig;
use crate::events::{EventFile, Observation, Recorder, Summarizer, file};
use crate::host::Observer;
use crate::ids::{Incarnation, Step};
use crate::protocol::{Effect, Input, Node};
use crate::tcp::wall_clock;
use crate::time::Moment;
use crate::training::Plan;

/// Summaries and checkpoints that may wait for the thread, each of which keeps a version in memory.
/// One that finds no room is left out: a curve lacks a point. What is told once a generation or a run
/// always finds room.
const MAX_WAITING: usize = 4;

/// How long the end of a run waits for its last events to be written.
const FINISH_WITHIN: Duration = Duration::from_secs(10);

/// Where the operating system has this machine's name; elsewhere it goes without.
const HOST_NAME_FILE: &str = "/proc/sys/kernel/hostname";

/// Keeps the event file of a chief, for as long as it lives.
#[derive(Debug)]
pub(super) struct EventKeeper {
    recorder: Recorder,
    queue: Option<Sender<Waiting>>,
    /// Shared with each of [`MAX_WAITING`] that waits.
    places: Arc<()>,
    /// Closed by the thread when it ends.
    end: Receiver<()>,
    /// Something was, and that was told.
    is_left_out: bool,
}

impl EventKeeper {
    /// Begins the event file of a life, if summaries were asked for.
    pub(super) fn start(run: &RunConfig, life: Incarnation, plan: &Plan) -> Option<Self> {
        let interval = run.save_summaries_secs?;
        let (logdir, name) = (run.logdir.clone(), file::file_name(life, &host_name()));
        let (summarizer, file) = (Summarizer::new(plan), None);
        let mut writer = Writer { logdir, name, summarizer, file, is_refused: false };
        let (queue, waiting) = channel();
        let (ended, end) = channel::<()>();
        let work = move || {
            let _ended = ended;
            waiting.iter().for_each(|Waiting { wall_time, observation, _place }| {
                writer.write(wall_time, observation);
            });
        };
        if let Err(error) = thread::Builder::new().name("events".to_owned()).spawn(work) {
            tracing::warn!("no events are written, and training goes on without: {error}");
            return None;
        }
        let recorder = Recorder::new(interval, Step(run.train.training_steps));
        let places = Arc::new(());
        Some(Self { recorder, queue: Some(queue), places, end, is_left_out: false })
    }

    /// A chief's node is about to take an input.
    pub(super) fn take(&mut self, input: &Input) {
        self.recorder.before(input);
    }

    /// It has taken it, and this is what it wants done.
    pub(super) fn see(&mut self, now: Moment, effects: &[Effect]) {
        for observation in self.recorder.after(now, effects) {
            self.tell(observation);
        }
    }

    fn tell(&mut self, observation: Observation) {
        let Some(queue) = &self.queue else { return };
        let needs_place = match &observation {
            Observation::Summary(_) => true,
            Observation::Checkpoint { is_last, .. } => !is_last,
            Observation::Began { .. } | Observation::LastUpdate { .. } => false,
        };
        // One is the keeper's own.
        if needs_place && Arc::strong_count(&self.places) > MAX_WAITING {
            if !self.is_left_out {
                tracing::warn!(
                    "events are written too slowly: some are left out, and training goes on; a \
                     larger --save-summaries-secs asks for fewer"
                );
            }
            self.is_left_out = true;
            return;
        }
        let _place = needs_place.then(|| Arc::clone(&self.places));
        let wall_time = wall_clock().as_secs_f64();
        if queue.send(Waiting { wall_time, observation, _place }).is_err() {
            // The thread has panicked, and said so.
            self.queue = None;
        }
    }
}

/// What the thread is to write.
#[derive(Debug)]
struct Waiting {
    wall_time: f64,
    observation: Observation,
    /// Given back when it is written.
    _place: Option<Arc<()>>,
}

impl Observer for EventKeeper {
    fn before(&mut self, _now: Moment, input: &Input) {
        self.take(input);
    }

    fn after(&mut self, now: Moment, _node: &dyn Node, effects: &[Effect]) {
        self.see(now, effects);
    }
}

impl Drop for EventKeeper {
    /// The last events are those of the end, which should be there when the process is gone.
    fn drop(&mut self) {
        self.queue = None;
        if self.end.recv_timeout(FINISH_WITHIN) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the disk takes too long for the last events, which are left out");
        }
    }
}

/// The thread's part: the file is made with the first events.
#[derive(Debug)]
struct Writer {
    logdir: PathBuf,
    name: String,
    summarizer: Summarizer,
    file: Option<EventFile>,
    is_refused: bool,
}

impl Writer {
    fn write(&mut self, wall_time: f64, observation: Observation) {
        match self.try_write(wall_time, observation) {
            Ok(()) if self.is_refused => {
                tracing::info!("events are written again");
                self.is_refused = false;
            }
            Err(error) if !self.is_refused => {
                tracing::warn!("{error}; training goes on, and so do events when that is mended");
                self.is_refused = true;
            }
            Ok(()) | Err(_) => {}
        }
    }

    fn try_write(&mut self, wall_time: f64, observation: Observation) -> Result<(), DiskError> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let disk = Arc::new(RealDisk);
                disk.create_dir(&self.logdir)
                    .map_err(DiskError::at("make the logdir", &self.logdir))?;
                self.file.insert(EventFile::create(disk, &self.logdir, &self.name, wall_time)?)
            }
        };
        file.append(&self.summarizer.events(wall_time, observation))
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string(HOST_NAME_FILE).unwrap_or_default();
    if name.trim().is_empty() { "localhost".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;
    use crate::model::SimdLevel;

    #[test]
    fn a_disk_that_refuses_is_told_once_and_events_go_on_when_it_is_mended() {
        let plan = Plan::new(&RunConfig::default(), Dataset::embedded(), SimdLevel::detect());
        let folder = tempfile::tempdir().unwrap();
        let logdir = folder.path().join("logdir");
        let mut writer = Writer {
            logdir: logdir.clone(),
            name: "events".to_owned(),
            summarizer: Summarizer::new(&plan.unwrap()),
            file: None,
            is_refused: false,
        };
        let began = || Observation::Began { step: Step(0), restored: None };
        std::fs::write(&logdir, "in its place").unwrap();
        writer.write(1.5, began());
        assert!(writer.is_refused);
        std::fs::remove_file(&logdir).unwrap();
        writer.write(2.5, began());
        assert!(!writer.is_refused);
        assert!(logdir.join("events").exists());
    }
}
