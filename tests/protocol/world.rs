//! A world of nodes and links. A list of choices selects its events, and the rules are asserted
//! after every event.

mod checks;
mod faults;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use unisono_core::protocol::{
    ClusterConfig, Done, Effect, Failure, Input, Job, Limits, Message, NetworkEvent, Node, Outcome,
    Ps, Raises, Restored, Settings, Snapshot, StorageEvent, Worker,
};
use unisono_core::train_config::Sync;
use unisono_core::{Cut, Generation, Incarnation, LinkId, Moment, Slot, Step, TaskId};
use unisono_rules::{LifeId, LifeTurn, Rules};

use crate::arithmetic;

/// The sizes of a run: tasks, gradients per update and steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) n_ps: u32,
    pub(crate) n_workers: u32,
    pub(crate) replicas_to_aggregate: u32,
    pub(crate) training_steps: u64,
    /// Whether clocks are set back, so that each process starts with a smaller incarnation than the
    /// process before it.
    pub(crate) clocks_go_back: bool,
}

/// Clocks that go back start here: the `n`th process of a task reads `FIRST_CLOCK - n`.
const FIRST_CLOCK: u64 = 1_000_000;

impl Shape {
    fn sync(self) -> Sync {
        Sync {
            replicas_to_aggregate: self.replicas_to_aggregate,
            total_num_replicas: self.n_workers,
        }
    }

    fn tasks(self) -> Vec<TaskId> {
        (0..self.n_ps).map(TaskId::ps).chain((0..self.n_workers).map(TaskId::worker)).collect()
    }

    fn has_backup_workers(self) -> bool {
        self.replicas_to_aggregate < self.n_workers
    }
}

/// A fault of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// A link closes at both ends, and all messages in flight are lost.
    Cut,
    /// A link closes at one end. The other end learns of the close only after it has received all
    /// messages in flight, perhaps long after the first end has called again.
    HalfOpen,
    /// A task is killed and restarts as a new incarnation.
    Crash,
    /// The task that crashed last crashes again.
    CrashAgain,
    /// A task gets no events for a while, although time passes.
    Pause,
    /// The chief is asked to stop, and restarts after it has stopped.
    Stop,
    /// The chief's disk refuses the next checkpoint.
    DiskFull,
}

enum AnyNode {
    Ps(Box<Ps>),
    Worker(Box<Worker>),
}

impl AnyNode {
    fn cut(&self) -> Option<Cut> {
        match self {
            Self::Ps(ps) => ps.cut(),
            Self::Worker(worker) => worker.cut(),
        }
    }

    fn as_node(&mut self) -> &mut dyn Node {
        match self {
            Self::Ps(ps) => &mut **ps,
            Self::Worker(worker) => &mut **worker,
        }
    }
}

/// One incarnation of a task.
struct Life {
    node: AnyNode,
    id: LifeId,
    /// The raises of its process after refusals as older.
    raises: Raises,
    /// Pending inputs from its network, its compute thread and its disk, each in order.
    owed: [VecDeque<Input>; 3],
}

/// An item in flight to one end of a link. Items are delivered in order.
enum Flight {
    /// The link is established.
    Up,
    Message(Message),
    Close,
}

/// One end's view of a link.
struct End {
    task: TaskId,
    number: u64,
    /// Whether this end still sends and receives.
    open: bool,
    /// Whether its own node closed it. Messages that were in flight then may still be delivered.
    closed_here: bool,
    /// Items in flight to this end.
    inbox: VecDeque<Flight>,
}

/// The cluster, its network and its disk.
pub(crate) struct World {
    shape: Shape,
    config: ClusterConfig,
    now: Moment,
    lives: BTreeMap<TaskId, Life>,
    /// The newest incarnation of each task, with its number.
    newest: BTreeMap<TaskId, (u64, Incarnation)>,
    ended: BTreeMap<TaskId, Outcome>,
    /// Tasks that started after the final checkpoint was durable. The others may have finished
    /// before they could announce the end to these.
    late: BTreeSet<TaskId>,
    links: BTreeMap<LinkId, [End; 2]>,
    next_link: u64,
    /// The durable checkpoints on the chief's disk; they survive crashes.
    checkpoints: BTreeMap<Step, Arc<Snapshot>>,
    /// The losses on the chief's disk; they survive crashes.
    losses: BTreeMap<Step, Vec<(Slot, f32)>>,
    rules: Rules,
    /// Paused tasks, with the number of the event at which each continues.
    paused: BTreeMap<TaskId, u64>,
    last_crashed: Option<TaskId>,
    asked_to_stop: bool,
    disk_is_full: bool,
    n_disk_full: u32,
    n_events: u64,
    pub(crate) n_updates: u64,
    pub(crate) n_stale: u64,
    pub(crate) n_duplicates: u64,
}

