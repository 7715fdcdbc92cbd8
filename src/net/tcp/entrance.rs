//! Accepts callers, and authenticates each caller within a time limit. Reads the caller's first
//! message, and passes the caller and the message on to the network. A refused caller costs at most
//! one log line, and the number of log lines is limited.

use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::admission::{Admission, AdmissionLimits, Admitted, CallerId, Permit};
use super::clock::RealClock;
use super::events::NetworkTaskEvent;
use super::reader::ReadError;
use super::room::Room;
use super::security::is_secret_magic;
use crate::tcp::events::GreetedCaller;
use crate::tcp::security::authentication::{Identity, Refusal, Security};
use crate::tcp::security::halves::{Halves, refuse};
use crate::tcp::timeouts::GREETING_TIMEOUT;
use crate::warnings::Warnings;
use unisono_core::host::Clock as _;
use unisono_core::time::Moment;
use unisono_core::wire::{Limits, WireError};

/// Pause after a failed `accept`. If `accept` fails for lack of file descriptors or memory, the
/// failure lasts until this process or another process frees some.
const BACK_OFF: Duration = Duration::from_millis(100);

/// A caller that has sent its first message, and the permit of its link.
type Greeted = (GreetedCaller, Permit);

/// The accepting side of a network.
pub(super) struct Entrance {
    security: Arc<Security>,
    admission: Admission,
    /// The running tokio tasks, one for each caller that has not sent its first message.
    greeting: JoinSet<(CallerId, IpAddr, Result<Greeted, Refusal>)>,
    /// The address of each caller of `greeting`, and a handle to evict the caller.
    callers: BTreeMap<CallerId, (IpAddr, AbortHandle)>,
    clock: RealClock,
    /// Warnings about refused callers.
    warnings: Warnings,
    /// Warnings about failures of `accept`. These warnings have their own limit, so that a flood of
    /// refused callers cannot hide them.
    accept_warnings: Warnings,
    /// Time of the next `accept` after a failure; `None` if the last `accept` succeeded.
    retry_at: Option<Moment>,
}

