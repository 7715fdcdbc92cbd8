//! A rule that is broken, as a person needs to hear it.

use std::fmt;

use unisono_core::{Floats, Step};

use crate::kept::Kept;

/// How a rule is broken.
#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    /// The rule of `docs/protocol.md`; 0 for what is no rule of the protocol: the trajectory,
    /// liveness, what a scenario expects.
    pub rule: u8,
    /// A short name of what was checked, in kebab-case: failures with the same name are taken for
    /// the same failure.
    pub name: &'static str,
    /// At which step, if it is about one.
    pub step: Option<Step>,
    /// Which variable, shard or file, if it is about one.
    pub subject: Option<String>,
    /// What should be, and what is.
    pub what: String,
    /// Where two tensors differ first, if it is about that.
    pub difference: Option<Difference>,
}

/// The first place at which two tensors differ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// Which element.
    pub index: usize,
    /// What it should be.
    pub want: f32,
    /// What it is.
    pub got: f32,
    /// How many floats lie between the two, the second one counted; `None` if one is NaN.
    pub ulps: Option<u32>,
}

impl Violation {
    /// A violation with only a text.
    #[must_use]
    pub fn new(rule: u8, name: &'static str, what: impl Into<String>) -> Self {
        Self { rule, name, step: None, subject: None, what: what.into(), difference: None }
    }

    /// At this step.
    #[must_use]
    pub fn at(mut self, step: Step) -> Self {
        self.step = Some(step);
        self
    }

    /// About this.
    #[must_use]
    pub fn of(mut self, subject: impl fmt::Display) -> Self {
        self.subject = Some(subject.to_string());
        self
    }

    /// With the first difference of two tensors.
    #[must_use]
    pub fn differing(mut self, want: &Floats, got: &Floats) -> Self {
        self.difference = Difference::first(want, got);
        self
    }

    /// With the first difference from what is kept of a tensor, if it is still there.
    pub(crate) fn with_first(self, want: &Kept, got: &Floats) -> Self {
        match want.whole() {
            Some(want) => self.differing(want, got),
            None => self,
        }
    }
}

impl Difference {
    /// The first difference; `None` if there is none within the length of the shorter one.
    #[must_use]
    pub fn first(want: &[f32], got: &[f32]) -> Option<Self> {
        let differs = |(want, got): (&f32, &f32)| want.to_bits() != got.to_bits();
        let index = want.iter().zip(got).position(differs)?;
        let (want, got) = (want[index], got[index]);
        Some(Self { index, want, got, ulps: ulps(want, got) })
    }
}

/// How many steps from one float to the next lie between two of them.
fn ulps(a: f32, b: f32) -> Option<u32> {
    // Floats of one sign are ordered as their bits are; the two zeros are one step apart here.
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
            write!(f, "; element {index} should be {want:e} and is {got:e}")?;
            match ulps {
                Some(ulps) => write!(f, ", {ulps} ulp away")?,
                None => write!(f, ", which is no number")?,
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
