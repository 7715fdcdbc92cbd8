//! The state of a cluster as plain values. `render` and `plain` display these values.

use std::time::Duration;

use super::axis::Ticks;
use super::smoothed::Smoothed;
use super::wait::Wait;
use super::wait_graph::WaitGraph;
use unisono_core::ids::TaskId;
use unisono_metrics::text::Exposition;

/// The minimum duration of a wait, in seconds, for a task to count as waiting. Shorter waits occur
/// in every step.
const WAITS_FROM: f64 = 0.5;

/// All values that are displayed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Model {
    /// The targets, as the user gave them.
    pub(super) source: String,
    pub(super) training_steps: Option<u64>,
    /// Mean loss by step.
    pub(super) losses: Vec<(f64, f64)>,
    /// The ticks of the y axis of the loss curve; `None` if no loss is finite.
    pub(super) loss_axis: Option<Ticks>,
    pub(super) tasks: Vec<TaskRow>,
}

/// The values of one task.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct TaskRow {
    /// The name of the task, such as `worker 1`, or its address if it has never answered.
    pub(super) name: String,
    pub(super) state: State,
    pub(super) step: Option<u64>,
    /// Steps per second; `None` if the task is done.
    pub(super) rate: Option<f64>,
    /// Bytes per second that the task receives and sends, over sockets and shared memory.
    pub(super) bytes: Option<(f64, f64)>,
    /// The current wait of the task; `None` if the wait is shorter than `WAITS_FROM`, because such
    /// waits occur in every step.
    pub(super) wait: Option<Wait>,
    /// The peers with which the task has no session.
    pub(super) disconnected: Vec<TaskId>,
    /// The newest validation accuracy, if this task evaluates checkpoints.
    pub(super) accuracy: Option<f64>,
    /// The step of the newest checkpoint, if this task saves checkpoints.
    pub(super) checkpoint: Option<u64>,
    /// The failures that the task has counted, and the number of its restarts since the first poll.
    pub(super) faults: Vec<String>,
}

/// The state of a task.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum State {
    #[default]
    Runs,
    Waits,
    /// All updates of the run are made. If only the files of the task are known, the final
    /// checkpoint is durable, too.
    Done,
    /// The task does not answer, for the reason in the text.
    Lost(String),
    /// Only the files of the task are known. Files do not show whether the task is running.
    File,
}

impl State {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::Waits => "waits",
            Self::Done => "done",
            Self::Lost(_) => "lost",
            Self::File => "file",
        }
    }
}

impl TaskRow {
    /// Returns the task, if its name is known.
    pub(super) fn task(&self) -> Option<TaskId> {
        self.name.parse().ok()
    }

    /// Returns the reason why the task does not answer; `None` if it answers.
    fn lost(&self) -> Option<&str> {
        if let State::Lost(why) = &self.state { Some(why) } else { None }
    }

    fn waits_for(&self, task: TaskId) -> Option<&Wait> {
        self.wait.as_ref().filter(|wait| wait.tasks().any(|awaited| awaited == task))
    }
}

impl Model {
    /// Returns the largest step of all tasks.
    pub(super) fn step(&self) -> Option<u64> {
        self.tasks.iter().filter_map(|task| task.step).max()
    }

    /// Returns whether all tasks have made all updates.
    pub(super) fn is_done(&self) -> bool {
        !self.tasks.is_empty() && self.tasks.iter().all(|task| task.state == State::Done)
    }

    /// Returns the largest measured rate of a task, in steps per second. All tasks advance at the
    /// same speed, but the measured rates differ, because the tasks answer at different moments.
    pub(super) fn rate(&self) -> Option<f64> {
        self.tasks.iter().filter_map(|task| task.rate).reduce(f64::max)
    }

    pub(super) fn loss(&self) -> Option<f64> {
        self.losses.last().map(|(_, loss)| *loss)
    }

    /// Returns the newest validation accuracy.
    pub(super) fn accuracy(&self) -> Option<f64> {
        self.tasks.iter().find_map(|task| task.accuracy)
    }

