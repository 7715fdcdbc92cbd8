//! Whoever watches the nodes of a run: rules, faults that wait for events, counts, the audit hash,
//! and the trace if one was asked for.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use unisono::Moment;
use unisono::host::Observer;
use unisono::protocol::{ClusterConfig, Effect, Input, Node};

use crate::happening::{EventKind, Happening};
use crate::invariants::{At, History, Invariants, Stamp, Violation};
use crate::life::LifeId;
use crate::links::task_number;
use crate::scenario::{ExpectedEvent, When, nanos};
use crate::trace::Trace;
use crate::universe::Universe;

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
    pub(crate) counts: Counts,
    pub(crate) trace: Option<Trace>,
    /// Inputs so far.
    pub(crate) n_inputs: u64,
    /// When the last life began, and when the final checkpoint was durable first.
    pub(crate) final_save: Option<Duration>,
    /// Expected events, with how often each has happened.
    pub(crate) expected: Vec<(ExpectedEvent, u64)>,
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
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    /// Mixes in 64 bits: Fowler, Noll and Vo's multiplication, and a rotation, since it is given
    /// whole words and not bytes.
    const fn add(&mut self, word: u64) {
        self.0 = (self.0 ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    fn add_happening(&mut self, what: Happening) {
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
            counts: Counts(vec![0; EventKind::ALL.len()]),
            trace: is_traced.then(Trace::default),
            n_inputs: 0,
            final_save: None,
            expected: expected.iter().map(|event| (event.clone(), 0)).collect(),
        }
    }

    /// Whether nothing that comes could change what is wrong.
    pub(crate) const fn is_over(&self) -> bool {
        self.violation.is_some() || self.panic.is_some()
    }

    fn count(&mut self, life: LifeId, what: Happening) {
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
}

impl Watcher {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Watcher {
    fn before(&mut self, moment: Moment, input: &Input) {
        let what = Happening::of_input(input);
        self.universe.notice(self.life, what, When::Before, 0);
        let Some((now, cause)) = self.universe.take_cause(self.life, self.record().n_inputs) else {
            return;
        };
        let is_damaged = self.universe.state().disk_is_damaged;
        self.input = input.clone();
        let mut record = self.record();
        let record = &mut *record;
        record.n_inputs += 1;
        if is_damaged {
            record.history.files.damaged();
        }
        record.audit.add(nanos(now));
        record.audit.add(task_number(self.life.task) << 16 | self.life.incarnation.0);
        record.count(self.life, what);
        if what.kind == EventKind::Saved && what.step == Some(self.config.training_steps) {
            record.final_save = record.final_save.or(Some(now));
        }
        if let Some(trace) = &mut record.trace {
            trace.begin(now, self.life, what, input, cause, &self.universe);
        }
        if record.violation.is_none() {
            let stamp = Stamp { life: self.life, moment, config: &self.config };
            let noted = record.history.note_input(stamp, input);
            let at = At {
                now,
                moment,
                life: self.life,
                node: None,
                config: &self.config,
                history: &record.history,
                universe: &self.universe,
            };
            let checked = noted.and_then(|()| record.invariants.before(&at, input));
            if let Err(violation) = checked {
                record.violation = Some(violation);
                self.universe.state().is_stopped = true;
            }
        }
    }

    fn after(&mut self, moment: Moment, node: &dyn Node, effects: &[Effect]) {
        let Some(now) = self.universe.now_if_alive(self.life) else { return };
        let mut n_acts = 0;
        for effect in effects {
            let is_act = !matches!(effect, Effect::Report(_));
            if let Some(what) = Happening::of_effect(effect) {
                self.universe.notice(self.life, what, When::Before, n_acts);
                n_acts += usize::from(is_act);
                self.universe.notice(self.life, what, When::After, n_acts);
            } else {
                n_acts += usize::from(is_act);
            }
        }
        self.universe.notice(self.life, Happening::of_input(&self.input), When::After, n_acts);
        let done = match self.universe.acts_left(self.life) {
            Some(n_left) => acts(effects, n_left),
            None => effects,
        };
        let mut record = self.record();
        let record = &mut *record;
        for what in done.iter().filter_map(Happening::of_effect) {
            record.count(self.life, what);
        }
        if let Some(trace) = &mut record.trace {
            trace.end(self.life, node.status(moment), done, &self.universe);
        }
        if record.violation.is_none() {
            let stamp = Stamp { life: self.life, moment, config: &self.config };
            let noted = record.history.note_effects(stamp, &self.input, done);
            let at = At {
                now,
                moment,
                life: self.life,
                node: Some(node),
                config: &self.config,
                history: &record.history,
                universe: &self.universe,
            };
            let checked = noted.and_then(|()| record.invariants.after(&at, &self.input, done));
            if let Err(violation) = checked {
                record.violation = Some(violation);
                self.universe.state().is_stopped = true;
            }
        }
    }
}

/// The effects up to the `n`th that is more than a report.
fn acts(effects: &[Effect], n: usize) -> &[Effect] {
    let mut n_acts = 0;
    let end = effects.iter().position(|effect| {
        let is_act = !matches!(effect, Effect::Report(_));
        n_acts += usize::from(is_act);
        n_acts > n
    });
    &effects[..end.unwrap_or(effects.len())]
}
