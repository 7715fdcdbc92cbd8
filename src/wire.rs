//! Frames: how a message becomes bytes and back. `docs/wire.md` has the layout.
//!
//! No length is believed before a checksum covers it, and nothing is allocated beyond [`Limits`].
//! No sockets here: a reader feeds [`Header`], then [`Head`]; the simulator uses [`decode`].

#[cfg(any(test, fuzzing))]
mod reseal;

use thiserror::Error;

#[cfg(any(test, fuzzing))]
pub(crate) use self::reseal::reseal;
use crate::floats::Floats;
use crate::protocol::Message;

/// The first bytes of every frame; the last one counts the layouts.
pub const MAGIC: [u8; 4] = *b"UNS1";

/// The length of the fixed header.
pub const HEADER_BYTES: usize = 20;

/// The length of one entry of the table of tensors.
const ENTRY_BYTES: usize = 8;

/// The longest control part. The longest by far is that of a version which brings the chief the
/// updates it has yet to record: this is room for 15,000 updates of 50 slots each.
pub const MAX_CONTROL_BYTES: usize = 4 << 20;

/// The most tensors behind one message: parameters, and what the richest optimizer keeps.
pub const MAX_TENSORS: usize = 16;

/// The longest frame from a caller that has not introduced itself: a hello with its settings
/// takes about 1 KiB, and a stranger is not worth more memory.
pub const MAX_GREETING_BYTES: usize = 64 << 10;

/// The largest frame that a reader takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// For the control part, in bytes.
    pub control_bytes: usize,
    /// For the number of tensors.
    pub tensors: usize,
    /// For all tensors of the frame together, in bytes.
    pub tensor_bytes: usize,
}

impl Limits {
    /// Of the first frame on an accepted link: short, and no tensors.
    pub const GREETING: Self =
        Self { control_bytes: MAX_GREETING_BYTES - HEADER_BYTES, tensors: 0, tensor_bytes: 0 };

    /// For a model whose largest shard state (parameters and auxiliary buffers) has this size.
    #[must_use]
    pub const fn with_tensor_bytes(tensor_bytes: usize) -> Self {
        Self { control_bytes: MAX_CONTROL_BYTES, tensors: MAX_TENSORS, tensor_bytes }
    }
}

/// Why bytes are not a frame.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum WireError {
    /// Not the magic: another program, or another layout.
    #[error("not a Unisono frame: it starts with \"{}\"", .0.escape_ascii())]
    NotAFrame([u8; 4]),
    /// The header does not fit its checksum.
    #[error("damaged: the header does not fit its checksum")]
    DamagedHeader,
    /// The table or the control part do not fit their checksum.
    #[error("damaged: the control part does not fit its checksum")]
    DamagedControl,
    /// A tensor does not fit its checksum.
    #[error("damaged: tensor {0} does not fit its checksum")]
    DamagedTensor(usize),
    /// More than a limit allows.
    #[error("too large: {found} {what}, the limit is {limit}")]
    TooLarge {
        /// Of what.
        what: &'static str,
        /// How much there is.
        found: usize,
        /// How much is allowed.
        limit: usize,
    },
    /// The control part is undamaged, but says nothing that this version understands.
    #[error("not a message of this version: {0}")]
    NotAMessage(String),
    /// A kind of message with a number of tensors that it cannot have.
    #[error("a {kind} message cannot have {n_tensors} tensors")]
    WrongTensors {
        /// The kind of message.
        kind: &'static str,
        /// How many came with it.
        n_tensors: usize,
    },
    /// The bytes end before the frame, or the frame before the bytes.
    #[error("{found} bytes where the frame has {wanted}")]
    WrongLength {
        /// The length of the bytes.
        found: usize,
        /// The length of the frame, as far as it is known.
        wanted: usize,
    },
}

