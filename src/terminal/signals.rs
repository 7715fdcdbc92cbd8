//! Signals that are errors in disguise, and the signals that the process was started to ignore.

use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::SIGXFSZ;

/// Has a write beyond the limit of a file's size (`ulimit -f`) fail with an error, as a write to a
/// full disk does, instead of killing the process with SIGXFSZ. Anonymous memory that tasks share
/// counts as a file, so that the signal reaches tasks that write no file, too.
///
/// # Errors
/// If the system refuses.
pub fn take_file_size_errors() -> io::Result<()> {
    // A handler is as good as ignoring the signal, and needs no unsafe code. Nobody reads the flag:
    // the error comes out of the system call.
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).map(drop)
}

/// Whether the process was started with this signal ignored, as by `nohup`. Asked before a handler
/// replaces that. Where the system has no `/proc` the answer is no.
pub fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    is_in_mask(&status, signal)
}

/// Whether the mask of ignored signals in a `/proc/PID/status` (proc(5)) has this signal.
fn is_in_mask(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    u32::try_from(signal - 1).is_ok_and(|bit| mask.checked_shr(bit).unwrap_or(0) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_signal_is_a_bit_of_the_mask() {
        // `trap '' HUP XFSZ; cat /proc/self/status` in bash.
        let status = "Name:\tcat\nSigBlk:\t0000000000000000\nSigIgn:\t0000000001000001\n";
        assert!(is_in_mask(status, 1) && is_in_mask(status, SIGXFSZ));
        assert!(!is_in_mask(status, 2) && !is_in_mask(status, 15) && !is_in_mask(status, 0));
        assert!(!is_in_mask("", 1) && !is_in_mask("SigIgn:\tx", 1));
    }
}
