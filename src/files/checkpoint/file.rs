//! The format of a checkpoint file.
//!
//! The file has the safetensors format, and its bytes are a pure function of the checkpoint.
//! Safetensors has no checksum, so the header contains a digest of the whole file. The digest
//! detects every single flipped bit.
//!
//! ```text
//! length of the header, u64 little-endian
//! {"__metadata__":{"unisono":"{\"crc32c\":\"0a1b2c3d\",\"data\":\"5f2e…\",\"format\":1,
//! \"settings\":[[key,value],…],\"step\":200,\"variables\":[{\"name\":…,\"regularized\":…},…]}"},
//! "global_step":{…},"layer1/biases":{…},…} the tensors' values, little-endian
//! ```
//!
//! The digest is the CRC32C of the whole file, computed with the eight digits of the digest itself
//! replaced by zeros.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, Metadata, TensorInfo, TensorView};
use serde::{Deserialize, Serialize};

use super::{Checkpoint, GLOBAL_STEP, SavedVariable, Tensor};
use crate::disk::RealDisk;
use unisono_core::floats::Floats;
use unisono_core::ids::Step;
use unisono_core::protocol::Settings;

/// Version of the checkpoint format: the structure of the metadata, and the meaning of the tensors'
/// names.
const FORMAT: u32 = 1;

/// The key of the only metadata entry. A file has one entry, because the safetensors crate writes
/// several entries in a varying order.
pub const KEY: &str = "unisono";

/// The bytes between the length of the header and the digest. These bytes are the same in every
/// checkpoint.
const PREFIX: &[u8] = br#"{"__metadata__":{"unisono":"{\"crc32c\":\""#;

const LENGTH_BYTES: usize = 8;
const DIGEST_AT: usize = LENGTH_BYTES + PREFIX.len();
const NO_DIGEST: &[u8; 8] = b"00000000";

/// The reason why a file is not a valid checkpoint, or has no usable tensors.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system refused to read the file.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// The file ends within its header.
    #[error("it is truncated or not a safetensors file: {n_bytes} bytes do not contain its header")]
    NoHeader {
        /// Size of the file in bytes.
        n_bytes: usize,
    },
    /// The header is not a safetensors header.
    #[error("its header is not safetensors: {0}")]
    Header(String),
    /// The file's length differs from the length that its header announces.
    #[error("it has {n_bytes} bytes where its header announces {announced}: it is torn")]
    Length {
        /// Size of the file in bytes.
        n_bytes: usize,
        /// Size in bytes that follows from the header.
        announced: u128,
    },
    /// The file is a safetensors file, but not a checkpoint of this program.
    #[error("it is a safetensors file, but not a checkpoint of this program")]
    NotACheckpoint,
    /// The digest does not match the content.
    #[error("its content has digest {actual}, but {recorded} was recorded: it is corrupt")]
    Digest {
        /// Digest in the file.
        recorded: String,
        /// Digest of the content.
        actual: String,
    },
    /// The file has the format of another version of this program.
    #[error("it has format {0}; this program reads format {FORMAT}")]
    Format(u32),
    /// The digest is right, but the metadata is invalid.
    #[error("its metadata is invalid: {0}")]
    Metadata(String),
    /// The steps in the file's name, in the metadata and in `global_step` are not all equal, so
    /// rule 7 of the protocol is broken.
    #[error("its {place} has step {content}, but its name has step {name}")]
    Step {
        /// Step in the file's name.
        name: Step,
        /// Part of the file whose step differs from the step in the file's name.
        place: &'static str,
        /// Step in the part of the file that `place` names.
        content: i128,
    },
    /// A tensor is not of type `f32`.
    #[error("tensor {name} is of type {dtype}; only F32 can be read")]
    Type {
        /// Name of the tensor.
        name: String,
        /// Type of the tensor, as safetensors names it.
        dtype: String,
    },
}

/// A file from which no tensors can be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read tensors from {}: {why}", path.display())]
pub struct ReadError {
    /// Path of the file.
    pub path: PathBuf,
    /// Reason why the file cannot be used.
    pub why: FileError,
}