impl World {
    pub(crate) fn new(shape: Shape) -> Self {
        // The choices can delay a task for long. If the others stopped waiting for it meanwhile, no
        // task would be left to announce the end to it.
        let linger = Duration::from_secs(200);
        let save_interval = Duration::from_millis(40);
        let limits = Limits { save_interval, linger, ..Limits::default() };
        let config = ClusterConfig {
            n_ps: shape.n_ps,
            sync: shape.sync(),
            training_steps: Step(shape.training_steps),
            settings: Settings::default().with("seed", 1),
            data: None,
            limits,
        };
        let mut world = Self {
            shape,
            config,
            now: Moment::default(),
            lives: BTreeMap::new(),
            newest: BTreeMap::new(),
            ended: BTreeMap::new(),
            late: BTreeSet::new(),
            links: BTreeMap::new(),
            next_link: 0,
            checkpoints: BTreeMap::new(),
            losses: BTreeMap::new(),
            rules: Rules::default(),
            paused: BTreeMap::new(),
            last_crashed: None,
            asked_to_stop: false,
            disk_is_full: false,
            n_disk_full: 0,
            n_events: 0,
            n_updates: 0,
            n_stale: 0,
            n_duplicates: 0,
        };
        for task in shape.tasks() {
            world.start(task);
        }
        world
    }

    /// Starts the next process of a task.
    fn start(&mut self, task: TaskId) {
        let number = self.newest.get(&task).map_or(0, |(number, _)| *number) + 1;
        let clock = if self.shape.clocks_go_back { FIRST_CLOCK - number } else { number };
        // Only the chief records its incarnation, in the logdir.
        let newest = self.newest.get(&task).map(|(_, incarnation)| *incarnation);
        let recorded = newest.filter(|_| task == TaskId::CHIEF);
        let first = Incarnation::first(clock, recorded);
        self.start_as(task, first, Raises::of_process(first));
    }

    /// Starts a node with this incarnation, in a new process or in one that raised its incarnation.
    fn start_as(&mut self, task: TaskId, incarnation: Incarnation, raises: Raises) {
        if self.checkpoints.contains_key(&self.config.training_steps) {
            self.late.insert(task);
        }
        let number = self.newest.get(&task).map_or(0, |(number, _)| *number) + 1;
        self.newest.insert(task, (number, incarnation));
        let config = self.config.clone();
        let node = match task.job {
            unisono_core::Job::Ps => {
                AnyNode::Ps(Box::new(Ps::new(task.index, incarnation, config)))
            }
            unisono_core::Job::Worker => {
                AnyNode::Worker(Box::new(Worker::new(task.index, incarnation, config)))
            }
        };
        let owed = [VecDeque::from([Input::Start]), VecDeque::new(), VecDeque::new()];
        self.paused.remove(&task);
        let id = LifeId { task, number, incarnation };
        self.lives.insert(task, Life { node, id, raises, owed });
    }

    fn is_paused(&self, task: TaskId) -> bool {
        self.paused.get(&task).is_some_and(|until| self.n_events < *until)
    }

    /// All events that are possible now, besides the passing of time.
    fn possible(&self) -> Vec<Next> {
        let owed = self.lives.iter().filter(|(task, _)| !self.is_paused(**task));
        let owed = owed.flat_map(|(task, life)| {
            // A node's first input is its start.
            let started = life.owed[0].front() != Some(&Input::Start);
            (0..3)
                .filter(move |&by| (by == 0 || started) && !life.owed[by].is_empty())
                .map(|by| Next::Owed(*task, by))
        });
        let inboxes = self.links.iter().flat_map(|(link, ends)| {
            (0..2)
                .filter(|&end| !ends[end].inbox.is_empty() && !self.is_paused(ends[end].task))
                .map(|end| Next::Deliver(*link, end))
        });
        owed.chain(inboxes).collect()
    }

