//! Where two runs part.

use serde::Serialize;

use crate::record::trace::Trace;
use crate::show::report::ChainLink;

/// Events that are shown before the first that differs, and from there on.
const CONTEXT: usize = 5;

/// The first event in which two runs differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Divergence {
    /// Its number; that many are the same.
    pub event: usize,
    /// The last events that are the same.
    pub before: Vec<ChainLink>,
    /// How the first run goes on; empty if it has ended.
    pub a: Vec<ChainLink>,
    /// How the second one does.
    pub b: Vec<ChainLink>,
}

/// The first event in which two runs differ, if there is one.
#[must_use]
pub fn first_divergence(a: &Trace, b: &Trace) -> Option<Divergence> {
    let n_common = a.events.len().min(b.events.len());
    let differs = |number: &usize| a.events[*number] != b.events[*number];
    let event = (0..n_common).find(differs).unwrap_or(n_common);
    if event == a.events.len() && event == b.events.len() {
        return None;
    }
    let links = |trace: &Trace, from: usize, to: usize| {
        let to = to.min(trace.events.len());
        trace.events[from..to].iter().map(ChainLink::of).collect()
    };
    Some(Divergence {
        event,
        before: links(a, event.saturating_sub(CONTEXT), event),
        a: links(a, event, event + CONTEXT),
        b: links(b, event, event + CONTEXT),
    })
}
