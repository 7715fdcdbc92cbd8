//! Reads frames from a connection. Tensors are read from the socket directly into their final
//! buffers.

use std::io;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::Instant;

use super::memory::{Inbox, InboxError};
use super::room::Room;
use super::traffic::{self, Traffic};
use crate::tcp::io_error::describe;
use unisono_core::floats::{Floats, Pool};
use unisono_core::protocol::Message;
use unisono_core::wire::{HEADER_BYTES, Header, Kind, MAGIC, WireError, check_magic};

/// The maximum number of bytes of one read while no tensor is expected. Most frames without tensors
/// fit. If the start of a tensor arrives in the same read, these bytes are copied an additional
/// time. A larger buffer would therefore cause more copying.
const BUFFER_BYTES: usize = 4 << 10;

/// The maximum number of tensors per link that the pool keeps for reuse: the tensors of the current
/// step and of the previous step.
const MAX_LENT: usize = 4;

/// The interval at which progress is reported while a long frame arrives.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// The reason for which the reader stopped.
#[derive(Debug, Error)]
pub(super) enum ReadError {
    #[error("closed by the other end")]
    Ended,
    #[error("closed by the other end in the middle of a message")]
    EndedWithin,
    /// An encrypted stream ended without the final record that a shutdown sends. The peer died, or
    /// a third party ended the connection.
    #[error("cut off: the connection ended without a close by the other end")]
    CutOff,
    #[error("{}", describe(.0))]
    Socket(io::Error),
    #[error("{0}")]
    Wire(#[from] WireError),
    #[error("{0}")]
    Memory(#[from] InboxError),
}

impl ReadError {
    /// Returns whether the peer has sent bytes that no task of this cluster sends.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Ended | Self::EndedWithin | Self::CutOff => false,
            // TLS, and the records of a cluster with a secret, report bytes that fail
            // authentication as `InvalidData`.
            Self::Socket(error) => error.kind() == io::ErrorKind::InvalidData,
            Self::Wire(_) | Self::Memory(_) => true,
        }
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // A plain socket never returns `UnexpectedEof`. Only TLS, and the records of a cluster
            // with a secret, do.
            io::ErrorKind::UnexpectedEof => Self::CutOff,
            _ => Self::Socket(error),
        }
    }
}

/// The receiving side of a link.
#[derive(Debug)]
pub(super) struct Reader<R> {
    source: R,
    /// The read buffer. Bytes `start..end` were read from the source and are not consumed yet.
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    last_progress: Instant,
    pool: Pool,
    /// The tensors in the peer's shared memory; `None` if the reader must not read them.
    pub(super) memory: Option<Inbox>,
    /// The counters of the bytes that are read.
    pub(super) traffic: Traffic,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(source: R) -> Self {
        Self {
            source,
            buffer: vec![0; BUFFER_BYTES],
            start: 0,
            end: 0,
            last_progress: now(),
            pool: Pool::new(MAX_LENT),
            memory: None,
            traffic: Traffic::default(),
        }
    }

    /// Returns the source. Bytes that are still in the reader's buffer are lost.
    pub(super) fn into_inner(self) -> R {
        self.source
    }

    /// Waits for the next message. While a long message arrives, calls `progress` once per second.
    pub(super) async fn message(
        &mut self,
        room: &Room,
        mut progress: impl FnMut(),
    ) -> Result<Message, ReadError> {
        loop {
            if let Some(message) = self.frame(room, &mut progress).await? {
                return Ok(message);
            }
        }
    }

