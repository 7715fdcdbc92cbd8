//! Records: an encrypted and authenticated byte stream over any connection, one key per direction.
//!
//! A record is its length in two bytes, little-endian, and a Noise transport message of that length.
//! The nonce of a record is its number in its direction. A record that was changed, repeated, moved
//! or left out therefore fails authentication. An empty record ends a direction: a connection that
//! ends without an empty record was cut off.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use snow::StatelessTransportState;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The bytes of a record's length.
const LENGTH_BYTES: usize = 2;

/// The bytes by which a Noise message is longer than its payload.
const TAG_BYTES: usize = 16;

/// The most payload of one record. Noise allows twice as much. The writer of frames writes 256 KiB
/// at a time, which are eight whole records, and a record stays in a core's first caches.
const MAX_PAYLOAD: usize = 32 << 10;

/// The longest Noise message.
const MAX_MESSAGE: usize = MAX_PAYLOAD + TAG_BYTES;

/// The most sealed bytes that a writer holds: one system call then writes many records.
const MAX_SEALED: usize = 4 * (LENGTH_BYTES + MAX_MESSAGE);

/// The first size of a reader's buffer: most records without tensors fit.
const MIN_ARRIVED: usize = 4 << 10;

/// The most records under one key: at most 128 TiB, a 512th of what Noise allows AES-GCM. A link
/// that reaches the limit ends, and the next link has new keys.
const MAX_RECORDS: u64 = 1 << 32;

/// The keys of one connection: one for each direction. Both halves read them, and neither changes
/// them, so the halves need no lock.
#[derive(Clone, Debug)]
pub(in crate::tcp) struct Keys(Arc<StatelessTransportState>);

impl Keys {
    pub(super) fn new(state: StatelessTransportState) -> Self {
        Self(Arc::new(state))
    }

    /// The reading half and the writing half of a connection whose bytes these keys protect.
    pub(in crate::tcp) fn protect<R, W>(self, source: R, target: W) -> (Opener<R>, Sealer<W>)
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        (Opener::new(source, self.clone()), Sealer::new(target, self))
    }
}

/// A half that seals what is written to it.
pub(in crate::tcp) struct Sealer<W> {
    target: W,
    keys: Keys,
    /// The number of the next record.
    next: u64,
    /// Its bytes from `start` to `end` are sealed records that the target has yet to take.
    sealed: Vec<u8>,
    start: usize,
    end: usize,
    /// Whether the record that ends the direction was sealed.
    is_ended: bool,
}

impl<W: AsyncWrite + Unpin> Sealer<W> {
    const fn new(target: W, keys: Keys) -> Self {
        Self { target, keys, next: 0, sealed: Vec::new(), start: 0, end: 0, is_ended: false }
    }

    /// Seals one record behind those that the target has yet to take.
    fn seal(&mut self, payload: &[u8]) -> io::Result<()> {
        check_number(self.next)?;
        let message_bytes = payload.len() + TAG_BYTES;
        let end = self.end + LENGTH_BYTES + message_bytes;
        if self.sealed.len() < end {
            self.sealed.resize(end, 0);
        }
        let (length, message) = self.sealed[self.end..end].split_at_mut(LENGTH_BYTES);
        let announced = u16::try_from(message_bytes).expect("a payload is at most MAX_PAYLOAD");
        length.copy_from_slice(&announced.to_le_bytes());
        self.keys.0.write_message(self.next, payload, message).map_err(io::Error::other)?;
        self.next += 1;
        self.end = end;
        Ok(())
    }

    /// Waits until the target has taken all that is sealed.
    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.start < self.end {
            let left = &self.sealed[self.start..self.end];
            match ready!(Pin::new(&mut self.target).poll_write(cx, left))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n_written => self.start += n_written,
            }
        }
        (self.start, self.end) = (0, 0);
        Poll::Ready(Ok(()))
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Sealer<W> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        payload: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(payload)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        let mut n_taken = 0;
        for payload in slices.iter().flat_map(|slice| slice.chunks(MAX_PAYLOAD)) {
            if this.end + LENGTH_BYTES + payload.len() + TAG_BYTES > MAX_SEALED {
                break;
            }
            this.seal(payload)?;
            n_taken += payload.len();
        }
        // The payload is taken once it is sealed, so a target that is not ready is no reason to
        // wait: the next call, or a flush, waits for it.
        match this.poll_drain(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(n_taken)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.target).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // First, because a call that had to wait is repeated, and must not seal a second end.
        ready!(this.poll_drain(cx))?;
        if !this.is_ended {
            this.seal(&[])?;
            this.is_ended = true;
            ready!(this.poll_drain(cx))?;
        }
        Pin::new(&mut this.target).poll_shutdown(cx)
    }
}

