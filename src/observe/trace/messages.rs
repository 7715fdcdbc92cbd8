//! Matches received messages with sent messages, from the traces of both ends of a link.
//!
//! Each end of a link numbers its links itself, and messages have no numbers. But a link delivers
//! messages in order, and loses messages only when the link breaks. So the messages that one end
//! received are a prefix of the messages that the other end sent. If this is true in both
//! directions, the two ends belong to the same link.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::named_event::{EventKind, NamedEvent};
use super::run::Run;
use crate::trace::line::TracedLife;
use unisono_core::ids::{Incarnation, LinkId, TaskId};

/// The position of an event: the index of its incarnation, and the index of the event in that
/// incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EventAt {
    pub(super) life: usize,
    pub(super) event: usize,
}

/// A message that was sent and received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) sent: EventAt,
    /// Index of the message among the effects of the sending event.
    pub(super) does: usize,
    pub(super) received: EventAt,
}

/// Returns all received messages for which the sending event is known.
pub(super) fn deliveries(run: &Run) -> Vec<Delivery> {
    let ends: Vec<_> = run.lives.iter().map(Ends::of).collect();
    let mut taken = BTreeSet::new();
    let mut deliveries = Vec::new();
    for (called, theirs) in ends.iter().enumerate() {
        for there in theirs.0.values().filter(|end| !end.is_caller) {
            let Some((caller, link)) = other_end(run, &ends, called, there, &taken) else {
                continue;
            };
            // Each calling end belongs to only one link.
            taken.insert((caller, link));
            let here = &ends[caller].0[&link];
            deliver((caller, here), (called, there), &mut deliveries);
            deliver((called, there), (caller, here), &mut deliveries);
        }
    }
    deliveries
}

/// Finds the calling end of a link, given its called end.
fn other_end(
    run: &Run,
    ends: &[Ends],
    called: usize,
    there: &End,
    taken: &BTreeSet<(usize, LinkId)>,
) -> Option<(usize, LinkId)> {
    let header = &run.lives[called].header;
    let calls = |caller: &usize| {
        let other = &run.lives[*caller].header;
        Some(other.task) == there.peer && Some(other.incarnation) == there.incarnation
    };
    let came = time(&run.lives[called], there.received.first()?.0);
    let mut found = None;
    for caller in (0..run.lives.len()).filter(calls) {
        for (link, here) in &ends[caller].0 {
            let is_it = here.is_caller
                && here.peer == Some(header.task)
                && here.incarnation.is_none_or(|life| life == header.incarnation)
                && !taken.contains(&(caller, *link))
                && agree(here, there)
                && agree(there, here);
            let Some((sent, ..)) = here.sent.first().filter(|_| is_it) else { continue };
            // If several calling ends match, the last one that sent before the called end received
            // is taken. Clocks may be wrong, so the first match is taken if none sent before.
            if found.is_none() || time(&run.lives[caller], *sent) <= came {
                found = Some((caller, *link));
            }
        }
    }
    found
}

/// Returns whether the messages that the end `to` received can be the messages that the end `from`
/// sent. The shorter list must be a prefix of the longer list, because a trace may end before its
/// link ends.
fn agree(from: &End, to: &End) -> bool {
    from.sent.iter().zip(&to.received).all(|((.., sent), (_, received))| {
        received.kind.sent_as() == Some(sent.kind)
            && (received.step, received.slot) == (sent.step, sent.slot)
    })
}

fn deliver(from: (usize, &End), to: (usize, &End), deliveries: &mut Vec<Delivery>) {
    for ((event, does, _), (received, _)) in from.1.sent.iter().zip(&to.1.received) {
        deliveries.push(Delivery {
            sent: EventAt { life: from.0, event: *event },
            does: *does,
            received: EventAt { life: to.0, event: *received },
        });
    }
}

fn time(life: &TracedLife, event: usize) -> Duration {
    life.header.origin + life.events[event].at
}

/// The ends of all links of an incarnation.
struct Ends(BTreeMap<LinkId, End>);

#[derive(Default)]
struct End {
    is_caller: bool,
    peer: Option<TaskId>,
    /// Incarnation of the peer, from its greeting.
    incarnation: Option<Incarnation>,
    /// Sent messages. For each message: the index of the sending event, the index of the message
    /// among the effects of that event, and the named event of the message.
    sent: Vec<(usize, usize, NamedEvent)>,
    received: Vec<(usize, NamedEvent)>,
}

impl Ends {
    fn of(life: &TracedLife) -> Self {
        let mut ends: BTreeMap<LinkId, End> = BTreeMap::new();
        for (number, event) in life.events.iter().enumerate() {
            if let Some(link) = event.input.details.link.filter(|_| !event.input.is_noise()) {
                let (what, details) = (event.input.what, &event.input.details);
                let end = ends.entry(link).or_default();
                end.peer = end.peer.or(details.peer);
                match what.kind {
                    EventKind::Connected => end.is_caller = true,
                    EventKind::ReceivesHello | EventKind::ReceivesWelcome => {
                        end.incarnation = details.incarnation;
                    }
                    _ => {}
                }
                if what.kind.sent_as().is_some() {
                    end.received.push((number, what));
                }
            }
            for (place, done) in event.does.iter().enumerate().filter(|(_, it)| !it.is_noise()) {
                if let Some(link) = done.details.link
                    && done.what.kind.name().starts_with("sends-")
                {
                    ends.entry(link).or_default().sent.push((number, place, done.what));
                }
            }
        }
        Self(ends)
    }
}
