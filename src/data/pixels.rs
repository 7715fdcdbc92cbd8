//! The images of a file, as bytes; with the zeros left out where that takes less room.
//!
//! It is done in place, so that no more memory is needed than the file took.

use std::collections::VecDeque;
use std::ops::Range;

/// A pixel's value is its byte times this: TensorFlow multiplies by the reciprocal in 32 bits.
pub(crate) const PIXEL_SCALE: f32 = 1.0 / 255.0;

/// Bytes of a pixel that is not zero, when the zeros are left out: two for its column, one for
/// itself.
const PACKED_BYTES: usize = 3;

/// Images of equal size, each a row of pixels.
#[derive(Debug)]
pub(crate) struct PixelRows {
    n_rows: usize,
    n_features: usize,
    bytes: Vec<u8>,
    form: Form,
}

#[derive(Debug)]
enum Form {
    /// One row behind the other, from byte `start` on.
    Plain { start: usize },
    /// Of each row the columns of the pixels that are not zero, ascending, little-endian, and then
    /// these pixels. Where each row starts is counted in pixels; there is one end.
    Packed { starts: Vec<usize> },
}

impl PixelRows {
    /// The images that are in a file from byte `start` on, `n_rows` of `n_features` pixels each.
    ///
    /// # Panics
    /// If the file ends before them.
    pub(crate) fn new(file: Vec<u8>, start: usize, n_rows: usize, n_features: usize) -> Self {
        let images = &file[start..start + n_rows * n_features];
        let starts = packed_starts(images, n_features);
        let is_smaller = PACKED_BYTES * starts[starts.len() - 1] < images.len();
        if !is_smaller || n_features > usize::from(u16::MAX) {
            return Self { n_rows, n_features, bytes: file, form: Form::Plain { start } };
        }
        let bytes = pack(file, start..start + n_rows * n_features, n_features);
        Self { n_rows, n_features, bytes, form: Form::Packed { starts } }
    }

    /// Pixels an image.
    pub(crate) const fn n_features(&self) -> usize {
        self.n_features
    }

    /// The number of images.
    pub(crate) const fn len(&self) -> usize {
        self.n_rows
    }

    /// Calls `take` with the column of each pixel of a row that is not zero, ascending, and its value.
    #[inline]
    pub(crate) fn for_each_pixel(&self, row: usize, mut take: impl FnMut(u32, f32)) {
        let value = |pixel: u8| f32::from(pixel) * PIXEL_SCALE;
        match &self.form {
            Form::Plain { start } => {
                let pixels = &self.bytes[start + row * self.n_features..][..self.n_features];
                non_zero(pixels).for_each(|(column, pixel)| take(column as u32, value(pixel)));
            }
            Form::Packed { starts } => {
                let range = starts[row]..starts[row + 1];
                let row = &self.bytes[PACKED_BYTES * range.start..PACKED_BYTES * range.end];
                let (columns, pixels) = row.split_at(2 * range.len());
                for (&column, &pixel) in columns.as_chunks().0.iter().zip(pixels) {
                    take(u16::from_le_bytes(column).into(), value(pixel));
                }
            }
        }
    }
}

/// Where each row starts if the zeros are left out.
fn packed_starts(images: &[u8], n_features: usize) -> Vec<usize> {
    let n_non_zero = |row: &[u8]| row.iter().map(|&pixel| usize::from(pixel != 0)).sum::<usize>();
    let mut starts = vec![0];
    let mut end = 0;
    starts.extend(images.chunks_exact(n_features.max(1)).map(|row| {
        end += n_non_zero(row);
        end
    }));
    starts
}

/// Packs the images of a file into its own beginning, where they have room.
fn pack(mut file: Vec<u8>, images: Range<usize>, n_features: usize) -> Vec<u8> {
    // What has no room yet, as the rows that lie there have not been read.
    let mut late = VecDeque::new();
    let mut end = 0;
    for start in images.step_by(n_features) {
        let row = &file[start..start + n_features];
        for (column, _) in non_zero(row) {
            late.extend((column as u16).to_le_bytes());
        }
        late.extend(non_zero(row).map(|(_, pixel)| pixel));
        let n_bytes = late.len().min(start + n_features - end);
        for (place, byte) in file[end..].iter_mut().zip(late.drain(..n_bytes)) {
            *place = byte;
        }
        end += n_bytes;
    }
    assert!(late.is_empty(), "packed they are smaller");
    file.truncate(end);
    file.shrink_to_fit();
    file
}

/// Bytes that are looked at together: most of them are zero in all.
const CHUNK: usize = 8;

/// The pixels of a row that are not zero, each with its column.
fn non_zero(row: &[u8]) -> impl Iterator<Item = (usize, u8)> {
    let chunks = row.chunks(CHUNK).zip((0..).step_by(CHUNK));
    let chunks = chunks.filter(|(chunk, _)| chunk.iter().fold(0, |all, byte| all | byte) != 0);
    let pixels = chunks.flat_map(|(chunk, first)| (first..).zip(chunk.iter().copied()));
    pixels.filter(|(_, pixel)| *pixel != 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Images of which the first are dense and the last are not, or the other way round.
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
        fn rows_are_the_pixels_that_are_not_zero_in_either_form(
            n_features in 1_usize..30,
            header in 0_usize..20,
            bytes in bytes(),
        ) {
            let n_rows = bytes.len() / n_features;
            let images = &bytes[..n_rows * n_features];
            let file = [&vec![7; header], images].concat();
            let len = file.len();
            let rows = PixelRows::new(file, header, n_rows, n_features);
            let n_non_zero = images.iter().filter(|&&byte| byte != 0).count();
            let is_packed = matches!(rows.form, Form::Packed { .. });
            prop_assert_eq!(is_packed, 3 * n_non_zero < images.len());
            prop_assert_eq!(rows.bytes.len(), if is_packed { 3 * n_non_zero } else { len });
            for (row, pixels) in images.chunks_exact(n_features).enumerate() {
                let mut found = (Vec::new(), Vec::new());
                rows.for_each_pixel(row, |column, value| found.extend([(column, value)]));
                let kept = (0_u32..).zip(pixels).filter(|(_, byte)| **byte != 0);
                let want: (Vec<_>, Vec<_>) =
                    kept.map(|(column, &byte)| (column, f32::from(byte) * PIXEL_SCALE)).unzip();
                prop_assert_eq!(found, want);
            }
        }
    }

    #[test]
    fn columns_that_two_bytes_cannot_name_are_kept_plain() {
        for (n_features, is_packed) in [(65_535, true), (65_536, false)] {
            let mut file = vec![0; n_features];
            file[n_features - 1] = 255;
            let rows = PixelRows::new(file, 0, 1, n_features);
            assert_eq!(matches!(rows.form, Form::Packed { .. }), is_packed);
            let mut columns = Vec::new();
            rows.for_each_pixel(0, |column, _| columns.push(column));
            assert_eq!(columns, [n_features as u32 - 1]);
        }
    }
}
