//! The first event in which two runs differ.

use serde::Serialize;

use crate::record::trace::Trace;
use crate::show::report::ChainLink;

/// Number of events to show before the first difference, and number of events to show from the
/// difference on.
const CONTEXT: usize = 5;

/// The first event in which two runs differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Divergence {
    /// The index, from 0, of the first event that differs. All earlier events are equal in both
    /// runs.
    pub event: usize,
    /// The last events that are equal in both runs.
    pub before: Vec<ChainLink>,
    /// The events of the first run from the first difference on; empty if the first run ended
    /// there.
    pub a: Vec<ChainLink>,
    /// The events of the second run from the first difference on; empty if the second run ended
    /// there.
    pub b: Vec<ChainLink>,
}

/// Returns the first event in which two runs differ; `None` if the runs are equal.
pub(crate) fn first_divergence(a: &Trace, b: &Trace) -> Option<Divergence> {
    let n_common = a.events.len().min(b.events.len());
    let differs = |number: &usize| a.events[*number] != b.events[*number];
    let event = (0..n_common).find(differs).unwrap_or(n_common);
    if event == a.events.len() && event == b.events.len() {
        return None;
    }
    let links = |trace: &Trace, from: usize, to: usize| {
        let to = to.min(trace.events.len());
        trace.events[from..to].iter().map(ChainLink::from_event).collect()
    };
    Some(Divergence {
        event,
        before: links(a, event.saturating_sub(CONTEXT), event),
        a: links(a, event, event + CONTEXT),
        b: links(b, event, event + CONTEXT),
    })
}