    /// Waits for the next frame. Returns `None` if the frame contains a note instead of a message.
    async fn frame(
        &mut self,
        room: &Room,
        progress: &mut impl FnMut(),
    ) -> Result<Option<Message>, ReadError> {
        if self.start == self.end {
            // Here, an end of the connection does not cut off a message.
            self.read_more(1).await.map_err(|error| match error {
                ReadError::EndedWithin => ReadError::Ended,
                other => other,
            })?;
        }
        self.last_progress = now();

        // The magic is checked before the whole header has arrived. A client of another protocol
        // may send a shorter request and wait for an answer.
        self.ensure_buffered(MAGIC.len(), progress).await?;
        check_magic(&self.buffer[self.start..self.end])?;
        let header = self.take(HEADER_BYTES, progress).await?;
        let header = header.first_chunk().expect("as many bytes were taken");
        // The limits are read after the header has arrived. A worker's limit grows with the
        // messages that this task sends, and the header may answer a message that was sent a moment
        // ago.
        let limits = room.limits();
        let header = Header::parse(header, &limits)?;
        let body = self.take(header.body_bytes(), progress).await?;
        if header.kind() == Kind::Note {
            let note = header.parse_note(body)?;
            // Without shared memory, notes are ignored. The peer then gets no `Note::Taken`, and
            // sends its tensors through the socket.
            if let Some(memory) = &mut self.memory {
                memory.on_note(note, &limits);
            }
            return Ok(None);
        }
        let head = header.parse_body(body, &limits)?;

        let tensors = match head.buffers() {
            Some(buffers) => {
                let memory = self.memory.as_ref().ok_or(WireError::NotShared)?;
                let tensors = buffers.zip(head.tensor_lengths());
                let tensor = |(buffer, n_values)| {
                    traffic::add(&self.traffic.shared_received, 4 * n_values);
                    memory.tensor(buffer, n_values)
                };
                tensors.map(tensor).collect()
            }
            None => {
                let mut tensors = Vec::with_capacity(head.tensor_lengths().size_hint().0);
                for n_values in head.tensor_lengths() {
                    // `parse_body` has checked the lengths, so a peer cannot make this task
                    // allocate more than the limit.
                    let mut values = self.pool.take(n_values);
                    let crc = self.fill(bytemuck::cast_slice_mut(&mut values), progress).await?;
                    tensors.push(self.pool.lend(Floats::with_checksum(values, crc)));
                }
                Ok(tensors)
            }
        };
        Ok(Some(head.finish(tensors?)?))
    }

    /// Consumes and returns the next `n` bytes. The buffer grows to `n` bytes if necessary.
    async fn take(&mut self, n: usize, progress: &mut impl FnMut()) -> Result<&[u8], ReadError> {
        self.ensure_buffered(n, progress).await?;
        self.start += n;
        Ok(&self.buffer[self.start - n..self.start])
    }

    /// Reads until the buffer contains `n` unread bytes.
    async fn ensure_buffered(
        &mut self,
        n: usize,
        progress: &mut impl FnMut(),
    ) -> Result<(), ReadError> {
        while self.end - self.start < n {
            self.read_more(n).await?;
            self.report_progress(progress);
        }
        Ok(())
    }

    /// Resizes the buffer so that it can contain `n` bytes, and then reads once from the source.
    async fn read_more(&mut self, n: usize) -> Result<(), ReadError> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let wanted = n.max(BUFFER_BYTES);
        if self.buffer.len() != wanted.max(self.end) {
            // The buffer grows for a long control part, and shrinks again afterwards. Otherwise one
            // long message would occupy memory until the link ends.
            self.buffer.resize(wanted.max(self.end), 0);
            self.buffer.shrink_to(BUFFER_BYTES);
        }
        let n_read = self.source.read(&mut self.buffer[self.end..]).await?;
        self.end += n_read;
        traffic::add(&self.traffic.received, n_read);
        if n_read == 0 { Err(ReadError::EndedWithin) } else { Ok(()) }
    }

    /// Fills `bytes` first from the buffer and then from the source. Returns the CRC32C of `bytes`.
    async fn fill(
        &mut self,
        bytes: &mut [u8],
        progress: &mut impl FnMut(),
    ) -> Result<u32, ReadError> {
        let mut filled = bytes.len().min(self.end - self.start);
        bytes[..filled].copy_from_slice(&self.buffer[self.start..self.start + filled]);
        self.start += filled;
        let mut crc = crc32c::crc32c(&bytes[..filled]);
        while filled < bytes.len() {
            let n_read = self.source.read(&mut bytes[filled..]).await?;
            if n_read == 0 {
                return Err(ReadError::EndedWithin);
            }
            // The checksum processes each part when it arrives, while the part is in the CPU's
            // caches.
            crc = crc32c::crc32c_append(crc, &bytes[filled..filled + n_read]);
            filled += n_read;
            traffic::add(&self.traffic.received, n_read);
            self.report_progress(progress);
        }
        Ok(crc)
    }

    fn report_progress(&mut self, progress: &mut impl FnMut()) {
        let now = now();
        if now - self.last_progress >= PROGRESS_INTERVAL {
            self.last_progress = now;
            progress();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "reporting progress once a second needs a clock")]
fn now() -> Instant {
    Instant::now()
}
