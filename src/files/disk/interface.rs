//! The [`Disk`] trait, and [`Publication`], which writes a file so that the file appears completely
//! or not at all.
//!
//! Checkpoints and losses use only the file operations of [`Disk`], so tests and the simulator can
//! replace every operation.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::regular::NotRegular;

/// The file operations that a run needs. Every call blocks until the operation is done.
///
/// The content of a file is durable after [`Self::sync`]. A name that was created, moved or removed
/// is durable after [`Self::sync_dir`]. Without these syncs, a crash may undo operations in any
/// order.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Creates a directory and its parents durably. Succeeds if the directory already exists.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Returns the names in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Returns the content of a file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Returns the length of a file, and the last `n` bytes. Returns all bytes if the file has
    /// fewer than `n`.
    fn read_end(&self, path: &Path, n: u64) -> io::Result<(u64, Vec<u8>)> {
        let mut bytes = self.read(path)?;
        let len = bytes.len() as u64;
        let from = usize::try_from(len.saturating_sub(n)).expect("it is within the bytes");
        Ok((len, bytes.split_off(from)))
    }
    /// Returns the first `n` bytes of a file. Returns all bytes if the file has fewer than `n`.
    fn read_start(&self, path: &Path, n: u64) -> io::Result<Vec<u8>> {
        let mut bytes = self.read(path)?;
        bytes.truncate(usize::try_from(n).unwrap_or(usize::MAX));
        Ok(bytes)
    }
    /// Returns the identity and the length of the file that is now at `path`.
    fn stamp(&self, path: &Path) -> io::Result<Stamp>;
    /// Creates or truncates a file, and writes `bytes` as its content.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Appends `bytes` to an existing file.
    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Opens a file for many appends. Creates an empty file if the file does not exist.
    ///
    /// The operating system's disk locks the file as long as the appender exists, so that a file
    /// has only one appender at a time.
    fn open_end(&self, path: &Path) -> io::Result<Box<dyn Appender>>;
    /// Truncates a file to its first `len` bytes.
    fn truncate(&self, path: &Path, len: u64) -> io::Result<()>;
    /// Makes the content of a file durable.
    fn sync(&self, path: &Path) -> io::Result<()>;
    /// Renames a file atomically. Replaces a file that already exists at `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// Identity and length of a file. If two stamps of the same path have different identities, another
/// file has taken over the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Inode number of the file. After a file is removed, a later file may get the same number.
    pub file: u64,
    /// Length of the file, in bytes.
    pub len: u64,
}

/// A file that is open for appending.
pub trait Appender: fmt::Debug + Send {
    /// Appends `bytes` with one write, if the operating system accepts all of them at once.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Returns the identity and the length of the open file.
    ///
    /// # Errors
    /// If the file is no longer at the path at which it was opened, because readers would not find
    /// the appended bytes.
    fn stamp(&self) -> io::Result<Stamp>;
    /// Truncates the file to its first `len` bytes.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Makes the content durable.
    fn sync(&self) -> io::Result<()>;
}

/// An appender for a disk whose operations identify a file only by its path.
#[derive(Debug)]
pub struct NamedEnd<D> {
    disk: D,
    path: PathBuf,
}

impl<D: Disk> NamedEnd<D> {
    /// Opens the file at `path` for appending. Creates an empty file if the file does not exist.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn open(disk: D, path: &Path) -> io::Result<Self> {
        match disk.stamp(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => disk.write(path, b"")?,
            stamp => stamp.map(|_| ())?,
        }
        Ok(Self { disk, path: path.to_owned() })
    }
}

impl<D: Disk> Appender for NamedEnd<D> {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.disk.append(&self.path, bytes)
    }

    fn stamp(&self) -> io::Result<Stamp> {
        self.disk.stamp(&self.path)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.disk.truncate(&self.path, len)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync(&self.path)
    }
}

/// A file operation that the operating system refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}; {}", path.display(), remedy(.source))]
pub struct DiskError {
    /// Attempted operation, as a verb: "cannot {action} {path}".
    pub action: &'static str,
    /// File or folder that the operation was applied to.
    pub path: PathBuf,
    /// Error of the operating system.
    pub source: io::Error,
}

