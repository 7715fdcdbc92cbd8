//! Turns the signal SIGXFSZ into a write error, and finds out which signals were ignored when the
//! process started.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::SIGXFSZ;

/// Makes a write beyond the maximum size of a file (`ulimit -f`) return an error, like a write to a
/// full disk. By default, such a write kills the process with SIGXFSZ. Shared memory counts as a
/// file, so this matters even for a task that writes no file.
///
/// # Errors
/// Returns an error if the signal handler cannot be installed.
pub fn take_file_size_errors() -> io::Result<()> {
    // With any handler, a write beyond the maximum size returns EFBIG. The handler sets a flag that
    // no code reads, because such a handler needs no unsafe code. Ignoring the signal would need
    // unsafe code.
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).map(drop)
}

/// Returns whether the process was started with this signal ignored, as `nohup` ignores SIGHUP. The
/// caller must call this function before installing a handler for the signal, because a handler
/// replaces the setting. On a system without `/proc`, the function returns `false`.
pub fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    is_in_mask(&status, signal)
}

/// Returns whether the mask `SigIgn` in `status` contains this signal. `status` is the text of
/// `/proc/PID/status` (see proc(5)).
fn is_in_mask(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    // Bit 0 of the mask stands for signal 1.
    u32::try_from(signal - 1).is_ok_and(|bit| mask.checked_shr(bit).unwrap_or(0) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_found_in_the_mask() {
        // The text is the output of `trap '' HUP XFSZ; cat /proc/self/status` in bash.
        let status = "Name:\tcat\nSigBlk:\t0000000000000000\nSigIgn:\t0000000001000001\n";
        assert!(is_in_mask(status, 1) && is_in_mask(status, SIGXFSZ));
        assert!(!is_in_mask(status, 2) && !is_in_mask(status, 15) && !is_in_mask(status, 0));
        assert!(!is_in_mask("", 1) && !is_in_mask("SigIgn:\tx", 1));
    }
}
