//! Sessions with other tasks: calls, greetings, heartbeats, and the refusal of wrong callers.
//! [`fencing`] refuses older incarnations of a task.
//!
//! This file converts events of links into events of peers. The file does not deal with steps,
//! gradients or versions.

mod fencing;
mod refusal;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use self::refusal::Refusal;
use crate::ids::{Cut, Incarnation, Job, LinkId, TaskId};
use crate::protocol::config::ClusterConfig;
use crate::protocol::failure::Failure;
use crate::protocol::message::{Hello, Message, PROTOCOL_VERSION};
use crate::protocol::settings::Difference;
use crate::protocol::wait_timer::Awaited;
use crate::protocol::{Effect, NetworkEvent, Outcome, Report};
use crate::time::Moment;

/// The maximum number of callers that have not sent a `Hello`. Further callers are rejected, so
/// that strangers cost little memory.
const MAX_STRANGERS: usize = 256;

/// An event of a peer.
#[derive(Debug, PartialEq)]
pub(super) enum PeerEvent {
    /// A session started. If this task was the caller, `state` is the generation and the step of
    /// the called ps's shard.
    Up { peer: TaskId, incarnation: Incarnation, state: Option<Cut> },
    /// The session ended.
    Down { peer: TaskId },
    /// The peer sent a message that is neither a greeting nor a heartbeat.
    Message { peer: TaskId, message: Message },
    /// The peer refused this task.
    Refused { peer: TaskId, refusal: Refusal },
}

/// All sessions of one task.
#[derive(Debug)]
pub(super) struct Links {
    me: TaskId,
    incarnation: Incarnation,
    config: ClusterConfig,
    /// For each task that this task calls, the state of the call. This task calls again after each
    /// lost link.
    calls: BTreeMap<TaskId, Call>,
    /// All links, including links on which the greetings are not complete.
    sessions: BTreeMap<LinkId, Session>,
    /// The link of each connected peer.
    up: BTreeMap<TaskId, LinkId>,
    /// The newest known incarnation of each task. Processes with an older incarnation are refused
    /// (rule 8).
    incarnations: BTreeMap<TaskId, Incarnation>,
    /// The time of the first refusal by a peer that was connected to a newer incarnation of this
    /// task.
    contested_since: Option<Moment>,
    /// The tasks that this task calls and that have sent this incarnation a `Welcome` at least
    /// once.
    welcomed_by: BTreeSet<TaskId>,
    /// For each disconnected peer, the time of the peer's last message. Used in reports of waits.
    last_heard: BTreeMap<TaskId, Moment>,
    /// The worker that determined which training data all workers must have, and the digest of that
    /// data. The chief determines the data. Until the chief has connected, the first connected
    /// worker determines the data.
    data: Option<(TaskId, String)>,
    /// The digest in each worker's last accepted `Hello`.
    digests: BTreeMap<TaskId, String>,
    /// The time of the next [`Self::check`].
    next_check: Moment,
    /// For each disconnected peer, the reason why the last call failed or the session ended.
    reasons: BTreeMap<TaskId, String>,
}

/// The state of the calls to one task. `failures` is the number of failures since the last
/// `Welcome`.
#[derive(Debug)]
enum Call {
    /// Waiting until it is time to call again.
    Pausing { until: Moment, failures: u32 },
    /// Waiting for the host to connect.
    Connecting { failures: u32 },
    /// Connected. The greeting may still be under way.
    Linked { failures: u32 },
}

#[derive(Debug)]
struct Session {
    /// The task at the other end of the link, or `None` until the caller has sent a `Hello`.
    peer: Option<TaskId>,
    /// Whether the session is established: both ends have sent their greetings.
    up: bool,
    last_heard: Moment,
    last_sent: Moment,
}

