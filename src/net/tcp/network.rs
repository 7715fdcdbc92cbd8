//! The network of a task: all its links, and the listener if it has one.
//!
//! It opens links, moves whole frames in order, and tells what happened. It does not know what a
//! message means: sessions, heartbeats and calling again are the protocol's business.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::clock::RealClock;
use super::connector;
use super::entrance::Entrance;
use super::happening::{Happening, LinkEvent, LinkTeller};
use super::link::{Link, Parts};
use super::listener::{Acceptor, Listeners};
use super::memory::Shared;
use super::reader::Reader;
use super::room::{LargestSent, Room};
use super::traffic::Traffic;
use crate::tcp::happening::CallError;
use crate::tcp::happening::Greeted;
use crate::tcp::security::ends::Ends;
use crate::tcp::security::security::Security;
use crate::warnings::Warnings;
use unisono_core::host::{Clock as _, Network};
use unisono_core::ids::{LinkId, TaskId};
use unisono_core::protocol::{Message, NetworkEvent};
use unisono_core::wire::{Frame, Limits};

/// The most events that wait for the node. Readers wait for room, and so do their senders, so
/// this bounds the memory that a busy node's network takes; more than a few bring no speed.
const MAX_EVENTS: usize = 16;

/// How long a task that ends waits for its last messages to be taken.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// What is wrong with a message of a peer, beside its bytes: a link on which it comes is closed.
pub type Check = Box<dyn Fn(Option<TaskId>, &Message) -> Result<(), String> + Send>;

/// What a network is made of.
pub struct NetworkConfig {
    /// Where each task listens that is called, as `host:port`; a name is resolved anew at each call.
    pub addresses: BTreeMap<TaskId, String>,
    /// The largest frame that any peer may send.
    pub limits: Limits,
    /// How peers prove who they are.
    pub security: Security,
    /// Whether tensors between tasks of one machine go through memory that both share.
    pub shared_memory: bool,
    /// Looks at every message.
    pub check: Check,
}

impl NetworkConfig {
    /// Without security, and without any check of what messages say.
    #[must_use]
    pub fn open(addresses: BTreeMap<TaskId, String>, limits: Limits) -> Self {
        Self {
            addresses,
            limits,
            security: Security::default(),
            shared_memory: true,
            check: Box::new(|_, _| Ok(())),
        }
    }
}

impl fmt::Debug for NetworkConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { addresses, limits, security, shared_memory, check: _ } = self;
        f.debug_struct("NetworkConfig")
            .field("addresses", addresses)
            .field("limits", limits)
            .field("security", security)
            .field("shared_memory", shared_memory)
            .finish_non_exhaustive()
    }
}

/// [`Network`] over TCP. It spawns its tasks on the tokio runtime in which it is used.
///
/// Dropping it resets its links; [`Network::flush`] ends it in good order.
pub struct TcpNetwork {
    addresses: BTreeMap<TaskId, String>,
    limits: Limits,
    security: Arc<Security>,
    shared_memory: bool,
    check: Check,
    links: BTreeMap<LinkId, Link>,
    next_link: LinkId,
    largest_sent: LargestSent,
    /// What comes from no task: ends of links, and what was read before a link was told.
    told_here: VecDeque<(LinkId, NetworkEvent)>,
    happenings: mpsc::Receiver<Happening>,
    teller: mpsc::Sender<Happening>,
    /// The entrance, and calls under way.
    opening: JoinSet<()>,
    /// Links that write what was queued before they were closed.
    closing: JoinSet<()>,
    /// Why each task that is called was not trusted, as it was said last.
    untrusted: BTreeMap<TaskId, String>,
    clock: RealClock,
    traffic: Traffic,
    warnings: Warnings,
}

impl fmt::Debug for TcpNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpNetwork")
            .field("addresses", &self.addresses)
            .field("links", &self.links)
            .finish_non_exhaustive()
    }
}

