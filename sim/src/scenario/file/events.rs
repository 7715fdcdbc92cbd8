//! The steps that events can have.

use unisono_config::file::Wrong;
use unisono_core::Step;

use super::field::{Bounds, ValueType};
use super::lines::Lines;
use super::section::{Section, Value};
use super::table::Table;
use crate::scenario::{EventPattern, ExpectedEvent};
use unisono_observe::trace::EventKind;

/// The steps that a kind of event can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Steps {
    /// No step.
    None,
    /// The number of an update, below `training_steps`.
    OfUpdate,
    /// The number of a version, up to `training_steps`.
    OfVersion,
}

pub(super) fn steps_of(event: EventKind) -> Steps {
    use EventKind::*;
    // A message has the same step for its sender and its receiver.
    match event.sent_as().unwrap_or(event) {
        SendsPush | SendsPushReply | SendsReceived | SendsChosen | Computes | Computed
        | Updates | Updated | Records | NotRepeated | DropsStale | DropsDuplicate | DropsFenced
        | DropsSurplus => Steps::OfUpdate,
        SendsPull | SendsVersion | SendsRestore | SendsCapture | SendsCaptured | SendsMissed
        | Read | Saved | SaveFailed | ShardLost | Adopts | Restores => Steps::OfVersion,
        _ => Steps::None,
    }
}

/// The inline table `on = { … }`.
impl ValueType for EventPattern {
    fn takes(_: Bounds) -> String {
        "table".to_owned()
    }

    fn read(value: Value<'_>, _: Bounds) -> Result<Self, Wrong> {
        <Self as Table>::read(Section::open(Self::known(), value)?, None)
    }

    fn text(&self, _: Bounds) -> String {
        Lines::inline(self)
    }
}

pub(crate) fn check_pattern(on: &EventPattern, section: Section<'_>) -> Result<(), Wrong> {
    check_step(on.event, on.step, section)
}

pub(crate) fn check_expected(event: &ExpectedEvent, section: Section<'_>) -> Result<(), Wrong> {
    check_step(Some(event.event), event.step, section)
}

/// Checks that such an event can have this step. Without an event, any version of the run will do.
fn check_step(
    event: Option<EventKind>,
    step: Option<Step>,
    section: Section<'_>,
) -> Result<(), Wrong> {
    let Some(step) = step else { return Ok(()) };
    let (steps, name) = (section.shape.training_steps, event.map_or("any", EventKind::name));
    match event.map_or(Steps::OfVersion, steps_of) {
        Steps::None => section.deny("step", true, format!("{name} has no step; leave step out")),
        Steps::OfUpdate => {
            let last = steps - 1;
            let what =
                format!("{step} never comes: of {steps} training_steps the last one is {last}");
            section.deny("step", step.0 > last, what)
        }
        Steps::OfVersion => section.check_version("step", step),
    }
}
