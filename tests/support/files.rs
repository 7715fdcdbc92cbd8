//! What a run leaves in its logdir, to the bit.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use unisono_files::checkpoint::read_tensors;

/// The losses of a run and its latest checkpoint.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Bits {
    /// The whole file of the checkpoint.
    checkpoint: Vec<u8>,
    /// `losses.csv`, as it is.
    pub(crate) losses: String,
    /// The step of the latest checkpoint.
    pub(crate) step: u64,
    /// Name to shape and bits.
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

    /// Steps, slots and losses.
    pub(crate) fn rows(&self) -> Vec<(u64, u32, f32)> {
        rows(&self.losses)
    }

    /// SHA-256 over every tensor in the order of the names: name, line feed, number of dimensions,
    /// sizes, values; numbers as 64 bits, values as 32, little-endian.
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

    /// As [`Self::assert_same`], and the checkpoints are the same file, byte for byte: the runs had
    /// the same settings, too.
    pub(crate) fn assert_same_files(&self, other: &Self, of: &str) {
        self.assert_same(other, of);
        assert!(self.checkpoint == other.checkpoint, "{of}: the metadata of the checkpoint");
    }

    /// Fails at the first row, or else the first tensor, that is not the same.
    pub(crate) fn assert_same(&self, other: &Self, of: &str) {
        let mut rows = self.losses.lines().zip(other.losses.lines());
        if let Some((ours, theirs)) = rows.find(|(ours, theirs)| ours != theirs) {
            panic!("{of}: the losses differ from {ours} to {theirs}");
        }
        assert_eq!(self.losses, other.losses, "{of}: one has more losses");
        assert_eq!(self.step, other.step, "{of}: the step of the checkpoint");
        let names = |bits: &Self| bits.tensors.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(self), names(other), "{of}: the names of the tensors");
        for (name, (shape, bits)) in &self.tensors {
            let (other_shape, other_bits) = &other.tensors[name];
            assert_eq!(shape, other_shape, "{of}: the shape of {name}");
            let n_different = bits.iter().zip(other_bits).filter(|(a, b)| a != b).count();
            assert_eq!(n_different, 0, "{of}: elements of {name} that differ");
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

/// How far a run is by its losses: the step of the last whole row, if there is any.
pub(crate) fn last_step(logdir: &Path) -> Option<u64> {
    const TAIL: u64 = 200; // bytes; a row has some 20
    let mut file = fs::File::open(logdir.join("losses.csv")).ok()?;
    let len = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(TAIL))).ok()?;
    let mut tail = String::new();
    file.read_to_string(&mut tail).ok()?;
    let whole = &tail[..=tail.rfind('\n')?];
    // The first line may have lost its beginning.
    let last = whole.lines().skip(usize::from(len > TAIL)).last()?;
    last.split(',').next()?.parse().ok()
}

/// The checkpoint that the state file calls the latest.
fn latest_checkpoint(logdir: &Path) -> (u64, PathBuf) {
    let state = fs::read_to_string(logdir.join("checkpoint")).expect("there is a state file");
    let first = state.lines().next().unwrap_or_default();
    let name = first.split('"').nth(1).unwrap_or_else(|| panic!("no latest in {state}"));
    let digits = name.trim_start_matches("model.ckpt-").trim_end_matches(".safetensors");
    (digits.parse().expect("a checkpoint's name has its step"), logdir.join(name))
}

/// Every file and folder below a path, and what is in it.
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

    /// Fails with the names of what is not as it was.
    pub(crate) fn assert_unchanged(&self, path: &Path) {
        let now = Self::of(path);
        let paths: std::collections::BTreeSet<_> = self.0.keys().chain(now.0.keys()).collect();
        let changed: Vec<_> =
            paths.into_iter().filter(|path| self.0.get(*path) != now.0.get(*path)).collect();
        assert!(changed.is_empty(), "changed, made or removed: {changed:?}");
    }
}
