//! What all connections go through: one listener for each pair of a worker and a ps, and on each
//! of them faults on demand.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, watch};

use crate::plan::{Flip, Side};

/// Bytes that pass at once; what a fault does, it does to these.
const CHUNK: usize = 1 << 16;
/// Orders that wait for a connection that is busy.
const MOST_ORDERS: usize = 64;

/// One listener, and all connections that came through it.
#[derive(Debug)]
pub(crate) struct Link {
    address: String,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    ps: SocketAddr,
    weather: watch::Sender<Weather>,
    orders: broadcast::Sender<Order>,
    /// To be flipped, and whither they are on their way.
    flips: Mutex<Vec<(Side, Flip)>>,
    n_flipped: AtomicUsize,
    n_open: AtomicUsize,
    /// Of half-open connections, the ends that were not told.
    untold: Mutex<Vec<TcpStream>>,
}

/// What all bytes and calls have to go through.
#[derive(Clone, Copy, Debug, Default)]
struct Weather {
    is_silent: bool,
    is_cut: bool,
    /// The ps is not there; its socket is kept for its next life, and takes no calls meanwhile.
    is_ps_away: bool,
    delay: Duration,
}

/// What becomes of the connections that are open.
#[derive(Clone, Copy, Debug)]
enum Order {
    Reset,
    HalfOpen { told: Side },
}

impl Link {
    /// Listens on a port of its own. Needs tokio's runtime, on which everything here runs.
    pub(crate) async fn start(ps: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        let shared = Arc::new(Shared {
            ps,
            weather: watch::Sender::default(),
            orders: broadcast::Sender::new(MOST_ORDERS),
            flips: Mutex::default(),
            n_flipped: AtomicUsize::new(0),
            n_open: AtomicUsize::new(0),
            untold: Mutex::default(),
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
        self.shared.weather.send_modify(|weather| weather.is_silent = is_silent);
    }

    pub(crate) fn set_cut(&self, is_cut: bool) {
        self.shared.weather.send_modify(|weather| weather.is_cut = is_cut);
        if is_cut {
            self.reset();
        }
    }

    pub(crate) fn set_ps_away(&self, is_away: bool) {
        self.shared.weather.send_modify(|weather| weather.is_ps_away = is_away);
    }

    pub(crate) fn set_delay(&self, delay: Duration) {
        self.shared.weather.send_modify(|weather| weather.delay = delay);
    }

    pub(crate) fn reset(&self) {
        let _ = self.shared.orders.send(Order::Reset);
    }

    pub(crate) fn half_open(&self, told: Side) {
        let _ = self.shared.orders.send(Order::HalfOpen { told });
    }

    pub(crate) fn flip(&self, towards: Side, flip: Flip) {
        self.shared.flips.lock().expect("nobody panics").push((towards, flip));
    }

    pub(crate) fn n_flipped(&self) -> usize {
        self.shared.n_flipped.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (worker, _) = listener.accept().await.expect("it listens");
        let weather = *shared.weather.borrow();
        if weather.is_cut || weather.is_ps_away {
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
    // Else each step waits for a delayed acknowledgement.
    for end in [&worker, &ps] {
        end.set_nodelay(true).expect("it is a socket");
    }
    shared.n_open.fetch_add(1, Ordering::SeqCst);
    let order = relay(worker, ps, &shared, &mut orders).await;
    shared.n_open.fetch_sub(1, Ordering::SeqCst);
    if let Some((order, worker, ps)) = order {
        obey(order, worker, ps, &shared);
    }
}

/// Until one end closes; or until there is an order, for these ends.
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

#[expect(clippy::disallowed_methods, reason = "real bytes are late by the wall clock")]
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    shared: &Shared,
    towards: Side,
) -> io::Result<()> {
    let mut weather = shared.weather.subscribe();
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = from.read(&mut buffer).await;
        // An end, too, is only seen through.
        let weather = *weather.wait_for(|weather| !weather.is_silent).await.expect("it is kept");
        let chunk = match read? {
            0 => return Ok(()),
            n => &mut buffer[..n],
        };
        if !weather.delay.is_zero() {
            tokio::time::sleep(weather.delay).await;
        }
        shared.flip_one(towards, chunk);
        to.write_all(chunk).await?;
    }
}

fn obey(order: Order, worker: TcpStream, ps: TcpStream, shared: &Shared) {
    let (told, untold) = match order {
        Order::Reset => ([Some(worker), Some(ps)], None),
        Order::HalfOpen { told: Side::Worker } => ([Some(worker), None], Some(ps)),
        Order::HalfOpen { told: Side::Ps } => ([Some(ps), None], Some(worker)),
    };
    // With nothing left to linger for, to close is to reset.
    told.iter().flatten().for_each(|end| end.set_zero_linger().expect("it is a socket"));
    shared.untold.lock().expect("nobody panics").extend(untold);
}

impl Shared {
    fn flip_one(&self, towards: Side, chunk: &mut [u8]) {
        let mut flips = self.flips.lock().expect("nobody panics");
        if let Some(index) = flips.iter().position(|(whither, _)| *whither == towards) {
            let (_, Flip { at, bit }) = flips.swap_remove(index);
            chunk[at % chunk.len()] ^= 1 << bit;
            self.n_flipped.fetch_add(1, Ordering::SeqCst);
        }
    }
}
