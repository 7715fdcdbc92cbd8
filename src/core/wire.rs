//! Frames: the encoding of messages. `docs/wire.md` describes the layout.
//!
//! A decoder verifies the checksum of a length before it uses the length, and allocates no more
//! than [`Limits`] permits. This module uses no sockets. The reader of a link parses a [`Header`]
//! and then a [`Head`]. The simulator calls [`decode`].

#[cfg(any(test, fuzzing, feature = "testing"))]
#[path = "../../tests/unit/reseal.rs"]
mod reseal;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

#[cfg(any(test, fuzzing, feature = "testing"))]
pub use self::reseal::reseal;
use crate::floats::Floats;
use crate::protocol::Message;

/// The first bytes of a frame that contains a message and its tensors. The last of these bytes is
/// the version of the layout.
pub const MAGIC: [u8; 4] = *b"UNS1";

/// The first bytes of a frame with a message whose tensors are in the sender's shared memory.
const PLACED_MAGIC: [u8; 4] = *b"UNP2";

/// The first bytes of a frame with a [`Note`].
const NOTE_MAGIC: [u8; 4] = *b"UNN2";

/// The maximum length of a [`Note`], in bytes.
const MAX_NOTE_BYTES: usize = 64;

/// The maximum number of buffers in one [`Note`].
pub const MAX_NOTED: usize = 8;

/// The length of the fixed header, in bytes.
pub const HEADER_BYTES: usize = 20;

/// The length of an entry in the table of tensors, in bytes.
const ENTRY_BYTES: usize = 8;

/// The maximum length of the control part of a frame, in bytes. The longest control part belongs to
/// a `Version` message that carries updates for the chief to record. The limit has room for 15,000
/// updates of 50 slots each.
pub const MAX_CONTROL_BYTES: usize = 4 << 20;

/// The maximum number of tensors of a message. The state of a shard has fewer tensors with every
/// optimizer.
pub const MAX_TENSORS: usize = 16;

/// The maximum length of a frame from a caller without a session, in bytes. A `Hello` with its
/// settings takes about 1 KiB, and up to 30 KiB with a network of many layers. The limit bounds the memory that an unknown caller can occupy.
pub const MAX_GREETING_BYTES: usize = 64 << 10;

/// The size limits of the frames that a reader accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The maximum length of the control part, in bytes.
    pub control_bytes: usize,
    /// The maximum number of tensors.
    pub tensors: usize,
    /// The maximum total length of all tensors of the frame, in bytes.
    pub tensor_bytes: usize,
}

impl Limits {
    /// The limits of the first frame on an accepted link. This frame is short and has no tensors.
    pub const GREETING: Self =
        Self { control_bytes: MAX_GREETING_BYTES - HEADER_BYTES, tensors: 0, tensor_bytes: 0 };

    /// Returns the limits for a model. `tensor_bytes` is the size of the largest shard state
    /// (parameters and auxiliary buffers), in bytes.
    #[must_use]
    pub const fn with_tensor_bytes(tensor_bytes: usize) -> Self {
        Self { control_bytes: MAX_CONTROL_BYTES, tensors: MAX_TENSORS, tensor_bytes }
    }
}

/// The reason why bytes are not a valid frame.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// The frame starts with unknown bytes, because the peer is another program or uses another
    /// layout.
    #[error("not a Unisono frame: it starts with \"{}\"", .0.escape_ascii())]
    NotAFrame([u8; 4]),
    /// The header's checksum is wrong.
    #[error("damaged: the header does not fit its checksum")]
    DamagedHeader,
    /// The checksum of the table of tensors and the control part is wrong.
    #[error("damaged: the control part does not fit its checksum")]
    DamagedControl,
    /// The checksum of the tensor with this index is wrong.
    #[error("damaged: tensor {0} does not fit its checksum")]
    DamagedTensor(usize),
    /// The frame exceeds a limit of the reader.
    #[error("too large: {found} {what}, the limit is {limit}")]
    TooLarge {
        /// The name of the limited quantity.
        what: &'static str,
        /// The value that the frame announces.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// The control part is undamaged, but this version of the program cannot decode it.
    #[error("not a message of this version: {0}")]
    NotAMessage(String),
    /// A frame uses shared memory, but its link has no shared memory.
    #[error("the frame uses shared memory, but the link has none")]
    NotShared,
    /// A message has a number of tensors that its kind cannot have.
    #[error("a {kind} message cannot have {n_tensors} tensors")]
    WrongTensors {
        /// The kind of the message.
        kind: &'static str,
        /// The number of tensors.
        n_tensors: usize,
    },
    /// The number of bytes differs from the length of the frame.
    #[error("{found} bytes, but the frame has {wanted}")]
    WrongLength {
        /// The number of bytes that the decoder got.
        found: usize,
        /// The length of the frame in bytes, as far as the decoder could determine it.
        wanted: usize,
    },
}

