//! A run by hand, for the tests of the rules: two shards of one value each, with inputs and effects
//! that are written in the tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use unisono_core::protocol::{
    ClusterConfig, Done, Effect, Hello, Input, Job, Limits, Message, NetworkEvent, Outcome,
    PROTOCOL_VERSION, Report, Restored, Settings, ShardState, Snapshot, StorageEvent, UpdateRecord,
    Verdict,
};
use unisono_core::train_config::Sync;
use unisono_core::{Cut, Floats, Generation, Incarnation, LinkId, Moment, Slot, Step, TaskId};

use crate::life_id::LifeId;
use crate::life_turn::LifeTurn;
use crate::rule::{End, Rule};
use crate::rules::Seen;
use crate::violation::Violation;

/// The number of updates of the run.
pub(crate) const LAST: Step = Step(5);
/// The link of worker 0 to ps 0.
pub(crate) const WORKER_LINK: u64 = 0;
/// The link of a ps to worker 0.
pub(crate) const PS_LINK: u64 = 0;
/// The link of ps 0 to ps 1.
const OTHER_PS_LINK: u64 = 100;
const N_PS: u32 = 2;

/// A run.
pub(crate) struct Fixture {
    pub(crate) seen: Seen,
    pub(crate) moment: Moment,
    config: ClusterConfig,
}

type Answer = Result<(), Violation>;

/// A rule that checks nothing.
#[derive(Debug)]
struct Nothing;

impl Rule for Nothing {}

impl Fixture {
    pub(crate) fn new(replicas_to_aggregate: u32, total_num_replicas: u32) -> Self {
        Self {
            seen: Seen::default(),
            moment: Moment::default(),
            config: ClusterConfig {
                n_ps: N_PS,
                sync: Sync { replicas_to_aggregate, total_num_replicas },
                training_steps: LAST,
                settings: Settings::default(),
                data: None,
                limits: Limits::default(),
            },
        }
    }

    /// A process takes an input and answers with effects, and one rule checks the turn.
    pub(crate) fn plays(
        &mut self,
        rule: &mut dyn Rule,
        life: LifeId,
        input: Input,
        effects: Vec<Effect>,
    ) -> Answer {
        if input != Input::Start && self.seen.history.lives.of(life).is_none() {
            self.plays(rule, life, Input::Start, vec![])?;
            self.connect(life);
        }
        let (now, config) = (self.moment, &self.config);
        let turn = LifeTurn { life, now, config, input: &input, effects: &effects };
        self.seen.turn(turn, |at| rule.turn(at))
    }

    /// A process has effects at a wake.
    pub(crate) fn does(
        &mut self,
        rule: &mut dyn Rule,
        life: LifeId,
        effects: Vec<Effect>,
    ) -> Answer {
        self.plays(rule, life, Input::Wake, effects)
    }

    pub(crate) fn takes(&mut self, rule: &mut dyn Rule, life: LifeId, input: Input) -> Answer {
        self.plays(rule, life, input, vec![])
    }

    pub(crate) fn is_told(
        &mut self,
        rule: &mut dyn Rule,
        life: LifeId,
        link: u64,
        message: Message,
        effects: Vec<Effect>,
    ) -> Answer {
        let event = NetworkEvent::Received { link: LinkId(link), message };
        self.plays(rule, life, Input::Network(event), effects)
    }

    /// As [`Self::is_told`], and no rule looks. A ps's link to a worker has the worker's number.
    pub(crate) fn told(
        &mut self,
        life: LifeId,
        link: u32,
        message: Message,
        effects: Vec<Effect>,
    ) -> Answer {
        self.is_told(&mut Nothing, life, u64::from(link), message, effects)
    }

    /// Ps 1 says something to ps 0.
    pub(crate) fn told_by_ps(&mut self, message: Message, effects: Vec<Effect>) -> Answer {
        self.is_told(&mut Nothing, ps(0), OTHER_PS_LINK, message, effects)
    }

    pub(crate) fn computed(&mut self, life: LifeId, done: Done) -> Answer {
        self.takes(&mut Nothing, life, Input::Computed(done))
    }

    /// A ps is restored.
    pub(crate) fn restored(&mut self, ps: LifeId, at: Cut, value: f32) -> Answer {
        let Cut { generation, step } = at;
        let restore = Message::Restore { cut: Cut { generation, step }, state: state(value) };
        let sent = vec![send(WORKER_LINK, restore.clone())];
        self.plays(&mut Nothing, worker(0), Input::Wake, sent)?;
        let restored = vec![send(PS_LINK, Message::Restored { generation })];
        self.told(ps, 0, restore, restored)
    }

    /// A ps makes a version out of slots 0 and 1.
    pub(crate) fn updated(&mut self, ps: LifeId, from: Cut, value: f32) -> Answer {
        let made = Input::Computed(update_done(from, value));
        self.plays(&mut Nothing, ps, made, vec![updated(from, &[0, 1])])
    }

