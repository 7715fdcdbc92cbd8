//! IDX, the format of MNIST's files: a header with the shape, then the elements, row by row.
//!
//! This module only parses bytes. The module `idx_file` opens and decompresses files.

use std::fmt;

use thiserror::Error;

/// Largest accepted length of an uncompressed IDX file, in bytes. The limit is needed because a few
/// bytes of gzip can expand to any size. The largest data set in use, EMNIST, has a file of 638 MB.
pub const MAX_FILE_LEN: u64 = 1 << 30;

/// Length in bytes of the longest header: 4 bytes of magic, then 255 dimensions of 4 bytes.
pub const MAX_HEADER_LEN: u64 = 4 + 255 * 4;

/// The type code of unsigned bytes, the only element type that is read.
const UNSIGNED_BYTE: u8 = 0x08;

/// The type code of 32-bit integers.
const INT: u8 = 0x0c;

/// The reason why bytes are not the expected IDX file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IdxError {
    /// The file ends within its header, or before its last element.
    #[error("ends after {len} bytes, but needs {expected}; fetch or copy it again")]
    Truncated {
        /// Length of the file in bytes.
        len: u64,
        /// Expected length of the file in bytes. If the header is incomplete, this is the expected
        /// length of the header.
        expected: u64,
    },
    /// The file has bytes after its last element.
    #[error(
        "has more than the {expected} bytes that its header announces ({shape}); \
         fetch or copy it again"
    )]
    TrailingBytes {
        /// Expected length in bytes.
        expected: u64,
        /// The shape in the header.
        shape: Shape,
    },
    /// The file does not start with two zero bytes.
    #[error(
        "starts with the bytes {:02x} {:02x}, but an IDX file starts with 00 00; \
         give the IDX file itself, plain or as gzip", found[0], found[1]
    )]
    Magic {
        /// The first two bytes.
        found: [u8; 2],
    },
    /// The elements are not unsigned bytes.
    #[error(
        "has elements of type 0x{code:02x} ({}), but only unsigned bytes (0x08) are read; \
         convert it", type_name(*code)
    )]
    ElementType {
        /// The type code, which is the third byte of the file.
        code: u8,
    },
    /// The file has labels in the format of QMNIST.
    #[error(
        "holds {n_labels} rows of 8 32-bit integers, as QMNIST's labels do, but only labels of one \
         unsigned byte each are read; write the first integer of every row as a byte, in an IDX \
         file of the shape {n_labels}"
    )]
    QmnistLabels {
        /// Number of rows, which is the number of labels.
        n_labels: u32,
    },
    /// The header announces a file longer than [`MAX_FILE_LEN`].
    #[error("announces {shape} elements, but at most {MAX_FILE_LEN} bytes are read; use fewer")]
    TooLarge {
        /// The shape in the header.
        shape: Shape,
    },
    /// The number of dimensions does not fit the content. A file of images has at least 2
    /// dimensions, and a file of labels has 1.
    #[error("has the shape {shape}, but {rule}")]
    Rank {
        /// The shape in the header.
        shape: Shape,
        /// The rule that the shape breaks, and a remedy.
        rule: &'static str,
    },
    /// The header announces no images, or images without pixels.
    #[error("has the shape {shape}, which holds no pixel; give a file with examples in it")]
    NoPixels {
        /// The shape in the header.
        shape: Shape,
    },
}

/// The dimensions that the header of an IDX file announces. [`Self::parse`] returns no shape whose
/// file would be longer than [`MAX_FILE_LEN`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape(Vec<u32>);

impl Shape {
    /// Parses the header at the start of `bytes`, and ignores the bytes after the header.
    ///
    /// # Errors
    /// If `bytes` do not start with the header of an IDX file of unsigned bytes, or if the header
    /// announces a file longer than [`MAX_FILE_LEN`].
    pub fn parse(bytes: &[u8]) -> Result<Self, IdxError> {
        let truncated = |expected| IdxError::Truncated { len: bytes.len() as u64, expected };
        let (&[zero, zero_too, code, rank], rest) =
            bytes.split_first_chunk().ok_or_else(|| truncated(4))?;
        if (zero, zero_too) != (0, 0) {
            return Err(IdxError::Magic { found: [zero, zero_too] });
        }
        let (dims, _) = rest.as_chunks();
        if code != UNSIGNED_BYTE {
            return Err(match (code, rank, dims) {
                (INT, 2, &[n_labels, [0, 0, 0, 8], ..]) => {
                    IdxError::QmnistLabels { n_labels: u32::from_be_bytes(n_labels) }
                }
                _ => IdxError::ElementType { code },
            });
        }
        let rank = usize::from(rank);
        let dims = dims.get(..rank).ok_or_else(|| truncated(header_len(rank)))?;
        let shape = Self(dims.iter().map(|&dim| u32::from_be_bytes(dim)).collect());
        match shape.checked_file_len() {
            Some(0..=MAX_FILE_LEN) => Ok(shape),
            _ => Err(IdxError::TooLarge { shape }),
        }
    }

