//! Everything that there is in a universe, and how it moves on.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::task::{Context, Poll};
use std::time::Duration;
use unisono_core::ids::Cut;

use unisono_core::protocol::{
    Done, Failure, Job, NetworkEvent, Outcome, StorageEvent, UpdateRecord,
};
use unisono_core::random::Stream;
use unisono_core::{LinkId, Moment, Step, TaskId};

use super::files::{ChiefFiles, Request};
use crate::scenario::{ComputeModel, Distribution, Scenario, scale};
use crate::streams::Purpose;
use crate::world::active_faults::Faults;
use crate::world::agenda::Agenda;
use crate::world::clock::SkewedClock;
use crate::world::flight::{Call, Flight};
use crate::world::life::{Cause, Life, LifeId};
use crate::world::network::{Links, Network, task_number};

/// The wall clocks at the start of a run, after 1970.
const WALL_CLOCK_ORIGIN: Duration = Duration::from_secs(1_700_000_000);

/// A task whose storage failed, or that was fenced, is restarted after this time, as by any
/// supervisor.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) seed: u64,
    pub(crate) now: Duration,
    pub(crate) agenda: Agenda<Plan>,
    /// The present life of each task that has one.
    pub(crate) lives: BTreeMap<TaskId, Life>,
    pub(crate) links: Links,
    pub(crate) network: Network,
    pub(crate) compute: ComputeModel,
    /// When each task has done the jobs before.
    pub(crate) busy_until: BTreeMap<LifeId, Duration>,
    pub(crate) files: ChiefFiles,
    pub(crate) clocks: BTreeMap<TaskId, SkewedClock>,
    pub(crate) faults: Faults,
    /// What was durable may be found damaged, or not be found.
    pub(crate) disk_is_damaged: bool,
    /// What a partition holds back.
    pub(crate) held: Vec<Flight>,
    /// Machines that are gone, and answer nothing.
    pub(crate) absent: BTreeSet<TaskId>,
    /// How each task did that has ended for good.
    pub(crate) outcomes: BTreeMap<TaskId, Outcome>,
    /// What the executor has to do.
    pub(crate) orders: Vec<Order>,
    /// The highest version that ps 0 had.
    pub(crate) step: Step,
    /// Whether a task that its storage has failed is started again.
    pub(crate) supervised: bool,
    pub(crate) n_events: u64,
    /// A life has halted since this was looked at: whether it had finished, and when.
    pub(crate) ended: Option<(bool, Duration)>,
    /// A rule is broken: nobody does anything any more.
    pub(crate) is_stopped: bool,
    /// A life has been woken.
    pub(super) woken: bool,
}

/// What only the executor can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// This life is dead: drop what it was doing.
    Bury(LifeId),
    /// Start the next life of a task.
    Raise(TaskId),
}

/// Something that is going to happen.
#[derive(Debug)]
pub(crate) enum Plan {
    /// Look whether a life's clock has come to what it waits for.
    Alarm(LifeId),
    Tell(LifeId, Cause, NetworkEvent),
    /// A call reaches the task that is called.
    Call(Call),
    Arrive(Flight),
    /// A link breaks, and both ends are told.
    Break(LinkId),
    Done(LifeId, Cause, Done),
    /// The chief's disk is done with its first request.
    Stored(LifeId),
    Raise(TaskId),
    BeginFault(usize),
    EndFault(usize),
}

