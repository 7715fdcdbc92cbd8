//! The network of one task: all its links, and the listener if the task has one.
//!
//! The network opens links, moves whole frames in order and reports events. It does not interpret
//! messages. The protocol handles sessions, heartbeats and reconnecting.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::admission::Permit;
use super::clock::RealClock;
use super::connector;
use super::entrance::Entrance;
use super::events::{CallError, GreetedCaller, LinkEvent, LinkEventSender, NetworkTaskEvent};
use super::link::{Link, LinkParts};
use super::listener::{Acceptor, Listeners};
use super::memory::SharedTensors;
use super::room::{LargestSent, Room};
use super::traffic::Traffic;
use crate::tcp::security::authentication::Security;
use crate::tcp::security::halves::Halves;
use crate::warnings::Warnings;
use unisono_core::host::{Clock as _, Network};
use unisono_core::ids::{LinkId, TaskId};
use unisono_core::protocol::{Message, NetworkEvent};
use unisono_core::wire::{Frame, Limits};

/// The maximum number of events that may wait for the node. When the queue is full, readers stop
/// reading, and TCP makes the senders wait. So the limit bounds the memory that the network uses
/// while the node is busy. A longer queue was not faster.
const MAX_EVENTS: usize = 16;

/// The maximum time that an ending task waits until its peers have received its last messages.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// A function that checks the content of messages. The first argument is the peer, or `None` on a
/// link whose first message was not a hello. If the check fails, the network closes the link for
/// the returned reason.
pub type Check = Box<dyn Fn(Option<TaskId>, &Message) -> Result<(), String> + Send>;

/// Configuration of a [`TcpNetwork`].
pub struct NetworkConfig {
    /// The address of every task of the cluster, as `host:port`. The host name is resolved again
    /// for each call.
    pub addresses: BTreeMap<TaskId, String>,
    /// The limits of the frames that a peer may send.
    pub limits: Limits,
    /// How this task and its peers authenticate each other.
    pub security: Arc<Security>,
    /// Whether tensors between two tasks of one machine go through shared memory.
    pub shared_memory: bool,
    /// The function that checks every received message, except the first message of an accepted
    /// link.
    pub check: Check,
}

impl NetworkConfig {
    /// Returns a configuration without authentication and without a check of messages.
    #[must_use]
    pub fn open(addresses: BTreeMap<TaskId, String>, limits: Limits) -> Self {
        Self {
            addresses,
            limits,
            security: Arc::default(),
            shared_memory: true,
            check: Box::new(|_, _| Ok(())),
        }
    }
}

unisono_core::partial_debug!(NetworkConfig { addresses });

/// A [`Network`] over TCP. The network spawns tokio tasks on the runtime in which it is used.
///
/// Dropping the network resets its links. [`Network::flush`] closes the links after their queued
/// messages are sent.
#[derive(Debug)]
pub struct TcpNetwork {
    config: NetworkConfig,
    links: BTreeMap<LinkId, Link>,
    next_link: LinkId,
    largest_sent: LargestSent,
    /// Events that the network itself creates: the end of a link that the network has closed, and
    /// the first message of an accepted link, which was read before the link had a number.
    local_events: VecDeque<(LinkId, NetworkEvent)>,
    events: mpsc::Receiver<NetworkTaskEvent>,
    event_sender: mpsc::Sender<NetworkTaskEvent>,
    /// The spawned tasks that open links: one that accepts callers, and one for each call in
    /// progress.
    opening: JoinSet<()>,
    /// Closed links that still write their queued frames.
    closing: JoinSet<()>,
    /// For each called task with which authentication failed, the reason that was last logged.
    untrusted: BTreeMap<TaskId, String>,
    clock: RealClock,
    traffic: Traffic,
    warnings: Warnings,
}

