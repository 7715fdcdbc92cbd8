//! Opens regular files, and refuses every other kind of file.
//!
//! A symbolic link could lead out of the logdir, to a file of another user. Opening a FIFO waits
//! for a second process, and opening a device can have any effect. This module therefore follows no
//! symbolic link, never waits in an open, and closes a file that is not regular without reading the
//! file.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;

use rustix::fd::BorrowedFd;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, openat, statat};
use rustix::io::{Errno, retry_on_intr};

/// The kind of a file at a path where only a regular file is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is {0}")]
pub(super) struct NotRegular(&'static str);

impl From<NotRegular> for io::Error {
    fn from(what: NotRegular) -> Self {
        Self::new(ErrorKind::InvalidInput, what)
    }
}

/// Opens the regular file at `path`, which is relative to `dir`.
pub(super) fn open(dir: BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<File> {
    // NONBLOCK: opening a FIFO must not wait. NOCTTY: a terminal must not become the controlling
    // terminal. CLOEXEC: a child process must not keep files, and their locks, open.
    let safe = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    // The same mode as `File::create`; the umask is applied to it.
    let mode = Mode::from_raw_mode(0o666);
    match retry_on_intr(|| openat(dir, path, flags | safe, mode)) {
        Ok(file) => checked(File::from(file)),
        // The kernel itself refuses to open links, and to open FIFOs without a reader and sockets
        // for writing.
        Err(errno @ (Errno::LOOP | Errno::NXIO)) => Err(why_not(dir, path, errno)),
        Err(errno) => Err(errno.into()),
    }
}

fn checked(file: File) -> io::Result<File> {
    // The open file is checked, not its path. The path may refer to another object by now.
    match FileType::from_raw_mode(fstat(&file)?.st_mode) {
        FileType::RegularFile => Ok(file),
        FileType::Directory => Err(ErrorKind::IsADirectory.into()),
        other => Err(not_regular(other).unwrap_or(NotRegular("not a regular file")).into()),
    }
}

/// Returns an error that names the kind of a file that could not be opened. If the file is regular,
/// returns the error `errno`.
fn why_not(dir: BorrowedFd<'_>, path: &Path, errno: Errno) -> io::Error {
    let Ok(stat) = statat(dir, path, AtFlags::SYMLINK_NOFOLLOW) else { return errno.into() };
    let object = not_regular(FileType::from_raw_mode(stat.st_mode));
    object.map_or_else(|| errno.into(), io::Error::from)
}

fn not_regular(kind: FileType) -> Option<NotRegular> {
    let what = match kind {
        FileType::Symlink => "a symbolic link, which is not followed here",
        FileType::Fifo => "a named pipe, not a regular file",
        FileType::Socket => "a socket, not a regular file",
        FileType::CharacterDevice | FileType::BlockDevice => "a device, not a regular file",
        _ => return None,
    };
    Some(NotRegular(what))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use rustix::fs::{CWD, mknodat};

    use super::*;

    fn why(path: &Path, flags: OFlags) -> Option<String> {
        let error = open(CWD, path, flags).unwrap_err();
        let why: &NotRegular = error.get_ref()?.downcast_ref()?;
        Some(why.to_string())
    }

    #[test]
    fn only_regular_files_are_opened_and_opening_a_fifo_does_not_block() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("file"), "content").unwrap();
        symlink(path("file"), path("link")).unwrap();
        symlink(path("nowhere"), path("dangling")).unwrap();
        mknodat(CWD, path("fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let _socket = UnixListener::bind(path("socket")).unwrap();

        let link = "it is a symbolic link, which is not followed here".to_owned();
        let create = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
        for flags in [OFlags::RDONLY, OFlags::WRONLY, OFlags::WRONLY | OFlags::APPEND, create] {
            assert_eq!(why(&path("link"), flags), Some(link.clone()));
            assert_eq!(why(&path("dangling"), flags), Some(link.clone()));
            assert_eq!(
                why(&path("fifo"), flags),
                Some("it is a named pipe, not a regular file".to_owned())
            );
            assert_eq!(
                why(&path("socket"), flags),
                Some("it is a socket, not a regular file".to_owned())
            );
            assert_eq!(
                why(Path::new("/dev/null"), flags),
                Some("it is a device, not a regular file".to_owned())
            );
            let error = open(CWD, dir.path(), flags).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::IsADirectory);
        }
        assert!(!path("nowhere").exists());
        assert_eq!(std::fs::read(path("file")).unwrap(), b"content");
        open(CWD, &path("file"), OFlags::RDONLY).unwrap();
    }
}
