//! Nodes and the links between them, driven by a list of choices, with the rules asserted after
//! every event.

mod faults;
mod rules;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use unisono_core::protocol::{
    ClusterConfig, Done, Effect, Failure, Input, Job, Limits, Message, NetworkEvent, Node, Outcome,
    PUSH_WINDOW, Ps, Raises, Report, Restored, Settings, ShardState, Snapshot, StorageEvent,
    Worker,
};
use unisono_core::train_config::Sync;
use unisono_core::{Cut, Generation, Incarnation, LinkId, Moment, Slot, Step, TaskId};

use crate::arithmetic;

/// How many gradients, how many tasks, how many steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) n_ps: u32,
    pub(crate) n_workers: u32,
    pub(crate) replicas_to_aggregate: u32,
    pub(crate) training_steps: u64,
    /// Every process takes a smaller incarnation than the one before.
    pub(crate) clocks_go_back: bool,
}

/// The incarnation of the first life of each task, if clocks go back.
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

/// What may go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// Both ends of a link see it close; what is in flight is lost.
    Cut,
    /// One end sees it close; the other one learns of it only when it has taken all that was in
    /// flight, perhaps long after the first has called again.
    HalfOpen,
    /// A task is gone, and comes back as a new life.
    Crash,
    /// The task that crashed last does so again.
    CrashAgain,
    /// A task gets no events for a while, and time goes on without it.
    Pause,
    /// The chief is asked to stop, and started again once it has.
    Stop,
    /// The disk refuses the next checkpoint.
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

/// One life of a task.
struct Life {
    node: AnyNode,
    /// The number of the life among those of its task.
    number: u64,
    /// The raises of its process.
    raises: Raises,
    /// What its network, its compute thread and its disk owe it, each in order.
    owed: [VecDeque<Input>; 3],
    waits: Waits,
}

/// Rule 9: what an observer sees of a task's waiting.
struct Waits {
    n_jobs: usize,
    cut: Option<Cut>,
    /// When it last got on.
    since: Moment,
    /// When it last said that it waits.
    said: Option<Moment>,
}

/// What a link brings to one of its ends, in order.
enum Flight {
    /// It is up.
    Up,
    Message(Message),
    Close,
}

impl Life {
    /// Notes whether it gets on, and whether it says that it waits.
    fn watch(&mut self, now: Moment, gets_on: bool, is_done: bool, out: &[Effect]) {
        let waits = &mut self.waits;
        let n_new = out.iter().filter(|effect| matches!(effect, Effect::Compute(_))).count();
        // A ps computes at once; a worker that computes is not waiting.
        if matches!(self.node, AnyNode::Worker(_)) {
            waits.n_jobs = waits.n_jobs - usize::from(is_done) + n_new;
        }
        if gets_on || is_done || waits.cut != self.node.cut() {
            *waits = Waits { n_jobs: waits.n_jobs, cut: self.node.cut(), since: now, said: None };
        }
        if out.iter().any(|effect| matches!(effect, Effect::Report(Report::Waiting { .. }))) {
            waits.said = Some(now);
        }
    }
}

/// One end's view of a link.
struct End {
    task: TaskId,
    number: u64,
    incarnation: Incarnation,
    /// Whether this end still takes part.
    open: bool,
    /// Whether its own node closed it: what was in flight then may still come.
    closed_here: bool,
    /// What is on its way to this end.
    inbox: VecDeque<Flight>,
}

/// What became of the gradients that came to a ps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Gradients {
    pub(crate) came: u64,
    pub(crate) used: u64,
    pub(crate) dropped: u64,
}

/// The cluster, its network and its disk.
pub(crate) struct World {
    shape: Shape,
    config: ClusterConfig,
    now: Moment,
    lives: BTreeMap<TaskId, Life>,
    /// The number and the incarnation of the newest life of each task.
    newest: BTreeMap<TaskId, (u64, Incarnation)>,
    ended: BTreeMap<TaskId, Outcome>,
    /// Tasks whose life began after the final checkpoint was durable: the others may have left
    /// before they could be told.
    late: BTreeSet<TaskId>,
    links: BTreeMap<LinkId, [End; 2]>,
    next_link: u64,
    /// The chief's disk: durable checkpoints and losses survive it.
    checkpoints: BTreeMap<Step, Arc<Snapshot>>,
    losses: BTreeMap<Step, Vec<(Slot, f32)>>,
    /// Every version that was ever made or restored, by cut and ps.
    history: BTreeMap<(Cut, u32), ShardState>,
    /// The slots of every update, by cut; all shards must agree.
    used: BTreeMap<Cut, Vec<Slot>>,
    /// The life of a caller that a task last let in, by task and caller: rule 8.
    let_in: BTreeMap<(TaskId, TaskId), Incarnation>,
    /// Tasks that get no events, and the event at which they get them again.
    paused: BTreeMap<TaskId, u64>,
    last_crashed: Option<TaskId>,
    asked_to_stop: bool,
    /// The chief has asked for the newest checkpoint, and not taken up the cluster's state since.
    is_restoring: bool,
    disk_is_full: bool,
    n_disk_full: u32,
    /// Gradients that came to each ps, that it used and that it dropped.
    gradients: BTreeMap<u32, Gradients>,
    n_events: u64,
    pub(crate) n_updates: u64,
    pub(crate) n_stale: u64,
    pub(crate) n_duplicates: u64,
    pub(crate) n_generations: BTreeSet<Generation>,
}

