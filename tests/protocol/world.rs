//! Nodes and the links between them, driven by a list of choices, with the rules asserted after
//! every event. Rule numbers are those of `docs/protocol.md`.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use unisono::config::Sync;
use unisono::protocol::{
    ClusterConfig, Done, Effect, Input, Job, Limits, Message, NetworkEvent, Node, Outcome, Ps,
    Restored, Settings, ShardState, Snapshot, StorageEvent, Verdict, Worker,
};
use unisono::{Cut, Floats, Generation, Incarnation, LinkId, Moment, Slot, Step, TaskId};

use crate::arithmetic;

/// How many gradients, how many tasks, how many steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) n_ps: u32,
    pub(crate) n_workers: u32,
    pub(crate) replicas_to_aggregate: u32,
    pub(crate) training_steps: u64,
}

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
}

enum AnyNode {
    Ps(Box<Ps>),
    Worker(Box<Worker>),
}

impl AnyNode {
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
    /// What its host owes it, in order.
    owed: VecDeque<Input>,
}

/// One end's view of a link.
struct End {
    task: TaskId,
    incarnation: Incarnation,
    /// Whether this end still takes part.
    open: bool,
    /// What is on its way to this end; `None` is the close.
    inbox: VecDeque<Option<Message>>,
}

/// The cluster, its network and its disk.
pub(crate) struct World {
    shape: Shape,
    config: ClusterConfig,
    now: Moment,
    lives: BTreeMap<TaskId, Life>,
    incarnations: BTreeMap<TaskId, u64>,
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
    /// Stale gradients that came and have not been answered yet: rule 5.
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
            incarnations: BTreeMap::new(),
            ended: BTreeMap::new(),
            late: BTreeSet::new(),
            links: BTreeMap::new(),
            next_link: 0,
            checkpoints: BTreeMap::new(),
            losses: BTreeMap::new(),
            history: BTreeMap::new(),
            used: BTreeMap::new(),
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
        if self.checkpoints.contains_key(&self.config.training_steps) {
            self.late.insert(task);
        }
        let life = self.incarnations.entry(task).or_default();
        *life += 1;
        let (incarnation, config) = (Incarnation(*life), self.config.clone());
        let node = match task.job {
            unisono::Job::Ps => AnyNode::Ps(Box::new(Ps::new(task.index, incarnation, config))),
            unisono::Job::Worker => {
                AnyNode::Worker(Box::new(Worker::new(task.index, incarnation, config)))
            }
        };
        self.lives.insert(task, Life { node, owed: VecDeque::from([Input::Start]) });
    }

    /// Everything that could happen next, besides time passing.
    fn possible(&self) -> Vec<Next> {
        let owed = self.lives.iter().filter(|(_, life)| !life.owed.is_empty());
        let owed = owed.map(|(task, _)| Next::Owed(*task));
        let inboxes = self.links.iter().flat_map(|(link, ends)| {
            (0..2).filter(|&end| !ends[end].inbox.is_empty()).map(|end| Next::Deliver(*link, end))
        });
        owed.chain(inboxes).collect()
    }

    /// Lets one thing happen: the one that `choice` picks, or time, if nothing else can.
    /// `false` when nothing ever will.
    pub(crate) fn step(&mut self, choice: usize) -> bool {
        let possible = self.possible();
        // Once in a while time passes although something could happen.
        if possible.is_empty() || choice % 64 == 63 {
            return self.pass_time() || !possible.is_empty();
        }
        match possible[(choice / 64) % possible.len()] {
            Next::Owed(task) => {
                let life = self.lives.get_mut(&task).expect("it is owed something");
                let input = life.owed.pop_front().expect("it is owed something");
                self.feed(task, input);
            }
            Next::Deliver(link, end) => self.deliver(link, end),
        }
        true
    }

    fn pass_time(&mut self) -> bool {
        let deadline = |life: &mut Life| life.node.as_node().deadline();
        let Some(next) = self.lives.values_mut().filter_map(deadline).min() else { return false };
        self.now = self.now.max(next);
        let now = self.now;
        let due: Vec<_> = self
            .lives
            .iter_mut()
            .filter_map(|(task, life)| deadline(life).filter(|at| *at <= now).map(|_| *task))
            .collect();
        for task in due {
            self.feed(task, Input::Wake);
        }
        true
    }

    fn deliver(&mut self, link: LinkId, end: usize) {
        let ends = self.links.get_mut(&link).expect("it has something to deliver");
        let message = ends[end].inbox.pop_front().expect("it has something to deliver");
        let (task, incarnation, open) = (ends[end].task, ends[end].incarnation, ends[end].open);
        if message.is_none() {
            ends[end].open = false;
        }
        if !open || self.incarnations[&task] != incarnation.0 || !self.lives.contains_key(&task) {
            return;
        }
        let event = match message {
            Some(message) => NetworkEvent::Received { link, message },
            None => NetworkEvent::Closed { link, why: "closed".into() },
        };
        self.feed(task, Input::Network(event));
    }

    fn feed(&mut self, task: TaskId, input: Input) {
        self.n_events += 1;
        self.check_input(&input);
        let mut out = Vec::new();
        let Some(life) = self.lives.get_mut(&task) else { return };
        life.node.as_node().handle(self.now, input, &mut out);
        for effect in out {
            self.check_effect(task, &effect);
            self.carry_out(task, effect);
        }
        self.check_ps(task);
    }

    fn owe(&mut self, task: TaskId, input: Input) {
        if let Some(life) = self.lives.get_mut(&task) {
            life.owed.push_back(input);
        }
    }

    fn carry_out(&mut self, task: TaskId, effect: Effect) {
        match effect {
            Effect::Connect { to } => self.connect(task, to),
            Effect::Send { link, message } => self.send(task, link, Some(message)),
            Effect::Close { link } => {
                self.send(task, link, None);
                self.close_end(task, link);
            }
            Effect::Compute(job) => self.owe(task, Input::Computed(compute(job))),
            Effect::Restore => {
                let restored = self.restore();
                self.owe(task, Input::Stored(StorageEvent::Restored(Ok(restored))));
            }
            Effect::Persist(snapshot) => {
                let step = snapshot.step;
                self.checkpoints.insert(step, snapshot);
                let result = Ok(format!("model.ckpt-{step}"));
                self.owe(task, Input::Stored(StorageEvent::Persisted { step, result }));
            }
            Effect::Record(update) => {
                self.losses.split_off(&update.step);
                self.losses.insert(update.step, update.losses);
            }
            Effect::Report(_) => {}
            Effect::Halt(outcome) => {
                self.lives.remove(&task);
                self.close_all_of(task);
                self.ended.insert(task, outcome);
            }
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
                Restored { snapshot: Arc::new(Snapshot { generation, step, shards }), from: None }
            }
        }
    }

    fn connect(&mut self, from: TaskId, to: TaskId) {
        if !self.lives.contains_key(&to) {
            let event = NetworkEvent::ConnectFailed { to, why: "refused".into() };
            self.owe(from, Input::Network(event));
            return;
        }
        let link = LinkId(self.next_link);
        self.next_link += 1;
        let end = |task: TaskId| End {
            task,
            incarnation: Incarnation(self.incarnations[&task]),
            open: true,
            inbox: VecDeque::new(),
        };
        self.links.insert(link, [end(from), end(to)]);
        self.owe(from, Input::Network(NetworkEvent::Connected { link, to }));
        self.owe(to, Input::Network(NetworkEvent::Accepted { link }));
    }

    /// Queues a message, or the close, for the other end.
    fn send(&mut self, from: TaskId, link: LinkId, message: Option<Message>) {
        let Some(ends) = self.links.get_mut(&link) else { return };
        let me = usize::from(ends[0].task != from);
        if ends[me].open && ends[1 - me].open {
            ends[1 - me].inbox.push_back(message);
        }
    }

    fn close_end(&mut self, task: TaskId, link: LinkId) {
        let Some(ends) = self.links.get_mut(&link) else { return };
        let me = usize::from(ends[0].task != task);
        ends[me].open = false;
        ends[me].inbox.clear();
    }

    fn close_all_of(&mut self, task: TaskId) {
        let of_task: Vec<_> = self
            .links
            .iter()
            .filter(|(_, ends)| ends.iter().any(|end| end.task == task && end.open))
            .map(|(link, _)| *link)
            .collect();
        for link in of_task {
            self.send(task, link, None);
            self.close_end(task, link);
        }
    }

    /// Does `fault` to whatever `choice` picks.
    pub(crate) fn inflict(&mut self, fault: Fault, choice: usize) {
        let open: Vec<_> = self
            .links
            .iter()
            .filter(|(_, ends)| ends.iter().all(|end| end.open))
            .map(|(link, _)| *link)
            .collect();
        match fault {
            Fault::Cut | Fault::HalfOpen if !open.is_empty() => {
                let link = open[choice % open.len()];
                let ends = self.links.get_mut(&link).expect("it is open");
                let first = (choice / open.len()) % 2;
                ends[first].inbox.clear();
                ends[first].inbox.push_back(None);
                if fault == Fault::Cut {
                    ends[1 - first].inbox.clear();
                }
                ends[1 - first].inbox.push_back(None);
            }
            Fault::Crash => {
                let alive: Vec<_> = self.lives.keys().copied().collect();
                // At the end of a run tasks leave for good, and are not started again.
                if !alive.is_empty() && self.ended.is_empty() {
                    let task = alive[choice % alive.len()];
                    self.lives.remove(&task);
                    self.close_all_of(task);
                    self.start(task);
                }
            }
            _ => {}
        }
    }

    /// No more faults: everything must come to its end within a bound.
    pub(crate) fn heal(&mut self) {
        const MAX_EVENTS: u64 = 20_000;
        let limit = self.n_events + MAX_EVENTS;
        // Any fair order will do: this is Knuth's MMIX generator.
        let mut random = 1u64;
        while !self.only_late_ones_live() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // An even number never lets time pass although something could happen.
            let choice = (random >> 33) as usize * 2;
            assert!(self.step(choice), "nothing can happen, and {:?} live", self.lives.keys());
            assert!(self.n_events < limit, "no end in sight; alive: {}", self.alive());
        }
    }

    fn only_late_ones_live(&self) -> bool {
        self.lives.keys().all(|task| self.late.contains(task))
    }

    fn alive(&self) -> String {
        let place = |(task, life): (&TaskId, &Life)| match &life.node {
            AnyNode::Ps(ps) => format!("{task} at {:?}", ps.cut()),
            AnyNode::Worker(worker) => format!("{task} at {:?}", worker.cut()),
        };
        self.lives.iter().map(place).collect::<Vec<_>>().join(", ")
    }

    fn check_input(&mut self, input: &Input) {
        if let Input::Network(NetworkEvent::Received {
            message: Message::PushReply { verdict, .. },
            ..
        }) = input
        {
            match verdict {
                Verdict::Stale => self.n_stale += 1,
                Verdict::Duplicate => self.n_duplicates += 1,
                Verdict::Fenced => {}
            }
        }
    }

    fn check_effect(&mut self, task: TaskId, effect: &Effect) {
        match effect {
            Effect::Compute(Job::Update { generation, step, state, gradients }) => {
                let cut = Cut { generation: *generation, step: *step };
                self.check_update(task.index, cut, state, gradients);
            }
            Effect::Compute(Job::Gradient { generation, step, parameters, .. }) => {
                // Rule 6: a whole version, of every shard.
                let cut = Cut { generation: *generation, step: *step };
                for (ps, shard) in (0..).zip(parameters) {
                    let made = self.history.get(&(cut, ps)).map(|state| &state.parameters);
                    assert_eq!(made, Some(shard), "rule 6: {task} works on what is not {cut}");
                }
            }
            Effect::Persist(snapshot) => {
                // Rule 7: all shards of one version.
                let cut = Cut { generation: snapshot.generation, step: snapshot.step };
                assert_eq!(snapshot.shards.len(), self.shape.n_ps as usize);
                for (ps, shard) in (0..).zip(&snapshot.shards) {
                    assert_eq!(self.history.get(&(cut, ps)), Some(shard), "rule 7: {cut}, ps {ps}");
                }
                let recorded = self.losses.keys().take_while(|step| **step < cut.step).count();
                assert_eq!(recorded as u64, cut.step.0, "a checkpoint has its losses beside it");
            }
            Effect::Send { message: Message::Restore { generation, step, state }, link } => {
                // A generation's first version; whoever sends it twice sends the same.
                let ends = &self.links[link];
                let ps = ends.iter().find(|end| end.task != task).expect("two ends").task.index;
                self.n_generations.insert(*generation);
                self.remember(Cut { generation: *generation, step: *step }, ps, state);
            }
            Effect::Halt(outcome) => {
                assert_eq!(*outcome, Outcome::Finished, "{task} halted");
            }
            _ => {}
        }
    }

    /// Rules 1 and 3, and rule 8: what an update is made of.
    fn check_update(
        &mut self,
        ps: u32,
        cut: Cut,
        state: &ShardState,
        gradients: &[(Slot, Floats)],
    ) {
        assert!(cut.step < self.config.training_steps, "rule 10: no update after the last");
        assert_eq!(
            gradients.len(),
            self.shape.replicas_to_aggregate as usize,
            "rule 1: exactly R gradients"
        );
        let slots: Vec<_> = gradients.iter().map(|(slot, _)| *slot).collect();
        assert!(slots.is_sorted_by(|a, b| a < b), "rules 1 and 3: distinct, ascending: {slots:?}");
        let used = self.used.entry(cut).or_insert_with(|| slots.clone());
        assert_eq!(*used, slots, "rule 1: the same slots on every shard, at {cut}");
        assert_eq!(self.history.get(&(cut, ps)), Some(state), "an update of another state");
        let whole: Vec<_> =
            (0..self.shape.n_ps).map(|ps| self.history[&(cut, ps)].parameters.clone()).collect();
        for (slot, gradient) in gradients {
            let (_, expected) = arithmetic::gradient(&whole, cut.step, *slot);
            assert_eq!(&expected[ps as usize], gradient, "rule 1: computed from {cut} of all");
        }
        self.n_updates += 1;
    }

    /// A ps holds what its last update made.
    fn check_ps(&mut self, task: TaskId) {
        if let Some(Life { node: AnyNode::Ps(ps), .. }) = self.lives.get(&task)
            && let (Some(cut), Some(state)) = (ps.cut(), ps.state())
        {
            let state = state.clone();
            self.remember(cut, task.index, &state);
        }
    }

    fn remember(&mut self, cut: Cut, ps: u32, state: &ShardState) {
        let known = self.history.entry((cut, ps)).or_insert_with(|| state.clone());
        assert_eq!(known, state, "two states at {cut} of ps {ps}");
    }

    /// Rule 10, and the oracle: the run computed serially, with the slots that were used.
    pub(crate) fn check_end(&self) {
        let last = self.config.training_steps;
        for task in self.shape.tasks() {
            assert!(self.ended.contains_key(&task) || self.late.contains(&task), "{task} ends");
        }
        let snapshot = self.checkpoints.get(&last).expect("rule 10: a final checkpoint");
        let steps: Vec<_> = self.losses.keys().map(|step| step.0).collect();
        let all: Vec<_> = (0..last.0).collect();
        assert_eq!(steps, all, "every step is in the losses, once");
        let mut state = arithmetic::initial(self.shape.n_ps);
        for (step, losses) in &self.losses {
            let whole: Vec<_> = state.iter().map(|shard| shard.parameters.clone()).collect();
            let computed: Vec<_> = losses
                .iter()
                .map(|(slot, _)| (*slot, arithmetic::gradient(&whole, *step, *slot)))
                .collect();
            let expected: Vec<_> =
                computed.iter().map(|(slot, (loss, _))| (*slot, loss.to_bits())).collect();
            let recorded: Vec<_> =
                losses.iter().map(|(slot, loss)| (*slot, loss.to_bits())).collect();
            assert_eq!(recorded, expected, "the losses of step {step}");
            if !self.shape.has_backup_workers() {
                let all: Vec<_> = (0..self.shape.replicas_to_aggregate).map(Slot).collect();
                assert_eq!(losses.iter().map(|(slot, _)| *slot).collect::<Vec<_>>(), all);
            }
            let shards = (0..).zip(&state).map(|(ps, shard): (usize, _)| {
                let gradients: Vec<_> = computed
                    .iter()
                    .map(|(slot, (_, gradient))| (*slot, gradient[ps].clone()))
                    .collect();
                arithmetic::update(shard, &gradients)
            });
            state = shards.collect();
        }
        assert_eq!(snapshot.shards, state, "the final checkpoint is the serial run's");
    }
}

#[derive(Clone, Copy)]
enum Next {
    Owed(TaskId),
    Deliver(LinkId, usize),
}

fn compute(job: Job) -> Done {
    match job {
        Job::Gradient { generation, step, slot, parameters } => {
            let (loss, gradient) = arithmetic::gradient(&parameters, step, slot);
            Done::Gradient { generation, step, slot, loss, gradient }
        }
        Job::Update { generation, step, state, gradients } => {
            Done::Update { generation, step, state: arithmetic::update(&state, &gradients) }
        }
    }
}