impl Entrance {
    /// Creates the entrance of a task. `n_callers` is the number of other tasks that may call the
    /// task.
    ///
    /// # Errors
    /// If the limit of open files is too low for `n_callers` links.
    pub(super) fn new(security: Arc<Security>, n_callers: usize) -> io::Result<Self> {
        let limits =
            AdmissionLimits::within(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX));
        limits.check(n_callers).map_err(io::Error::other)?;
        Ok(Self {
            security,
            admission: Admission::new(limits),
            greeting: JoinSet::new(),
            callers: BTreeMap::new(),
            clock: RealClock::start(),
            warnings: Warnings::default(),
            accept_warnings: Warnings::default(),
            retry_at: None,
        })
    }

    /// Accepts callers until the network is dropped. Retries after an error of `accept`.
    pub(super) async fn run<A>(
        mut self,
        mut accept: impl FnMut() -> A,
        network: mpsc::Sender<NetworkTaskEvent>,
    ) where
        A: Future<Output = io::Result<(TcpStream, SocketAddr)>>,
    {
        loop {
            let (clock, retry_at) = (self.clock, self.retry_at);
            // Each iteration creates both futures again. If the future of `accept` is dropped, no
            // connection is lost, because the kernel keeps the connection in the listener's queue.
            let accepted = async {
                if let Some(at) = retry_at {
                    clock.sleep_until(at).await;
                }
                accept().await
            };
            let deadlines = [self.warnings.deadline(), self.accept_warnings.deadline()];
            let settle_at = deadlines.into_iter().flatten().min();
            let settle = async {
                match settle_at {
                    Some(at) => clock.sleep_until(at).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                Some(greeted) = self.greeting.join_next() => {
                    // A join error means that the caller was evicted, or that the runtime is
                    // shutting down.
                    let Ok((caller, address, greeted)) = greeted else { continue };
                    self.callers.remove(&caller);
                    match greeted {
                        Ok((greeted, permit)) => {
                            // `send` waits while the node is busy. Meanwhile new connections stay
                            // in the listener's queue, where they cost this process nothing.
                            let event = NetworkTaskEvent::Accepted(greeted, permit);
                            if network.send(event).await.is_err() {
                                return;
                            }
                        }
                        // Health checks and port scans often connect and leave, so this event is
                        // not worth a warning.
                        Err(Refusal::Left) => {
                            tracing::debug!("a caller at {address} left without a message");
                        }
                        Err(Refusal::Refused(why)) => self.log_refusal(address, &why),
                    }
                }
                accepted = accepted => self.on_accepted(accepted),
                () = settle => {
                    let now = self.clock.now();
                    self.warnings.settle(now);
                    self.accept_warnings.settle(now);
                }
            }
        }
    }

    fn on_accepted(&mut self, accepted: io::Result<(TcpStream, SocketAddr)>) {
        match accepted {
            Ok((stream, peer)) => {
                self.retry_at = None;
                self.admit(stream, peer.ip());
            }
            Err(error) => {
                let now = self.clock.now();
                // A lasting error is logged once, instead of ten times per second.
                if self.retry_at.is_none() {
                    let line = format_args!("cannot accept connections; retrying: {error}");
                    self.accept_warnings.warn(now, line);
                }
                self.retry_at = Some(now + BACK_OFF);
            }
        }
    }

    fn admit(&mut self, stream: TcpStream, address: IpAddr) {
        let Admitted { caller, permit, evicted } = match self.admission.admit(address) {
            Ok(admitted) => admitted,
            Err(why) => return self.log_refusal(address, &why),
        };
        if let Some((address, task)) = evicted.and_then(|evicted| self.callers.remove(&evicted)) {
            task.abort();
            self.log_refusal(address, "it did not identify itself before many others connected");
        }
        let (security, admission) = (Arc::clone(&self.security), self.admission.clone());
        let task = self.greeting.spawn(async move {
            let greeted = timeout(GREETING_TIMEOUT, greet(stream, &security, permit));
            let greeted = greeted.await.unwrap_or_else(|_| {
                let secs = GREETING_TIMEOUT.as_secs();
                Err(Refusal::Refused(format!("it did not identify itself within {secs} s")))
            });
            // From here on, the caller cannot be evicted. `run` would be too late for this call,
            // because `run` may be waiting for the node.
            admission.settle(caller);
            (caller, address, greeted)
        });
        self.callers.insert(caller, (address, task));
    }

    fn log_refusal(&mut self, address: IpAddr, why: &str) {
        self.warnings.warn(self.clock.now(), format_args!("refused a caller at {address}: {why}"));
    }
}

async fn greet(stream: TcpStream, security: &Security, permit: Permit) -> Result<Greeted, Refusal> {
    // A frame is written with one call, so Nagle's algorithm would only delay the last packet of
    // each frame. If this fails, the socket is dead, and the reader reports that.
    let _ = stream.set_nodelay(true);
    let (halves, identity) = security.accept(stream).await?;
    Ok((introduce(halves, &identity).await?, permit))
}

