//! The sessions of each process, and the shard of a ps or the work of a worker.

use crate::life_id::LifeId;
use crate::life_turn::LifeTurn;
use crate::lives::shard::Pushed;
use crate::lives::shard::Shard;
use crate::lives::work::Work;
use std::collections::BTreeMap;
use unisono_core::protocol::{Effect, Input, Message, NetworkEvent, Report};
use unisono_core::{Incarnation, Job, LinkId, Moment, TaskId};

/// The newest process of each task, with its state.
#[derive(Debug, Default)]
pub(crate) struct Lives(BTreeMap<LifeId, Life>);

/// The state of one process of a task, derived from the inputs and effects of the process.
#[derive(Debug, Default)]
pub(crate) struct Life {
    /// The open links of the process.
    pub(crate) sessions: BTreeMap<LinkId, Session>,
    /// The incarnation of each peer in the newest session with this peer.
    pub(crate) let_in: BTreeMap<TaskId, Incarnation>,
    /// The number of jobs that are under way.
    pub(crate) n_jobs: usize,
    /// Whether the process was asked to stop.
    pub(crate) asked_to_stop: bool,
    /// The shard of a ps.
    pub(crate) shard: Shard,
    /// The work of a worker.
    pub(crate) work: Work,
}

/// A link, as the process at one end knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Session {
    /// The peer at the other end of the link; `None` for a caller that has not sent `Hello`.
    pub(crate) peer: Option<TaskId>,
    /// The incarnation of the peer; `None` until `Hello` and `Welcome` were exchanged.
    pub(crate) incarnation: Option<Incarnation>,
    /// The time at which the last message, or the last part of an incomplete message, arrived.
    pub(crate) heard: Moment,
    n_pushes: u64,
    n_acknowledged: u64,
}

impl Session {
    const fn new(peer: Option<TaskId>, heard: Moment) -> Self {
        Self { peer, incarnation: None, heard, n_pushes: 0, n_acknowledged: 0 }
    }

    fn acknowledge(&mut self, n_pushes: u64) {
        self.n_acknowledged = self.n_acknowledged.max(n_pushes);
    }

    /// Returns the number of pushes on this link that the peer has not acknowledged.
    pub(crate) const fn n_open_pushes(&self) -> u64 {
        self.n_pushes.saturating_sub(self.n_acknowledged)
    }

    /// Returns the peer; `None` until `Hello` and `Welcome` were exchanged.
    pub(crate) fn peer_if_up(&self) -> Option<TaskId> {
        self.incarnation.and(self.peer)
    }
}

impl Lives {
    /// Returns the state of a process, if the process is the newest of its task and has handled an
    /// input.
    pub(crate) fn of(&self, life: LifeId) -> Option<&Life> {
        self.0.get(&life)
    }

    pub(crate) fn note_input(&mut self, turn: &LifeTurn<'_>) {
        if !self.0.contains_key(&turn.life) {
            self.0.retain(|old, _| old.task != turn.life.task);
        }
        let new = || Life { work: Work::new(turn.config.n_ps), ..Life::default() };
        self.0.entry(turn.life).or_insert_with(new).note_input(turn.now, turn.input);
    }

    pub(crate) fn note_effects(&mut self, turn: &LifeTurn<'_>) {
        let Some(life) = self.0.get_mut(&turn.life) else { return };
        life.note_effects(turn);
        if turn.life.task.job == Job::Ps {
            life.note_shard(turn);
        }
    }
}

impl Life {
    /// Returns the peer at the other end of a link; `None` if there is no session on the link.
    pub(crate) fn peer(&self, link: LinkId) -> Option<TaskId> {
        self.sessions.get(&link).and_then(Session::peer_if_up)
    }

    fn note_input(&mut self, moment: Moment, input: &Input) {
        match input {
            Input::Network(event) => self.note_event(moment, event),
            Input::Computed(_) => self.n_jobs = self.n_jobs.saturating_sub(1),
            Input::Stop => self.asked_to_stop = true,
            Input::Start | Input::Stored(_) | Input::Wake => {}
        }
    }

