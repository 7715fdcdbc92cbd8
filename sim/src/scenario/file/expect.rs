//! `[expect]`: the defaults, and the check that expectations do not contradict each other.

use toml::de::DeTable;

use super::error::Sources;
use crate::scenario::keys::*;
use crate::scenario::{Expect, ExpectedEvent, ExpectedOutcome, Oracle, Places};

pub(super) fn read(file: &DeTable<'_>, shape: &Shape, sources: &Sources) -> Result<Expect, Wrong> {
    let section = Section::of(file, Expect::known(), shape)?;
    let is_any = section.get("outcome").is_some_and(|value| value.raw.as_str() == Some("any"));
    let mut expect: Expect = Table::read(section, Some(&defaults(is_any, shape)))?;
    if let (Some(path), Some(value)) = (&mut expect.golden, section.get("golden")) {
        *path = sources.folder(value.at).join(&path);
    }
    Ok(expect)
}

/// Returns the default expectations of a file. The default oracle is the strictest one that the
/// expected outcome and R permit.
pub(super) fn defaults(is_any: bool, shape: &Shape) -> Expect {
    let oracle = if shape.may_choose { Oracle::Provenance } else { Oracle::Serial };
    Expect { oracle: (!is_any).then_some(oracle), ..Expect::default() }
}

/// Returns the line of each expectation, for the report of an expectation that is not met.
pub(super) fn places(
    file: &DeTable<'_>,
    shape: &Shape,
    sources: &Sources,
) -> Result<Places, Wrong> {
    let section = Section::of(file, Expect::known(), shape)?;
    let mut places = Places::default();
    for key in section.known.names() {
        if let Some(value) = section.get(key) {
            places.note(key, sources.place(value.at));
        }
    }
    let events = section.all("event", ExpectedEvent::known())?;
    for (number, event) in events.into_iter().enumerate() {
        let value = event.get("times").map_or_else(|| event.need("event"), Ok)?;
        places.note(Places::event_key(number), sources.place(value.at));
    }
    Ok(places)
}

impl Check for Expect {
    fn check(&self, section: Section<'_>) -> Result<(), Wrong> {
        let &Shape { may_choose, replicas, training_steps, .. } = section.shape;
        if let Some(step) = self.final_step {
            section.check_version("final_step", step)?;
            let is_last = step.0 == training_steps;
            let what =
                format!("a run that finishes ends at step {training_steps}, its training_steps");
            let finishes = self.outcome == ExpectedOutcome::Finished;
            section.deny("final_step", finishes && !is_last, what)?;
            let what = format!(
                "a run whose last checkpoint is of step {step}, its training_steps, has finished, but \
             the outcome is \"failed\""
            );
            section.deny("final_step", self.outcome.is_failure() && is_last, what)?;
        }
        let what = "with R below N timing chooses the slots, and a serial run cannot know them; write \
                \"provenance\"";
        section.deny("oracle", self.oracle == Some(Oracle::Serial) && may_choose, what)?;
        let what = format!("an update uses exactly R gradients, and R is {replicas}");
        let is_wrong = self.gradients_per_update != Some(replicas);
        section.deny("gradients_per_update", is_wrong, what)?;
        self.virtual_time.map_or(Ok(()), |range| section.check_time("virtual_time", range.min))
    }
}
