//! Passes tensors between two tasks of one machine through shared memory instead of the socket.
//!
//! A task computes gradients and versions in [buffers](shareable) that its peer can map into
//! memory. The head of a frame still goes through the socket, and names the buffers of the frame's
//! tensors. The peer computes directly from the tensors in these buffers, so it needs no copy. The
//! sender writes a buffer again only after the peer has reported every tensor in it as read.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::mem::take;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ring::rand::{SecureRandom as _, SystemRandom};
use unisono_memory::{Buffer as SharedMemory, Offer, View};

use unisono_core::floats::{Buffer, Floats, Memory, RemoteFloats};
use unisono_core::wire::{Frame, Limits, MAX_NOTED, Note};

/// The minimum size of a tensor that goes through shared memory, in bytes. For shorter tensors, the
/// socket is as fast.
const LEAST_BYTES: usize = 16 << 10;

/// The maximum number of tensors in shared memory that the peer has not read yet. Beyond this
/// limit, tensors go through the socket, where the writer waits for a slow peer.
const MAX_LENT: usize = 16;

/// The maximum number of buffers that each end of a link may offer. A pool does not have more
/// buffers. Tensors in further buffers go through the socket.
const MAX_BUFFERS: usize = 64;

/// Returns a buffer of `len` zeros that other tasks of this machine can read. If `len` is small, or
/// the system has no shared memory, the buffer is private.
#[must_use]
pub fn shareable(len: usize) -> Buffer {
    let n_bytes = len.saturating_mul(size_of::<f32>());
    let memory = if n_bytes < LEAST_BYTES { None } else { shared_memory(n_bytes) };
    memory.map_or_else(|| vec![0.0; len].into(), |memory| Buffer::in_memory(OwnMemory(memory)))
}

/// Shared memory that this process writes. Implements [`Memory`] of the core.
#[derive(Debug)]
struct OwnMemory(SharedMemory);

impl Memory for OwnMemory {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// Returns the shared memory of a tensor; `None` if the tensor is in private memory.
fn memory_of(floats: &Floats) -> Option<&SharedMemory> {
    let memory: &dyn Any = floats.memory()?;
    memory.downcast_ref().map(|OwnMemory(memory)| memory)
}

/// Returns whether this system has memory that tasks can share.
#[must_use]
pub fn can_share() -> bool {
    shared_memory(LEAST_BYTES).is_some()
}

fn shared_memory(n_bytes: usize) -> Option<SharedMemory> {
    // The token identifies the buffer. It is random, so that a peer can open only buffers that were
    // offered to it on a link.
    let mut token = [0; 16];
    let drawn = SystemRandom::new().fill(&mut token);
    let drawn = drawn.map_err(|_| io::Error::other("the system provides no randomness"));
    match drawn.and_then(|()| SharedMemory::new(n_bytes, token)) {
        Ok(memory) => Some(memory),
        // The failure is logged only at the level debug, because the task then sends its tensors
        // through sockets.
        Err(why) => {
            tracing::debug!(%why, "cannot make shared memory");
            None
        }
    }
}

/// The state of one link for tensors in shared memory.
#[derive(Debug)]
pub(super) struct SharedTensors {
    pub(super) outbox: Outbox,
    pub(super) inbox: Inbox,
}

/// The state that a link's reader and writer share.
#[derive(Debug, Default)]
struct BufferStates {
    /// The numbers of this task's buffers that the peer has opened.
    taken: Vec<u32>,
    /// The tensors of this task that the peer has not reported as read, each with the number of its
    /// buffer.
    lent: Vec<(u32, Floats)>,
    /// The numbers of the peer's buffers that this task has opened, but has not yet acknowledged
    /// with a `Note::Taken`.
    opened: Vec<u32>,
    /// The numbers of the peer's buffers for which this task must still send a `Note::Read`. A
    /// number is listed once for each tensor that was read.
    read: Vec<u32>,
    /// Number of tensors that this task has received in shared memory and has not reported as read.
    n_borrowed: usize,
}

impl SharedTensors {
    /// Returns the state of a new link.
    pub(super) fn new() -> Self {
        let common = Arc::<Mutex<BufferStates>>::default();
        let outbox =
            Outbox { common: Arc::clone(&common), offered: Vec::new(), next: 0, notes: Vec::new() };
        Self { outbox, inbox: Inbox { common, views: BTreeMap::new() } }
    }
}

/// The sending part of a link's shared-memory state, for the writer of the link. The outbox offers
/// this task's buffers to the peer, and lends the tensors in them.
#[derive(Debug)]
pub(super) struct Outbox {
    common: Arc<Mutex<BufferStates>>,
    offered: Vec<Offered>,
    next: u32,
    notes: Vec<Note>,
}

/// A buffer of this task that was offered to the peer.
#[derive(Debug)]
struct Offered {
    number: u32,
    token: [u8; 16],
    /// A weak reference that can be upgraded only while the buffer exists.
    life: Weak<()>,
}

impl Outbox {
    /// Lends a frame's tensors to the peer in shared memory, and returns the numbers of the
    /// tensors' buffers. The caller must send these numbers. Returns `None` if the tensors must go
    /// through the socket.
    pub(super) fn place(&mut self, frame: &Frame) -> Option<Vec<u32>> {
        let memories: Option<Vec<_>> = frame.floats().iter().map(memory_of).collect();
        let memories = memories.filter(|memories| !memories.is_empty())?;
        // All buffers are offered, even if the tensors of this frame go through the socket. The
        // peer can then open the buffers, and the tensors of the next frame can be placed.
        let numbers: Vec<_> = memories.iter().map(|memory| self.number_of(memory)).collect();
        let mut common = lock(&self.common);
        let is_taken = |number: &Option<u32>| number.filter(|it| common.taken.contains(it));
        let numbers: Vec<_> = numbers.iter().map(is_taken).collect::<Option<_>>()?;
        if common.lent.len() + numbers.len() > MAX_LENT {
            return None;
        }
        // The clones in `lent` prevent the buffers from being written again before the peer has
        // read the tensors.
        common.lent.extend(numbers.iter().copied().zip(frame.floats().iter().cloned()));
        Some(numbers)
    }

