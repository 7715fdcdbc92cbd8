//! Supervises the children of `unisono local` from the first start to the end of the last child.

use std::collections::{BTreeMap, VecDeque};
use std::process::{ExitCode, ExitStatus};
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::child::{self, ChildCommand, Event, Lifeline, Stream};
use super::restarts::{RestartLimits, Restarts, Verdict, is_final};
use crate::program::exit_codes::{EXIT_FAILURE, EXIT_GAVE_UP};
use crate::program::{StopReason, StopRequests};
use unisono_core::host::Clock as _;
use unisono_core::ids::TaskId;
use unisono_core::time::Moment;
use unisono_net::tcp::RealClock;
use unisono_terminal::output::ProgressLine;

/// The number of a child's last lines that are shown again if the child fails.
const LAST_LINES: usize = 10;
/// The maximum number of waiting events. While the queue is full, a child that prints more lines is
/// blocked.
const MOST_EVENTS: usize = 1024;

/// The limits of waits for children, and of restarts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The longest time for the chief to save a checkpoint and end, and the longest time for the
    /// other tasks to end after the chief has finished.
    pub(super) chief: Duration,
    /// The longest time for all tasks to end after a failure, or after the chief has stopped.
    pub(super) rest: Duration,
    /// The limits of restarts; `None` if children are not restarted.
    pub(super) restarts: Option<RestartLimits>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { chief: Duration::from_secs(30), rest: Duration::from_secs(5), restarts: None }
    }
}

/// Shows the lines of all tasks and of the launcher.
pub(super) trait View {
    /// Shows a line of the chief's standard output, which is the output of the run.
    fn result(&mut self, line: &str);
    /// Shows any other line of a task.
    fn task(&mut self, task: TaskId, line: &str);
    /// Shows a line of the launcher itself.
    fn own(&mut self, line: &str);
    /// Shows the progress of the run.
    fn progress(&mut self, line: ProgressLine);
}

/// The way in which the cluster ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The training has finished.
    Finished,
    /// A task failed and is not restarted, or did not end in time. The number is the exit code of
    /// `unisono local`.
    Failed(u8),
    /// The launcher was asked to stop.
    Stopped(StopReason),
}

impl Ending {
    pub(super) fn exit_code(self) -> ExitCode {
        match self {
            Self::Finished => ExitCode::SUCCESS,
            Self::Failed(code) => ExitCode::from(code),
            Self::Stopped(reason) => reason.exit_code(),
        }
    }
}

/// The phase of the launcher. The launcher only advances to phases that are listed after the
/// current phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Tasks run, or are about to restart.
    Running,
    /// The chief was asked to save a checkpoint and end.
    StoppingChief(Ending),
    /// All tasks were asked to end.
    EndingAll(Ending),
    /// All tasks were killed.
    Killing(Ending),
}

/// Starts the children, and waits until all of them have ended.
///
/// # Errors
/// Returns an error if the first start of a child fails. All children that were already started are
/// then killed.
pub(super) async fn supervise(
    children: Vec<ChildCommand>,
    mut stops: StopRequests,
    limits: Limits,
    view: &mut impl View,
) -> anyhow::Result<Ending> {
    let (sender, mut events) = mpsc::channel(MOST_EVENTS);
    let (kill, killed) = watch::channel(false);
    let clock = RealClock::start();
    let start = |child: &mut _| child::start(child, sender.clone(), killed.clone());
    let tasks = BTreeMap::new();
    let phase = Phase::Running;
    let mut cluster = Cluster { clock, start, tasks, phase, alarm: None, limits, kill, view };
    for child in children {
        cluster.start_first(child)?;
    }
    while !cluster.tasks.is_empty() {
        tokio::select! {
            biased;
            reason = stops.next() => cluster.on_stop(reason).await,
            event = events.recv() => match event.expect("a sender is in scope") {
                Event::Printed { task, stream, line } => cluster.on_line(task, stream, line),
                Event::Ended { task, status } => cluster.on_end(task, status).await,
            },
            () = sleep_until(clock, cluster.deadline()) => cluster.on_wake().await,
        }
    }
    Ok(match cluster.phase {
        Phase::Running => Ending::Finished,
        Phase::StoppingChief(ending) | Phase::EndingAll(ending) | Phase::Killing(ending) => ending,
    })
}

struct Cluster<'a, V, S> {
    clock: RealClock,
    start: S,
    /// The tasks that are running or about to restart.
    tasks: BTreeMap<TaskId, Task>,
    phase: Phase,
    /// The deadline of the current phase.
    alarm: Option<Moment>,
    limits: Limits,
    kill: watch::Sender<bool>,
    view: &'a mut V,
}

struct Task {
    life: Life,
    supervised: Option<Supervised>,
}

enum Life {
    Living {
        lifeline: Lifeline,
        born: Moment,
        last_lines: VecDeque<String>,
    },
    /// The task is about to restart.
    Pausing {
        until: Moment,
    },
}

/// The data with which a task is restarted.
struct Supervised {
    child: ChildCommand,
    restarts: Restarts,
}

