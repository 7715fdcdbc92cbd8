//! Tensors between two tasks of one machine, past the socket.
//!
//! A task computes gradients and versions in [buffers](shareable) that the other end of a link can be
//! let read. A frame's head goes through the socket as ever, and says in which buffers its tensors
//! are; they are read there, by whoever computes with them, and not copied before. The sender leaves
//! them as they are until it hears that they were read.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::mem::take;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use ring::rand::{SecureRandom as _, SystemRandom};
use unisono_memory::{Buffer as SharedMemory, Offer, View};

use unisono_core::floats::{Buffer, Elsewhere, Floats, Memory};
use unisono_core::wire::{Frame, Limits, MAX_NOTED, Note};

/// Fewer bytes go through the socket: they would not be there sooner.
const LEAST_BYTES: usize = 16 << 10;

/// How many tensors may wait for the other end to read them; what comes then takes the socket, which
/// makes the writer wait.
const MAX_LENT: usize = 16;

/// How many buffers each end of a link may have offered. A pool has no more; what is in others takes
/// the socket.
const MAX_BUFFERS: usize = 64;

/// A buffer that other tasks of this machine can be let read, of `len` zeros; if they are few, or the
/// system has no such memory, one like any other.
#[must_use]
pub fn shareable(len: usize) -> Buffer {
    let n_bytes = len.saturating_mul(size_of::<f32>());
    let memory = if n_bytes < LEAST_BYTES { None } else { shared_memory(n_bytes) };
    memory.map_or_else(|| vec![0.0; len].into(), |memory| Buffer::in_memory(Own(memory)))
}

/// Memory of this process as a buffer of the core.
#[derive(Debug)]
struct Own(SharedMemory);

impl Memory for Own {
    fn bytes(&self) -> &[u8] {
        &self.0
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

/// The memory that a tensor is in, if other processes can read that memory.
fn memory_of(floats: &Floats) -> Option<&SharedMemory> {
    let memory: &dyn Any = floats.memory()?;
    memory.downcast_ref().map(|Own(memory)| memory)
}

/// Whether this system has memory that tasks can share.
#[must_use]
pub fn can_share() -> bool {
    shared_memory(LEAST_BYTES).is_some()
}

fn shared_memory(n_bytes: usize) -> Option<SharedMemory> {
    let mut token = [0; 16];
    let drawn = SystemRandom::new().fill(&mut token);
    let drawn = drawn.map_err(|_| io::Error::other("the system gives no randomness"));
    match drawn.and_then(|()| SharedMemory::new(n_bytes, token)) {
        Ok(memory) => Some(memory),
        Err(why) => {
            tracing::debug!(%why, "no memory to share");
            None
        }
    }
}

/// What a link's two tasks need for tensors to go past the socket.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) outbox: Outbox,
    pub(super) inbox: Inbox,
}

/// What the two have to know of each other's doing.
#[derive(Debug, Default)]
struct Common {
    /// Our buffers that the other end can read.
    taken: Vec<u32>,
    /// What the other end has yet to read, and in which buffers it is.
    lent: Vec<(u32, Floats)>,
    /// Buffers of theirs of which they have yet to hear that we can read them.
    opened: Vec<u32>,
    /// Buffers of theirs of which they have yet to hear that they were read.
    read: Vec<u32>,
    /// How many tensors in buffers of theirs they have yet to hear of.
    n_borrowed: usize,
}

type Together = Arc<Mutex<Common>>;

impl Shared {
    /// For a new link.
    pub(super) fn new() -> Self {
        let common = Together::default();
        let outbox =
            Outbox { common: Arc::clone(&common), offered: Vec::new(), next: 0, notes: Vec::new() };
        Self { outbox, inbox: Inbox { common, views: BTreeMap::new() } }
    }
}

/// What a link's writer does with buffers: it tells the other end of its own.
#[derive(Debug)]
pub(super) struct Outbox {
    common: Together,
    offered: Vec<Offered>,
    next: u32,
    notes: Vec<Note>,
}

/// A buffer of ours that the other end has been told of.
#[derive(Debug)]
struct Offered {
    number: u32,
    token: [u8; 16],
    life: Weak<()>,
}

impl Outbox {
    /// The buffers that a frame's tensors are in, if the other end can read them there; it then has
    /// to be told. `None` if they have to take the socket.
    pub(super) fn place(&mut self, frame: &Frame) -> Option<Vec<u32>> {
        let memories: Option<Vec<_>> = frame.floats().iter().map(memory_of).collect();
        let memories = memories.filter(|memories| !memories.is_empty())?;
        let numbers: Vec<_> = memories.iter().map(|memory| self.number_of(memory)).collect();
        let mut common = lock(&self.common);
        let is_taken = |number: &Option<u32>| number.filter(|it| common.taken.contains(it));
        let numbers: Vec<_> = numbers.iter().map(is_taken).collect::<Option<_>>()?;
        if common.lent.len() + numbers.len() > MAX_LENT {
            return None;
        }
        common.lent.extend(numbers.iter().copied().zip(frame.floats().iter().cloned()));
        Some(numbers)
    }

