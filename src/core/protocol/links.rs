//! Sessions with other tasks: calling, greeting, fencing old lives, hearing that a peer lives.
//! [`refusal`] says which life is an old one, and what becomes of it.
//!
//! Turns events of links into events of peers. Knows nothing of steps, gradients or versions.

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

/// Callers that have not greeted yet; more are turned away, so that strangers cost little.
const MAX_STRANGERS: usize = 256;

/// What happens to a peer.
#[derive(Debug, PartialEq)]
pub(super) enum PeerEvent {
    /// A session is up. From the end that called: where the other end's shard stands.
    Up { peer: TaskId, incarnation: Incarnation, state: Option<Cut> },
    /// The session is gone.
    Down { peer: TaskId },
    /// The peer said something.
    Message { peer: TaskId, message: Message },
    /// The peer refuses this task.
    Refused { peer: TaskId, refusal: Refusal },
}

/// All sessions of one task.
#[derive(Debug)]
pub(super) struct Links {
    me: TaskId,
    incarnation: Incarnation,
    config: ClusterConfig,
    /// Those that this task calls, and keeps calling.
    calls: BTreeMap<TaskId, Call>,
    sessions: BTreeMap<LinkId, Session>,
    /// The link of each peer with whom a session is up.
    up: BTreeMap<TaskId, LinkId>,
    /// The latest known life of each task; an older one is fenced (rule 8).
    incarnations: BTreeMap<TaskId, Incarnation>,
    /// Since when peers have refused this life as older than one that is connected.
    contested_since: Option<Moment>,
    /// The called tasks that have ever welcomed this life.
    welcomed_by: BTreeSet<TaskId>,
    /// When each peer was last heard of, for rule 9; outlives the session.
    last_heard: BTreeMap<TaskId, Moment>,
    /// Digest of the training data that counts, and whose it is: the chief's, or until it has come
    /// that of the first worker that has.
    data: Option<(TaskId, String)>,
    /// Digest of each worker's training data, as it said last.
    digests: BTreeMap<TaskId, String>,
    /// When to look for silence, and for calls to make.
    next_check: Moment,
    /// Why there is no session with those that are called in vain.
    reasons: BTreeMap<TaskId, String>,
}

#[derive(Debug)]
enum Call {
    /// Calling again at this moment, after so many failures in a row.
    Pausing { until: Moment, failures: u32 },
    /// Waiting for the host to connect.
    Connecting { failures: u32 },
    /// The link is there.
    Linked { failures: u32 },
}

#[derive(Debug)]
struct Session {
    /// Who is at the other end; `None` until a caller has said so.
    peer: Option<TaskId>,
    /// Whether greetings were exchanged.
    up: bool,
    last_heard: Moment,
    last_sent: Moment,
}

impl Links {
    /// `calls`: the tasks that this one connects to; others may connect to it.
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

    /// From the next greeting on, any life of a peer is let in, until one is known again.
    pub(super) fn forget_incarnations(&mut self) {
        self.incarnations.clear();
    }

    pub(super) fn is_up(&self, peer: TaskId) -> bool {
        self.up.contains_key(&peer)
    }

    /// The peers with whom a session is up, ascending.
    pub(super) fn peers(&self) -> Vec<TaskId> {
        self.up.keys().copied().collect()
    }

