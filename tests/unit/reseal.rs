//! For tests and fuzz targets: corrects the checksums of a damaged frame, as a malicious peer
//! would.

use super::{ENTRY_BYTES, HEADER_BYTES, Kind, MAGIC, u32_at};

/// Corrects the magic and every checksum to fit the rest of the bytes. In a truncated frame, only
/// the present parts are corrected.
pub fn reseal(bytes: &mut [u8]) {
    let Some((header, rest)) = bytes.split_first_chunk_mut::<HEADER_BYTES>() else { return };
    let control_bytes = u32_at(header, 4) as usize;
    let table_bytes = (u32_at(header, 8) as usize).saturating_mul(ENTRY_BYTES);
    let kind = Kind::from_magic([header[0], header[1], header[2], header[3]]);
    if let Some((body, tensors)) =
        rest.split_at_mut_checked(table_bytes.saturating_add(control_bytes))
    {
        let mut tensors = &*tensors;
        let table_bytes = if kind == Ok(Kind::Placed) { 0 } else { table_bytes };
        for entry in body[..table_bytes].chunks_exact_mut(ENTRY_BYTES) {
            let Some(tensor) = tensors.split_off(..u32_at(entry, 0) as usize * 4) else { break };
            put(entry, 4, crc32c::crc32c(tensor));
        }
        put(header, 12, crc32c::crc32c(body));
    }
    if kind.is_err() {
        header[..4].copy_from_slice(&MAGIC);
    }
    let header_crc = crc32c::crc32c(&header[..16]);
    put(header, 16, header_crc);
}

fn put(bytes: &mut [u8], at: usize, number: u32) {
    bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
}
