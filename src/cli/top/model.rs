//! The state of a cluster as plain values, for the code that draws it.

use std::time::Duration;

use super::axis::Ticks;
use super::smoothed::Smoothed;
use super::wait::{Awaited, Wait, parse_task};
use super::wait_graph::WaitGraph;
use crate::ids::TaskId;
use crate::metrics::text::Exposition;

/// A task counts as waiting after so many seconds; shorter waits are part of every step.
const WAITS_FROM: f64 = 0.5;

/// All that is shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Model {
    /// The targets, as the user gave them.
    pub(super) source: String,
    pub(super) training_steps: Option<u64>,
    /// Mean loss by step.
    pub(super) losses: Vec<(f64, f64)>,
    /// The y axis for these losses; `None` if no loss is finite.
    pub(super) loss_axis: Option<Ticks>,
    pub(super) tasks: Vec<TaskRow>,
}

/// One task.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct TaskRow {
    /// `worker 1`, or the address of a task that has never answered.
    pub(super) name: String,
    pub(super) state: State,
    pub(super) step: Option<u64>,
    /// Steps a second; `None` if the task is done.
    pub(super) rate: Option<f64>,
    /// Bytes a second, in and out, sockets and shared memory.
    pub(super) bytes: Option<(f64, f64)>,
    /// The current wait, if it is not a part of every step.
    pub(super) wait: Option<Wait>,
    /// The peers with which the task has no session.
    pub(super) disconnected: Vec<TaskId>,
    /// The newest validation accuracy, if this task evaluates.
    pub(super) accuracy: Option<f64>,
    /// The step of the newest checkpoint, if this task saves them.
    pub(super) checkpoint: Option<u64>,
    /// Failures that the task has counted, and restarts since the first look.
    pub(super) faults: Vec<String>,
}

/// The state of a task.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum State {
    #[default]
    Runs,
    Waits,
    /// All updates are made. In a logdir: the final checkpoint is durable.
    Done,
    /// The task does not answer, for this reason.
    Lost(String),
    /// Only files tell of the task, and they do not tell whether it runs.
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
    /// The task, if its name is known.
    pub(super) fn task(&self) -> Option<TaskId> {
        parse_task(&self.name)
    }

    const fn is_lost(&self) -> bool {
        matches!(self.state, State::Lost(_))
    }

    fn waits_for(&self, task: TaskId) -> Option<&Wait> {
        self.wait.as_ref().filter(|wait| wait.tasks().any(|awaited| awaited == task))
    }
}

impl Model {
    /// The largest step of any task.
    pub(super) fn step(&self) -> Option<u64> {
        self.tasks.iter().filter_map(|task| task.step).max()
    }

    /// Whether all tasks have made all updates.
    pub(super) fn is_done(&self) -> bool {
        !self.tasks.is_empty() && self.tasks.iter().all(|task| task.state == State::Done)
    }

    /// The steps a second of the fastest task. All tasks have the same speed; the rates differ
    /// because each task is asked at another moment.
    pub(super) fn rate(&self) -> Option<f64> {
        self.tasks.iter().filter_map(|task| task.rate).reduce(f64::max)
    }

    pub(super) fn loss(&self) -> Option<f64> {
        self.losses.last().map(|(_, loss)| *loss)
    }

    /// The newest validation accuracy.
    pub(super) fn accuracy(&self) -> Option<f64> {
        self.tasks.iter().find_map(|task| task.accuracy)
    }

    /// The step of the newest checkpoint.
    pub(super) fn checkpoint(&self) -> Option<u64> {
        self.tasks.iter().filter_map(|task| task.checkpoint).max()
    }