    /// Returns the notes to send to the peer, and removes them from the outbox. The caller must
    /// send the notes after a frame, because the first frame on a link must be a message.
    pub(super) fn take_notes(&mut self) -> Vec<Note> {
        let (opened, read) = {
            let mut common = lock(&self.common);
            // A tensor is counted in `n_borrowed` until its `Note::Read` is sent, not only until
            // the tensor is dropped. The peer counts the tensor until the peer receives the note,
            // and both ends must agree about `MAX_LENT`.
            common.n_borrowed -= common.read.len();
            (take(&mut common.opened), take(&mut common.read))
        };
        self.notes.extend(opened.chunks(MAX_NOTED).map(|buffers| Note::Taken(buffers.to_vec())));
        self.notes.extend(read.chunks(MAX_NOTED).map(|buffers| Note::Read(buffers.to_vec())));
        take(&mut self.notes)
    }

    /// Returns the number of a buffer. If the buffer is new, offers the buffer to the peer. Returns
    /// `None` if too many buffers are on offer.
    fn number_of(&mut self, memory: &SharedMemory) -> Option<u32> {
        let Offer { process, file, token } = memory.offer();
        if let Some(known) = self.offered.iter().find(|known| known.token == token) {
            return Some(known.number);
        }
        self.withdraw_dropped();
        if self.offered.len() == MAX_BUFFERS {
            return None;
        }
        // A number is never used for a second buffer, so a late note of the peer cannot refer to a
        // new buffer.
        let number = self.next;
        self.next = number.checked_add(1)?;
        self.offered.push(Offered { number, token, life: memory.life() });
        self.notes.push(Note::Offer { buffer: number, process, file, token });
        Some(number)
    }

