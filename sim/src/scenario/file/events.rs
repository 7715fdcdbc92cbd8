//! Events by name, and the steps that they can have.

use unisono_config::file::Wrong;
use unisono_core::Step;

use super::section::Value;
use super::tasks::Shape;
use unisono_observe::trace::EventKind;

/// Which steps an event can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Steps {
    /// None at all.
    None,
    /// That of an update: below `training_steps`.
    OfUpdate,
    /// That of a version: up to `training_steps`.
    OfVersion,
}

pub(super) const fn steps_of(kind: EventKind) -> Steps {
    use EventKind as E;
    match kind {
        E::SendsPush
        | E::ReceivesPush
        | E::SendsPushReply
        | E::ReceivesPushReply
        | E::SendsReceived
        | E::ReceivesReceived
        | E::SendsChosen
        | E::ReceivesChosen
        | E::Computes
        | E::Computed
        | E::Updates
        | E::Updated
        | E::Records
        | E::NotRepeated
        | E::DropsStale
        | E::DropsDuplicate
        | E::DropsFenced
        | E::DropsSurplus => Steps::OfUpdate,
        E::SendsPull
        | E::ReceivesPull
        | E::SendsVersion
        | E::ReceivesVersion
        | E::SendsRestore
        | E::ReceivesRestore
        | E::SendsCapture
        | E::ReceivesCapture
        | E::SendsCaptured
        | E::ReceivesCaptured
        | E::SendsMissed
        | E::ReceivesMissed
        | E::Read
        | E::Saved
        | E::SaveFailed
        | E::ShardLost
        | E::Adopts
        | E::Restores => Steps::OfVersion,
        _ => Steps::None,
    }
}

/// The event of that name.
pub(super) fn event(value: Value<'_>) -> Result<EventKind, Wrong> {
    let named: Vec<_> = EventKind::ALL.iter().map(|kind| (*kind, kind.name())).collect();
    value.choice("event", &named)
}

/// A step at which such an event can be; `None` is any event.
pub(super) fn step(
    value: Value<'_>,
    kind: Option<EventKind>,
    shape: &Shape,
) -> Result<Step, Wrong> {
    let step = value.count()?;
    let steps = shape.training_steps;
    match kind.map_or(Steps::OfVersion, steps_of) {
        Steps::None => {
            let name = kind.map_or("any", EventKind::name);
            Err(value.wrong(format!("{name} has no step; leave step out")))
        }
        Steps::OfUpdate if step >= steps => Err(value.wrong(format!(
            "{step} never comes: of {steps} training_steps the last one is {}",
            steps - 1
        ))),
        Steps::OfVersion if step > steps => Err(value.wrong(beyond(step, steps))),
        _ => Ok(Step(step)),
    }
}

/// A version that the run comes to.
pub(super) fn version(value: Value<'_>, shape: &Shape) -> Result<Step, Wrong> {
    let step = value.count()?;
    if step > shape.training_steps {
        return Err(value.wrong(beyond(step, shape.training_steps)));
    }
    Ok(Step(step))
}

fn beyond(step: u64, steps: u64) -> String {
    format!("{step} never comes: the run ends at version {steps}, its training_steps")
}
