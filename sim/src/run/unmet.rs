//! An expectation that a run did not meet, and the event that broke the expectation.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use unisono_core::{Step, TaskId};
use unisono_observe::trace::{EventKind, NamedEvent};

use crate::record::trace::Trace;
use crate::scenario::Place;

/// An expectation that a run did not meet.
#[derive(Clone, Debug, PartialEq)]
pub struct Unmet {
    /// A short name of the expectation, in kebab-case.
    pub name: &'static str,
    /// The number of the rule of `docs/protocol.md` that already demands the expectation; 0 if
    /// there is no such rule.
    pub rule: u8,
    /// The step at which the expectation is not met, if there is one such step.
    pub step: Option<Step>,
    /// A text for the user with the actual value and the expected value.
    pub what: String,
    /// The line of the scenario file that states the expectation; `None` for a default expectation.
    pub place: Option<Place>,
    /// The event that broke the expectation; `None` if there is no such event, for example because
    /// an expected event never happened.
    pub broken_by: Option<Breaker>,
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        self.place.as_ref().map_or(Ok(()), |place| write!(f, " ({place})"))
    }
}

/// The first event after which an expectation cannot be met any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Breaker {
    /// The `nth` event that matches the other fields.
    Event {
        /// The kind of the event.
        event: EventKind,
        /// The task; `None` matches any task.
        node: Option<TaskId>,
        /// The step; `None` matches any step.
        step: Option<Step>,
        /// The number of the event among all matching events, counted from 1.
        nth: u64,
    },
    /// The event at which the chief opened the `nth` generation.
    Generation {
        /// The number of the generation among all generations of the run, counted from 1.
        nth: u64,
    },
    /// The first event after this time.
    After(Duration),
}

impl Breaker {
    /// The number of the event in a trace of the run.
    pub(crate) fn find(&self, trace: &Trace) -> Option<usize> {
        match self {
            Self::Event { event, node, step, nth } => {
                let fits = |what: &NamedEvent| {
                    what.kind == *event && step.is_none_or(|step| what.step == Some(step))
                };
                let mut left = *nth;
                trace.events.iter().position(|traced| {
                    if node.is_some_and(|node| node != traced.life.task) {
                        return false;
                    }
                    let done = traced.effects.iter().map(|effect| effect.what);
                    let n = std::iter::once(traced.what).chain(done).filter(fits).count() as u64;
                    left = left.saturating_sub(n);
                    left == 0
                })
            }
            Self::Generation { nth } => {
                // A restarted chief may use the number of a generation that an earlier incarnation
                // opened. So `opened` holds pairs of an incarnation and a generation.
                let mut opened = BTreeSet::new();
                trace.events.iter().position(|traced| {
                    let is_sent = |kind| kind == EventKind::SendsRestore;
                    let sent = traced.effects.iter().filter(|done| is_sent(done.what.kind));
                    opened.extend(sent.map(|done| (traced.life, done.details.generation)));
                    opened.len() as u64 >= *nth
                })
            }
            Self::After(time) => trace.events.iter().position(|traced| traced.at > *time),
        }
    }
}
