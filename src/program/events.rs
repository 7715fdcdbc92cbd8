//! The event file of a run in this process: written on a thread of its own, which nobody waits for.
//!
//! Whatever goes wrong here is told, and training goes on.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use unisono_config::RunConfig;
use unisono_core::host::Observer;
use unisono_core::ids::{Incarnation, Step};
use unisono_core::protocol::{Effect, Input, Node};
use unisono_core::time::Moment;
use unisono_files::disk::Disk as _;
use unisono_files::disk::DiskError;
use unisono_files::disk::RealDisk;
use unisono_learn::training::Plan;
use unisono_metrics::ValidationAccuracy;
use unisono_net::tcp::wall_clock;
use unisono_observe::events::{
    Content, Event, EventFile, Observation, Payload, Recorder, Summarizer, VALIDATION_ACCURACY,
    file,
};

/// Summaries and checkpoints that may wait for the thread, each of which keeps a version and a
/// gradient in memory. One that finds no room is left out: a curve lacks a point. What is told once a
/// generation or a run always finds room.
///
/// The first summaries follow each other within a few steps, and each has an evaluation: a small
/// model may have as many of them waiting as a large one must not.
const WAITING: RangeInclusive<usize> = 4..=16;

/// Memory for what waits, unless even the fewest take more.
const MAX_WAITING_BYTES: usize = 256 << 20;

/// How long the end of a run waits for its last events to be written.
const FINISH_WITHIN: Duration = Duration::from_secs(10);

/// Where the operating system has this machine's name; elsewhere it goes without.
const HOST_NAME_FILE: &str = "/proc/sys/kernel/hostname";

/// Keeps the event file of a chief, for as long as it lives.
#[derive(Debug)]
pub(super) struct EventKeeper {
    recorder: Recorder,
    queue: Option<Sender<Waiting>>,
    /// Shared with each of those that wait.
    places: Arc<()>,
    /// How many may wait; see [`WAITING`].
    n_places: usize,
    /// Where the thread puts the validation accuracy, if metrics are served.
    accuracy: Arc<OnceLock<ValidationAccuracy>>,
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
        let accuracy = Arc::new(OnceLock::new());
        let gauge = Arc::clone(&accuracy);
        let mut writer = Writer { logdir, name, summarizer, file, is_refused: false, gauge };
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
        let (places, n_places) = (Arc::new(()), n_places(plan));
        let queue = Some(queue);
        Some(Self { recorder, queue, places, n_places, accuracy, end, is_left_out: false })
    }

    /// From now on, each validation accuracy is also set in the metrics of the task.
    pub(super) fn share_accuracy(&self, metrics: ValidationAccuracy) {
        // A second call would be of the same task and the same metrics.
        let _ = self.accuracy.set(metrics);
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
        if needs_place && Arc::strong_count(&self.places) > self.n_places {
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
    gauge: Arc<OnceLock<ValidationAccuracy>>,
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
        let events = self.summarizer.events(wall_time, observation);
        if let (Some(gauge), Some(accuracy)) = (self.gauge.get(), accuracy_in(&events)) {
            gauge.set(accuracy.into());
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let disk = Arc::new(RealDisk);
                disk.create_dir(&self.logdir)
                    .map_err(DiskError::at("create the logdir", &self.logdir))?;
                self.file.insert(EventFile::create(disk, &self.logdir, &self.name, wall_time)?)
            }
        };
        file.append(&events)
    }
}

/// How many summaries of a run may wait.
fn n_places(plan: &Plan) -> usize {
    let variables = plan.layout.variables();
    let n_elements: usize = variables.iter().map(|it| it.shape.iter().product::<usize>()).sum();
    // The parameters and the gradient.
    let bytes_each = (2 * n_elements * size_of::<f32>()).max(1);
    (MAX_WAITING_BYTES / bytes_each).clamp(*WAITING.start(), *WAITING.end())
}

/// The last validation accuracy among events.
fn accuracy_in(events: &[Event]) -> Option<f32> {
    let values = events.iter().rev().filter_map(|event| match &event.what {
        Payload::Summary(values) => Some(values),
        Payload::FileVersion | Payload::SessionStart => None,
    });
    values.flatten().find_map(|value| match value.content {
        Content::Scalar(accuracy) if value.tag == VALIDATION_ACCURACY => Some(accuracy),
        _ => None,
    })
}

fn host_name() -> String {
    let name = std::fs::read_to_string(HOST_NAME_FILE).unwrap_or_default();
    if name.trim().is_empty() { "localhost".to_owned() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unisono_learn::data::Dataset;
    use unisono_learn::model::SimdLevel;

    #[test]
    fn small_model_has_room_for_many_summaries_and_a_large_one_for_few() {
        let places = |hidden: usize| {
            let mut run = RunConfig::default();
            run.train.hidden = vec![hidden];
            n_places(&Plan::new(&run, Dataset::embedded(), SimdLevel::detect()).unwrap())
        };
        assert_eq!((places(8), places(500)), (16, 16));
        // 4096 × 795 elements of 8 bytes are 26 MB.
        assert_eq!((places(4096), places(65_536)), (10, 4));
    }

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
            gauge: Arc::default(),
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
