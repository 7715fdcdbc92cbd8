//! What each life was told and did: its sessions, and what follows for its shard or its work.

use crate::life_id::LifeId;
use crate::lives::shard::Pushed;
use crate::lives::shard::Shard;
use crate::lives::work::Work;
use crate::stamp::Stamp;
use std::collections::BTreeMap;
use unisono_core::protocol::{ClusterConfig, Effect, Input, Message, NetworkEvent, Report};
use unisono_core::{Cut, Incarnation, Job, LinkId, Moment, TaskId};

/// All lives, but those that a later life of the same task has replaced.
#[derive(Debug, Default)]
pub struct Lives(BTreeMap<LifeId, Life>);

/// One life.
#[derive(Debug)]
pub struct Life {
    /// Its links, from when it learns of them until one of the ends closes them.
    pub sessions: BTreeMap<LinkId, Session>,
    /// The newest life of each peer that it let in, or was let in by.
    pub let_in: BTreeMap<TaskId, Incarnation>,
    /// Jobs that are under way.
    pub n_jobs: usize,
    /// Whether it was asked to end.
    pub asked_to_stop: bool,
    /// Of a ps.
    pub shard: Shard,
    /// Of a worker.
    pub work: Work,
}

/// One end's view of a link.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    /// Who is at the other end; `None` until a caller has said so.
    pub peer: Option<TaskId>,
    /// Which life of it, once greetings were exchanged.
    pub incarnation: Option<Incarnation>,
    /// When anything came last.
    pub heard: Moment,
}

impl Session {
    /// The peer, once greetings were exchanged.
    #[must_use]
    pub fn peer_if_up(&self) -> Option<TaskId> {
        self.incarnation.and(self.peer)
    }
}

impl Lives {
    /// A life that has begun.
    #[must_use]
    pub fn of(&self, life: LifeId) -> Option<&Life> {
        self.0.get(&life)
    }

    pub(crate) fn note_input(&mut self, stamp: Stamp<'_>, input: &Input) {
        let Stamp { life: id, moment, config } = stamp;
        if !self.0.contains_key(&id) {
            self.0.retain(|old, _| old.task != id.task);
        }
        let life = self.0.entry(id).or_insert_with(|| Life::new(config));
        life.note_input(moment, input);
    }

    pub(crate) fn note_effects(&mut self, stamp: Stamp<'_>, input: &Input, effects: &[Effect]) {
        let Some(life) = self.0.get_mut(&stamp.life) else { return };
        life.note_effects(stamp.moment, input, effects);
        if stamp.life.task.job == Job::Ps {
            life.note_shard(stamp, input, effects);
        }
    }
}

impl Life {
    fn new(config: &ClusterConfig) -> Self {
        Self {
            sessions: BTreeMap::new(),
            let_in: BTreeMap::new(),
            n_jobs: 0,
            asked_to_stop: false,
            shard: Shard::default(),
            work: Work::new(config.n_ps),
        }
    }

    /// The peer at the other end of a link, while a session with it is up.
    #[must_use]
    pub fn peer(&self, link: LinkId) -> Option<TaskId> {
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
                self.sessions.insert(*link, Session { peer: Some(*to), incarnation: None, heard });
            }
            NetworkEvent::Accepted { link } => {
                self.sessions.insert(*link, Session { peer: None, incarnation: None, heard });
            }
            NetworkEvent::Received { link, message } => {
                let Some(session) = self.sessions.get_mut(link) else { return };
                session.heard = heard;
                if let (Some(ps), Message::Version { cut: Cut { generation, step }, .. }) =
                    (session.peer_if_up(), message)
                {
                    self.work.note_version(ps, Cut { generation: *generation, step: *step });
                }
            }
            NetworkEvent::Progress { link } => {
                if let Some(session) = self.sessions.get_mut(link) {
                    session.heard = heard;
                }
            }
            NetworkEvent::Closed { link, .. } => {
                self.sessions.remove(link);
            }
            NetworkEvent::ConnectFailed { .. } => {}
        }
    }

    fn note_effects(&mut self, moment: Moment, input: &Input, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Close { link } => {
                    self.sessions.remove(link);
                }
                Effect::Compute(_) => self.n_jobs += 1,
                Effect::Report(Report::PeerUp { peer }) => self.note_up(moment, *peer, input),
                _ => {}
            }
        }
    }

    /// A session is up: the greeting that made it so is the input.
    fn note_up(&mut self, heard: Moment, peer: TaskId, input: &Input) {
        let Input::Network(NetworkEvent::Received { link, message }) = input else { return };
        let incarnation = match message {
            Message::Hello(hello) => hello.incarnation,
            Message::Welcome { incarnation, .. } => *incarnation,
            _ => return,
        };
        let session = Session { peer: Some(peer), incarnation: Some(incarnation), heard };
        self.sessions.insert(*link, session);
        self.let_in.insert(peer, incarnation);
        self.work.note_life(peer, incarnation);
    }
}

impl Life {
    /// The gradient that an input brings, on a session that is up.
    #[must_use]
    pub(crate) fn pushed<'a>(&self, input: &'a Input) -> Option<Pushed<'a>> {
        let Input::Network(NetworkEvent::Received { link, message }) = input else { return None };
        let Message::Push { cut, slot, loss, gradient, .. } = message else {
            return None;
        };
        let worker = self.peer(*link).filter(|peer| peer.job == Job::Worker)?;
        let cut = *cut;
        Some(Pushed { link: *link, worker, cut, slot: *slot, loss: *loss, gradient })
    }

    pub(super) fn note_shard(&mut self, stamp: Stamp<'_>, input: &Input, effects: &[Effect]) {
        if let Some(pushed) = self.pushed(input) {
            if self.shard.cut == Some(pushed.cut) && is_taken(&pushed, effects) {
                self.shard.accept(stamp, &pushed);
            }
        } else if let Input::Network(NetworkEvent::Received { link, message }) = input
            && let Some(peer) = self.peer(*link)
        {
            self.shard.note_message(stamp, peer, message, effects);
        }
        for effect in effects {
            self.shard.note_effect(effect);
        }
    }
}

/// Whether a gradient was neither declined nor dropped, and its session not ended for it.
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
