//! What is known of a cluster: plain values, for whoever draws them.

use std::time::Duration;

use crate::metrics::text::Exposition;

/// A task waits if it has waited for so long; shorter waits are part of every step.
const WAITS_FROM: f64 = 0.5;

/// All that is shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Model {
    /// What is looked at, as the user said it.
    pub(super) source: String,
    pub(super) training_steps: Option<u64>,
    /// Mean loss by step.
    pub(super) losses: Vec<(f64, f64)>,
    pub(super) tasks: Vec<TaskRow>,
}

/// One task.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct TaskRow {
    /// `worker 1`; of one that has never answered, where it should be.
    pub(super) name: String,
    pub(super) state: State,
    pub(super) step: Option<u64>,
    /// Steps a second.
    pub(super) rate: Option<f64>,
    /// Bytes a second, in and out, sockets and shared memory.
    pub(super) bytes: Option<(f64, f64)>,
    /// What it waits for, and of whom.
    pub(super) waits: Option<String>,
    /// The newest validation accuracy, if this task evaluates.
    pub(super) accuracy: Option<f64>,
    /// The step of the newest checkpoint, if this task saves them.
    pub(super) checkpoint: Option<u64>,
    /// What has gone wrong since it is looked at, and before.
    pub(super) faults: Vec<String>,
}

/// How a task is.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum State {
    #[default]
    Runs,
    Waits,
    /// It has made all updates.
    Done,
    /// It does not answer, and why.
    Lost(String),
    /// What is known of it is in files.
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

impl Model {
    /// The farthest that any task is.
    pub(super) fn step(&self) -> Option<u64> {
        self.tasks.iter().filter_map(|task| task.step).max()
    }

    /// The steps a second of the one that is fastest: all go at one pace, but for what a look at
    /// each at another moment makes of it.
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

    /// Who does not answer, and then all else that has gone wrong.
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

    /// Why there is nothing to show, if there is not.
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

/// What a task told, and when.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) at: Duration,
    pub(super) metrics: Exposition,
}

/// The row of a task that answers; `before` is what it told at the look before.
pub(super) fn row(now: &Told, before: Option<&Told>, restarts: u32) -> TaskRow {
    let metrics = &now.metrics;
    let name = metrics.samples.iter().find_map(|sample| sample.label("task"));
    let step = metrics.value("unisono_global_step").map(|step| step as u64);
    let last = metrics.value("unisono_training_steps").map(|steps| steps as u64);
    let (waits, longest) = waits(metrics);
    let state = match () {
        () if last.is_some() && step >= last => State::Done,
        () if longest >= WAITS_FROM => State::Waits,
        () => State::Runs,
    };
    let rate = |names: &[&str]| {
        let before = before.filter(|before| before.at < now.at)?;
        let sum = |told: &Told| names.iter().map(|name| told.metrics.sum(name)).sum::<f64>();
        // Below what it was, of a life that began meanwhile.
        let more = (sum(now) - sum(before)).max(0.0);
        Some(more / (now.at - before.at).as_secs_f64())
    };
    let bytes_in = rate(&["unisono_bytes_received_total", "unisono_shared_bytes_received_total"]);
    let bytes_out = rate(&["unisono_bytes_sent_total", "unisono_shared_bytes_sent_total"]);
    // It is 0 before the first.
    let checkpoint = metrics.value("unisono_checkpoint_step").filter(|step| *step > 0.0);
    TaskRow {
        name: name.unwrap_or("a task").to_owned(),
        rate: rate(&["unisono_global_step"]),
        bytes: bytes_in.zip(bytes_out),
        waits: waits.filter(|_| longest >= WAITS_FROM),
        accuracy: metrics.value("unisono_validation_accuracy").filter(|share| !share.is_nan()),
        checkpoint: checkpoint.map(|step| step as u64),
        faults: faults(metrics, restarts),
        state,
        step,
    }
}

/// What a task waits for, and for how long.
fn waits(metrics: &Exposition) -> (Option<String>, f64) {
    let mut of = Vec::new();
    let mut what = "";
    let mut longest: f64 = 0.0;
    for sample in metrics.all("unisono_waiting_seconds") {
        what = sample.label("what").unwrap_or_default();
        of.extend(sample.label("of"));
        longest = longest.max(sample.value);
    }
    of.sort_unstable();
    let shown = (!of.is_empty()).then(|| format!("{longest:.1} s {what} of {}", of.join(", ")));
    (shown, longest)
}

