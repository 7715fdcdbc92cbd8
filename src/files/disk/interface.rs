//! The few file operations that checkpoints and losses are made of, so that tests and the
//! simulator can own every one of them, and the way in which a file is published whole.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use super::regular::NotRegular;

use unisono_core::planted::{Bug, is_planted};

/// A file system, as far as it is needed. All calls wait until they are done.
///
/// What was written is durable after [`Self::sync`]; that a name was made, moved or removed is
/// durable after [`Self::sync_dir`]. Before that, a crash may undo it, in any order.
pub trait Disk: fmt::Debug + Send + Sync {
    /// Makes a directory and those above it, durably; it may be there already.
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// The names in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// A whole file.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The length of a file, and its last bytes: `n` of them, or all that there are.
    fn read_end(&self, path: &Path, n: u64) -> io::Result<(u64, Vec<u8>)> {
        let mut bytes = self.read(path)?;
        let len = bytes.len() as u64;
        let from = usize::try_from(len.saturating_sub(n)).expect("it is within the bytes");
        Ok((len, bytes.split_off(from)))
    }
    /// The first bytes of a file: `n` of them, or all that there are.
    fn read_start(&self, path: &Path, n: u64) -> io::Result<Vec<u8>> {
        let mut bytes = self.read(path)?;
        bytes.truncate(usize::try_from(n).unwrap_or(usize::MAX));
        Ok(bytes)
    }
    /// Which file has this name now, and how long the file is.
    fn stamp(&self, path: &Path) -> io::Result<Stamp>;
    /// Makes a file, or empties the one that is there, and writes it.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Writes behind the end of a file that is there.
    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Opens a file to append to it many times, and makes an empty file if there is none. The
    /// operating system's files are locked: a file has one appender at a time.
    fn open_end(&self, path: &Path) -> io::Result<Box<dyn Appender>>;
    /// Cuts a file down to its first `len` bytes.
    fn truncate(&self, path: &Path, len: u64) -> io::Result<()>;
    /// Makes a file's content durable.
    fn sync(&self, path: &Path) -> io::Result<()>;
    /// Moves a file over another, or to a new name, at once.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// Tells a file from another file that has taken over its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The number of the file on its disk: an inode number. A file that was removed may pass its
    /// number on to a later file.
    pub file: u64,
    /// The length of the file in bytes.
    pub len: u64,
}

/// A file that is open for appending.
pub trait Appender: Write + Send {
    /// Which file it is, and how long the file is.
    ///
    /// # Errors
    /// If the file no longer has the name under which it was opened, and then readers would not
    /// find what is appended.
    fn stamp(&self) -> io::Result<Stamp>;
    /// Cuts the file down to its first `len` bytes.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Makes the content durable.
    fn sync(&self) -> io::Result<()>;
}

/// An appender on a disk that knows files by their names alone.
#[derive(Debug)]
pub struct NamedEnd<D> {
    disk: D,
    path: PathBuf,
}

impl<D: Disk> NamedEnd<D> {
    /// The appender of the file at `path`, which is made if there is none.
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

impl<D: Disk> Write for NamedEnd<D> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.disk.append(&self.path, bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<D: Disk> Appender for NamedEnd<D> {
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

/// The operating system would not do something with a file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}; {}", path.display(), remedy(.source))]
pub struct DiskError {
    /// What was tried, as a verb.
    pub action: &'static str,
    /// On what.
    pub path: PathBuf,
    /// What the operating system said.
    pub source: io::Error,
}

impl DiskError {
    /// Says what was tried, and on what, when the operating system answered with an error.
    pub fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { action, path: path.to_owned(), source }
    }
}

fn remedy(error: &io::Error) -> &'static str {
    let cause = error.get_ref();
    if cause.is_some_and(|cause| cause.is::<Displaced>()) {
        return "put it back in its place, or end this run";
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
            "end that process first, even if it is paused, or choose another --logdir"
        }
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists | ErrorKind::IsADirectory => {
            "something else is in its place: choose another --logdir"
        }
        ErrorKind::NotFound => "make the missing folder, or choose another --logdir",
        _ => "look after the disk, or choose another --logdir",
    }
}

/// Makes sure that a logdir is there and that files can be written in it.
///
/// # Errors
/// What the operating system said, as one line for a person.
pub fn check_writable(disk: &dyn Disk, logdir: &Path) -> Result<(), DiskError> {
    disk.create_dir(logdir).map_err(DiskError::at("make the logdir", logdir))?;
    let probe = logdir.join(format!("{WRITE_CHECK}{TEMPORARY}"));
    disk.write(&probe, b"This file can be removed.\n")
        .and_then(|()| disk.sync(&probe))
        .and_then(|()| disk.remove(&probe))
        .map_err(DiskError::at("write in the logdir", logdir))
}

/// How the name of a file ends that is not published yet. Readers ignore it.
pub(crate) const TEMPORARY: &str = ".tmp";

