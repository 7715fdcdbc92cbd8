//! Restores missing losses from the ledgers of the same logdir.

use std::ops::Range;
use std::path::PathBuf;

use crate::found::Audit;
use crate::shard::Made;
use unisono_core::ids::Step;
use unisono_core::protocol::UpdateRecord;
use unisono_files::losses::FindLosses;
use unisono_observe::ledger;

/// Returns a function that finds losses in the ledgers of a logdir. Every ps records the loss of
/// every slot, so a single ledger suffices.
#[must_use]
pub fn find_losses(logdir: PathBuf) -> Box<FindLosses> {
    Box::new(move |steps: Range<Step>| {
        let ledgers = ledger::read_all(&logdir).map_err(|error| error.to_string())?;
        let audit = Audit::of(&ledgers);
        if let Some(violation) = audit.first_violation() {
            return Err(format!("the ledgers cannot be trusted: {violation}"));
        }
        // Updates that were rolled back are left out, because the losses file does not have their
        // rows.
        let standing = audit.standing();
        Ok(standing.range(steps).filter_map(|(_, made)| losses_of(made.first()?)).collect())
    })
}

/// Returns the losses of an update; `None` if the ledger does not record the push message of a
/// slot.
fn losses_of(made: &Made<'_>) -> Option<UpdateRecord> {
    let update = made.update;
    let loss = |used: &ledger::UsedSlot| Some((used.slot, used.push.as_ref()?.loss.0));
    let losses = update.slots.iter().map(loss).collect::<Option<_>>()?;
    Some(UpdateRecord { cut: update.cut(), losses })
}
