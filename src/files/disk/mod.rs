//! The file operations that a run needs, on the operating system's disk or on a disk that tests
//! break.
//!
//! | file | content |
//! |---|---|
//! | `interface` | the [`Disk`] trait, its errors, and [`Publication`], which makes a file appear completely or not at all |
//! | `real_disk` | [`RealDisk`], the operating system's files by their paths |
//! | `logdir_disk` | [`LogdirDisk`], the files of one open folder, even after its path was moved |
//! | [`lines`] | a file that grows by whole lines; a line that a crash tore is cut off |
//! | `lock` | [`LogdirLock`], which keeps other processes out of a logdir |
//! | `folders` | creates folders and makes their entries durable |
//! | `regular` | opens regular files and nothing else |
//! | `test_disk` | a disk in memory that crashes and fails at the operation that a test chooses; see `testing` |

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