/// A message, ready to be written: a small head of its own, and the message's tensors in place.
#[derive(Clone, Debug)]
pub struct Frame {
    head: Vec<u8>,
    tensors: Vec<Floats>,
}

impl Frame {
    /// Encodes a message. Copies no tensor, and takes its checksum from those who share it.
    #[must_use]
    pub fn new(message: &Message) -> Self {
        let tensors: Vec<Floats> = message.tensors().into_iter().cloned().collect();
        let mut head = vec![0; HEADER_BYTES];
        for tensor in &tensors {
            head.extend(length_u32(tensor.len()).to_le_bytes());
            head.extend(tensor.checksum().to_le_bytes());
        }
        let control_at = head.len();
        encode_control(message, &mut head);

        let control_bytes = head.len() - control_at;
        let body_crc = crc32c::crc32c(&head[HEADER_BYTES..]);
        head[0..4].copy_from_slice(&MAGIC);
        head[4..8].copy_from_slice(&length_u32(control_bytes).to_le_bytes());
        head[8..12].copy_from_slice(&length_u32(tensors.len()).to_le_bytes());
        head[12..16].copy_from_slice(&body_crc.to_le_bytes());
        let header_crc = crc32c::crc32c(&head[..16]);
        head[16..20].copy_from_slice(&header_crc.to_le_bytes());
        Self { head, tensors }
    }

    /// The frame's bytes, in the order in which they are written: the head, then each tensor.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(self.head.as_slice()).chain(self.tensors.iter().map(Floats::as_bytes))
    }

    /// The length of the whole frame.
    #[must_use]
    pub fn n_bytes(&self) -> usize {
        self.parts().map(<[u8]>::len).sum()
    }
}

/// The length of the whole frame of a message, without making it.
#[must_use]
pub fn frame_bytes(message: &Message) -> usize {
    let tensors: usize =
        message.tensors().into_iter().map(|tensor| ENTRY_BYTES + 4 * tensor.len()).sum();
    let mut control = Count(0);
    encode_control(message, &mut control);
    HEADER_BYTES + tensors + control.0
}

/// Takes bytes, and keeps their number.
struct Count(usize);

impl std::io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The whole frame of a message, copied into one buffer.
#[must_use]
pub fn encode_to_vec(message: &Message) -> Vec<u8> {
    Frame::new(message).parts().collect::<Vec<_>>().concat()
}

/// The message of exactly one whole frame.
///
/// # Errors
/// Whatever is wrong with the bytes; any bytes are safe to try.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Message, WireError> {
    let wrong_length = |wanted| WireError::WrongLength { found: bytes.len(), wanted };

    let (header, rest) = bytes.split_first_chunk().ok_or_else(|| wrong_length(HEADER_BYTES))?;
    let header = Header::parse(header, limits)?;
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

/// Checks the first bytes of a frame: all that can be told of it before its header is whole.
///
/// # Errors
/// If they are there, and not the magic.
pub fn check_magic(bytes: &[u8]) -> Result<(), WireError> {
    match bytes.first_chunk() {
        Some(first) if *first != MAGIC => Err(WireError::NotAFrame(*first)),
        _ => Ok(()),
    }
}

