//! A relay that limits the bandwidth of a loopback link and adds latency.

#![expect(clippy::disallowed_methods, reason = "a real link takes real time")]

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Largest number of bytes that travel together.
const CHUNK: usize = 16 << 10;
/// Largest number of chunks in flight. Further bytes wait in the sender's socket, as behind a full
/// router.
const MAX_CHUNKS: usize = 32;

/// The properties of a link, for each direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) bytes_per_second: u64,
    pub(crate) latency: Duration,
}

/// Relays connections to `target` until the test program ends. Each connection gets a link of this
/// shape. Returns the address of the relay.
pub(crate) fn shaped_link(target: &str, shape: Shape) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("the listener is bound").to_string();
    let target = target.to_owned();
    thread::spawn(move || {
        for caller in listener.incoming().flatten() {
            let Ok(called) = TcpStream::connect(&target) else { continue };
            relay(caller, called, shape).expect("sockets can be copied");
        }
    });
    address
}

fn relay(caller: TcpStream, called: TcpStream, shape: Shape) -> io::Result<()> {
    for (from, to) in [(caller.try_clone()?, called.try_clone()?), (called, caller)] {
        let (chunks, arrivals) = sync_channel(MAX_CHUNKS);
        thread::spawn(move || {
            let mut from = from;
            let mut free_at = Instant::now();
            let mut buffer = vec![0; CHUNK];
            while let Ok(n @ 1..) = from.read(&mut buffer) {
                let takes = Duration::from_secs_f64(n as f64 / shape.bytes_per_second as f64);
                free_at = free_at.max(Instant::now()) + takes;
                if chunks.send((free_at + shape.latency, buffer[..n].to_vec())).is_err() {
                    return;
                }
            }
        });
        thread::spawn(move || deliver(&arrivals, to));
    }
    Ok(())
}

fn deliver(arrivals: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
    for (at, bytes) in arrivals {
        thread::sleep(at.saturating_duration_since(Instant::now()));
        if to.write_all(&bytes).is_err() {
            return;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