/// Returns the file name of the checkpoint of `step`.
#[must_use]
pub fn file_name(step: Step) -> String {
    format!("model.ckpt-{step}.safetensors")
}

/// Returns the step in a checkpoint's file name; `None` for any other name.
#[must_use]
pub fn step_of(name: &str) -> Option<Step> {
    let digits = name.strip_prefix("model.ckpt-")?.strip_suffix(".safetensors")?;
    let step = Step(digits.parse().ok()?);
    // Only one spelling is accepted. Otherwise "model.ckpt-007" would be a second name for step 7.
    (file_name(step) == name).then_some(step)
}

/// Returns the steps of all checkpoints among file names.
#[must_use]
pub fn steps_among(names: &[String]) -> BTreeSet<Step> {
    names.iter().filter_map(|name| step_of(name)).collect()
}

/// Reads the tensors of a safetensors file of `f32` values, such as a file of initial values.
///
/// The result does not contain [`GLOBAL_STEP`]. If the file is a checkpoint, this function verifies
/// its digest.
///
/// # Errors
/// If the file cannot be read or has no usable tensors.
pub fn read_tensors(path: &Path) -> Result<BTreeMap<String, Tensor>, ReadError> {
    std::fs::read(path)
        .map_err(FileError::from)
        .and_then(|bytes| tensors_in(&bytes))
        .map_err(|why| ReadError { path: path.to_owned(), why })
}

/// Returns the tensors in the bytes of a file, as [`read_tensors`] does.
pub(super) fn tensors_in(bytes: &[u8]) -> Result<BTreeMap<String, Tensor>, FileError> {
    let parsed = Parsed::new(bytes)?;
    if parsed.is_checkpoint() {
        parsed.verify_digest()?;
    }
    parsed.tensors()
}

/// Maximum size of a header, the same limit as in the safetensors crate.
const MAX_HEADER_BYTES: u64 = 100_000_000;

/// Reads the description of a checkpoint, but not its tensors, which may be large.
///
/// This function cannot verify the digest, because the digest covers the tensors. A program that
/// only watches a run does not need this verification.
///
/// # Errors
/// If the file cannot be read, or is not a checkpoint.
pub fn read_description(path: &Path) -> Result<Description, FileError> {
    let mut file = RealDisk::open_to_read(path)?;
    let mut length = [0; LENGTH_BYTES];
    file.read_exact(&mut length)?;
    let mut header = Vec::new();
    let length = u64::from_le_bytes(length);
    file.take(length.min(MAX_HEADER_BYTES)).read_to_end(&mut header)?;
    if header.len() as u64 != length {
        return Err(FileError::NoHeader { n_bytes: LENGTH_BYTES + header.len() });
    }
    Description::of_header(&parse_header(&header)?)
}

fn parse_header(json: &[u8]) -> Result<Metadata, FileError> {
    serde_json::from_slice(json).map_err(|error| FileError::Header(error.to_string()))
}

/// The metadata of a checkpoint: the JSON text under [`KEY`]. The order of the fields is part of
/// the format.
#[derive(Debug, Serialize, Deserialize)]
pub struct Description {
    /// CRC32C of the file, as 8 hexadecimal digits.
    pub crc32c: String,
    /// Digest of the data that the checkpoint was trained on; `None` if it was not recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    format: u32,
    /// Settings that the checkpoint was trained with.
    pub settings: Settings,
    /// Version of the checkpoint.
    pub step: Step,
    /// Variables of the model, in creation order; empty if they were not recorded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variables: Vec<SavedVariable>,
}

impl Description {
    fn of_header(header: &Metadata) -> Result<Self, FileError> {
        let json = header.metadata().as_ref().and_then(|metadata| metadata.get(KEY));
        Self::parse(json.ok_or(FileError::NotACheckpoint)?)
    }

    /// Parses the value of the metadata key.
    ///
    /// # Errors
    /// If the metadata has another format version, or the JSON is invalid.
    pub fn parse(json: &str) -> Result<Self, FileError> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let wrong = |error: serde_json::Error| FileError::Metadata(error.to_string());
        // The format's version is parsed first and alone, because another version may have other
        // fields.
        let Format { format } = serde_json::from_str(json).map_err(wrong)?;
        if format != FORMAT {
            return Err(FileError::Format(format));
        }
        serde_json::from_str(json).map_err(wrong)
    }
}

