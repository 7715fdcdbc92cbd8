//! A proxy for all connections, with faults on demand. Each pair of a worker and a ps has a
//! listener of its own.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};

use crate::plan::{Flip, Side};

/// Largest chunk of bytes that passes at once, and to which a fault applies.
const CHUNK: usize = 1 << 16;
/// Number of orders that may wait for a busy connection.
const MAX_ORDERS: usize = 64;

/// A listener and all its connections.
#[derive(Debug)]
pub(crate) struct Link {
    address: String,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    ps: SocketAddr,
    conditions: watch::Sender<Conditions>,
    orders: broadcast::Sender<Order>,
    /// Bits to flip, each with the end to which its bytes travel.
    flips: Mutex<Vec<(Side, Flip)>>,
    n_flipped: AtomicUsize,
    n_open: AtomicUsize,
    /// The ends of half-open connections that must not notice. Kept, because dropping closes them.
    unaware: Mutex<Vec<TcpStream>>,
}

/// The conditions of the network for all bytes and new connections of a link.
#[derive(Clone, Copy, Debug, Default)]
struct Conditions {
    /// Whether bytes are held back.
    is_silent: bool,
    /// Whether new connections are refused.
    is_cut: bool,
    /// Whether the ps is not running. Its socket stays open for its next process, so the proxy has
    /// to refuse new connections.
    is_ps_away: bool,
    /// Delay of each chunk.
    delay: Duration,
}

/// An order for all open connections.
#[derive(Clone, Copy, Debug)]
enum Order {
    Reset,
    HalfOpen { notified: Side },
}

impl Link {
    /// Listens on a free port, and relays connections to `ps` on tokio's runtime.
    pub(crate) async fn start(ps: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port is free");
        let address = listener.local_addr().expect("the listener is bound").to_string();
        let shared = Arc::new(Shared {
            ps,
            conditions: watch::Sender::default(),
            orders: broadcast::Sender::new(MAX_ORDERS),
            flips: Mutex::default(),
            n_flipped: AtomicUsize::new(0),
            n_open: AtomicUsize::new(0),
            unaware: Mutex::default(),
        });
        tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared }
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn is_open(&self) -> bool {
        self.shared.n_open.load(Ordering::SeqCst) > 0
    }

    pub(crate) fn set_silent(&self, is_silent: bool) {
        self.shared.conditions.send_modify(|conditions| conditions.is_silent = is_silent);
    }

    pub(crate) fn set_cut(&self, is_cut: bool) {
        self.shared.conditions.send_modify(|conditions| conditions.is_cut = is_cut);
        if is_cut {
            self.reset();
        }
    }

    pub(crate) fn set_ps_away(&self, is_away: bool) {
        self.shared.conditions.send_modify(|conditions| conditions.is_ps_away = is_away);
    }

    pub(crate) fn set_delay(&self, delay: Duration) {
        self.shared.conditions.send_modify(|conditions| conditions.delay = delay);
    }

    pub(crate) fn reset(&self) {
        let _ = self.shared.orders.send(Order::Reset);
    }

    pub(crate) fn half_open(&self, notified: Side) {
        let _ = self.shared.orders.send(Order::HalfOpen { notified });
    }

    pub(crate) fn flip(&self, towards: Side, flip: Flip) {
        self.shared.flips.lock().expect("no holder panics").push((towards, flip));
    }

    pub(crate) fn n_flipped(&self) -> usize {
        self.shared.n_flipped.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (worker, _) = listener.accept().await.expect("the listener is open");
        let conditions = *shared.conditions.borrow();
        if conditions.is_cut || conditions.is_ps_away {
            let _ = worker.set_zero_linger();
        } else {
            tokio::spawn(connect(worker, Arc::clone(&shared)));
        }
    }
}

async fn connect(worker: TcpStream, shared: Arc<Shared>) {
    let mut orders = shared.orders.subscribe();
    let Ok(ps) = TcpStream::connect(shared.ps).await else {
        let _ = worker.set_zero_linger();
        return;
    };
    // With Nagle's algorithm, each step would wait for a delayed acknowledgement.
    for end in [&worker, &ps] {
        end.set_nodelay(true).expect("an open socket has this option");
    }
    shared.n_open.fetch_add(1, Ordering::SeqCst);
    let order = relay(worker, ps, &shared, &mut orders).await;
    shared.n_open.fetch_sub(1, Ordering::SeqCst);
    if let Some((order, worker, ps)) = order {
        obey(order, worker, ps, &shared);
    }
}

/// Relays bytes until one end closes the connection, or until there is an order. Returns the order
/// and both ends.
async fn relay(
    mut worker: TcpStream,
    mut ps: TcpStream,
    shared: &Shared,
    orders: &mut broadcast::Receiver<Order>,
) -> Option<(Order, TcpStream, TcpStream)> {
    let (from_worker, to_worker) = worker.split();
    let (from_ps, to_ps) = ps.split();
    let order = tokio::select! {
        biased;
        order = orders.recv() => order.ok(),
        _ = pump(from_worker, to_ps, shared, Side::Ps) => None,
        _ = pump(from_ps, to_worker, shared, Side::Worker) => None,
    };
    order.map(|order| (order, worker, ps))
}

#[expect(clippy::disallowed_methods, reason = "the delay is in real time")]
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    shared: &Shared,
    towards: Side,
) -> io::Result<()> {
    let mut conditions = shared.conditions.subscribe();
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = from.read(&mut buffer).await;
        // The end of the stream is held back, too.
        let now = *conditions.wait_for(|now| !now.is_silent).await.expect("the sender is kept");
        let chunk = match read? {
            0 => return Ok(()),
            n => &mut buffer[..n],
        };
        if !now.delay.is_zero() {
            tokio::time::sleep(now.delay).await;
        }
        shared.flip_one(towards, chunk);
        to.write_all(chunk).await?;
    }
}

fn obey(order: Order, worker: TcpStream, ps: TcpStream, shared: &Shared) {
    let (notified, unaware) = match order {
        Order::Reset => ([Some(worker), Some(ps)], None),
        Order::HalfOpen { notified: Side::Worker } => ([Some(worker), None], Some(ps)),
        Order::HalfOpen { notified: Side::Ps } => ([Some(ps), None], Some(worker)),
    };
    // With a linger time of zero, closing the socket sends a reset.
    let reset = |end: &TcpStream| end.set_zero_linger().expect("an open socket has this option");
    notified.iter().flatten().for_each(reset);
    shared.unaware.lock().expect("no holder panics").extend(unaware);
}

impl Shared {
    fn flip_one(&self, towards: Side, chunk: &mut [u8]) {
        let mut flips = self.flips.lock().expect("no holder panics");
        if let Some(index) = flips.iter().position(|(side, _)| *side == towards) {
            let (_, Flip { at, bit }) = flips.swap_remove(index);
            chunk[at % chunk.len()] ^= 1 << bit;
            self.n_flipped.fetch_add(1, Ordering::SeqCst);
        }
    }
}
