//! A disk in memory that fails or stops at any chosen operation.
//!
//! A test can enumerate every state in which a crash could leave the disk: each unsynced name and
//! file is kept, lost or torn.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::interface::{Appender, Disk, NamedEnd, Stamp};

/// A bug of the disk: a kind of operation that reports success without an effect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bug {
    /// No bug.
    #[default]
    None,
    /// A sync of a file does nothing.
    NoSync,
    /// A sync of a directory does nothing.
    NoSyncDir,
}

/// A fault at one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The operation is half done and fails. Later operations succeed.
    FailOnce,
    /// The operation and all later ones fail without effect, as if the process was killed before
    /// them.
    Stop,
}

/// A disk in memory with a planned fault.
#[derive(Debug, Default)]
pub struct TestDisk(Mutex<State>);

#[derive(Clone, Debug, Default)]
struct State {
    files: Vec<Content>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// Changes to names since the directory was last synced.
    unsynced: Vec<NameChange>,
    operations: Vec<String>,
    fault: Option<(usize, Fault)>,
    bug: Bug,
}

#[derive(Clone, Debug, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    /// Number of leading bytes that the operating system takes for durable. After a failed sync,
    /// the number is too large.
    n_clean: usize,
}

impl Content {
    fn durable(bytes: &[u8]) -> Self {
        Self { now: bytes.to_vec(), durable: bytes.to_vec(), n_clean: bytes.len() }
    }

    fn sync(&mut self) {
        self.durable.resize(self.now.len(), 0);
        self.durable[self.n_clean..].copy_from_slice(&self.now[self.n_clean..]);
        self.n_clean = self.now.len();
    }
}

#[derive(Clone, Debug)]
struct NameChange {
    removed: Option<PathBuf>,
    made: Option<(PathBuf, usize)>,
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        if let Some(path) = &self.removed {
            names.remove(path);
        }
        names.extend(self.made.clone());
    }
}

impl TestDisk {
    /// Creates an empty disk. `fault` is the index of an operation, counted from 0, and the fault
    /// at that operation.
    pub fn new(bug: Bug, fault: Option<(usize, Fault)>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { bug, fault, ..State::default() })))
    }

    /// Returns the operations that changed the disk, in order. The indices of faults count these
    /// operations.
    pub fn operations(&self) -> Vec<String> {
        self.state().operations.clone()
    }

    /// Sets the fault. Its index counts operations from now on.
    pub fn plan(&self, fault: Option<(usize, Fault)>) {
        let mut state = self.state();
        state.operations.clear();
        state.fault = fault;
    }

    /// Returns every state in which a crash at this moment could leave the disk.
    pub fn after_a_crash(&self) -> Vec<Arc<Self>> {
        let state = self.state();
        let torn: Vec<usize> = (0..state.files.len())
            .filter(|&file| state.files[file].now != state.files[file].durable)
            .collect();
        let n_names = 1_usize << state.unsynced.len();
        let n_contents = 3_usize.pow(u32::try_from(torn.len()).expect("a few files"));
        assert!(n_names * n_contents < 10_000, "too much is unsynced: {state:?}");
        let outcomes = (0..n_names).flat_map(|names| (0..n_contents).map(move |c| (names, c)));
        outcomes.map(|(names, contents)| state.crashed(names, &torn, contents)).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no test panics while it holds the disk")
    }

    /// Counts an operation. Returns `Err` if the planned fault hits it.
    fn begin(&self, what: &str, path: &Path) -> (MutexGuard<'_, State>, io::Result<()>) {
        let mut state = self.state();
        let at = state.operations.len();
        let name = path.file_name().unwrap_or_default().display();
        state.operations.push(format!("{what} {name}"));
        let result = match state.fault {
            Some((n, Fault::FailOnce)) if at == n => Err(ErrorKind::StorageFull.into()),
            Some((n, Fault::Stop)) if at >= n => Err(io::Error::other("killed")),
            _ => Ok(()),
        };
        (state, result)
    }
}

