//! Writes the event file of a run on a separate thread. Training never waits for this thread.
//!
//! A failure is logged, and training continues.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Duration;

use unisono_config::RunConfig;
use unisono_core::host::{Observer, Turn};
use unisono_core::ids::{Incarnation, Step};
use unisono_core::protocol::{Effect, Input};
use unisono_core::time::Moment;
use unisono_files::disk::{Disk as _, DiskError, RealDisk};
use unisono_learn::training::Plan;
use unisono_metrics::ValidationAccuracy;
use unisono_net::tcp::wall_clock;
use unisono_observe::events::{
    Content, Event, EventFile, Observation, Payload, Recorder, Summarizer, VALIDATION_ACCURACY,
    file,
};

/// The range of the maximum number of summaries and checkpoints that wait for the thread. Each
/// waiting summary or checkpoint keeps a version and a gradient in memory. If the maximum is
/// reached, the next summary or checkpoint is dropped, so a curve lacks a point. Observations that
/// occur once per generation or once per run are never dropped.
///
/// The first summaries of a run come within a few steps of each other, and the thread evaluates the
/// model for each of them. So a small model needs a long queue. For a large model, a long queue
/// would need too much memory.
const WAITING: RangeInclusive<usize> = 4..=16;

/// The memory limit for waiting summaries, in bytes. The limit is exceeded only if the minimum
/// length of the queue needs more memory.
const MAX_WAITING_BYTES: usize = 256 << 20;

/// The longest time that the end of a run waits for the thread to write the last events.
const FINISH_WITHIN: Duration = Duration::from_secs(10);

/// The file that contains this machine's name on Linux. Elsewhere, event files use the name
/// `localhost`.
const HOST_NAME_FILE: &str = "/proc/sys/kernel/hostname";

/// Writes the event file of a chief while the chief runs.
#[derive(Debug)]
pub struct EventKeeper {
    recorder: Recorder,
    queue: Option<Sender<Waiting>>,
    /// Counts the waiting observations, because each waiting observation holds a clone of this
    /// `Arc`.
    places: Arc<()>,
    /// The maximum number of waiting observations; see [`WAITING`].
    n_places: usize,
    /// The metric for the validation accuracy. The thread sets this metric if metrics are served.
    accuracy: Arc<OnceLock<ValidationAccuracy>>,
    /// The channel that disconnects when the thread ends.
    end: Receiver<()>,
    /// Whether an observation was dropped. Only the first dropped observation causes a warning.
    is_left_out: bool,
}

impl EventKeeper {
    /// Starts the thread that writes the event file of an incarnation. Returns `None` if summaries
    /// are disabled, or if the thread cannot start.
    pub fn start(run: &RunConfig, life: Incarnation, plan: &Plan) -> Option<Self> {
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
            tracing::warn!("no events are written, and training continues without them: {error}");
            return None;
        }
        let recorder = Recorder::new(interval, Step(run.train.training_steps));
        let (places, n_places) = (Arc::new(()), n_places(plan));
        let queue = Some(queue);
        Some(Self { recorder, queue, places, n_places, accuracy, end, is_left_out: false })
    }

    /// Lets the thread also store each new validation accuracy in the metrics of the task.
    pub fn share_accuracy(&self, metrics: ValidationAccuracy) {
        // `set` fails if the metrics are already set. A second call passes the same metrics, so the
        // error does not matter.
        let _ = self.accuracy.set(metrics);
    }

    /// Selects the observations that follow from one input and its effects, and queues them.
    pub fn note(&mut self, now: Moment, input: &Input, effects: &[Effect]) {
        for observation in self.recorder.turn(now, input, effects) {
            self.enqueue(observation);
        }
    }

    fn enqueue(&mut self, observation: Observation) {
        let Some(queue) = &self.queue else { return };
        let needs_place = match &observation {
            Observation::Summary(_) => true,
            Observation::Checkpoint { is_last, .. } => !is_last,
            Observation::Began { .. } | Observation::LastUpdate { .. } => false,
        };
        // The `EventKeeper` itself holds one of the references, so the comparison is `>` and not
        // `>=`.
        if needs_place && Arc::strong_count(&self.places) > self.n_places {
            if !self.is_left_out {
                tracing::warn!(
                    "events are written too slowly, so some are dropped; training continues; raise \
                     --save-summaries-secs for fewer events"
                );
            }
            self.is_left_out = true;
            return;
        }
        let _place = needs_place.then(|| Arc::clone(&self.places));
        let wall_time = wall_clock().as_secs_f64();
        if queue.send(Waiting { wall_time, observation, _place }).is_err() {
            // The thread has panicked, and its panic is already reported.
            self.queue = None;
        }
    }
}

/// An observation in the queue of the thread.
#[derive(Debug)]
struct Waiting {
    wall_time: f64,
    observation: Observation,
    /// A clone of `EventKeeper::places`, which is dropped once the observation is written.
    _place: Option<Arc<()>>,
}

impl Observer for EventKeeper {
    fn turn(&mut self, turn: &Turn<'_>) {
        self.note(turn.now, turn.input, turn.effects);
    }
}

impl Drop for EventKeeper {
    /// Waits until the thread has written the last events of the run, because the process is about
    /// to exit. The wait is limited to `FINISH_WITHIN`.
    fn drop(&mut self) {
        self.queue = None;
        if self.end.recv_timeout(FINISH_WITHIN) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the disk is too slow for the last events, which are dropped");
        }
    }
}

/// The state of the thread that writes events. The event file is created when the first events are
/// written.
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
                tracing::warn!(
                    "{error}; training continues, and events are written again once this is fixed"
                );
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

/// Returns the maximum number of waiting summaries and checkpoints, which depends on the size of
/// the model.
fn n_places(plan: &Plan) -> usize {
    let variables = plan.layout.variables();
    let n_elements: usize = variables.iter().map(|it| it.shape.iter().product::<usize>()).sum();
    // A summary contains the parameters and the gradient.
    let bytes_each = (2 * n_elements * size_of::<f32>()).max(1);
    (MAX_WAITING_BYTES / bytes_each).clamp(*WAITING.start(), *WAITING.end())
}

/// Returns the last validation accuracy in a list of events.
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
        // A model with 4096 hidden units has about 4096 × 795 parameters. Its summary needs 8 bytes
        // per parameter, which is 26 MB.
        assert_eq!((places(4096), places(65_536)), (10, 4));
    }

    #[test]
    fn refusing_disk_is_reported_once_and_events_continue_when_it_is_fixed() {
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