/// What [`check_writable`] writes, for a moment.
pub(crate) const WRITE_CHECK: &str = "write-check";

/// A file to be published.
#[derive(Clone, Copy, Debug)]
pub struct Publication<'a> {
    pub dir: &'a Path,
    pub name: &'a str,
    /// Keeps two writers of the same name apart until one of them publishes.
    pub writer: &'a str,
    pub bytes: &'a [u8],
}

impl Publication<'_> {
    /// Writes the file beside its place, and moves it there once it is durable: under its name
    /// there is, at any moment and after any crash, the whole old file or the whole new one.
    pub fn publish(&self, disk: &dyn Disk) -> Result<PathBuf, DiskError> {
        let temporary = self.dir.join(format!("{}.{}{TEMPORARY}", self.name, self.writer));
        let path = self.dir.join(self.name);
        let result = self.write_and_move(disk, &temporary, &path);
        if result.is_err() {
            // Best effort, to free its space; whoever opens the directory next cleans up too.
            let _ = disk.remove(&temporary);
        }
        result.map(|()| path)
    }

    fn write_and_move(&self, disk: &dyn Disk, temp: &Path, path: &Path) -> Result<(), DiskError> {
        disk.write(temp, self.bytes).map_err(DiskError::at("write", temp))?;
        let is_late = is_planted(Bug::CheckpointRenamedBeforeSync);
        if !is_late && !is_planted(Bug::CheckpointNeverSynced) {
            disk.sync(temp).map_err(DiskError::at("sync", temp))?;
        }
        disk.rename(temp, path).map_err(DiskError::at("rename a new file to", path))?;
        if is_late {
            disk.sync(path).map_err(DiskError::at("sync", path))?;
        }
        if is_planted(Bug::DirectoryNotSynced) {
            return Ok(());
        }
        disk.sync_dir(self.dir).map_err(DiskError::at("sync the directory", self.dir))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::disk::test_disk::TestDisk;
    use crate::disk::{RealDisk, test_disk};

    /// What its callers rely on, of a disk on which nothing fails.
    fn keeps_what_is_written(disk: &dyn Disk, dir: &Path) {
        let path = dir.join("file");
        disk.write(&path, b"some").unwrap();
        disk.append(&path, b" bytes").unwrap();
        disk.open_end(&path).unwrap().write_all(b"!").unwrap();
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
        end.write_all(b"abc").unwrap();
        end.truncate(1).unwrap();
        end.write_all(b"d").unwrap();
        end.sync().unwrap();
        assert_eq!(disk.read(&appended).unwrap(), b"ad");
        assert_eq!(end.stamp().unwrap(), disk.stamp(&appended).unwrap());
        disk.remove(&appended).unwrap();
        end.stamp().unwrap_err();
    }

    #[test]
    fn a_file_has_what_was_written_appended_and_not_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        keeps_what_is_written(&RealDisk, dir.path());
        keeps_what_is_written(&TestDisk::new(test_disk::Bug::None, None), Path::new("/dir"));
    }

    #[test]
    fn what_is_not_there_cannot_be_synced() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        assert!(RealDisk.sync(&missing).is_err());
        assert!(RealDisk.sync_dir(&missing).is_err());
    }

    #[test]
    fn an_error_says_what_to_do_about_its_kind() {
        let remedy = |kind: ErrorKind| {
            let text = DiskError::at("write", Path::new("file"))(kind.into()).to_string();
            text.split_once("; ").unwrap().1.to_owned()
        };
        assert!(remedy(ErrorKind::StorageFull).starts_with("free some space"));
        assert!(remedy(ErrorKind::PermissionDenied).starts_with("make it accessible"));
        assert!(remedy(ErrorKind::ReadOnlyFilesystem).starts_with("make it accessible"));
        assert!(remedy(ErrorKind::IsADirectory).starts_with("something else"));
        assert!(remedy(ErrorKind::NotFound).starts_with("make the missing folder"));
        assert!(remedy(ErrorKind::Other).starts_with("look after the disk"));
    }

    #[test]
    fn an_unwritable_logdir_is_one_line_with_path_reason_and_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let logdir = file.join("logdir");
        let error = check_writable(&RealDisk, &logdir).unwrap_err().to_string();
        assert_eq!(
            error,
            format!(
                "cannot make the logdir {}: Not a directory (os error 20); something else is in \
                 its place: choose another --logdir",
                logdir.display()
            )
        );
    }

    #[test]
    fn a_writable_logdir_is_made_and_left_empty() {
        let dir = tempfile::tempdir().unwrap();
        let logdir = dir.path().join("a/b");
        check_writable(&RealDisk, &logdir).unwrap();
        assert_eq!(RealDisk.list(&logdir).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn published_bytes_replace_the_old_ones_and_leave_nothing_beside() {
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

/// A file or a folder that is open, and is no longer at its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Displaced {
    #[error("the logdir was moved, removed or replaced since this run opened it")]
    Logdir,
    #[error("the file was moved, removed or replaced since it was opened")]
    File,
}