/// The unsuccessful end of a process.
struct Death {
    how: String,
    code: Option<u8>,
    born: Moment,
    last_lines: VecDeque<String>,
}

impl<V, S> Cluster<'_, V, S>
where
    V: View,
    S: Fn(&mut ChildCommand) -> anyhow::Result<Lifeline>,
{
    fn start_first(&mut self, mut child: ChildCommand) -> anyhow::Result<()> {
        let id = child.task;
        let life = self.start(&mut child)?;
        // Without restarts, the command is dropped here, and with it the copy of the listening
        // socket. Otherwise the port would outlive its task, and accept connections that no process
        // serves.
        let supervised = self
            .limits
            .restarts
            .map(|limits| Supervised { child, restarts: Restarts::new(limits) });
        self.tasks.insert(id, Task { life, supervised });
        Ok(())
    }

    fn start(&self, child: &mut ChildCommand) -> anyhow::Result<Life> {
        let lifeline = (self.start)(child)?;
        Ok(Life::Living { lifeline, born: self.clock.now(), last_lines: VecDeque::new() })
    }

    async fn on_stop(&mut self, reason: StopReason) {
        match self.phase {
            Phase::Running => self.stop_chief_first(Ending::Stopped(reason)).await,
            Phase::StoppingChief(ending) | Phase::EndingAll(ending) | Phase::Killing(ending) => {
                self.kill_all(ending);
            }
        }
    }

    /// Ends the run. If the chief is running, the chief saves a checkpoint first.
    async fn stop_chief_first(&mut self, ending: Ending) {
        match self.tasks.get_mut(&TaskId::CHIEF).map(|chief| &mut chief.life) {
            Some(Life::Living { lifeline, .. }) => {
                self.view
                    .own("stopping: the chief is saving a checkpoint (press Ctrl-C again to quit immediately)");
                lifeline.ask_to_stop().await;
                self.enter(Phase::StoppingChief(ending), self.limits.chief);
            }
            Some(Life::Pausing { .. }) => {
                self.view.own("stopping: the chief is not running, so no checkpoint is saved");
                self.end_all(ending).await;
            }
            None => self.end_all(ending).await,
        }
    }

    fn on_line(&mut self, id: TaskId, stream: Stream, line: String) {
        if id == TaskId::CHIEF && stream == Stream::Out {
            match ProgressLine::parse(&line) {
                Some(progress) => return self.view.progress(progress),
                None => self.view.result(&line),
            }
        } else {
            self.view.task(id, &line);
        }
        let life = self.tasks.get_mut(&id).map(|task| &mut task.life);
        if let Some(Life::Living { last_lines, .. }) = life {
            if last_lines.len() == LAST_LINES {
                last_lines.pop_front();
            }
            last_lines.push_back(line);
        }
    }

    async fn on_end(&mut self, id: TaskId, status: ExitStatus) {
        let Task { life, supervised } = self.tasks.remove(&id).expect("a process ends only once");
        match self.phase {
            Phase::Running if status.success() => {
                if id == TaskId::CHIEF {
                    self.on_chief_finished();
                }
            }
            Phase::Running => {
                let Life::Living { born, last_lines, .. } = life else {
                    unreachable!("{id} has ended, but has no process")
                };
                let code = status.code().and_then(|code| code.try_into().ok());
                let death = Death { how: child::describe(status), code, born, last_lines };
                self.on_death(id, death, supervised).await;
            }
            Phase::StoppingChief(ending) => {
                if !status.success() {
                    self.view.own(&format!("{id} {} while stopping", child::describe(status)));
                }
                if id == TaskId::CHIEF {
                    self.end_all(ending).await;
                }
            }
            Phase::EndingAll(_) | Phase::Killing(_) => {}
        }
    }

    /// Handles the successful end of the chief. All updates are saved, so the other tasks end as
    /// soon as they learn that the chief has finished.
    fn on_chief_finished(&mut self) {
        self.cancel_restarts();
        self.alarm = Some(self.clock.now() + self.limits.chief);
    }

    async fn on_death(&mut self, id: TaskId, death: Death, supervised: Option<Supervised>) {
        let Death { how, code, born, .. } = &death;
        let Some(Supervised { child, mut restarts }) = supervised else {
            self.show_failure(id, &death);
            return self.end_all(Ending::Failed(exit_code(*code))).await;
        };
        if id != TaskId::CHIEF && !self.tasks.contains_key(&TaskId::CHIEF) {
            // The run is saved. The other tasks end by themselves or at the deadline.
            return self
                .view
                .own(&format!("{id} {how}; not restarting it: the chief has finished"));
        }
        if is_final(*code) {
            self.show_failure(id, &death);
            self.view.own("not restarting: the same error would happen again");
            return self.end_all(Ending::Failed(exit_code(*code))).await;
        }
        let now = self.clock.now();
        let RestartLimits { max_restarts, window, .. } = *restarts.limits();
        match restarts.on_death(*born, now) {
            Verdict::Again { pause, nth } => {
                let lived = (now - *born).as_secs_f64();
                self.view.own(&format!(
                    "{id} {how} after {lived:.1} s; restart {nth} of {max_restarts} in {pause:?}"
                ));
                let life = Life::Pausing { until: now + pause };
                let supervised = Some(Supervised { child, restarts });
                self.tasks.insert(id, Task { life, supervised });
            }
            Verdict::GivenUp => {
                self.show_failure(id, &death);
                let of = if max_restarts == 1 { "its restart" } else { "all its restarts" };
                let minutes = window.as_secs() / 60;
                self.view.own(&format!(
                    "{id} has used {of}, {max_restarts} within {minutes} minutes: ending the run"
                ));
                self.stop_chief_first(Ending::Failed(exit_code(*code))).await;
            }
        }
    }

    async fn on_wake(&mut self) {
        let now = self.clock.now();
        if self.alarm.is_some_and(|alarm| alarm <= now) {
            self.alarm = None;
            return self.on_alarm().await;
        }
        let is_due = |task: &Task| matches!(task.life, Life::Pausing { until } if until <= now);
        let due: Vec<_> = self.tasks.extract_if(.., |_, task| is_due(task)).collect();
        for (id, task) in due {
            self.start_again(id, task).await;
        }
    }

    async fn start_again(&mut self, id: TaskId, task: Task) {
        let mut supervised = task.supervised.expect("only a supervised task pauses");
        match self.start(&mut supervised.child) {
            Ok(life) => {
                self.tasks.insert(id, Task { life, supervised: Some(supervised) });
            }
            Err(error) => {
                let how = format!("did not start ({})", error.root_cause());
                let born = self.clock.now();
                let death = Death { how, code: None, born, last_lines: VecDeque::new() };
                self.on_death(id, death, Some(supervised)).await;
            }
        }
    }

    async fn on_alarm(&mut self) {
        let late: Vec<_> = self.tasks.keys().map(ToString::to_string).collect();
        let late = late.join(", ");
        match self.phase {
            Phase::Running if self.limits.restarts.is_some() => {
                // A task that restarted near the end of the run may have missed the chief's
                // message.
                self.view.own(&format!(
                    "the chief has finished; ending {late}, which missed the end of the run"
                ));
                self.end_all(Ending::Finished).await;
            }
            Phase::Running => {
                self.view.own(&format!(
                    "error: the chief has finished, but {late} did not end within {:?}; killed",
                    self.limits.chief
                ));
                self.kill_all(Ending::Failed(EXIT_FAILURE));
            }
            Phase::StoppingChief(ending) => {
                self.view.own(&format!(
                    "the chief did not stop within {:?}; killed {late}",
                    self.limits.chief
                ));
                self.kill_all(ending);
            }
            Phase::EndingAll(ending) => {
                self.view.own(&format!("{late} did not end within {:?}; killed", self.limits.rest));
                self.kill_all(ending);
            }
            Phase::Killing(_) => {}
        }
    }

    /// Returns the time of the next restart or of the phase's deadline, whichever comes first.
    fn deadline(&self) -> Option<Moment> {
        let restarts = self.tasks.values().filter_map(|task| match task.life {
            Life::Pausing { until } => Some(until),
            Life::Living { .. } => None,
        });
        restarts.chain(self.alarm).min()
    }

    fn show_failure(&mut self, id: TaskId, death: &Death) {
        self.view.own(&format!("error: {id} {}", death.how));
        if death.last_lines.is_empty() {
            self.view.own("It printed nothing.");
        } else {
            self.view.own("The last lines that it printed:");
        }
        for line in &death.last_lines {
            self.view.own(&format!("  {line}"));
        }
    }

    async fn end_all(&mut self, ending: Ending) {
        self.cancel_restarts();
        for task in self.tasks.values_mut() {
            if let Life::Living { lifeline, .. } = &mut task.life {
                lifeline.ask_to_stop().await;
            }
        }
        self.enter(Phase::EndingAll(ending), self.limits.rest);
    }

    fn kill_all(&mut self, ending: Ending) {
        self.cancel_restarts();
        self.kill.send_replace(true);
        self.phase = Phase::Killing(ending);
        self.alarm = None;
    }

    fn cancel_restarts(&mut self) {
        self.tasks.retain(|_, task| matches!(task.life, Life::Living { .. }));
    }

    fn enter(&mut self, phase: Phase, limit: Duration) {
        self.phase = phase;
        self.alarm = Some(self.clock.now() + limit);
    }
}

/// Returns the exit code of `unisono local` after a task has failed with `code`; `None` means that
/// the task was killed or did not start. The exit code of the task is kept if it is more specific
/// than a general failure.
fn exit_code(code: Option<u8>) -> u8 {
    let says_more = |code: &u8| is_final(Some(*code)) || *code == EXIT_GAVE_UP;
    code.filter(says_more).unwrap_or(EXIT_FAILURE)
}

async fn sleep_until(clock: RealClock, moment: Option<Moment>) {
    match moment {
        Some(moment) => clock.sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
