//! Minds the children of `unisono local` from the start to the end of the last one.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::child::{self, ChildCommand, Event, Lifeline, Stream};
use crate::cli::output::ProgressLine;
use crate::cli::{EXIT_USAGE, StopReason, StopRequests};
use crate::ids::TaskId;

/// Lines of a child that has failed which are shown again.
const LAST_LINES: usize = 10;
/// Events that wait to be shown; then a child that prints faster waits, too.
const MOST_EVENTS: usize = 1024;

/// How long others may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// For the chief to save its checkpoint and end; and for the rest once the chief has finished.
    pub(super) chief: Duration,
    /// For all to end after a failure, or once the chief has stopped.
    pub(super) rest: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { chief: Duration::from_secs(30), rest: Duration::from_secs(5) }
    }
}

/// Where the lines of a cluster go.
pub(super) trait View {
    /// A line of the chief's standard output, which is the run's.
    fn result(&mut self, line: &str);
    /// Any other line of a task.
    fn task(&mut self, task: TaskId, line: &str);
    /// A line of the launcher itself.
    fn own(&mut self, line: &str);
    /// How far the run is.
    fn progress(&mut self, line: ProgressLine);
}

/// How the cluster ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Every task exited with 0.
    Finished,
    /// A task failed.
    Failed,
    /// A task refused its command line.
    Refused,
    /// It was asked to end.
    Stopped(StopReason),
}

impl Ending {
    pub(super) fn exit_code(self) -> ExitCode {
        match self {
            Self::Finished => ExitCode::SUCCESS,
            Self::Failed => ExitCode::FAILURE,
            Self::Refused => ExitCode::from(EXIT_USAGE),
            Self::Stopped(reason) => reason.exit_code(),
        }
    }
}

/// What the launcher is doing; it only moves down this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Everything runs.
    Running,
    /// The chief was asked to save and end.
    StoppingChief(StopReason),
    /// All were asked to end.
    EndingAll(Ending),
    /// All were killed.
    Killing(Ending),
}

/// Starts the children and stays until none is left.
///
/// # Errors
/// If a child cannot be started; those that were are killed.
pub(super) async fn supervise(
    children: Vec<ChildCommand>,
    mut stops: StopRequests,
    limits: Limits,
    view: &mut impl View,
) -> anyhow::Result<Ending> {
    let (sender, mut events) = mpsc::channel(MOST_EVENTS);
    let (kill, killed) = watch::channel(false);
    let mut cluster =
        Cluster { alive: BTreeMap::new(), phase: Phase::Running, alarm: None, limits, kill, view };
    for child in children {
        let task = child.task;
        let lifeline = child::start(child, sender.clone(), killed.clone())?;
        cluster.alive.insert(task, Task { lifeline, last_lines: VecDeque::new() });
    }
    while !cluster.alive.is_empty() {
        tokio::select! {
            biased;
            reason = stops.next() => cluster.on_stop(reason).await,
            event = events.recv() => match event.expect("a sender is in scope") {
                Event::Printed { task, stream, line } => cluster.on_line(task, stream, line),
                Event::Ended { task, status } => cluster.on_end(task, status).await,
            },
            () = ring(&mut cluster.alarm) => cluster.on_alarm(),
        }
    }
    Ok(match cluster.phase {
        Phase::Running => Ending::Finished,
        Phase::StoppingChief(reason) => Ending::Stopped(reason),
        Phase::EndingAll(ending) | Phase::Killing(ending) => ending,
    })
}

struct Cluster<'a, V> {
    alive: BTreeMap<TaskId, Task>,
    phase: Phase,
    alarm: Alarm,
    limits: Limits,
    kill: watch::Sender<bool>,
    view: &'a mut V,
}

struct Task {
    lifeline: Lifeline,
    last_lines: VecDeque<String>,
}

