//! Reads the files that the module [`idx`](super::idx) parses.
//!
//! This module finds a file, plain or gzip. The header of the file limits how many bytes this
//! module reads. This module does not interpret the elements.

use std::fs::File;
use std::io::{self, BufReader, Cursor, ErrorKind, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::file_names;
use super::gzip_file::GzipFile;
use super::idx::{IdxError, MAX_HEADER_LEN, Shape};

/// The reason why a file of a data set cannot be used.
#[derive(Debug, Error)]
pub enum FileError {
    /// The file or its folder does not exist. The text names the expected paths and a remedy.
    #[error("{0}")]
    Missing(String),
    /// The file cannot be read, or is not the expected IDX file.
    #[error("{}: {source}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: ContentError,
    },
}

/// The reason why the content of a file cannot be used.
#[derive(Debug, Error)]
pub enum ContentError {
    /// The operating system could not open or read the file.
    #[error("cannot be read: {0}; check that it is a readable file")]
    Io(io::Error),
    /// The file starts with the magic bytes of gzip, but is not valid gzip.
    #[error("is damaged gzip: {0}; fetch or copy it again")]
    Gzip(io::Error),
    /// The content is not the expected IDX file.
    #[error(transparent)]
    Idx(#[from] IdxError),
}

impl ContentError {
    pub(super) fn in_file(self, path: &Path) -> FileError {
        FileError::Content { path: path.to_owned(), source: self }
    }
}

/// The compression of a stored file. The first bytes of the file determine the compression, not the
/// file's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not compressed.
    Plain,
    /// Compressed with gzip.
    Gzip,
}

/// An IDX file, uncompressed and not yet parsed.
#[derive(Debug)]
pub(crate) struct IdxFile {
    path: PathBuf,
    compression: Compression,
    content: Vec<u8>,
}

impl IdxFile {
    /// Reads the file `name` of `dir`, plain or gzip, under any spelling that the module
    /// `file_names` lists.
    ///
    /// The buffer grows only as bytes are read, so a header that announces too many elements cannot
    /// cause a large allocation. The function reads one byte beyond the announced end, so that
    /// [`parse`](Self::parse) can notice a file that is too long.
    pub(crate) fn read(dir: &Path, name: &str) -> Result<Self, FileError> {
        let (path, file) = open(dir, name)?;
        let (compression, content) = read_content(file).map_err(|error| error.in_file(&path))?;
        Ok(Self { path, compression, content })
    }

    /// Decompresses a file that is part of the program.
    ///
    /// # Panics
    /// If the file is damaged.
    pub(crate) fn embedded(name: &str, file: &[u8]) -> Self {
        let (compression, content) =
            read_content(file).expect("an embedded file is a whole gzip IDX file");
        Self { path: name.into(), compression, content }
    }

    /// Parses the whole content with `parser`. The error of a failed parse names the file.
    pub(crate) fn parse<'a, T>(
        &'a self,
        parser: impl FnOnce(&'a [u8]) -> Result<T, IdxError>,
    ) -> Result<T, FileError> {
        parser(&self.content).map_err(|error| ContentError::Idx(error).in_file(&self.path))
    }

    /// Returns the uncompressed bytes.
    pub(crate) fn into_content(self) -> Vec<u8> {
        self.content
    }

    /// Returns the uncompressed bytes.
    pub(crate) fn content(&self) -> &[u8] {
        &self.content
    }

    pub(crate) const fn compression(&self) -> Compression {
        self.compression
    }