    /// Plays the event that `choice` selects, or lets time pass if no event is possible. Returns
    /// `false` if no event will ever be possible.
    pub(crate) fn step(&mut self, choice: usize) -> bool {
        let possible = self.possible();
        // One choice in 32 lets time pass although events are possible, so that timers also fire
        // before messages arrive.
        if possible.is_empty() || choice % 32 == 31 {
            return self.pass_time() || !possible.is_empty();
        }
        match possible[(choice / 32) % possible.len()] {
            Next::Owed(task, by) => {
                let life = self.lives.get_mut(&task).expect("an input is pending");
                let input = life.owed[by].pop_front().expect("an input is pending");
                self.feed(task, input);
            }
            Next::Deliver(link, end) => self.deliver(link, end),
        }
        true
    }

    fn pass_time(&mut self) -> bool {
        // Pauses end at an event number. If no event is possible, they end now.
        if self.possible().is_empty() {
            self.paused.clear();
        }
        let awake: Vec<_> =
            self.lives.keys().copied().filter(|task| !self.is_paused(*task)).collect();
        let deadlines: Vec<_> =
            awake.into_iter().filter_map(|task| Some((task, self.deadline(task)?))).collect();
        let Some(next) = deadlines.iter().map(|(_, at)| *at).min() else { return false };
        let now = self.now.max(next);
        self.now = now;
        for (task, _) in deadlines.into_iter().filter(|(_, at)| *at <= now) {
            self.wake(task);
        }
        true
    }

    fn deadline(&mut self, task: TaskId) -> Option<Moment> {
        let life = self.lives.get_mut(&task)?;
        // A node has no deadline before its start.
        let started = life.owed[0].front() != Some(&Input::Start);
        life.node.as_node().deadline().filter(|_| started)
    }

    /// Wakes a task at its deadline. The next deadline must be in the future, because otherwise a
    /// host would wake the task forever.
    fn wake(&mut self, task: TaskId) {
        self.handle(task, Input::Wake);
        let now = self.now;
        if let Some(deadline) = self.deadline(task) {
            assert!(deadline > now, "{task} was woken at {now:?} and its deadline is not later");
        }
    }

    fn deliver(&mut self, link: LinkId, end: usize) {
        let ends = self.links.get_mut(&link).expect("the inbox is not empty");
        let flight = ends[end].inbox.pop_front().expect("the inbox is not empty");
        let End { task, number, open, closed_here, .. } = ends[end];
        let to = ends[1 - end].task;
        if matches!(flight, Flight::Close) {
            ends[end].open = false;
        }
        let is_late = closed_here && matches!(flight, Flight::Message(_));
        if !(open || is_late) || self.lives.get(&task).is_none_or(|life| life.id.number != number) {
            return;
        }
        let event = match flight {
            Flight::Up if end == 0 => NetworkEvent::Connected { link, to },
            Flight::Up => NetworkEvent::Accepted { link },
            Flight::Message(message) => NetworkEvent::Received { link, message },
            Flight::Close => NetworkEvent::Closed { link, why: "closed".into() },
        };
        self.feed(task, Input::Network(event));
    }

    /// Feeds an input. If the deadline of the task has also passed, every second event wakes the
    /// task, too.
    fn feed(&mut self, task: TaskId, input: Input) {
        self.handle(task, input);
        if self.n_events.is_multiple_of(2) && self.deadline(task).is_some_and(|at| at <= self.now) {
            self.wake(task);
        }
    }

    fn handle(&mut self, task: TaskId, input: Input) {
        self.n_events += 1;
        self.count_verdict(&input);
        let mut effects = Vec::new();
        let Self { now, config, .. } = self;
        let Some(life) = self.lives.get_mut(&task) else { return };
        life.node.as_node().handle(*now, &input, &mut effects);
        let turn = LifeTurn { life: life.id, now: *now, config, input: &input, effects: &effects };
        if let Err(violation) = self.rules.turn(turn) {
            panic!("{violation}: {effects:?}");
        }
        for effect in effects {
            self.check_effect(task, &effect);
            let is_over = matches!(effect, Effect::Halt(_));
            self.carry_out(task, effect);
            // A host carries out no effect after a halt.
            if is_over {
                break;
            }
        }
        // The check formats sentences, which takes longer than the rest of an event.
        if self.n_events.is_multiple_of(4) {
            self.check_standing(task);
        }
    }

    /// Appends an input to those that are pending for a task.
    fn owe(&mut self, task: TaskId, by: usize, input: Input) {
        if let Some(life) = self.lives.get_mut(&task) {
            life.owed[by].push_back(input);
        }
    }