    /// `all wait for worker 1: gradient of step 1234, 12.3 s`, if one task holds up all others.
    pub(super) fn bottleneck(&self) -> Option<String> {
        let mut graph = WaitGraph::default();
        // A file does not tell whether its task waits.
        for row in self.tasks.iter().filter(|row| row.state != State::File) {
            if let Some(task) = row.task() {
                graph.add(task, row.wait.iter().flat_map(Wait::tasks));
            }
        }
        let root = graph.root()?;
        let its_row = self.tasks.iter().find(|row| row.task() == Some(root));
        let waiting = || self.tasks.iter().filter(|row| row.waits_for(root).is_some());
        let why = if its_row.is_some_and(TaskRow::is_lost) {
            ", which does not answer".to_owned()
        } else if waiting().any(|row| row.disconnected.contains(&root)) {
            ", which is disconnected".to_owned()
        } else if let Some(wait) = its_row.and_then(|row| row.wait.as_ref()) {
            // The graph has only tasks, so the root waits for its own storage.
            let of = wait.of.iter().map(Awaited::to_string).collect::<Vec<_>>().join(", ");
            format!(": {} of its {of}, {:.1} s", wait.what, wait.seconds)
        } else {
            let waits = waiting().filter_map(|row| Some((row.step, row.waits_for(root)?)));
            let (step, wait) = waits.max_by(|(_, a), (_, b)| a.seconds.total_cmp(&b.seconds))?;
            format!(": {}, {:.1} s", wait.reason(step), wait.seconds)
        };
        Some(format!("all wait for {root}{why}"))
    }

    /// The tasks that do not answer, followed by all other faults.
    pub(super) fn faults(&self) -> Vec<String> {
        let lost = self.tasks.iter().filter_map(|task| match &task.state {
            State::Lost(why) => Some(format!("{} does not answer: {why}", task.name)),
            _ => None,
        });
        let of_task = |task: &TaskRow| -> Vec<_> {
            task.faults.iter().map(|fault| format!("{}: {fault}", task.name)).collect()
        };
        lost.chain(self.tasks.iter().flat_map(of_task)).collect()
    }

    /// The reason for which there is nothing to show; `None` if there is something.
    pub(super) fn nothing_there(&self) -> Option<String> {
        let why = self.tasks.iter().map(|task| match &task.state {
            State::Lost(why) => Some(format!("{}: {why}", task.name)),
            _ => None,
        });
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

/// The metrics of a task at one look.
#[derive(Clone, Debug)]
pub(super) struct Scrape {
    pub(super) at: Duration,
    pub(super) metrics: Exposition,
}

/// Returns the row of a task that answers. `before` is its answer at the look before.
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
        // A rollback makes the step smaller.
        let more = (sum(now) - sum(before)).max(0.0);
        Some(more / (now.at - before.at).as_secs_f64())
    };
    let bytes_in = rate(&["unisono_bytes_received_total", "unisono_shared_bytes_received_total"]);
    let bytes_out = rate(&["unisono_bytes_sent_total", "unisono_shared_bytes_sent_total"]);
    // The gauge is 0 before the first checkpoint.
    let checkpoint = metrics.value("unisono_checkpoint_step").filter(|step| *step > 0.0);
    TaskRow {
        name: name.unwrap_or("a task").to_owned(),
        rate: rate(&["unisono_global_step"]).filter(|_| state != State::Done),
        bytes: bytes_in.zip(bytes_out),
        wait,
        disconnected: disconnected(metrics).filter_map(parse_task).collect(),
        accuracy: metrics.value("unisono_validation_accuracy").filter(|share| !share.is_nan()),
        checkpoint: checkpoint.map(|step| step as u64),
        faults: faults(metrics, restarts),
        state,
        step,
    }
}

/// The rates of one incarnation of a task, averaged over the last seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SmoothedRates {
    steps: Smoothed,
    bytes_in: Smoothed,
    bytes_out: Smoothed,
}