impl TcpNetwork {
    /// Creates a network that accepts callers from `listeners`, if there are any.
    ///
    /// # Errors
    /// If a listener cannot be registered with the runtime, or if the limit of open files is too
    /// low for the links of all tasks.
    ///
    /// # Panics
    /// If called outside of a tokio runtime.
    pub fn new(listeners: Option<Listeners>, config: NetworkConfig) -> io::Result<Self> {
        let (event_sender, events) = mpsc::channel(MAX_EVENTS);
        let mut opening = JoinSet::new();
        if let Some(listeners) = listeners {
            // All listeners share one entrance, because the limits of admission apply to all
            // callers together.
            let acceptor = Acceptor::new(listeners)?;
            // `addresses` has every task of the cluster. Each task except this one may call.
            let n_callers = config.addresses.len().saturating_sub(1);
            let entrance = Entrance::new(Arc::clone(&config.security), n_callers)?;
            let event_sender = event_sender.clone();
            opening.spawn(async move { entrance.run(|| acceptor.accept(), event_sender).await });
        }
        Ok(Self {
            config,
            links: BTreeMap::new(),
            next_link: LinkId(0),
            largest_sent: LargestSent::default(),
            local_events: VecDeque::new(),
            events,
            event_sender,
            opening,
            closing: JoinSet::new(),
            untrusted: BTreeMap::new(),
            clock: RealClock::start(),
            traffic: Traffic::default(),
            warnings: Warnings::default(),
        })
    }

    /// Returns the byte counters of this network. Clones share the counters.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.traffic.clone()
    }

    /// Converts an event of a spawned task to an event for the node. Returns `None` if the event
    /// belongs to a closed link.
    fn node_event(&mut self, event: NetworkTaskEvent) -> Option<NetworkEvent> {
        match event {
            NetworkTaskEvent::CallFinished { to, result: Ok(halves) } => {
                self.untrusted.remove(&to);
                let link = self.start_call(to, halves);
                Some(NetworkEvent::Connected { link, to })
            }
            NetworkTaskEvent::CallFinished { to, result: Err(CallError::Unreachable(why)) } => {
                Some(NetworkEvent::ConnectFailed { to, why })
            }
            NetworkTaskEvent::CallFinished { to, result: Err(CallError::Untrusted(why)) } => {
                // The node retries the call forever, so a reason is logged only if it differs from
                // the last one.
                if self.untrusted.get(&to) != Some(&why) {
                    self.warn(&why);
                    self.untrusted.insert(to, why.clone());
                }
                Some(NetworkEvent::ConnectFailed { to, why })
            }
            NetworkTaskEvent::Accepted(greeted, permit) => {
                let link = self.start_accepted(greeted, permit);
                Some(NetworkEvent::Accepted { link })
            }
            // The node has already closed this link. By the contract of `Network`, the node gets no
            // further events of such a link.
            NetworkTaskEvent::Link(link, _) if !self.links.contains_key(&link) => None,
            NetworkTaskEvent::Link(link, LinkEvent::Received(message)) => {
                Some(self.on_received(link, message))
            }
            NetworkTaskEvent::Link(link, LinkEvent::Progress) => {
                Some(NetworkEvent::Progress { link })
            }
            NetworkTaskEvent::Link(link, LinkEvent::Ended(why)) => {
                let is_damage = why.is_damage();
                let why = why.to_string();
                // The protocol reports an ordinary end. Damage is always logged here, because it
                // indicates a faulty network or an attack.
                if is_damage {
                    self.log_disconnect(link, &why);
                }
                self.close_link(link);
                Some(NetworkEvent::Closed { link, why })
            }
        }
    }

    fn on_received(&mut self, link: LinkId, message: Message) -> NetworkEvent {
        let peer = self.links.get(&link).and_then(|link| link.peer);
        match (self.config.check)(peer, &message) {
            Ok(()) => NetworkEvent::Received { link, message },
            Err(why) => {
                self.log_disconnect(link, &why);
                self.close_link(link);
                NetworkEvent::Closed { link, why }
            }
        }
    }

    /// Logs that a link is closed because its peer has done something that no task of this cluster
    /// does.
    fn log_disconnect(&mut self, link: LinkId, why: &str) {
        let peer = self.links.get(&link).and_then(|link| link.peer);
        let peer = peer.map_or_else(|| "a caller".to_owned(), |peer| peer.to_string());
        self.warn(&format!("disconnected {peer}: {why}"));
    }

    fn warn(&mut self, line: &str) {
        self.warnings.warn(self.clock.now(), line);
    }

    fn start_call(&mut self, to: TaskId, halves: Halves) -> LinkId {
        let room = Room::fixed(self.config.limits);
        self.start_link(LinkParts { halves, room, permit: None, peer: Some(to) })
    }

    fn start_accepted(&mut self, caller: GreetedCaller, permit: Permit) -> LinkId {
        let (peer, permit) = (caller.claimed_task(), Some(permit));
        let GreetedCaller { halves, first } = caller;
        let room = Room::for_caller(peer, self.config.limits, &self.largest_sent);
        let link = self.start_link(LinkParts { halves, room, permit, peer });
        // `next` returns local events first, so the first message precedes all messages from the
        // reader.
        self.local_events.push_back((link, NetworkEvent::Received { link, message: first }));
        link
    }

    fn start_link(&mut self, parts: LinkParts) -> LinkId {
        let id = self.next_link;
        // A number is never used for a second link, so a late event of a closed link cannot be
        // mistaken for one of a new link.
        self.next_link = LinkId(id.0 + 1);
        let events = LinkEventSender { link: id, network: self.event_sender.clone() };
        let shares_memory = parts.halves.is_local && self.config.shared_memory;
        let shared = shares_memory.then(SharedTensors::new);
        self.links.insert(id, Link::start(parts, shared, self.traffic.clone(), events));
        id
    }

    fn close_link(&mut self, link: LinkId) {
        // A `JoinSet` keeps the results of finished tasks until they are taken.
        while self.closing.try_join_next().is_some() {}
        if let Some(link) = self.links.remove(&link) {
            self.closing.spawn(link.close());
        }
    }
}

