//! `unisono audit`: the ledgers of a run against the rules.

use std::path::Path;
use std::process::ExitCode;

use crate::program::process::Process;
use unisono_observe::audit::AuditReport;
use unisono_observe::audit::found::{Audit, Verdict};
use unisono_observe::ledger;
use unisono_terminal::usage;

/// Nothing is against a rule, but not all is there to be seen.
const EXIT_INCOMPLETE: u8 = 3;

/// Reads the ledgers of a logdir, and all else there that they can be held against.
///
/// # Errors
/// If there are none, or a file cannot be read.
pub fn run_audit(logdir: &Path, process: &Process) -> anyhow::Result<ExitCode> {
    // What cannot be read is no verdict on the run: the exit code tells one from the other.
    let ledgers = ledger::read_all(logdir).map_err(usage)?;
    let mut audit = Audit::of(&ledgers);
    audit.check_files(logdir).map_err(usage)?;
    process.screen.out(&AuditReport(&audit).to_string());
    Ok(match audit.verdict() {
        Verdict::Clean => ExitCode::SUCCESS,
        Verdict::Broken => ExitCode::FAILURE,
        Verdict::Incomplete => EXIT_INCOMPLETE.into(),
    })
}
