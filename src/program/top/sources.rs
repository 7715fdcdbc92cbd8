//! Polls all targets, and builds the model from the metrics of tasks and from files.

use tokio::task::JoinSet;

use super::axis::LossAxis;
use super::curve::Curve;
use super::fetch::fetch;
use super::logdir::Logdir;
use super::model::{Model, Scrape, SmoothedRates, State, TaskRow, row, sort};
use super::target::Target;
use unisono_config::HostPort;
use unisono_core::host::Clock as _;
use unisono_metrics::text::Exposition;
use unisono_net::tcp::RealClock;

/// All targets of `unisono top`, and the model that was built at the last poll.
#[derive(Debug)]
pub(super) struct Sources {
    tasks: Vec<Task>,
    logdirs: Vec<Logdir>,
    /// The losses that the chief's metrics have contained at all polls so far.
    curve: Curve,
    loss_axis: LossAxis,
    pub(super) clock: RealClock,
    pub(super) model: Model,
}

/// A task that serves its metrics.
#[derive(Debug)]
struct Task {
    address: HostPort,
    last: Option<Scrape>,
    restarts: u32,
    rates: SmoothedRates,
    row: TaskRow,
}

impl Sources {
    pub(super) fn new(targets: &[Target]) -> Self {
        let mut sources = Self {
            tasks: Vec::new(),
            logdirs: Vec::new(),
            curve: Curve::default(),
            loss_axis: LossAxis::default(),
            clock: RealClock::start(),
            model: Model::default(),
        };
        let mut names = Vec::new();
        for target in targets {
            match target {
                Target::Tasks(addresses) => {
                    names.extend(named(addresses));
                    sources.tasks.extend(addresses.iter().cloned().map(Task::new));
                }
                Target::Logdir(folder) => {
                    names.push(folder.display().to_string());
                    sources.logdirs.push(Logdir::new(folder));
                }
            }
        }
        sources.model.source = names.join(" ");
        sources
    }

    /// Polls all targets once. The requests to all tasks run at the same time.
    pub(super) async fn look(&mut self) {
        let mut answers = JoinSet::new();
        for (index, task) in self.tasks.iter().enumerate() {
            let address = task.address.clone();
            answers.spawn(async move { (index, fetch(address).await) });
        }
        while let Some(answer) = answers.join_next().await {
            let (index, answer) = answer.expect("nobody aborts it, and it does not panic");
            self.on_answer(index, answer);
        }
        let now = self.clock.now().since_origin();
        let mut rows: Vec<_> = self.tasks.iter().map(|task| task.row.clone()).collect();
        for of_file in self.logdirs.iter_mut().flat_map(|logdir| logdir.look(now)) {
            // The metrics of a task are newer than its files, but only the files contain earlier
            // incarnations.
            match rows.iter_mut().find(|row| row.name == of_file.name) {
                Some(row) => row.faults.extend(of_file.faults),
                None => rows.push(of_file),
            }
        }
        sort(&mut rows);
        self.model.tasks = rows;
        let of_files = self.logdirs.iter().map(Logdir::losses).find(|losses| !losses.is_empty());
        self.model.losses = of_files.unwrap_or_else(|| self.curve.points());
        self.loss_axis.fit(self.model.losses.iter().map(|(_, loss)| *loss));
        self.model.loss_axis = self.loss_axis.ticks();
        let of_tasks = self.tasks.iter().find_map(Task::training_steps);
        let of_files = || self.logdirs.iter().find_map(Logdir::training_steps);
        self.model.training_steps = of_tasks.or_else(of_files);
    }

    fn on_answer(&mut self, index: usize, answer: Result<Exposition, String>) {
        let at = self.clock.now().since_origin();
        let task = &mut self.tasks[index];
        let metrics = match answer {
            Ok(metrics) => metrics,
            Err(why) => return task.on_no_answer(why),
        };
        if let (Some(step), Some(loss)) =
            (metrics.value("unisono_recorded_step"), metrics.value("unisono_loss"))
            && step > 0.0
        {
            self.curve.put(step - 1.0, loss);
        }
        task.on_scrape(Scrape { at, metrics });
    }
}

