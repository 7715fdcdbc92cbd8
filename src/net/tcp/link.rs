//! One link: a tokio task that reads, a tokio task that writes, and the queue of frames to write.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::tcp::timeouts::LINGER;

use super::admission::Permit;
use super::events::{LinkEvent, LinkEventSender};
use super::memory::{Outbox, SharedTensors};
use super::reader::Reader;
use super::room::Room;
use super::traffic::{self, Traffic};
use super::writer;
use crate::tcp::security::halves::{Halves, ReadHalf, WriteHalf};
use unisono_core::host::limits::{CLOSE_TIMEOUT, QueueFull, QueueLimit};
use unisono_core::ids::TaskId;
use unisono_core::wire::Frame;

/// The parts from which a link is started.
pub(super) struct LinkParts {
    pub(super) halves: Halves,
    pub(super) room: Room,
    /// The permit of an accepted link; `None` on a link that this task opened.
    pub(super) permit: Option<Permit>,
    /// The task at the other end, if it is known.
    pub(super) peer: Option<TaskId>,
}

/// A link that is open, or whose end has not been reported to the node yet.
#[derive(Debug)]
pub(super) struct Link {
    /// The task at the other end, if it is known.
    pub(super) peer: Option<TaskId>,
    frames: mpsc::UnboundedSender<Frame>,
    /// Total size in bytes of the frames that are queued or partly written.
    queued: Arc<AtomicUsize>,
    limit: QueueLimit,
    /// The spawned writer. Dropping the set aborts it.
    writer: JoinSet<()>,
    /// The spawned reader. Dropping the set aborts it.
    reader: JoinSet<()>,
}

impl Link {
    /// Starts the reader and the writer of a link. `shared` is the link's state for shared memory;
    /// `None` if the link must not use shared memory.
    pub(super) fn start(
        parts: LinkParts,
        shared: Option<SharedTensors>,
        traffic: Traffic,
        events: LinkEventSender,
    ) -> Self {
        let LinkParts { halves: Halves { mut reader, write, .. }, room, permit, peer } = parts;
        let outbox = shared.map(|SharedTensors { outbox, inbox }| {
            reader.memory = Some(inbox);
            outbox
        });
        reader.traffic = traffic.clone();
        let writer = FrameWriter { half: write, outbox, traffic };
        // The channel itself has no limit, because `send` must not wait. `send` checks the number
        // of bytes instead.
        let (frames, queue) = mpsc::unbounded_channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let (mut writers, mut readers) = (JoinSet::new(), JoinSet::new());
        writers.spawn(write_all(writer, queue, Arc::clone(&queued)));
        readers.spawn(read_all(reader, room, permit, events));
        let limit = QueueLimit::default();
        Self { peer, frames, writer: writers, reader: readers, queued, limit }
    }

    /// Queues a frame. If the writer has stopped, the frame is dropped, and the reader reports the
    /// end of the link.
    ///
    /// # Errors
    /// If the queue exceeds its limit in bytes, which means that the peer does not read.
    pub(super) fn send(&mut self, frame: Frame) -> Result<(), QueueFull> {
        let n_bytes = frame.n_bytes();
        // The bytes are added before the frame is queued. The writer may subtract them at once, and
        // the count must not become negative.
        self.queued.fetch_add(n_bytes, Ordering::Relaxed);
        if self.frames.send(frame).is_err() {
            self.queued.fetch_sub(n_bytes, Ordering::Relaxed);
        }
        self.limit.check(n_bytes, self.queued.load(Ordering::Relaxed))
    }

    /// Writes the queued frames, shuts down the writing half, and waits until the peer closes its
    /// half. Both waits have a time limit.
    pub(super) async fn close(self) {
        let Self { frames, mut writer, mut reader, .. } = self;
        // After the sender is dropped, the writer stops when it has written the last queued frame.
        drop(frames);
        if timeout(CLOSE_TIMEOUT, writer.join_next()).await.is_ok() {
            // If the reader were dropped at once, the connection could be reset before the peer has
            // read the last frames; see `LINGER`.
            let _ = timeout(LINGER, reader.join_next()).await;
        }
    }
}

/// Writes queued frames until the link drops the sender of the queue.
async fn write_all(
    mut writer: FrameWriter,
    mut queue: mpsc::UnboundedReceiver<Frame>,
    queued: Arc<AtomicUsize>,
) {
    while let Some(frame) = queue.recv().await {
        if writer.write(&frame).await.is_err() {
            // The reader will report the error. The broken socket may still hold received messages,
            // which must reach the node before the end of the link is reported.
            return;
        }
        // The bytes are subtracted after the write, because the frame takes memory of this process
        // until then.
        queued.fetch_sub(frame.n_bytes(), Ordering::Relaxed);
    }
    let _ = writer.half.shutdown().await;
}

/// The writing half of a link, with the state for shared memory.
struct FrameWriter {
    half: WriteHalf,
    /// The buffers that the peer can read; `None` if the link uses no shared memory.
    outbox: Option<Outbox>,
    traffic: Traffic,
}

impl FrameWriter {
    async fn write(&mut self, frame: &Frame) -> io::Result<()> {
        let Self { half, outbox, traffic } = self;
        let placed = outbox.as_mut().and_then(|outbox| outbox.place(frame));
        let mut rest = match placed {
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
        // Notes are written after the frame, because the first frame of a link must be a message.
        for note in outbox.iter_mut().flat_map(Outbox::take_notes) {
            rest.extend(note.to_frame());
        }
        half.write_all(&rest).await?;
        traffic::add(&traffic.sent, rest.len());
        // TLS and records keep the end of a frame in a buffer until they are flushed.
        half.flush().await
    }
}

async fn read_all(
    mut reader: Reader<ReadHalf>,
    room: Room,
    permit: Option<Permit>,
    events: LinkEventSender,
) {
    let why = loop {
        match reader.message(&room, || events.send_progress()).await {
            Ok(message) => {
                // `send` waits while the node is busy. Meanwhile nothing is read, so TCP slows down
                // the peer.
                if !events.send(LinkEvent::Received(message)).await {
                    return;
                }
            }
            Err(why) => break why,
        }
    };
    events.send(LinkEvent::Ended(why)).await;
    // The permit is held until here, so that the link counts as open while the reader runs.
    drop(permit);
}
