//! One link: a task that reads, a task that writes, and the queue between the writer and its node.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::tcp::timeouts::LINGER;

use super::admission::Permit;
use super::happening::{LinkEvent, LinkTeller};
use super::memory::{Outbox, Shared};
use super::reader::Reader;
use super::room::Room;
use super::traffic::{self, Traffic};
use super::writer;
use crate::tcp::security::ends::{ReadEnd, WriteEnd};
use unisono_core::host::limits::{CLOSE_TIMEOUT, QueueFull, QueueLimit};
use unisono_core::ids::TaskId;
use unisono_core::wire::Frame;

/// What a link is made of.
pub(super) struct Parts {
    pub(super) reader: Reader<ReadEnd>,
    pub(super) write: WriteEnd,
    pub(super) room: Room,
    /// Of a caller.
    pub(super) permit: Option<Permit>,
    /// Who is at the other end, as far as it is known.
    pub(super) peer: Option<TaskId>,
    /// What it and this end may share, if they are on one machine.
    pub(super) shared: Option<Shared>,
    /// What counts the bytes.
    pub(super) traffic: Traffic,
}

/// A link that is up, or that the node has not yet heard is down.
#[derive(Debug)]
pub(super) struct Link {
    /// Who is at the other end, as far as it is known.
    pub(super) peer: Option<TaskId>,
    frames: mpsc::UnboundedSender<Frame>,
    /// The bytes of the frames that are not yet written.
    queued: Arc<AtomicUsize>,
    limit: QueueLimit,
    writer: Task,
    reader: Task,
}

impl Link {
    /// Starts a link's tasks.
    pub(super) fn start(parts: Parts, teller: LinkTeller) -> Self {
        let Parts { mut reader, write, room, permit, peer, shared, traffic } = parts;
        let outbox = shared.map(|Shared { outbox, inbox }| {
            reader.share(inbox);
            outbox
        });
        reader.count(traffic.clone());
        let outlet = Outlet { half: write, outbox, traffic };
        let (frames, queue) = mpsc::unbounded_channel();
        let queued = Arc::new(AtomicUsize::new(0));
        Self {
            peer,
            frames,
            writer: Task(tokio::spawn(write_all(outlet, queue, Arc::clone(&queued)))),
            reader: Task(tokio::spawn(read_all(reader, room, permit, teller))),
            queued,
            limit: QueueLimit::default(),
        }
    }

    /// Queues a frame; it is dropped if the link is gone, which the reader tells.
    ///
    /// # Errors
    /// If so much waits to be written that the other end cannot be reading.
    pub(super) fn send(&mut self, frame: Frame) -> Result<(), QueueFull> {
        let n_bytes = frame.n_bytes();
        self.queued.fetch_add(n_bytes, Ordering::Relaxed);
        if self.frames.send(frame).is_err() {
            self.queued.fetch_sub(n_bytes, Ordering::Relaxed);
        }
        self.limit.check(n_bytes, self.queued.load(Ordering::Relaxed))
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
    mut outlet: Outlet,
    mut queue: mpsc::UnboundedReceiver<Frame>,
    queued: Arc<AtomicUsize>,
) {
    while let Some(frame) = queue.recv().await {
        if outlet.write(&frame).await.is_err() {
            return;
        }
        queued.fetch_sub(frame.n_bytes(), Ordering::Relaxed);
    }
    let _ = outlet.half.shutdown().await;
}

/// Where frames go.
struct Outlet {
    half: WriteEnd,
    /// Memory that the other end shares.
    outbox: Option<Outbox>,
    traffic: Traffic,
}

impl Outlet {
    async fn write(&mut self, frame: &Frame) -> io::Result<()> {
        let Self { half, outbox, traffic } = self;
        let place = outbox.as_mut().and_then(|outbox| outbox.place(frame));
        let mut rest = match place {
            Some(buffers) => {
                traffic::add(&traffic.shared_sent, frame.tensor_bytes());
                frame.placed_head(&buffers)
            }
            None => {
                writer::write(half, frame).await?;
                traffic::add(&traffic.sent, frame.n_bytes());
                Vec::new()
            }
        };
        for note in outbox.iter_mut().flat_map(Outbox::notes) {
            rest.extend(note.to_frame());
        }
        half.write_all(&rest).await?;
        traffic::add(&traffic.sent, rest.len());
        // TLS may keep the end of a frame until it is asked for it.
        half.flush().await
    }
}

async fn read_all(
    mut reader: Reader<ReadEnd>,
    room: Room,
    permit: Option<Permit>,
    teller: LinkTeller,
) {
    let why = loop {
        match reader.message(&room, || teller.tell_progress()).await {
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