/// Formats addresses with consecutive ports in the form of the command line, such as
/// `127.0.0.1:9100-9103`.
fn named(addresses: &[HostPort]) -> Option<String> {
    let (first, last) = (addresses.first()?, addresses.last()?);
    let first_to = if first == last { String::new() } else { format!("-{}", last.port()) };
    Some(format!("{first}{first_to}"))
}

impl Task {
    fn new(address: HostPort) -> Self {
        let row = TaskRow { name: address.to_string(), ..TaskRow::default() };
        Self { address, last: None, restarts: 0, rates: SmoothedRates::default(), row }
    }

    fn on_scrape(&mut self, scrape: Scrape) {
        let incarnation = |scrape: &Scrape| scrape.metrics.value("unisono_incarnation");
        if self.last.as_ref().is_some_and(|last| incarnation(last) != incarnation(&scrape)) {
            // After a restart of the task, all its counters begin at 0.
            self.restarts += 1;
            self.last = None;
            self.rates = SmoothedRates::default();
        }
        self.row = row(&scrape, self.last.as_ref(), self.restarts);
        if let Some(last) = &self.last {
            self.rates.smooth(&mut self.row, scrape.at - last.at);
        }
        self.last = Some(scrape);
    }

    fn on_no_answer(&mut self, why: String) {
        // A finished task exits, so it does not answer any more.
        let is_done = self.row.state == State::Done;
        self.row.state = if is_done { State::Done } else { State::Lost(why) };
        self.row.rate = None;
        self.row.bytes = None;
        self.row.wait = None;
    }

    fn training_steps(&self) -> Option<u64> {
        let steps = self.last.as_ref()?.metrics.value("unisono_training_steps")?;
        Some(steps as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn task() -> Task {
        Task::new("a:9100".parse().unwrap())
    }

    /// Returns the metrics of a task at the second `second`, in the incarnation `life`.
    fn scrape(second: u64, life: u64, step: u64) -> Scrape {
        let values = [
            ("unisono_incarnation", life),
            ("unisono_global_step", step),
            ("unisono_training_steps", 1_000_000),
        ];
        let line =
            |(name, value)| format!("# TYPE {name} gauge\n{name}{{task=\"ps 0\"}} {value}\n");
        let metrics = Exposition::parse(&values.map(line).concat()).unwrap();
        Scrape { at: Duration::from_secs(second), metrics }
    }

    #[test]
    fn rate_is_smoothed_over_scrapes_and_reset_by_a_restart() {
        let mut task = task();
        task.on_scrape(scrape(0, 1, 0));
        assert_eq!(task.row.rate, None);
        task.on_scrape(scrape(1, 1, 100));
        assert_eq!(task.row.rate, Some(100.0));
        task.on_scrape(scrape(2, 1, 100));
        assert!(task.row.rate > Some(80.0) && task.row.rate < Some(100.0), "{:?}", task.row.rate);
        task.on_scrape(scrape(3, 2, 100));
        assert_eq!((task.row.rate, task.restarts), (None, 1));
        task.on_scrape(scrape(4, 2, 107));
        assert_eq!(task.row.rate, Some(7.0), "the rate of the old incarnation does not count");
    }

    #[test]
    fn task_that_does_not_answer_is_lost_unless_it_was_done() {
        let mut task = task();
        task.on_scrape(scrape(0, 1, 5));
        task.on_no_answer("nobody listens there".to_owned());
        assert_eq!(task.row.state, State::Lost("nobody listens there".to_owned()));
        assert_eq!(task.row.name, "ps 0");
        task.on_scrape(scrape(1, 1, 1_000_000));
        task.on_no_answer("nobody listens there".to_owned());
        assert_eq!(task.row.state, State::Done);
    }
}
