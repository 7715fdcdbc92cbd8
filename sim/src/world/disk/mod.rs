//! A simulated disk in memory, which can lose power, return errors, and lose or damage data.
//!
//! The disk records which bytes and which names were synced. If only the process dies, nothing is
//! lost, because the operating system has everything that the process wrote. If the machine loses
//! power, random draws decide which unsynced parts are kept, lost or torn.
//!
//! The disk has no clock. `world/files.rs` computes the durations of the operations.

mod content;
mod directory;
mod faults;
#[cfg(test)]
mod tests;
mod tree;

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

pub(crate) use faults::FaultId;
use unisono_core::random::Stream;
use unisono_files::disk::{Appender, Disk, NamedEnd, Stamp};

use crate::scenario::DiskMode;
use content::Content;
use faults::Faults;
use tree::Tree;

/// The disk of a machine. All clones share the same disk.
///
/// Each directory is a separate file system. A rename from one directory to another fails, like a
/// rename between two mount points.
#[derive(Clone, Debug)]
pub(crate) struct SimDisk(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    tree: Tree,
    faults: Faults,
    /// The number of operations so far, including operations that failed because of a fault.
    n_operations: u64,
    /// The number of operations after which the process counts as killed; `None` without a limit.
    limit: Option<u64>,
    /// The random stream for the lengths of torn writes and for flipped bits.
    stream: Stream,
}

impl SimDisk {
    /// Creates an empty disk. Faults draw random numbers from `stream`.
    pub(crate) fn new(stream: Stream) -> Self {
        let (tree, faults) = (Tree::new(), Faults::default());
        let state = State { tree, faults, n_operations: 0, limit: None, stream };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Simulates a power loss of the machine. Synced data survive. Unsynced data change as follows:
    ///
    /// - Each name change (a file added, renamed or removed) is kept or undone, independently of
    ///   the content of the file. A rename is kept or undone as a whole. If a change is kept, all
    ///   earlier changes of the same names are kept.
    /// - Each content becomes the new content, the synced content, a prefix of the new content, or
    ///   the new content with zeros from some byte on. If bytes were only appended to a synced
    ///   content, the synced bytes are kept.
    ///
    /// All remaining data are durable afterwards. A power loss does not change the active faults or
    /// the limit of `kill_after`.
    pub(crate) fn power_loss(&self, stream: &mut Stream) {
        self.state().tree.directories_mut().for_each(|directory| directory.lose_power(stream));
    }

    /// Activates a fault until [`Self::clear_fault`] is called. An active fault with the same id is
    /// replaced. Several faults can be active at once. [`DiskMode::Slow`] has no effect in this
    /// module, because the disk has no clock.
    pub(crate) fn set_fault(&self, id: FaultId, fault: DiskMode) {
        self.state().faults.set(id, fault);
    }

    /// Clears a fault. Files that the fault has damaged stay damaged.
    pub(crate) fn clear_fault(&self, id: FaultId) {
        self.state().faults.clear(id);
    }

    /// Returns the number of operations that this fault has changed so far, whether or not the
    /// fault is still active.
    ///
    /// A failed or ignored sync counts only if there was something to sync. A flipped bit counts
    /// only if there was a byte to read.
    pub(crate) fn n_effects(&self, id: FaultId) -> u64 {
        self.state().faults.n_effects(id)
    }

    /// Simulates the death of the process that uses the disk, after this many further operations.
    /// All later operations fail with [`ErrorKind::Interrupted`], have no effect and are not
    /// counted. `None` removes the limit.
    pub(crate) fn kill_after(&self, n_operations: Option<u64>) {
        let mut state = self.state();
        state.limit = n_operations.map(|n| state.n_operations.saturating_add(n));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics while it holds the disk")
    }

    /// Counts an operation. Returns an error if the operation must fail.
    fn begin(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        state.count()?;
        state.faults.check_io()?;
        Ok(state)
    }
}

impl State {
    /// Counts an operation. Returns an error if the limit is reached.
    fn count(&mut self) -> io::Result<()> {
        if self.limit.is_some_and(|limit| self.n_operations >= limit) {
            return Err(io::Error::new(ErrorKind::Interrupted, "killed"));
        }
        self.n_operations += 1;
        Ok(())
    }

