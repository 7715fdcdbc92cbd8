//! A matrix that is cut into strips of columns. The rows of a strip are contiguous in memory.
//!
//! A sparse product reads rows of one strip again and again. Contiguous rows occupy few pages of
//! memory. In a row-major matrix, each row would be on a different page, and the CPU's TLB has too
//! few entries for so many pages.

use crate::model::aligned::Aligned;
use crate::model::lanes::Lanes;

/// Returns the width of the next strip, in vectors, if `n_left` vectors of columns remain.
///
/// All strips of a matrix are `widest` vectors wide, except that the last strip may be 1, 2 or 4
/// vectors wide. The last strip may end with vectors of padding.
#[inline(always)]
pub(crate) const fn strip_width(n_left: usize, widest: usize) -> usize {
    match n_left {
        _ if n_left > 4 || n_left >= widest => widest,
        3.. => 4,
        2 => 2,
        _ => 1,
    }
}

/// A matrix that is stored in strips of columns. The width of a strip is a whole number of vectors.
/// The padding is zero.
#[derive(Debug, Default)]
pub(crate) struct Panels {
    buffer: Aligned,
    shape: PanelShape,
}

/// The shape of a matrix and of its strips.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct PanelShape {
    n_rows: usize,
    n_columns: usize,
    n_lanes: usize,
    /// Number of vectors per strip, except for the last strip.
    widest: usize,
}

impl Panels {
    /// Sets the shape of the matrix. The elements are unspecified, and the padding is zero.
    ///
    /// `widest` is the number of vectors per strip, at least 4.
    #[inline(always)]
    pub(crate) fn reshape<L: Lanes>(
        &mut self,
        _: L,
        (n_rows, n_columns): (usize, usize),
        widest: usize,
    ) {
        let shape = PanelShape { n_rows, n_columns, n_lanes: L::LANES, widest };
        if shape != self.shape {
            self.shape = shape;
            let n_vectors = n_columns.div_ceil(L::LANES).next_multiple_of(widest);
            self.buffer.reserve(n_rows * n_vectors * L::LANES);
            self.buffer.values_mut().fill(0.0);
        }
    }

    /// Returns the number of columns, without the padding.
    pub(crate) const fn n_columns(&self) -> usize {
        self.shape.n_columns
    }

    /// Writes a row. `WIDEST` must be the strip width that was given to [`Self::reshape`].
    #[inline(always)]
    #[expect(clippy::manual_memcpy, reason = "a call to copy so few bytes takes longer")]
    pub(crate) fn set_row<L: Lanes, const WIDEST: usize>(
        &mut self,
        _: L,
        row: usize,
        values: &[f32],
    ) {
        debug_assert_eq!((self.shape.n_lanes, self.shape.widest), (L::LANES, WIDEST));
        let n_rows = self.shape.n_rows;
        let mut start = 0;
        let (vectors, rest) = L::split(values);
        let buffer = L::split_mut(self.buffer.values_mut()).0;
        let (strips, last) = vectors.as_chunks::<WIDEST>();
        for strip in strips {
            let place = &mut buffer[start + row * WIDEST..][..WIDEST];
            for v in 0..WIDEST {
                place[v] = strip[v];
            }
            start += n_rows * WIDEST;
        }
        let n_left = last.len() + usize::from(!rest.is_empty());
        if n_left > 0 {
            let width = strip_width(n_left, WIDEST);
            let place = &mut buffer[start + row * width..][..width];
            for (place, vector) in place.iter_mut().zip(last) {
                *place = *vector;
            }
            if !rest.is_empty() {
                let place = L::floats_mut(&mut place[last.len()..][..1]);
                for (place, value) in place.iter_mut().zip(rest) {
                    *place = *value;
                }
            }
        }
    }

    /// Returns all rows of the strip that begins at vector `first` and is `NV` vectors wide.
    #[inline(always)]
    pub(crate) fn strip<L: Lanes, const NV: usize>(&self, first: usize) -> &[[L::V; NV]] {
        let n_rows = self.shape.n_rows;
        let values = &self.buffer.values()[n_rows * first * L::LANES..];
        L::split(&values[..n_rows * NV * L::LANES]).0.as_chunks().0
    }

    /// The mutable variant of [`Self::strip`].
    #[inline(always)]
    pub(crate) fn strip_mut<L: Lanes, const NV: usize>(
        &mut self,
        first: usize,
    ) -> &mut [[L::V; NV]] {
        let n_rows = self.shape.n_rows;
        let values = &mut self.buffer.values_mut()[n_rows * first * L::LANES..];
        L::split_mut(&mut values[..n_rows * NV * L::LANES]).0.as_chunks_mut().0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::lanes::Kernel;
    use crate::model::simd::SimdLevel;

    /// A kernel that writes a matrix with element (i, j) = 1000·i + j + 1, and then checks the
    /// strips. The fields are the number of rows and the number of columns.
    struct RoundTrip(usize, usize);

    impl Kernel for RoundTrip {
        type Output = ();

        #[inline(always)]
        fn run<L: Lanes>(self, lanes: L) {
            let Self(n_rows, n_columns) = self;
            let mut panels = Panels::default();
            panels.reshape(lanes, (n_rows, n_columns), 6);
            let value = |i, j| (1000 * i + j + 1) as f32;
            for i in 0..n_rows {
                let row: Vec<_> = (0..n_columns).map(|j| value(i, j)).collect();
                panels.set_row::<L, 6>(lanes, i, &row);
            }
            let n_vectors = n_columns.div_ceil(L::LANES);
            let mut first = 0;
            while first < n_vectors {
                let width = strip_width(n_vectors - first, 6);
                let rows: Vec<_> = match width {
                    6 => panels.strip::<L, 6>(first).iter().map(|row| L::floats(row)).collect(),
                    4 => panels.strip::<L, 4>(first).iter().map(|row| L::floats(row)).collect(),
                    2 => panels.strip::<L, 2>(first).iter().map(|row| L::floats(row)).collect(),
                    _ => panels.strip::<L, 1>(first).iter().map(|row| L::floats(row)).collect(),
                };
                for (i, row) in rows.into_iter().enumerate() {
                    for (j, got) in (first * L::LANES..).zip(row) {
                        let want = if j < n_columns { value(i, j) } else { 0.0 };
                        assert_eq!(*got, want, "{i}, {j} of {n_rows}×{n_columns}");
                    }
                }
                first += width;
            }
        }
    }

    #[test]
    fn strips_hold_every_element_once_and_zero_padding() {
        for level in SimdLevel::available() {
            for n_columns in (1..70).chain([500]) {
                level.run(RoundTrip(3, n_columns));
            }
        }
    }
}