/// A notice about shared-memory buffers. The hosts at the two ends of a link exchange notices. The
/// protocol's nodes never see notices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Note {
    /// The receiver of this note may map a buffer of the sender.
    Offer {
        /// The number of the buffer on this link.
        buffer: u32,
        /// The process id of the sender.
        process: u32,
        /// The file descriptor of the buffer in the sender's process.
        file: u32,
        /// A random number in the name of the buffer's file. The receiver compares the name before
        /// it opens the file, so that a note cannot make the receiver open another file.
        token: [u8; 16],
    },
    /// The sender of this note has mapped these buffers of the receiver, and can read them.
    Taken(Vec<u32>),
    /// The sender of this note has read a tensor from each of these buffers of the receiver. A
    /// buffer from which several tensors were read is listed once for each tensor. One note lists
    /// at most [`MAX_NOTED`] buffers.
    Read(Vec<u32>),
    /// These buffers of the sender of this note no longer exist.
    Gone(Vec<u32>),
}

impl Note {
    /// Returns the whole frame of this note.
    #[must_use]
    pub fn to_frame(&self) -> Vec<u8> {
        let mut frame = vec![0; HEADER_BYTES];
        encode_control(self, &mut frame);
        fill_header(NOTE_MAGIC, 0, frame)
    }
}

/// A message that is ready to be sent: its encoded control part, and references to its tensors.
#[derive(Clone, Debug)]
pub struct Frame {
    control: Vec<u8>,
    tensors: Vec<Floats>,
}

impl Frame {
    /// Encodes a message. The tensors are not copied.
    #[must_use]
    pub fn new(message: &Message) -> Self {
        let tensors = message.tensors().into_iter().cloned().collect();
        let mut control = Vec::new();
        encode_control(message, &mut control);
        Self { control, tensors }
    }

    /// Returns the bytes of the frame that precede the tensors. The checksum of a tensor is
    /// computed once for all frames that share the tensor.
    #[must_use]
    pub fn head(&self) -> Vec<u8> {
        self.build_head(MAGIC, self.tensors.iter().map(Floats::checksum))
    }

    /// Returns the frame of a message whose tensors are in shared memory. `buffers` has the number
    /// of each tensor's buffer. The frame has no checksums of the tensors, because the link does
    /// not transfer tensors in shared memory.
    #[must_use]
    pub fn placed_head(&self, buffers: &[u32]) -> Vec<u8> {
        self.build_head(PLACED_MAGIC, buffers.iter().copied())
    }

    fn build_head(
        &self,
        magic: [u8; 4],
        checksums_or_buffers: impl Iterator<Item = u32>,
    ) -> Vec<u8> {
        let table_bytes = self.tensors.len() * ENTRY_BYTES;
        let mut head = Vec::with_capacity(HEADER_BYTES + table_bytes + self.control.len());
        head.resize(HEADER_BYTES, 0);
        for (tensor, number) in self.tensors.iter().zip(checksums_or_buffers) {
            head.extend(length_u32(tensor.len()).to_le_bytes());
            head.extend(number.to_le_bytes());
        }
        head.extend(&self.control);
        fill_header(magic, self.tensors.len(), head)
    }

    /// Returns the tensors, in order.
    #[must_use]
    pub fn floats(&self) -> &[Floats] {
        &self.tensors
    }

    /// Returns the bytes of each tensor, in order.
    pub fn tensors(&self) -> impl Iterator<Item = &[u8]> {
        self.tensors.iter().map(Floats::as_bytes)
    }

    /// Returns the length of all tensors together, in bytes.
    #[must_use]
    pub fn tensor_bytes(&self) -> usize {
        self.tensors.iter().map(|tensor| 4 * tensor.len()).sum()
    }

    /// Returns the length of the whole frame with its tensors, in bytes.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        HEADER_BYTES + self.tensors.len() * ENTRY_BYTES + self.control.len() + self.tensor_bytes()
    }
}

/// Fills in the fixed-size header at the front of `head`, which is complete otherwise.
fn fill_header(magic: [u8; 4], n_tensors: usize, mut head: Vec<u8>) -> Vec<u8> {
    let control_bytes = head.len() - HEADER_BYTES - n_tensors * ENTRY_BYTES;
    let body_crc = crc32c::crc32c(&head[HEADER_BYTES..]);
    head[0..4].copy_from_slice(&magic);
    head[4..8].copy_from_slice(&length_u32(control_bytes).to_le_bytes());
    head[8..12].copy_from_slice(&length_u32(n_tensors).to_le_bytes());
    head[12..16].copy_from_slice(&body_crc.to_le_bytes());
    let header_crc = crc32c::crc32c(&head[..16]);
    head[16..20].copy_from_slice(&header_crc.to_le_bytes());
    head
}

