//! Vector operations on f32 values, for the kernels of the arithmetic. Implemented with `pulp`.
//!
//! Every operation rounds its exact result once. There are no approximate operations, and no
//! reductions whose order depends on the vector width.

/// A set of vector instructions, or its emulation, with vectors of `LANES` f32 values.
///
/// Every function that is generic over this trait is `#[inline(always)]`, so that it is compiled
/// for the instruction set of its caller.
pub(crate) trait Lanes: Copy {
    /// A vector.
    type V: Copy;
    /// Number of values per vector; a power of two, at most 16.
    const LANES: usize;
    /// Number of vector registers, which determines how many sums a kernel keeps in registers.
    const REGISTERS: usize;

    /// Runs a kernel as a separate function that is not inlined. If the kernel were a part of a
    /// large function, the compiler would keep some of the kernel's sums in memory instead of in
    /// registers.
    fn call<K: Kernel>(self, kernel: K) -> K::Output;
    /// Splits a slice into whole vectors and the remaining values.
    fn split(values: &[f32]) -> (&[Self::V], &[f32]);
    /// The mutable variant of [`Self::split`].
    fn split_mut(values: &mut [f32]) -> (&mut [Self::V], &mut [f32]);
    /// Reinterprets vectors as their values.
    fn floats(vectors: &[Self::V]) -> &[f32];
    /// The mutable variant of [`Self::floats`].
    fn floats_mut(vectors: &mut [Self::V]) -> &mut [f32];
    /// Returns a vector with `value` in every lane.
    fn splat(self, value: f32) -> Self::V;
    /// Returns `a + b`.
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// Returns `a · b + c`, rounded once.
    fn mul_add(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// Returns +0 in the lanes where `values` is below zero, and `values` in all other lanes. A NaN
    /// or a -0 is kept.
    fn relu(self, values: Self::V) -> Self::V;
    /// Returns `values` in the lanes where `gate` is above zero, and +0 in all other lanes.
    fn pass(self, gate: Self::V, values: Self::V) -> Self::V;
}

/// A computation that [`SimdLevel::run`](crate::model::SimdLevel::run) compiles for each SIMD
/// level. The method `run` must be `#[inline(always)]`, so that it is compiled for the level of its
/// caller.
pub(crate) trait Kernel {
    type Output;
    /// Runs the computation with vectors of type `L`.
    fn run<L: Lanes>(self, lanes: L) -> Self::Output;
}

/// The vectors of a `pulp` instruction set that has a fused multiply-add.
#[derive(Clone, Copy)]
pub(crate) struct Native<S>(S);

impl<S: pulp::Simd> Lanes for Native<S> {
    type V = S::f32s;
    const LANES: usize = S::F32_LANES;
    const REGISTERS: usize = S::REGISTER_COUNT;

    // `vectorize` runs the kernel inside a function that has the level's target features. `call`
    // has no target features and is never inlined, so the kernel cannot be inlined into the caller
    // of `call`.
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
        // `mul_add_e_f32s` may round twice and is therefore not used.
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

/// Adapts a kernel to `pulp`'s dispatch.
pub(crate) struct OnNative<K>(pub(crate) K);

impl<K: Kernel> pulp::WithSimd for OnNative<K> {
    type Output = K::Output;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, simd: S) -> K::Output {
        self.0.run(Native(simd))
    }
}