impl DiskError {
    /// Returns a function that adds the operation and the path to an error of the operating system.
    pub fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { action, path: path.to_owned(), source }
    }
}

fn remedy(error: &io::Error) -> &'static str {
    let cause = error.get_ref();
    if cause.is_some_and(|cause| cause.is::<Displaced>()) {
        return "move it back, or stop this run";
    }
    if cause.is_some_and(|cause| cause.is::<NotRegular>()) {
        return "move it away, or choose another --logdir";
    }
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "free some space there, or choose another --logdir"
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "make it accessible to this user, or choose another --logdir"
        }
        ErrorKind::ResourceBusy => {
            "stop that process first, even if it is paused, or choose another --logdir"
        }
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists | ErrorKind::IsADirectory => {
            "another kind of file is at this path: choose another --logdir"
        }
        ErrorKind::NotFound => "create the missing folder, or choose another --logdir",
        _ => "check the disk, or choose another --logdir",
    }
}

/// Checks that a logdir exists or can be created, and that files can be written in it.
///
/// # Errors
/// If the check fails. The error's text is one line for the user.
pub fn check_writable(disk: &dyn Disk, logdir: &Path) -> Result<(), DiskError> {
    disk.create_dir(logdir).map_err(DiskError::at("create the logdir", logdir))?;
    let probe = logdir.join(format!("{WRITE_CHECK}{TEMPORARY}"));
    disk.write(&probe, b"This file can be removed.\n")
        .and_then(|()| disk.sync(&probe))
        .and_then(|()| disk.remove(&probe))
        .map_err(DiskError::at("write in the logdir", logdir))
}

/// Suffix of a file that is not published yet. Readers ignore such files.
pub(crate) const TEMPORARY: &str = ".tmp";

/// Name of the file that [`check_writable`] writes and removes.
pub(crate) const WRITE_CHECK: &str = "write-check";

/// A file to be published: its name, directory and content.
#[derive(Clone, Copy, Debug)]
pub struct Publication<'a> {
    /// Directory of the file.
    pub dir: &'a Path,
    /// Final name of the file in `dir`.
    pub name: &'a str,
    /// Name of the writer, which is part of the temporary file's name. Two writers of the same file
    /// thus have different temporary files.
    pub writer: &'a str,
    /// Content of the file.
    pub bytes: &'a [u8],
}