    /// What is awaited of some tasks, for rule 9; what is known of each goes at the end of `what`.
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
        let ago = |at: Moment| format!("heard of {:.1} s ago", (now - at).as_secs_f64());
        if let Some(session) = self.up.get(&peer).and_then(|link| self.sessions.get(link)) {
            return format!("{peer}, {}", ago(session.last_heard));
        }
        let known = match self.last_heard.get(&peer) {
            Some(at) => format!("{peer}, gone, last {}", ago(*at)),
            None => format!("{peer}, never heard of"),
        };
        match self.reasons.get(&peer) {
            Some(why) => format!("{known}: {why}"),
            None => known,
        }
    }

    /// Sends to a peer, if a session with it is up.
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

    /// All is done: everyone is told, and this node halts.
    pub(super) fn leave(&mut self, now: Moment, out: &mut Vec<Effect>) {
        self.send_to_all(now, &Message::Goodbye, out);
        out.push(Effect::Halt(Outcome::Finished));
    }

    /// The run cannot go on: everyone is told, and this node halts.
    pub(super) fn abort(&mut self, now: Moment, failure: Failure, out: &mut Vec<Effect>) {
        self.send_to_all(now, &Message::Abort(failure.clone()), out);
        out.push(Effect::Halt(Outcome::Failed(failure)));
    }

    /// Whether every task that this one calls has welcomed this life at some time.
    pub(super) fn all_have_welcomed(&self) -> bool {
        self.calls.keys().all(|called| self.welcomed_by.contains(called))
    }

    /// The latest known life of a task.
    pub(super) fn incarnation_of(&self, peer: TaskId) -> Option<Incarnation> {
        self.incarnations.get(&peer).copied()
    }

    /// Ends the session with a peer that broke the protocol. A task that calls it calls again.
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

    /// Takes an event of a link. `state` is what a caller that is welcome is told of our shard.
    pub(super) fn on_network(
        &mut self,
        now: Moment,
        event: NetworkEvent,
        state: Option<Cut>,
        out: &mut Vec<Effect>,
    ) -> Vec<PeerEvent> {
        match event {
            NetworkEvent::Connected { link, to } => self.on_connected(now, link, to, out),
            NetworkEvent::ConnectFailed { to, why } => self.on_connect_failed(now, to, why, out),
            NetworkEvent::Accepted { link } => self.on_accepted(now, link, out),
            NetworkEvent::Received { link, message } => {
                return self.on_received(now, link, message, state, out);
            }
            NetworkEvent::Progress { link } => {
                // A greeting is short: a stranger that takes its time over it is not waited for.
                if let Some(session) = self.sessions.get_mut(&link).filter(|session| session.up) {
                    session.last_heard = now;
                }
            }
            NetworkEvent::Closed { link, why } => {
                return self.remove_session(now, link, why, out).into_iter().collect();
            }
        }
        Vec::new()
    }

    /// Calls whom it is time to call, gives up on the silent, says that we live.
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
            let why = format!("nothing heard for {} s", limits.heartbeat_timeout.as_secs_f32());
            events.extend(self.remove_session(now, link, why, out));
        }
        // Looking at every session costs time, so it happens on a beat and not at each event.
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
            if failures == 0 {
                out.push(Effect::Report(Report::PeerDown { peer: to, why: why.clone() }));
            }
            self.pause(now, to, failures + 1, why);
        }
    }

    /// Calls again after a pause that doubles with each failure.
    fn pause(&mut self, now: Moment, to: TaskId, failures: u32, why: String) {
        self.reasons.insert(to, why);
        let limits = self.config.limits;
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
            let why = format!("{n_strangers} callers have not said yet who they are");
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
        // A link that we closed may still deliver.
        let Some(session) = self.sessions.get_mut(&link) else { return Vec::new() };
        session.last_heard = now;
        match (message, session.peer, session.up) {
            (Message::Heartbeat, _, true) => Vec::new(),
            (Message::Hello(_) | Message::Welcome { .. }, Some(peer), true) => {
                let why = "greeted twice".to_owned();
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
                let older_than =
                    older_than.filter(|newer| newer.incarnation.fences(self.incarnation));
                self.on_refused(now, link, peer, Refusal { reason, older_than }, out)
            }
            (message, _, false) => {
                let why = format!("a caller said {} before it said hello", message.kind());
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
        let reason = format!("{peer} turned this task away: {}", refusal.reason);
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
            let why = format!("{} called, and was turned away: {}", hello.from, refusal.reason);
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
        // The newer link is the living one, even of the same life: the other may be half-open.
        let mut events = Vec::new();
        if let Some(&old) = self.up.get(&peer) {
            out.push(Effect::Close { link: old });
            events.extend(self.remove_session(now, old, "it called again".to_owned(), out));
        }
        let incarnation = hello.incarnation;
        self.send_on(now, link, Message::Welcome { incarnation: self.incarnation, state }, out);
        self.open(link, peer, out);
        events.push(PeerEvent::Up { peer, incarnation, state: None });
        events.extend(self.disconnect_other_data(now, out));
        events
    }

    /// Before anything was computed, the chief says which training data is right, and until it has
    /// come, the first worker that has.
    fn may_set_data(&self, from: TaskId, state: Option<Cut>) -> bool {
        match &self.data {
            None => true,
            Some((whose, _)) => state.is_none() && (from == TaskId::CHIEF || from == *whose),
        }
    }

    /// Ends the sessions with workers whose training data is not what counts; they call again, and
    /// are told why they are refused.
    fn disconnect_other_data(&mut self, now: Moment, out: &mut Vec<Effect>) -> Vec<PeerEvent> {
        let Some((whose, data)) = self.data.clone() else { return Vec::new() };
        let differs = |peer: &TaskId| self.digests.get(peer).is_some_and(|digest| *digest != data);
        let others: Vec<_> = self.peers().into_iter().filter(differs).collect();
        let why = format!("its training data is not that of {whose}");
        others.into_iter().filter_map(|peer| self.drop_peer(now, peer, why.clone(), out)).collect()
    }

    /// Whether a caller may come in; if not, why.
    fn check_hello(&self, hello: &Hello, state: Option<Cut>) -> Result<(), Refusal> {
        self.check_caller(hello, state).map_err(|reason| Refusal { reason, older_than: None })?;
        self.check_incarnation(hello.from, hello.incarnation)
    }

    /// Whether a caller was started as a task of this cluster.
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
                "{from} looks for {} at the address of {}: compare --ps-hosts of the two",
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

    /// Workers call every ps; and, when arrival chooses the slots, the other ps call ps 0.
    fn is_called_by(&self, from: TaskId) -> bool {
        match (from.job, self.me.job) {
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
        self.calls.insert(peer, Call::Linked { failures: 0 });
        self.reasons.remove(&peer);
        self.open(link, peer, out);
        vec![PeerEvent::Up { peer, incarnation, state }]
    }

    fn open(&mut self, link: LinkId, peer: TaskId, out: &mut Vec<Effect>) {
        let session = self.sessions.get_mut(&link).expect("its message was just taken");
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
            self.send_on(now, link, Message::Refused { reason, older_than }, out);
        }
        out.push(Effect::Close { link });
        self.remove_session(now, link, why.clone(), out);
        out.push(Effect::Report(Report::TurnedAway { why }));
    }

    /// The link is gone. A task that this one calls is called again.
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
