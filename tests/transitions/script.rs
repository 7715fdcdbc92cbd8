//! Feeds one node, and builds what it is fed and what it is expected to answer.

use std::time::Duration;
use unisono_core::ids::Cut;

use unisono_core::protocol::{
    ClusterConfig, Effect, Hello, Input, Limits, Message, NetworkEvent, Node, PROTOCOL_VERSION, Ps,
    Recorded, Report, Settings, ShardState, UpdateRecord, Verdict, Want, Worker,
};
use unisono_core::train_config::Sync;
use unisono_core::{Floats, Generation, Incarnation, LinkId, Moment, Slot, Step, TaskId};

/// The link of worker w to a ps, and of a worker to ps w.
pub(crate) const fn link(index: u32) -> LinkId {
    LinkId(index as u64)
}

/// Three steps, with R gradients of N workers.
pub(crate) fn cluster(n_ps: u32, r: u32, n: u32) -> ClusterConfig {
    ClusterConfig {
        n_ps,
        sync: Sync { replicas_to_aggregate: r, total_num_replicas: n },
        training_steps: Step(3),
        settings: Settings::default().with("seed", 1),
        data: None,
        limits: Limits::default(),
    }
}

/// The generation that the first life of the chief opens as its `number`th.
pub(crate) const fn generation(number: u64) -> Generation {
    Generation { opener: Incarnation(1), number }
}

pub(crate) fn state(value: f32) -> ShardState {
    ShardState { parameters: floats(value), ..ShardState::default() }
}

pub(crate) fn floats(value: f32) -> Floats {
    vec![value].into()
}

pub(crate) fn slots(slots: &[u32]) -> Vec<Slot> {
    slots.iter().copied().map(Slot).collect()
}

pub(crate) fn send(to: u32, message: Message) -> Effect {
    Effect::Send { link: link(to), message }
}

pub(crate) fn hello(from: TaskId, to: TaskId, incarnation: u64, config: &ClusterConfig) -> Hello {
    Hello {
        version: PROTOCOL_VERSION,
        from,
        incarnation: Incarnation(incarnation),
        to,
        settings: config.settings.clone(),
        data: None,
    }
}

/// The gradient of slot `slot` at version `step` of generation 1; its loss is its value.
pub(crate) fn push(step: u64, slot: u32, value: f32) -> Message {
    Message::Push {
        cut: Cut { generation: generation(1), step: Step(step) },
        slot: Slot(slot),
        loss: value,
        recorded: Recorded::default(),
        gradient: floats(value),
    }
}

pub(crate) fn pull(want: Want) -> Message {
    Message::Pull { want, recorded: Recorded::default() }
}

pub(crate) fn told(step: u64, slot: u32, verdict: Verdict) -> Message {
    let (generation, step, slot) = (generation(1), Step(step), Slot(slot));
    Message::PushReply { cut: Cut { generation, step }, slot, verdict }
}

pub(crate) fn dropped(step: u64, slot: u32, worker: u32, verdict: Option<Verdict>) -> Effect {
    let (step, slot, worker) = (Step(step), Slot(slot), TaskId::worker(worker));
    Effect::Report(Report::Dropped { step, slot, worker, verdict })
}

/// A version of generation `of`, with tokens and without updates.
pub(crate) fn version(of: u64, step: u64, tokens: &[u32], value: f32) -> Message {
    Message::Version {
        cut: Cut { generation: generation(of), step: Step(step) },
        tokens: slots(tokens),
        received: Vec::new(),
        updates: Vec::new(),
        acknowledged: 0,
        parameters: floats(value),
    }
}

pub(crate) fn update(step: u64, losses: &[(u32, f32)]) -> UpdateRecord {
    let losses = losses.iter().map(|(slot, loss)| (Slot(*slot), *loss)).collect();
    UpdateRecord { cut: Cut { generation: generation(1), step: Step(step) }, losses }
}

/// `message`, a version, with what ps 0 has for the chief.
pub(crate) fn with_updates(mut message: Message, records: Vec<UpdateRecord>) -> Message {
    if let Message::Version { updates, .. } = &mut message {
        *updates = records;
    }
    message
}

/// `message`, a version, which acknowledges so many pushes.
pub(crate) fn acknowledging(mut message: Message, pushes: u64) -> Message {
    if let Message::Version { acknowledged, .. } = &mut message {
        *acknowledged = pushes;
    }
    message
}

/// `message`, a version, with what the shard holds of the worker's.
pub(crate) fn with_received(mut message: Message, held: &[u32]) -> Message {
    if let Message::Version { received, .. } = &mut message {
        *received = slots(held);
    }
    message
}

