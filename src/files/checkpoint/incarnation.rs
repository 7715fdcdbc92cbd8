//! The file in which a chief records its incarnation.
//!
//! Because of this record, every later chief of the logdir takes a larger incarnation, even if a
//! clock is set back. Two chiefs with the same incarnation could open two generations with the same
//! name. A worker would then mistake the later generation for the earlier generation, to which the
//! worker has already pushed its gradients.

use std::path::Path;

use crate::disk::{Disk, DiskError, Publication};
use unisono_core::ids::Incarnation;

/// Name of the file in a logdir that holds the incarnation of the last chief, as a decimal number.
pub const INCARNATION_FILE: &str = "incarnation";

/// Maximum number of bytes to read from the file. An incarnation has fewer digits. The limit
/// matters if another program has written a long file.
const MAX_BYTES: u64 = 32;

/// Returns the incarnation of the last chief of a logdir; `None` if the file is missing or damaged.
#[must_use]
pub fn last_incarnation(disk: &dyn Disk, logdir: &Path) -> Option<Incarnation> {
    let bytes = disk.read_start(&logdir.join(INCARNATION_FILE), MAX_BYTES).ok()?;
    std::str::from_utf8(&bytes).ok()?.trim().parse().ok().map(Incarnation)
}

/// Records the incarnation of a chief durably. Call this function before the chief's node starts.
///
/// # Errors
/// If the operating system refuses.
pub fn record_incarnation(
    disk: &dyn Disk,
    logdir: &Path,
    incarnation: Incarnation,
) -> Result<(), DiskError> {
    let (writer, bytes) = (incarnation.to_string(), format!("{incarnation}\n"));
    let name = INCARNATION_FILE;
    Publication { dir: logdir, name, writer: &writer, bytes: bytes.as_bytes() }.publish(disk)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn last_recorded_incarnation_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let last = || last_incarnation(&RealDisk, dir.path());
        assert_eq!(last(), None);
        for incarnation in [7, 1 << 53, 12].map(Incarnation) {
            record_incarnation(&RealDisk, dir.path(), incarnation).unwrap();
            assert_eq!(last(), Some(incarnation));
        }
        for damaged in ["", "-1", "12a", "18446744073709551616"] {
            std::fs::write(dir.path().join(INCARNATION_FILE), damaged).unwrap();
            assert_eq!(last(), None, "{damaged:?}");
        }
    }
}
