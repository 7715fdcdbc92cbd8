//! A violation of a rule.

use std::fmt;

use unisono_core::{Floats, Step};

/// A violation of a rule, or of another promise to the user.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// The number of the rule in `docs/protocol.md`; 0 for a promise that is not a rule of the
    /// protocol, such as equal bits after a repeated computation.
    pub rule: u8,
    /// A short name of the violation, in kebab-case. Failures with the same name count as the same
    /// failure.
    pub name: &'static str,
    /// The step, if the violation concerns a single step.
    pub step: Option<Step>,
    /// The task, variable, shard or file that the violation concerns, if there is one.
    pub subject: Option<String>,
    /// A text with the expected and the actual behaviour.
    pub what: String,
    /// The first difference between two tensors, if the violation concerns two tensors.
    pub difference: Option<Difference>,
}

/// The first place at which two tensors differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// The index of the element.
    pub index: usize,
    /// The expected value.
    pub want: f32,
    /// The value that was found.
    pub got: f32,
    /// The distance between the two values in units in the last place; `None` if one of the values
    /// is NaN.
    pub ulps: Option<u32>,
}

impl Violation {
    /// Returns a violation with only a text.
    #[must_use]
    pub fn new(rule: u8, name: &'static str, what: impl Into<String>) -> Self {
        Self { rule, name, step: None, subject: None, what: what.into(), difference: None }
    }

    /// Adds the step.
    #[must_use]
    pub fn at(mut self, step: Step) -> Self {
        self.step = Some(step);
        self
    }

    /// Adds the subject.
    #[must_use]
    pub fn of(mut self, subject: impl fmt::Display) -> Self {
        self.subject = Some(subject.to_string());
        self
    }

    /// Adds the first difference between two tensors, if the expected tensor is known.
    #[must_use]
    pub fn differing(mut self, want: Option<&Floats>, got: &Floats) -> Self {
        self.difference = want.and_then(|want| Difference::first(want, got));
        self
    }
}

impl Difference {
    /// Returns the first difference within the length of the shorter tensor; `None` if there is no
    /// difference.
    #[must_use]
    pub fn first(want: &[f32], got: &[f32]) -> Option<Self> {
        let differs = |(want, got): (&f32, &f32)| want.to_bits() != got.to_bits();
        let index = want.iter().zip(got).position(differs)?;
        let (want, got) = (want[index], got[index]);
        Some(Self { index, want, got, ulps: ulps(want, got) })
    }
}

/// Returns the distance between two floats in units in the last place; `None` if one of the floats
/// is NaN.
fn ulps(a: f32, b: f32) -> Option<u32> {
    // `place` maps all floats to consecutive integers in ascending order. The two zeros are one
    // step apart.
    let place = |value: f32| {
        let bits = i64::from(value.to_bits() & 0x7fff_ffff);
        if value.is_sign_negative() { -1 - bits } else { bits }
    };
    let is_ordered = !a.is_nan() && !b.is_nan();
    is_ordered.then(|| u32::try_from(place(a).abs_diff(place(b))).expect("both are 32 bits"))
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.rule {
            0 => write!(f, "{}", self.name)?,
            rule => write!(f, "rule {rule}, {}", self.name)?,
        }
        if let Some(step) = self.step {
            write!(f, ", step {step}")?;
        }
        if let Some(subject) = &self.subject {
            write!(f, ", {subject}")?;
        }
        write!(f, ": {}", self.what)?;
        if let Some(Difference { index, want, got, ulps }) = self.difference {
            write!(f, "; element {index} should be {want:e}, but is {got:e}")?;
            match ulps {
                Some(ulps) => write!(f, ", {ulps} ulp away")?,
                None => write!(f, "; one of the two is NaN")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_difference_is_measured_in_ulps() {
        let next = f32::from_bits(1.0f32.to_bits() + 3);
        let first = Difference::first(&[0.5, 1.0, 2.0], &[0.5, next, 9.0]).unwrap();
        assert_eq!((first.index, first.ulps), (1, Some(3)));
        assert_eq!(Difference::first(&[0.0], &[-0.0]).unwrap().ulps, Some(1));
        assert_eq!(Difference::first(&[1.0], &[f32::NAN]).unwrap().ulps, None);
        assert_eq!(Difference::first(&[1.0], &[1.0]), None);
    }
}