/// A frame's header, undamaged and within limits: it says how long the body is.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    control_bytes: usize,
    n_tensors: usize,
    body_crc: u32,
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// If it is damaged, or announces more than the limits allow.
    pub fn parse(bytes: &[u8; HEADER_BYTES], limits: &Limits) -> Result<Self, WireError> {
        check_magic(bytes)?;
        if crc32c::crc32c(&bytes[..16]) != u32_at(bytes, 16) {
            return Err(WireError::DamagedHeader);
        }
        let header = Self {
            control_bytes: u32_at(bytes, 4) as usize,
            n_tensors: u32_at(bytes, 8) as usize,
            body_crc: u32_at(bytes, 12),
        };
        within("bytes of control", header.control_bytes, limits.control_bytes)?;
        within("tensors", header.n_tensors, limits.tensors)?;
        Ok(header)
    }

    /// The length of the body: the table of tensors and the control part.
    #[must_use]
    pub const fn body_bytes(&self) -> usize {
        self.n_tensors * ENTRY_BYTES + self.control_bytes
    }

    /// Reads the body, which has [`Self::body_bytes`] bytes.
    ///
    /// # Errors
    /// If it is damaged, is not a message, or announces more than the limits allow.
    pub fn parse_body(&self, body: &[u8], limits: &Limits) -> Result<Head, WireError> {
        if crc32c::crc32c(body) != self.body_crc {
            return Err(WireError::DamagedControl);
        }
        let (table, control) = body.split_at(self.n_tensors * ENTRY_BYTES);
        let table: Vec<_> = table
            .chunks_exact(ENTRY_BYTES)
            .map(|entry| Entry { n_values: u32_at(entry, 0) as usize, crc: u32_at(entry, 4) })
            .collect();
        let tensor_bytes =
            table.iter().fold(0, |sum: usize, entry| sum.saturating_add(entry.n_values * 4));
        within("bytes of tensors", tensor_bytes, limits.tensor_bytes)?;
        Ok(Head { message: decode_control(control)?, table })
    }
}

/// What comes before a frame's tensors, undamaged and within limits.
#[derive(Debug)]
pub struct Head {
    message: Message,
    table: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    n_values: usize,
    crc: u32,
}

impl Head {
    /// How many values each tensor has, in order.
    pub fn tensor_lengths(&self) -> impl Iterator<Item = usize> {
        self.table.iter().map(|entry| entry.n_values)
    }

    /// Puts the message together with its tensors, which have [`Self::tensor_lengths`].
    ///
    /// # Errors
    /// If a tensor is damaged, or the message cannot have so many.
    pub fn finish(mut self, tensors: Vec<Floats>) -> Result<Message, WireError> {
        for (index, (tensor, entry)) in tensors.iter().zip(&self.table).enumerate() {
            if tensor.checksum() != entry.crc {
                return Err(WireError::DamagedTensor(index));
            }
        }
        match self.message.attach(tensors) {
            Ok(()) => Ok(self.message),
            Err(n_tensors) => Err(WireError::WrongTensors { kind: self.message.kind(), n_tensors }),
        }
    }
}

const fn within(what: &'static str, found: usize, limit: usize) -> Result<(), WireError> {
    if found <= limit { Ok(()) } else { Err(WireError::TooLarge { what, found, limit }) }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn length_u32(length: usize) -> u32 {
    u32::try_from(length).expect("no message comes near 4 GiB or 4 G values")
}

// The two functions that know bincode: its standard configuration, varints and little-endian.

fn encode_control(message: &Message, out: &mut impl std::io::Write) {
    bincode::serde::encode_into_std_write(message, out, bincode::config::standard())
        .expect("a message has only types that bincode can encode, and memory takes any bytes");
}

fn decode_control(bytes: &[u8]) -> Result<Message, WireError> {
    // Bincode counts an integer with its size in memory, up to eight times that of its varint. A
    // length is believed up to the limit, so few bytes get a low one.
    let config = bincode::config::standard();
    let decoded = if bytes.len() <= MAX_GREETING_BYTES {
        let config = config.with_limit::<{ 8 * MAX_GREETING_BYTES }>();
        bincode::serde::decode_from_slice(bytes, config)
    } else {
        let config = config.with_limit::<{ 8 * MAX_CONTROL_BYTES }>();
        bincode::serde::decode_from_slice(bytes, config)
    };
    let (message, n_read) = decoded.map_err(|error| WireError::NotAMessage(error.to_string()))?;
    if n_read != bytes.len() {
        let n_left = bytes.len() - n_read;
        return Err(WireError::NotAMessage(format!("{n_left} bytes are left over")));
    }
    Ok(message)
}

#[cfg(test)]
mod tests;
