//! The file layer of [`idx`](super::idx): finds a file, plain or gzip, and reads no more of it
//! than its header announces. It does not look at the elements.

use std::fs::File;
use std::io::{self, BufReader, Cursor, ErrorKind, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::file_names;
use super::gzip_file::GzipFile;
use super::idx::{IdxError, MAX_HEADER_LEN, Shape};

/// Why a file of a data set cannot be used.
#[derive(Debug, Error)]
pub enum FileError {
    /// There is not even a folder.
    #[error(
        "there is no folder {0}; --data-dir is the folder of a data set's four IDX files, and \
         without it the built-in digits are used: `unisono data fetch --data-dir {0}` gets MNIST",
        folder.display()
    )]
    NoFolder {
        /// Where it should be.
        folder: PathBuf,
    },
    /// There is no file of this name, in no spelling that is read.
    #[error(
        "neither {} nor {} exists; --data-dir is the folder of a data set's four IDX files, and \
         without it the built-in digits are used: `unisono data fetch --data-dir {}` gets MNIST",
        plain.display(), gzip.display(), plain.parent().unwrap_or_else(|| Path::new(".")).display()
    )]
    Missing {
        /// The first path that was tried.
        plain: PathBuf,
        /// The second.
        gzip: PathBuf,
    },
    /// There is no file of this name, but one that may be meant.
    #[error(
        "neither {} nor {} exists; {} may be that file: rename or link it", plain.display(),
        gzip.display(), similar.display()
    )]
    OtherName {
        /// The first path that was tried.
        plain: PathBuf,
        /// The second.
        gzip: PathBuf,
        /// The file that may be meant.
        similar: PathBuf,
    },
    /// The operating system refused.
    #[error("{}: cannot be read: {source}; check that it is a readable file", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It starts as gzip but is not one, from end to end.
    #[error("{}: is damaged gzip: {source}; fetch or copy it again", path.display())]
    Gzip {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        source: io::Error,
    },
    /// Its content is not the IDX that was wanted.
    #[error("{}: {source}", path.display())]
    Idx {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: IdxError,
    },
}

/// How a file is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// As it is.
    Plain,
    /// As gzip, whatever its name is.
    Gzip,
}

/// An IDX file, uncompressed and as yet unparsed.
#[derive(Debug)]
pub(crate) struct IdxFile {
    path: PathBuf,
    compression: Compression,
    content: Vec<u8>,
}

impl IdxFile {
    /// Reads the file `name` of `dir`, in any spelling of `file_names`. Each may be gzip.
    ///
    /// Memory follows the bytes that are really there, and ends one byte after those that the
    /// header announces: enough for [`parse`](Self::parse) to see that there are more.
    pub(crate) fn read(dir: &Path, name: &str) -> Result<Self, FileError> {
        let (path, file) = open(dir, name)?;
        match read_content(file) {
            Ok((compression, content)) => Ok(Self { path, compression, content }),
            Err(ContentError::Io(source)) => Err(FileError::Io { path, source }),
            Err(ContentError::Gzip(source)) => Err(FileError::Gzip { path, source }),
            Err(ContentError::Idx(source)) => Err(FileError::Idx { path, source }),
        }
    }

    /// Decompresses a file that was compiled in.
    ///
    /// # Panics
    /// If it is damaged.
    pub(crate) fn embedded(name: &str, file: &[u8]) -> Self {
        let (compression, content) =
            read_content(file).expect("an embedded file is a whole gzip IDX file");
        Self { path: name.into(), compression, content }
    }

    /// What `parser` makes of the whole content; its error names the file.
    pub(crate) fn parse<'a, T>(
        &'a self,
        parser: impl FnOnce(&'a [u8]) -> Result<T, IdxError>,
    ) -> Result<T, FileError> {
        parser(&self.content).map_err(|source| FileError::Idx { path: self.path.clone(), source })
    }

    /// All of its bytes.
    pub(crate) fn into_content(self) -> Vec<u8> {
        self.content
    }

    /// All of its bytes, uncompressed.
    pub(crate) fn content(&self) -> &[u8] {
        &self.content
    }

    /// How it is stored.
    pub(crate) const fn compression(&self) -> Compression {
        self.compression
    }

    /// Where it was found.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// Opens the first of the candidates that is not a folder. An archive may unpack to a folder of the
/// file's name beside the file itself.
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
            Err(source) => return Err(FileError::Io { path, source }),
        }
    }
    if !dir.is_dir() {
        return Err(FileError::NoFolder { folder: dir.to_owned() });
    }
    let (plain, gzip) = (dir.join(name), dir.join(format!("{name}.gz")));
    Err(match file_names::similar(dir, name) {
        Some(similar) => match qmnist_labels(&similar) {
            Some(source) => FileError::Idx { path: similar, source },
            None => FileError::OtherName { plain, gzip, similar },
        },
        None => FileError::Missing { plain, gzip },
    })
}