impl Links {
    /// Creates the state of a task that has no sessions yet. `calls` are the tasks that this task
    /// calls.
    pub(super) fn new(
        me: TaskId,
        incarnation: Incarnation,
        config: ClusterConfig,
        calls: impl IntoIterator<Item = TaskId>,
    ) -> Self {
        let now = Moment::default();
        Self {
            me,
            incarnation,
            config,
            calls: calls
                .into_iter()
                .map(|to| (to, Call::Pausing { until: now, failures: 0 }))
                .collect(),
            sessions: BTreeMap::new(),
            up: BTreeMap::new(),
            incarnations: BTreeMap::new(),
            contested_since: None,
            welcomed_by: BTreeSet::new(),
            last_heard: BTreeMap::new(),
            data: None,
            digests: BTreeMap::new(),
            next_check: now,
            reasons: BTreeMap::new(),
        }
    }

    pub(super) fn start(&mut self, now: Moment, out: &mut Vec<Effect>) {
        self.check(now, out);
    }

    pub(super) const fn deadline(&self) -> Moment {
        self.next_check
    }

    /// Forgets all known incarnations, so that each peer's next greeting is accepted with any
    /// incarnation.
    pub(super) fn forget_incarnations(&mut self) {
        self.incarnations.clear();
    }

    pub(super) fn is_up(&self, peer: TaskId) -> bool {
        self.up.contains_key(&peer)
    }

    /// Returns the connected peers, ascending.
    pub(super) fn peers(&self) -> Vec<TaskId> {
        self.up.keys().copied().collect()
    }

    /// Describes a wait for the tasks `from` (rule 9): the text `what`, followed by the state of
    /// each task.
    pub(super) fn awaited(
        &self,
        now: Moment,
        what: impl Display,
        from: impl IntoIterator<Item = TaskId>,
    ) -> Awaited {
        let from: Vec<_> = from.into_iter().collect();
        let known: Vec<_> = from.iter().map(|task| self.describe_peer(now, *task)).collect();
        Awaited {
            what: format!("{what} {}", known.join("; ")),
            all_connected: from.iter().all(|task| self.is_up(*task)),
        }
    }

    fn describe_peer(&self, now: Moment, peer: TaskId) -> String {
        let ago = |at: Moment| format!("heard from {:.1} s ago", (now - at).as_secs_f64());
        if let Some(session) = self.up.get(&peer).and_then(|link| self.sessions.get(link)) {
            return format!("{peer}, {}", ago(session.last_heard));
        }
        let known = match self.last_heard.get(&peer) {
            Some(at) => format!("{peer}, disconnected, last {}", ago(*at)),
            None => format!("{peer}, never heard from"),
        };
        match self.reasons.get(&peer) {
            Some(why) => format!("{known}: {why}"),
            None => known,
        }
    }

    /// Sends a message to a peer if the peer is connected. Returns whether the peer is connected.
    pub(super) fn send(
        &mut self,
        now: Moment,
        to: TaskId,
        message: Message,
        out: &mut Vec<Effect>,
    ) -> bool {
        let Some(&link) = self.up.get(&to) else { return false };
        self.send_on(now, link, message, out);
        true
    }

    pub(super) fn send_to_all(&mut self, now: Moment, message: &Message, out: &mut Vec<Effect>) {
        for peer in self.peers() {
            self.send(now, peer, message.clone(), out);
        }
    }

    /// Ends this node after a finished run, and sends a goodbye to all connected peers.
    pub(super) fn leave(&mut self, now: Moment, out: &mut Vec<Effect>) {
        self.send_to_all(now, &Message::Goodbye, out);
        out.push(Effect::Halt(Outcome::Finished));
    }

    /// Ends this node and the run with a failure, and sends the failure to all connected peers.
    pub(super) fn abort(&mut self, now: Moment, failure: Failure, out: &mut Vec<Effect>) {
        self.send_to_all(now, &Message::Abort(failure.clone()), out);
        out.push(Effect::Halt(Outcome::Failed(failure)));
    }

    /// Returns whether every called task has sent this incarnation a `Welcome` at least once.
    pub(super) fn all_have_welcomed(&self) -> bool {
        self.calls.keys().all(|called| self.welcomed_by.contains(called))
    }

    /// Returns the newest known incarnation of a task.
    pub(super) fn incarnation_of(&self, peer: TaskId) -> Option<Incarnation> {
        self.incarnations.get(&peer).copied()
    }