impl State {
    fn crashed(&self, names: usize, torn: &[usize], mut contents: usize) -> Arc<TestDisk> {
        let mut after = self.durable_names.clone();
        for (bit, change) in self.unsynced.iter().enumerate() {
            if names & (1 << bit) != 0 {
                change.apply(&mut after);
            }
        }
        let mut files: Vec<Content> =
            self.files.iter().map(|file| Content::durable(&file.durable)).collect();
        for &file in torn {
            let Content { now, durable, .. } = &self.files[file];
            let found = match contents % 3 {
                0 => durable.clone(),
                1 => now.clone(),
                _ if now.starts_with(durable) => {
                    now[..usize::midpoint(durable.len(), now.len())].to_vec()
                }
                _ => now[..now.len() / 2].to_vec(),
            };
            files[file] = Content::durable(&found);
            contents /= 3;
        }
        Arc::new(TestDisk(Mutex::new(Self {
            files,
            names: after.clone(),
            durable_names: after,
            bug: self.bug,
            ..Self::default()
        })))
    }

    fn file(&mut self, path: &Path) -> io::Result<&mut Content> {
        let file = *self.names.get(path).ok_or(ErrorKind::NotFound)?;
        Ok(&mut self.files[file])
    }

    fn rename(&mut self, removed: Option<PathBuf>, made: Option<(PathBuf, usize)>) {
        let change = NameChange { removed, made };
        change.apply(&mut self.names);
        self.unsynced.push(change);
    }
}

impl Disk for Arc<TestDisk> {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let inside = state.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        Ok(self.state().file(path)?.now.clone())
    }

    fn stamp(&self, path: &Path) -> io::Result<Stamp> {
        let state = self.state();
        let file = *state.names.get(path).ok_or(ErrorKind::NotFound)?;
        Ok(Stamp { file: file as u64, len: state.files[file].now.len() as u64 })
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let (mut state, result) = self.begin("write", path);
        let stopped = matches!(state.fault, Some((_, Fault::Stop)));
        if result.is_ok() || !stopped {
            if !state.names.contains_key(path) {
                state.files.push(Content::default());
                let file = state.files.len() - 1;
                state.rename(None, Some((path.to_owned(), file)));
            }
            let n_bytes = if result.is_ok() { bytes.len() } else { bytes.len() / 2 };
            let file = state.file(path)?;
            (file.now, file.n_clean) = (bytes[..n_bytes].to_vec(), 0);
        }
        result
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let (mut state, result) = self.begin("append", path);
        let stopped = matches!(state.fault, Some((_, Fault::Stop)));
        let n_bytes = match result {
            Ok(()) => bytes.len(),
            Err(_) if stopped => 0,
            Err(_) => bytes.len() / 2,
        };
        state.file(path)?.now.extend_from_slice(&bytes[..n_bytes]);
        result
    }

    fn open_end(&self, path: &Path) -> io::Result<Box<dyn Appender>> {
        Ok(Box::new(NamedEnd::open(self.clone(), path)?))
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        let (mut state, result) = self.begin("truncate", path);
        result?;
        let len = usize::try_from(len).expect("a length in memory");
        let file = state.file(path)?;
        file.now.resize(len, 0);
        file.n_clean = file.n_clean.min(len);
        Ok(())
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let (mut state, result) = self.begin("sync", path);
        let (bug, stopped) = (state.bug, matches!(state.fault, Some((_, Fault::Stop))));
        let file = state.file(path)?;
        match &result {
            Ok(()) if bug != Bug::NoSync => file.sync(),
            // After a failed sync, the operating system drops the unwritten bytes. The next sync
            // finds nothing to write, and reports success.
            Err(_) if !stopped => file.n_clean = file.now.len(),
            _ => {}
        }
        result
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (mut state, result) = self.begin("rename to", to);
        result?;
        let file = *state.names.get(from).ok_or(ErrorKind::NotFound)?;
        state.rename(Some(from.to_owned()), Some((to.to_owned(), file)));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let (mut state, result) = self.begin("sync_dir", dir);
        result?;
        if state.bug != Bug::NoSyncDir {
            state.durable_names = state.names.clone();
            state.unsynced.clear();
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let (mut state, result) = self.begin("remove", path);
        result?;
        state.file(path)?;
        state.rename(Some(path.to_owned()), None);
        Ok(())
    }
}