/// A half that opens what is read from it.
pub(in crate::tcp) struct Opener<R> {
    source: R,
    keys: Keys,
    /// The number of the next record.
    next: u64,
    /// Its bytes from `start` to `end` came from the source and are yet to be opened.
    arrived: Vec<u8>,
    start: usize,
    end: usize,
    /// A payload for which the reader's buffer was too short; its bytes from `opened_start` to
    /// `opened_end` are yet to be read.
    opened: Vec<u8>,
    opened_start: usize,
    opened_end: usize,
    /// Whether the record that ends the direction was opened.
    is_ended: bool,
}

impl<R: AsyncRead + Unpin> Opener<R> {
    const fn new(source: R, keys: Keys) -> Self {
        Self {
            source,
            keys,
            next: 0,
            arrived: Vec::new(),
            start: 0,
            end: 0,
            opened: Vec::new(),
            opened_start: 0,
            opened_end: 0,
            is_ended: false,
        }
    }

    /// The length of the next record's message, once its announcement has arrived.
    fn announced(&self) -> io::Result<Option<usize>> {
        let length = self.arrived[self.start..self.end].first_chunk::<LENGTH_BYTES>();
        match length.map(|length| usize::from(u16::from_le_bytes(*length))) {
            // Nothing is allocated for a length that no task announces.
            Some(length) if !(TAG_BYTES..=MAX_MESSAGE).contains(&length) => Err(forged()),
            length => Ok(length),
        }
    }

    /// Opens the next record, which has arrived: into `buf` if the record has room there, because a
    /// tensor is then copied once less.
    fn open(&mut self, message_bytes: usize, buf: &mut ReadBuf<'_>) -> io::Result<()> {
        check_number(self.next)?;
        let start = self.start + LENGTH_BYTES;
        let message = &self.arrived[start..start + message_bytes];
        let is_direct = buf.remaining() >= message_bytes;
        let target = if is_direct {
            buf.initialize_unfilled_to(message_bytes)
        } else {
            if self.opened.len() < message_bytes {
                self.opened.resize(message_bytes, 0);
            }
            &mut self.opened[..]
        };
        let n_opened = self.keys.0.read_message(self.next, message, target);
        let n_opened = n_opened.map_err(|_| forged())?;
        if is_direct {
            buf.advance(n_opened);
        } else {
            (self.opened_start, self.opened_end) = (0, n_opened);
        }
        self.next += 1;
        self.start = start + message_bytes;
        self.is_ended = n_opened == 0;
        Ok(())
    }

    /// Reads once from the source, after making room for the record that has begun to arrive.
    fn poll_arrive(&mut self, cx: &mut Context<'_>, needed: usize) -> Poll<io::Result<()>> {
        self.arrived.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.arrived.len() < needed.max(MIN_ARRIVED) {
            self.arrived.resize(needed.max(MIN_ARRIVED), 0);
        }
        let mut room = ReadBuf::new(&mut self.arrived[self.end..]);
        ready!(Pin::new(&mut self.source).poll_read(cx, &mut room))?;
        match room.filled().len() {
            0 => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            n_read => {
                self.end += n_read;
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Opener<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let filled_before = buf.filled().len();
        loop {
            let opened = &this.opened[this.opened_start..this.opened_end];
            let n_copied = opened.len().min(buf.remaining());
            buf.put_slice(&opened[..n_copied]);
            this.opened_start += n_copied;
            let is_done = buf.filled().len() > filled_before || buf.remaining() == 0;
            if is_done || this.is_ended {
                return Poll::Ready(Ok(()));
            }
            let announced = this.announced()?;
            let needed = LENGTH_BYTES + announced.unwrap_or(0);
            match announced {
                Some(length) if this.end - this.start >= needed => this.open(length, buf)?,
                _ => ready!(this.poll_arrive(cx, needed))?,
            }
        }
    }
}

fn check_number(next: u64) -> io::Result<()> {
    if next < MAX_RECORDS {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "its keys have protected {MAX_RECORDS} records; a new link is due"
    )))
}

/// The error of a record that the other end did not seal, or did not seal as this one.
fn forged() -> io::Error {
    let what = "a record fails authentication: it was changed, repeated or moved on its way";
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests;