    /// Ends the session with a peer. The task that opened the link then calls again.
    pub(super) fn drop_peer(
        &mut self,
        now: Moment,
        peer: TaskId,
        why: String,
        out: &mut Vec<Effect>,
    ) -> Option<PeerEvent> {
        let link = *self.up.get(&peer)?;
        out.push(Effect::Close { link });
        self.remove_session(now, link, why, out)
    }

    /// Handles an event of a link. `state` is the generation and the step that this task reports in
    /// its `Welcome`.
    pub(super) fn on_network(
        &mut self,
        now: Moment,
        event: &NetworkEvent,
        state: Option<Cut>,
        out: &mut Vec<Effect>,
    ) -> Vec<PeerEvent> {
        match *event {
            NetworkEvent::Connected { link, to } => self.on_connected(now, link, to, out),
            NetworkEvent::ConnectFailed { to, ref why } => {
                self.on_connect_failed(now, to, why.clone(), out);
            }
            NetworkEvent::Accepted { link } => self.on_accepted(now, link, out),
            NetworkEvent::Received { link, ref message } => {
                return self.on_received(now, link, message.clone(), state, out);
            }
            NetworkEvent::Progress { link } => {
                // Only an established session may send long messages. Progress of a message does
                // not count as a sign of life before a session is established, so a caller with a
                // long greeting is disconnected as silent.
                if let Some(session) = self.sessions.get_mut(&link).filter(|session| session.up) {
                    session.last_heard = now;
                }
            }
            NetworkEvent::Closed { link, ref why } => {
                return self.remove_session(now, link, why.clone(), out).into_iter().collect();
            }
        }
        Vec::new()
    }

    /// Calls the tasks for which the pause between two calls is over, closes silent links, and
    /// sends heartbeats.
    pub(super) fn on_wake(&mut self, now: Moment, out: &mut Vec<Effect>) -> Vec<PeerEvent> {
        if self.next_check <= now { self.check(now, out) } else { Vec::new() }
    }

    fn check(&mut self, now: Moment, out: &mut Vec<Effect>) -> Vec<PeerEvent> {
        let limits = self.config.limits;
        for (&to, call) in &mut self.calls {
            if let Call::Pausing { until, failures } = *call
                && until <= now
            {
                *call = Call::Connecting { failures };
                out.push(Effect::Connect { to });
            }
        }
        let (mut silent, mut quiet) = (Vec::new(), Vec::new());
        for (&link, session) in &self.sessions {
            let is_silent = now - session.last_heard >= limits.heartbeat_timeout;
            if is_silent {
                silent.push(link);
            // Before the greetings are complete, a heartbeat would break the protocol.
            } else if session.up && now - session.last_sent >= limits.heartbeat_interval {
                quiet.push(link);
            }
        }
        for link in quiet {
            self.send_on(now, link, Message::Heartbeat, out);
        }
        let mut events = Vec::new();
        for link in silent {
            out.push(Effect::Close { link });
            let why = format!("no message for {} s", limits.heartbeat_timeout.as_secs_f32());
            events.extend(self.remove_session(now, link, why, out));
        }
        // Checking every session costs time, so it happens at intervals and not at each event. With
        // an interval of half a `heartbeat_interval`, a heartbeat is late by at most that half.
        let beat = now + limits.heartbeat_interval / 2;
        let pauses = self.calls.values().filter_map(|call| match *call {
            Call::Pausing { until, .. } => Some(until),
            Call::Connecting { .. } | Call::Linked { .. } => None,
        });
        self.next_check = pauses.fold(beat, Ord::min);
        events
    }

    fn on_connected(&mut self, now: Moment, link: LinkId, to: TaskId, out: &mut Vec<Effect>) {
        let Some(call) = self.calls.get_mut(&to) else {
            // This task did not ask for the link, so it sends no greeting, and the link has no use.
            out.push(Effect::Close { link });
            return;
        };
        if let Call::Connecting { failures } = *call {
            *call = Call::Linked { failures };
        }
        self.sessions
            .insert(link, Session { peer: Some(to), up: false, last_heard: now, last_sent: now });
        let hello = Hello {
            version: PROTOCOL_VERSION,
            from: self.me,
            incarnation: self.incarnation,
            to,
            settings: self.config.settings.clone(),
            data: self.config.data.clone(),
        };
        self.send_on(now, link, Message::Hello(hello), out);
    }

