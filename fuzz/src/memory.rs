//! Limits the memory of a fuzz target. A short input must not get much memory, whatever lengths it
//! announces.

/// Memory that any input may take, in bytes. Serde allocates up to a megabyte for the announced
/// length of a list. Lists may be nested, and a growing list exists twice for a moment.
const LEAST: u64 = 4 << 20;

/// Further memory per byte of input, in bytes. Gzip expands a byte to up to a thousand.
const PER_BYTE: u64 = 4 << 10;

/// Runs a target, and returns whether the target accepted the input.
///
/// # Panics
/// If the target allocates more memory at a time than the limit for the length of the input.
pub(crate) fn bounded(target: fn(&[u8]) -> bool, bytes: &[u8]) -> bool {
    let mut taken = false;
    let used = allocation_counter::measure(|| taken = target(bytes)).bytes_max;
    let allowed = LEAST + PER_BYTE * bytes.len() as u64;
    assert!(used <= allowed, "{} bytes of input took {used} of memory", bytes.len());
    taken
}