fn faults(metrics: &Exposition, restarts: u32) -> Vec<String> {
    let mut faults = Vec::new();
    if restarts > 0 {
        faults.push(format!("started again {}", times(restarts.into())));
    }
    for sample in metrics.all("unisono_peer_up").filter(|sample| sample.value == 0.0) {
        faults.push(format!("no session with {}", sample.label("peer").unwrap_or_default()));
    }
    for sample in metrics.all("unisono_reconnects_total").filter(|sample| sample.value > 0.0) {
        let peer = sample.label("peer").unwrap_or_default();
        faults.push(format!("{peer} connected again {}", times(sample.value)));
    }
    for sample in metrics.all("unisono_gradients_dropped_total") {
        if sample.value > 0.0 {
            let why = sample.label("why").unwrap_or_default();
            faults.push(format!("gradients dropped: {} {why}", sample.value));
        }
    }
    for (name, what) in [
        ("unisono_shards_lost_total", "a ps came back without its shard"),
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

/// `1.2 MB/s`, as the table shows it.
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

    fn told(secs: u64, lines: &str) -> Told {
        let mut text = String::new();
        let mut names: Vec<_> =
            lines.lines().filter_map(|line| line.split(['{', ' ']).next()).collect();
        names.dedup();
        names.iter().for_each(|name| text.push_str(&format!("# TYPE {name} untyped\n")));
        let metrics = Exposition::parse(&(text + lines)).unwrap();
        Told { at: Duration::from_secs(secs), metrics }
    }

    #[test]
    fn rates_are_of_two_looks_and_bytes_of_all_ways() {
        let look = |secs, step, bytes| {
            told(
                secs,
                &format!(
                    "unisono_global_step{{task=\"ps 1\"}} {step}\n\
                     unisono_bytes_received_total {bytes}\nunisono_shared_bytes_received_total 100\n"
                ),
            )
        };
        let first = look(10, 5, 1000);
        let row_of = |now: &Told, before| row(now, before, 0);
        let alone = row_of(&first, None);
        assert_eq!((alone.name.as_str(), alone.step, alone.rate), ("ps 1", Some(5), None));
        let second = row_of(&look(12, 25, 5000), Some(&first));
        assert_eq!((second.rate, second.bytes), (Some(10.0), Some((2000.0, 0.0))));
        assert_eq!(row_of(&look(12, 0, 0), Some(&first)).rate, Some(0.0), "a rollback is no speed");
    }

    #[test]
    fn validation_accuracy_is_that_of_the_chief_and_nothing_before_the_first() {
        let of = |value| row(&told(0, &format!("unisono_validation_accuracy {value}\n")), None, 0);
        let model = |value| Model { tasks: vec![of("NaN"), of(value)], ..Model::default() };
        assert_eq!(model("0.875").accuracy(), Some(0.875));
        assert_eq!(model("NaN").accuracy(), None);
    }

    #[test]
    fn a_task_waits_once_it_has_waited_for_half_a_second() {
        let waits = |secs: &str| {
            let line = |of| {
                format!("unisono_waiting_seconds{{what=\"gradient\",of=\"worker {of}\"}} {secs}\n")
            };
            row(&told(0, &(line(2) + &line(1))), None, 0)
        };
        assert_eq!((waits("0.4").state, waits("0.4").waits), (State::Runs, None));
        let shown = Some("2.0 s gradient of worker 1, worker 2".to_owned());
        assert_eq!((waits("2").state, waits("2").waits), (State::Waits, shown));
    }

    #[test]
    fn what_went_wrong_is_said_in_words() {
        let lines = "unisono_peer_up{peer=\"ps 0\"} 0\nunisono_peer_up{peer=\"ps 1\"} 1\n\
                     unisono_reconnects_total{peer=\"ps 1\"} 2\n\
                     unisono_gradients_dropped_total{why=\"stale\"} 3\n\
                     unisono_gradients_dropped_total{why=\"fenced\"} 0\n\
                     unisono_shards_lost_total 1\n";
        let faults = row(&told(0, lines), None, 1).faults;
        assert_eq!(
            faults,
            [
                "a ps came back without its shard once",
                "gradients dropped: 3 stale",
                "no session with ps 0",
                "ps 1 connected again 2 times",
                "started again once",
            ]
        );
        let clean = "unisono_peer_up{peer=\"ps 0\"} 1\nunisono_shards_lost_total 0\n";
        assert!(row(&told(0, clean), None, 0).faults.is_empty());
    }

    #[test]
    fn there_is_nothing_to_show_only_if_nobody_answers() {
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
}
