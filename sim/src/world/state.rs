//! The state of the simulated world, and how it advances from event to event.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::mem;
use std::task::{Context, Poll};
use std::time::Duration;

use unisono_core::protocol::{Done, Failure, Job, NetworkEvent, Outcome, UpdateRecord};
use unisono_core::random::Stream;
use unisono_core::{LinkId, Moment, Step, TaskId};
use unisono_rules::LifeId;

use super::files::{ChiefFiles, Request};
use crate::scenario::{ComputeModel, Scenario, scale};
use crate::streams::Purpose;
use crate::world::active_faults::Faults;
use crate::world::agenda::Agenda;
use crate::world::clock::SkewedClock;
use crate::world::flight::{Call, Flight};
use crate::world::life::{Cause, Life};
use crate::world::network::{Links, Network, task_number};

/// The time that all wall clocks show at the start of a run, counted from 1970.
const WALL_CLOCK_ORIGIN: Duration = Duration::from_secs(1_700_000_000);

/// The pause after which a supervisor restarts a task that failed because of its storage, or
/// because it was fenced (refused as an older incarnation).
const RESTART_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) seed: u64,
    pub(crate) now: Duration,
    pub(crate) agenda: Agenda<WorldEvent>,
    /// The current incarnation of each task that is alive.
    pub(crate) lives: BTreeMap<TaskId, Life>,
    pub(crate) links: Links,
    pub(crate) network: Network,
    pub(crate) compute: ComputeModel,
    /// The time at which each incarnation will have finished all jobs that it has started. The jobs
    /// of one incarnation run one after another.
    pub(crate) busy_until: BTreeMap<LifeId, Duration>,
    pub(crate) files: ChiefFiles,
    pub(crate) clocks: BTreeMap<TaskId, SkewedClock>,
    pub(crate) faults: Faults,
    /// Whether a disk fault may have damaged or hidden durable data.
    pub(crate) disk_is_damaged: bool,
    /// Parcels that a partition holds back.
    pub(crate) held: Vec<Flight>,
    /// Tasks whose machine is lost, so that calls to them get no answer.
    pub(crate) absent: BTreeSet<TaskId>,
    /// The outcome of each task that has ended and has not been restarted.
    pub(crate) outcomes: BTreeMap<TaskId, Outcome>,
    /// Orders that the executor must carry out before time advances.
    pub(crate) orders: Vec<ExecutorOrder>,
    /// The highest version that ps 0 has had so far.
    pub(crate) step: Step,
    /// Whether a supervisor restarts a task that failed because of its storage, or because it was
    /// fenced (refused as an older incarnation).
    pub(crate) supervised: bool,
    pub(crate) n_events: u64,
    /// The newest halt of a node that `Ends` has not read yet: whether the node had finished the
    /// run, and the time of the halt.
    pub(crate) ended: Option<(bool, Duration)>,
    /// Whether the run is stopped because a node violated a rule. The nodes of a stopped run take
    /// no inputs, so that traces end at the violation.
    pub(crate) is_stopped: bool,
    /// Whether an incarnation was woken since the executor last ran.
    pub(super) woken: bool,
}

/// An order to the executor, which alone can start and drop the futures of tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExecutorOrder {
    /// Drop the future of a dead incarnation.
    Kill(LifeId),
    /// Start the next incarnation of a task.
    Start(TaskId),
}

/// A planned event of the simulated world.
#[derive(Debug)]
pub(crate) enum WorldEvent {
    /// Check whether the deadline of an incarnation has come.
    Alarm(LifeId),
    /// A network event reaches an incarnation.
    Network(LifeId, Cause, NetworkEvent),
    /// A call reaches the machine of the called task.
    Call(Call),
    /// A parcel reaches the machine of its receiver.
    Arrive(Flight),
    /// A link breaks, and both ends learn of it.
    Break(LinkId),
    /// A job is finished.
    Done(LifeId, Cause, Done),
    /// The chief's disk has finished the oldest request.
    Stored(LifeId),
    /// A task starts.
    Start(TaskId),
    BeginFault(usize),
    EndFault(usize),
}

impl State {
    pub(super) fn new(scenario: &Scenario, seed: u64) -> Self {
        let mut agenda = Agenda::default();
        let run = &scenario.run;
        // The starts are planned before the faults, because events at the same time keep their
        // order. So a fault at time 0 finds all tasks alive.
        let ps = (0..run.n_ps).map(TaskId::ps);
        let workers = (0..run.sync.total_num_replicas).map(TaskId::worker);
        for task in ps.chain(workers) {
            let at = scenario.start.get(&task).copied().unwrap_or_default();
            agenda.plan(at, WorldEvent::Start(task));
        }
        let faults = Faults::new(&scenario.faults, seed);
        for (fault, at) in faults.timed() {
            agenda.plan(at, WorldEvent::BeginFault(fault));
        }
        Self {
            seed,
            now: Duration::ZERO,
            agenda,
            lives: BTreeMap::new(),
            links: Links::default(),
            network: Network::new(seed, scenario.network.clone()),
            compute: scenario.compute.clone(),
            busy_until: BTreeMap::new(),
            files: ChiefFiles::new(scenario.storage.clone(), seed),
            clocks: BTreeMap::new(),
            faults,
            disk_is_damaged: false,
            held: Vec::new(),
            absent: BTreeSet::new(),
            outcomes: BTreeMap::new(),
            orders: Vec::new(),
            step: Step::default(),
            supervised: !scenario.expect.outcome.is_failure(),
            n_events: 0,
            ended: None,
            is_stopped: false,
            woken: false,
        }
    }

