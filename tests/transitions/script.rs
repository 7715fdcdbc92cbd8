//! A script that feeds inputs to one node, and builders of inputs and of expected effects.

use std::time::Duration;
use unisono_core::ids::Cut;

use unisono_core::protocol::{
    ClusterConfig, Effect, Hello, Input, Limits, Message, NetworkEvent, Node, PROTOCOL_VERSION, Ps,
    Recorded, Report, Settings, ShardState, UpdateRecord, Verdict, Want, Worker,
};
use unisono_core::train_config::Sync;
use unisono_core::{Floats, Generation, Incarnation, LinkId, Moment, Slot, Step, TaskId};

/// The link that a node under test has with its peer of this index: a ps with worker `index`, a
/// worker with ps `index`.
pub(crate) const fn link(index: u32) -> LinkId {
    LinkId(index as u64)
}

/// A cluster that trains three steps, with `r` gradients per update and `n` workers.
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

/// Generation `number` of the chief's first incarnation.
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

/// The gradient of slot `slot` at version `step` of generation 1. The loss equals the gradient's
/// only element.
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

pub(crate) fn push_reply(step: u64, slot: u32, verdict: Verdict) -> Message {
    let (generation, step, slot) = (generation(1), Step(step), Slot(slot));
    Message::PushReply { cut: Cut { generation, step }, slot, verdict }
}

pub(crate) fn dropped(step: u64, slot: u32, worker: u32, verdict: Option<Verdict>) -> Effect {
    let (step, slot, worker) = (Step(step), Slot(slot), TaskId::worker(worker));
    Effect::Report(Report::Dropped { step, slot, worker, verdict })
}

/// A version of the chief's generation `number`, with tokens and without updates.
pub(crate) fn version(number: u64, step: u64, tokens: &[u32], value: f32) -> Message {
    Message::Version {
        cut: Cut { generation: generation(number), step: Step(step) },
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

/// Returns the version `message` with update records, which ps 0 sends to the chief.
pub(crate) fn with_updates(mut message: Message, records: Vec<UpdateRecord>) -> Message {
    if let Message::Version { updates, .. } = &mut message {
        *updates = records;
    }
    message
}

/// Returns the version `message` with an acknowledgement of `pushes` pushes.
pub(crate) fn acknowledging(mut message: Message, pushes: u64) -> Message {
    if let Message::Version { acknowledged, .. } = &mut message {
        *acknowledged = pushes;
    }
    message
}

/// Returns the version `message` with the slots that the shard has received from the worker.
pub(crate) fn with_received(mut message: Message, held: &[u32]) -> Message {
    if let Message::Version { received, .. } = &mut message {
        *received = slots(held);
    }
    message
}

/// A node under test and its clock.
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

    /// Delivers a message on the link with index `from`.
    pub(crate) fn receives(&mut self, from: u32, message: Message) -> Vec<Effect> {
        self.network(NetworkEvent::Received { link: link(from), message })
    }

    /// Establishes a link to `to` and delivers its welcome. Returns the effects of the welcome.
    fn connects_on(
        &mut self,
        on: u32,
        to: TaskId,
        incarnation: u64,
        state: Option<Cut>,
    ) -> Vec<Effect> {
        self.network(NetworkEvent::Connected { link: link(on), to });
        let incarnation = Incarnation(incarnation);
        self.receives(on, Message::Welcome { incarnation, state })
    }

    pub(crate) fn loses_link(&mut self, from: u32) -> Vec<Effect> {
        self.network(NetworkEvent::Closed { link: link(from), why: "reset".into() })
    }

    pub(crate) const fn now(&self) -> Moment {
        self.now
    }

    pub(crate) fn deadline(&self) -> Moment {
        self.node.deadline().expect("the node has a deadline")
    }

    /// Advances the clock to `at` and wakes the node.
    pub(crate) fn wakes_at(&mut self, at: Moment) -> Vec<Effect> {
        self.now = at;
        self.feed(Input::Wake)
    }

    /// Advances the clock to `secs` and wakes the node at each deadline. Stops early at a halt.
    pub(crate) fn advances_to(&mut self, secs: u64) -> Vec<Effect> {
        let end = Moment::from_origin(Duration::from_secs(secs));
        let mut out = Vec::new();
        while let Some(at) = self.node.deadline().filter(|at| *at <= end) {
            assert!(at > self.now, "a deadline must be in the future");
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

    /// Returns ps 0 with all workers connected and its shard restored to version `step` of
    /// generation 1.
    pub(crate) fn restored_ps(config: ClusterConfig, step: u64) -> Self {
        let mut script = Self::ps(0, config);
        for worker in 0..script.config.sync.total_num_replicas {
            script.accepts_worker(worker, 1);
        }
        let (generation, step) = (generation(1), Step(step));
        script.receives(0, Message::Restore { cut: Cut { generation, step }, state: state(0.0) });
        script
    }

    /// Accepts a call of worker `worker` on the link with its index.
    pub(crate) fn accepts_worker(&mut self, worker: u32, incarnation: u64) -> Vec<Effect> {
        self.accepts_on(worker, TaskId::worker(worker), incarnation)
    }

    /// Establishes the link to ps 0, as link 9.
    pub(crate) fn connects_to_ps_zero(&mut self) {
        self.connects_on(9, TaskId::PS_ZERO, 1, None);
    }

    /// Accepts a call of `from` on link `on` and delivers its hello. Returns the effects of the
    /// hello.
    pub(crate) fn accepts_on(&mut self, on: u32, from: TaskId, incarnation: u64) -> Vec<Effect> {
        self.network(NetworkEvent::Accepted { link: link(on) });
        let hello = hello(from, self.me, incarnation, &self.config);
        self.receives(on, Message::Hello(hello))
    }
}

impl Script<Worker> {
    pub(crate) fn worker(index: u32, config: ClusterConfig) -> Self {
        let node = Worker::new(index, Incarnation(1), config.clone());
        Self::started(TaskId::worker(index), node, config)
    }

    /// Establishes the link to a ps and delivers its welcome. Returns the effects of the welcome.
    pub(crate) fn connects_to(
        &mut self,
        ps: u32,
        incarnation: u64,
        state: Option<Cut>,
    ) -> Vec<Effect> {
        self.connects_on(ps, TaskId::ps(ps), incarnation, state)
    }
}
