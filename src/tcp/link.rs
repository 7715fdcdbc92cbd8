//! One link: a task that reads, a task that writes, and the queue between the writer and its node.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::happening::{LinkEvent, LinkTeller};
use super::listener::Permit;
use super::reader::{ReadError, Reader};
use super::writer;
use crate::protocol::Message;
use crate::wire::{Frame, Limits};

/// How long a caller may take for its first frame. It has it ready when it connects, so this is
/// for a slow network; who takes longer is no task of ours.
pub(super) const GREETING_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a closed link may take for what was queued before.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How long to wait, after all is written, for the other end to close, too. To drop a socket into
/// which bytes still come would reset it, and the other end could lose what it has not yet read.
const LINGER: Duration = Duration::from_millis(500);

/// Who opened a link.
#[derive(Debug)]
pub(super) enum Origin {
    /// This end: it knows whom it called.
    Called,
    /// The other end, which has to introduce itself first.
    Accepted(Permit),
}

/// A link that is up, or that the node has not yet heard is down.
#[derive(Debug)]
pub(super) struct Link {
    frames: mpsc::UnboundedSender<Frame>,
    /// The bytes of the frames that are not yet written.
    queued: Arc<AtomicUsize>,
    writer: Task,
    reader: Task,
}

impl Link {
    /// Starts a link's tasks.
    pub(super) fn start(
        stream: TcpStream,
        origin: Origin,
        limits: Limits,
        teller: LinkTeller,
    ) -> Self {
        // Frames are written whole, so waiting for more to fill a packet only delays their ends.
        // If it cannot be set the socket is dead, which its reader will find.
        let _ = stream.set_nodelay(true);
        let (read_half, write_half) = stream.into_split();
        let (frames, queue) = mpsc::unbounded_channel();
        let queued = Arc::new(AtomicUsize::new(0));
        Self {
            frames,
            writer: Task(tokio::spawn(write_all(write_half, queue, Arc::clone(&queued)))),
            reader: Task(tokio::spawn(read_all(read_half, origin, limits, teller))),
            queued,
        }
    }

    /// The bytes that wait to be written.
    pub(super) fn queued_bytes(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// Queues a frame; it is dropped if the link is gone, which the reader tells.
    pub(super) fn send(&self, frame: Frame) {
        let n_bytes = frame.n_bytes();
        self.queued.fetch_add(n_bytes, Ordering::Relaxed);
        if self.frames.send(frame).is_err() {
            self.queued.fetch_sub(n_bytes, Ordering::Relaxed);
        }
    }

    /// Writes what is queued, says that no more will come, and waits for the other end to say so.
    pub(super) async fn close(self) {
        let Self { frames, mut writer, mut reader, .. } = self;
        drop(frames);
        if timeout(CLOSE_TIMEOUT, &mut writer.0).await.is_ok() {
            let _ = timeout(LINGER, &mut reader.0).await;
        }
    }
}

/// A spawned task that ends with its handle.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Writes frames until there can be none; at the first error, leaves it to the reader to tell:
/// the socket is broken for both, but may hold messages that have yet to be read.
async fn write_all(
    mut half: OwnedWriteHalf,
    mut queue: mpsc::UnboundedReceiver<Frame>,
    queued: Arc<AtomicUsize>,
) {
    while let Some(frame) = queue.recv().await {
        if writer::write(&mut half, &frame).await.is_err() {
            return;
        }
        queued.fetch_sub(frame.n_bytes(), Ordering::Relaxed);
    }
    let _ = half.shutdown().await;
}

async fn read_all(half: OwnedReadHalf, origin: Origin, limits: Limits, teller: LinkTeller) {
    let mut reader = Reader::new(half);
    let (permit, mut greeting) = match origin {
        Origin::Called => (None, None),
        Origin::Accepted(permit) => (Some(permit), Some(Limits::GREETING)),
    };
    let why = loop {
        let read = match greeting.take() {
            Some(limits) => read_greeting(&mut reader, &limits).await,
            None => {
                let progress = || teller.tell_progress();
                reader.message(&limits, progress).await.map_err(|error| error.to_string())
            }
        };
        match read {
            Ok(message) => {
                if !teller.tell(LinkEvent::Received(message)).await {
                    return;
                }
            }
            Err(why) => break why,
        }
    };
    teller.tell(LinkEvent::Ended(why)).await;
    drop(permit);
}

async fn read_greeting(
    reader: &mut Reader<OwnedReadHalf>,
    limits: &Limits,
) -> Result<Message, String> {
    let too_late = |_| format!("no first message within {} s", GREETING_TIMEOUT.as_secs());
    let greeting = timeout(GREETING_TIMEOUT, reader.message(limits, || ())).await;
    greeting.map_err(too_late)?.map_err(|error: ReadError| error.to_string())
}
