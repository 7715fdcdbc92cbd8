//! The record of a run in progress. All incarnations of all tasks have a `Watcher` that writes to
//! this record.

use std::collections::BTreeMap;
use std::time::Duration;

use unisono_observe::ledger::Line;
use unisono_observe::trace::{EventKind, NamedEvent};
use unisono_rules::{LifeId, Rules, Violation};

use crate::record::orders::EventOrder;
use crate::record::trace::Trace;
use crate::run::audit::Audit;
use crate::scenario::ExpectedEvent;

/// The record of a run in progress, shared by all watchers.
#[derive(Debug, Default)]
pub(crate) struct LiveRecord {
    pub(crate) rules: Rules,
    /// The first violation of a rule.
    pub(crate) violation: Option<Violation>,
    /// The text of a node's panic, with the location in the code. A panic ends the run.
    pub(crate) panic: Option<String>,
    /// The input that a node is handling; `None` between inputs.
    pub(crate) handled: Option<NamedEvent>,
    pub(crate) audit: Audit,
    pub(crate) order: EventOrder,
    pub(crate) counts: Counts,
    pub(crate) trace: Option<Trace>,
    /// Number of inputs that nodes have taken.
    pub(crate) n_inputs: u64,
    /// The time at which the final checkpoint became durable for the first time.
    pub(crate) final_save: Option<Duration>,
    /// Each event that the scenario expects, with the number of its occurrences so far.
    pub(crate) expected: Vec<(ExpectedEvent, u64)>,
    /// The lines of each ps's ledger. The key of the map is the index of the ps.
    pub(crate) ledgers: BTreeMap<u32, Vec<Line>>,
}

/// The number of events of each kind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts(Vec<u64>);

impl Counts {
    pub(crate) fn get(&self, kind: EventKind) -> u64 {
        self.0[kind as usize]
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (EventKind, u64)> {
        EventKind::ALL.iter().map(|kind| (*kind, self.get(*kind)))
    }
}

impl LiveRecord {
    pub(crate) fn new(expected: &[ExpectedEvent], is_traced: bool) -> Self {
        Self {
            counts: Counts(vec![0; EventKind::ALL.len()]),
            trace: is_traced.then(Trace::default),
            expected: expected.iter().map(|event| (event.clone(), 0)).collect(),
            ..Self::default()
        }
    }

    pub(crate) fn count(&mut self, life: LifeId, what: NamedEvent) {
        // The counts are an array and not a map, because `count` runs for each input and each
        // effect.
        self.counts.0[what.kind as usize] += 1;
        for (event, n) in &mut self.expected {
            let fits = event.event == what.kind
                && event.node.is_none_or(|node| node == life.task)
                && event.step.is_none_or(|step| what.step == Some(step));
            *n += u64::from(fits);
        }
        self.audit.add_event(what);
    }
}
