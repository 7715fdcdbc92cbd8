//! The operating system's files, accessed by path.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fd::BorrowedFd;
use rustix::fs::{AtFlags, CWD, OFlags, renameat, statat, unlinkat};
use rustix::io::{Errno, retry_on_intr};

use super::folders::{self, DanglingLink};
use super::interface::{Appender, Disk, Stamp};
use super::lock;
use super::regular;
use crate::disk::Displaced;

/// The operating system's files, accessed by path.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl RealDisk {
    /// Opens a regular file for reading. Symbolic links are not followed.
    ///
    /// # Errors
    /// If the file does not exist, is not a regular file, or cannot be read.
    pub fn open_to_read(path: &Path) -> io::Result<File> {
        Self.open(path, OFlags::RDONLY)
    }

    /// Makes the name of a new directory durable in its parent.
    fn sync_name(&self, made: &Path) -> io::Result<()> {
        match made.parent().map(|parent| self.sync_dir(parent)) {
            // Some clusters have scratch folders that may be written but not listed (mode 1733).
            // Such a parent cannot be opened, so it cannot be synced. On ext4, XFS and Btrfs,
            // syncing the new directory also writes its name. Other file systems offer nothing
            // better.
            Some(Err(error)) if error.kind() == ErrorKind::PermissionDenied => self.sync_dir(made),
            Some(synced) => synced,
            None => Ok(()),
        }
    }
}

/// A disk of the operating system that looks up every path relative to an open folder.
pub(super) trait FolderDisk: fmt::Debug + Send + Sync {
    /// Returns the open folder in which to look up a file, and the file's path relative to this
    /// folder.
    fn at<'a>(&'a self, path: &'a Path) -> io::Result<(BorrowedFd<'a>, &'a Path)>;
    /// Does the same as [`Disk::create_dir`].
    fn make_dir(&self, dir: &Path) -> io::Result<()>;
    /// Does the same as [`Disk::list`], in any order.
    fn names(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Does the same as [`Disk::open_end`].
    fn appender(&self, path: &Path) -> io::Result<Box<dyn Appender>>;
    /// Does the same as [`Disk::sync_dir`].
    fn sync_names(&self, dir: &Path) -> io::Result<()>;

    /// Opens a regular file.
    fn open(&self, path: &Path, flags: OFlags) -> io::Result<File> {
        let (dir, name) = self.at(path)?;
        regular::open(dir, name, flags)
    }
}

impl<T: FolderDisk> Disk for T {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.make_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = self.names(dir)?;
        names.sort();
        Ok(names)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.open(path, OFlags::RDONLY)?.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn read_end(&self, path: &Path, n: u64) -> io::Result<(u64, Vec<u8>)> {
        let mut file = self.open(path, OFlags::RDONLY)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(n)))?;
        let mut end = Vec::new();
        file.take(n).read_to_end(&mut end)?;
        Ok((len, end))
    }

    fn read_start(&self, path: &Path, n: u64) -> io::Result<Vec<u8>> {
        let mut start = Vec::new();
        self.open(path, OFlags::RDONLY)?.take(n).read_to_end(&mut start)?;
        Ok(start)
    }

    fn stamp(&self, path: &Path) -> io::Result<Stamp> {
        let (dir, name) = self.at(path)?;
        let stat = retry_on_intr(|| statat(dir, name, AtFlags::SYMLINK_NOFOLLOW))?;
        Ok(Stamp { file: stat.st_ino, len: u64::try_from(stat.st_size).unwrap_or(0) })
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.open(path, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC)?.write_all(bytes)
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.open(path, OFlags::WRONLY | OFlags::APPEND)?.write_all(bytes)
    }

    fn open_end(&self, path: &Path) -> io::Result<Box<dyn Appender>> {
        self.appender(path)
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        self.open(path, OFlags::WRONLY)?.set_len(len)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        self.open(path, OFlags::WRONLY)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let ((old_dir, from), (new_dir, to)) = (self.at(from)?, self.at(to)?);
        Ok(retry_on_intr(|| renameat(old_dir, from, new_dir, to))?)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.sync_names(dir)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let (dir, name) = self.at(path)?;
        Ok(retry_on_intr(|| unlinkat(dir, name, AtFlags::empty()))?)
    }
}

impl FolderDisk for RealDisk {
    fn at<'a>(&'a self, path: &'a Path) -> io::Result<(BorrowedFd<'a>, &'a Path)> {
        Ok((CWD, path))
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        // The missing parents must be found before they are created. Later, nothing shows which
        // names are new and need a sync.
        let missing: Vec<&Path> = dir
            .ancestors()
            .take_while(|ancestor| !ancestor.as_os_str().is_empty() && !ancestor.exists())
            .collect();
        if let Some(link) = DanglingLink::above(dir) {
            return Err(link.into());
        }
        fs::create_dir_all(dir)?;
        // The new names are synced, because a checkpoint is lost if a crash removes the name of its
        // directory.
        missing.into_iter().try_for_each(|made| self.sync_name(made))
    }

    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            // This program only writes names in UTF-8. Other names belong to other programs, and
            // are ignored.
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    }

    fn appender(&self, path: &Path) -> io::Result<Box<dyn Appender>> {
        Ok(Box::new(LockedEnd::open(path)?))
    }

    fn sync_names(&self, dir: &Path) -> io::Result<()> {
        // The parent of a relative path of one component is the empty path.
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        folders::sync(&File::open(dir)?)
    }
}

/// An open file that is locked as long as this value exists, so that no other process appends to
/// the file.
#[derive(Debug)]
struct LockedEnd {
    file: File,
    path: PathBuf,
}

impl LockedEnd {
    fn open(path: &Path) -> io::Result<Self> {
        // The file is not truncated here (no O_TRUNC), because another process may be writing it
        // while this process waits for the lock.
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE;
        let file = RealDisk.open(path, flags)?;
        lock::take_file(&file)?;
        let end = Self { file, path: path.to_owned() };
        // The previous holder of the lock may have replaced the file while this process waited. In
        // that case, `stamp` returns an error.
        end.stamp()?;
        Ok(end)
    }
}

impl Appender for LockedEnd {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    fn stamp(&self) -> io::Result<Stamp> {
        let open = self.file.metadata()?;
        match statat(CWD, &self.path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(named) if (named.st_dev, named.st_ino) == (open.dev(), open.ino()) => {
                Ok(Stamp { file: open.ino(), len: open.len() })
            }
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => Err(Displaced::File.into()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_appender_of_a_file_is_refused_and_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let mut first = RealDisk.open_end(&path).unwrap();
        first.append(b"abc").unwrap();
        let refused = RealDisk.open_end(&path).err().unwrap();
        assert_eq!(refused.kind(), ErrorKind::ResourceBusy);
        assert_eq!(RealDisk.read(&path).unwrap(), b"abc");
        drop(first);
        RealDisk.open_end(&path).unwrap().append(b"d").unwrap();
        assert_eq!(RealDisk.read(&path).unwrap(), b"abcd");
    }

    #[test]
    fn appender_detects_that_its_file_was_moved_or_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let end = RealDisk.open_end(&path).unwrap();
        let moved = dir.path().join("moved");
        RealDisk.rename(&path, &moved).unwrap();
        end.stamp().unwrap_err();
        RealDisk.write(&path, b"").unwrap();
        end.stamp().unwrap_err();
        RealDisk.rename(&moved, &path).unwrap();
        end.stamp().unwrap();
    }
}
