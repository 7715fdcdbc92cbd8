//! A matrix whose rows start on cache lines. The row length is chosen so that the rows are spread
//! over all sets of the CPU's caches.

use crate::model::aligned::{Aligned, LINE};

/// A row-major f32 matrix with padded rows. The padding is always zero.
#[derive(Debug)]
pub(crate) struct Matrix {
    buffer: Aligned,
    n_rows: usize,
    n_columns: usize,
}

impl Matrix {
    /// Returns a matrix of zeros.
    pub(crate) fn new(n_rows: usize, n_columns: usize) -> Self {
        Self { buffer: Aligned::new(n_rows * stride_of(n_columns)), n_rows, n_columns }
    }

    /// Grows the matrix to at least `n_rows` rows. If the matrix grows, all its values become zero.
    pub(crate) fn reserve_rows(&mut self, n_rows: usize) {
        if n_rows > self.n_rows {
            *self = Self::new(n_rows, self.n_columns);
        }
    }

    /// Returns the number of columns, without the padding.
    pub(crate) const fn n_columns(&self) -> usize {
        self.n_columns
    }

    /// Returns the distance between the starts of consecutive rows, in values.
    pub(crate) const fn stride(&self) -> usize {
        stride_of(self.n_columns)
    }

    /// Returns all rows with their padding.
    pub(crate) fn values(&self) -> &[f32] {
        self.buffer.values()
    }

    /// Returns all rows with their padding, for writing. The caller must leave the padding zero.
    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        self.buffer.values_mut()
    }

    /// Returns a row without its padding.
    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> &[f32] {
        &self.values()[row * self.stride()..][..self.n_columns]
    }

    /// Returns a row with its padding.
    #[inline(always)]
    pub(crate) fn padded_row(&self, row: usize) -> &[f32] {
        &self.values()[row * self.stride()..][..self.stride()]
    }

    /// Returns a row without its padding, for writing.
    #[inline(always)]
    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [f32] {
        let (stride, n_columns) = (self.stride(), self.n_columns);
        &mut self.values_mut()[row * stride..][..n_columns]
    }
}

/// Returns the padded length of a row, which is an odd number of cache lines. If the number were
/// even, such as 32 cache lines (512 values), many rows would share the same few sets of the CPU's
/// caches.
const fn stride_of(n_columns: usize) -> usize {
    (n_columns.div_ceil(LINE) | 1) * LINE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_start_on_cache_lines_an_odd_number_apart() {
        let matrix = Matrix::new(3, 500);
        assert_eq!(matrix.stride(), 528);
        assert_eq!(matrix.values().as_ptr() as usize % 64, 0);
        assert_eq!((Matrix::new(1, 10).stride(), Matrix::new(1, 17).stride()), (16, 48));
    }
}