    /// Withdraws the offers of dropped buffers, so that the peer unmaps them.
    fn withdraw_dropped(&mut self) {
        let is_gone = |offered: &mut Offered| offered.life.strong_count() == 0;
        let gone: Vec<_> = self.offered.extract_if(.., is_gone).map(|gone| gone.number).collect();
        lock(&self.common).taken.retain(|number| !gone.contains(number));
        self.notes.extend(gone.chunks(MAX_NOTED).map(|buffers| Note::Gone(buffers.to_vec())));
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        // The link is closed, so no `Note::Read` will arrive. The peer may still be reading the
        // lent buffers, so these buffers must never be written again.
        lock(&self.common).lent.drain(..).for_each(|(_, floats)| floats.retire());
    }
}

/// The receiving part of a link's shared-memory state, for the reader of the link. The inbox opens
/// the peer's buffers and reads the tensors in them.
#[derive(Debug)]
pub(super) struct Inbox {
    common: Arc<Mutex<BufferStates>>,
    views: BTreeMap<u32, Arc<View>>,
}

/// The reason for which a tensor in shared memory cannot be read. A correct peer causes none of
/// these errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InboxError {
    #[error("it placed a tensor in a buffer that was not offered or not taken")]
    NotTaken,
    #[error("it placed a tensor of {n_values} values in a buffer of {n_bytes} bytes")]
    TooShort { n_values: usize, n_bytes: usize },
    #[error("it placed a tensor while {MAX_LENT} tensors were unread, which is the limit")]
    TooMany,
}

impl Inbox {
    /// Handles a note of the peer. Opens an offered buffer only if its length is within the limit
    /// for the tensors of one frame.
    pub(super) fn on_note(&mut self, note: Note, limits: &Limits) {
        match note {
            Note::Offer { buffer, process, file, token } => {
                if self.views.len() < MAX_BUFFERS && !self.views.contains_key(&buffer) {
                    self.open(buffer, &Offer { process, file, token }, limits.tensor_bytes);
                }
            }
            Note::Taken(buffers) => {
                let taken = &mut lock(&self.common).taken;
                taken.extend(buffers);
                // A malicious peer could send `Taken` endlessly. A correct peer takes at most
                // `MAX_BUFFERS` buffers.
                taken.truncate(MAX_BUFFERS);
            }
            Note::Read(buffers) => {
                let mut common = lock(&self.common);
                // A note names a buffer once for each tensor that was read in it. Unknown numbers
                // have no effect.
                for buffer in buffers {
                    let place = common.lent.iter().position(|(lent, _)| *lent == buffer);
                    place.map(|place| common.lent.swap_remove(place));
                }
            }
            Note::Gone(buffers) => {
                self.views.retain(|number, _| !buffers.contains(number));
                lock(&self.common).opened.retain(|number| !buffers.contains(number));
            }
        }
    }

    fn open(&mut self, number: u32, offer: &Offer, max_bytes: usize) {
        match View::open(offer, max_bytes) {
            Ok(view) => {
                self.views.insert(number, Arc::new(view));
                lock(&self.common).opened.push(number);
            }
            // This is not an error: without a `Note::Taken`, the peer sends its tensors through
            // the socket. For example, two containers that share a network cannot open each other's
            // memory.
            Err(why) => tracing::debug!(%why, "cannot open the peer's shared memory"),
        }
    }

    /// Returns a tensor in a buffer of the peer, without copying it.
    ///
    /// # Errors
    /// If this task has not opened the buffer, if the buffer is too short, or if the peer exceeds
    /// the limit of unread tensors.
    pub(super) fn tensor(&self, buffer: u32, n_values: usize) -> Result<Floats, InboxError> {
        let view = self.views.get(&buffer).ok_or(InboxError::NotTaken)?;
        let n_bytes = view.n_bytes();
        if n_bytes / size_of::<f32>() < n_values {
            return Err(InboxError::TooShort { n_values, n_bytes });
        }
        let (view, common) = (Arc::clone(view), Arc::clone(&self.common));
        {
            let n_borrowed = &mut lock(&common).n_borrowed;
            if *n_borrowed == MAX_LENT {
                return Err(InboxError::TooMany);
            }
            *n_borrowed += 1;
        }
        Ok(Floats::remote(n_values, Box::new(Borrowed { view, buffer, common })))
    }
}

/// A tensor in a buffer of the peer. After the value is dropped, this task reports the tensor as
/// read, and the peer may write the buffer again.
struct Borrowed {
    view: Arc<View>,
    buffer: u32,
    common: Arc<Mutex<BufferStates>>,
}

impl RemoteFloats for Borrowed {
    fn read(&self, start: usize, values: &mut [f32]) {
        self.view.read(start * size_of::<f32>(), bytemuck::cast_slice_mut(values));
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        lock(&self.common).read.push(self.buffer);
    }
}

fn lock(common: &Mutex<BufferStates>) -> MutexGuard<'_, BufferStates> {
    // `drop` also takes this lock, and must not panic while the thread is already panicking.
    common.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
