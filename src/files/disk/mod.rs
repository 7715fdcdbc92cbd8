//! The file operations that a run needs, on the operating system's disk or on a simulated disk that
//! crashes and fails.
//!
//! | file | content |
//! |---|---|
//! | `interface` | the [`Disk`] trait, its errors, and [`Publication`], which makes a file appear completely or not at all |
//! | `real_disk` | [`RealDisk`], the operating system's files, accessed by path |
//! | `logdir_disk` | [`LogdirDisk`], the files of an open folder; operations fail while the folder is not at its path |
//! | [`lines`] | a file that grows by whole lines; an open cuts off a last line that a crash has torn |
//! | `lock` | [`LogdirLock`], which keeps other processes out of a logdir |
//! | `folders` | creates folders and makes their entries durable |
//! | `regular` | opens regular files and nothing else |
//! | `test_disk` | a disk in memory that crashes or fails at an operation that a test chooses; see `testing` |

mod folders;
mod interface;
pub mod lines;
mod lock;
mod logdir_disk;
mod real_disk;
mod regular;
#[cfg(any(test, fuzzing, feature = "testing"))]
#[path = "../../../tests/unit/test_disk.rs"]
pub(crate) mod test_disk;

pub use folders::{DanglingLink, unsupported_sync};
pub use interface::{Appender, Disk, DiskError, NamedEnd, Publication, Stamp, check_writable};
pub(crate) use interface::{Displaced, TEMPORARY, WRITE_CHECK};
pub use lock::{LockError, LockedBy, LogdirLock};
pub use logdir_disk::LogdirDisk;
pub use real_disk::RealDisk;