impl TcpNetwork {
    /// A network that accepts from `listeners`, if there are any: through one entrance, so that its
    /// limits hold for all of them together.
    ///
    /// # Errors
    /// If a listener cannot be used from a runtime, or this process may not have enough files open for
    /// the links of all tasks.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(listeners: Option<Listeners>, config: NetworkConfig) -> io::Result<Self> {
        let NetworkConfig { addresses, limits, security, shared_memory, check } = config;
        let security = Arc::new(security);
        let (teller, happenings) = mpsc::channel(MAX_EVENTS);
        let mut opening = JoinSet::new();
        if let Some(listeners) = listeners {
            let acceptor = Acceptor::new(listeners)?;
            let n_callers = addresses.len().saturating_sub(1);
            let entrance = Entrance::new(Arc::clone(&security), n_callers)?;
            let teller = teller.clone();
            opening.spawn(async move { entrance.run(|| acceptor.accept(), teller).await });
        }
        Ok(Self {
            addresses,
            limits,
            security,
            shared_memory,
            check,
            links: BTreeMap::new(),
            next_link: LinkId(0),
            largest_sent: LargestSent::default(),
            told_here: VecDeque::new(),
            happenings,
            teller,
            opening,
            closing: JoinSet::new(),
            untrusted: BTreeMap::new(),
            clock: RealClock::start(),
            traffic: Traffic::default(),
            warnings: Warnings::default(),
        })
    }

    /// What counts the bytes that go in and out.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.traffic.clone()
    }

    /// What a happening is to the node, if it is anything to it.
    fn event(&mut self, happening: Happening) -> Option<NetworkEvent> {
        match happening {
            Happening::Called { to, result: Ok(ends) } => {
                self.untrusted.remove(&to);
                let link = self.start_call(to, ends);
                Some(NetworkEvent::Connected { link, to })
            }
            Happening::Called { to, result: Err(CallError::Unreachable(why)) } => {
                Some(NetworkEvent::ConnectFailed { to, why })
            }
            Happening::Called { to, result: Err(CallError::Untrusted(why)) } => {
                // Once, as it is called again and again.
                if self.untrusted.get(&to) != Some(&why) {
                    self.warn(&why);
                    self.untrusted.insert(to, why.clone());
                }
                Some(NetworkEvent::ConnectFailed { to, why })
            }
            Happening::Accepted(greeted) => {
                let link = self.start_accepted(greeted);
                Some(NetworkEvent::Accepted { link })
            }
            Happening::OnLink(link, _) if !self.links.contains_key(&link) => None,
            Happening::OnLink(link, LinkEvent::Received(message)) => {
                Some(self.on_received(link, message))
            }
            Happening::OnLink(link, LinkEvent::Progress) => Some(NetworkEvent::Progress { link }),
            Happening::OnLink(link, LinkEvent::Ended(why)) => {
                let is_damage = why.is_damage();
                let why = why.to_string();
                if is_damage {
                    self.say_cut_off(link, &why);
                }
                self.close_link(link);
                Some(NetworkEvent::Closed { link, why })
            }
        }
    }

    fn on_received(&mut self, link: LinkId, message: Message) -> NetworkEvent {
        let peer = self.links.get(&link).and_then(|link| link.peer);
        match (self.check)(peer, &message) {
            Ok(()) => NetworkEvent::Received { link, message },
            Err(why) => {
                self.say_cut_off(link, &why);
                self.close_link(link);
                NetworkEvent::Closed { link, why }
            }
        }
    }

    /// A link is closed because its other end does what no task of ours does.
    fn say_cut_off(&mut self, link: LinkId, why: &str) {
        let peer = self.links.get(&link).and_then(|link| link.peer);
        let peer = peer.map_or_else(|| "a caller".to_owned(), |peer| peer.to_string());
        self.warn(&format!("closed the link with {peer}: {why}"));
    }

    fn warn(&mut self, line: &str) {
        self.warnings.warn(self.clock.now(), line);
    }

    fn start_call(&mut self, to: TaskId, ends: Ends) -> LinkId {
        let Ends { read, write, is_local } = ends;
        let (reader, room) = (Reader::new(read), Room::whole(self.limits));
        let shared = self.shared(is_local);
        let traffic = self.traffic.clone();
        self.start_link(Parts {
            reader,
            write,
            room,
            permit: None,
            peer: Some(to),
            shared,
            traffic,
        })
    }

    fn start_accepted(&mut self, greeted: Greeted) -> LinkId {
        let peer = greeted.from();
        let Greeted { reader, write, is_local, first, permit } = greeted;
        let room = Room::of_caller(peer, self.limits, &self.largest_sent);
        let (permit, shared) = (Some(permit), self.shared(is_local));
        let traffic = self.traffic.clone();
        let parts = Parts { reader, write, room, permit, peer, shared, traffic };
        let link = self.start_link(parts);
        self.told_here.push_back((link, NetworkEvent::Received { link, message: first }));
        link
    }

    /// Memory for a link with a task that may be on this machine.
    fn shared(&self, is_local: bool) -> Option<Shared> {
        (is_local && self.shared_memory).then(Shared::new)
    }

    fn start_link(&mut self, parts: Parts) -> LinkId {
        let id = self.next_link;
        self.next_link = LinkId(id.0 + 1);
        let teller = LinkTeller { link: id, network: self.teller.clone() };
        self.links.insert(id, Link::start(parts, teller));
        id
    }

    fn close_link(&mut self, link: LinkId) {
        while self.closing.try_join_next().is_some() {}
        if let Some(link) = self.links.remove(&link) {
            self.closing.spawn(link.close());
        }
    }
}

impl Network for TcpNetwork {
    fn connect(&mut self, to: TaskId) {
        while self.opening.try_join_next().is_some() {}
        let address = self.addresses.get(&to).cloned();
        let (security, teller) = (Arc::clone(&self.security), self.teller.clone());
        self.opening.spawn(async move {
            let result = connector::call(to, address.as_deref(), &security).await;
            let _ = teller.send(Happening::Called { to, result }).await;
        });
    }

    fn send(&mut self, link: LinkId, message: Message) {
        let Some(known) = self.links.get_mut(&link) else { return };
        self.largest_sent.note(message.tensors().into_iter().map(|tensor| 4 * tensor.len()).sum());
        if let Err(full) = known.send(Frame::new(&message)) {
            let why = full.to_string();
            self.say_cut_off(link, &why);
            // Dropped at once: to flush is what the other end does not allow.
            self.links.remove(&link);
            self.told_here.push_back((link, NetworkEvent::Closed { link, why }));
        }
    }

    fn close(&mut self, link: LinkId) {
        self.told_here.retain(|(told, _)| *told != link);
        self.close_link(link);
    }

    async fn next(&mut self) -> NetworkEvent {
        loop {
            if let Some((_, event)) = self.told_here.pop_front() {
                return event;
            }
            let happening = self.happenings.recv().await.expect("the network holds a sender");
            if let Some(event) = self.event(happening) {
                return event;
            }
        }
    }

    async fn flush(&mut self) {
        self.opening.shutdown().await;
        for link in take(&mut self.links).into_values() {
            self.closing.spawn(link.close());
        }
        let Self { closing, happenings, .. } = self;
        let all_closed = async {
            loop {
                tokio::select! {
                    closed = closing.join_next() => if closed.is_none() { return },
                    // Readers must not wait for a node that has ended.
                    _ = happenings.recv() => {}
                }
            }
        };
        let _ = timeout(FLUSH_TIMEOUT, all_closed).await;
        self.closing.abort_all();
    }
}
