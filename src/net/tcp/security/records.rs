//! Records: an encrypted and authenticated byte stream over any connection, with one key per
//! direction.
//!
//! A record consists of a length in two bytes, little-endian, and a Noise transport message of that
//! length. The nonce of a record is the number of the record in its direction. So authentication
//! fails if an attacker changes, repeats, moves or removes a record. An empty record marks the end
//! of a direction. A connection that ends without an empty record was cut off by a failure or an
//! attacker.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use snow::StatelessTransportState;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The size of a record's length field.
const LENGTH_BYTES: usize = 2;

/// The length of the authentication tag, which makes a Noise message longer than its payload.
const TAG_BYTES: usize = 16;

/// The maximum payload of one record, which is half of the maximum of Noise. The frame writer
/// writes chunks of 256 KiB, and each chunk fills eight records. A record of this size stays in the
/// L1 and L2 caches of the CPU.
const MAX_PAYLOAD: usize = 32 << 10;

/// The maximum length of a Noise message.
const MAX_MESSAGE: usize = MAX_PAYLOAD + TAG_BYTES;

/// The maximum number of encrypted bytes in the buffer of a [`Sealer`]. The buffer has room for
/// several records, so that one system call writes several records.
const MAX_SEALED: usize = 4 * (LENGTH_BYTES + MAX_MESSAGE);

/// The initial size of the buffer of an [`Opener`]. Most records without tensors fit into this
/// size.
const MIN_ARRIVED: usize = 4 << 10;

/// The maximum number of records under one key. These records contain at most 128 TiB, which is a
/// 512th of the data that Noise allows for AES-GCM. A link that reaches the limit ends, and the
/// next link has new keys.
const MAX_RECORDS: u64 = 1 << 32;

/// The keys of one connection, one for each direction. The reading half and the writing half share
/// the keys without a lock, because neither half changes them.
#[derive(Clone, Debug)]
pub(in crate::tcp) struct Keys(Arc<StatelessTransportState>);

impl Keys {
    pub(super) fn new(state: StatelessTransportState) -> Self {
        Self(Arc::new(state))
    }

    /// Wraps the two halves of a connection. The reading half then decrypts, and the writing half
    /// encrypts, with these keys.
    pub(in crate::tcp) fn protect<R, W>(self, source: R, target: W) -> (Opener<R>, Sealer<W>)
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        (Opener::new(source, self.clone()), Sealer::new(target, self))
    }
}

/// A writing half that encrypts its bytes in records.
pub(in crate::tcp) struct Sealer<W> {
    target: W,
    keys: Keys,
    /// The number of the next record.
    next: u64,
    /// Buffer for encrypted records. The bytes `start..end` have not been written to `target` yet.
    sealed: Vec<u8>,
    start: usize,
    end: usize,
    /// Whether the empty record that marks the end of the stream has been appended to `sealed`.
    is_ended: bool,
}

impl<W: AsyncWrite + Unpin> Sealer<W> {
    const fn new(target: W, keys: Keys) -> Self {
        Self { target, keys, next: 0, sealed: Vec::new(), start: 0, end: 0, is_ended: false }
    }

    /// Encrypts a payload as one record, and appends the record to `sealed`.
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
        // A number must never be used for two records: with AES-GCM, a repeated nonce reveals
        // payloads and lets an attacker forge records.
        self.next += 1;
        self.end = end;
        Ok(())
    }

    /// Writes all encrypted records to the target.
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
        // `n_taken` includes every encrypted payload, even if the target is not ready, because a
        // payload must not be encrypted twice. The next call or a flush writes the rest.
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
        // If the target is not ready, this function is called again. `is_ended` prevents a second
        // empty record.
        ready!(this.poll_drain(cx))?;
        if !this.is_ended {
            this.seal(&[])?;
            this.is_ended = true;
            ready!(this.poll_drain(cx))?;
        }
        Pin::new(&mut this.target).poll_shutdown(cx)
    }
}

/// A reading half that decrypts records.
pub(in crate::tcp) struct Opener<R> {
    source: R,
    keys: Keys,
    /// The number of the next record.
    next: u64,
    /// Buffer for bytes from `source`. The bytes `start..end` have not been decrypted yet.
    arrived: Vec<u8>,
    start: usize,
    end: usize,
    /// A decrypted payload that did not fit into the caller's buffer. The caller has not received
    /// the bytes `opened_start..opened_end` yet.
    opened: Vec<u8>,
    opened_start: usize,
    opened_end: usize,
    /// Whether the empty record that marks the end of the stream has arrived.
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

    /// Returns the length of the next Noise message; `None` until its length field has arrived.
    fn announced(&self) -> io::Result<Option<usize>> {
        let length = self.arrived[self.start..self.end].first_chunk::<LENGTH_BYTES>();
        match length.map(|length| usize::from(u16::from_le_bytes(*length))) {
            // The length is not authenticated, so this task must not allocate memory for an
            // arbitrary length.
            Some(length) if !(TAG_BYTES..=MAX_MESSAGE).contains(&length) => Err(forged()),
            length => Ok(length),
        }
    }

    /// Decrypts the next record. The record must have arrived completely.
    fn open(&mut self, message_bytes: usize, buf: &mut ReadBuf<'_>) -> io::Result<()> {
        check_number(self.next)?;
        let start = self.start + LENGTH_BYTES;
        let message = &self.arrived[start..start + message_bytes];
        // If `buf` has room, the record is decrypted directly into it. That saves one copy of a
        // tensor.
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

    /// Makes room for a record of `needed` bytes, and then reads once from `source`.
    fn poll_arrive(&mut self, cx: &mut Context<'_>, needed: usize) -> Poll<io::Result<()>> {
        self.arrived.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        if self.arrived.len() < needed.max(MIN_ARRIVED) {
            self.arrived.resize(needed.max(MIN_ARRIVED), 0);
        }
        let mut room = ReadBuf::new(&mut self.arrived[self.end..]);
        ready!(Pin::new(&mut self.source).poll_read(cx, &mut room))?;
        match room.filled().len() {
            // A complete stream ends with an empty record, which an attacker cannot forge. Here
            // this record is missing, so an attacker may have ended the TCP connection.
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
        // At least one byte must be returned, because zero bytes mean that the stream has ended.
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
        "its keys have protected {MAX_RECORDS} records, which is the limit; the next link \
         has new keys"
    )))
}

/// Returns the error for a record that fails authentication, or that has an invalid length.
fn forged() -> io::Error {
    let what = "a record fails authentication: it was changed, repeated or moved on the way";
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests;