impl Publication<'_> {
    /// Writes the file under a temporary name, makes it durable, and renames it to its final name.
    ///
    /// At any moment, and after any crash, the final name refers to the complete old file or the
    /// complete new file. Returns the path of the file.
    ///
    /// # Errors
    /// If the disk refuses an operation. The final name then refers to the unchanged old file or to
    /// the complete new file.
    pub fn publish(&self, disk: &dyn Disk) -> Result<PathBuf, DiskError> {
        let temporary = self.dir.join(format!("{}.{}{TEMPORARY}", self.name, self.writer));
        let path = self.dir.join(self.name);
        let result = self.write_and_move(disk, &temporary, &path);
        if result.is_err() {
            // The temporary file is removed to free its space. If that fails, the next process that
            // opens the directory removes it.
            let _ = disk.remove(&temporary);
        }
        result.map(|()| path)
    }

    fn write_and_move(&self, disk: &dyn Disk, temp: &Path, path: &Path) -> Result<(), DiskError> {
        disk.write(temp, self.bytes).map_err(DiskError::at("write", temp))?;
        disk.sync(temp).map_err(DiskError::at("sync", temp))?;
        disk.rename(temp, path).map_err(DiskError::at("rename a new file to", path))?;
        disk.sync_dir(self.dir).map_err(DiskError::at("sync the directory", self.dir))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::disk::test_disk::TestDisk;
    use crate::disk::{RealDisk, test_disk};

    /// Checks the behaviour on which callers of a disk rely. `disk` must not inject faults.
    fn keeps_what_is_written(disk: &dyn Disk, dir: &Path) {
        let path = dir.join("file");
        disk.write(&path, b"some").unwrap();
        disk.append(&path, b" bytes").unwrap();
        disk.open_end(&path).unwrap().append(b"!").unwrap();
        assert_eq!(disk.read(&path).unwrap(), b"some bytes!");
        assert_eq!(disk.read_end(&path, 6).unwrap(), (11, b"bytes!".to_vec()));
        assert_eq!(disk.read_end(&path, 99).unwrap(), (11, b"some bytes!".to_vec()));
        assert_eq!(disk.read_start(&path, 6).unwrap(), b"some b");
        assert_eq!(disk.read_start(&path, 99).unwrap(), b"some bytes!");
        disk.truncate(&path, 4).unwrap();
        assert_eq!(disk.read(&path).unwrap(), b"some");

        let stamp = disk.stamp(&path).unwrap();
        assert_eq!(stamp.len, 4);
        disk.append(&path, b"!").unwrap();
        assert_eq!(disk.stamp(&path).unwrap(), Stamp { len: 5, ..stamp });
        let other = dir.join("other");
        disk.write(&other, b"other").unwrap();
        disk.rename(&other, &path).unwrap();
        assert_ne!(disk.stamp(&path).unwrap().file, stamp.file);
        assert_eq!(disk.stamp(&other).unwrap_err().kind(), ErrorKind::NotFound);

        let appended = dir.join("appended");
        let mut end = disk.open_end(&appended).unwrap();
        end.append(b"abc").unwrap();
        end.truncate(1).unwrap();
        end.append(b"d").unwrap();
        end.sync().unwrap();
        assert_eq!(disk.read(&appended).unwrap(), b"ad");
        assert_eq!(end.stamp().unwrap(), disk.stamp(&appended).unwrap());
        disk.remove(&appended).unwrap();
        end.stamp().unwrap_err();
    }

    #[test]
    fn files_keep_written_and_appended_bytes_until_truncated() {
        let dir = tempfile::tempdir().unwrap();
        keeps_what_is_written(&RealDisk, dir.path());
        keeps_what_is_written(&TestDisk::new(test_disk::Bug::None, None), Path::new("/dir"));
    }

    #[test]
    fn syncing_a_missing_file_fails() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        assert!(RealDisk.sync(&missing).is_err());
        assert!(RealDisk.sync_dir(&missing).is_err());
    }

    #[test]
    fn error_names_a_remedy_for_its_kind() {
        let remedy = |kind: ErrorKind| {
            let text = DiskError::at("write", Path::new("file"))(kind.into()).to_string();
            text.split_once("; ").unwrap().1.to_owned()
        };
        assert!(remedy(ErrorKind::StorageFull).starts_with("free some space"));
        assert!(remedy(ErrorKind::PermissionDenied).starts_with("make it accessible"));
        assert!(remedy(ErrorKind::ReadOnlyFilesystem).starts_with("make it accessible"));
        assert!(remedy(ErrorKind::IsADirectory).starts_with("another kind of file"));
        assert!(remedy(ErrorKind::NotFound).starts_with("create the missing folder"));
        assert!(remedy(ErrorKind::Other).starts_with("check the disk"));
    }

    #[test]
    fn unwritable_logdir_is_reported_in_one_line_with_path_reason_and_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let logdir = file.join("logdir");
        let error = check_writable(&RealDisk, &logdir).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "cannot create the logdir {}: Not a directory (os error 20); another kind of file \
                 is at this path: choose another --logdir",
                logdir.display()
            )
        );
    }

    #[test]
    fn check_writable_creates_the_logdir_and_leaves_it_empty() {
        let dir = tempfile::tempdir().unwrap();
        let logdir = dir.path().join("a/b");
        check_writable(&RealDisk, &logdir).unwrap();
        assert_eq!(RealDisk.list(&logdir).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn publishing_replaces_the_old_file_and_leaves_no_temporary_file() {
        let dir = tempfile::tempdir().unwrap();
        for bytes in [b"old".as_slice(), b"new"] {
            Publication { dir: dir.path(), name: "file", writer: "w", bytes }
                .publish(&RealDisk)
                .unwrap();
        }
        assert_eq!(RealDisk.list(dir.path()).unwrap(), ["file"]);
        assert_eq!(fs::read(dir.path().join("file")).unwrap(), b"new");
    }
}

/// The error that an open file or folder is no longer at the path at which it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Displaced {
    #[error("the logdir was moved, removed or replaced since this run opened it")]
    Logdir,
    #[error("the file was moved, removed or replaced since it was opened")]
    File,
}
