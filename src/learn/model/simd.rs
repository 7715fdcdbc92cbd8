//! The level of vector instructions that the kernels use. The level affects the speed, but no bit
//! of a result.
//!
//! This module does not read the environment. The caller passes the value of the environment
//! variable `UNISONO_SIMD`.

use std::fmt;

use crate::model::lanes::{Kernel, OnNative};
use crate::model::portable::Portable;

/// A set of vector instructions that the kernels support.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimdLevel {
    /// x86-64 with AVX-512 (x86-64-v4): 16 lanes.
    Avx512,
    /// x86-64 with AVX2 and FMA (x86-64-v3): 8 lanes.
    Avx2,
    /// aarch64: 4 lanes.
    Neon,
    /// The level for any CPU. No explicit vector instructions are used, and the fused multiply-add
    /// is computed in software.
    Portable,
}

/// The error for a value of the environment variable `UNISONO_SIMD` that is not the name of a
/// level, or that names a level that this CPU does not support.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("UNISONO_SIMD is {value:?}, which {why}; unset it, or set one of: {available}")]
pub struct SimdError {
    /// The content of the environment variable.
    value: String,
    why: &'static str,
    /// Names of the levels that this CPU supports, separated by commas.
    available: String,
}

impl SimdLevel {
    /// All levels, fastest first.
    const ALL: [Self; 4] = [Self::Avx512, Self::Avx2, Self::Neon, Self::Portable];

    /// Returns the fastest level that this CPU supports.
    #[must_use]
    pub fn detect() -> Self {
        Self::ALL.into_iter().find(|level| level.is_available()).unwrap_or(Self::Portable)
    }

    /// Parses `value`, the content of the environment variable `UNISONO_SIMD`. If the variable is
    /// not set (`None`), returns the fastest level that this CPU supports.
    ///
    /// # Errors
    /// If `value` is not the name of a level, or this CPU does not support that level.
    pub fn from_env_value(value: Option<&str>) -> Result<Self, SimdError> {
        let Some(value) = value else { return Ok(Self::detect()) };
        let why = match Self::ALL.into_iter().find(|level| level.to_string() == value) {
            Some(level) if level.is_available() => return Ok(level),
            Some(_) => "this CPU does not support",
            None => "is not the name of a level",
        };
        let available =
            Self::available().iter().map(Self::to_string).collect::<Vec<_>>().join(", ");
        Err(SimdError { value: value.into(), why, available })
    }

    /// Returns all levels that this CPU supports, fastest first. The last level is always
    /// [`Self::Portable`].
    #[must_use]
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|level| level.is_available()).collect()
    }

    /// Returns whether this CPU supports the level.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => pulp::x86::V4::try_new().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => pulp::x86::V3::try_new().is_some(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon => pulp::aarch64::Neon::try_new().is_some(),
            Self::Portable => true,
            _ => false,
        }
    }

    /// Runs a kernel, compiled for this level.
    ///
    /// # Panics
    /// If this CPU does not support the level.
    pub(crate) fn run<K: Kernel>(self, kernel: K) -> K::Output {
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        use pulp::Simd;
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                let v4 = pulp::x86::V4::try_new().expect("a level in use is available");
                Simd::vectorize(v4, OnNative(kernel))
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                let v3 = pulp::x86::V3::try_new().expect("a level in use is available");
                Simd::vectorize(v3, OnNative(kernel))
            }
            #[cfg(target_arch = "aarch64")]
            Self::Neon => {
                let neon = pulp::aarch64::Neon::try_new().expect("a level in use is available");
                Simd::vectorize(neon, OnNative(kernel))
            }
            Self::Portable => kernel.run(Portable),
            _ => panic!("this CPU does not support {self}"),
        }
    }
}

impl fmt::Display for SimdLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Neon => "neon",
            Self::Portable => "portable",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_available_level_is_selected_by_its_name() {
        assert_eq!(SimdLevel::from_env_value(None), Ok(SimdLevel::available()[0]));
        assert_eq!(SimdLevel::available().last(), Some(&SimdLevel::Portable));
        for level in SimdLevel::available() {
            assert_eq!(SimdLevel::from_env_value(Some(&level.to_string())), Ok(level));
        }
    }

    #[test]
    fn error_for_an_unknown_level_names_the_value_and_the_available_levels() {
        let error = SimdLevel::from_env_value(Some("sse9")).unwrap_err().to_string();
        assert!(error.contains("\"sse9\"") && error.contains("portable"), "{error}");
    }

    #[test]
    fn error_for_an_unsupported_level_names_the_level() {
        let lacking = SimdLevel::ALL.into_iter().find(|level| !level.is_available());
        let value = lacking.expect("no CPU has both NEON and AVX2").to_string();
        let error = SimdLevel::from_env_value(Some(&value)).unwrap_err().to_string();
        assert!(error.contains("does not support") && error.contains(&value), "{error}");
    }
}