    /// Both ps are at version 0, and so many slots were pushed to them.
    pub(crate) fn ready(&mut self, n_pushed: u32) -> Answer {
        for of in 0..N_PS {
            self.restored(ps(of), cut(0), 1.0)?;
        }
        self.all_computed(n_pushed)?;
        for of in 0..N_PS {
            for slot in 0..n_pushed {
                self.told(ps(of), slot, push(cut(0), slot, of), vec![])?;
            }
        }
        Ok(())
    }

    /// The first slots of version 0 are computed.
    pub(crate) fn all_computed(&mut self, n_slots: u32) -> Answer {
        for slot in 0..n_slots {
            self.computed(worker(slot), gradient_done(cut(0), slot, value(slot)))?;
        }
        Ok(())
    }

    /// Both ps make version 1, of value 2, out of slots 0 and 1.
    pub(crate) fn step(&mut self, _to: u64) -> Answer {
        for of in 0..N_PS {
            let job = update(cut(0), 1.0, gradients(of, &[0, 1]));
            self.plays(&mut Nothing, ps(of), Input::Wake, vec![job])?;
            self.updated(ps(of), cut(0), 2.0)?;
        }
        Ok(())
    }

    /// A worker gets a version of each ps.
    pub(crate) fn versions_came(&mut self, worker: LifeId, of: [Cut; 2]) -> Answer {
        for (link, at) in (0..).zip(of) {
            self.told(worker, link, version(at, 1.0, &[]), vec![])?;
        }
        Ok(())
    }

    pub(crate) fn persisted(
        &mut self,
        rule: &mut dyn Rule,
        life: LifeId,
        step: Step,
        is_durable: bool,
    ) -> Answer {
        let result = if is_durable { Ok(String::new()) } else { Err(String::new()) };
        self.takes(rule, life, Input::Stored(StorageEvent::Persisted { step, result }))
    }

    pub(crate) fn ends(
        &self,
        rule: &mut dyn Rule,
        losses: &[(Step, Slot, f32)],
        checkpoint: Option<&Snapshot>,
    ) -> Answer {
        self.ends_with(rule, &BTreeMap::new(), losses, checkpoint)
    }

    pub(crate) fn ends_with(
        &self,
        rule: &mut dyn Rule,
        outcomes: &BTreeMap<TaskId, Outcome>,
        losses: &[(Step, Slot, f32)],
        checkpoint: Option<&Snapshot>,
    ) -> Answer {
        let end = End { config: &self.config, outcomes, losses, checkpoint };
        rule.end(&end, &self.seen.history)
    }

    /// A process's sessions with all that it talks to are up.
    pub(crate) fn connect(&mut self, life: LifeId) {
        match life.task.job {
            unisono_core::Job::Ps => {
                for worker in 0..self.config.sync.total_num_replicas {
                    self.connect_only(life, worker);
                }
                let hello = hello(ps(1).task, life.task);
                self.accept(life, OTHER_PS_LINK, hello, ps(1).task);
            }
            unisono_core::Job::Worker => {
                for of in 0..N_PS {
                    let link = LinkId(u64::from(of));
                    let connected = NetworkEvent::Connected { link, to: ps(of).task };
                    self.quietly(life, Input::Network(connected), vec![]);
                    let welcome = Message::Welcome { incarnation: Incarnation(1), state: None };
                    let welcome = NetworkEvent::Received { link, message: welcome };
                    let up = Effect::Report(Report::PeerUp { peer: ps(of).task });
                    self.quietly(life, Input::Network(welcome), vec![up]);
                }
            }
        }
    }

    /// A worker is let in by a ps, on the link of its number.
    pub(crate) fn connect_only(&mut self, ps: LifeId, index: u32) {
        let from = worker(index).task;
        self.accept(ps, u64::from(index), hello(from, ps.task), from);
    }

    pub(crate) fn is_accepted(&mut self, life: LifeId, link: u64) {
        let accepted = NetworkEvent::Accepted { link: LinkId(link) };
        self.quietly(life, Input::Network(accepted), vec![]);
    }

    pub(crate) fn is_connected(&mut self, life: LifeId, link: u64, to: TaskId) {
        let connected = NetworkEvent::Connected { link: LinkId(link), to };
        self.quietly(life, Input::Network(connected), vec![]);
    }

    fn accept(&mut self, life: LifeId, link: u64, hello: Message, peer: TaskId) {
        self.is_accepted(life, link);
        let greeted = NetworkEvent::Received { link: LinkId(link), message: hello };
        let up = Effect::Report(Report::PeerUp { peer });
        self.quietly(life, Input::Network(greeted), vec![up]);
    }

    pub(crate) fn hears(&mut self, life: LifeId, link: u64) {
        let message = Message::Heartbeat;
        let heard = NetworkEvent::Received { link: LinkId(link), message };
        self.quietly(life, Input::Network(heard), vec![]);
    }

    fn quietly(&mut self, life: LifeId, input: Input, effects: Vec<Effect>) {
        self.plays(&mut Nothing, life, input, effects).expect("nobody looks");
    }
}

