//! Tensors between two tasks of one machine, past the socket.
//!
//! Each end has memory that only it writes, and reads the other's. A frame's head goes through the
//! socket as ever, and says where in the sender's memory its tensors are; whoever has copied them out
//! counts them in its own memory, and the room is free again.

use std::collections::VecDeque;
use std::io;
use std::mem::replace;
use std::ops::{Deref, Range};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::task::yield_now;
use unisono_memory::{Counter, Memory, Offer, OutOfRange, START, View};

use crate::wire::{Frame, Limits, Note};

/// Fewer bytes go through the socket: they would not be there sooner.
const LEAST_BYTES: usize = 16 << 10;

/// How many frames' tensors may wait for the other end; what comes then takes the socket, which
/// makes the writer wait.
const MAX_PLACED: usize = 4;

/// How much is copied before others have their turn.
const COPY_BYTES: usize = 1 << 20;

/// Where tensors may begin, in bytes: at a line of the caches.
const ALIGNMENT: usize = 64;

/// What a link's two tasks need for tensors to go past the socket.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) outbox: Outbox,
    pub(super) inbox: Inbox,
}

/// What one of the two tasks has to know of the other's doing.
#[derive(Debug, Default)]
struct Common {
    /// Counts what was read of theirs, once there is memory of ours.
    counter: Option<Counter>,
    /// What the other end writes.
    theirs: Option<Arc<View>>,
    /// Whether it has said that it reads ours.
    reads_ours: bool,
}

impl Shared {
    /// For a new link.
    pub(super) fn new() -> Self {
        let common = Arc::default();
        let outbox = Outbox {
            ours: Ours::None,
            common: Arc::clone(&common),
            has_answered: false,
            placed: VecDeque::new(),
            n_read: 0,
        };
        Self { outbox, inbox: Inbox { common, theirs: None, n_read: 0 } }
    }
}

/// What a link's writer does with memory.
#[derive(Debug)]
pub(super) struct Outbox {
    ours: Ours,
    common: Arc<Mutex<Common>>,
    /// Whether the other end has heard that its memory was taken.
    has_answered: bool,
    /// Where tensors are that the other end may not have read, in the order of their frames.
    placed: VecDeque<Range<usize>>,
    /// How many frames' tensors the other end has read, as it was seen last.
    n_read: u32,
}

/// The memory that this end writes.
#[derive(Debug)]
enum Ours {
    /// Nothing was large enough for it yet.
    None,
    /// It has to be offered.
    New(Memory),
    Offered(Memory),
    /// The system has none.
    Unavailable,
}

impl Outbox {
    /// What the other end has to be told, after a frame: what comes first on a link is a message.
    pub(super) fn notes(&mut self) -> Vec<Note> {
        let mut notes = Vec::new();
        self.ours = match replace(&mut self.ours, Ours::None) {
            Ours::New(memory) => {
                let Offer { process, file, token } = memory.offer();
                notes.push(Note::Offer { process, file, token });
                Ours::Offered(memory)
            }
            other => other,
        };
        if !self.has_answered && lock(&self.common).theirs.is_some() {
            self.has_answered = true;
            notes.push(Note::Taken);
        }
        notes
    }

    /// Puts a frame's tensors where the other end reads them, and says where; `None` if they have
    /// to take the socket.
    pub(super) async fn place(&mut self, frame: &Frame) -> Option<u64> {
        let lengths = frame.tensors().map(|tensor| tensor.len().next_multiple_of(ALIGNMENT));
        let n_bytes = lengths.sum();
        if n_bytes < LEAST_BYTES {
            return None;
        }
        if matches!(self.ours, Ours::None) {
            self.ours = self.allocate(n_bytes);
        }
        self.forget_read()?;
        if self.placed.len() == MAX_PLACED {
            return None;
        }
        let place = self.room(n_bytes);
        let Ours::Offered(ours) = &mut self.ours else { return None };
        // There are none for what is larger than the first frames were, or if memory is short.
        ours.reserve(place.end).ok()?;
        let mut at = place.start;
        for tensor in frame.tensors() {
            copy(tensor.chunks(COPY_BYTES), |start, chunk| ours.write(at + start, chunk))
                .await
                .expect("it was reserved");
            at = next(at, tensor.len());
        }
        let start = place.start as u64;
        self.placed.push_back(place);
        Some(start)
    }

