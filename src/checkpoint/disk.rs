//! The few file operations that checkpoints and losses are made of, so that tests and the
//! simulator can own every one of them, and the way in which a file is published whole.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::planted::{Bug, is_planted};

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
    /// Makes a file, or empties the one that is there, and writes it.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Writes behind the end of a file that is there.
    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// Opens a file that is there, to write behind its end many times.
    fn open_end(&self, path: &Path) -> io::Result<Box<dyn Write + Send>>;
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

/// The end of a file on a disk that knows files by their names alone.
#[derive(Debug)]
pub struct NamedEnd<D> {
    disk: D,
    path: PathBuf,
}

impl<D: Disk> NamedEnd<D> {
    /// That of a file which is there.
    pub fn new(disk: D, path: &Path) -> Self {
        Self { disk, path: path.to_owned() }
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

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let missing: Vec<&Path> = dir
            .ancestors()
            .take_while(|ancestor| !ancestor.as_os_str().is_empty() && !ancestor.exists())
            .collect();
        if let Some(link) = DanglingLink::above(dir) {
            return Err(link.into());
        }
        fs::create_dir_all(dir)?;
        // A checkpoint is no more durable than the name of the directory that it is in.
        missing.into_iter().try_for_each(|made| self.sync_name(made))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            // A name that is not UTF-8 is none of ours.
            names.extend(entry?.file_name().into_string());
        }
        names.sort();
        Ok(names)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn read_end(&self, path: &Path, n: u64) -> io::Result<(u64, Vec<u8>)> {
        let mut file = File::open(path)?;
        let len = file.metadata()?.len();
        file.seek(SeekFrom::Start(len.saturating_sub(n)))?;
        let mut end = Vec::new();
        file.take(n).read_to_end(&mut end)?;
        Ok((len, end))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        File::create(path)?.write_all(bytes)
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        OpenOptions::new().append(true).open(path)?.write_all(bytes)
    }

    fn open_end(&self, path: &Path) -> io::Result<Box<dyn Write + Send>> {
        Ok(Box::new(OpenOptions::new().append(true).open(path)?))
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(path)?.set_len(len)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        OpenOptions::new().write(true).open(path)?.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        if !cfg!(unix) {
            // Elsewhere a directory cannot be opened, and renaming is durable by itself.
            return Ok(());
        }
        match File::open(dir)?.sync_all() {
            // The file system has no such operation, so a retry cannot help. The chief warns of
            // it once, when it opens the logdir (`unsupported_sync`).
            Err(error) if is_unsupported(&error) => Ok(()),
            synced => synced,
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

impl RealDisk {
    /// Makes the name of a directory that was just made durable.
    fn sync_name(&self, made: &Path) -> io::Result<()> {
        match made.parent().map(|parent| self.sync_dir(parent)) {
            // A parent that may be written but not listed (mode 1733, the scratch folders of some
            // clusters) cannot be opened, hence not synced. The sync of a new directory writes its
            // name as well on ext4, XFS and Btrfs, and elsewhere nothing better is at hand.
            Some(Err(error)) if error.kind() == ErrorKind::PermissionDenied => self.sync_dir(made),
            Some(synced) => synced,
            None => Ok(()),
        }
    }
}

/// Whether the file system lacks the operation, as old CIFS, DrvFs and vboxsf lack the sync of a
/// directory.
fn is_unsupported(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP))
}

/// The error of the sync of a directory, if its file system lacks the operation; then names in the
/// directory need not be durable when [`Disk::sync_dir`] returns.
#[must_use]
pub fn unsupported_sync(dir: &Path) -> Option<io::Error> {
    File::open(dir).ok()?.sync_all().err().filter(is_unsupported)
}

/// A symbolic link on the way to a directory, whose target does not exist.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is a symbolic link to {}, which does not exist", link.display(), target.display())]
pub struct DanglingLink {
    link: PathBuf,
    target: PathBuf,
}

impl DanglingLink {
    /// The link that keeps a directory from being made, if there is one: the directory itself or
    /// one of its parents.
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
    pub(crate) fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { action, path: path.to_owned(), source }
    }
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "free some space there, or choose another --logdir"
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            "make it accessible to this user, or choose another --logdir"
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
pub(crate) struct Publication<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) name: &'a str,
    /// Keeps two writers of the same name apart until one of them publishes.
    pub(crate) writer: &'a str,
    pub(crate) bytes: &'a [u8],
}

impl Publication<'_> {
    /// Writes the file beside its place, and moves it there once it is durable: under its name
    /// there is, at any moment and after any crash, the whole old file or the whole new one.
    pub(crate) fn publish(&self, disk: &dyn Disk) -> Result<PathBuf, DiskError> {
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
    use super::*;
    use crate::checkpoint::test_disk::{self, TestDisk};

    /// What its callers rely on, of a disk on which nothing fails.
    fn keeps_what_is_written(disk: &dyn Disk, dir: &Path) {
        let path = dir.join("file");
        disk.write(&path, b"some").unwrap();
        disk.append(&path, b" bytes").unwrap();
        disk.open_end(&path).unwrap().write_all(b"!").unwrap();
        assert_eq!(disk.read(&path).unwrap(), b"some bytes!");
        assert_eq!(disk.read_end(&path, 6).unwrap(), (11, b"bytes!".to_vec()));
        assert_eq!(disk.read_end(&path, 99).unwrap(), (11, b"some bytes!".to_vec()));
        disk.truncate(&path, 4).unwrap();
        assert_eq!(disk.read(&path).unwrap(), b"some");
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
    fn dangling_link_on_the_way_to_a_logdir_is_named_with_its_target() {
        let dir = tempfile::tempdir().unwrap();
        let (link, target) = (dir.path().join("link"), dir.path().join("nowhere"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        for logdir in [link.clone(), link.join("run")] {
            assert_eq!(
                check_writable(&RealDisk, &logdir).unwrap_err().to_string(),
                format!(
                    "cannot make the logdir {}: {} is a symbolic link to {}, which does not exist; \
                     make the missing folder, or choose another --logdir",
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
    fn only_a_missing_operation_counts_as_a_folder_that_cannot_be_synced() {
        let errors = [Errno::INVAL, Errno::OPNOTSUPP, Errno::NOSYS, Errno::IO, Errno::ACCESS];
        let counts = errors.map(|errno| is_unsupported(&errno.into()));
        assert_eq!(counts, [true, true, true, false, false]);
        let dir = tempfile::tempdir().unwrap();
        assert!(unsupported_sync(dir.path()).is_none());
        if cfg!(target_os = "linux") {
            // A file system without this operation that every Linux has.
            let procfs = Path::new("/proc");
            RealDisk.sync_dir(procfs).unwrap();
            assert!(unsupported_sync(procfs).is_some());
        }
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
