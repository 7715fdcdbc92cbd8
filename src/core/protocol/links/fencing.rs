//! Rule 8 between two lives of a task: which one is older, and what the older one is told.

use crate::ids::{Incarnation, LinkId, TaskId};
use crate::protocol::failure::Failure;
use crate::protocol::links::Refusal;
use crate::protocol::links::{Call, Links, PeerEvent};
use crate::protocol::message::{Message, NewerIncarnation};
use crate::protocol::{Effect, Outcome, Report};
use crate::time::Moment;

impl Links {
    /// Rule 8: whether a peer's incarnation is not older than the newest known one, and is one that
    /// a host chooses.
    pub(super) fn check_incarnation(
        &self,
        peer: TaskId,
        incarnation: Incarnation,
    ) -> Result<(), Refusal> {
        if incarnation > Incarnation::LARGEST {
            let largest = Incarnation::LARGEST;
            let reason = format!("{peer} has incarnation {incarnation}; the largest is {largest}");
            return Err(Refusal { reason, older_than: None });
        }
        match self.incarnations.get(&peer) {
            Some(&newest) if newest.fences(incarnation) => {
                let reason = format!(
                    "this process of {peer} has incarnation {incarnation}, and {} knows \
                     incarnation {newest}: {peer} was restarted since, or a clock was set back",
                    self.me
                );
                let is_connected = self.is_up(peer);
                let older_than = Some(NewerIncarnation { incarnation: newest, is_connected });
                Err(Refusal { reason, older_than })
            }
            _ => Ok(()),
        }
    }

    /// A called task welcomes this one, and is an older life. It is told the incarnation to exceed.
    pub(super) fn refuse_called(
        &mut self,
        now: Moment,
        link: LinkId,
        peer: TaskId,
        Refusal { reason, older_than }: Refusal,
        out: &mut Vec<Effect>,
    ) -> Option<PeerEvent> {
        let why = format!("{peer} was turned away: {reason}");
        out.push(Effect::Report(Report::TurnedAway { why }));
        let message = Message::Refused { reason: reason.clone(), older_than };
        self.send_on(now, link, message, out);
        out.push(Effect::Close { link });
        // Its next life is called soon: it must hear of the incarnation to exceed before others,
        // which may have forgotten the life before, give it work that it would lose again.
        self.calls.insert(peer, Call::Linked { failures: 0 });
        self.remove_session(now, link, reason, out)
    }

    /// A peer tells of a life of a task. If it is newer than the known one, the session with the older
    /// life ends, and that life is refused when it calls again.
    pub(in crate::protocol) fn note_incarnation(
        &mut self,
        now: Moment,
        task: TaskId,
        incarnation: Incarnation,
        out: &mut Vec<Effect>,
    ) -> Option<PeerEvent> {
        let known = self.incarnations.get(&task).copied().unwrap_or_default();
        if !incarnation.fences(known) {
            return None;
        }
        self.incarnations.insert(task, incarnation);
        let why = format!("{task} is known with incarnation {incarnation}, and has {known}");
        self.drop_peer(now, task, why, out)
    }

    /// Whether a peer may refuse this task although it was welcomed: a caller may, that knows a newer
    /// life.
    pub(super) fn may_refuse_after_welcome(&self, peer: TaskId, newer: NewerIncarnation) -> bool {
        !self.calls.contains_key(&peer) && newer.incarnation.fences(self.incarnation)
    }

    /// How this node ends after a refusal; `None` if it calls again.
    ///
    /// Only a node that has not joined the run may be followed by one with a larger incarnation. A
    /// process that was stopped, replaced and continued has joined: it stays fenced. So does one
    /// that is started slowly and finds the newer process alive. A peer that has a session with
    /// the newer life learns within `heartbeat_timeout` whether that life is gone.
    pub(in crate::protocol) fn outcome_of(
        &mut self,
        now: Moment,
        refusal: Refusal,
        has_joined: bool,
    ) -> Option<Outcome> {
        let Refusal { reason, older_than } = refusal;
        let Some(NewerIncarnation { incarnation, is_connected }) = older_than else {
            return Some(Outcome::Failed(Failure::Refused(reason)));
        };
        if has_joined {
            return Some(Outcome::Failed(Failure::Fenced(reason)));
        }
        if !is_connected {
            return Some(Outcome::Outdated { exceed: incarnation, reason });
        }
        let limits = self.config.limits;
        let since = *self.contested_since.get_or_insert(now);
        let is_alive = now - since > limits.heartbeat_timeout + limits.heartbeat_interval;
        is_alive.then_some(Outcome::Failed(Failure::Fenced(reason)))
    }
}