    fn on_connect_failed(&mut self, now: Moment, to: TaskId, why: String, out: &mut Vec<Effect>) {
        if let Some(Call::Connecting { failures }) = self.calls.get(&to) {
            let failures = *failures;
            // Only the first failure is reported as an event. Later failures appear as reasons in
            // the reports of waits.
            if failures == 0 {
                out.push(Effect::Report(Report::PeerDown { peer: to, why: why.clone() }));
            }
            self.pause(now, to, failures + 1, why);
        }
    }

    /// Schedules the next call to a task. Each further failure doubles the pause before the next
    /// call.
    fn pause(&mut self, now: Moment, to: TaskId, failures: u32, why: String) {
        self.reasons.insert(to, why);
        let limits = self.config.limits;
        // The limit on the exponent keeps the product within a `Duration`, however many calls have
        // failed.
        let doubled =
            limits.reconnect_min * 2u32.saturating_pow(failures.saturating_sub(1).min(16));
        let until = now + doubled.min(limits.reconnect_max);
        self.calls.insert(to, Call::Pausing { until, failures });
        self.next_check = self.next_check.min(until);
    }

    fn on_accepted(&mut self, now: Moment, link: LinkId, out: &mut Vec<Effect>) {
        let n_strangers = self.sessions.len() - self.up.len();
        if n_strangers >= MAX_STRANGERS {
            out.push(Effect::Close { link });
            let why = format!("{n_strangers} callers have not identified themselves yet");
            out.push(Effect::Report(Report::TurnedAway { why }));
            return;
        }
        self.sessions
            .insert(link, Session { peer: None, up: false, last_heard: now, last_sent: now });
    }

    fn on_received(
        &mut self,
        now: Moment,
        link: LinkId,
        message: Message,
        state: Option<Cut>,
        out: &mut Vec<Effect>,
    ) -> Vec<PeerEvent> {
        // The host may still deliver messages of a link that this node has closed.
        let Some(session) = self.sessions.get_mut(&link) else { return Vec::new() };
        session.last_heard = now;
        match (message, session.peer, session.up) {
            (Message::Heartbeat, _, true) => Vec::new(),
            (Message::Hello(_) | Message::Welcome { .. }, Some(peer), true) => {
                let why = "it sent a second greeting".to_owned();
                self.drop_peer(now, peer, why, out).into_iter().collect()
            }
            (Message::Refused { reason, older_than: Some(newer) }, Some(peer), true)
                if self.may_refuse_after_welcome(peer, newer) =>
            {
                let refusal = Refusal { reason, older_than: Some(newer) };
                self.on_refused(now, link, peer, refusal, out)
            }
            (message, Some(peer), true) => vec![PeerEvent::Message { peer, message }],
            (Message::Hello(hello), None, false) => self.on_hello(now, link, &hello, state, out),
            (Message::Welcome { incarnation, state }, Some(peer), false) => {
                self.on_welcome(now, link, peer, incarnation, state, out)
            }
            (Message::Refused { reason, older_than }, Some(peer), false) => {
                // If the peer names an incarnation that is not newer than this one, a larger
                // incarnation would not help. The refusal is then final.
                let older_than =
                    older_than.filter(|newer| newer.incarnation.fences(self.incarnation));
                self.on_refused(now, link, peer, Refusal { reason, older_than }, out)
            }
            (message, _, false) => {
                let why = format!("a caller sent {} before hello", message.kind());
                self.reject(now, link, why, None, out);
                Vec::new()
            }
            (_, None, true) => unreachable!("a session is up only with a known peer"),
        }
    }

    fn on_refused(
        &mut self,
        now: Moment,
        link: LinkId,
        peer: TaskId,
        refusal: Refusal,
        out: &mut Vec<Effect>,
    ) -> Vec<PeerEvent> {
        out.push(Effect::Close { link });
        let reason = format!("{peer} refused this task: {}", refusal.reason);
        let down = self.remove_session(now, link, reason.clone(), out);
        let refused = PeerEvent::Refused { peer, refusal: Refusal { reason, ..refusal } };
        down.into_iter().chain([refused]).collect()
    }

