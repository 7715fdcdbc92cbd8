//! The images of a file as bytes. Zeros are left out if that takes less memory.
//!
//! Images are packed in place, so packing needs no more memory than the file.

use std::collections::VecDeque;
use std::hint::black_box;
use std::ops::Range;

/// The factor that converts a pixel's byte to a feature. TensorFlow also multiplies by this f32
/// reciprocal. A division by 255 would give other bits.
pub(crate) const PIXEL_SCALE: f32 = 1.0 / 255.0;

/// A pair of neighbouring pixels that are not both zero: first the pair's number within its image
/// as a little-endian `u16`, then both pixels.
type Packed = [u8; 4];

/// Bytes per cache line.
const LINE_BYTES: usize = 64;

/// Images of equal size. The pixels of each image form a row.
#[derive(Debug)]
pub(crate) struct PixelRows {
    n_rows: usize,
    n_features: usize,
    bytes: Vec<u8>,
    form: Form,
}

#[derive(Debug)]
enum Form {
    /// All pixels, row after row, from byte `start` on.
    Plain { start: usize },
    /// The pairs of each row that are not (0, 0), ascending. Row i consists of the pairs
    /// `starts[i]..starts[i + 1]`.
    Packed { starts: Vec<usize> },
}

impl PixelRows {
    /// Creates the rows from the content of a file. The images begin at byte `start` of the file:
    /// `n_rows` images, each of `n_features` pixels.
    ///
    /// # Panics
    /// If the file ends before the last image.
    pub(crate) fn new(file: Vec<u8>, start: usize, n_rows: usize, n_features: usize) -> Self {
        let images = &file[start..start + n_rows * n_features];
        let starts = packed_starts(images, n_features);
        let n_bytes = size_of::<Packed>() * starts[starts.len() - 1];
        // Packing pays only for images with many zeros; other images would grow. A packed pair
        // stores its number in 16 bits, so an image may have at most 2^16 pairs.
        if n_bytes >= images.len() || n_features.div_ceil(2) > 1 << u16::BITS {
            return Self { n_rows, n_features, bytes: file, form: Form::Plain { start } };
        }
        let bytes = pack(file, start..start + n_rows * n_features, n_features);
        Self { n_rows, n_features, bytes, form: Form::Packed { starts } }
    }

    /// Returns the number of pixels per image.
    pub(crate) const fn n_features(&self) -> usize {
        self.n_features
    }

    /// Returns the number of images.
    pub(crate) const fn len(&self) -> usize {
        self.n_rows
    }

    /// Loads a row into the CPU's caches. The cache misses of consecutive calls overlap, so loading
    /// a whole batch takes little longer than loading one row.
    #[inline]
    pub(crate) fn touch(&self, row: usize) {
        let bytes = match &self.form {
            Form::Plain { start } => {
                let start = start + row * self.n_features;
                start..start + self.n_features
            }
            Form::Packed { starts } => {
                size_of::<Packed>() * starts[row]..size_of::<Packed>() * starts[row + 1]
            }
        };
        black_box(self.bytes[bytes].iter().step_by(LINE_BYTES).fold(0, |all, byte| all | byte));
    }

    /// Visits the pairs of pixels (2·p, 2·p + 1) of a row in ascending order of p. Calls `take`
    /// with p and both values, unless both pixels are zero.
    #[inline]
    pub(crate) fn for_each_pair(&self, row: usize, mut take: impl FnMut(u32, [f32; 2])) {
        let value = |pixel: u8| f32::from(pixel) * PIXEL_SCALE;
        match &self.form {
            Form::Plain { start } => {
                let pixels = &self.bytes[start + row * self.n_features..][..self.n_features];
                pairs(pixels).for_each(|(pair, pixels)| take(pair as u32, pixels.map(value)));
            }
            Form::Packed { starts } => {
                let (packed, _) = self.bytes.as_chunks();
                for &[low, high, even, odd] in &packed[starts[row]..starts[row + 1]] {
                    let pair = u16::from_le_bytes([low, high]);
                    take(pair.into(), [value(even), value(odd)]);
                }
            }
        }
    }
}

/// Returns the index of each row's first pair, where only pairs other than (0, 0) count. The last
/// element is the number of all these pairs.
fn packed_starts(images: &[u8], n_features: usize) -> Vec<usize> {
    let mut starts = vec![0];
    let mut end = 0;
    starts.extend(images.chunks_exact(n_features.max(1)).map(|row| {
        end += pairs(row).count();
        end
    }));
    starts
}

