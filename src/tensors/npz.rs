//! numpy's npz format: a zip file with arrays. The zip contains a file for each array, which has
//! the name of the array with the suffix `.npy`.
//!
//! The npz format has no place for metadata. Therefore, metadata is stored as an additional array,
//! whose value is the text of a JSON object.

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _, Write as _};

use safetensors::tensor::Dtype;
use zip::result::ZipError;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::npy::{self, Npy};
use crate::tensor::Contents;

/// Name of the array that contains the metadata. Safetensors uses the same name.
const METADATA: &str = "__metadata__";

/// Suffix of a file name in the zip.
const ENDING: &str = ".npy";

/// The reason why an npz file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum NpzError {
    /// The file is not a zip, or is damaged.
    #[error("it is not a whole npz file: {0}")]
    Zip(#[from] ZipError),
    /// An array is damaged, or is not a valid tensor. The text has the array's name and the reason.
    #[error("{0}")]
    Array(String),
    /// The file uses an unsupported feature, although it may be undamaged. The text has the array's
    /// name and a remedy.
    #[error("{0}")]
    Unsupported(String),
    /// numpy does not have the type of a tensor.
    #[error("tensor {name} is of type {dtype}, which numpy does not have")]
    Type {
        /// Name of the tensor.
        name: String,
        /// Type of the tensor.
        dtype: Dtype,
    },
}

/// Decodes an npz file.
pub(super) fn decode(bytes: &[u8]) -> Result<Contents, NpzError> {
    let mut archive = ZipArchive::new(Cursor::new(bytes))?;
    let mut contents = Contents::default();
    for index in 0..archive.len() {
        let (name, array) = read_entry(&mut archive, index)?;
        let Some(name) = name.strip_suffix(ENDING) else {
            let why = format!("{name} is not an array: names in an npz file end in {ENDING}");
            return Err(NpzError::Unsupported(why));
        };
        let wrong = |why| NpzError::Array(format!("{name} cannot be read: {why}"));
        let npy = Npy::parse(&array).map_err(wrong)?;
        if name == METADATA {
            contents.metadata = npy.text().and_then(|text| metadata_in(&text)).map_err(wrong)?;
        } else {
            contents.tensors.insert(name.to_owned(), npy.tensor().map_err(wrong)?);
        }
    }
    Ok(contents)
}