    fn carry_out(&mut self, task: TaskId, effect: Effect) {
        match effect {
            Effect::Connect { to } => self.connect(task, to),
            Effect::Send { link, message } => self.send(task, link, Flight::Message(message)),
            Effect::Close { link } => {
                self.send(task, link, Flight::Close);
                self.close_end(task, link);
            }
            Effect::Compute(job) => self.owe(task, 1, Input::Computed(compute(job))),
            Effect::Restore => {
                let restored = self.restore();
                self.owe(task, 2, Input::Stored(StorageEvent::Restored(Ok(restored))));
            }
            Effect::Persist(snapshot) => {
                let step = snapshot.cut.step;
                let result = if std::mem::take(&mut self.disk_is_full) {
                    Err("no space left".to_owned())
                } else {
                    self.checkpoints.insert(step, snapshot);
                    Ok(format!("model.ckpt-{step}"))
                };
                self.owe(task, 2, Input::Stored(StorageEvent::Persisted { step, result }));
            }
            Effect::Record(update) => {
                self.losses.split_off(&update.cut.step);
                self.losses.insert(update.cut.step, update.losses);
            }
            Effect::Report(_) => {}
            Effect::Halt(outcome) => self.on_halt(task, outcome),
        }
    }

    fn on_halt(&mut self, task: TaskId, outcome: Outcome) {
        let Some(Life { mut raises, .. }) = self.lives.remove(&task) else { return };
        self.close_all_of(task);
        match raises.after(outcome) {
            Ok(larger) => self.start_as(task, larger, raises),
            Err(Outcome::Stopped { .. }) => {
                self.asked_to_stop = false;
                self.start(task);
            }
            // A supervisor restarts a fenced task.
            Err(Outcome::Failed(Failure::Fenced(_))) => self.start(task),
            Err(outcome) => drop(self.ended.insert(task, outcome)),
        }
    }

    fn restore(&self) -> Restored {
        match self.checkpoints.last_key_value() {
            Some((step, snapshot)) => {
                Restored { snapshot: Arc::clone(snapshot), from: Some(step.to_string()) }
            }
            None => {
                let shards = arithmetic::initial(self.shape.n_ps);
                let (generation, step) = (Generation::default(), Step(0));
                Restored {
                    snapshot: Arc::new(Snapshot { cut: Cut { generation, step }, shards }),
                    from: None,
                }
            }
        }
    }

    fn connect(&mut self, from: TaskId, to: TaskId) {
        if !self.lives.contains_key(&to) {
            let event = NetworkEvent::ConnectFailed { to, why: "refused".into() };
            self.owe(from, 0, Input::Network(event));
            return;
        }
        let link = LinkId(self.next_link);
        self.next_link += 1;
        let end = |task: TaskId| End {
            task,
            number: self.newest[&task].0,
            open: true,
            closed_here: false,
            inbox: VecDeque::from([Flight::Up]),
        };
        self.links.insert(link, [end(from), end(to)]);
    }

    /// Queues a message or a close for the other end, if both ends are open.
    fn send(&mut self, from: TaskId, link: LinkId, flight: Flight) {
        let Some(ends) = self.links.get_mut(&link) else { return };
        let me = usize::from(ends[0].task != from);
        if ends[me].open && ends[1 - me].open {
            ends[1 - me].inbox.push_back(flight);
        }
    }

    fn close_end(&mut self, task: TaskId, link: LinkId) {
        let Some(ends) = self.links.get_mut(&link) else { return };
        let me = usize::from(ends[0].task != task);
        ends[me].closed_here = ends[me].open;
        ends[me].open = false;
    }

    fn close_all_of(&mut self, task: TaskId) {
        let of_task: Vec<_> = self
            .links
            .iter()
            .filter(|(_, ends)| ends.iter().any(|end| end.task == task && end.open))
            .map(|(link, _)| *link)
            .collect();
        for link in of_task {
            self.send(task, link, Flight::Close);
            self.close_end(task, link);
        }
    }
}

#[derive(Clone, Copy)]
enum Next {
    /// A pending input of a task, by its source: network (0), compute thread (1) or disk (2).
    Owed(TaskId, usize),
    /// The next item in flight to one end of a link.
    Deliver(LinkId, usize),
}

fn compute(job: Job) -> Done {
    match job {
        Job::Gradient { cut, slot, parameters } => {
            let (loss, gradient) = arithmetic::gradient(&parameters, cut.step, slot);
            Done::Gradient { cut, slot, loss, gradient }
        }
        Job::Update { cut, state, gradients } => {
            Done::Update { cut, state: arithmetic::update(&state, &gradients) }
        }
    }
}