impl World {
    pub(crate) fn new(shape: Shape) -> Self {
        // Nobody leaves for want of patience while the choices hold somebody else back: then there
        // would be no one left to tell the late one that all is done.
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
            history: BTreeMap::new(),
            used: BTreeMap::new(),
            let_in: BTreeMap::new(),
            paused: BTreeMap::new(),
            last_crashed: None,
            asked_to_stop: false,
            is_restoring: false,
            disk_is_full: false,
            n_disk_full: 0,
            gradients: BTreeMap::new(),
            n_events: 0,
            n_updates: 0,
            n_stale: 0,
            n_duplicates: 0,
            n_generations: BTreeSet::new(),
        };
        for task in shape.tasks() {
            world.start(task);
        }
        world
    }

    fn start(&mut self, task: TaskId) {
        let number = self.newest.get(&task).map_or(0, |(number, _)| *number) + 1;
        let clock = if self.shape.clocks_go_back { FIRST_CLOCK - number } else { number };
        // The chief records its incarnation in the logdir.
        let newest = self.newest.get(&task).map(|(_, incarnation)| *incarnation);
        let recorded = newest.filter(|_| task == TaskId::CHIEF);
        let first = Incarnation::first(clock, recorded);
        self.start_as(task, first, Raises::of_process(first));
    }

    /// A life with this incarnation, of a new process or of one that raises its own.
    fn start_as(&mut self, task: TaskId, incarnation: Incarnation, raises: Raises) {
        if self.checkpoints.contains_key(&self.config.training_steps) {
            self.late.insert(task);
        }
        let number = self.newest.get(&task).map_or(0, |(number, _)| *number) + 1;
        self.newest.insert(task, (number, incarnation));
        if self.shape.clocks_go_back {
            // A new life does not remember whom an earlier one let in, and a caller may be older.
            self.let_in.retain(|(of, _), _| *of != task);
        }
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
        let waits = Waits { n_jobs: 0, cut: None, since: self.now, said: None };
        self.paused.remove(&task);
        self.lives.insert(task, Life { node, number, raises, owed, waits });
    }

    fn is_paused(&self, task: TaskId) -> bool {
        self.paused.get(&task).is_some_and(|until| self.n_events < *until)
    }

    /// Everything that could happen next, besides time passing.
    fn possible(&self) -> Vec<Next> {
        let owed = self.lives.iter().filter(|(task, _)| !self.is_paused(**task));
        let owed = owed.flat_map(|(task, life)| {
            // Nothing happens before the start.
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

    /// Lets one thing happen: the one that `choice` picks, or time, if nothing else can.
    /// `false` when nothing ever will.
    pub(crate) fn step(&mut self, choice: usize) -> bool {
        let possible = self.possible();
        // Once in a while time passes although something could happen.
        if possible.is_empty() || choice % 32 == 31 {
            return self.pass_time() || !possible.is_empty();
        }
        match possible[(choice / 32) % possible.len()] {
            Next::Owed(task, by) => {
                let life = self.lives.get_mut(&task).expect("it is owed something");
                let input = life.owed[by].pop_front().expect("it is owed something");
                self.feed(task, input);
            }
            Next::Deliver(link, end) => self.deliver(link, end),
        }
        true
    }

    fn pass_time(&mut self) -> bool {
        // A pause that nothing else ends, ends with time.
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
        // It has no deadline before it is started.
        let started = life.owed[0].front() != Some(&Input::Start);
        life.node.as_node().deadline().filter(|_| started)
    }

    /// Its deadline has come; after that, another one must be ahead, or its host would do nothing
    /// but wake it.
    fn wake(&mut self, task: TaskId) {
        self.handle(task, Input::Wake);
        let now = self.now;
        if let Some(deadline) = self.deadline(task) {
            assert!(deadline > now, "{task} was woken at {now:?}, and wants to be again");
        }
        self.check_waits(task);
    }

    fn deliver(&mut self, link: LinkId, end: usize) {
        let ends = self.links.get_mut(&link).expect("it has something to deliver");
        let flight = ends[end].inbox.pop_front().expect("it has something to deliver");
        let End { task, number, open, closed_here, .. } = ends[end];
        let from = (ends[1 - end].task, ends[1 - end].incarnation);
        if matches!(flight, Flight::Close) {
            ends[end].open = false;
        }
        let is_late = closed_here && matches!(flight, Flight::Message(_));
        if !(open || is_late) || self.lives.get(&task).is_none_or(|life| life.number != number) {
            return;
        }
        let fence = match &flight {
            Flight::Message(message) => {
                self.note_arrival(task, from, open, message);
                self.fence(task, from, open, message)
            }
            Flight::Up | Flight::Close => false,
        };
        let event = match flight {
            Flight::Up if end == 0 => NetworkEvent::Connected { link, to: from.0 },
            Flight::Up => NetworkEvent::Accepted { link },
            Flight::Message(message) => NetworkEvent::Received { link, message },
            Flight::Close => NetworkEvent::Closed { link, why: "closed".into() },
        };
        let before = self.lives[&task].node.cut();
        let out = self.feed(task, Input::Network(event));
        if fence {
            let harmless = |effect: &Effect| match effect {
                Effect::Send { message, .. } => !matches!(
                    message,
                    Message::Welcome { .. } | Message::Chosen { .. } | Message::Captured { .. }
                ),
                effect => matches!(effect, Effect::Close { .. } | Effect::Report(_)),
            };
            assert!(out.iter().all(harmless), "rule 8: {task} let an older one in: {out:?}");
            let after = self.lives.get(&task).map(|life| life.node.cut());
            assert_eq!(after, Some(before), "rule 8: an older one changed {task}");
        }
    }

    /// An event; and if its deadline has come meanwhile, half of the time it hears of that, too.
    fn feed(&mut self, task: TaskId, input: Input) -> Vec<Effect> {
        let out = self.handle(task, input);
        if self.n_events.is_multiple_of(2) && self.deadline(task).is_some_and(|at| at <= self.now) {
            self.wake(task);
        }
        out
    }

    fn handle(&mut self, task: TaskId, input: Input) -> Vec<Effect> {
        self.n_events += 1;
        self.check_input(&input);
        let mut out = Vec::new();
        let now = self.now;
        let Some(life) = self.lives.get_mut(&task) else { return out };
        let is_done = matches!(input, Input::Computed(_));
        let gets_on = input == Input::Start || acknowledges(&input);
        life.node.as_node().handle(now, &input, &mut out);
        life.watch(now, gets_on, is_done, &out);
        self.check_answers(task, &out);
        for effect in &out {
            self.check_effect(task, effect);
            self.carry_out(task, effect.clone());
            // The loop of a host carries out nothing behind a halt.
            if matches!(effect, Effect::Halt(_)) {
                break;
            }
        }
        self.check_ps(task);
        // It makes sentences, which takes longer than all else here.
        if self.n_events.is_multiple_of(4) {
            self.check_standing(task);
        }
        out
    }

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
            // A supervisor starts another process.
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
            incarnation: self.newest[&task].1,
            open: true,
            closed_here: false,
            inbox: VecDeque::from([Flight::Up]),
        };
        self.links.insert(link, [end(from), end(to)]);
    }

    /// Queues a message, or the close, for the other end.
    fn send(&mut self, from: TaskId, link: LinkId, flight: Flight) {
        let Some(ends) = self.links.get_mut(&link) else { return };
        let me = usize::from(ends[0].task != from);
        if ends[me].open && ends[1 - me].open {
            let inbox = &mut ends[1 - me].inbox;
            inbox.push_back(flight);
            let is_push =
                |flight: &&Flight| matches!(flight, Flight::Message(Message::Push { .. }));
            let n_pushes = inbox.iter().filter(is_push).count();
            assert!(n_pushes <= PUSH_WINDOW, "rule 11: {from} has {n_pushes} pushes on its way");
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
    /// By its network, its compute thread or its disk.
    Owed(TaskId, usize),
    Deliver(LinkId, usize),
}

/// Whether it says that a link carries what it was given.
const fn acknowledges(input: &Input) -> bool {
    matches!(
        input,
        Input::Network(NetworkEvent::Received { message: Message::Acknowledged { .. }, .. })
    )
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
