//! Applies rule 8 to two incarnations of a task: the older incarnation is refused, and its sessions
//! end.

use crate::ids::{Incarnation, LinkId, TaskId};
use crate::protocol::failure::Failure;
use crate::protocol::links::Refusal;
use crate::protocol::links::{Call, Links, PeerEvent};
use crate::protocol::message::{Message, NewerIncarnation};
use crate::protocol::{Effect, Outcome, Report};
use crate::time::Moment;

impl Links {
    /// Checks that a peer's incarnation is not older than the newest known incarnation, and does
    /// not exceed [`Incarnation::LARGEST`].
    ///
    /// # Errors
    /// Returns the refusal to send to the peer.
    pub(super) fn check_incarnation(
        &self,
        peer: TaskId,
        incarnation: Incarnation,
    ) -> Result<(), Refusal> {
        if incarnation > Incarnation::LARGEST {
            let largest = Incarnation::LARGEST;
            let reason = format!("{peer} has incarnation {incarnation}; the limit is {largest}");
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

    /// Refuses a called task whose `Welcome` contains an older incarnation. The refusal names the
    /// incarnation that the called task must exceed.
    pub(super) fn refuse_called(
        &mut self,
        now: Moment,
        link: LinkId,
        peer: TaskId,
        Refusal { reason, older_than }: Refusal,
        out: &mut Vec<Effect>,
    ) -> Option<PeerEvent> {
        let why = format!("refused {peer}: {reason}");
        out.push(Effect::Report(Report::TurnedAway { why }));
        let message = Message::Refused { reason: reason.clone(), older_than };
        self.send_on(now, link, message, out);
        out.push(Effect::Close { link });
        // The count of failures starts again, so this task calls again after the shortest pause.
        // The peer's next incarnation must soon learn from this task which incarnation to exceed.
        // Until then, peers that have forgotten the newer incarnation give work to the next one,
        // and that work is lost.
        self.calls.insert(peer, Call::Linked { failures: 0 });
        self.remove_session(now, link, reason, out)
    }

    /// Records an incarnation of `task` that a peer has named. If the named incarnation is newer
    /// than the known incarnation, the session with the older process ends. The older process is
    /// refused when it calls again.
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
        let why =
            format!("{task} has incarnation {known}, but a peer knows incarnation {incarnation}");
        self.drop_peer(now, task, why, out)
    }

    /// Returns whether a peer may refuse this task after the two tasks have exchanged greetings.
    /// Only a caller of this task may do so, and only if the caller knows a newer incarnation of
    /// this task.
    pub(super) fn may_refuse_after_welcome(&self, peer: TaskId, newer: NewerIncarnation) -> bool {
        !self.calls.contains_key(&peer) && newer.incarnation.fences(self.incarnation)
    }

    /// Returns the outcome of this node after a refusal, or `None` if the node continues and calls
    /// again.
    ///
    /// A node may be replaced by a node with a larger incarnation only if the node has not joined
    /// the run. If a process that has joined the run is suspended, replaced and resumed, the
    /// process therefore stays fenced.
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
        // If the newer process has died, a peer that is connected to it notices within
        // `heartbeat_timeout`. If the peer refuses this node for longer, the newer process is
        // alive, and this process only started slowly.
        let limits = self.config.limits;
        let since = *self.contested_since.get_or_insert(now);
        let is_alive = now - since > limits.heartbeat_timeout + limits.heartbeat_interval;
        is_alive.then_some(Outcome::Failed(Failure::Fenced(reason)))
    }
}