/// Packs the images of a file into the buffer that holds the file. The packed images start at the
/// beginning of the buffer.
fn pack(mut file: Vec<u8>, images: Range<usize>, n_features: usize) -> Vec<u8> {
    // Packed bytes wait here while their place in the buffer still has rows that are not read. They
    // may have to wait, because a row with few zeros is longer packed than plain.
    let mut pending = VecDeque::new();
    let mut end = 0;
    for start in images.step_by(n_features) {
        let row = &file[start..start + n_features];
        for (pair, [even, odd]) in pairs(row) {
            let [low, high] = (pair as u16).to_le_bytes();
            pending.extend([low, high, even, odd]);
        }
        // All bytes up to the end of this row have been read and may be overwritten.
        let n_bytes = pending.len().min(start + n_features - end);
        for (place, byte) in file[end..].iter_mut().zip(pending.drain(..n_bytes)) {
            *place = byte;
        }
        end += n_bytes;
    }
    assert!(pending.is_empty(), "packed images are smaller than plain ones");
    file.truncate(end);
    file.shrink_to_fit();
    file
}

/// Number of bytes that are compared with zero at once. Most chunks of this length are all zero.
/// The number is even, so that no pair of pixels is split.
const CHUNK: usize = 8;

/// Returns the pairs of pixels of a row that are not (0, 0). Each item is the index of a pair and
/// the two pixels. If the row has an odd number of pixels, the second pixel of the last pair counts
/// as 0.
fn pairs(row: &[u8]) -> impl Iterator<Item = (usize, [u8; 2])> {
    let chunks = row.chunks(CHUNK).zip((0..).step_by(CHUNK / 2));
    let chunks = chunks.filter(|(chunk, _)| chunk.iter().fold(0, |all, byte| all | byte) != 0);
    let pairs = chunks.flat_map(|(chunk, first)| (first..).zip(chunk.chunks(2)));
    let pairs = pairs.map(|(pair, pixels)| (pair, [pixels[0], *pixels.get(1).unwrap_or(&0)]));
    pairs.filter(|(_, pixels)| *pixels != [0; 2])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Generates bytes that consist of two parts with different shares of zeros.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let mostly = |zeros| {
            let byte = prop_oneof![zeros => Just(0), 10 => any::<u8>()];
            prop::collection::vec(byte, 0..150)
        };
        (0_u32..100, 0_u32..100)
            .prop_flat_map(move |(a, b)| (mostly(a), mostly(b)))
            .prop_map(|(a, b)| [a, b].concat())
    }

    proptest! {
        #[test]
        fn plain_and_compact_images_return_exactly_the_non_zero_pairs(
            n_features in 1_usize..30,
            header in 0_usize..20,
            bytes in bytes(),
        ) {
            let n_rows = bytes.len() / n_features;
            let images = &bytes[..n_rows * n_features];
            let file = [&vec![7; header], images].concat();
            let len = file.len();
            let rows = PixelRows::new(file, header, n_rows, n_features);
            let pairs_of = |row: &[u8]| {
                let mut row = row.to_vec();
                row.resize(n_features.next_multiple_of(2), 0);
                let pairs = (0_u32..).zip(row.as_chunks::<2>().0.to_vec());
                pairs.filter(|(_, pair)| *pair != [0; 2]).collect::<Vec<_>>()
            };
            let n_pairs: usize = images.chunks_exact(n_features).map(|row| pairs_of(row).len()).sum();
            let is_packed = matches!(rows.form, Form::Packed { .. });
            prop_assert_eq!(is_packed, 4 * n_pairs < images.len());
            prop_assert_eq!(rows.bytes.len(), if is_packed { 4 * n_pairs } else { len });
            for (row, pixels) in images.chunks_exact(n_features).enumerate() {
                let mut found = Vec::new();
                rows.for_each_pair(row, |pair, values| found.push((pair, values)));
                let value = |byte: u8| f32::from(byte) * PIXEL_SCALE;
                let want = pairs_of(pixels).into_iter().map(|(pair, bytes)| (pair, bytes.map(value)));
                prop_assert_eq!(found, want.collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn images_with_more_than_65536_pairs_are_kept_plain() {
        for (n_features, is_packed) in [(131_072, true), (131_073, false)] {
            let mut file = vec![0; n_features];
            file[n_features - 1] = 255;
            let rows = PixelRows::new(file, 0, 1, n_features);
            assert_eq!(matches!(rows.form, Form::Packed { .. }), is_packed);
            let mut pairs = Vec::new();
            rows.for_each_pair(0, |pair, _| pairs.push(pair));
            assert_eq!(pairs, [(n_features as u32 - 1) / 2]);
        }
    }
}
