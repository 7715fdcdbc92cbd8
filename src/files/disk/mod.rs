//! The file operations that a run needs, on the operating system's disk or on one that tests break.

pub mod disk;
pub mod folders;
pub mod lines;
pub mod lock;
pub mod logdir_disk;
pub mod real_disk;
mod regular;
#[cfg(any(test, fuzzing, feature = "testing"))]
pub(crate) mod test_disk;

pub use disk::{Appender, Disk, DiskError, NamedEnd, Stamp, check_writable};
pub use lock::{LockedBy, LogdirLock};
pub use real_disk::RealDisk;
