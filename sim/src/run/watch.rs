//! The observer of one incarnation of a task. The observer records the inputs and effects of the
//! node, and runs the checks that are made during a run.
//!
//! The observer also triggers the faults that wait for an event, because it sees every input, with
//! the node's effects, before the effects are carried out. `verdict.rs` decides which checks exist.

use std::sync::{Arc, Mutex};

use unisono_core::Incarnation;
use unisono_core::host::{Observer, Turn};
use unisono_core::protocol::{ClusterConfig, Input, NetworkEvent};
use unisono_observe::ledger::Recorder;
use unisono_observe::trace::{EventKind, NamedEvent};
use unisono_rules::{LifeId, LifeTurn};

use crate::lock::lock;
use crate::record::orders::LifeOrder;
use crate::run::live_record::LiveRecord;
use crate::run::verdict;
use crate::scenario::nanos;
use crate::world::network::task_number;
use crate::world::universe::Universe;

#[derive(Debug)]
pub(crate) struct Watcher {
    pub(crate) life: LifeId,
    pub(crate) universe: Universe,
    pub(crate) config: Arc<ClusterConfig>,
    pub(crate) record: Arc<Mutex<LiveRecord>>,
    /// The hash of the inputs that the node has taken.
    pub(crate) order: LifeOrder,
    /// The recorder of a ps's ledger; `None` for a worker, which has no ledger.
    pub(crate) recorder: Option<Recorder>,
}

impl Watcher {
    /// Counts and records an input. Returns `false` if a fault killed the node at this
    /// input.
    fn note_input(&mut self, turn: &Turn<'_>, what: NamedEvent) -> bool {
        let input = turn.input;
        let mut record = lock(&self.record);
        let record = &mut *record;
        // The input is taken before it is counted and checked, because a fault that waits for this
        // input may kill the node. A killed node never takes the input.
        let Some(taken) = self.universe.take_input(self.life, what, record.n_inputs) else {
            return false;
        };
        let now = taken.now;
        record.n_inputs += 1;
        if taken.disk_is_damaged {
            record.rules.files_are_damaged();
        }
        record.audit.add(nanos(now));
        record.audit.add(task_number(self.life.task) << 16 | self.life.number);
        self.order.append(what, self.peer_of(input));
        record.order.add(self.order);
        record.count(self.life, what);
        if what.kind == EventKind::Saved && what.step == Some(self.config.training_steps) {
            // `final_save` is the time of the first final save. A chief that restarts at the end of
            // the run saves once more, and a fault between the two saves also disturbs the end of
            // the run.
            record.final_save = record.final_save.or(Some(now));
        }
        if let Some(trace) = &mut record.trace {
            trace.begin(now, self.life, turn, taken.cause, &self.universe);
        }
        true
    }

    /// Counts, records and checks the effects that the host will carry out.
    fn note_effects(&mut self, turn: &Turn<'_>) {
        let Turn { now, input, effects, .. } = *turn;
        let mut record = lock(&self.record);
        let record = &mut *record;
        if let Some(recorder) = &mut self.recorder {
            record.ledgers.entry(self.life.task.index).or_default().extend(recorder.turn(turn));
        }
        for what in effects.iter().filter_map(NamedEvent::of_effect) {
            record.count(self.life, what);
        }
        if let Some(trace) = &mut record.trace {
            trace.end(self.life, turn, &self.universe);
        }
        let (life, config) = (self.life, &*self.config);
        verdict::check_turn(record, LifeTurn { life, now, config, input, effects }, &self.universe);
    }

    /// Returns the incarnation at the other end of an input's link; `None` for an input without a
    /// link. A failed call reached no incarnation of the called task. The result then has the
    /// number 0, which no incarnation has.
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
}

impl Observer for Watcher {
    fn turn(&mut self, turn: &Turn<'_>) {
        let what = NamedEvent::of_input(turn.input);
        if !self.note_input(turn, what) {
            return;
        }
        // If the node dies between two effects, `effects` contains only the effects before its
        // death. The ledger, the trace and the rules must only see the effects that are carried
        // out.
        if let Some(effects) = self.universe.take_effects(self.life, what, turn.effects) {
            self.note_effects(&Turn { effects, ..*turn });
        }
    }
}
