//! Which steps an event of each kind can have.

use unisono_core::Step;

use crate::scenario::keys::*;
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
    // Sending a message and receiving it have the same step, so a receive event is treated as its
    // send event.
    match event.sent_as().unwrap_or(event) {
        SendsPush | SendsPushReply | SendsReceived | SendsChosen | Computes | Computed
        | Updates | Updated | Records | NotRepeated | DropsStale | DropsDuplicate | DropsFenced
        | DropsSurplus => Steps::OfUpdate,
        SendsPull | SendsVersion | SendsRestore | SendsCapture | SendsCaptured | SendsMissed
        | Read | Saved | SaveFailed | ShardLost | Adopts | Restores => Steps::OfVersion,
        _ => Steps::None,
    }
}

impl Check for EventPattern {
    fn check(&self, section: Section<'_>) -> Result<(), Wrong> {
        check_step(self.event, self.step, section)
    }
}

impl Check for ExpectedEvent {
    fn check(&self, section: Section<'_>) -> Result<(), Wrong> {
        check_step(Some(self.event), self.step, section)
    }
}

/// Checks that the given event can have this step. If no event is given, the step may be any
/// version of the run.
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
                format!("{step} never comes: the last of the {steps} training_steps is {last}");
            section.deny("step", step.0 > last, what)
        }
        Steps::OfVersion => section.check_version("step", step),
    }
}