    /// Returns the path under which the file was found.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Opens the first candidate that is not a folder. Some archives unpack a file into a folder of the
/// same name, and the file itself may lie beside that folder.
fn open(dir: &Path, name: &str) -> Result<(PathBuf, File), FileError> {
    for path in file_names::candidates(dir, name) {
        let opened = File::open(&path).and_then(|file| {
            let is_folder = file.metadata()?.is_dir();
            Ok((file, is_folder))
        });
        match opened {
            Ok((_, true)) => {}
            Ok((file, false)) => return Ok((path, file)),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
            Err(error) => return Err(ContentError::Io(error).in_file(&path)),
        }
    }
    Err(missing(dir, name))
}

/// Returns the error for a file that does not exist under any accepted spelling of its name.
fn missing(dir: &Path, name: &str) -> FileError {
    let folder = dir.display();
    let remedy = format!(
        "give --data-dir a folder with the four IDX files of a data set (`unisono data fetch \
         --data-dir {folder}` fetches MNIST), or omit --data-dir to use the built-in digits"
    );
    if !dir.is_dir() {
        return FileError::Missing(format!("there is no folder {folder}; {remedy}"));
    }
    let plain = dir.join(name);
    let neither = format!("neither {0} nor {0}.gz exists", plain.display());
    let Some(similar) = file_names::similar(dir, name) else {
        return FileError::Missing(format!("{neither}; {remedy}"));
    };
    match qmnist_labels(&similar) {
        Some(error) => ContentError::Idx(error).in_file(&similar),
        None => FileError::Missing(format!(
            "{neither}; {} may be that file: rename or link it",
            similar.display()
        )),
    }
}

/// Returns an error if the file has QMNIST's labels, because renaming such a file would not help.
fn qmnist_labels(path: &Path) -> Option<IdxError> {
    // Any IDX header, plain or gzip, is shorter than this.
    const N_BYTES: u64 = 4096;
    match read_content(File::open(path).ok()?.take(N_BYTES)) {
        Err(ContentError::Idx(error @ IdxError::QmnistLabels { .. })) => Some(error),
        _ => None,
    }
}

pub(super) fn read_content(mut file: impl Read) -> Result<(Compression, Vec<u8>), ContentError> {
    const GZIP_MAGIC: &[u8] = &[0x1f, 0x8b];
    let mut magic = Vec::new();
    file.by_ref().take(2).read_to_end(&mut magic).map_err(ContentError::Io)?;
    let is_gzip = magic == GZIP_MAGIC;
    let file = Cursor::new(magic).chain(file);
    if is_gzip {
        let content = read_announced(GzipFile::new(BufReader::new(file)), ContentError::Gzip)?;
        Ok((Compression::Gzip, content))
    } else {
        Ok((Compression::Plain, read_announced(file, ContentError::Io)?))
    }
}

/// Reads as many bytes as the header announces, and one further byte if the file has more.
fn read_announced(
    mut reader: impl Read,
    io_error: fn(io::Error) -> ContentError,
) -> Result<Vec<u8>, ContentError> {
    let mut content = Vec::new();
    reader.by_ref().take(MAX_HEADER_LEN).read_to_end(&mut content).map_err(io_error)?;
    let shape = Shape::parse(&content)?;
    let missing = (shape.file_len() + 1).saturating_sub(content.len() as u64);
    // The extra byte (`+ 1`) also makes the gzip decoder reach the end of the file and verify its
    // checksum.
    reader.take(missing).read_to_end(&mut content).map_err(io_error)?;
    Ok(content)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::data::idx::parse_labels;
    use crate::data::idx::tests::idx;

    pub(crate) fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(content).expect("a Vec takes everything");
        encoder.finish().expect("a Vec takes everything")
    }

    /// Reads the file `labels` of a directory that holds `files`.
    fn labels_of(files: &[(&str, &[u8])]) -> Result<Vec<u8>, String> {
        let dir = tempfile::tempdir().expect("a temporary directory");
        for (name, bytes) in files {
            fs::write(dir.path().join(name), bytes).expect("a writable directory");
        }
        let labels = IdxFile::read(dir.path(), "labels")
            .and_then(|file| file.parse(parse_labels).map(<[u8]>::to_vec));
        let dir = dir.path().to_str().expect("UTF-8");
        labels.map_err(|e| e.to_string().replace(dir, "DIR"))
    }

    #[test]
    fn gzip_is_recognised_by_content_not_by_name() {
        let plain = idx(&[3], &[1, 2, 3]);
        let gzip = gzip(&plain);
        for file in [&plain, &gzip] {
            assert_eq!(labels_of(&[("labels", file)]), Ok(vec![1, 2, 3]));
            assert_eq!(labels_of(&[("labels.gz", file)]), Ok(vec![1, 2, 3]));
        }
    }

    #[test]
    fn plain_file_is_preferred_to_gzip() {
        let files = [("labels.gz", &gzip(&idx(&[1], &[1]))[..]), ("labels", &idx(&[1], &[2]))];
        assert_eq!(labels_of(&files), Ok(vec![2]));
    }

    #[test]
    fn gzip_of_several_members_is_one_file() {
        let content = idx(&[3], &[1, 2, 3]);
        let (head, tail) = content.split_at(9);
        let file = [gzip(head), gzip(tail)].concat();
        assert_eq!(labels_of(&[("labels.gz", &file)]), Ok(vec![1, 2, 3]));
    }

    #[test]
    fn error_for_a_missing_file_names_both_paths() {
        let error = labels_of(&[("other", b"")]).expect_err("there is no such file");
        assert_eq!(
            error,
            "neither DIR/labels nor DIR/labels.gz exists; give --data-dir a folder with the four \
             IDX files of a data set (`unisono data fetch --data-dir DIR` fetches MNIST), or omit \
             --data-dir to use the built-in digits"
        );
    }

    #[test]
    fn error_of_the_parser_names_the_file() {
        let error = labels_of(&[("labels.gz", &gzip(&idx(&[3], &[1, 2])))]);
        let wanted = "DIR/labels.gz: ends after 10 bytes, but needs 11; fetch or copy it again";
        assert_eq!(error, Err(wanted.to_owned()));
    }

    #[test]
    fn every_truncation_of_a_gzip_file_is_refused() {
        let file = gzip(&idx(&[5], &[1, 2, 3, 4, 5]));
        for len in 0..file.len() {
            let found = labels_of(&[("labels.gz", &file[..len])]);
            assert!(found.is_err(), "{len} of {} bytes: {found:?}", file.len());
        }
    }

