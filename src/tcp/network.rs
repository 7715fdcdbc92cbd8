//! The network of a task: all its links, and the listener if it has one.
//!
//! It opens links, moves whole frames in order, and tells what happened. It does not know what a
//! message means: sessions, heartbeats and calling again are the protocol's business.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::mem::take;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::connector;
use super::happening::{Happening, LinkEvent, LinkTeller};
use super::link::{Link, Origin};
use super::listener::accept_all;
use crate::host::Network;
use crate::ids::{LinkId, TaskId};
use crate::protocol::{Message, NetworkEvent};
use crate::wire::{Frame, Limits, MAX_CONTROL_BYTES};

/// The most events that wait for the node. Readers wait for room, and so do their senders, so
/// this bounds the memory that a busy node's network takes; more than a few bring no speed.
const MAX_EVENTS: usize = 16;

/// How many of the largest frames may wait on one link. A peer that reads has at most a version
/// and a state under way; one for which more piles up does not read.
const MAX_QUEUED_FRAMES: usize = 4;

/// How long a task that ends waits for its last messages to be taken.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);

/// [`Network`] over TCP. It spawns its tasks on the tokio runtime in which it is used.
///
/// Dropping it resets its links; [`Network::flush`] ends it in good order.
#[derive(Debug)]
pub struct TcpNetwork {
    addresses: BTreeMap<TaskId, String>,
    limits: Limits,
    links: BTreeMap<LinkId, Link>,
    next_link: LinkId,
    /// Ends of links that come from no task.
    told_here: VecDeque<(LinkId, NetworkEvent)>,
    happenings: mpsc::Receiver<Happening>,
    teller: mpsc::Sender<Happening>,
    /// The listener, and calls under way.
    opening: JoinSet<()>,
    /// Links that write what was queued before they were closed.
    closing: JoinSet<()>,
}

impl TcpNetwork {
    /// A network that accepts from `listener`, if there is one, and calls each task at its
    /// `host:port`; a name is resolved anew at each call.
    ///
    /// # Errors
    /// If the listener cannot be used from a runtime.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn new(
        listener: Option<TcpListener>,
        addresses: BTreeMap<TaskId, String>,
        limits: Limits,
    ) -> io::Result<Self> {
        let (teller, happenings) = mpsc::channel(MAX_EVENTS);
        let mut opening = JoinSet::new();
        if let Some(listener) = listener {
            listener.set_nonblocking(true)?;
            let listener = Arc::new(tokio::net::TcpListener::from_std(listener)?);
            opening.spawn(accept_links(listener, teller.clone()));
        }
        Ok(Self {
            addresses,
            limits,
            links: BTreeMap::new(),
            next_link: LinkId(0),
            told_here: VecDeque::new(),
            happenings,
            teller,
            opening,
            closing: JoinSet::new(),
        })
    }

    /// What a happening is to the node, if it is anything to it.
    fn event(&mut self, happening: Happening) -> Option<NetworkEvent> {
        match happening {
            Happening::Called { to, result: Ok(stream) } => {
                let link = self.start_link(stream, Origin::Called);
                Some(NetworkEvent::Connected { link, to })
            }
            Happening::Called { to, result: Err(why) } => {
                Some(NetworkEvent::ConnectFailed { to, why })
            }
            Happening::Accepted(stream, permit) => {
                let link = self.start_link(stream, Origin::Accepted(permit));
                Some(NetworkEvent::Accepted { link })
            }
            Happening::OnLink(link, _) if !self.links.contains_key(&link) => None,
            Happening::OnLink(link, LinkEvent::Received(message)) => {
                Some(NetworkEvent::Received { link, message })
            }
            Happening::OnLink(link, LinkEvent::Progress) => Some(NetworkEvent::Progress { link }),
            Happening::OnLink(link, LinkEvent::Ended(why)) => {
                self.close_link(link);
                Some(NetworkEvent::Closed { link, why })
            }
        }
    }

    fn start_link(&mut self, stream: TcpStream, origin: Origin) -> LinkId {
        let id = self.next_link;
        self.next_link = LinkId(id.0 + 1);
        let teller = LinkTeller { link: id, network: self.teller.clone() };
        self.links.insert(id, Link::start(stream, origin, self.limits, teller));
        id
    }

    fn close_link(&mut self, link: LinkId) {
        while self.closing.try_join_next().is_some() {}
        if let Some(link) = self.links.remove(&link) {
            self.closing.spawn(link.close());
        }
    }

    /// The most bytes that may wait on a link.
    const fn queue_limit(&self) -> usize {
        MAX_QUEUED_FRAMES * self.limits.tensor_bytes + MAX_CONTROL_BYTES
    }
}

impl Network for TcpNetwork {
    fn connect(&mut self, to: TaskId) {
        while self.opening.try_join_next().is_some() {}
        let address = self.addresses.get(&to).cloned();
        let teller = self.teller.clone();
        self.opening.spawn(async move {
            let result = match address {
                None => Err(format!("{to} has no address in the cluster")),
                Some(address) => connector::connect(&address)
                    .await
                    .map_err(|why| format!("{to} at {address}: {why}")),
            };
            let _ = teller.send(Happening::Called { to, result }).await;
        });
    }

    fn send(&mut self, link: LinkId, message: Message) {
        let limit = self.queue_limit();
        let Some(known) = self.links.get(&link) else { return };
        known.send(Frame::new(&message));
        let waiting = known.queued_bytes();
        if waiting > limit {
            // Dropped at once: to flush is what the other end does not allow.
            self.links.remove(&link);
            let why = format!("the other end does not read: {waiting} bytes wait for it");
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

async fn accept_links(listener: Arc<tokio::net::TcpListener>, teller: mpsc::Sender<Happening>) {
    let accept = || listener.accept();
    let take = |stream, permit| {
        let teller = teller.clone();
        async move {
            let _ = teller.send(Happening::Accepted(stream, permit)).await;
        }
    };
    accept_all(accept, take).await;
}