    /// Returns the step of the newest checkpoint.
    pub(super) fn checkpoint(&self) -> Option<u64> {
        self.tasks.iter().filter_map(|task| task.checkpoint).max()
    }

    /// Returns a text such as `all wait for worker 1: gradient of step 1234, 12.3 s` if all other
    /// tasks wait for one task.
    pub(super) fn bottleneck(&self) -> Option<String> {
        let mut graph = WaitGraph::default();
        // The files of a task do not show whether the task is waiting, so rows from files are left
        // out.
        for row in self.tasks.iter().filter(|row| row.state != State::File) {
            if let Some(task) = row.task() {
                graph.add(task, row.wait.iter().flat_map(Wait::tasks));
            }
        }
        let root = graph.root()?;
        let its_row = self.tasks.iter().find(|row| row.task() == Some(root));
        let waiting = || self.tasks.iter().filter(|row| row.waits_for(root).is_some());
        let why = if its_row.and_then(TaskRow::lost).is_some() {
            ", which does not answer".to_owned()
        } else if waiting().any(|row| row.disconnected.contains(&root)) {
            ", which is disconnected".to_owned()
        } else if let Some(wait) = its_row.and_then(|row| row.wait.as_ref()) {
            // The graph contains only tasks, so a root that waits must be waiting for its own
            // storage.
            format!(": {} of its {}, {:.1} s", wait.what, wait.of.join(", "), wait.seconds)
        } else {
            let waits = waiting().filter_map(|row| Some((row.step, row.waits_for(root)?)));
            let (step, wait) = waits.max_by(|(_, a), (_, b)| a.seconds.total_cmp(&b.seconds))?;
            format!(": {}, {:.1} s", wait.reason(step), wait.seconds)
        };
        Some(format!("all wait for {root}{why}"))
    }

    /// Returns the tasks that do not answer, followed by all other faults.
    pub(super) fn faults(&self) -> Vec<String> {
        let lost = self
            .tasks
            .iter()
            .filter_map(|task| Some(format!("{} does not answer: {}", task.name, task.lost()?)));
        let of_task = |task: &TaskRow| -> Vec<_> {
            task.faults.iter().map(|fault| format!("{}: {fault}", task.name)).collect()
        };
        lost.chain(self.tasks.iter().flat_map(of_task)).collect()
    }

    /// Returns the reason why there is nothing to show; `None` if there is something to show.
    pub(super) fn nothing_there(&self) -> Option<String> {
        let why = self.tasks.iter().map(|task| Some(format!("{}: {}", task.name, task.lost()?)));
        let why: Vec<_> = why.collect::<Option<_>>()?;
        Some(match why.is_empty() {
            true => format!("there is no losses.csv and no ledger in {}", self.source),
            false => format!(
                "no task answers ({}); start the run with --metrics ADDRESS, and name the \
                 addresses that it prints",
                why.join("; ")
            ),
        })
    }
}

/// The metrics of one task at one look.
#[derive(Clone, Debug)]
pub(super) struct Scrape {
    pub(super) at: Duration,
    pub(super) metrics: Exposition,
}

/// Returns the row of a task that has answered. `before` is the task's answer at the previous poll.
pub(super) fn row(now: &Scrape, before: Option<&Scrape>, restarts: u32) -> TaskRow {
    let metrics = &now.metrics;
    let name = metrics.samples.iter().find_map(|sample| sample.label("task"));
    let step = metrics.value("unisono_global_step").map(|step| step as u64);
    let last = metrics.value("unisono_training_steps").map(|steps| steps as u64);
    let wait = Wait::read(metrics).filter(|wait| wait.seconds >= WAITS_FROM);
    let state = match () {
        () if last.is_some() && step >= last => State::Done,
        () if wait.is_some() => State::Waits,
        () => State::Runs,
    };
    let rate = |names: &[&str]| {
        let before = before.filter(|before| before.at < now.at)?;
        let sum = |at: &Scrape| names.iter().map(|name| at.metrics.sum(name)).sum::<f64>();
        // After a rollback the step is smaller, so the difference is negative.
        let more = (sum(now) - sum(before)).max(0.0);
        Some(more / (now.at - before.at).as_secs_f64())
    };
    let bytes_in = rate(&["unisono_bytes_received_total", "unisono_shared_bytes_received_total"]);
    let bytes_out = rate(&["unisono_bytes_sent_total", "unisono_shared_bytes_sent_total"]);
    // The gauge is 0 until the first checkpoint is saved.
    let checkpoint = metrics.value("unisono_checkpoint_step").filter(|step| *step > 0.0);
    TaskRow {
        name: name.unwrap_or("a task").to_owned(),
        rate: rate(&["unisono_global_step"]).filter(|_| state != State::Done),
        bytes: bytes_in.zip(bytes_out),
        wait,
        disconnected: disconnected(metrics).filter_map(|peer| peer.parse().ok()).collect(),
        accuracy: metrics.value("unisono_validation_accuracy").filter(|share| !share.is_nan()),
        checkpoint: checkpoint.map(|step| step as u64),
        faults: faults(metrics, restarts),
        state,
        step,
    }
}

