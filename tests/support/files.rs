//! The files that a run leaves in its logdir, for comparisons bit by bit.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use unisono_files::checkpoint::read_tensors;

/// The losses of a run and its latest checkpoint.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Bits {
    /// The bytes of the checkpoint.
    checkpoint: Vec<u8>,
    /// The text of `losses.csv`.
    pub(crate) losses: String,
    /// The step of the checkpoint.
    pub(crate) step: u64,
    /// The shape and the bits of each tensor, by name.
    pub(crate) tensors: BTreeMap<String, (Vec<usize>, Vec<u32>)>,
}

impl Bits {
    pub(crate) fn read(logdir: &Path) -> Self {
        let losses = fs::read_to_string(logdir.join("losses.csv")).expect("there are losses");
        let (step, path) = latest_checkpoint(logdir);
        let checkpoint = fs::read(&path).expect("the checkpoint can be read");
        let tensors = read_tensors(&path).expect("the checkpoint is valid");
        let bits = |tensor: unisono_files::checkpoint::Tensor| {
            let bits = tensor.values().iter().map(|value| value.to_bits()).collect();
            (tensor.shape().to_vec(), bits)
        };
        let tensors = tensors.into_iter().map(|(name, tensor)| (name, bits(tensor))).collect();
        Self { checkpoint, losses, step, tensors }
    }

    /// Returns the step, the slot and the loss of each row.
    pub(crate) fn rows(&self) -> Vec<(u64, u32, f32)> {
        rows(&self.losses)
    }

    /// Returns the SHA-256 over all tensors in the order of their names.
    ///
    /// For each tensor, the digest covers its name, a line feed, the number of dimensions, the
    /// sizes and the values. Numbers have 64 bits and values 32 bits, all little-endian.
    pub(crate) fn tensors_sha256(&self) -> String {
        let mut hash = Sha256::new();
        for (name, (shape, bits)) in &self.tensors {
            hash.update(format!("{name}\n"));
            hash.update((shape.len() as u64).to_le_bytes());
            shape.iter().for_each(|size| hash.update((*size as u64).to_le_bytes()));
            bits.iter().for_each(|value| hash.update(value.to_le_bytes()));
        }
        hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Asserts that losses and checkpoints are equal, byte for byte. Equal checkpoints record equal
    /// settings, too. `case` names the run in a failure.
    pub(crate) fn assert_same_files(&self, other: &Self, case: &str) {
        self.assert_same(other, case);
        assert!(self.checkpoint == other.checkpoint, "{case}: the metadata of the checkpoint");
    }

    /// Asserts that losses, steps and tensors are equal. `case` names the run in a failure.
    pub(crate) fn assert_same(&self, other: &Self, case: &str) {
        let mut rows = self.losses.lines().zip(other.losses.lines());
        if let Some((ours, theirs)) = rows.find(|(ours, theirs)| ours != theirs) {
            panic!("{case}: the losses differ: {ours} and {theirs}");
        }
        assert_eq!(self.losses, other.losses, "{case}: one run has more losses");
        assert_eq!(self.step, other.step, "{case}: the step of the checkpoint");
        let names = |bits: &Self| bits.tensors.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(self), names(other), "{case}: the names of the tensors");
        for (name, (shape, bits)) in &self.tensors {
            let (other_shape, other_bits) = &other.tensors[name];
            assert_eq!(shape, other_shape, "{case}: the shape of {name}");
            let n_different = bits.iter().zip(other_bits).filter(|(a, b)| a != b).count();
            assert_eq!(n_different, 0, "{case}: differing elements of {name}");
        }
    }
}

pub(crate) fn rows(losses: &str) -> Vec<(u64, u32, f32)> {
    let mut lines = losses.lines();
    assert_eq!(lines.next(), Some("step,slot,loss"));
    let row = |line: &str| {
        let fields: Vec<_> = line.split(',').collect();
        let [step, slot, loss] = fields[..] else { panic!("{line:?} is not a row") };
        let number = |text: &str| text.parse::<u64>().expect("a whole number");
        (number(step), number(slot) as u32, loss.parse().expect("a loss"))
    };
    lines.map(row).collect()
}

/// Returns the step of the last complete row of the losses, if there is any.
pub(crate) fn last_step(logdir: &Path) -> Option<u64> {
    /// Number of bytes to read from the end. A row has some 20 bytes.
    const TAIL: u64 = 200;
    let mut file = fs::File::open(logdir.join("losses.csv")).ok()?;
    let len = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(TAIL))).ok()?;
    let mut tail = String::new();
    file.read_to_string(&mut tail).ok()?;
    let whole = &tail[..=tail.rfind('\n')?];
    // Skips the first line, which is incomplete unless the tail is the whole file.
    let last = whole.lines().skip(usize::from(len > TAIL)).last()?;
    last.split(',').next()?.parse().ok()
}

/// Returns the step and the path of the latest checkpoint by the state file.
fn latest_checkpoint(logdir: &Path) -> (u64, PathBuf) {
    let state = fs::read_to_string(logdir.join("checkpoint")).expect("there is a state file");
    let first = state.lines().next().unwrap_or_default();
    let name = first.split('"').nth(1).unwrap_or_else(|| panic!("no latest in {state}"));
    let digits = name.trim_start_matches("model.ckpt-").trim_end_matches(".safetensors");
    (digits.parse().expect("a checkpoint's name has its step"), logdir.join(name))
}

/// Every file below a path with its content, and every folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listing(BTreeMap<PathBuf, Option<Vec<u8>>>);

impl Listing {
    pub(crate) fn of(path: &Path) -> Self {
        let mut entries = BTreeMap::new();
        let mut waiting = vec![path.to_owned()];
        while let Some(path) = waiting.pop() {
            if path.is_dir() {
                let below = fs::read_dir(&path).expect("a folder can be listed");
                waiting.extend(below.map(|entry| entry.expect("an entry can be read").path()));
                entries.insert(path, None);
            } else {
                let bytes = fs::read(&path).expect("a file can be read");
                entries.insert(path, Some(bytes));
            }
        }
        Self(entries)
    }

    /// Asserts that `path` has the same files and folders, with the same content.
    pub(crate) fn assert_unchanged(&self, path: &Path) {
        let now = Self::of(path);
        let paths: std::collections::BTreeSet<_> = self.0.keys().chain(now.0.keys()).collect();
        let changed: Vec<_> =
            paths.into_iter().filter(|path| self.0.get(*path) != now.0.get(*path)).collect();
        assert!(changed.is_empty(), "changed, created or removed: {changed:?}");
    }
}
