//! A partially downloaded file: `NAME.gz.part`, in the folder of the complete file.
//!
//! The partial file is locked during the download, and is renamed once it is complete and durable.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::error::gzip_path;
use super::verify;
use crate::fetch::error::FetchError;
use unisono_files::disk::{Disk as _, RealDisk};
use unisono_learn::data::PublishedFile;

/// A partial file: the bytes of a published file that were received so far.
#[derive(Debug)]
pub(super) struct Part {
    file: File,
    /// Path of the partial file.
    path: PathBuf,
    /// Final path of the complete file.
    place: PathBuf,
    folder: PathBuf,
    len: u64,
}

impl Part {
    /// Opens and locks the partial file of `name`, and creates it if necessary.
    pub(super) fn open(folder: &Path, name: &str) -> Result<Self, FetchError> {
        let place = gzip_path(folder, name);
        let path = folder.join(format!("{name}.gz.part"));
        let disk = |what| FetchError::disk(what, &path);
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(disk("open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(FetchError::InUse(path)),
            // Some network file systems have no locks. The download then continues without a lock.
            Err(TryLockError::Error(_)) => {}
        }
        let len = file.seek(SeekFrom::End(0)).map_err(disk("read"))?;
        Ok(Self { file, path, place, folder: folder.to_owned(), len })
    }

    /// Returns the number of bytes received so far.
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// Returns whether the received bytes are the complete published file.
    pub(super) fn is_whole(&mut self, file: &PublishedFile) -> Result<bool, FetchError> {
        let mut check = || {
            let is_whole = verify::holds(&mut self.file, file)?;
            self.file.seek(SeekFrom::End(0))?;
            Ok(is_whole)
        };
        check().map_err(FetchError::disk("read", &self.path))
    }

    /// Appends received bytes.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), FetchError> {
        self.file.write_all(bytes).map_err(FetchError::disk("write", &self.path))?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Discards all received bytes.
    pub(super) fn clear(&mut self) -> Result<(), FetchError> {
        self.len = 0;
        self.file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)))
            .map(|_| ())
            .map_err(FetchError::disk("write", &self.path))
    }

    /// Moves the file to its final path, durably.
    pub(super) fn place(self) -> Result<(), FetchError> {
        // The file is synced before it is renamed, so that a crash cannot leave an incomplete file
        // at the final path.
        self.file.sync_all().map_err(FetchError::disk("write", &self.path))?;
        fs::rename(&self.path, &self.place).map_err(FetchError::disk("rename", &self.path))?;
        RealDisk.sync_dir(&self.folder).map_err(FetchError::disk("write", &self.folder))
    }

    /// Keeps the partial file for the next download. Removes an empty partial file.
    pub(super) fn leave(self) -> Result<(), FetchError> {
        if self.len > 0 {
            return Ok(());
        }
        fs::remove_file(&self.path).map_err(FetchError::disk("remove", &self.path))
    }
}
