//! Access to the files of a logdir through the open folder, not by path.
//!
//! A user may move a logdir away and start another run at the same path. The first run must not
//! write into the second run's files, so this disk looks up every name in the open folder. While
//! the folder is not at its path, every operation fails, because readers would not find the files.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fd::BorrowedFd;
use rustix::fs::Dir;

use super::folders;
use super::interface::{Appender, DiskError};
use super::lock::LogdirLock;
use super::real_disk::FolderDisk;
use crate::disk::Displaced;

impl From<Displaced> for io::Error {
    fn from(what: Displaced) -> Self {
        Self::other(what)
    }
}

/// A disk for the files of a logdir. The disk looks up every file name in the open folder of the
/// logdir.
#[derive(Debug)]
pub struct LogdirDisk {
    dir: File,
    path: PathBuf,
    /// Keeps other processes out of the folder.
    _lock: Option<LogdirLock>,
}

impl LogdirDisk {
    /// Opens the folder at `path`. `lock` is the lock of this process or of its parent; `None` if
    /// the file system has no locks.
    pub fn open(path: &Path, lock: Option<LogdirLock>) -> Result<Self, DiskError> {
        let opened = match &lock {
            // The locked folder is used, because another folder may be at the path by now.
            Some(lock) => lock.folder().try_clone(),
            None => File::open(path),
        };
        let dir = opened.map_err(DiskError::at("open the logdir", path))?;
        Ok(Self { dir, path: path.to_owned(), _lock: lock })
    }

    /// Returns the open folder if it is still at its path.
    fn folder(&self) -> io::Result<BorrowedFd<'_>> {
        let own = self.dir.metadata()?;
        match std::fs::metadata(&self.path) {
            // The path may refer to another folder by now, so compare device and inode.
            Ok(found) if (found.dev(), found.ino()) == (own.dev(), own.ino()) => {
                Ok(self.dir.as_fd())
            }
            Ok(_) => Err(Displaced::Logdir.into()),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(Displaced::Logdir.into()),
            Err(error) => Err(error),
        }
    }

    /// Returns the name of a file whose path leads directly into the folder. Any other path is an
    /// error.
    fn name<'a>(&self, path: &'a Path) -> io::Result<&'a Path> {
        let name = path.strip_prefix(&self.path).ok().filter(|name| {
            let mut components = name.components();
            matches!(components.next(), Some(Component::Normal(_))) && components.next().is_none()
        });
        name.ok_or_else(|| ErrorKind::InvalidInput.into())
    }

    fn is_the_folder(&self, dir: &Path) -> io::Result<()> {
        if dir == self.path { Ok(()) } else { Err(ErrorKind::InvalidInput.into()) }
    }
}

impl FolderDisk for LogdirDisk {
    fn at<'a>(&'a self, path: &'a Path) -> io::Result<(BorrowedFd<'a>, &'a Path)> {
        Ok((self.folder()?, self.name(path)?))
    }

    fn make_dir(&self, dir: &Path) -> io::Result<()> {
        self.is_the_folder(dir)?;
        self.folder().map(|_| ())
    }

    fn names(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.is_the_folder(dir)?;
        let mut names = Vec::new();
        for entry in Dir::read_from(self.folder()?)? {
            let entry = entry?;
            // This program only writes names in UTF-8. Other names belong to other programs, and
            // are ignored.
            names.extend(entry.file_name().to_str().ok().map(str::to_owned));
        }
        names.retain(|name| name != "." && name != "..");
        Ok(names)
    }

    /// Always fails. Only the chief uses this disk, and the chief keeps no file open for appending,
    /// because its lock covers the whole folder.
    fn appender(&self, _path: &Path) -> io::Result<Box<dyn Appender>> {
        Err(ErrorKind::Unsupported.into())
    }

    fn sync_names(&self, dir: &Path) -> io::Result<()> {
        self.is_the_folder(dir)?;
        self.folder()?;
        folders::sync(&self.dir)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::disk::Disk as _;

    /// Returns a disk in the folder `run` of a temporary folder.
    fn disk() -> (tempfile::TempDir, LogdirDisk) {
        let dir = tempfile::tempdir().unwrap();
        let logdir = dir.path().join("run");
        fs::create_dir(&logdir).unwrap();
        let disk = LogdirDisk::open(&logdir, None).unwrap();
        (dir, disk)
    }

    #[test]
    fn files_are_visible_at_their_paths() {
        let (dir, disk) = disk();
        let path = |name: &str| dir.path().join("run").join(name);
        disk.write(&path("a"), b"abc").unwrap();
        disk.append(&path("a"), b"def").unwrap();
        disk.truncate(&path("a"), 5).unwrap();
        disk.sync(&path("a")).unwrap();
        disk.write(&path("b"), b"b").unwrap();
        disk.rename(&path("a"), &path("c")).unwrap();
        disk.remove(&path("b")).unwrap();
        disk.sync_dir(&dir.path().join("run")).unwrap();
        assert_eq!(disk.list(&dir.path().join("run")).unwrap(), ["c"]);
        assert_eq!(fs::read(path("c")).unwrap(), b"abcde");
        assert_eq!(disk.read(&path("c")).unwrap(), b"abcde");
        assert_eq!(disk.read_end(&path("c"), 2).unwrap(), (5, b"de".to_vec()));
        assert_eq!(disk.read_start(&path("c"), 2).unwrap(), b"ab");
        assert_eq!(disk.stamp(&path("c")).unwrap().len, 5);
    }

    #[test]
    fn path_outside_the_folder_is_refused() {
        let (dir, disk) = disk();
        for path in ["run/../other", "other", "run", "run/sub/file"] {
            let error = disk.write(&dir.path().join(path), b"").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path}");
        }
    }

    #[test]
    fn moved_folder_is_not_mistaken_for_its_replacement() {
        let (dir, disk) = disk();
        let (logdir, away) = (dir.path().join("run"), dir.path().join("away"));
        let file = logdir.join("file");
        disk.write(&file, b"ours").unwrap();
        fs::rename(&logdir, &away).unwrap();
        let displaced = |error: io::Error| {
            let cause = error.get_ref().and_then(|cause| cause.downcast_ref()).copied();
            assert_eq!(cause, Some(Displaced::Logdir), "{error}");
        };
        displaced(disk.append(&file, b"!").unwrap_err());
        fs::create_dir(&logdir).unwrap();
        fs::write(&file, b"theirs").unwrap();
        displaced(disk.append(&file, b"!").unwrap_err());
        displaced(disk.write(&file, b"!").unwrap_err());
        displaced(disk.remove(&file).unwrap_err());
        displaced(disk.sync_dir(&logdir).unwrap_err());
        assert_eq!(fs::read(&file).unwrap(), b"theirs");
        assert_eq!(fs::read(away.join("file")).unwrap(), b"ours");

        fs::remove_dir_all(&logdir).unwrap();
        fs::rename(&away, &logdir).unwrap();
        disk.append(&file, b"!").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"ours!");
    }

    #[test]
    fn logdir_may_be_a_link_to_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let (folder, link) = (dir.path().join("folder"), dir.path().join("link"));
        fs::create_dir(&folder).unwrap();
        std::os::unix::fs::symlink(&folder, &link).unwrap();
        let disk = LogdirDisk::open(&link, None).unwrap();
        disk.write(&link.join("file"), b"abc").unwrap();
        assert_eq!(fs::read(folder.join("file")).unwrap(), b"abc");
    }
}
