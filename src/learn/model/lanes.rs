//! The few vector operations that the kernels need, and `pulp`'s instructions behind them.
//!
//! Only exactly rounded operations: no estimate, no reduction whose order depends on the width.

/// A token for a vector type of `LANES` f32 values.
///
/// Everything generic over it is `#[inline(always)]`, so that it is compiled for its level.
pub(crate) trait Lanes: Copy {
    /// A vector.
    type V: Copy;
    /// Values a vector; a power of two, at most 16.
    const LANES: usize;
    /// Vector registers, which decide the size of a register block.
    const REGISTERS: usize;

    /// Runs a kernel as a function of its own. A loop that needs all registers is best off alone:
    /// the compiler keeps some of its sums in memory where it is one of many in a large function.
    fn call<K: Kernel>(self, kernel: K) -> K::Output;
    /// The whole vectors of a slice, in place, and what is left over.
    fn split(values: &[f32]) -> (&[Self::V], &[f32]);
    /// As [`Self::split`], to be written.
    fn split_mut(values: &mut [f32]) -> (&mut [Self::V], &mut [f32]);
    /// The values of vectors, in place.
    fn floats(vectors: &[Self::V]) -> &[f32];
    /// As [`Self::floats`], to be written.
    fn floats_mut(vectors: &mut [Self::V]) -> &mut [f32];
    /// All lanes `value`.
    fn splat(self, value: f32) -> Self::V;
    /// `a + b`.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// `a · b + c`, rounded once.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// Where `values` is below zero, +0, else itself: a NaN and -0 stay what they are.
    fn relu(self, values: Self::V) -> Self::V;
    /// Where `gate` is above zero, `values`, else +0.
    fn pass(self, gate: Self::V, values: Self::V) -> Self::V;
}

/// What [`SimdLevel::run`](crate::model::SimdLevel::run) runs; `run` must be `#[inline(always)]`.
pub(crate) trait Kernel {
    /// What it returns.
    type Output;
    /// Runs it on these vectors.
    fn run<L: Lanes>(self, lanes: L) -> Self::Output;
}

/// The vectors of one of `pulp`'s instruction sets that has a fused multiply-add.
#[derive(Clone, Copy)]
pub(crate) struct Native<S>(S);

impl<S: pulp::Simd> Lanes for Native<S> {
    type V = S::f32s;
    const LANES: usize = S::F32_LANES;
    const REGISTERS: usize = S::REGISTER_COUNT;

    // Compiled for any CPU, so that what it calls, which is not, cannot be made a part of it; nor it
    // of what calls it.
    #[inline(never)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        pulp::Simd::vectorize(self.0, OnNative(kernel))
    }

    #[inline(always)]
    fn split(values: &[f32]) -> (&[S::f32s], &[f32]) {
        S::as_simd_f32s(values)
    }

    #[inline(always)]
    fn split_mut(values: &mut [f32]) -> (&mut [S::f32s], &mut [f32]) {
        S::as_mut_simd_f32s(values)
    }

    #[inline(always)]
    fn floats(vectors: &[S::f32s]) -> &[f32] {
        bytemuck::cast_slice(vectors)
    }

    #[inline(always)]
    fn floats_mut(vectors: &mut [S::f32s]) -> &mut [f32] {
        bytemuck::cast_slice_mut(vectors)
    }

    #[inline(always)]
    fn splat(self, value: f32) -> S::f32s {
        self.0.splat_f32s(value)
    }

    #[inline(always)]
    fn add(self, a: S::f32s, b: S::f32s) -> S::f32s {
        self.0.add_f32s(a, b)
    }

    #[inline(always)]
    fn mul_add(self, a: S::f32s, b: S::f32s, c: S::f32s) -> S::f32s {
        // Not `mul_add_e_f32s`, which may round twice.
        self.0.mul_add_f32s(a, b, c)
    }

    #[inline(always)]
    fn relu(self, values: S::f32s) -> S::f32s {
        let zero = self.0.splat_f32s(0.0);
        self.0.select_f32s(self.0.less_than_f32s(values, zero), zero, values)
    }

    #[inline(always)]
    fn pass(self, gate: S::f32s, values: S::f32s) -> S::f32s {
        let zero = self.0.splat_f32s(0.0);
        self.0.select_f32s(self.0.greater_than_f32s(gate, zero), values, zero)
    }
}

/// A kernel as `pulp` dispatches it.
pub(crate) struct OnNative<K>(pub(crate) K);

impl<K: Kernel> pulp::WithSimd for OnNative<K> {
    type Output = K::Output;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, simd: S) -> K::Output {
        self.0.run(Native(simd))
    }
}