/// Returns the length of a message's whole frame in bytes, without building the frame.
#[must_use]
pub fn frame_bytes(message: &Message) -> usize {
    let tensors: usize =
        message.tensors().into_iter().map(|tensor| ENTRY_BYTES + 4 * tensor.len()).sum();
    let mut control = ByteCounter(0);
    encode_control(message, &mut control);
    HEADER_BYTES + tensors + control.0
}

/// A writer that counts bytes and discards them.
struct ByteCounter(usize);

impl std::io::Write for ByteCounter {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Returns the whole frame of a message in one buffer, with copies of the tensors.
#[must_use]
pub fn encode_to_vec(message: &Message) -> Vec<u8> {
    let frame = Frame::new(message);
    frame.tensors().fold(frame.head(), |bytes, tensor| [&bytes, tensor].concat())
}

/// Decodes a message from exactly one whole frame. The function does not panic, whatever the bytes
/// are.
///
/// # Errors
/// If the bytes are not one valid frame with a message, or the frame exceeds a limit.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Message, WireError> {
    let wrong_length = |wanted| WireError::WrongLength { found: bytes.len(), wanted };

    let (header, rest) = bytes.split_first_chunk().ok_or_else(|| wrong_length(HEADER_BYTES))?;
    let header = Header::parse(header, limits)?;
    if header.kind != Kind::Whole {
        return Err(WireError::NotShared);
    }
    let body_ends_at = HEADER_BYTES + header.body_bytes();
    let (body, mut rest) =
        rest.split_at_checked(header.body_bytes()).ok_or_else(|| wrong_length(body_ends_at))?;
    let head = header.parse_body(body, limits)?;

    let tensor_bytes: usize = head.tensor_lengths().map(|n_values| n_values * 4).sum();
    if rest.len() != tensor_bytes {
        return Err(wrong_length(body_ends_at + tensor_bytes));
    }
    let tensors = head
        .tensor_lengths()
        .map(|n_values| {
            let mut values = vec![0.0_f32; n_values];
            let bytes = rest.split_off(..n_values * 4).expect("the sum of the lengths was checked");
            bytemuck::cast_slice_mut(&mut values).copy_from_slice(bytes);
            Floats::from(values)
        })
        .collect();
    head.finish(tensors)
}

/// Checks the first four bytes of a frame. The header may still be incomplete.
///
/// # Errors
/// If the first four bytes are not those of any frame. Fewer than four bytes pass the check.
pub fn check_magic(bytes: &[u8]) -> Result<(), WireError> {
    bytes.first_chunk().map_or(Ok(()), |magic| Kind::from_magic(*magic).map(|_| ()))
}

/// The kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A message, followed by its tensors.
    Whole,
    /// A message whose tensors are in shared buffers of its sender.
    Placed,
    /// A [`Note`].
    Note,
}

impl Kind {
    const fn from_magic(magic: [u8; 4]) -> Result<Self, WireError> {
        match magic {
            MAGIC => Ok(Self::Whole),
            PLACED_MAGIC => Ok(Self::Placed),
            NOTE_MAGIC => Ok(Self::Note),
            _ => Err(WireError::NotAFrame(magic)),
        }
    }
}

/// The header of a frame, verified against its checksum and the limits. The header determines the
/// length of the body.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    kind: Kind,
    control_bytes: usize,
    n_tensors: usize,
    body_crc: u32,
}

impl Header {
    /// Parses a header.
    ///
    /// # Errors
    /// If the header is damaged, or announces more than the limits allow.
    pub fn parse(bytes: &[u8; HEADER_BYTES], limits: &Limits) -> Result<Self, WireError> {
        let kind = Kind::from_magic([bytes[0], bytes[1], bytes[2], bytes[3]])?;
        if crc32c::crc32c(&bytes[..16]) != u32_at(bytes, 16) {
            return Err(WireError::DamagedHeader);
        }
        let header = Self {
            kind,
            control_bytes: u32_at(bytes, 4) as usize,
            n_tensors: u32_at(bytes, 8) as usize,
            body_crc: u32_at(bytes, 12),
        };
        let is_note = kind == Kind::Note;
        let control_bytes = if is_note { MAX_NOTE_BYTES } else { limits.control_bytes };
        check_limit("bytes of control", header.control_bytes, control_bytes)?;
        check_limit("tensors", header.n_tensors, if is_note { 0 } else { limits.tensors })?;
        Ok(header)
    }

    /// Returns the kind of the frame.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns the length of the body in bytes. The body is the table of tensors and the control
    /// part.
    #[must_use]
    pub const fn body_bytes(&self) -> usize {
        self.n_tensors * ENTRY_BYTES + self.control_bytes
    }