    /// Returns the length of the whole file in bytes: header and elements.
    #[must_use]
    pub fn file_len(&self) -> u64 {
        self.checked_file_len().expect("a longer file was refused when the header was parsed")
    }

    fn checked_file_len(&self) -> Option<u64> {
        let elements = self.0.iter().try_fold(1u64, |n, &dim| n.checked_mul(u64::from(dim)))?;
        elements.checked_add(header_len(self.0.len()))
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Maximum number of dimensions to show. A damaged header can have 255 dimensions, and an
        /// error should fit in one line.
        const MAX_SHOWN: usize = 6;
        if self.0.is_empty() {
            return f.write_str("of a single number");
        }
        for (i, dim) in self.0.iter().take(MAX_SHOWN).enumerate() {
            write!(f, "{}{dim}", if i == 0 { "" } else { " x " })?;
        }
        match self.0.len().saturating_sub(MAX_SHOWN) {
            0 => Ok(()),
            more => write!(f, " x ... ({more} more)"),
        }
    }
}

/// The images of an IDX file of rank 2 or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Images<'a> {
    pixels: &'a [u8],
    n_pixels_each: usize,
    shape_of_each: Vec<usize>,
}

impl<'a> Images<'a> {
    /// Parses one whole IDX file of images.
    ///
    /// The first dimension is the number of images. The product of the other dimensions is the
    /// number of pixels per image. Both numbers are at least 1.
    ///
    /// # Errors
    /// If `bytes` are not exactly one IDX file of images.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, IdxError> {
        let (shape, pixels) = parse(bytes)?;
        if shape.0.len() < 2 {
            let rule = "images have at least 2 dimensions; give the file of the images";
            return Err(IdxError::Rank { shape, rule });
        }
        if pixels.is_empty() {
            return Err(IdxError::NoPixels { shape });
        }
        let shape_of_each: Vec<_> = shape.0[1..].iter().map(|size| *size as usize).collect();
        Ok(Self { pixels, n_pixels_each: pixels.len() / shape.0[0] as usize, shape_of_each })
    }

    /// Returns the number of images.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.pixels.len() / self.n_pixels_each
    }

    /// Always returns `false`, because a file has at least one image.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of pixels per image, at least 1.
    #[must_use]
    pub const fn n_pixels_each(&self) -> usize {
        self.n_pixels_each
    }

    /// Returns the dimensions of each image.
    #[must_use]
    pub fn shape_of_each(&self) -> Vec<usize> {
        self.shape_of_each.clone()
    }

    /// Returns the pixels of all images, one image after the other.
    #[must_use]
    pub const fn pixels(&self) -> &'a [u8] {
        self.pixels
    }
}

/// Parses one whole IDX file of labels, which has rank 1.
///
/// # Errors
/// If `bytes` are not exactly one IDX file of labels.
pub fn parse_labels(bytes: &[u8]) -> Result<&[u8], IdxError> {
    let (shape, labels) = parse(bytes)?;
    if shape.0.len() != 1 {
        let rule = "labels have exactly 1 dimension; give the file of the labels";
        return Err(IdxError::Rank { shape, rule });
    }
    Ok(labels)
}

/// Splits one whole IDX file into its shape and its elements.
fn parse(bytes: &[u8]) -> Result<(Shape, &[u8]), IdxError> {
    let shape = Shape::parse(bytes)?;
    let (len, expected) = (bytes.len() as u64, shape.file_len());
    if len < expected {
        return Err(IdxError::Truncated { len, expected });
    }
    if len > expected {
        return Err(IdxError::TrailingBytes { expected, shape });
    }
    let elements = &bytes[header_len(shape.0.len()) as usize..];
    Ok((shape, elements))
}

const fn header_len(rank: usize) -> u64 {
    4 + 4 * rank as u64
}