/// The error that a file of QMNIST's labels is; such a file does not help under another name.
fn qmnist_labels(path: &Path) -> Option<IdxError> {
    // Enough for the header of any IDX file, compressed or not.
    const N_BYTES: u64 = 4096;
    match read_content(File::open(path).ok()?.take(N_BYTES)) {
        Err(ContentError::Idx(error @ IdxError::QmnistLabels { .. })) => Some(error),
        _ => None,
    }
}

#[derive(Debug)]
pub(super) enum ContentError {
    Io(io::Error),
    Gzip(io::Error),
    Idx(IdxError),
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

/// Reads what the header announces and, if there is more, one byte of that.
fn read_announced(
    mut reader: impl Read,
    io_error: fn(io::Error) -> ContentError,
) -> Result<Vec<u8>, ContentError> {
    let mut content = Vec::new();
    reader.by_ref().take(MAX_HEADER_LEN).read_to_end(&mut content).map_err(io_error)?;
    let shape = Shape::parse(&content).map_err(ContentError::Idx)?;
    let missing = (shape.file_len() + 1).saturating_sub(content.len() as u64);
    // Up to the very end, so that the decoder checks the checksum there.
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

    /// The labels, or the error, of a directory that holds `files`.
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
    fn plain_and_gzip_are_told_apart_by_content_not_by_name() {
        let plain = idx(&[3], &[1, 2, 3]);
        let gzip = gzip(&plain);
        for file in [&plain, &gzip] {
            assert_eq!(labels_of(&[("labels", file)]), Ok(vec![1, 2, 3]));
            assert_eq!(labels_of(&[("labels.gz", file)]), Ok(vec![1, 2, 3]));
        }
    }

    #[test]
    fn the_plain_file_is_preferred() {
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
    fn a_missing_file_names_both_paths() {
        let error = labels_of(&[("other", b"")]).expect_err("there is no such file");
        assert_eq!(
            error,
            "neither DIR/labels nor DIR/labels.gz exists; --data-dir is the folder of a data set's \
             four IDX files, and without it the built-in digits are used: `unisono data fetch \
             --data-dir DIR` gets MNIST"
        );
    }

    #[test]
    fn an_error_names_the_file() {
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
    fn damage_that_only_the_checksum_shows_is_refused() {
        // Long enough that the elements are read after the header was.
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
        let wanted = "goes on after the 10 bytes that its header announces (2)";
        for file in [long.clone(), gzip(&long)] {
            let error = labels_of(&[("labels", &file)]).expect_err("a byte too many");
            assert!(error.contains(wanted), "{error}");
        }
        let garbage = [gzip(&idx(&[2], &[1, 2])), b"garbage".to_vec()].concat();
        let error = labels_of(&[("labels", &garbage)]).expect_err("garbage after the gzip");
        assert!(error.contains("is damaged gzip"), "{error}");
    }

    #[test]
    fn zeros_after_the_end_of_a_gzip_file_are_padding() {
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
    fn a_lying_header_allocates_no_more_than_the_file_holds() {
        for file in [idx(&[1 << 29], &[7; 100]), gzip(&idx(&[1 << 29], &[7; 100]))] {
            let (_, content) = read_content(&file[..]).expect("readable");
            assert!(content.capacity() < 10_000, "{} bytes", content.capacity());
            assert!(parse_labels(&content).is_err());
        }
    }

    #[test]
    fn a_folder_in_place_of_a_file_is_read_if_it_has_that_file_and_skipped_otherwise() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let name = "train-labels-idx1-ubyte";
        let folder = dir.path().join(name);
        fs::create_dir(&folder).expect("a writable directory");
        let error = IdxFile::read(dir.path(), name).expect_err("the folder is empty");
        assert!(matches!(error, FileError::Missing { .. }), "{error}");
        fs::write(folder.join(name), idx(&[1], &[4])).expect("a writable directory");
        let file = IdxFile::read(dir.path(), name).expect("a file in a folder of its name");
        assert_eq!(file.parse(parse_labels).map(<[u8]>::to_vec).expect("labels"), [4]);
        fs::write(dir.path().join("train-labels.idx1-ubyte"), idx(&[1], &[5])).unwrap();
        let file = IdxFile::read(dir.path(), name).expect("a file beside the folder");
        assert_eq!(file.parse(parse_labels).map(<[u8]>::to_vec).expect("labels"), [5]);
    }

    #[test]
    fn a_file_under_another_name_is_pointed_out() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("qmnist-train-labels-idx2-int.gz");
        let told = || {
            let error = IdxFile::read(dir.path(), "train-labels-idx1-ubyte");
            error.expect_err("it has another name").to_string()
        };
        fs::write(&path, gzip(&idx(&[1], &[3]))).expect("a writable directory");
        let wanted = "/qmnist-train-labels-idx2-int.gz may be that file: rename or link it";
        assert!(told().ends_with(wanted), "{}", told());
        fs::write(&path, gzip(&[0, 0, 12, 2, 0, 0, 0, 5, 0, 0, 0, 8])).expect("writable");
        let wanted = "/qmnist-train-labels-idx2-int.gz: holds 5 rows of 8 32-bit integers, as";
        assert!(told().contains(wanted), "{}", told());
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
