//! Creates folders durably, and recognises two obstacles: a file system that cannot sync a folder,
//! and a symbolic link whose target does not exist.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// Returns whether an error means that the file system does not support the operation. For example,
/// old CIFS, DrvFs and vboxsf cannot sync a directory.
fn is_unsupported(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP))
}

/// Makes the names in an open directory durable, if the file system can sync a directory.
///
/// An unsupported sync counts as a success, because a retry cannot help. The chief warns once about
/// such a file system, when it opens the logdir (see [`unsupported_sync`]).
pub(super) fn sync(dir: &File) -> io::Result<()> {
    match dir.sync_all() {
        Err(error) if is_unsupported(&error) => Ok(()),
        synced => synced,
    }
}

/// Returns the error of syncing a directory, if the file system cannot sync a directory.
///
/// On such a file system, names in the directory may not be durable when
/// [`Disk::sync_dir`](crate::disk::Disk::sync_dir) returns.
#[must_use]
pub fn unsupported_sync(dir: &Path) -> Option<io::Error> {
    File::open(dir).ok()?.sync_all().err().filter(is_unsupported)
}

/// A symbolic link to a missing target, at or above a directory that is to be created.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is a symbolic link to {}, which does not exist", link.display(), target.display())]
pub struct DanglingLink {
    link: PathBuf,
    target: PathBuf,
}

impl DanglingLink {
    /// Returns the symbolic link that prevents `dir` from being created, if any. The symbolic link
    /// is `dir` itself or one of its parents.
    #[must_use]
    pub fn above(dir: &Path) -> Option<Self> {
        let link = dir.ancestors().find(|above| above.symlink_metadata().is_ok())?;
        let is_dangling = link.metadata().is_err_and(|error| error.kind() == ErrorKind::NotFound);
        let target = link.read_link().ok().filter(|_| is_dangling)?;
        Some(Self { link: link.to_owned(), target })
    }
}

impl From<DanglingLink> for io::Error {
    fn from(link: DanglingLink) -> Self {
        Self::new(ErrorKind::NotFound, link)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::disk::{Disk as _, RealDisk, check_writable};

    #[test]
    fn dangling_link_on_the_way_to_a_logdir_is_named_with_its_target() {
        let dir = tempfile::tempdir().unwrap();
        let (link, target) = (dir.path().join("link"), dir.path().join("nowhere"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        for logdir in [link.clone(), link.join("run")] {
            assert_eq!(
                check_writable(&RealDisk, &logdir).unwrap_err().to_string(),
                format!(
                    "cannot create the logdir {}: {} is a symbolic link to {}, which does not exist; \
                     create the missing folder, or choose another --logdir",
                    logdir.display(),
                    link.display(),
                    target.display()
                )
            );
        }
        fs::create_dir(&target).unwrap();
        check_writable(&RealDisk, &link.join("run")).unwrap();
        assert!(target.join("run").is_dir());
    }

    #[test]
    fn failed_folder_sync_is_ignored_only_if_the_operation_is_unsupported() {
        let errors = [Errno::INVAL, Errno::OPNOTSUPP, Errno::NOSYS, Errno::IO, Errno::ACCESS];
        let counts = errors.map(|errno| is_unsupported(&errno.into()));
        assert_eq!(counts, [true, true, true, false, false]);
        let dir = tempfile::tempdir().unwrap();
        assert!(unsupported_sync(dir.path()).is_none());
        if cfg!(target_os = "linux") {
            // Directories of procfs cannot be synced, and every Linux has procfs.
            let procfs = Path::new("/proc");
            RealDisk.sync_dir(procfs).unwrap();
            assert!(unsupported_sync(procfs).is_some());
        }
    }
}