    /// Parses `body` as a [`Note`]. The body must have [`Self::body_bytes`] bytes.
    ///
    /// # Errors
    /// If the body is damaged, or contains something other than a note.
    pub fn parse_note(&self, body: &[u8]) -> Result<Note, WireError> {
        self.check_body(body)?;
        decode_control(body)
    }

    fn check_body(&self, body: &[u8]) -> Result<(), WireError> {
        if crc32c::crc32c(body) == self.body_crc { Ok(()) } else { Err(WireError::DamagedControl) }
    }

    /// Parses `body` as a message. The body must have [`Self::body_bytes`] bytes.
    ///
    /// # Errors
    /// If the body is damaged, contains something other than a message, or announces more than the
    /// limits allow.
    pub fn parse_body(&self, body: &[u8], limits: &Limits) -> Result<Head, WireError> {
        self.check_body(body)?;
        let (table, control) = body.split_at(self.n_tensors * ENTRY_BYTES);
        let table: Vec<_> = table
            .chunks_exact(ENTRY_BYTES)
            .map(|entry| Entry {
                n_values: u32_at(entry, 0) as usize,
                checksum_or_buffer: u32_at(entry, 4),
            })
            .collect();
        let tensor_bytes =
            table.iter().fold(0, |sum: usize, entry| sum.saturating_add(entry.n_values * 4));
        check_limit("bytes of tensors", tensor_bytes, limits.tensor_bytes)?;
        Ok(Head { message: decode_control(control)?, table, is_placed: self.kind == Kind::Placed })
    }
}

/// The header and the body of a frame with a message, verified against the checksums and the
/// limits.
#[derive(Debug)]
pub struct Head {
    message: Message,
    table: Vec<Entry>,
    is_placed: bool,
}

#[derive(Debug)]
struct Entry {
    n_values: usize,
    /// The CRC32C of the tensor's bytes, or the number of the tensor's buffer if the tensor is in
    /// shared memory.
    checksum_or_buffer: u32,
}

impl Head {
    /// Returns the number of values of each tensor, in order.
    pub fn tensor_lengths(&self) -> impl Iterator<Item = usize> {
        self.table.iter().map(|entry| entry.n_values)
    }

    /// Returns the numbers of the shared buffers that hold the tensors, one number per tensor, in
    /// order. Returns `None` if the frame itself contains the tensors.
    #[must_use]
    pub fn buffers(&self) -> Option<impl Iterator<Item = u32>> {
        self.is_placed.then(|| self.table.iter().map(|entry| entry.checksum_or_buffer))
    }

    /// Returns the message with its tensors. The lengths of the tensors must equal
    /// [`Self::tensor_lengths`].
    ///
    /// # Errors
    /// If a tensor is damaged, or a message of this kind cannot have that many tensors.
    pub fn finish(mut self, tensors: Vec<Floats>) -> Result<Message, WireError> {
        for (index, (tensor, entry)) in tensors.iter().zip(&self.table).enumerate() {
            if !self.is_placed && tensor.checksum() != entry.checksum_or_buffer {
                return Err(WireError::DamagedTensor(index));
            }
        }
        match self.message.attach(tensors) {
            Ok(()) => Ok(self.message),
            Err(n_tensors) => Err(WireError::WrongTensors { kind: self.message.kind(), n_tensors }),
        }
    }
}

const fn check_limit(what: &'static str, found: usize, limit: usize) -> Result<(), WireError> {
    if found <= limit { Ok(()) } else { Err(WireError::TooLarge { what, found, limit }) }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn length_u32(length: usize) -> u32 {
    u32::try_from(length).expect("no message comes near 4 GiB or 4 G values")
}

// Only this function and the next one use bincode. Its standard configuration has little-endian
// varints.

fn encode_control(control: &impl Serialize, out: &mut impl std::io::Write) {
    bincode::serde::encode_into_std_write(control, out, bincode::config::standard())
        .expect("a message has only types that bincode can encode, and memory takes any bytes");
}

fn decode_control<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    // Bincode counts the size of each decoded integer in memory against its limit. This size is up
    // to eight times the size of the varint. Bincode trusts any announced length up to the limit.
    // So a short frame gets a low limit.
    let config = bincode::config::standard();
    let decoded = if bytes.len() <= MAX_GREETING_BYTES {
        let config = config.with_limit::<{ 8 * MAX_GREETING_BYTES }>();
        bincode::serde::decode_from_slice(bytes, config)
    } else {
        let config = config.with_limit::<{ 8 * MAX_CONTROL_BYTES }>();
        bincode::serde::decode_from_slice(bytes, config)
    };
    let (control, n_read) = decoded.map_err(|error| WireError::NotAMessage(error.to_string()))?;
    if n_read != bytes.len() {
        let n_left = bytes.len() - n_read;
        return Err(WireError::NotAMessage(format!("{n_left} bytes are left over")));
    }
    Ok(control)
}

#[cfg(test)]
mod tests;