impl State {
    pub(super) fn new(scenario: &Scenario, seed: u64) -> Self {
        let mut agenda = Agenda::default();
        let run = &scenario.run;
        let ps = (0..run.n_ps).map(TaskId::ps);
        let workers = (0..run.sync.total_num_replicas).map(TaskId::worker);
        for task in ps.chain(workers) {
            let at = scenario.start.get(&task).copied().unwrap_or_default();
            agenda.plan(at, Plan::Raise(task));
        }
        let faults = Faults::new(&scenario.faults, seed);
        for (fault, at) in faults.timed() {
            agenda.plan(at, Plan::BeginFault(fault));
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

    /// A life, if it is its task's present one.
    pub(crate) fn life(&mut self, id: LifeId) -> Option<&mut Life> {
        let is_stopped = self.is_stopped;
        self.lives.get_mut(&id.task).filter(|life| life.id == id && !is_stopped)
    }

    /// Carries out the next plan. `false` if there is none.
    pub(crate) fn advance(&mut self) -> bool {
        let Some((at, plan)) = self.agenda.pop() else { return false };
        self.now = self.now.max(at);
        self.n_events += 1;
        match plan {
            Plan::Alarm(id) => self.on_alarm(id),
            Plan::Tell(id, cause, event) => self.tell(id, cause, event),
            Plan::Call(call) => self.on_call(call),
            Plan::Arrive(flight) => self.on_arrival(flight),
            Plan::Break(link) => self.break_link(link, [true; 2], "reset by the network"),
            Plan::Done(id, cause, done) => {
                if let Some(life) = self.life(id) {
                    life.done.push_back((cause, done));
                    self.woken |= life.wake();
                }
            }
            Plan::Stored(id) => self.on_stored(id),
            Plan::Raise(task) => self.raise(task),
            Plan::BeginFault(fault) => self.begin_fault(fault, None),
            Plan::EndFault(fault) => self.end_fault(fault),
        }
        true
    }

    /// Starts the next life of a task, unless it has one, or has done all that it had to.
    pub(crate) fn raise(&mut self, task: TaskId) {
        let is_done = matches!(self.outcomes.get(&task), Some(Outcome::Finished));
        if !is_done && !self.lives.contains_key(&task) {
            self.outcomes.remove(&task);
            self.orders.push(Order::Raise(task));
        }
    }

    /// A node has halted, and its process starts another, unless a fault has killed the process.
    pub(super) fn on_outdated(&mut self, id: LifeId) -> bool {
        let is_alive = self.life(id).is_some();
        if is_alive {
            self.part(id);
        }
        is_alive
    }

    /// A life ends by itself: its links close behind what was sent on them.
    fn part(&mut self, id: LifeId) {
        for link in self.links.of(id) {
            self.close(link, id, "the other end has ended");
        }
        self.forget(id);
    }

    pub(super) fn on_halt(&mut self, id: LifeId, outcome: Outcome) {
        if self.life(id).is_none() {
            return;
        }
        self.part(id);
        let may_do_better =
            matches!(outcome, Outcome::Failed(Failure::Storage(_) | Failure::Fenced(_)));
        if may_do_better && self.supervised {
            self.agenda.plan(self.now + RESTART_PAUSE, Plan::Raise(id.task));
        } else if matches!(outcome, Outcome::Stopped { .. })
            && self.faults.restarts_stopped(id.task)
        {
            self.agenda.plan(self.now, Plan::Raise(id.task));
        }
        self.ended = Some((matches!(outcome, Outcome::Finished), self.now));
        self.outcomes.insert(id.task, outcome);
    }

    /// Whether there is something for the executor, or somebody to run.
    pub(crate) fn has_news(&mut self) -> bool {
        mem::take(&mut self.woken) || !self.orders.is_empty()
    }

    /// The run is over, and so is what disturbs it.
    pub(crate) fn end_all_faults(&mut self) {
        self.held.clear();
        for fault in self.faults.all_active() {
            self.end_fault(fault);
        }
        self.orders.clear();
    }

    /// Nothing is left of a life but its links.
    pub(super) fn forget(&mut self, id: LifeId) {
        self.lives.remove(&id.task);
        self.busy_until.remove(&id);
        self.files.close(id);
    }

    /// One thing less is left to a life that is doomed.
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

    /// What the wall clock of a task's machine shows, in microseconds since 1970.
    pub(super) fn wall_clock(&mut self, task: TaskId) -> u64 {
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
            self.agenda.plan(at, Plan::Alarm(id));
        }
        poll
    }

    fn on_alarm(&mut self, id: LifeId) {
        let now = self.now;
        let Some(life) = self.life(id) else { return };
        let (is_woken, look_at) = life.on_alarm(now);
        self.woken |= is_woken;
        if let Some(at) = look_at {
            self.agenda.plan(at, Plan::Alarm(id));
        }
    }

    pub(super) fn tell(&mut self, id: LifeId, cause: Cause, event: NetworkEvent) {
        if let Some(life) = self.life(id) {
            life.network.push_back((cause, event));
            self.woken |= life.wake();
        }
    }

    /// How long a job takes. Its stream is the job's own: nothing that happened before moves it.
    pub(super) fn job_of(&mut self, id: LifeId, job: &Job) -> JobTakes {
        let task = id.task;
        let (default, index, gradient) = match job {
            Job::Gradient { cut: Cut { step, .. }, slot, .. } => {
                let index = step.0 << 16 | u64::from(slot.0);
                (&self.compute.gradient, index, Some((*step, *slot)))
            }
            Job::Update { cut: Cut { step, .. }, .. } => (&self.compute.update, step.0, None),
        };
        let distribution: &Distribution = self.compute.tasks.get(&task).unwrap_or(default);
        let takes = distribution.constant().unwrap_or_else(|| {
            let entity = task_number(task);
            distribution.sample(&mut Stream::new(self.seed, Purpose::Compute, entity, index))
        });
        let factor = self.faults.slowness(task);
        let takes = if factor == 1.0 { takes } else { scale(takes, factor) };
        JobTakes { takes, is_gradient: gradient.is_some() }
    }

    pub(super) fn compute(&mut self, id: LifeId, job: JobTakes, mut done: Done) {
        if job.is_gradient {
            self.faults.spoil(id.task, &mut done);
        }
        let busy_until = self.busy_until.entry(id).or_default();
        *busy_until = (*busy_until).max(self.now) + job.takes;
        let at = *busy_until;
        let cause = self.cause(id);
        self.agenda.plan(at, Plan::Done(id, cause, done));
    }

    /// What a life does now is because of the input that it took last.
    pub(super) fn cause(&self, id: LifeId) -> Cause {
        self.lives.get(&id.task).and_then(|life| life.event)
    }

    pub(super) fn request(&mut self, id: LifeId, request: Request) {
        let cause = self.cause(id);
        let factor = self.faults.disk_slowness();
        if let Some(at) = self.files.ask(id, self.now, cause, request, factor) {
            self.agenda.plan(at, Plan::Stored(id));
        }
    }

    pub(super) fn record(&mut self, id: LifeId, update: &UpdateRecord) {
        if let Some(event) = self.files.record(update) {
            let cause = self.cause(id);
            self.tell_stored(id, cause, event);
        }
    }

    fn on_stored(&mut self, id: LifeId) {
        if let Some((cause, event)) = self.files.answer(id) {
            self.tell_stored(id, cause, event);
        }
    }

    fn tell_stored(&mut self, id: LifeId, cause: Cause, event: StorageEvent) {
        if let Some(life) = self.life(id) {
            life.stored.push_back((cause, event));
            self.woken |= life.wake();
        }
    }
}

/// A job that is about to be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JobTakes {
    takes: Duration,
    is_gradient: bool,
}