    /// Memory for some frames with so many bytes of tensors.
    fn allocate(&self, n_bytes: usize) -> Ours {
        let mut token = [0; 16];
        let memory = SystemRandom::new().fill(&mut token);
        let memory = memory.map_err(|_| io::Error::other("the system gives no randomness"));
        let n_bytes = n_bytes.saturating_mul(MAX_PLACED);
        match memory.and_then(|()| Memory::new(n_bytes, token)) {
            Ok((memory, counter)) => {
                lock(&self.common).counter = Some(counter);
                Ours::New(memory)
            }
            Err(why) => {
                tracing::debug!(%why, "no memory to share");
                Ours::Unavailable
            }
        }
    }

    /// Forgets what the other end has read; `None` if it reads nothing, or says that it read what
    /// was never there.
    fn forget_read(&mut self) -> Option<()> {
        let n_read = match &*lock(&self.common) {
            Common { theirs: Some(theirs), reads_ours: true, .. } => theirs.count(),
            _ => return None,
        };
        let n_new = n_read.wrapping_sub(self.n_read) as usize;
        if n_new > self.placed.len() {
            return None;
        }
        self.placed.drain(..n_new);
        self.n_read = n_read;
        Some(())
    }

    /// The first room for so many bytes.
    fn room(&self, n_bytes: usize) -> Range<usize> {
        let is_free = |at: &usize| {
            self.placed.iter().all(|other| at + n_bytes <= other.start || other.end <= *at)
        };
        let ends = self.placed.iter().map(|other| other.end);
        let first = std::iter::once(START).chain(ends).filter(is_free).min();
        let at = first.expect("behind the last of them all is room");
        at..at + n_bytes
    }
}

/// What a link's reader does with memory.
#[derive(Debug)]
pub(super) struct Inbox {
    common: Arc<Mutex<Common>>,
    theirs: Option<Arc<View>>,
    n_read: u32,
}

/// Why tensors cannot be read where they are said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InboxError {
    #[error("it says that a tensor is in memory which it has not offered, or which was not taken")]
    NotTaken,
    #[error("it says that a tensor is where there is none: {0}")]
    OutOfRange(#[from] OutOfRange),
}

impl Inbox {
    /// Takes what the other end says of memory, which may have room for frames within these limits.
    /// That an offer cannot be taken is no error: it is not answered, and nothing comes that way.
    pub(super) fn on_note(&mut self, note: Note, limits: &Limits) {
        match note {
            Note::Offer { process, file, token } => {
                let largest = limits.tensor_bytes.saturating_add(limits.tensors * ALIGNMENT);
                let max_bytes = largest.saturating_mul(MAX_PLACED);
                match View::open(&Offer { process, file, token }, max_bytes) {
                    Ok(theirs) => {
                        let theirs = self.theirs.insert(Arc::new(theirs));
                        lock(&self.common).theirs = Some(Arc::clone(theirs));
                    }
                    Err(why) => tracing::debug!(%why, "the other end's memory is out of reach"),
                }
            }
            Note::Taken => lock(&self.common).reads_ours = true,
        }
    }

    /// Copies from the other end's memory.
    ///
    /// # Errors
    /// If it has none there.
    pub(super) async fn read(&self, at: usize, bytes: &mut [u8]) -> Result<(), InboxError> {
        let theirs = self.theirs.as_ref().ok_or(InboxError::NotTaken)?;
        let chunks = bytes.chunks_mut(COPY_BYTES);
        Ok(copy(chunks, |start, chunk| theirs.read(at.saturating_add(start), chunk)).await?)
    }

    /// All tensors of a frame are read.
    pub(super) fn free(&mut self) {
        self.n_read = self.n_read.wrapping_add(1);
        if let Some(counter) = &lock(&self.common).counter {
            counter.set(self.n_read);
        }
    }
}

/// Copies a tensor chunk by chunk, given where each starts; between two, others have their turn.
async fn copy<C: Deref<Target = [u8]>>(
    chunks: impl ExactSizeIterator<Item = C>,
    mut one: impl FnMut(usize, C) -> Result<(), OutOfRange>,
) -> Result<(), OutOfRange> {
    for (index, chunk) in chunks.enumerate() {
        if index > 0 {
            yield_now().await;
        }
        one(index * COPY_BYTES, chunk)?;
    }
    Ok(())
}

/// Where the tensor behind one of this length begins.
pub(super) fn next(at: usize, n_bytes: usize) -> usize {
    at.saturating_add(n_bytes.next_multiple_of(ALIGNMENT))
}

fn lock(common: &Mutex<Common>) -> MutexGuard<'_, Common> {
    common.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
