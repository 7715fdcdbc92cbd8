//! Limits of the network that the production host and the simulator share.
//!
//! If only one of the two hosts had a limit, a test in the simulator would not show how production
//! behaves.

use std::time::Duration;

use crate::protocol::PUSH_WINDOW;
use crate::wire::MAX_CONTROL_BYTES;

/// The maximum number of frames of the largest size that may wait on one link in one direction.
///
/// A correct task stays below this limit. At most a window of pushes and a restored state wait to
/// be sent to a ps. At most the versions that answer a window of pushes, and a captured state, wait
/// to be sent to a worker. A longer queue means that the peer does not read.
pub const MAX_QUEUED_FRAMES: usize = 2 * PUSH_WINDOW;

/// The maximum number of accepted links of one task at a time. A task raises its soft limit of open
/// files to the hard limit, which is at least 4,096 on common systems. The task needs up to 64 of
/// these files for other purposes.
pub const MAX_LINKS: usize = 4_032;

/// The time limit for writing the queued messages of a closed link. Messages that are still queued
/// after this time are lost.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The limit on the number of bytes that wait on one link in one direction.
#[derive(Clone, Copy, Debug, Default)]
pub struct QueueLimit {
    /// The size of the largest frame so far, in bytes.
    largest: usize,
}

/// The error for a peer that does not read from its link: the number of bytes that wait for the
/// peer exceeds the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the other end does not read: {waiting} bytes wait for it, but the limit is {limit}")]
pub struct QueueFull {
    waiting: usize,
    limit: usize,
}

impl QueueFull {
    /// Returns whether a link was closed because of this error. `why` is the reason for the
    /// closure, as text.
    #[must_use]
    pub fn is_reason(why: &str) -> bool {
        why.starts_with("the other end does not read")
    }
}

impl QueueLimit {
    /// Checks the limit after a frame of `n_bytes` was added to the queue. `waiting` is the number
    /// of bytes in the queue, including the added frame.
    ///
    /// # Errors
    /// Returns an error if the peer cannot be reading.
    pub const fn check(&mut self, n_bytes: usize, waiting: usize) -> Result<(), QueueFull> {
        if n_bytes > self.largest {
            self.largest = n_bytes;
        }
        let limit = MAX_QUEUED_FRAMES * self.largest + MAX_CONTROL_BYTES;
        if waiting > limit { Err(QueueFull { waiting, limit }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_takes_eight_frames_of_the_largest_size_and_one_control_part() {
        let mut limit = QueueLimit::default();
        let frame = 1 << 20;
        let most = 8 * frame + MAX_CONTROL_BYTES;
        assert_eq!(limit.check(frame, most), Ok(()));
        let full = limit.check(10, most + 1).unwrap_err();
        assert_eq!(full, QueueFull { waiting: most + 1, limit: most });
        assert!(QueueFull::is_reason(&full.to_string()));
        assert_eq!(limit.check(2 * frame, most + 1), Ok(()), "a larger frame needs more room");
    }

    /// Constants that are not limits.
    const NO_LIMITS: [&str; 3] =
        ["protocol/message::PROTOCOL_VERSION", "wire::HEADER_BYTES", "wire::ENTRY_BYTES"];

    /// Returns, for each constant of a source file, the first two columns of the constant's row in
    /// `limits.md`. Ignores the constants of tests.
    fn constants(module: &str, source: &str) -> Vec<String> {
        let code = source.split("#[cfg(test)]").next().unwrap_or_default();
        let constant = |line: &str| {
            let (_, rest) = line.trim_start().split_once("const ")?;
            let (name, rest) = rest.split_once(": ")?;
            let (kind, value) = rest.strip_suffix(';')?.split_once(" = ")?;
            let is_number = ["usize", "u32", "u64", "Duration"].contains(&kind);
            let name = format!("{module}::{name}");
            (is_number && !NO_LIMITS.contains(&name.as_str()))
                .then(|| format!("| `{name}` | `{value}` |"))
        };
        code.lines().filter_map(constant).collect()
    }

    fn all_constants(folder: &std::path::Path, module: &str, found: &mut Vec<String>) {
        let mut entries: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                // The folder `security` is left out, because docs/security.md lists its sizes of
                // keys and records.
                if name != "security" {
                    all_constants(&path, &format!("{module}/{name}"), found);
                }
            } else if !["tests", "config"].contains(&name.as_str()) {
                let source = std::fs::read_to_string(&path).unwrap();
                found.extend(constants(&format!("{module}/{name}"), &source));
            }
        }
    }

    #[test]
    fn document_lists_every_limit_of_the_host_with_its_value() {
        let root = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
        let mut expected = Vec::new();
        for (folder, name) in
            [("core/host", "host"), ("net/tcp", "tcp"), ("core/protocol", "protocol")]
        {
            all_constants(&root.join("src").join(folder), name, &mut expected);
        }
        let wire = std::fs::read_to_string(root.join("src/core/wire.rs")).unwrap();
        expected.extend(constants("wire", &wire));
        let document = std::fs::read_to_string(root.join("sim/src/world/limits.md")).unwrap();
        let rows: Vec<_> = document.lines().filter(|line| line.contains("::")).collect();
        for row in &expected {
            let is_listed = rows.iter().any(|line| line.starts_with(row));
            assert!(is_listed, "sim/src/world/limits.md lacks {row}");
        }
        let listed = rows.iter().filter(|line| line.starts_with("| `")).count();
        assert_eq!(listed, expected.len(), "a listed limit is not in the code: {expected:#?}");
    }
}
