//! Links between simulated tasks: in order while they last, slow as their model says.

use std::collections::BTreeMap;
use std::time::Duration;

use unisono::protocol::Message;
use unisono::{Incarnation, LinkId, TaskId};

/// How long a message takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkModel {
    /// From one end to the other, whatever its size.
    pub latency: Duration,
}

/// A life of a task, as an end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LifeId {
    /// The task.
    pub task: TaskId,
    /// Which life of it.
    pub incarnation: Incarnation,
}

/// What goes along a link.
#[derive(Clone, Debug)]
pub(crate) enum Parcel {
    Message(Message),
    /// The other end closed, or is no more.
    Close(String),
}

#[derive(Debug)]
struct Link {
    ends: [LifeId; 2],
    open: [bool; 2],
    /// When the last parcel towards each end arrives: the next cannot be earlier.
    last_arrival: [Duration; 2],
}

/// All links that ever were, by number.
#[derive(Debug, Default)]
pub(crate) struct Links {
    links: BTreeMap<LinkId, Link>,
    n_links: u64,
}

impl Links {
    pub(crate) fn open(&mut self, caller: LifeId, called: LifeId, now: Duration) -> LinkId {
        let id = LinkId(self.n_links);
        self.n_links += 1;
        let link = Link { ends: [caller, called], open: [true; 2], last_arrival: [now; 2] };
        self.links.insert(id, link);
        id
    }

    /// The end that a parcel from `from` goes to, and when it arrives; `None` if the link is gone.
    pub(crate) fn carry(
        &mut self,
        id: LinkId,
        from: LifeId,
        now: Duration,
        model: LinkModel,
    ) -> Option<(LifeId, Duration)> {
        let link = self.links.get_mut(&id)?;
        let other = link.ends.iter().position(|end| *end != from)?;
        if !link.open[1 - other] {
            return None;
        }
        let arrival = (now + model.latency).max(link.last_arrival[other]);
        link.last_arrival[other] = arrival;
        Some((link.ends[other], arrival))
    }

    /// The life at the other end.
    pub(crate) fn peer(&self, id: LinkId, of: LifeId) -> Option<LifeId> {
        self.links.get(&id)?.ends.into_iter().find(|end| *end != of)
    }

    /// Whether an end still takes what arrives.
    pub(crate) fn is_open(&self, id: LinkId, end: LifeId) -> bool {
        self.links.get(&id).is_some_and(|link| {
            link.ends.iter().zip(link.open).any(|(of, open)| *of == end && open)
        })
    }

    /// An end takes and sends nothing more.
    pub(crate) fn close(&mut self, id: LinkId, end: LifeId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        for (of, open) in link.ends.iter().zip(&mut link.open) {
            *open &= *of != end;
        }
        if link.open == [false; 2] {
            self.links.remove(&id);
        }
    }

    /// The links of which a life is an open end.
    pub(crate) fn of(&self, end: LifeId) -> Vec<LinkId> {
        self.links.keys().copied().filter(|id| self.is_open(*id, end)).collect()
    }
}
