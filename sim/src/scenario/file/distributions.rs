//! Distributions: a duration, or a table whose keys say which.

use toml::de::{DeTable, DeValue};
use unisono_config::file::{Wrong, nearest};

use super::section::Value;
use super::units::duration_text;
use crate::scenario::Distribution;

/// A form, what it means, and the keys of its table.
pub(super) struct Form {
    pub(super) example: &'static str,
    pub(super) meaning: &'static str,
    keys: &'static [&'static str],
}

pub(super) const FORMS: [Form; 5] = [
    Form {
        example: "{ const = \"20ms\" }",
        meaning: "Always the same. `\"20ms\"` by itself is the same.",
        keys: &["const"],
    },
    Form {
        example: "{ uniform = [\"1ms\", \"3ms\"] }",
        meaning: "Anything between, both included, equally likely.",
        keys: &["uniform"],
    },
    Form {
        example: "{ exponential = \"2ms\", min = \"1ms\" }",
        meaning: "Memoryless, with this mean, on top of `min`, which is `\"0s\"` if it is left out.",
        keys: &["exponential", "min"],
    },
    Form {
        example: "{ usual = \"1ms\", rare = \"50ms\", share = 0.01 }",
        meaning: "Mostly `usual`, but `rare` with the probability `share`.",
        keys: &["usual", "rare", "share"],
    },
    Form {
        example: "{ pareto = 1.5, min = \"1ms\", max = \"50ms\" }",
        meaning: "Heavy-tailed: `min` · u^(−1/`pareto`) for a uniform u in (0, 1], cut at `max`. \
                  The exponent 1.5 is a long tail, 3 a short one.",
        keys: &["pareto", "min", "max"],
    },
];

pub(super) fn read(value: Value<'_>) -> Result<Distribution, Wrong> {
    let DeValue::Table(table) = value.raw else {
        return value.duration().map(Distribution::Const);
    };
    let form = form(value, table)?;
    let item = |key: &'static str| table.get(key).map(|item| value.inner(key, item));
    let need = |key: &'static str| {
        item(key).ok_or_else(|| value.wrong(format!("{key} is missing; write {}", form.example)))
    };
    match form.keys[0] {
        "const" => need("const")?.duration().map(Distribution::Const),
        "uniform" => uniform(need("uniform")?),
        "exponential" => Ok(Distribution::Exponential {
            mean: need("exponential")?.duration()?,
            min: item("min").map_or(Ok(std::time::Duration::ZERO), Value::duration)?,
        }),
        "usual" => {
            let is_share = |share: f64| (0.0..=1.0).contains(&share);
            Ok(Distribution::Bimodal {
                usual: need("usual")?.duration()?,
                rare: need("rare")?.duration()?,
                share: need("share")?.number("a probability from 0 to 1", is_share)?,
            })
        }
        _ => {
            let is_shape = |shape: f64| shape > 0.0 && shape.is_finite();
            let (shape, min) = (need("pareto")?, need("min")?.duration()?);
            let max = need("max")?;
            if max.duration()? < min {
                return Err(max.wrong("it must not be below min"));
            }
            let shape = shape.number("a number above 0", is_shape)?;
            Ok(Distribution::Pareto { min, shape, max: max.duration()? })
        }
    }
}

/// Which form a table is of: each has a first key that no other has.
fn form(value: Value<'_>, table: &DeTable<'_>) -> Result<&'static Form, Wrong> {
    let has = |key: &&str| table.contains_key(*key);
    let own = |form: &&Form| match form.keys[0] {
        "usual" => form.keys.iter().any(has),
        first => has(&first),
    };
    let examples = || FORMS.map(|form| form.example).join(", ");
    let Some(form) = FORMS.iter().find(own) else {
        let known = || FORMS.iter().flat_map(|form| form.keys.iter().copied());
        let near = table.keys().find_map(|key| Some((key, nearest(key.get_ref(), known())?)));
        return Err(match near {
            Some((key, near)) if key.get_ref() != near => Wrong {
                at: key.span().start,
                what: format!(
                    "{}: unknown key {}; did you mean {near}?",
                    value.key(),
                    key.get_ref()
                ),
            },
            _ => value.wrong(format!("no distribution; there are {}", examples())),
        });
    };
    match table.keys().find(|key| !form.keys.contains(&&**key.get_ref())) {
        None => Ok(form),
        Some(key) => Err(Wrong {
            at: key.span().start,
            what: format!(
                "{}: {} does not go with {}; write one of {}",
                value.key(),
                key.get_ref(),
                form.keys[0],
                examples()
            ),
        }),
    }
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

/// As TOML.
pub(super) fn text(distribution: &Distribution) -> String {
    let quoted = |duration| format!("{:?}", duration_text(duration));
    match *distribution {
        Distribution::Const(always) => quoted(always),
        Distribution::Uniform { min, max } => {
            format!("{{ uniform = [{}, {}] }}", quoted(min), quoted(max))
        }
        Distribution::Exponential { min, mean } if min.is_zero() => {
            format!("{{ exponential = {} }}", quoted(mean))
        }
        Distribution::Exponential { min, mean } => {
            format!("{{ exponential = {}, min = {} }}", quoted(mean), quoted(min))
        }
        Distribution::Bimodal { usual, rare, share } => {
            format!("{{ usual = {}, rare = {}, share = {share:?} }}", quoted(usual), quoted(rare))
        }
        Distribution::Pareto { min, shape, max } => {
            format!("{{ pareto = {shape:?}, min = {}, max = {} }}", quoted(min), quoted(max))
        }
    }
}
