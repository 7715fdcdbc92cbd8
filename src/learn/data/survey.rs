//! A description of the files in a data set's folder.
//!
//! If a file is missing or damaged, a survey still describes the other files.
//! [`Dataset`](super::Dataset) stops at the first error instead.

use std::path::{Path, PathBuf};

use super::dataset::FILE_NAMES;
use super::idx::{Images, Shape, parse_labels};
use super::idx_file::{Compression, ContentError, FileError, IdxFile};
use unisono_files::sha256;

use super::Published;

/// A description of a data set's folder.
#[derive(Debug)]
pub struct Survey {
    /// The four files, in the order of [`FILE_NAMES`].
    pub files: [Result<FileSurvey, FileError>; 4],
}

/// A description of one IDX file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSurvey {
    /// Path of the file.
    pub path: PathBuf,
    /// Compression of the stored file.
    pub compression: Compression,
    /// Length of the stored file in bytes.
    pub stored_len: u64,
    /// Dimensions of the content.
    pub shape: Shape,
    /// SHA-256 of the uncompressed content, as 64 hexadecimal digits.
    pub sha256: String,
}

impl Survey {
    /// Reads every file of a folder.
    #[must_use]
    pub fn of(dir: &Path) -> Self {
        Self { files: FILE_NAMES.map(|name| FileSurvey::read(dir, name)) }
    }

    /// Returns the published data set that the folder contains, if any.
    #[must_use]
    pub fn published(&self) -> Option<Published> {
        // A file that cannot be read has no digest. The empty string takes its place, because it
        // differs from every published digest.
        let digests = self.files.each_ref().map(|file| match file {
            Ok(file) => &*file.sha256,
            Err(_) => "",
        });
        Published::of_contents(digests)
    }
}

impl FileSurvey {
    fn read(dir: &Path, name: &str) -> Result<Self, FileError> {
        let file = IdxFile::read(dir, name)?;
        let shape = file.parse(Shape::parse)?;
        if name.contains("labels") {
            file.parse(parse_labels)?;
        } else {
            file.parse(Images::parse)?;
        }
        let path = file.path().to_owned();
        let metadata = std::fs::metadata(&path);
        let metadata = metadata.map_err(|error| ContentError::Io(error).in_file(&path))?;
        Ok(Self {
            path,
            compression: file.compression(),
            stored_len: metadata.len(),
            shape,
            sha256: sha256::of_bytes(file.content()),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::data::idx::tests::idx;
    use crate::data::idx_file::tests::gzip;

    #[test]
    fn good_files_are_described_although_others_are_damaged_or_missing() {
        let dir = tempfile::tempdir().expect("a folder can be made");
        let write = |name: &str, bytes: &[u8]| {
            fs::write(dir.path().join(name), bytes).expect("a file can be written");
        };
        let labels = gzip(&idx(&[4], &[3, 0, 3, 1]));
        write(FILE_NAMES[0], &idx(&[4, 2, 3], &[0; 23]));
        write(&format!("{}.gz", FILE_NAMES[1]), &labels);
        write(FILE_NAMES[2], &idx(&[1, 6], &[9; 6]));
        let survey = Survey::of(dir.path());
        assert_eq!(survey.published(), None);
        let [train_images, train_labels, test_images, test_labels] = survey.files;
        let reason =
            |file: Result<FileSurvey, FileError>| file.expect_err("a bad file").to_string();
        assert!(reason(train_images).contains("ends after 39 bytes, but needs 40"));
        assert!(reason(test_labels).starts_with("neither "));
        let found = train_labels.expect("a good file");
        assert_eq!((found.compression, found.stored_len), (Compression::Gzip, labels.len() as u64));
        assert_eq!(found.shape.to_string(), "4");
        assert_eq!(found.sha256, sha256::of_bytes(&idx(&[4], &[3, 0, 3, 1])));
        let found = test_images.expect("a good file");
        assert_eq!((found.compression, found.stored_len), (Compression::Plain, 18));
        assert_eq!(found.shape.to_string(), "1 x 6");
    }
}