/// Returns the bytes of a checkpoint's file. The bytes are a pure function of the checkpoint.
///
/// # Panics
/// If the step is above 2^63 - 1, or a tensor has a name that the format reserves.
pub fn encode(checkpoint: &Checkpoint) -> Vec<u8> {
    let description = Description {
        crc32c: String::from_utf8_lossy(NO_DIGEST).into_owned(),
        data: checkpoint.data.clone(),
        format: FORMAT,
        settings: checkpoint.settings.clone(),
        step: checkpoint.step,
        variables: checkpoint.variables.clone(),
    };
    let description = serde_json::to_string(&description).expect("strings and numbers are JSON");
    // TensorFlow's global_step is an i64.
    let global_step = i64::try_from(checkpoint.step.0).expect("a count of updates is below 2^63");
    let global_step = global_step.to_le_bytes();

    let mut views = vec![(GLOBAL_STEP, view(Dtype::I64, &[], &global_step))];
    for (name, tensor) in &checkpoint.tensors {
        assert!(name != GLOBAL_STEP && name != "__metadata__", "a tensor is called {name}");
        views.push((name, view(Dtype::F32, tensor.shape(), tensor.values().as_bytes())));
    }
    // The order of entries in this hash map varies. With only one entry, the bytes of a checkpoint
    // are always the same.
    let metadata = [(KEY.to_owned(), description)].into();
    let mut bytes = safetensors::serialize(views, Some(metadata)).expect("the views fit together");

    assert!(bytes[LENGTH_BYTES..].starts_with(PREFIX), "the digest has a fixed place");
    seal(&mut bytes);
    bytes
}

fn view<'a>(dtype: Dtype, shape: &[usize], bytes: &'a [u8]) -> TensorView<'a> {
    TensorView::new(dtype, shape.to_vec(), bytes).expect("a tensor has the values of its shape")
}

/// Decodes a checkpoint file. `name` is the step in the file's name.
///
/// # Errors
/// If the bytes are not a valid checkpoint of step `name`.
pub fn decode(name: Step, bytes: &[u8]) -> Result<Checkpoint, FileError> {
    let parsed = Parsed::new(bytes)?;
    if !parsed.is_checkpoint() {
        return Err(FileError::NotACheckpoint);
    }
    // The digest is verified first. In a damaged file, any other error would mislead the user.
    parsed.verify_digest()?;
    let description = Description::of_header(&parsed.header)?;
    let by = |place, content| FileError::Step { name, place, content };
    if description.step != name {
        return Err(by("metadata", description.step.0.into()));
    }
    match parsed.global_step() {
        Some(step) if i128::from(step) == i128::from(name.0) => {}
        Some(step) => return Err(by("global_step", step.into())),
        None => return Err(FileError::Metadata("there is no scalar global_step".to_owned())),
    }
    let Description { settings, data, variables, .. } = description;
    Ok(Checkpoint { step: name, settings, data, variables, tensors: parsed.tensors()? })
}

/// Returns the CRC32C of a whole checkpoint file in hexadecimal. The computation replaces the eight
/// digits of the digest in the file by zeros.
fn digest(bytes: &[u8]) -> String {
    let crc = crc32c::crc32c(&bytes[..DIGEST_AT]);
    let crc = crc32c::crc32c_append(crc, NO_DIGEST);
    format!("{:08x}", crc32c::crc32c_append(crc, &bytes[DIGEST_AT + NO_DIGEST.len()..]))
}

/// Computes the digest of a checkpoint file, and writes the digest into the file's bytes. Does
/// nothing if the bytes are too few to contain a digest.
pub(super) fn seal(bytes: &mut [u8]) {
    if bytes.len() >= DIGEST_AT + NO_DIGEST.len() {
        let digest = digest(bytes);
        bytes[DIGEST_AT..][..NO_DIGEST.len()].copy_from_slice(digest.as_bytes());
    }
}

/// A safetensors file whose header is complete, and whose tensors lie within the file.
#[derive(Debug)]
pub struct Parsed<'a> {
    bytes: &'a [u8],
    header: Metadata,
    data: &'a [u8],
}

