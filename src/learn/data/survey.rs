//! What is in the folder of a data set, file by file: as much as can be said when not all is right.
//!
//! [`Dataset`](super::Dataset) stops at the first thing that is wrong; this does not.

use std::path::{Path, PathBuf};

use super::dataset::FILE_NAMES;
use super::idx::{IdxError, Images, Shape, parse_labels};
use super::idx_file::{Compression, FileError, IdxFile};
use unisono_files::sha256;

use super::Published;

/// What is in a folder.
#[derive(Debug)]
pub struct Survey {
    /// Its files, in the order of [`FILE_NAMES`].
    pub files: [Result<FileSurvey, FileError>; 4],
}

/// What is in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSurvey {
    /// Where it is.
    pub path: PathBuf,
    /// How it is stored.
    pub compression: Compression,
    /// Bytes that it takes on the disk.
    pub stored_len: u64,
    /// What it holds.
    pub shape: Shape,
    /// SHA-256 of its content, uncompressed.
    pub sha256: String,
    /// Of labels: how often each number is there, up to the largest one. Else nothing.
    pub label_counts: Vec<usize>,
}

impl Survey {
    /// Looks at every file of a folder.
    #[must_use]
    pub fn of(dir: &Path) -> Self {
        Self { files: FILE_NAMES.map(|name| FileSurvey::of(dir, name)) }
    }

    /// The published data set that this is, if it is one.
    #[must_use]
    pub fn published(&self) -> Option<Published> {
        let digests = self.files.each_ref().map(|file| match file {
            Ok(file) => &*file.sha256,
            Err(_) => "",
        });
        Published::of_contents(digests)
    }
}

impl FileSurvey {
    fn of(dir: &Path, name: &str) -> Result<Self, FileError> {
        let file = IdxFile::read(dir, name)?;
        let shape = file.parse(Shape::parse)?;
        let labels = file.parse(|bytes| -> Result<_, IdxError> {
            if name.contains("labels") {
                return parse_labels(bytes).map(count);
            }
            Images::parse(bytes).map(|_| Vec::new())
        })?;
        let path = file.path().to_owned();
        let stored_len = std::fs::metadata(&path)
            .map_err(|source| FileError::Io { path: path.clone(), source })?
            .len();
        Ok(Self {
            path,
            compression: file.compression(),
            stored_len,
            shape,
            sha256: sha256::of_bytes(file.content()),
            label_counts: labels,
        })
    }
}

fn count(labels: &[u8]) -> Vec<usize> {
    let n_classes = labels.iter().max().map_or(0, |largest| usize::from(*largest) + 1);
    let mut counts = vec![0; n_classes];
    labels.iter().for_each(|label| counts[usize::from(*label)] += 1);
    counts
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::data::idx::tests::idx;
    use crate::data::idx_file::tests::gzip;

    #[test]
    fn every_file_is_looked_at_whatever_is_wrong_with_another() {
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
        assert!(matches!(train_images, Err(FileError::Idx { .. })), "{train_images:?}");
        assert!(matches!(test_labels, Err(FileError::Missing { .. })), "{test_labels:?}");
        let found = train_labels.expect("a good file");
        assert_eq!((found.compression, found.stored_len), (Compression::Gzip, labels.len() as u64));
        assert_eq!((found.shape.to_string(), found.label_counts), ("4".into(), vec![1, 1, 0, 2]));
        assert_eq!(found.sha256, sha256::of_bytes(&idx(&[4], &[3, 0, 3, 1])));
        let found = test_images.expect("a good file");
        assert_eq!((found.compression, found.stored_len), (Compression::Plain, 18));
        assert_eq!((found.shape.to_string(), found.label_counts), ("1 x 6".into(), vec![]));
    }
}