fn read_entry(
    archive: &mut ZipArchive<Cursor<&[u8]>>,
    index: usize,
) -> Result<(String, Vec<u8>), NpzError> {
    // This check comes first, because the error of the zip crate would not name the entry.
    check_readable(archive, index)?;
    let mut entry = archive.by_index(index)?;
    let name = entry.name()?.into_owned();
    let mut bytes = Vec::new();
    // One byte more than the announced size is read, to detect an entry that is longer.
    let size = entry.size().saturating_add(1);
    let why = match entry.by_ref().take(size).read_to_end(&mut bytes) {
        Ok(n_bytes) if n_bytes as u64 == entry.size() => return Ok((name, bytes)),
        Ok(_) => "its length differs from the zip directory".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(NpzError::Array(format!("{name} is damaged: {why}")))
}

/// Rejects unsupported entries with an error that names the entry and the reason, because the error
/// of the zip crate would name neither the entry nor the reason.
fn check_readable(archive: &mut ZipArchive<Cursor<&[u8]>>, index: usize) -> Result<(), NpzError> {
    let entry = archive.by_index_raw(index)?;
    let name = || entry.name().map(std::borrow::Cow::into_owned);
    if entry.encrypted() {
        let why = format!("{} is encrypted: write the file without a password", name()?);
        return Err(NpzError::Unsupported(why));
    }
    match entry.compression() {
        CompressionMethod::Stored | CompressionMethod::Deflated => Ok(()),
        method => Err(NpzError::Unsupported(format!(
            "{} is compressed by {method}, but only stored and deflated arrays can be read: write the \
             file with numpy.savez or numpy.savez_compressed",
            name()?
        ))),
    }
}

fn metadata_in(text: &str) -> Result<BTreeMap<String, String>, String> {
    serde_json::from_str(text)
        .map_err(|error| format!("it is not a JSON object of strings: {error}"))
}

/// Returns the bytes of an npz file. The bytes depend only on the contents.
///
/// Entries are not compressed, so that numpy can map the file into memory.
pub(super) fn encode(contents: &Contents) -> Result<Vec<u8>, NpzError> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let mut add = |name: &str, array: &[u8]| -> Result<(), NpzError> {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(zip::DateTime::DEFAULT)
            .large_file(u32::try_from(array.len()).is_err());
        zip.start_file(format!("{name}{ENDING}"), options)?;
        zip.write_all(array).map_err(|error| NpzError::Zip(error.into()))
    };
    for (name, tensor) in &contents.tensors {
        let of_type = |dtype| NpzError::Type { name: name.clone(), dtype };
        add(name, &npy::encode(tensor).map_err(of_type)?)?;
    }
    if !contents.metadata.is_empty() {
        let json = serde_json::to_string(&contents.metadata).expect("strings are JSON");
        add(METADATA, &npy::encode_text(&json))?;
    }
    Ok(zip.finish()?.into_inner())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tensor::AnyTensor;

    fn contents() -> Contents {
        let bytes = [1.5f32, f32::NAN, -0.0, 3.0, 4.0, 5.0].map(f32::to_le_bytes).concat();
        let weights = AnyTensor { dtype: Dtype::F32, shape: vec![2, 3], bytes };
        let step = AnyTensor::new(Dtype::I64, &[], &300i64.to_le_bytes());
        Contents {
            metadata: [("k".to_owned(), "v \u{e9}".to_owned())].into(),
            tensors: [("layer1/weights", weights), ("global_step", step)]
                .map(|(name, tensor)| (name.to_owned(), tensor))
                .into(),
        }
    }

    #[test]
    fn contents_survive_a_round_trip_and_encode_to_the_same_bytes() {
        let bytes = encode(&contents()).unwrap();
        assert_eq!(decode(&bytes).unwrap(), contents());
        assert_eq!(encode(&contents()).unwrap(), bytes);
    }

    #[test]
    fn error_names_a_type_that_numpy_lacks() {
        let mut contents = contents();
        let tensor = AnyTensor::new(Dtype::BF16, &[1], &[0; 2]);
        contents.tensors.insert("half".to_owned(), tensor);
        let error = encode(&contents).unwrap_err().to_string();
        insta::assert_snapshot!(error, @"tensor half is of type BF16, which numpy does not have");
    }

    #[test]
    fn every_flipped_bit_of_an_array_is_detected() {
        let bytes = encode(&contents()).unwrap();
        let at = bytes.windows(4).position(|window| window == 1.5f32.to_le_bytes()).unwrap();
        for bit in 0..8 * 24 {
            let mut flipped = bytes.clone();
            flipped[at + bit / 8] ^= 1 << (bit % 8);
            let error = decode(&flipped).unwrap_err().to_string();
            assert!(error.contains("layer1/weights.npy is damaged"), "{error}");
        }
    }

    /// Returns a file in which one byte was changed in both headers of the first array: in the
    /// local header (APPNOTE 4.3.7) and in the central directory (4.3.12).
    fn patched(local: usize, central: usize, value: u8) -> Vec<u8> {
        let mut bytes = encode(&contents()).unwrap();
        let at = bytes.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
        bytes[local] = value;
        bytes[at + central] = value;
        bytes
    }

    #[test]
    fn unsupported_compression_is_reported_by_name_and_not_as_damage() {
        let told = |bytes: &[u8]| {
            let error = decode(bytes).unwrap_err();
            assert!(matches!(error, NpzError::Unsupported(_)));
            error.to_string()
        };
        for (number, method) in [(12, "Bzip2"), (14, "LZMA"), (93, "Zstd"), (9, "Deflate64")] {
            assert_eq!(
                told(&patched(8, 10, number)).to_lowercase(),
                format!(
                    "global_step.npy is compressed by {method}, but only stored and deflated \
                     arrays can be read: write the file with numpy.savez or numpy.savez_compressed"
                )
                .to_lowercase()
            );
        }
        assert_eq!(
            told(&patched(6, 8, 1)),
            "global_step.npy is encrypted: write the file without a password"
        );
    }

    #[test]
    fn error_names_an_entry_that_is_not_an_array() {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        zip.start_file("readme.txt", SimpleFileOptions::default()).unwrap();
        let bytes = zip.finish().unwrap().into_inner();
        let foreign = decode(&bytes).expect_err("it is no array");
        assert!(matches!(&foreign, NpzError::Unsupported(why) if why.starts_with("readme.txt is")));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(
            bytes: Vec<u8>,
            edits in proptest::collection::vec((any::<u16>(), any::<u8>()), 1..8),
        ) {
            let _ = decode(&bytes);
            let mut mutated = encode(&contents()).unwrap();
            for (at, value) in edits {
                let at = usize::from(at) % mutated.len();
                mutated[at] = value;
            }
            let _ = decode(&mutated);
        }
    }
}
