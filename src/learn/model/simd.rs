//! Which vector instructions the kernels use. The level changes the speed and never a bit.
//!
//! It does not read the environment: whoever starts a process passes the value in.

use std::fmt;

use crate::model::lanes::{Kernel, OnNative};
use crate::model::portable::Portable;

/// A set of vector instructions that the kernels are written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimdLevel {
    /// x86-64 with AVX-512 (x86-64-v4): 16 lanes.
    Avx512,
    /// x86-64 with AVX2 and FMA (x86-64-v3): 8 lanes.
    Avx2,
    /// aarch64: 4 lanes.
    Neon,
    /// Any CPU: no vector instructions asked for, the fused multiply-add in software.
    Portable,
}

/// Why a level cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SimdError {
    /// No such level.
    #[error("UNISONO_SIMD is {value:?}, which is no level; unset it, or set one of: {available}")]
    Unknown {
        /// The value given.
        value: String,
        /// The levels that this CPU has.
        available: String,
    },
    /// A level that this CPU lacks.
    #[error(
        "UNISONO_SIMD is {value:?}, which this CPU lacks; unset it, or set one of: {available}"
    )]
    Lacking {
        /// The value given.
        value: String,
        /// The levels that this CPU has.
        available: String,
    },
}

impl SimdLevel {
    /// Fastest first.
    const ALL: [Self; 4] = [Self::Avx512, Self::Avx2, Self::Neon, Self::Portable];

    /// The fastest level that this CPU has.
    #[must_use]
    pub fn detect() -> Self {
        Self::ALL.into_iter().find(|level| level.is_available()).unwrap_or(Self::Portable)
    }

    /// The level that `value`, the variable `UNISONO_SIMD`, asks for; without one, the fastest.
    ///
    /// # Errors
    /// If the value names no level, or one that this CPU lacks.
    pub fn from_env_value(value: Option<&str>) -> Result<Self, SimdError> {
        let Some(value) = value else { return Ok(Self::detect()) };
        let names = || Self::available().iter().map(Self::to_string).collect::<Vec<_>>().join(", ");
        match Self::ALL.into_iter().find(|level| level.to_string() == value) {
            None => Err(SimdError::Unknown { value: value.into(), available: names() }),
            Some(level) if level.is_available() => Ok(level),
            Some(_) => Err(SimdError::Lacking { value: value.into(), available: names() }),
        }
    }

    /// All levels that this CPU has, fastest first; the portable one is always among them.
    #[must_use]
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|level| level.is_available()).collect()
    }

    /// Whether this CPU has it.
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

    /// Runs a kernel, all of it compiled for this level.
    ///
    /// # Panics
    /// If this CPU lacks the level.
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
            _ => panic!("this CPU lacks {self}"),
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
    fn every_available_level_is_found_by_its_name() {
        assert_eq!(SimdLevel::from_env_value(None), Ok(SimdLevel::available()[0]));
        assert_eq!(SimdLevel::available().last(), Some(&SimdLevel::Portable));
        for level in SimdLevel::available() {
            assert_eq!(SimdLevel::from_env_value(Some(&level.to_string())), Ok(level));
        }
    }

    #[test]
    fn an_unknown_level_is_an_error_that_names_the_value_and_the_levels() {
        let error = SimdLevel::from_env_value(Some("sse9")).unwrap_err().to_string();
        assert!(error.contains("\"sse9\"") && error.contains("portable"), "{error}");
    }

    #[test]
    fn a_level_that_this_cpu_lacks_is_an_error_that_says_so() {
        let lacking = SimdLevel::ALL.into_iter().find(|level| !level.is_available());
        let value = lacking.expect("no CPU has both NEON and AVX2").to_string();
        let error = SimdLevel::from_env_value(Some(&value)).unwrap_err().to_string();
        assert!(error.contains("this CPU lacks") && error.contains(&value), "{error}");
    }
}