/// Reads a caller's first message, and checks that the message does not contradict the proved
/// identity.
pub(super) async fn introduce(
    mut halves: Halves,
    identity: &Identity,
) -> Result<GreetedCaller, Refusal> {
    let first = halves.reader.message(&Room::fixed(Limits::GREETING), || ()).await;
    let first = first.map_err(|error| match error {
        // `unisono doctor` authenticates and then drops the connection.
        ReadError::Ended | ReadError::CutOff => Refusal::Left,
        ReadError::Wire(WireError::NotAFrame(magic)) if is_secret_magic(&magic) => {
            Refusal::Refused("it has a --secret-file, but this task has none".to_owned())
        }
        other => Refusal::Refused(other.to_string()),
    })?;
    if let Err(why) = identity.check(&first) {
        // The caller has authenticated, so it may learn the reason.
        refuse(halves.write, halves.reader.into_inner(), &why).await;
        return Err(Refusal::Refused(why));
    }
    Ok(GreetedCaller { halves, first })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::AsyncWriteExt as _;

    use super::*;
    use unisono_core::host::contract;
    use unisono_core::ids::Cut;
    use unisono_core::ids::TaskId;
    use unisono_core::protocol::Message;
    use unisono_core::wire::encode_to_vec;

    /// Returns the reason for which a caller that sends only these bytes is refused.
    async fn refusal(sent: &[u8]) -> Refusal {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut caller = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        caller.write_all(sent).await.unwrap();
        caller.shutdown().await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        let permit = Admission::new(AdmissionLimits::within(1024)).admit(peer.ip()).unwrap().permit;
        greet(stream, &Security::default(), permit).await.expect_err("it is refused")
    }

    #[tokio::test]
    async fn refusal_distinguishes_other_protocols_damage_and_a_silent_caller() {
        let hello = encode_to_vec(&contract::hello(TaskId::ps(0)));
        let mut damaged = hello.clone();
        damaged[30] ^= 1;
        let push = Message::Push {
            cut: Cut {
                generation: unisono_core::ids::Generation::default(),
                step: unisono_core::ids::Step(0),
            },
            slot: unisono_core::ids::Slot(0),
            loss: 0.5,
            recorded: unisono_core::protocol::Recorded::default(),
            gradient: vec![1.5].into(),
        };
        for (sent, why) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], "not a Unisono frame: it starts with \"GET \""),
            (b"\x16\x03\x01\x02", "it speaks TLS, but this task has no --tls-cert"),
            (b"USH1", "it has a --secret-file, but this task has none"),
            (&hello[..hello.len() - 1], "closed by the other end in the middle of a message"),
            (&damaged, "damaged: the control part does not fit its checksum"),
            (&encode_to_vec(&push), "too large: 1 tensors, the limit is 0"),
        ] {
            assert_eq!(refusal(sent).await, Refusal::Refused(why.to_owned()));
        }
        assert_eq!(refusal(b"").await, Refusal::Left);
    }

    /// Collects the lines of a log.
    #[derive(Clone, Debug, Default)]
    struct Log(Arc<std::sync::Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn failures_to_accept_are_logged_ten_times_a_minute_and_then_counted() {
        // Successes and failures alternate, and a pause of 0.1 s follows each failure.
        const N_FAILURES: usize = 100;
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let n_calls = AtomicUsize::new(0);
        let accept = || async {
            match n_calls.fetch_add(1, Ordering::Relaxed) {
                call if call >= 2 * N_FAILURES => pending().await,
                call if call.is_multiple_of(2) => Err(io::Error::other("no more files")),
                _ => {
                    let _caller = TcpStream::connect(address).await.unwrap();
                    listener.accept().await
                }
            }
        };
        let (network, _events) = mpsc::channel(1);
        let clock = RealClock::start();
        tokio::select! {
            () = Entrance::new(Arc::default(), 4).unwrap().run(accept, network) => {
                unreachable!("the entrance accepts forever")
            }
            () = clock.sleep_until(clock.now() + Duration::from_secs(70)) => {}
        }
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let n_lines = log.matches("cannot accept connections; retrying: no more files").count();
        assert_eq!(n_lines, 10, "{log}");
        assert_eq!(log.matches("90 more warnings of this kind were left out in 60 s").count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn entrance_accepts_again_after_errors() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let n_calls = AtomicUsize::new(0);
        let accept = || async {
            if n_calls.fetch_add(1, Ordering::Relaxed) < 3 {
                return Err(io::Error::other("too many open files"));
            }
            listener.accept().await
        };
        let (network, mut events) = mpsc::channel(1);
        let mut caller = TcpStream::connect(address).await.unwrap();
        caller.write_all(&encode_to_vec(&Message::Heartbeat)).await.unwrap();
        tokio::select! {
            () = Entrance::new(Arc::default(), 4).unwrap().run(accept, network) => {
                unreachable!("the entrance accepts forever")
            }
            event = events.recv() => {
                let Some(NetworkTaskEvent::Accepted(caller, _)) = event else { panic!("{event:?}") };
                assert_eq!(caller.first, Message::Heartbeat);
            }
        }
    }
}
