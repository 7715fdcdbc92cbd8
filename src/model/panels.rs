//! A matrix cut into strips of columns, each with its rows one behind the other.
//!
//! A sparse product reads a few rows of one strip again and again. Here they lie on few pages;
//! rows a whole matrix apart would each need a place of their own among the addresses that a CPU
//! keeps translated, and there are not enough of these.

use crate::model::aligned::Aligned;
use crate::model::lanes::Lanes;

/// Vectors of the widest strip: as many sums as stay in registers beside the operands.
pub(crate) const WIDEST: usize = 8;

/// Vectors of the strip that begins where `n_left` are left; its last ones may be padding.
#[inline(always)]
pub(crate) const fn strip_width(n_left: usize) -> usize {
    match n_left {
        5.. => WIDEST,
        3.. => 4,
        2 => 2,
        _ => 1,
    }
}

/// A matrix in strips, for vectors of one kind at a time. The padding is zero.
#[derive(Debug, Default)]
pub(crate) struct Panels {
    buffer: Aligned,
    n_rows: usize,
    n_columns: usize,
}

impl Panels {
    /// Makes room for a matrix of this shape, which then has anything in it.
    #[inline(always)]
    pub(crate) fn reshape<L: Lanes>(&mut self, _: L, n_rows: usize, n_columns: usize) {
        (self.n_rows, self.n_columns) = (n_rows, n_columns);
        self.buffer.reserve(n_rows * (n_columns.div_ceil(L::LANES) + WIDEST) * L::LANES);
    }

    pub(crate) const fn n_columns(&self) -> usize {
        self.n_columns
    }

    /// Makes every element zero.
    pub(crate) fn clear(&mut self) {
        self.buffer.values_mut().fill(0.0);
    }

    /// Sets a row.
    #[inline(always)]
    pub(crate) fn set_row<L: Lanes>(&mut self, _: L, row: usize, values: &[f32]) {
        let widest = WIDEST * L::LANES;
        let mut strips = values.chunks_exact(widest);
        let mut start = 0;
        for strip in &mut strips {
            let place = &mut self.buffer.values_mut()[start + row * widest..][..widest];
            // As vectors: a call to copy so few bytes takes longer than to copy them.
            let to = L::split_mut(place).0.as_chunks_mut::<WIDEST>().0;
            let from = L::split(strip).0.as_chunks::<WIDEST>().0;
            to[0] = from[0];
            start += self.n_rows * widest;
        }
        let rest = strips.remainder();
        if !rest.is_empty() {
            let width = strip_width(rest.len().div_ceil(L::LANES)) * L::LANES;
            let place = &mut self.buffer.values_mut()[start + row * width..][..width];
            let (place, padding) = place.split_at_mut(rest.len());
            place.copy_from_slice(rest);
            padding.fill(0.0);
        }
    }

    /// Reads a row.
    #[inline(always)]
    pub(crate) fn row_into<L: Lanes>(&self, _: L, row: usize, values: &mut [f32]) {
        let widest = WIDEST * L::LANES;
        let mut start = 0;
        for strip in values.chunks_mut(widest) {
            let width = strip_width(strip.len().div_ceil(L::LANES)) * L::LANES;
            let place = &self.buffer.values()[start + row * width..][..width];
            strip.copy_from_slice(&place[..strip.len()]);
            start += self.n_rows * width;
        }
    }

    /// The rows of the strip of `NV` vectors that begins with vector `first`.
    #[inline(always)]
    pub(crate) fn strip<L: Lanes, const NV: usize>(&self, first: usize) -> &[[L::V; NV]] {
        let values = &self.buffer.values()[self.n_rows * first * L::LANES..];
        L::split(&values[..self.n_rows * NV * L::LANES]).0.as_chunks().0
    }

    /// As [`Self::strip`], to be written.
    #[inline(always)]
    pub(crate) fn strip_mut<L: Lanes, const NV: usize>(
        &mut self,
        first: usize,
    ) -> &mut [[L::V; NV]] {
        let n_rows = self.n_rows;
        let values = &mut self.buffer.values_mut()[n_rows * first * L::LANES..];
        L::split_mut(&mut values[..n_rows * NV * L::LANES]).0.as_chunks_mut().0
    }
}