    #[test]
    fn damage_that_only_the_checksum_reveals_is_refused() {
        // The content is longer than `MAX_HEADER_LEN`, so the first read does not reach the
        // checksum.
        let elements: Vec<u8> = (0..5000u32).map(|i| ((i * i) >> 3) as u8).collect();
        let mut file = gzip(&idx(&[5000], &elements));
        let checksum = file.len() - 8;
        file[checksum] ^= 1;
        let error = labels_of(&[("labels", &file)]).expect_err("a wrong checksum");
        assert!(error.starts_with("DIR/labels: is damaged gzip: "), "{error}");
    }

    #[test]
    fn bytes_after_the_end_are_refused_plain_and_gzip() {
        let long = idx(&[2], &[1, 2, 3]);
        let wanted = "has more than the 10 bytes that its header announces (2)";
        for file in [long.clone(), gzip(&long)] {
            let error = labels_of(&[("labels", &file)]).expect_err("a byte too many");
            assert!(error.contains(wanted), "{error}");
        }
        let garbage = [gzip(&idx(&[2], &[1, 2])), b"garbage".to_vec()].concat();
        let error = labels_of(&[("labels", &garbage)]).expect_err("garbage after the gzip");
        assert!(error.contains("is damaged gzip"), "{error}");
    }

    #[test]
    fn zeros_after_the_end_of_a_gzip_file_are_ignored() {
        for n_zeros in [1, 511, 100_000] {
            let padded = [gzip(&idx(&[2], &[1, 2])), vec![0; n_zeros]].concat();
            assert_eq!(labels_of(&[("labels.gz", &padded)]), Ok(vec![1, 2]));
        }
        let plain = [idx(&[2], &[1, 2]), vec![0]].concat();
        labels_of(&[("labels", &plain)]).expect_err("a plain file has no padding");
    }

    #[test]
    fn no_more_is_decompressed_than_the_header_announces() {
        let bomb = gzip(&idx(&[3], &vec![0; 10_000_000]));
        let (_, content) = read_content(&bomb[..]).expect("readable");
        assert!(content.len() as u64 <= MAX_HEADER_LEN, "{} bytes", content.len());
    }

    #[test]
    fn header_that_announces_too_much_allocates_no_more_than_the_file_holds() {
        for file in [idx(&[1 << 29], &[7; 100]), gzip(&idx(&[1 << 29], &[7; 100]))] {
            let (_, content) = read_content(&file[..]).expect("readable");
            assert!(content.capacity() < 10_000, "{} bytes", content.capacity());
            assert!(parse_labels(&content).is_err());
        }
    }

    #[test]
    fn folder_with_the_name_of_a_data_file_is_searched_for_the_file() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let name = "train-labels-idx1-ubyte";
        let folder = dir.path().join(name);
        fs::create_dir(&folder).expect("a writable directory");
        let error = IdxFile::read(dir.path(), name).expect_err("the folder is empty");
        assert!(error.to_string().starts_with("neither "), "{error}");
        fs::write(folder.join(name), idx(&[1], &[4])).expect("a writable directory");
        let file = IdxFile::read(dir.path(), name).expect("a file in a folder of its name");
        assert_eq!(file.parse(parse_labels).map(<[u8]>::to_vec).expect("labels"), [4]);
        fs::write(dir.path().join("train-labels.idx1-ubyte"), idx(&[1], &[5])).unwrap();
        let file = IdxFile::read(dir.path(), name).expect("a file beside the folder");
        assert_eq!(file.parse(parse_labels).map(<[u8]>::to_vec).expect("labels"), [5]);
    }

    #[test]
    fn error_points_out_a_file_of_a_similar_name() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("qmnist-train-labels-idx2-int.gz");
        let message = || {
            let error = IdxFile::read(dir.path(), "train-labels-idx1-ubyte");
            error.expect_err("it has another name").to_string()
        };
        fs::write(&path, gzip(&idx(&[1], &[3]))).expect("a writable directory");
        let wanted = "/qmnist-train-labels-idx2-int.gz may be that file: rename or link it";
        assert!(message().ends_with(wanted), "{}", message());
        fs::write(&path, gzip(&[0, 0, 12, 2, 0, 0, 0, 5, 0, 0, 0, 8])).expect("writable");
        let wanted = "/qmnist-train-labels-idx2-int.gz: holds 5 rows of 8 32-bit integers, as";
        assert!(message().contains(wanted), "{}", message());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..64), is_gzip in any::<bool>()) {
            let magic: &[u8] = if is_gzip { &[0x1f, 0x8b, 8] } else { &[] };
            let _ = read_content(&[magic, &bytes].concat()[..]);
        }

        #[test]
        fn mutated_gzip_is_read_or_refused(
            place in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut file = gzip(&idx(&[2000], &[3; 2000]));
            let place = place.index(file.len());
            file[place] = byte;
            if let Ok((_, content)) = read_content(&file[..]) {
                let _ = parse_labels(&content);
            }
        }
    }
}