    fn on_hello(
        &mut self,
        now: Moment,
        link: LinkId,
        hello: &Hello,
        state: Option<Cut>,
        out: &mut Vec<Effect>,
    ) -> Vec<PeerEvent> {
        if let Err(refusal) = self.check_hello(hello, state) {
            let why = format!("refused the caller {}: {}", hello.from, refusal.reason);
            self.reject(now, link, why, Some(refusal), out);
            return Vec::new();
        }
        let peer = hello.from;
        if let Some(data) = &hello.data {
            if self.may_set_data(peer, state) {
                self.data = Some((peer, data.clone()));
            }
            self.digests.insert(peer, data.clone());
        }
        self.incarnations.insert(peer, hello.incarnation);
        // The new link replaces the old one, even if both are of the same incarnation. The peer
        // calls again only after it has lost its end of the old link. The old link is then
        // half-open.
        let mut events = Vec::new();
        if let Some(&old) = self.up.get(&peer) {
            out.push(Effect::Close { link: old });
            events.extend(self.remove_session(now, old, "it called again".to_owned(), out));
        }
        let incarnation = hello.incarnation;
        self.send_on(now, link, Message::Welcome { incarnation: self.incarnation, state }, out);
        self.open(link, peer, out);
        events.push(PeerEvent::Up { peer, incarnation, state: None });
        // If the caller is the chief, its data replaces the data of the first worker. Workers with
        // other data are then disconnected.
        events.extend(self.disconnect_other_data(now, out));
        events
    }

    /// Returns whether the worker `from` may determine the training data that all workers must
    /// have. The first connected worker may determine the data. Until a shard has a state, the same
    /// worker and the chief may replace the data.
    fn may_set_data(&self, from: TaskId, state: Option<Cut>) -> bool {
        match &self.data {
            None => true,
            // A shard with a state may have been trained on the present data. Not even another
            // chief may change the data then.
            Some((whose, _)) => state.is_none() && (from == TaskId::CHIEF || from == *whose),
        }
    }

    /// Disconnects the workers whose training data differs from the data that all workers must
    /// have. When such a worker calls again, the worker is refused with the reason.
    fn disconnect_other_data(&mut self, now: Moment, out: &mut Vec<Effect>) -> Vec<PeerEvent> {
        let Some((whose, data)) = self.data.clone() else { return Vec::new() };
        let differs = |peer: &TaskId| self.digests.get(peer).is_some_and(|digest| *digest != data);
        let others: Vec<_> = self.peers().into_iter().filter(differs).collect();
        let why = format!("its training data differs from that of {whose}");
        others.into_iter().filter_map(|peer| self.drop_peer(now, peer, why.clone(), out)).collect()
    }

    fn check_hello(&self, hello: &Hello, state: Option<Cut>) -> Result<(), Refusal> {
        self.check_caller(hello, state).map_err(|reason| Refusal { reason, older_than: None })?;
        self.check_incarnation(hello.from, hello.incarnation)
    }

    /// Checks that a caller was started as a task of this cluster, with the same settings and data.
    ///
    /// # Errors
    /// Returns the reason of the refusal, for the user who started the caller.
    fn check_caller(&self, hello: &Hello, state: Option<Cut>) -> Result<(), String> {
        let from = hello.from;
        if hello.version != PROTOCOL_VERSION {
            return Err(format!(
                "{from} speaks protocol version {}, {} speaks {PROTOCOL_VERSION}: run the same \
                 release of unisono everywhere",
                hello.version, self.me
            ));
        }
        if hello.to != self.me {
            return Err(format!(
                "{from} looks for {} at the address of {}: compare --ps-hosts of both",
                hello.to, self.me
            ));
        }
        let n_tasks = match from.job {
            Job::Ps => self.config.n_ps,
            Job::Worker => self.config.sync.total_num_replicas,
        };
        if from.index >= n_tasks || from == self.me {
            return Err(format!(
                "there is no other {from} in a cluster of {n_tasks} {}s",
                from.job
            ));
        }
        if !self.is_called_by(from) {
            return Err(format!("no {} of this cluster calls {}", from.job, self.me));
        }
        let difference = self.config.settings.differences(&hello.settings).next();
        if let Some(Difference { key, ours, theirs }) = difference {
            return Err(format!(
                "{key} is {theirs} at {from} and {ours} at {}: start both with the same value",
                self.me
            ));
        }
        if let (Some((first, ours)), Some(theirs)) = (&self.data, &hello.data)
            && ours != theirs
            && !self.may_set_data(from, state)
        {
            return Err(format!(
                "the training data of {from} has digest {theirs}, that of {first} has {ours}: give \
                 both the same --data-dir"
            ));
        }
        Ok(())
    }