pub(crate) fn ps(index: u32) -> LifeId {
    LifeId { task: TaskId::ps(index), number: 1, incarnation: Incarnation(1) }
}

pub(crate) fn worker(index: u32) -> LifeId {
    LifeId { task: TaskId::worker(index), number: 1, incarnation: Incarnation(1) }
}

/// A version of the first generation.
pub(crate) fn cut(step: u64) -> Cut {
    Cut { generation: Generation { opener: Incarnation(1), number: 1 }, step: Step(step) }
}

/// A version of the second generation.
pub(crate) fn later(step: u64) -> Cut {
    Cut { generation: Generation { opener: Incarnation(1), number: 2 }, step: Step(step) }
}

fn value(slot: u32) -> f32 {
    slot as f32 + 1.0
}

fn part(slot: u32, ps: u32) -> Floats {
    vec![value(slot) + 0.5 * ps as f32].into()
}

pub(crate) fn state(value: f32) -> ShardState {
    ShardState { parameters: vec![value].into(), ..ShardState::default() }
}

pub(crate) fn snapshot(at: Cut, values: [f32; 2]) -> Snapshot {
    Snapshot { cut: at, shards: values.map(state).to_vec() }
}

/// As a file has it, which says nothing of generations.
pub(crate) fn restored_event(snapshot: Snapshot, is_checkpoint: bool) -> StorageEvent {
    let from = is_checkpoint.then(String::new);
    let snapshot = Arc::new(Snapshot {
        cut: Cut { generation: Generation::default(), ..snapshot.cut },
        ..snapshot
    });
    StorageEvent::Restored(Ok(Restored { snapshot, from }))
}

pub(crate) fn gradient_done(at: Cut, slot: u32, value: f32) -> Done {
    let gradient = vec![vec![value].into(), vec![value + 0.5].into()];
    Done::Gradient { cut: at, slot: Slot(slot), loss: value, gradient }
}

pub(crate) fn update_done(at: Cut, value: f32) -> Done {
    Done::Update { cut: at, state: state(value) }
}

/// A shard's parts of the gradients of these slots.
pub(crate) fn gradients(ps: u32, slots: &[u32]) -> Vec<(Slot, Floats)> {
    slots.iter().map(|slot| (Slot(*slot), part(*slot, ps))).collect()
}

pub(crate) fn update(at: Cut, value: f32, gradients: Vec<(Slot, Floats)>) -> Effect {
    Effect::Compute(Job::Update { cut: at, state: state(value), gradients })
}

pub(crate) fn job(at: Cut, values: &[f32]) -> Effect {
    let parameters = values.iter().map(|value| vec![*value].into()).collect();
    Effect::Compute(Job::Gradient { cut: at, slot: Slot(0), parameters })
}

pub(crate) fn updated(at: Cut, slots: &[u32]) -> Effect {
    let slots = slots.iter().copied().map(Slot).collect();
    Effect::Report(Report::Updated { cut: at, slots })
}

pub(crate) fn record(at: Cut, slots: &[u32]) -> Effect {
    let losses = slots.iter().map(|slot| (Slot(*slot), value(*slot))).collect();
    Effect::Record(UpdateRecord { cut: at, losses })
}

pub(crate) fn send(link: u64, message: Message) -> Effect {
    Effect::Send { link: LinkId(link), message }
}

/// The worker of a slot pushes it.
pub(crate) fn push(at: Cut, slot: u32, ps: u32) -> Message {
    let (gradient, loss, slot) = (part(slot, ps), value(slot), Slot(slot));
    Message::Push {
        cut: at,
        slot,
        loss,
        recorded: unisono_core::protocol::Recorded::default(),
        gradient,
    }
}

pub(crate) fn reply(link: u64, at: Cut, slot: u32, verdict: Verdict) -> Effect {
    send(link, Message::PushReply { cut: at, slot: Slot(slot), verdict })
}

pub(crate) fn dropped(at: Cut, slot: u32, verdict: Option<Verdict>) -> Effect {
    let worker = worker(slot).task;
    Effect::Report(Report::Dropped { step: at.step, slot: Slot(slot), worker, verdict })
}

pub(crate) fn version(at: Cut, value: f32, received: &[u32]) -> Message {
    let received = received.iter().copied().map(Slot).collect();
    let (tokens, updates) = (Vec::new(), Vec::new());
    Message::Version {
        cut: at,
        tokens,
        received,
        updates,
        acknowledged: 0,
        parameters: vec![value].into(),
    }
}

pub(crate) fn received(at: Cut, slots: Vec<Slot>) -> Message {
    Message::Received { cut: at, slots }
}

/// All tasks have ended well.
pub(crate) fn finished() -> BTreeMap<TaskId, Outcome> {
    [ps(0), ps(1), worker(0), worker(1)].map(|life| (life.task, Outcome::Finished)).into()
}

fn hello(from: TaskId, to: TaskId) -> Message {
    Message::Hello(Hello {
        version: PROTOCOL_VERSION,
        from,
        incarnation: Incarnation(1),
        to,
        settings: Settings::default(),
        data: None,
    })
}
