//! Whoever watches the nodes of a run: rules, faults that wait for events, counts, the audit hash,
//! and the trace if one was asked for.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use unisono_core::host::Observer;
use unisono_core::protocol::{ClusterConfig, Effect, Input, NetworkEvent, Node};
use unisono_core::{Incarnation, Moment};
use unisono_observe::ledger::{Line, Recorder};

use crate::invariants::all::Invariants;
use crate::invariants::invariant::At;
use crate::invariants::stamp::Stamp;
use crate::invariants::{History, Violation};
use crate::lock::lock;
use crate::record::orders::{EventOrder, LifeOrder};
use crate::record::trace::Trace;
use crate::scenario::{ExpectedEvent, nanos};
use crate::world::life::LifeId;
use crate::world::network::task_number;
use crate::world::universe::Universe;
use unisono_observe::trace::{EventKind, NamedEvent, Tracer};

/// What is known of a run while it goes on; shared by the watchers of all lives.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) history: History,
    pub(crate) invariants: Invariants,
    /// The first rule that was broken.
    pub(crate) violation: Option<Violation>,
    /// What a node said that panicked.
    pub(crate) panic: Option<String>,
    pub(crate) audit: Audit,
    pub(crate) order: EventOrder,
    pub(crate) counts: Counts,
    pub(crate) trace: Option<Trace>,
    /// Inputs so far.
    pub(crate) n_inputs: u64,
    /// When the final checkpoint was durable first.
    pub(crate) final_save: Option<Duration>,
    /// Expected events, with how often each has happened.
    pub(crate) expected: Vec<(ExpectedEvent, u64)>,
    /// The ledger of each ps, by its number.
    pub(crate) ledgers: BTreeMap<u32, Vec<Line>>,
}

/// How often each kind of event happened.
#[derive(Clone, Debug)]
pub(crate) struct Counts(Vec<u64>);