    /// Returns the state of an incarnation. Returns `None` if the task has another current
    /// incarnation or none, or if the run is stopped.
    pub(crate) fn life(&mut self, id: LifeId) -> Option<&mut Life> {
        let is_stopped = self.is_stopped;
        // The complete id is compared: an event for an earlier incarnation must not reach the
        // present one.
        self.lives.get_mut(&id.task).filter(|life| life.id == id && !is_stopped)
    }

    /// Advances time to the next event and handles the event. Returns `false` if no event is
    /// planned.
    pub(crate) fn advance(&mut self) -> bool {
        let Some((at, event)) = self.agenda.pop() else { return false };
        // Time never goes back, even if an event was planned for a time that has already passed.
        self.now = self.now.max(at);
        self.n_events += 1;
        match event {
            WorldEvent::Alarm(id) => self.on_alarm(id),
            WorldEvent::Network(id, cause, event) => self.push_network(id, cause, event),
            WorldEvent::Call(call) => self.on_call(call),
            WorldEvent::Arrive(flight) => self.on_arrival(flight),
            WorldEvent::Break(link) => self.break_link(link, [true; 2], "reset by the network"),
            WorldEvent::Done(id, cause, done) => {
                self.push(id, |life| &mut life.done, (cause, done));
            }
            WorldEvent::Stored(id) => self.on_stored(id),
            WorldEvent::Start(task) => self.start_task(task),
            WorldEvent::BeginFault(fault) => self.begin_fault(fault, None),
            WorldEvent::EndFault(fault) => self.end_fault(fault),
        }
        true
    }

    /// Starts the next incarnation of a task, unless the task is alive or has finished.
    pub(crate) fn start_task(&mut self, task: TaskId) {
        let is_done = matches!(self.outcomes.get(&task), Some(Outcome::Finished));
        if !is_done && !self.lives.contains_key(&task) {
            // At the end of the run, only the outcome of the last incarnation may be in `outcomes`.
            self.outcomes.remove(&task);
            self.orders.push(ExecutorOrder::Start(task));
        }
    }

    /// Ends an incarnation whose node was refused because a newer incarnation is known. Returns
    /// whether the process is alive, so that the process can start another node.
    pub(crate) fn on_outdated(&mut self, id: LifeId) -> bool {
        let is_alive = self.life(id).is_some();
        if is_alive {
            self.end_life(id);
        }
        is_alive
    }

    /// Ends an incarnation whose node has halted. Its links close after all messages that were sent
    /// on them.
    fn end_life(&mut self, id: LifeId) {
        self.close_all(id);
        self.forget(id);
    }

    /// Closes all links of an incarnation, after all messages that were sent on them.
    pub(super) fn close_all(&mut self, id: LifeId) {
        for link in self.links.of_life(id) {
            self.close(link, id, "the other end has ended");
        }
    }

    /// Ends an incarnation whose node has halted with this outcome.
    pub(crate) fn on_halt(&mut self, id: LifeId, outcome: Outcome) {
        if self.life(id).is_none() {
            return;
        }
        self.end_life(id);
        // A restart may help after these failures. Every other failure would happen again.
        let may_do_better =
            matches!(outcome, Outcome::Failed(Failure::Storage(_) | Failure::Fenced(_)));
        if may_do_better && self.supervised {
            self.agenda.plan(self.now + RESTART_PAUSE, WorldEvent::Start(id.task));
        } else if matches!(outcome, Outcome::Stopped { .. })
            && self.faults.restarts_stopped(id.task)
        {
            // The stop fault ended before the task had stopped, so the end of the fault did not
            // restart the task.
            self.agenda.plan(self.now, WorldEvent::Start(id.task));
        }
        self.ended = Some((matches!(outcome, Outcome::Finished), self.now));
        self.outcomes.insert(id.task, outcome);
    }

    /// Returns whether the executor has an order to carry out or a woken task to run. Resets the
    /// flag that records woken tasks.
    pub(crate) fn has_news(&mut self) -> bool {
        mem::take(&mut self.woken) || !self.orders.is_empty()
    }

    /// Ends all active faults at the end of a run.
    pub(crate) fn end_all_faults(&mut self) {
        // Parcels that a partition holds back are dropped first. Otherwise the end of the partition
        // would deliver these parcels and count new effects.
        self.held.clear();
        for fault in self.faults.active.clone() {
            self.end_fault(fault);
        }
        self.orders.clear();
    }

