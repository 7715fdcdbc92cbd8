//! A matrix whose rows start on cache lines, and not on each other's cache sets.

use crate::model::aligned::{Aligned, LINE};

/// A row-major f32 matrix, padded. The padding is zero and stays so.
#[derive(Debug)]
pub(crate) struct Matrix {
    buffer: Aligned,
    n_rows: usize,
    n_columns: usize,
}

impl Matrix {
    /// Zeros.
    pub(crate) fn new(n_rows: usize, n_columns: usize) -> Self {
        Self { buffer: Aligned::new(n_rows * stride_of(n_columns)), n_rows, n_columns }
    }

    /// Room for at least `n_rows` rows; what was in it may be lost.
    pub(crate) fn reserve_rows(&mut self, n_rows: usize) {
        if n_rows > self.n_rows {
            *self = Self::new(n_rows, self.n_columns);
        }
    }

    /// Columns, without the padding.
    pub(crate) const fn n_columns(&self) -> usize {
        self.n_columns
    }

    /// From the start of one row to the start of the next.
    pub(crate) const fn stride(&self) -> usize {
        stride_of(self.n_columns)
    }

    /// All rows, with their padding.
    pub(crate) fn values(&self) -> &[f32] {
        self.buffer.values()
    }

    /// All rows, with their padding, which must stay zero.
    pub(crate) fn values_mut(&mut self) -> &mut [f32] {
        self.buffer.values_mut()
    }

    /// A row, without its padding.
    #[inline(always)]
    pub(crate) fn row(&self, row: usize) -> &[f32] {
        &self.values()[row * self.stride()..][..self.n_columns]
    }

    /// A row, with its padding.
    #[inline(always)]
    pub(crate) fn padded_row(&self, row: usize) -> &[f32] {
        &self.values()[row * self.stride()..][..self.stride()]
    }

    /// A row, without its padding.
    #[inline(always)]
    pub(crate) fn row_mut(&mut self, row: usize) -> &mut [f32] {
        let (stride, n_columns) = (self.stride(), self.n_columns);
        &mut self.values_mut()[row * stride..][..n_columns]
    }
}

/// An odd number of cache lines: 512 floats, an even one, would put rows on the same cache sets.
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