impl<V: View> Cluster<'_, V> {
    async fn on_stop(&mut self, reason: StopReason) {
        match self.phase {
            Phase::Running => match self.alive.get_mut(&TaskId::CHIEF) {
                Some(chief) => {
                    self.view.own(
                        "stopping: the chief saves a checkpoint; once more, and all end at once",
                    );
                    chief.lifeline.ask_to_stop().await;
                    self.enter(Phase::StoppingChief(reason), self.limits.chief);
                }
                None => self.end_all(Ending::Stopped(reason)).await,
            },
            Phase::StoppingChief(reason) => self.kill_all(Ending::Stopped(reason)),
            Phase::EndingAll(ending) | Phase::Killing(ending) => self.kill_all(ending),
        }
    }

    fn on_line(&mut self, task: TaskId, stream: Stream, line: String) {
        if task == TaskId::CHIEF && stream == Stream::Out {
            match ProgressLine::parse(&line) {
                Some(progress) => return self.view.progress(progress),
                None => self.view.result(&line),
            }
        } else {
            self.view.task(task, &line);
        }
        if let Some(task) = self.alive.get_mut(&task) {
            if task.last_lines.len() == LAST_LINES {
                task.last_lines.pop_front();
            }
            task.last_lines.push_back(line);
        }
    }

    async fn on_end(&mut self, task: TaskId, status: ExitStatus) {
        let ended = self.alive.remove(&task).expect("a task ends once");
        match self.phase {
            Phase::Running if !status.success() => {
                self.tell_failure(task, status, &ended);
                let is_usage = status.code() == Some(EXIT_USAGE.into());
                self.end_all(if is_usage { Ending::Refused } else { Ending::Failed }).await;
            }
            // All updates are made and saved: there is nothing left for the others to do.
            Phase::Running if task == TaskId::CHIEF => {
                self.alarm = Some(Box::pin(after(self.limits.chief)));
            }
            Phase::StoppingChief(reason) => {
                if !status.success() {
                    self.view.own(&format!("{task} {} while stopping", child::describe(status)));
                }
                if task == TaskId::CHIEF {
                    self.end_all(Ending::Stopped(reason)).await;
                }
            }
            Phase::Running | Phase::EndingAll(_) | Phase::Killing(_) => {}
        }
    }

    fn on_alarm(&mut self) {
        let late: Vec<_> = self.alive.keys().map(ToString::to_string).collect();
        let late = late.join(", ");
        match self.phase {
            Phase::Running => {
                self.view.own(&format!(
                    "error: the chief has finished, but {late} did not end within {:?}; killed",
                    self.limits.chief
                ));
                self.kill_all(Ending::Failed);
            }
            Phase::StoppingChief(reason) => {
                self.view.own(&format!(
                    "the chief did not stop within {:?}; {late} killed",
                    self.limits.chief
                ));
                self.kill_all(Ending::Stopped(reason));
            }
            Phase::EndingAll(ending) => {
                self.view.own(&format!("{late} did not end within {:?}; killed", self.limits.rest));
                self.kill_all(ending);
            }
            Phase::Killing(_) => {}
        }
    }

    fn tell_failure(&mut self, task: TaskId, status: ExitStatus, ended: &Task) {
        self.view.own(&format!("error: {task} {}", child::describe(status)));
        if ended.last_lines.is_empty() {
            self.view.own("It printed nothing.");
        } else {
            self.view.own("The last that it printed:");
        }
        for line in &ended.last_lines {
            self.view.own(&format!("  {line}"));
        }
    }

    async fn end_all(&mut self, ending: Ending) {
        for task in self.alive.values_mut() {
            task.lifeline.ask_to_stop().await;
        }
        self.enter(Phase::EndingAll(ending), self.limits.rest);
    }

    fn kill_all(&mut self, ending: Ending) {
        self.kill.send_replace(true);
        self.phase = Phase::Killing(ending);
        self.alarm = None;
    }

    fn enter(&mut self, phase: Phase, limit: Duration) {
        self.phase = phase;
        self.alarm = Some(Box::pin(after(limit)));
    }
}

type Alarm = Option<Pin<Box<dyn Future<Output = ()>>>>;

/// Waits for the alarm, if one is set.
async fn ring(alarm: &mut Alarm) {
    match alarm {
        Some(waiting) => {
            waiting.await;
            *alarm = None;
        }
        None => std::future::pending().await,
    }
}

#[expect(clippy::disallowed_methods, reason = "the launcher waits for real processes")]
async fn after(limit: Duration) {
    tokio::time::sleep(limit).await;
}
