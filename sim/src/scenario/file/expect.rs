//! `[expect]`: expectations that do not contradict each other.

use std::time::Duration;

use unisono_config::RunConfig;
use unisono_config::file::Wrong;
use unisono_core::Step;

use super::error::Sources;
use super::section::{Section, Value};
use super::tasks::{Shape, task};
use super::{events, keys, ranges};
use crate::scenario::{Expect, ExpectedEvent, ExpectedOutcome, Oracle, Places, Range};

/// `None` is compared with nothing.
pub(super) const ORACLES: [(Option<Oracle>, &str); 3] = [
    (Some(Oracle::Serial), "serial"),
    (Some(Oracle::Provenance), "provenance"),
    (None, keys::NONE),
];

#[derive(Clone, Copy)]
enum Outcome {
    Finished,
    Failed,
    Any,
}

pub(super) fn read(
    section: Section<'_>,
    run: &RunConfig,
    shape: &Shape,
    sources: &Sources,
) -> Result<Expect, Wrong> {
    let outcome = outcome(section)?;
    let counts =
        |key| section.get(key).map(|value| ranges::read(value, COUNTS, Value::count)).transpose();
    let golden = |value: Value<'_>| {
        let path = value.text("the path of a losses.csv")?;
        Ok(sources.folder(value.at).join(path))
    };
    Ok(Expect {
        final_step: final_step(section, &outcome, shape)?,
        oracle: oracle(section, &outcome, shape)?,
        golden: section.get("golden").map(golden).transpose()?,
        gradients_per_update: gradients(section, run)?,
        duplicates: counts("duplicates")?,
        stale: counts("stale")?,
        fenced: counts("fenced")?,
        rollbacks: counts("rollbacks")?,
        left_behind: counts("left_behind")?,
        virtual_time: virtual_time(section, shape)?,
        events: section
            .all("event", &keys::EXPECT_EVENT)?
            .into_iter()
            .map(|table| event(table, shape))
            .collect::<Result<_, _>>()?,
        outcome,
        places: places(section, sources)?,
    })
}

/// Where each expectation stands, for what is said of one that is not met.
fn places(section: Section<'_>, sources: &Sources) -> Result<Places, Wrong> {
    let mut places = Places::default();
    for key in section.known.names() {
        if let Some(value) = section.get(key) {
            places.note(key, sources.place(value.at));
        }
    }
    for (number, event) in section.all("event", &keys::EXPECT_EVENT)?.into_iter().enumerate() {
        let value = event.get("times").map_or_else(|| event.need("event"), Ok)?;
        places.note(Places::event_key(number), sources.place(value.at));
    }
    Ok(places)
}

/// As often as can be.
pub(super) const COUNTS: Range<u64> = Range { min: 0, max: u64::MAX };
/// As long as can be.
pub(super) const TIMES: Range<Duration> = Range { min: Duration::ZERO, max: Duration::MAX };
/// At least once: what an expected event is, if nothing else is said.
pub(super) const ONCE: Range<u64> = Range { min: 1, max: u64::MAX };

fn outcome(section: Section<'_>) -> Result<ExpectedOutcome, Wrong> {
    let named =
        [(Outcome::Finished, "finished"), (Outcome::Failed, "failed"), (Outcome::Any, "any")];
    let outcome = section.get("outcome");
    let name = outcome.map_or(Ok(Outcome::Finished), |value| value.choice("outcome", &named))?;
    match (name, outcome, section.get("because")) {
        (Outcome::Failed, _, Some(because)) => {
            let because = because.text("a part of the failure's text")?.to_owned();
            Ok(ExpectedOutcome::Failed { because })
        }
        (Outcome::Failed, Some(outcome), None) => {
            Err(outcome.wrong("say why: give because, a part of the failure's text"))
        }
        (_, _, Some(because)) => {
            Err(because.wrong("only a run that fails has a reason; write outcome = \"failed\""))
        }
        (Outcome::Any, ..) => Ok(ExpectedOutcome::Any),
        (Outcome::Finished | Outcome::Failed, ..) => Ok(ExpectedOutcome::Finished),
    }
}

fn final_step(
    section: Section<'_>,
    outcome: &ExpectedOutcome,
    shape: &Shape,
) -> Result<Option<Step>, Wrong> {
    let Some(value) = section.get("final_step") else { return Ok(None) };
    let step = events::version(value, shape)?;
    let is_last = step.0 == shape.training_steps;
    match outcome {
        ExpectedOutcome::Finished if !is_last => Err(value.wrong(format!(
            "a run that finishes is at step {}, its training_steps",
            shape.training_steps
        ))),
        ExpectedOutcome::Failed { .. } if is_last => Err(value.wrong(format!(
            "a run whose last checkpoint is of step {step}, its training_steps, has finished, but \
             the outcome is \"failed\""
        ))),
        _ => Ok(Some(step)),
    }
}

fn oracle(
    section: Section<'_>,
    outcome: &ExpectedOutcome,
    shape: &Shape,
) -> Result<Option<Oracle>, Wrong> {
    let Some(value) = section.get("oracle") else { return Ok(default_oracle(outcome, shape)) };
    let oracle = value.choice("oracle", &ORACLES)?;
    if oracle == Some(Oracle::Serial) && shape.may_choose {
        return Err(value.wrong(
            "with R below N timing chooses the slots, and a serial run cannot know them; write \
             \"provenance\"",
        ));
    }
    Ok(oracle)
}

pub(super) fn default_oracle(outcome: &ExpectedOutcome, shape: &Shape) -> Option<Oracle> {
    match outcome {
        ExpectedOutcome::Any => None,
        _ if shape.may_choose => Some(Oracle::Provenance),
        ExpectedOutcome::Finished | ExpectedOutcome::Failed { .. } => Some(Oracle::Serial),
    }
}

fn gradients(section: Section<'_>, run: &RunConfig) -> Result<Option<u32>, Wrong> {
    let Some(value) = section.get("gradients_per_update") else { return Ok(None) };
    let (given, replicas) = (value.count()?, run.sync.replicas_to_aggregate);
    if given != u64::from(replicas) {
        return Err(
            value.wrong(format!("an update is made of exactly R gradients, and R is {replicas}"))
        );
    }
    Ok(Some(replicas))
}

fn virtual_time(section: Section<'_>, shape: &Shape) -> Result<Option<Range<Duration>>, Wrong> {
    let Some(value) = section.get("virtual_time") else { return Ok(None) };
    let range = ranges::read(value, TIMES, Value::duration)?;
    shape.check_time(value, range.min)?;
    Ok(Some(range))
}

fn event(section: Section<'_>, shape: &Shape) -> Result<ExpectedEvent, Wrong> {
    let event = events::event(section.need("event")?)?;
    let times = |value| {
        // What may happen at most so often may be left out altogether, if that is all that is said.
        ranges::read(value, COUNTS, Value::count)
    };
    Ok(ExpectedEvent {
        event,
        node: section.get("node").map(|value| task(value, shape)).transpose()?,
        step: section
            .get("step")
            .map(|value| events::step(value, Some(event), shape))
            .transpose()?,
        times: section.get("times").map_or(Ok(ONCE), times)?,
    })
}