impl<'a> Parsed<'a> {
    /// Parses the header. Allocates at most a small multiple of the file's size.
    ///
    /// `SafeTensors::deserialize` (0.8.0) is not used, because it adds offsets from the file
    /// without an overflow check. A hostile file can make these sums wrap around 2^64.
    ///
    /// # Errors
    /// If the header is invalid, or the file's length differs from the length that the header
    /// announces.
    pub fn new(bytes: &'a [u8]) -> Result<Self, FileError> {
        let no_header = || FileError::NoHeader { n_bytes: bytes.len() };
        let (length, rest) = bytes.split_first_chunk::<LENGTH_BYTES>().ok_or_else(no_header)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| no_header())?;
        let (header, data) = rest.split_at_checked(length).ok_or_else(no_header)?;
        let header = parse_header(header)?;
        if header.data_len() != data.len() {
            let announced = LENGTH_BYTES as u128 + length as u128 + header.data_len() as u128;
            return Err(FileError::Length { n_bytes: bytes.len(), announced });
        }
        Ok(Self { bytes, header, data })
    }

    /// Returns whether the header begins as in a checkpoint.
    pub fn is_checkpoint(&self) -> bool {
        self.bytes.len() >= DIGEST_AT + NO_DIGEST.len()
            && self.bytes[LENGTH_BYTES..].starts_with(PREFIX)
    }

    /// Verifies the digest. The file must be a checkpoint.
    fn verify_digest(&self) -> Result<(), FileError> {
        let recorded = &self.bytes[DIGEST_AT..][..NO_DIGEST.len()];
        let actual = digest(self.bytes);
        if recorded == actual.as_bytes() {
            return Ok(());
        }
        let recorded = recorded.escape_ascii().to_string();
        Err(FileError::Digest { recorded, actual })
    }

    /// Returns the metadata in the header.
    #[expect(clippy::disallowed_types, reason = "the crate's; nobody goes through it in its order")]
    pub fn metadata(&self) -> Option<&std::collections::HashMap<String, String>> {
        self.header.metadata().as_ref()
    }

    /// Returns every tensor with its bytes, including the global step.
    pub fn raw_tensors(&self) -> impl Iterator<Item = (String, &TensorInfo, &'a [u8])> {
        self.header.offset_keys().into_iter().map(|name| {
            let info = self.header.info(&name).expect("the header has the names that it lists");
            // This index cannot be out of range, because the tensors of a valid header cover the
            // data without gap or overlap.
            (name, info, &self.data[info.data_offsets.0..info.data_offsets.1])
        })
    }

    fn global_step(&self) -> Option<i64> {
        let info = self.header.info(GLOBAL_STEP)?;
        let value = self.data.get(info.data_offsets.0..info.data_offsets.1)?;
        let is_scalar = info.dtype == Dtype::I64 && info.shape.is_empty();
        is_scalar.then(|| value.try_into().ok().map(i64::from_le_bytes))?
    }

    /// Returns all tensors except the global step.
    fn tensors(&self) -> Result<BTreeMap<String, Tensor>, FileError> {
        let mut tensors = BTreeMap::new();
        for (name, info, bytes) in self.raw_tensors() {
            if name == GLOBAL_STEP {
                continue;
            }
            if info.dtype != Dtype::F32 {
                return Err(FileError::Type { name, dtype: info.dtype.to_string() });
            }
            let (values, _) = bytes.as_chunks();
            let values: Vec<f32> = values.iter().map(|value| f32::from_le_bytes(*value)).collect();
            tensors.insert(name, Tensor::new(info.shape.clone(), Floats::from(values)));
        }
        Ok(tensors)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::checkpoint_of;

    fn plain(header: &str, data: &[u8]) -> Vec<u8> {
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
    }

    /// Returns the file with `from` replaced by `to` and with a correct digest. `from` and `to`
    /// must have the same length.
    fn forged(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
        assert_eq!(from.len(), to.len());
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        let mut bytes = bytes.to_vec();
        bytes[at..][..to.len()].copy_from_slice(to.as_bytes());
        seal(&mut bytes);
        bytes
    }

    #[test]
    fn file_without_a_data_digest_is_read() {
        let old = Checkpoint { data: None, ..checkpoint_of(Step(7), 1) };
        let bytes = encode(&old);
        assert!(!String::from_utf8_lossy(&bytes).contains("data\\\""));
        assert_eq!(decode(Step(7), &bytes).unwrap(), old);
    }

    #[test]
    fn bytes_are_a_pure_function_of_the_content() {
        let checkpoint = checkpoint_of(Step(200), 3);
        let bytes = encode(&checkpoint);
        for _ in 0..20 {
            assert_eq!(encode(&checkpoint.clone()), bytes);
        }
        let header = &bytes[8..bytes.len() - 8 - 4 * 7];
        insta::assert_snapshot!(String::from_utf8_lossy(header).trim_end());
    }

    #[test]
    fn decoding_returns_the_encoded_checkpoint_bit_for_bit() {
        let mut checkpoint = checkpoint_of(Step(200), 3);
        let special = vec![f32::NAN, -0.0, f32::from_bits(1), f32::INFINITY, f32::MIN];
        checkpoint.tensors.insert("special".into(), Tensor::new(vec![5, 1], special.into()));
        checkpoint.tensors.insert("none".into(), Tensor::new(vec![0, 9], Floats::default()));
        checkpoint.tensors.insert("one".into(), Tensor::new(vec![], vec![0.9].into()));
        assert_eq!(decode(Step(200), &encode(&checkpoint)).unwrap(), checkpoint);
    }

    #[test]
    fn description_is_read_without_the_tensors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint");
        let checkpoint = checkpoint_of(Step(200), 3);
        let mut bytes = encode(&checkpoint);
        std::fs::write(&path, &bytes).unwrap();
        let read = read_description(&path).unwrap();
        assert_eq!((read.step, read.settings), (checkpoint.step, checkpoint.settings));

        let header = usize::try_from(u64::from_le_bytes(*bytes.first_chunk().unwrap())).unwrap();
        bytes.truncate(LENGTH_BYTES + header);
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(read_description(&path).unwrap().step, Step(200), "tensors are not looked at");
        for n_bytes in [0, 7, 8, LENGTH_BYTES + header - 1] {
            std::fs::write(&path, &bytes[..n_bytes]).unwrap();
            assert!(read_description(&path).is_err(), "{n_bytes}");
        }
        std::fs::write(&path, [0xff; 64]).unwrap();
        assert!(read_description(&path).is_err(), "no such length is allocated");
    }

    #[test]
    fn every_flipped_bit_is_detected() {
        let bytes = encode(&checkpoint_of(Step(200), 3));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(Step(200), &flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn every_truncation_is_detected() {
        let bytes = encode(&checkpoint_of(Step(200), 3));
        for n_bytes in 0..bytes.len() {
            let error = decode(Step(200), &bytes[..n_bytes]).unwrap_err();
            assert!(matches!(error, FileError::NoHeader { .. } | FileError::Length { .. }));
        }
    }

    #[test]
    fn step_in_the_name_must_match_the_content() {
        let bytes = encode(&checkpoint_of(Step(200), 3));
        insta::assert_snapshot!(
            decode(Step(300), &bytes).unwrap_err(),
            @"its metadata has step 200, but its name has step 300"
        );
        let other = forged(&bytes, r#"\"step\":200"#, r#"\"step\":300"#);
        insta::assert_snapshot!(
            decode(Step(300), &other).unwrap_err(),
            @"its global_step has step 200, but its name has step 300"
        );
        let other =
            forged(&bytes, r#""global_step":{"dtype":"I64""#, r#""global_step":{"dtype":"F64""#);
        assert!(decode(Step(200), &other).is_err(), "a global step is an integer");
    }

    #[test]
    fn header_that_ends_before_the_digest_is_an_error() {
        let header = [PREFIX, br#"\""}}"#].concat();
        let bytes = plain(std::str::from_utf8(&header).unwrap(), &[]);
        assert!(bytes.len() < DIGEST_AT + NO_DIGEST.len());
        assert!(decode(Step(200), &bytes).is_err());
    }

    #[test]
    fn other_format_is_reported_before_the_content_is_checked() {
        let bytes = encode(&checkpoint_of(Step(200), 3));
        let newer = forged(&bytes, r#"\"format\":1,\"settings\""#, r#"\"format\":7,\"settingz\""#);
        insta::assert_snapshot!(
            decode(Step(200), &newer).unwrap_err(),
            @"it has format 7; this program reads format 1"
        );
    }

    #[test]
    fn checkpoint_name_has_only_one_spelling() {
        assert_eq!(step_of("model.ckpt-200.safetensors"), Some(Step(200)));
        for name in ["0200", "+200", "", "-1", "18446744073709551616"] {
            assert_eq!(step_of(&format!("model.ckpt-{name}.safetensors")), None, "{name}");
        }
        assert_eq!(step_of("model.ckpt-200.safetensors.g1-1.tmp"), None);
    }

    #[test]
    fn plain_safetensors_is_read_as_tensors_but_is_not_a_checkpoint() {
        let header = r#"{"a":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}   "#;
        let bytes = plain(header, &[0, 0, 128, 63, 0, 0, 0, 64]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("init.safetensors");
        std::fs::write(&path, &bytes).unwrap();
        let tensors = read_tensors(&path).unwrap();
        assert_eq!(tensors["a"], Tensor::new(vec![1, 2], vec![1.0, 2.0].into()));
        assert!(matches!(decode(Step(0), &bytes), Err(FileError::NotACheckpoint)));
    }

    #[test]
    fn checkpoint_serves_as_initial_values_unless_it_is_corrupt() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("any-name");
        let checkpoint = checkpoint_of(Step(200), 3);
        let mut bytes = encode(&checkpoint);
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(read_tensors(&path).unwrap(), checkpoint.tensors);
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let error = read_tensors(&path).unwrap_err().to_string();
        assert!(error.contains("any-name: its content has digest"), "{error}");
    }

    #[test]
    fn error_names_a_tensor_of_another_type() {
        let header = r#"{"a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}"#;
        let bytes = plain(header, &[0; 8]);
        let error = Parsed::new(&bytes).and_then(|parsed| parsed.tensors()).unwrap_err();
        insta::assert_snapshot!(error, @"tensor a is of type F64; only F32 can be read");
    }

    #[test]
    fn wrong_lengths_in_a_header_are_errors() {
        let huge = plain("{}", &[]);
        for length in [3, 100_000_000, 1 << 40, u64::MAX - 7, u64::MAX] {
            let mut lying = huge.clone();
            lying[..8].copy_from_slice(&length.to_le_bytes());
            assert!(matches!(Parsed::new(&lying), Err(FileError::NoHeader { .. })), "{length}");
        }
        // The sizes of the eight tensors add up to 2^64 - 8. Adding the length of the header to
        // this sum would overflow.
        let size = 1_u64 << 61;
        let tensor = |i: u64, size: u64| {
            let from = i << 61;
            let to = from + size;
            format!(r#""t{i}":{{"dtype":"U8","shape":[{size}],"data_offsets":[{from},{to}]}}"#)
        };
        let mut tensors: Vec<String> = (0..7).map(|i| tensor(i, size)).collect();
        tensors.push(tensor(7, size - 8));
        let bytes = plain(&format!("{{{}}}", tensors.join(",")), &[]);
        assert!(Parsed::new(&bytes).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in any::<Vec<u8>>(), header in "[{}\\[\\]\",:a-z0-9_]*") {
            prop_assert!(decode(Step(0), &bytes).is_err());
            prop_assert!(decode(Step(0), &plain(&header, &bytes)).is_err());
        }

        #[test]
        fn mutated_checkpoint_is_never_valid(
            edits in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..8),
            cut in any::<Option<u16>>(),
        ) {
            let bytes = encode(&checkpoint_of(Step(200), 3));
            let mut mutated = bytes.clone();
            for (at, value) in edits {
                let at = usize::from(at) % mutated.len();
                mutated[at] = value;
            }
            if let Some(cut) = cut {
                mutated.truncate(usize::from(cut) % bytes.len());
            }
            prop_assume!(mutated != bytes);
            prop_assert!(decode(Step(200), &mutated).is_err());
        }
    }
}