impl Counts {
    pub(crate) fn of(&self, kind: EventKind) -> u64 {
        self.0[kind as usize]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (EventKind, u64)> {
        EventKind::ALL.iter().map(|kind| (*kind, self.of(*kind)))
    }
}

/// A hash of everything that happened, in order: two runs with the same one did the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audit(u64);

impl Audit {
    pub(crate) const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Mixes in 64 bits: Fowler, Noll and Vo's multiplication, and a rotation, since it is given
    /// whole words and not bytes.
    const fn add(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    fn add_happening(&mut self, what: NamedEvent) {
        self.add(what.kind as u64);
        self.add(what.step.map_or(u64::MAX, |step| step.0));
        self.add(what.slot.map_or(u64::MAX, |slot| u64::from(slot.0)));
    }
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Record {
    pub(crate) fn new(expected: &[ExpectedEvent], is_traced: bool) -> Self {
        Self {
            history: History::default(),
            invariants: Invariants::all(),
            violation: None,
            panic: None,
            audit: Audit::new(),
            order: EventOrder::default(),
            counts: Counts(vec![0; EventKind::ALL.len()]),
            trace: is_traced.then(Trace::default),
            n_inputs: 0,
            final_save: None,
            expected: expected.iter().map(|event| (event.clone(), 0)).collect(),
            ledgers: BTreeMap::new(),
        }
    }

    /// Whether nothing that comes could change what is wrong.
    pub(crate) const fn is_over(&self) -> bool {
        self.violation.is_some() || self.panic.is_some()
    }

    fn count(&mut self, life: LifeId, what: NamedEvent) {
        self.counts.0[what.kind as usize] += 1;
        for (event, n) in &mut self.expected {
            let fits = event.event == what.kind
                && event.node.is_none_or(|node| node == life.task)
                && event.step.is_none_or(|step| what.step == Some(step));
            *n += u64::from(fits);
        }
        self.audit.add_happening(what);
    }
}

/// Watches one life.
#[derive(Debug)]
pub(crate) struct Watcher {
    pub(crate) life: LifeId,
    pub(crate) universe: Universe,
    pub(crate) config: Arc<ClusterConfig>,
    pub(crate) record: Arc<Mutex<Record>>,
    /// The input that the node is taking.
    pub(crate) input: Input,
    /// The inputs that the node has taken.
    pub(crate) order: LifeOrder,
    /// Of a ps.
    pub(crate) recorder: Option<Recorder>,
    /// Of a run that is traced.
    pub(crate) tracer: Tracer,
}

impl Watcher {
    /// The life that an input comes from. A call that failed reached no life of its task.
    fn peer_of(&self, input: &Input) -> Option<LifeId> {
        match input {
            Input::Network(NetworkEvent::ConnectFailed { to, .. }) => {
                Some(LifeId { task: *to, number: 0, incarnation: Incarnation(0) })
            }
            Input::Network(
                NetworkEvent::Connected { link, .. }
                | NetworkEvent::Accepted { link, .. }
                | NetworkEvent::Received { link, .. }
                | NetworkEvent::Progress { link, .. }
                | NetworkEvent::Closed { link, .. },
            ) => self.universe.peer(*link, self.life),
            _ => None,
        }
    }

    /// Notes what happens and asks the rules about it, unless one is broken already.
    fn check(
        &self,
        record: &mut Record,
        (now, moment): (Duration, Moment),
        node: Option<&dyn Node>,
        note: impl FnOnce(&mut History, Stamp<'_>) -> Result<(), Violation>,
        ask: impl FnOnce(&mut Invariants, &At<'_>) -> Result<(), Violation>,
    ) {
        if record.violation.is_some() {
            return;
        }
        let stamp = Stamp { life: self.life, moment, config: &self.config };
        let noted = note(&mut record.history, stamp);
        let at = At {
            now,
            moment,
            life: self.life,
            node,
            config: &self.config,
            history: &record.history,
            universe: &self.universe,
        };
        if let Err(violation) = noted.and_then(|()| ask(&mut record.invariants, &at)) {
            record.violation = Some(violation);
            self.universe.state().is_stopped = true;
        }
    }
}

impl Observer for Watcher {
    fn before(&mut self, moment: Moment, input: &Input) {
        let what = NamedEvent::of_input(input);
        let mut record = lock(&self.record);
        let record = &mut *record;
        let Some(taken) = self.universe.take_input(self.life, what, record.n_inputs) else {
            return;
        };
        let now = taken.now;
        self.input = input.clone();
        if let Some(recorder) = &mut self.recorder {
            recorder.before(input);
        }
        record.n_inputs += 1;
        if taken.disk_is_damaged {
            record.history.files.damaged();
        }
        record.audit.add(nanos(now));
        record.audit.add(task_number(self.life.task) << 16 | self.life.number);
        self.order.append(what, self.peer_of(input));
        record.order.add(self.order);
        record.count(self.life, what);
        if what.kind == EventKind::Saved && what.step == Some(self.config.training_steps) {
            record.final_save = record.final_save.or(Some(now));
        }
        if let Some(trace) = &mut record.trace {
            let entry = self.tracer.of_input(input);
            trace.begin(now, self.life, (input, entry), taken.cause, &self.universe);
        }
        self.check(
            record,
            (now, moment),
            None,
            |history, stamp| history.note_input(stamp, input),
            |invariants, at| invariants.before(at, input),
        );
    }

    fn after(&mut self, moment: Moment, node: &dyn Node, effects: &[Effect]) {
        let input = NamedEvent::of_input(&self.input);
        let Some((now, done)) = self.universe.take_effects(self.life, input, effects) else {
            return;
        };
        let mut record = lock(&self.record);
        let record = &mut *record;
        if let Some(recorder) = &mut self.recorder {
            record.ledgers.entry(self.life.task.index).or_default().extend(recorder.after(done));
        }
        for what in done.iter().filter_map(NamedEvent::of_effect) {
            record.count(self.life, what);
        }
        if let Some(trace) = &mut record.trace {
            let status = node.status(moment);
            trace.end(self.life, status, done, &mut self.tracer, &self.universe);
        }
        self.check(
            record,
            (now, moment),
            Some(node),
            |history, stamp| history.note_effects(stamp, &self.input, done),
            |invariants, at| invariants.after(at, &self.input, done),
        );
    }
}