    /// Removes an incarnation. Its links stay until both of their ends have closed.
    pub(super) fn forget(&mut self, id: LifeId) {
        self.lives.remove(&id.task);
        self.busy_until.remove(&id);
        self.files.close(id);
    }

    /// Counts an effect that an incarnation has carried out, if a fault will kill the incarnation
    /// between two effects. Kills the incarnation after the last effect before the fault.
    pub(super) fn count_act(&mut self, id: LifeId) {
        if let Some(life) = self.life(id)
            && let Some(left) = &mut life.doom
        {
            *left -= 1;
            if *left == 0 {
                self.die(id);
            }
        }
    }

    /// Returns the time on the wall clock of a task's machine, in microseconds since 1970.
    pub(crate) fn wall_clock(&mut self, task: TaskId) -> u64 {
        let right = WALL_CLOCK_ORIGIN + self.now;
        let shown = right.saturating_sub(self.faults.set_back(task));
        u64::try_from(shown.as_micros()).unwrap_or(u64::MAX)
    }

    pub(super) fn clock(&self, task: TaskId) -> SkewedClock {
        self.clocks.get(&task).copied().unwrap_or_default()
    }

    pub(super) fn poll_alarm(&mut self, id: LifeId, at: Moment, context: &Context<'_>) -> Poll<()> {
        let (now, when) = (self.now, self.clock(id.task).when(at.since_origin()));
        let Some(life) = self.life(id) else { return Poll::Pending };
        let (poll, look_at) = life.poll_alarm(context, now, when);
        if let Some(at) = look_at {
            self.agenda.plan(at, WorldEvent::Alarm(id));
        }
        poll
    }

    fn on_alarm(&mut self, id: LifeId) {
        let now = self.now;
        let Some(life) = self.life(id) else { return };
        let (is_woken, look_at) = life.on_alarm(now);
        self.woken |= is_woken;
        if let Some(at) = look_at {
            self.agenda.plan(at, WorldEvent::Alarm(id));
        }
    }

    /// Adds an input to a queue of an incarnation, and wakes the task.
    fn push<T>(
        &mut self,
        id: LifeId,
        queue: impl FnOnce(&mut Life) -> &mut VecDeque<(Cause, T)>,
        input: (Cause, T),
    ) {
        if let Some(life) = self.life(id) {
            queue(life).push_back(input);
            self.woken |= life.wake();
        }
    }

    pub(super) fn push_network(&mut self, id: LifeId, cause: Cause, event: NetworkEvent) {
        self.push(id, |life| &mut life.network, (cause, event));
    }

    /// Returns the duration of a job.
    pub(super) fn job_takes(&mut self, id: LifeId, job: &Job) -> Duration {
        let task = id.task;
        let (default, index) = match job {
            Job::Gradient { cut, slot, .. } => {
                // No two jobs of a task may share an index, because they would draw the same
                // duration.
                (&self.compute.gradient, cut.step.0 << 16 | u64::from(slot.0))
            }
            Job::Update { cut, .. } => (&self.compute.update, cut.step.0),
        };
        let own = self.compute.tasks.iter().rfind(|own| own.node == task);
        let distribution = own.map_or(default, |own| &own.time);
        let takes = distribution.constant().unwrap_or_else(|| {
            // Each job has its own random stream, so that earlier events do not change its
            // duration.
            let entity = task_number(task);
            distribution.sample(&mut Stream::new(self.seed, Purpose::Compute, entity, index))
        });
        let factor = self.faults.slowness(task);
        // Without this test, every duration would be converted to f64 and might be rounded.
        if factor == 1.0 { takes } else { scale(takes, factor) }
    }

    /// Plans the end of a job with this duration.
    pub(super) fn compute(&mut self, id: LifeId, takes: Duration, mut done: Done) {
        if matches!(done, Done::Gradient { .. }) {
            self.faults.spoil(id.task, &mut done);
        }
        // A task has one compute thread, so a job begins when the preceding job has ended.
        let busy_until = self.busy_until.entry(id).or_default();
        *busy_until = (*busy_until).max(self.now) + takes;
        let at = *busy_until;
        let cause = self.cause(id);
        self.agenda.plan(at, WorldEvent::Done(id, cause, done));
    }

    /// Returns the number of the input that an incarnation took last, which is the cause of its
    /// current effects.
    pub(super) fn cause(&self, id: LifeId) -> Cause {
        self.lives.get(&id.task).and_then(|life| life.event)
    }

    pub(super) fn request(&mut self, id: LifeId, request: Request) {
        let cause = self.cause(id);
        let factor = self.faults.disk_slowness();
        if let Some(at) = self.files.ask(id, self.now, cause, request, factor) {
            self.agenda.plan(at, WorldEvent::Stored(id));
        }
    }

    pub(super) fn record(&mut self, id: LifeId, update: &UpdateRecord) {
        if let Some(event) = self.files.record(update) {
            let cause = self.cause(id);
            self.push(id, |life| &mut life.stored, (cause, event));
        }
    }

    fn on_stored(&mut self, id: LifeId) {
        if let Some(answer) = self.files.answer(id) {
            self.push(id, |life| &mut life.stored, answer);
        }
    }
}
