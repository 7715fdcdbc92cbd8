//! Distributions: a duration, or a table whose keys determine the form of the distribution.

use toml::de::{DeTable, DeValue};
use unisono_config::file::nearest;

use crate::scenario::Distribution;
use crate::scenario::keys::units::duration_text;
use crate::scenario::keys::*;

value_types! {
    Distribution: "distribution", |value, _| read(value), text;
}

choices! {
    /// The form of a distribution, by an example.
    #[derive(PartialOrd, Ord)]
    pub(super) enum DistributionForm: "distribution" {
        /// Always the same duration. `"20ms"` alone means the same.
        Const = "{ const = \"20ms\" }",
        /// Every duration from the first to the second duration, with equal probability.
        Uniform = "{ uniform = [\"1ms\", \"3ms\"] }",
        /// The sum of `min` and an exponentially distributed duration with the mean `exponential`.
        /// The default of `min` is `"0s"`.
        Exponential = "{ exponential = \"2ms\", min = \"1ms\" }",
        /// The duration is `rare` with the probability `share`, and otherwise `usual`.
        Bimodal = "{ usual = \"1ms\", rare = \"50ms\", share = 0.01 }",
        /// Heavy-tailed: `min` · u^(−1/`pareto`) for a uniform u in (0, 1], but at most `max`. The
        /// exponent 1.5 gives a long tail, and the exponent 3 a short tail.
        Pareto = "{ pareto = 1.5, min = \"1ms\", max = \"50ms\" }",
    }
}

impl DistributionForm {
    const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Const => &["const"],
            Self::Uniform => &["uniform"],
            Self::Exponential => &["exponential", "min"],
            Self::Bimodal => &["usual", "rare", "share"],
            Self::Pareto => &["pareto", "min", "max"],
        }
    }
}

fn read(value: Value<'_>) -> Result<Distribution, Wrong> {
    let DeValue::Table(table) = value.raw else {
        return value.duration().map(Distribution::Const);
    };
    let form = form(value, table)?;
    let item = |key: &'static str| table.get(key).map(|item| value.inner(key, item));
    let need = |key: &'static str| {
        item(key).ok_or_else(|| value.wrong(format!("{key} is missing; write {}", form.name_of())))
    };
    match form {
        DistributionForm::Const => need("const")?.duration().map(Distribution::Const),
        DistributionForm::Uniform => uniform(need("uniform")?),
        DistributionForm::Exponential => Ok(Distribution::Exponential {
            mean: need("exponential")?.duration()?,
            min: item("min").map_or(Ok(std::time::Duration::ZERO), Value::duration)?,
        }),
        DistributionForm::Bimodal => {
            let is_share = |share: f64| (0.0..=1.0).contains(&share);
            Ok(Distribution::Bimodal {
                usual: need("usual")?.duration()?,
                rare: need("rare")?.duration()?,
                share: need("share")?.number("a probability from 0 to 1", is_share)?,
            })
        }
        DistributionForm::Pareto => {
            let shape = <f64 as ValueType>::read(need("pareto")?, Bounds::ANY)?;
            let (min, max) = (need("min")?.duration()?, need("max")?);
            if max.duration()? < min {
                return Err(max.wrong("it must not be below min"));
            }
            Ok(Distribution::Pareto { min, shape, max: max.duration()? })
        }
    }
}

/// Returns the form of a distribution. Any key except `min` and `max` determines the form.
fn form(value: Value<'_>, table: &DeTable<'_>) -> Result<DistributionForm, Wrong> {
    let all = || DistributionForm::NAMED.iter().map(|(form, _)| *form);
    let examples = || {
        DistributionForm::NAMED.iter().map(|(_, example)| *example).collect::<Vec<_>>().join(", ")
    };
    let has_own = |form: &DistributionForm| {
        let mut own = form.keys().iter().filter(|key| !["min", "max"].contains(key));
        own.any(|key| table.contains_key(*key))
    };
    let Some(form) = all().find(has_own) else {
        let known = || all().flat_map(|form| form.keys().iter().copied());
        let near = table.keys().find_map(|key| Some((key, nearest(key.get_ref(), known())?)));
        return Err(match near {
            Some((key, near)) if key.get_ref() != near => {
                let what = format!("unknown key {}; did you mean {near}?", key.get_ref());
                value.wrong_key(key, what)
            }
            _ => value.wrong(format!("this is not a distribution; write one of {}", examples())),
        });
    };
    let foreign = table.keys().find(|key| !form.keys().contains(&&**key.get_ref()));
    foreign.map_or(Ok(form), |key| {
        let (name, own, examples) = (key.get_ref(), form.keys()[0], examples());
        let what = format!("{name} cannot be combined with {own}; write one of {examples}");
        Err(value.wrong_key(key, what))
    })
}

fn uniform(value: Value<'_>) -> Result<Distribution, Wrong> {
    let expected = "two durations, such as [\"1ms\", \"3ms\"]";
    let [min, max] = value.items(expected)?[..] else {
        return Err(value.wrong(format!("it must be {expected}")));
    };
    let (min, max) = (min.duration()?, max.duration()?);
    if max < min {
        return Err(value.wrong("the first duration must not be above the second"));
    }
    Ok(Distribution::Uniform { min, max })
}

/// Returns a distribution as TOML.
fn text(distribution: &Distribution) -> String {
    let quoted = |duration| format!("{:?}", duration_text(duration));
    let text = match *distribution {
        Distribution::Const(always) => return quoted(always),
        Distribution::Uniform { min, max } => {
            format!("uniform = [{}, {}]", quoted(min), quoted(max))
        }
        Distribution::Exponential { min, mean } => {
            let min =
                if min.is_zero() { String::new() } else { format!(", min = {}", quoted(min)) };
            format!("exponential = {}{min}", quoted(mean))
        }
        Distribution::Bimodal { usual, rare, share } => {
            format!("usual = {}, rare = {}, share = {share:?}", quoted(usual), quoted(rare))
        }
        Distribution::Pareto { min, shape, max } => {
            format!("pareto = {shape:?}, min = {}, max = {}", quoted(min), quoted(max))
        }
    };
    format!("{{ {text} }}")
}
