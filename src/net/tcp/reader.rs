//! Reads one frame after the other. Tensors go from the socket straight into their buffers.

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

/// How much is read at once where no tensor is expected. Most frames without tensors fit; of a
/// tensor that follows, so much at most is copied once more.
const BUFFER_BYTES: usize = 4 << 10;

/// Tensors of a link that are in use at a time: those of the step at hand and of the one before.
const MAX_LENT: usize = 4;

/// How often a long frame's arrival is told.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Why no more frames can be read.
#[derive(Debug, Error)]
pub(super) enum ReadError {
    #[error("closed by the other end")]
    Ended,
    #[error("closed by the other end in the middle of a message")]
    EndedWithin,
    /// Encrypted bytes ended without the end that the other end's shutdown adds: the other end died,
    /// or somebody ended the connection on the way.
    #[error("cut off: the connection ended, and the other end had not closed it")]
    CutOff,
    #[error("{}", describe(.0))]
    Socket(io::Error),
    #[error("{0}")]
    Wire(#[from] WireError),
    #[error("{0}")]
    Memory(#[from] InboxError),
}

impl ReadError {
    /// Whether bytes came that no task of this cluster sends.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Ended | Self::EndedWithin | Self::CutOff => false,
            // Encryption reports bytes that fail authentication so.
            Self::Socket(error) => error.kind() == io::ErrorKind::InvalidData,
            Self::Wire(_) | Self::Memory(_) => true,
        }
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::CutOff,
            _ => Self::Socket(error),
        }
    }
}

/// The incoming half of a link.
#[derive(Debug)]
pub(super) struct Reader<R> {
    source: R,
    buffer: Vec<u8>,
    /// What of the buffer was read from the source, and not yet taken.
    start: usize,
    end: usize,
    last_progress: Instant,
    pool: Pool,
    memory: Option<Inbox>,
    traffic: Traffic,
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

    /// From now on takes tensors out of memory, too.
    pub(super) fn share(&mut self, memory: Inbox) {
        self.memory = Some(memory);
    }

    /// From now on counts with others.
    pub(super) fn count(&mut self, traffic: Traffic) {
        self.traffic = traffic;
    }

    /// Where it reads from; what it has read already is lost.
    pub(super) fn into_inner(self) -> R {
        self.source
    }

    /// Waits for the next message; calls `progress` once a second while a long one comes in.
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

    /// Waits for the next frame; `None` if it is a note.
    async fn frame(
        &mut self,
        room: &Room,
        progress: &mut impl FnMut(),
    ) -> Result<Option<Message>, ReadError> {
        if self.start == self.end {
            self.read_more(1).await.map_err(at_a_frames_start)?;
        }
        self.last_progress = now();

        // At once: a stranger may have said all it has to say, and wait for an answer.
        self.have(MAGIC.len(), progress).await?;
        check_magic(&self.buffer[self.start..self.end])?;
        let header = self.take(HEADER_BYTES, progress).await?;
        let header = header.first_chunk().expect("as many bytes were taken");
        // Not before: what may come depends on what was sent while nothing came.
        let limits = room.limits();
        let header = Header::parse(header, &limits)?;
        let body = self.take(header.body_bytes(), progress).await?;
        if header.kind() == Kind::Note {
            let note = header.parse_note(body)?;
            // An end that shares no memory does not answer, and is offered no more.
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
                    let mut values = self.pool.take(n_values);
                    let crc = self.fill(bytemuck::cast_slice_mut(&mut values), progress).await?;
                    tensors.push(self.pool.lend(Floats::with_checksum(values, crc)));
                }
                Ok(tensors)
            }
        };
        Ok(Some(head.finish(tensors?)?))
    }

    /// Takes the next `n` bytes, which are few.
    async fn take(&mut self, n: usize, progress: &mut impl FnMut()) -> Result<&[u8], ReadError> {
        self.have(n, progress).await?;
        self.start += n;
        Ok(&self.buffer[self.start - n..self.start])
    }

    /// Reads until the buffer holds `n` bytes.
    async fn have(&mut self, n: usize, progress: &mut impl FnMut()) -> Result<(), ReadError> {
        while self.end - self.start < n {
            self.read_more(n).await?;
            self.tell(progress);
        }
        Ok(())
    }

    /// Reads once into the buffer, after making it one in which `n` bytes have room.
    async fn read_more(&mut self, n: usize) -> Result<(), ReadError> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let wanted = n.max(BUFFER_BYTES);
        if self.buffer.len() != wanted.max(self.end) {
            // Longer for a long control part, and back again after it.
            self.buffer.resize(wanted.max(self.end), 0);
            self.buffer.shrink_to(BUFFER_BYTES);
        }
        let n_read = self.source.read(&mut self.buffer[self.end..]).await?;
        self.end += n_read;
        traffic::add(&self.traffic.received, n_read);
        if n_read == 0 { Err(ReadError::EndedWithin) } else { Ok(()) }
    }

    /// Fills `bytes`: with what the buffer holds, and then from the source. Returns their CRC32C,
    /// which is computed of each part as it comes, while it is in the caches.
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
            crc = crc32c::crc32c_append(crc, &bytes[filled..filled + n_read]);
            filled += n_read;
            traffic::add(&self.traffic.received, n_read);
            self.tell(progress);
        }
        Ok(crc)
    }

    fn tell(&mut self, progress: &mut impl FnMut()) {
        let now = now();
        if now - self.last_progress >= PROGRESS_INTERVAL {
            self.last_progress = now;
            progress();
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "telling progress once a second needs a clock")]
fn now() -> Instant {
    Instant::now()
}

fn at_a_frames_start(error: ReadError) -> ReadError {
    match error {
        ReadError::EndedWithin => ReadError::Ended,
        other => other,
    }
}