    fn note_event(&mut self, heard: Moment, event: &NetworkEvent) {
        match event {
            NetworkEvent::Connected { link, to } => {
                self.sessions.insert(*link, Session::new(Some(*to), heard));
            }
            NetworkEvent::Accepted { link } => {
                self.sessions.insert(*link, Session::new(None, heard));
            }
            NetworkEvent::Received { link, message } => {
                let Some(session) = self.sessions.get_mut(link) else { return };
                session.heard = heard;
                match message {
                    Message::Version { cut, acknowledged, .. } => {
                        session.acknowledge(*acknowledged);
                        if let Some(ps) = session.peer_if_up() {
                            self.work.note_version(ps, *cut);
                        }
                    }
                    Message::Acknowledged { pushes } => session.acknowledge(*pushes),
                    _ => {}
                }
            }
            NetworkEvent::Progress { link } => {
                if let Some(session) = self.sessions.get_mut(link) {
                    session.heard = heard;
                }
            }
            NetworkEvent::Closed { link, .. } => drop(self.sessions.remove(link)),
            NetworkEvent::ConnectFailed { .. } => {}
        }
    }

    fn note_effects(&mut self, turn: &LifeTurn<'_>) {
        for effect in turn.effects {
            match effect {
                Effect::Close { link } => drop(self.sessions.remove(link)),
                Effect::Compute(_) => self.n_jobs += 1,
                Effect::Send { link, message: Message::Push { .. } } => {
                    if let Some(session) = self.sessions.get_mut(link) {
                        session.n_pushes += 1;
                    }
                }
                Effect::Report(Report::PeerUp { peer }) => self.note_up(turn, *peer),
                _ => {}
            }
        }
    }

    /// Notes a new session, if the input of the turn is the `Hello` or `Welcome` that opened the
    /// session.
    fn note_up(&mut self, turn: &LifeTurn<'_>, peer: TaskId) {
        let Input::Network(NetworkEvent::Received { link, message }) = turn.input else { return };
        let incarnation = match message {
            Message::Hello(hello) => hello.incarnation,
            Message::Welcome { incarnation, .. } => *incarnation,
            _ => return,
        };
        let session = self.sessions.entry(*link).or_insert_with(|| Session::new(None, turn.now));
        (session.peer, session.incarnation) = (Some(peer), Some(incarnation));
        self.let_in.insert(peer, incarnation);
        self.work.note_life(peer, incarnation);
    }
}

impl Life {
    /// Returns the gradient in an input; `None` if the input is not a push on a session with a
    /// worker.
    pub(crate) fn pushed<'a>(&self, input: &'a Input) -> Option<Pushed<'a>> {
        let Input::Network(NetworkEvent::Received { link, message }) = input else { return None };
        let Message::Push { cut, slot, loss, gradient, .. } = message else {
            return None;
        };
        let worker = self.peer(*link).filter(|peer| peer.job == Job::Worker)?;
        Some(Pushed { link: *link, worker, cut: *cut, slot: *slot, loss: *loss, gradient })
    }

    fn note_shard(&mut self, turn: &LifeTurn<'_>) {
        if let Some(pushed) = self.pushed(turn.input) {
            if self.shard.cut == Some(pushed.cut) && is_taken(&pushed, turn.effects) {
                self.shard.accept(turn, &pushed);
            }
        } else if let Input::Network(NetworkEvent::Received { link, message }) = turn.input
            && let Some(peer) = self.peer(*link)
        {
            self.shard.note_message(turn, peer, message);
        }
        turn.effects.iter().for_each(|effect| self.shard.note_effect(effect));
    }
}

/// Returns whether a ps has accepted a gradient. The effects must not decline or drop the gradient,
/// close its link, or halt the ps.
fn is_taken(pushed: &Pushed<'_>, effects: &[Effect]) -> bool {
    !effects.iter().any(|effect| match effect {
        Effect::Send { message: Message::PushReply { .. }, .. } | Effect::Halt(_) => true,
        Effect::Report(Report::Dropped { slot, worker, .. }) => {
            (*slot, *worker) == (pushed.slot, pushed.worker)
        }
        Effect::Close { link } => *link == pushed.link,
        _ => false,
    })
}