    fn file(&mut self, path: &Path) -> io::Result<&mut Content> {
        let (directory, name) = self.tree.place(path)?;
        directory.file(name)
    }

    /// Returns an error if a fault makes the sync of a file fail. After the error, the operating
    /// system considers the file synced, although its bytes are not durable.
    fn check_sync(&mut self, path: &Path) -> io::Result<()> {
        let is_synced = self.file(path).is_ok_and(|file| file.is_synced());
        let fails = !is_synced && self.faults.apply(DiskMode::FailedSync) > 0;
        let failed = || Err(io::Error::other("the sync failed"));
        let result = self.faults.check_io().and_then(|()| if fails { failed() } else { Ok(()) });
        if result.is_err()
            && let Ok(file) = self.file(path)
        {
            file.fail_sync();
        }
        result
    }

    /// Returns the part of a write that reaches the disk, and the result for the caller.
    fn admit<'a>(&mut self, bytes: &'a [u8]) -> (&'a [u8], io::Result<()>) {
        let result = self.faults.check_write();
        let is_whole = result.is_ok() || bytes.is_empty();
        let n_bytes = if is_whole { bytes.len() } else { below(&mut self.stream, bytes.len()) };
        (&bytes[..n_bytes], result)
    }
}

fn below(stream: &mut Stream, bound: usize) -> usize {
    stream.below(bound as u64) as usize
}

impl Disk for SimDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.begin()?;
        if !state.tree.is_dir(dir) {
            state.faults.check_space()?;
        }
        state.tree.create_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        // `list` does not call `begin`, because `begin` fails on a failing disk. A failing disk can
        // still list folders from the operating system's cache.
        let mut state = self.state();
        state.count()?;
        state.tree.list(dir)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut state = self.begin()?;
        let mut bytes = state.file(path)?.bytes().to_vec();
        if !bytes.is_empty() {
            for _ in 0..state.faults.apply(DiskMode::BitFlip) {
                let bit = below(&mut state.stream, 8 * bytes.len());
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
        Ok(bytes)
    }

    fn stamp(&self, path: &Path) -> io::Result<Stamp> {
        let mut state = self.begin()?;
        let (directory, name) = state.tree.place(path)?;
        directory.stamp(name)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.begin()?;
        state.tree.place(path)?;
        let (bytes, result) = state.admit(bytes);
        let (directory, name) = state.tree.place(path)?;
        directory.file_or_new(name)?.replace(bytes);
        result
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.begin()?;
        state.file(path)?;
        let (bytes, result) = state.admit(bytes);
        state.file(path)?.append(bytes);
        result
    }

    fn open_end(&self, path: &Path) -> io::Result<Box<dyn Appender>> {
        Ok(Box::new(NamedEnd::open(self.clone(), path)?))
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        let mut state = self.begin()?;
        let n_bytes = usize::try_from(len).map_err(|_| ErrorKind::FileTooLarge)?;
        state.file(path)?.resize(n_bytes);
        Ok(())
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        // `sync` does not call `begin`, because an I/O error in a sync must also drop the bytes that
        // were to be written. `check_sync` returns the error and drops these bytes.
        state.count()?;
        state.check_sync(path)?;
        let is_synced = state.file(path)?.is_synced();
        if !is_synced && state.faults.apply(DiskMode::LostUnsynced) == 0 {
            state.file(path)?.sync();
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.begin()?;
        state.file(from)?;
        let (directory, to_name) = state.tree.place(to)?;
        if from.parent() != to.parent() {
            return Err(ErrorKind::CrossesDevices.into());
        }
        directory.rename(from.file_name().expect("a file has a name"), to_name)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.begin()?;
        let is_synced = state.tree.directory(dir)?.is_synced();
        if !is_synced && state.faults.apply(DiskMode::LostUnsynced) == 0 {
            state.tree.directory(dir)?.sync();
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.begin()?;
        let (directory, name) = state.tree.place(path)?;
        directory.remove(name)
    }
}