impl SmoothedRates {
    /// Replaces the rates of a row, which are those of the last `elapsed`, by the averages.
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

/// The names of the peers with which a task has no session.
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

/// Formats a rate for the table, as `1.2 MB`.
pub(super) fn bytes_per_second(bytes: f64) -> String {
    match bytes {
        0.0..1e3 => format!("{bytes:.0} B"),
        1e3..1e6 => format!("{:.1} kB", bytes / 1e3),
        1e6..1e9 => format!("{:.1} MB", bytes / 1e6),
        _ => format!("{:.1} GB", bytes / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrape(secs: u64, lines: &str) -> Scrape {
        let mut text = String::new();
        let mut names: Vec<_> =
            lines.lines().filter_map(|line| line.split(['{', ' ']).next()).collect();
        names.dedup();
        names.iter().for_each(|name| text.push_str(&format!("# TYPE {name} untyped\n")));
        let metrics = Exposition::parse(&(text + lines)).unwrap();
        Scrape { at: Duration::from_secs(secs), metrics }
    }

    #[test]
    fn rates_are_those_between_two_looks_and_bytes_those_of_sockets_and_memory() {
        let look = |secs, step, bytes| {
            scrape(
                secs,
                &format!(
                    "unisono_global_step{{task=\"ps 1\"}} {step}\n\
                     unisono_bytes_received_total {bytes}\nunisono_shared_bytes_received_total 100\n"
                ),
            )
        };
        let first = look(10, 5, 1000);
        let row_of = |now: &Scrape, before| row(now, before, 0);
        let alone = row_of(&first, None);
        assert_eq!((alone.name.as_str(), alone.step, alone.rate), ("ps 1", Some(5), None));
        let second = row_of(&look(12, 25, 5000), Some(&first));
        assert_eq!((second.rate, second.bytes), (Some(10.0), Some((2000.0, 0.0))));
        assert_eq!(row_of(&look(12, 0, 0), Some(&first)).rate, Some(0.0), "a rollback is no speed");
    }

    #[test]
    fn validation_accuracy_is_the_chiefs_and_absent_before_the_first() {
        let of =
            |value| row(&scrape(0, &format!("unisono_validation_accuracy {value}\n")), None, 0);
        let model = |value| Model { tasks: vec![of("NaN"), of(value)], ..Model::default() };
        assert_eq!(model("0.875").accuracy(), Some(0.875));
        assert_eq!(model("NaN").accuracy(), None);
    }

    #[test]
    fn task_counts_as_waiting_after_half_a_second() {
        let waits = |secs: &str| {
            let line = |of| {
                format!("unisono_waiting_seconds{{what=\"gradient\",of=\"worker {of}\"}} {secs}\n")
            };
            row(&scrape(0, &(line(2) + &line(1))), None, 0)
        };
        assert_eq!((waits("0.4").state, waits("0.4").wait), (State::Runs, None));
        assert_eq!(waits("2").state, State::Waits);
        assert_eq!(waits("2").wait.unwrap().to_string(), "2.0 s gradient of worker 1, worker 2");
    }

    #[test]
    fn faults_are_told_in_words() {
        let lines = "unisono_peer_up{peer=\"ps 0\"} 0\nunisono_peer_up{peer=\"ps 1\"} 1\n\
                     unisono_reconnects_total{peer=\"ps 1\"} 2\n\
                     unisono_gradients_dropped_total{why=\"stale\"} 3\n\
                     unisono_gradients_dropped_total{why=\"fenced\"} 0\n\
                     unisono_shards_lost_total 1\n";
        let TaskRow { faults, disconnected, .. } = row(&scrape(0, lines), None, 1);
        assert_eq!(disconnected, [TaskId::ps(0)]);
        assert_eq!(
            faults,
            [
                "a ps restarted without its shard once",
                "gradients dropped: 3 stale",
                "no session with ps 0",
                "ps 1 reconnected 2 times",
                "restarted once",
            ]
        );
        let clean = "unisono_peer_up{peer=\"ps 0\"} 1\nunisono_shards_lost_total 0\n";
        assert!(row(&scrape(0, clean), None, 0).faults.is_empty());
    }

    #[test]
    fn nothing_is_there_only_if_no_task_answers() {
        let lost = |name: &str| TaskRow {
            name: name.to_owned(),
            state: State::Lost("nobody listens there".to_owned()),
            ..TaskRow::default()
        };
        let mut model = Model { tasks: vec![lost("a:1")], ..Model::default() };
        assert!(model.nothing_there().unwrap().contains("a:1: nobody listens there"));
        model.tasks.push(TaskRow::default());
        assert_eq!(model.nothing_there(), None);
        assert!(Model::default().nothing_there().unwrap().contains("no losses.csv"));
    }

    #[test]
    fn task_that_has_made_all_updates_is_done_and_has_no_rate() {
        let look = |secs, step| {
            let lines = format!("unisono_global_step {step}\nunisono_training_steps 600\n");
            scrape(secs, &lines)
        };
        let running = row(&look(2, 599), Some(&look(1, 500)), 0);
        assert_eq!((running.state, running.rate), (State::Runs, Some(99.0)));
        let done = row(&look(2, 600), Some(&look(1, 500)), 0);
        assert_eq!((done.state, done.rate), (State::Done, None));
    }

    #[test]
    fn rates_are_smoothed_and_absent_rates_stay_absent() {
        let mut rates = SmoothedRates::default();
        let look = |rate| TaskRow { rate, bytes: Some((100.0, 200.0)), ..TaskRow::default() };
        let mut smooth = |rate| {
            let mut row = look(rate);
            rates.smooth(&mut row, Duration::from_secs(1));
            (row.rate, row.bytes)
        };
        let bytes = Some((100.0, 200.0));
        assert_eq!(smooth(Some(400.0)), (Some(400.0), bytes));
        let (rate, _) = smooth(Some(0.0));
        assert!(rate > Some(320.0) && rate < Some(330.0), "{rate:?}");
        assert_eq!(smooth(None), (None, bytes));
    }

    /// The rows of a cluster in which worker 1 has not sent its gradient.
    fn held_up(by: TaskRow) -> Model {
        let waits = |name: &str, seconds, what: &str, of| TaskRow {
            name: name.to_owned(),
            state: State::Waits,
            step: Some(1234),
            wait: Some(Wait { seconds, what: what.to_owned(), of: vec![Awaited::Task(of)] }),
            ..TaskRow::default()
        };
        let ps = waits("ps 0", 12.25, "gradient", TaskId::worker(1));
        let chief = waits("worker 0", 12.5, "version", TaskId::ps(0));
        Model { tasks: vec![ps, chief, by], ..Model::default() }
    }

    fn worker_1(state: State) -> TaskRow {
        TaskRow { name: "worker 1".to_owned(), state, ..TaskRow::default() }
    }

    #[test]
    fn bottleneck_is_named_with_the_longest_direct_wait() {
        let mut straggler = held_up(worker_1(State::Runs));
        let mut ps_1 = straggler.tasks[0].clone();
        "ps 1".clone_into(&mut ps_1.name);
        ps_1.wait.as_mut().unwrap().seconds = 0.5;
        straggler.tasks.push(ps_1);
        let expected = "all wait for worker 1: gradient of step 1234, 12.2 s";
        assert_eq!(straggler.bottleneck().as_deref(), Some(expected));
    }

    #[test]
    fn bottleneck_that_is_lost_or_disconnected_is_called_so() {
        let lost = held_up(worker_1(State::Lost("no answer".to_owned())));
        let expected = "all wait for worker 1, which does not answer";
        assert_eq!(lost.bottleneck().as_deref(), Some(expected));
        // Its address has never answered, so only the others know its name.
        let unknown = TaskRow { name: "a:9103".to_owned(), ..worker_1(State::Lost(String::new())) };
        let mut unknown = held_up(unknown);
        unknown.tasks[0].disconnected = vec![TaskId::worker(1)];
        let expected = "all wait for worker 1, which is disconnected";
        assert_eq!(unknown.bottleneck().as_deref(), Some(expected));
    }

    #[test]
    fn bottleneck_that_waits_for_its_disk_is_told_with_it() {
        let storage = vec![Awaited::Other("storage".to_owned())];
        let wait = Some(Wait { seconds: 3.0, what: "checkpoint".to_owned(), of: storage });
        let model = held_up(TaskRow { wait, ..worker_1(State::Waits) });
        let expected = "all wait for worker 1: checkpoint of its storage, 3.0 s";
        assert_eq!(model.bottleneck().as_deref(), Some(expected));
    }

    #[test]
    fn there_is_no_bottleneck_while_another_task_runs_and_files_do_not_count() {
        let mut model = held_up(worker_1(State::Runs));
        model.tasks.push(TaskRow { name: "worker 2".to_owned(), ..TaskRow::default() });
        assert_eq!(model.bottleneck(), None);
        model.tasks[3].state = State::File;
        assert!(model.bottleneck().is_some());
    }
}
