//! No few bytes get much memory, whatever lengths they announce.

/// What any input may take: serde believes the length of a list for a megabyte, lists are in lists,
/// and one that grows counts twice meanwhile.
const LEAST: u64 = 4 << 20;

/// What each byte of an input may take besides: gzip makes a thousand out of one.
const PER_BYTE: u64 = 4 << 10;

/// Runs a target; whether it took the bytes.
///
/// # Panics
/// If the target held more memory at a time than the bytes are worth.
pub(crate) fn bounded(target: fn(&[u8]) -> bool, bytes: &[u8]) -> bool {
    let mut taken = false;
    let used = allocation_counter::measure(|| taken = target(bytes)).bytes_max;
    let allowed = LEAST + PER_BYTE * bytes.len() as u64;
    assert!(used <= allowed, "{} bytes of input took {used} of memory", bytes.len());
    taken
}
