//! `unisono audit`: checks the ledgers of a run against the rules of the protocol.

use std::path::Path;
use std::process::ExitCode;

use unisono_audit::AuditReport;
use unisono_audit::found::{Audit, Verdict};
use unisono_observe::ledger;
use unisono_task::process::Process;
use unisono_terminal::usage;

/// The exit code if no rule is broken, but the ledgers of some shards lack updates.
const EXIT_INCOMPLETE: u8 = 3;

/// Checks the ledgers of a logdir against the rules of the protocol and against the other files of
/// the logdir.
///
/// # Errors
/// Returns an error if there are no ledgers, or a file cannot be read.
pub fn run_audit(logdir: &Path, process: &Process) -> anyhow::Result<ExitCode> {
    // An unreadable file shows no violation, so the exit code is that of a usage error.
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