/// Sorts the rows of ps before the rows of workers, each by number. Addresses that have never
/// answered come last.
pub(super) fn sort(rows: &mut [TaskRow]) {
    rows.sort_by_cached_key(|row| (row.task().is_none(), row.task(), row.name.clone()));
}

/// The rates of one incarnation of a task, averaged over the last seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SmoothedRates {
    steps: Smoothed,
    bytes_in: Smoothed,
    bytes_out: Smoothed,
}

impl SmoothedRates {
    /// Replaces the rates of a row by averages over the last seconds. `elapsed` is the time over
    /// which the rates of the row were measured.
    pub(super) fn smooth(&mut self, row: &mut TaskRow, elapsed: Duration) {
        if let Some(rate) = &mut row.rate {
            *rate = self.steps.add(*rate, elapsed);
        }
        if let Some((bytes_in, bytes_out)) = &mut row.bytes {
            *bytes_in = self.bytes_in.add(*bytes_in, elapsed);
            *bytes_out = self.bytes_out.add(*bytes_out, elapsed);
        }
    }
}

/// Returns the names of the peers with which a task has no session.
fn disconnected(metrics: &Exposition) -> impl Iterator<Item = &str> {
    let down = metrics.all("unisono_peer_up").filter(|sample| sample.value == 0.0);
    down.map(|sample| sample.label("peer").unwrap_or_default())
}

fn faults(metrics: &Exposition, restarts: u32) -> Vec<String> {
    let mut faults = Vec::new();
    if restarts > 0 {
        faults.push(format!("restarted {}", times(restarts.into())));
    }
    faults.extend(disconnected(metrics).map(|peer| format!("no session with {peer}")));
    for sample in metrics.all("unisono_reconnects_total").filter(|sample| sample.value > 0.0) {
        let peer = sample.label("peer").unwrap_or_default();
        faults.push(format!("{peer} reconnected {}", times(sample.value)));
    }
    for sample in metrics.all("unisono_gradients_dropped_total") {
        if sample.value > 0.0 {
            let why = sample.label("why").unwrap_or_default();
            faults.push(format!("gradients dropped: {} {why}", sample.value));
        }
    }
    for (name, what) in [
        ("unisono_shards_lost_total", "a ps restarted without its shard"),
        ("unisono_checkpoints_failed_total", "a checkpoint could not be written"),
        ("unisono_callers_turned_away_total", "a caller was turned away"),
    ] {
        if let Some(count) = metrics.value(name).filter(|count| *count > 0.0) {
            faults.push(format!("{what} {}", times(count)));
        }
    }
    faults.sort();
    faults
}

fn times(count: f64) -> String {
    if count == 1.0 { "once".to_owned() } else { format!("{count} times") }
}

/// Formats a number of bytes per second for the table, such as `1.2 MB`.
pub(super) fn bytes_per_second(bytes: f64) -> String {
    match bytes {
        0.0..1e3 => format!("{bytes:.0} B"),
        1e3..1e6 => format!("{:.1} kB", bytes / 1e3),
        1e6..1e9 => format!("{:.1} MB", bytes / 1e6),
        _ => format!("{:.1} GB", bytes / 1e9),
    }
}

#[cfg(test)]
mod tests;
