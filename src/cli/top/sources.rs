//! Looks at the targets again and again, and puts together what is known.

use tokio::task::JoinSet;

use super::fetch::fetch;
use super::logdir::{Curve, Logdir};
use super::model::{Model, State, TaskRow, Told, row};
use super::target::Target;
use crate::config::HostPort;
use crate::host::Clock as _;
use crate::metrics::text::Exposition;
use crate::tcp::RealClock;

/// Everything that is looked at.
#[derive(Debug)]
pub(super) struct Sources {
    tasks: Vec<Task>,
    logdirs: Vec<Logdir>,
    curve: Curve,
    clock: RealClock,
    model: Model,
}

/// A task that serves its metrics.
#[derive(Debug)]
struct Task {
    address: HostPort,
    told: Option<Told>,
    restarts: u32,
    row: TaskRow,
}

impl Sources {
    pub(super) fn new(targets: &[Target]) -> Self {
        let mut sources = Self {
            tasks: Vec::new(),
            logdirs: Vec::new(),
            curve: Curve::default(),
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

    pub(super) const fn clock(&self) -> RealClock {
        self.clock
    }

    pub(super) const fn model(&self) -> &Model {
        &self.model
    }

    /// Looks at all of them, at once.
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
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        for of_file in self.logdirs.iter_mut().flat_map(|logdir| logdir.look(now)) {
            // A task that is asked itself knows more than its files, but for its earlier lives.
            match rows.iter_mut().find(|row| row.name == of_file.name) {
                Some(row) => row.faults.extend(of_file.faults),
                None => rows.push(of_file),
            }
        }
        self.model.tasks = rows;
        let of_files = self.logdirs.iter().map(Logdir::losses).find(|losses| !losses.is_empty());
        self.model.losses = of_files.unwrap_or_else(|| self.curve.points());
    }

    fn on_answer(&mut self, index: usize, answer: Result<Exposition, String>) {
        let at = self.clock.now().since_origin();
        let task = &mut self.tasks[index];
        let metrics = match answer {
            Ok(metrics) => metrics,
            Err(why) => {
                task.row = TaskRow {
                    state: State::Lost(why),
                    rate: None,
                    bytes: None,
                    waits: None,
                    ..task.row.clone()
                };
                return;
            }
        };
        let life = |metrics: &Exposition| metrics.value("unisono_incarnation");
        if task.told.as_ref().is_some_and(|told| life(&told.metrics) != life(&metrics)) {
            task.restarts += 1;
            task.told = None;
        }
        if let Some(steps) = metrics.value("unisono_training_steps") {
            self.model.training_steps = Some(steps as u64);
        }
        if let (Some(step), Some(loss)) =
            (metrics.value("unisono_recorded_step"), metrics.value("unisono_loss"))
            && step > 0.0
        {
            self.curve.put(step - 1.0, loss);
        }
        let told = Told { at, metrics };
        task.row = row(&told, task.told.as_ref(), task.restarts);
        task.told = Some(told);
    }
}

/// A row of ports, as the user said it.
fn named(addresses: &[HostPort]) -> Option<String> {
    let (first, last) = (addresses.first()?, addresses.last()?);
    let first_to = if first == last { String::new() } else { format!("-{}", last.port()) };
    Some(format!("{first}{first_to}"))
}

impl Task {
    fn new(address: HostPort) -> Self {
        let row = TaskRow { name: address.to_string(), ..TaskRow::default() };
        Self { address, told: None, restarts: 0, row }
    }
}