const fn type_name(code: u8) -> &'static str {
    match code {
        0x09 => "signed bytes",
        0x0b => "16-bit integers",
        INT => "32-bit integers",
        0x0d => "32-bit floats",
        0x0e => "64-bit floats",
        _ => "unknown",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Builds an IDX file with the shape `dims` and these elements, even if the shape and the
    /// elements do not fit together.
    pub(crate) fn idx(dims: &[u32], elements: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0, 0, UNSIGNED_BYTE, dims.len() as u8];
        bytes.extend(dims.iter().flat_map(|dim| dim.to_be_bytes()));
        bytes.extend(elements);
        bytes
    }

    fn error<T: fmt::Debug>(result: Result<T, IdxError>) -> String {
        result.expect_err("this file is wrong").to_string()
    }

    #[test]
    fn images_of_any_rank_above_one_are_rows_of_pixels() {
        for dims in [&[2, 6][..], &[2, 2, 3], &[2, 1, 3, 2]] {
            let bytes = idx(dims, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
            let images = Images::parse(&bytes).expect("a whole file");
            assert_eq!((images.len(), images.n_pixels_each()), (2, 6));
            assert_eq!(images.pixels(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        }
    }

    #[test]
    fn labels_are_the_bytes_of_a_file_of_one_dimension() {
        assert_eq!(parse_labels(&idx(&[3], &[7, 0, 255])), Ok(&[7, 0, 255][..]));
        assert_eq!(parse_labels(&idx(&[0], &[])), Ok(&[][..]));
    }

    #[test]
    fn error_names_the_defect_and_the_remedy() {
        let images = |bytes: &[u8]| error(Images::parse(bytes));
        let pixels = [0; 12];
        let cases = [
            (images(&[]), "ends after 0 bytes, but needs 4; fetch or copy it again"),
            (images(&[0, 0, 8, 3, 0]), "ends after 5 bytes, but needs 16; fetch or copy it again"),
            (
                images(&idx(&[2, 2, 3], &pixels[1..])),
                "ends after 27 bytes, but needs 28; fetch or copy it again",
            ),
            (
                images(&idx(&[1, 2, 3], &pixels)),
                "has more than the 22 bytes that its header announces (1 x 2 x 3); \
                 fetch or copy it again",
            ),
            (
                images(b"PK\x03\x04"),
                "starts with the bytes 50 4b, but an IDX file starts with 00 00; \
                 give the IDX file itself, plain or as gzip",
            ),
            (
                images(&[0, 0, 0x0d, 1, 0, 0, 0, 0]),
                "has elements of type 0x0d (32-bit floats), but only unsigned bytes (0x08) are \
                 read; convert it",
            ),
            (
                images(&[0, 0, 0x0c, 2, 0, 0, 0xea, 0x60, 0, 0, 0, 8]),
                "holds 60000 rows of 8 32-bit integers, as QMNIST's labels do, but only labels of \
                 one unsigned byte each are read; write the first integer of every row as a byte, \
                 in an IDX file of the shape 60000",
            ),
            (
                images(&[0, 0, 0x0c, 2, 0, 0, 0, 1, 0, 0, 0, 9]),
                "has elements of type 0x0c (32-bit integers), but only unsigned bytes (0x08) are \
                 read; convert it",
            ),
            (
                images(&idx(&[12], &pixels)),
                "has the shape 12, but images have at least 2 dimensions; \
                 give the file of the images",
            ),
            (
                images(&idx(&[], &[1])),
                "has the shape of a single number, but images have at least 2 dimensions; \
                 give the file of the images",
            ),
            (
                error(parse_labels(&idx(&[1, 3, 4], &pixels))),
                "has the shape 1 x 3 x 4, but labels have exactly 1 dimension; \
                 give the file of the labels",
            ),
            (
                images(&idx(&[0, 28, 28], &[])),
                "has the shape 0 x 28 x 28, which holds no pixel; \
                 give a file with examples in it",
            ),
        ];
        for (found, wanted) in cases {
            assert_eq!(found, wanted);
        }
    }

    #[test]
    fn header_that_announces_too_large_a_file_is_refused() {
        // The product of the last shape's dimensions is 2^64, which overflows to 0.
        for dims in [&[u32::MAX; 3][..], &[1 << 15, 1 << 15], &[u32::MAX; 255], &[1 << 16; 4]] {
            let found = Shape::parse(&idx(dims, &[]));
            assert!(matches!(found, Err(IdxError::TooLarge { .. })), "{found:?}");
            assert!(error(found).len() < 200);
        }
        let largest = Shape::parse(&idx(&[(1 << 30) - 8], &[])).expect("just small enough");
        assert_eq!(largest.file_len(), MAX_FILE_LEN);
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in vec(any::<u8>(), 0..64)) {
            let _ = (Images::parse(&bytes), parse_labels(&bytes));
        }

        #[test]
        fn mutated_files_are_parsed_or_refused(
            dims in vec(0u32..5, 0..4),
            mutations in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            cut in prop::option::of(any::<prop::sample::Index>()),
        ) {
            let n_elements = dims.iter().product::<u32>() as usize;
            let mut bytes = idx(&dims, &vec![7; n_elements]);
            for (place, byte) in mutations {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            if let Ok(images) = Images::parse(&bytes) {
                prop_assert_eq!(images.len() * images.n_pixels_each(), images.pixels().len());
                prop_assert!(!images.is_empty());
            }
            let _ = parse_labels(&bytes);
        }

        #[test]
        fn built_file_parses_to_its_shape_and_elements(
            dims in vec(1u32..5, 2..5),
            seed in any::<u8>(),
        ) {
            let n_elements = dims.iter().product::<u32>() as usize;
            let elements: Vec<u8> = (0..n_elements).map(|i| seed.wrapping_add(i as u8)).collect();
            let bytes = idx(&dims, &elements);
            let images = Images::parse(&bytes).expect("a whole file");
            prop_assert_eq!(images.len(), dims[0] as usize);
            prop_assert_eq!(images.pixels(), &elements[..]);
        }
    }
}