impl Network for TcpNetwork {
    fn connect(&mut self, to: TaskId) {
        // A `JoinSet` keeps the results of finished tasks until they are taken.
        while self.opening.try_join_next().is_some() {}
        let address = self.config.addresses.get(&to).cloned();
        let (security, events) = (Arc::clone(&self.config.security), self.event_sender.clone());
        self.opening.spawn(async move {
            let result = connector::call(to, address.as_deref(), &security).await;
            let _ = events.send(NetworkTaskEvent::CallFinished { to, result }).await;
        });
    }

    fn send(&mut self, link: LinkId, message: Message) {
        let Some(known) = self.links.get_mut(&link) else { return };
        // `largest_sent` limits the tensors in the peer's answer. It is raised before the frame is
        // queued, because the answer may arrive before this function returns.
        self.largest_sent.note(message.tensors().into_iter().map(|tensor| 4 * tensor.len()).sum());
        if let Err(full) = known.send(Frame::new(&message)) {
            let why = full.to_string();
            self.log_disconnect(link, &why);
            // The link is dropped without a flush, because the peer does not read.
            self.links.remove(&link);
            self.local_events.push_back((link, NetworkEvent::Closed { link, why }));
        }
    }

    fn close(&mut self, link: LinkId) {
        self.local_events.retain(|(of_link, _)| *of_link != link);
        self.close_link(link);
    }

    async fn next(&mut self) -> NetworkEvent {
        loop {
            if let Some((_, event)) = self.local_events.pop_front() {
                return event;
            }
            // This is cancel-safe, because nothing is awaited after an event has left the channel.
            let event = self.events.recv().await.expect("the network holds a sender");
            if let Some(event) = self.node_event(event) {
                return event;
            }
        }
    }

    async fn flush(&mut self) {
        // The entrance and the calls are stopped first, so that no link is added while the links
        // are closed.
        self.opening.shutdown().await;
        for link in take(&mut self.links).into_values() {
            self.closing.spawn(link.close());
        }
        let Self { closing, events, .. } = self;
        let all_closed = async {
            loop {
                tokio::select! {
                    closed = closing.join_next() => if closed.is_none() { return },
                    // The node takes no more events. A reader that waited for room in the channel
                    // would not notice the end of its link. So all events are discarded.
                    _ = events.recv() => {}
                }
            }
        };
        let _ = timeout(FLUSH_TIMEOUT, all_closed).await;
        self.closing.abort_all();
    }
}
