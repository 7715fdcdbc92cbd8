//! The framing of a TFRecord file (`tensorflow/core/lib/io/record_writer.cc`).
//!
//! ```text
//! length of the data              u64, little-endian
//! masked CRC32C of the length     u32, little-endian
//! data
//! masked CRC32C of the data       u32, little-endian
//! ```

/// TensorFlow's constant for masking a CRC. CRCs are masked, because a CRC over data that contain
/// unmasked CRCs detects errors less reliably.
const MASK_DELTA: u32 = 0xa282_ead8;

/// Appends one record to `file`.
pub(super) fn push_record(data: &[u8], file: &mut Vec<u8>) {
    let length = (data.len() as u64).to_le_bytes();
    file.extend(length);
    file.extend(masked_crc(&length).to_le_bytes());
    file.extend(data);
    file.extend(masked_crc(data).to_le_bytes());
}

/// Number of bytes that a record has in addition to its data.
pub(super) const FRAME_BYTES: usize = 16;

/// Returns the data of each record of a file, up to the first torn or damaged record.
pub(super) fn records(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = file;
    std::iter::from_fn(move || {
        let (data, behind) = split_record(rest)?;
        rest = behind;
        Some(data)
    })
}

/// Splits a file into the data of its first record and the remaining bytes. Returns `None` if the
/// first record is torn or damaged.
fn split_record(file: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = file.split_first_chunk::<8>()?;
    let (crc, rest) = rest.split_first_chunk()?;
    if u32::from_le_bytes(*crc) != masked_crc(length) {
        return None;
    }
    let (data, rest) = rest.split_at_checked(u64::from_le_bytes(*length).try_into().ok()?)?;
    let (crc, rest) = rest.split_first_chunk()?;
    (u32::from_le_bytes(*crc) == masked_crc(data)).then_some((data, rest))
}

fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(MASK_DELTA)
}
