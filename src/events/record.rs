//! The framing of a TFRecord file (`tensorflow/core/lib/io/record_writer.cc`).
//!
//! ```text
//! length of the data, u64 little-endian
//! masked CRC32C of those eight bytes, u32 little-endian
//! the data
//! masked CRC32C of the data, u32 little-endian
//! ```

/// TensorFlow's: so that the CRC of data which hold CRCs is no special value.
const MASK_DELTA: u32 = 0xa282_ead8;

/// Appends one record.
pub(super) fn push_record(data: &[u8], file: &mut Vec<u8>) {
    let length = (data.len() as u64).to_le_bytes();
    file.extend(length);
    file.extend(masked_crc(&length).to_le_bytes());
    file.extend(data);
    file.extend(masked_crc(data).to_le_bytes());
}

fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(MASK_DELTA)
}