    fn is_called_by(&self, from: TaskId) -> bool {
        match (from.job, self.me.job) {
            // Workers call every ps. With R < N, the other ps also call ps 0, which chooses the
            // slots.
            (_, Job::Worker) => false,
            (Job::Worker, Job::Ps) => true,
            (Job::Ps, Job::Ps) => self.me == TaskId::PS_ZERO && self.config.has_backup_workers(),
        }
    }

    fn on_welcome(
        &mut self,
        now: Moment,
        link: LinkId,
        peer: TaskId,
        incarnation: Incarnation,
        state: Option<Cut>,
        out: &mut Vec<Effect>,
    ) -> Vec<PeerEvent> {
        if let Err(refusal) = self.check_incarnation(peer, incarnation) {
            return self.refuse_called(now, link, peer, refusal, out).into_iter().collect();
        }
        self.incarnations.insert(peer, incarnation);
        self.welcomed_by.insert(peer);
        // Only a `Welcome` resets the pause. A link alone does not prove that the peer works.
        self.calls.insert(peer, Call::Linked { failures: 0 });
        self.reasons.remove(&peer);
        self.open(link, peer, out);
        vec![PeerEvent::Up { peer, incarnation, state }]
    }

    fn open(&mut self, link: LinkId, peer: TaskId, out: &mut Vec<Effect>) {
        let session = self
            .sessions
            .get_mut(&link)
            .expect("the link has a session, because its greeting was just handled");
        session.peer = Some(peer);
        session.up = true;
        self.up.insert(peer, link);
        out.push(Effect::Report(Report::PeerUp { peer }));
    }

    fn reject(
        &mut self,
        now: Moment,
        link: LinkId,
        why: String,
        refusal: Option<Refusal>,
        out: &mut Vec<Effect>,
    ) {
        if let Some(Refusal { reason, older_than }) = refusal {
            // The host sends queued messages before it closes the link, so the caller gets the
            // reason.
            self.send_on(now, link, Message::Refused { reason, older_than }, out);
        }
        out.push(Effect::Close { link });
        self.remove_session(now, link, why.clone(), out);
        out.push(Effect::Report(Report::TurnedAway { why }));
    }

    /// Removes a lost or closed link. If this task calls the peer, schedules the next call.
    fn remove_session(
        &mut self,
        now: Moment,
        link: LinkId,
        why: String,
        out: &mut Vec<Effect>,
    ) -> Option<PeerEvent> {
        let session = self.sessions.remove(&link)?;
        let peer = session.peer?;
        if let Some(Call::Linked { failures } | Call::Connecting { failures }) =
            self.calls.get(&peer)
        {
            // A lost link counts as a failure. So the pauses grow if a ps accepts each call and
            // closes the link.
            let failures = *failures;
            self.pause(now, peer, failures + 1, why.clone());
        }
        if !session.up {
            return None;
        }
        self.up.remove(&peer);
        self.last_heard.insert(peer, session.last_heard);
        out.push(Effect::Report(Report::PeerDown { peer, why }));
        Some(PeerEvent::Down { peer })
    }

    fn send_on(&mut self, now: Moment, link: LinkId, message: Message, out: &mut Vec<Effect>) {
        if let Some(session) = self.sessions.get_mut(&link) {
            session.last_sent = now;
        }
        out.push(Effect::Send { link, message });
    }
}