    /// What the other end has to be told, after a frame: what comes first on a link is a message.
    pub(super) fn notes(&mut self) -> Vec<Note> {
        let (opened, read) = {
            let mut common = lock(&self.common);
            common.n_borrowed -= common.read.len();
            (take(&mut common.opened), take(&mut common.read))
        };
        self.notes.extend(opened.chunks(MAX_NOTED).map(|buffers| Note::Taken(buffers.to_vec())));
        self.notes.extend(read.chunks(MAX_NOTED).map(|buffers| Note::Read(buffers.to_vec())));
        take(&mut self.notes)
    }

    /// The number of a buffer of ours; `None` if there are too many. A new one is offered.
    fn number_of(&mut self, memory: &SharedMemory) -> Option<u32> {
        let Offer { process, file, token } = memory.offer();
        if let Some(known) = self.offered.iter().find(|known| known.token == token) {
            return Some(known.number);
        }
        self.withdraw();
        if self.offered.len() == MAX_BUFFERS {
            return None;
        }
        let number = self.next;
        self.next = number.checked_add(1)?;
        self.offered.push(Offered { number, token, life: memory.life() });
        self.notes.push(Note::Offer { buffer: number, process, file, token });
        Some(number)
    }

    /// Forgets buffers that are no more, and has the other end told.
    fn withdraw(&mut self) {
        let is_gone = |offered: &mut Offered| offered.life.strong_count() == 0;
        let gone: Vec<_> = self.offered.extract_if(.., is_gone).map(|gone| gone.number).collect();
        lock(&self.common).taken.retain(|number| !gone.contains(number));
        self.notes.extend(gone.chunks(MAX_NOTED).map(|buffers| Note::Gone(buffers.to_vec())));
    }
}

impl Drop for Outbox {
    /// The other end may still read what it will never say that it has read.
    fn drop(&mut self) {
        lock(&self.common).lent.drain(..).for_each(|(_, floats)| floats.retire());
    }
}

/// What a link's reader does with buffers: it reads those of the other end.
#[derive(Debug)]
pub(super) struct Inbox {
    common: Together,
    views: BTreeMap<u32, Arc<View>>,
}

/// Why a tensor cannot be read where it is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InboxError {
    #[error("it says that a tensor is in memory which it has not offered, or which was not taken")]
    NotTaken,
    #[error("it says that a tensor of {n_values} values is in {n_bytes} bytes of memory")]
    TooShort { n_values: usize, n_bytes: usize },
    #[error(
        "it says that more than {MAX_LENT} tensors are in memory, and has not heard of any yet"
    )]
    TooMany,
}

impl Inbox {
    /// Takes what the other end says of buffers, of which each has room for a frame within these
    /// limits. That one cannot be opened is no error: it is not answered, and nothing comes in it.
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
                taken.truncate(MAX_BUFFERS);
            }
            Note::Read(buffers) => {
                let mut common = lock(&self.common);
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
            Err(why) => tracing::debug!(%why, "the other end's memory is out of reach"),
        }
    }

    /// A tensor in a buffer of the other end's.
    ///
    /// # Errors
    /// If the buffer is not known, or shorter, or so many tensors were not read yet that none may come.
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
        Ok(Floats::elsewhere(n_values, Box::new(Borrowed { view, buffer, common })))
    }
}

/// A tensor in the other end's buffer. When it is dropped, the other end may write it again.
struct Borrowed {
    view: Arc<View>,
    buffer: u32,
    common: Together,
}

impl Elsewhere for Borrowed {
    fn read(&self, start: usize, values: &mut [f32]) {
        self.view.read(start * size_of::<f32>(), bytemuck::cast_slice_mut(values));
    }
}

impl Drop for Borrowed {
    fn drop(&mut self) {
        lock(&self.common).read.push(self.buffer);
    }
}

fn lock(common: &Mutex<Common>) -> MutexGuard<'_, Common> {
    common.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
