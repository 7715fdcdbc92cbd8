//! Counts the operations of a simulated disk, and makes them fail after a limit.

use std::io::{self, ErrorKind};

#[derive(Debug, Default)]
pub(super) struct Meter {
    /// The number of operations so far, including operations that failed because of a fault.
    pub(super) n_operations: u64,
    /// The number of operations after which the process counts as killed; `None` without a limit.
    limit: Option<u64>,
}

impl Meter {
    /// Counts an operation. Returns an error if the limit is reached.
    pub(super) fn count(&mut self) -> io::Result<()> {
        if self.limit.is_some_and(|limit| self.n_operations >= limit) {
            return Err(io::Error::new(ErrorKind::Interrupted, "killed"));
        }
        self.n_operations += 1;
        Ok(())
    }

    pub(super) fn kill_after(&mut self, n_operations: Option<u64>) {
        self.limit = n_operations.map(|n| self.n_operations.saturating_add(n));
    }
}