/// One node, and the time.
pub(crate) struct Script<N> {
    pub(crate) node: N,
    pub(crate) config: ClusterConfig,
    me: TaskId,
    now: Moment,
}

impl<N: Node> Script<N> {
    fn started(me: TaskId, node: N, config: ClusterConfig) -> Self {
        let mut script = Self { node, config, me, now: Moment::default() };
        script.feed(Input::Start);
        script
    }

    pub(crate) fn feed(&mut self, input: Input) -> Vec<Effect> {
        let mut out = Vec::new();
        self.node.handle(self.now, &input, &mut out);
        out
    }

    pub(crate) fn network(&mut self, event: NetworkEvent) -> Vec<Effect> {
        self.feed(Input::Network(event))
    }

    /// The peer whose link has this number says something.
    pub(crate) fn hears(&mut self, from: u32, message: Message) -> Vec<Effect> {
        self.network(NetworkEvent::Received { link: link(from), message })
    }

    /// A call of `to` is taken, and its greeting comes. Returns what follows the greeting.
    fn is_welcome_on(
        &mut self,
        on: u32,
        to: TaskId,
        incarnation: u64,
        state: Option<Cut>,
    ) -> Vec<Effect> {
        self.network(NetworkEvent::Connected { link: link(on), to });
        let incarnation = Incarnation(incarnation);
        self.hears(on, Message::Welcome { incarnation, state })
    }

    pub(crate) fn loses(&mut self, from: u32) -> Vec<Effect> {
        self.network(NetworkEvent::Closed { link: link(from), why: "reset".into() })
    }

    pub(crate) const fn now(&self) -> Moment {
        self.now
    }

    pub(crate) fn deadline(&self) -> Moment {
        self.node.deadline().expect("it has one")
    }

    /// Time goes on to `at`, and there it is woken.
    pub(crate) fn wakes_at(&mut self, at: Moment) -> Vec<Effect> {
        self.now = at;
        self.feed(Input::Wake)
    }

    /// Time goes on to `secs`, with a wake at each deadline.
    pub(crate) fn sleeps_until(&mut self, secs: u64) -> Vec<Effect> {
        let end = Moment::from_origin(Duration::from_secs(secs));
        let mut out = Vec::new();
        while let Some(at) = self.node.deadline().filter(|at| *at <= end) {
            assert!(at > self.now, "a deadline is ahead");
            self.now = at;
            out.extend(self.feed(Input::Wake));
            if matches!(out.last(), Some(Effect::Halt(_))) {
                break;
            }
        }
        self.now = end;
        out
    }
}

impl Script<Ps> {
    pub(crate) fn ps(index: u32, config: ClusterConfig) -> Self {
        let node = Ps::new(index, Incarnation(1), config.clone());
        Self::started(TaskId::ps(index), node, config)
    }

    /// A ps 0 whose shard was restored to version `step` of generation 1, with all workers there.
    pub(crate) fn restored(config: ClusterConfig, step: u64) -> Self {
        let mut script = Self::ps(0, config);
        for worker in 0..script.config.sync.total_num_replicas {
            script.lets_in(worker, 1);
        }
        let (generation, step) = (generation(1), Step(step));
        script.hears(0, Message::Restore { cut: Cut { generation, step }, state: state(0.0) });
        script
    }

    /// Worker number `worker` calls on the link of its number.
    pub(crate) fn lets_in(&mut self, worker: u32, incarnation: u64) -> Vec<Effect> {
        self.is_called_on(worker, TaskId::worker(worker), incarnation)
    }

    /// Its call of ps 0 is taken, on link 9.
    pub(crate) fn meets_ps_zero(&mut self) {
        self.is_welcome_on(9, TaskId::PS_ZERO, 1, None);
    }

    pub(crate) fn is_called_on(&mut self, on: u32, from: TaskId, incarnation: u64) -> Vec<Effect> {
        self.network(NetworkEvent::Accepted { link: link(on) });
        let hello = hello(from, self.me, incarnation, &self.config);
        self.hears(on, Message::Hello(hello))
    }
}

impl Script<Worker> {
    pub(crate) fn worker(index: u32, config: ClusterConfig) -> Self {
        let node = Worker::new(index, Incarnation(1), config.clone());
        Self::started(TaskId::worker(index), node, config)
    }

    /// The link to a ps is there, and its greeting comes. Returns what follows the greeting.
    pub(crate) fn meets(&mut self, ps: u32, incarnation: u64, state: Option<Cut>) -> Vec<Effect> {
        self.is_welcome_on(ps, TaskId::ps(ps), incarnation, state)
    }
}
