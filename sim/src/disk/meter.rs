//! How many operations a simulated disk did, what they cost, and after which one it is to stop.

use std::io::{self, ErrorKind};
use std::num::NonZeroU64;
use std::time::Duration;

/// What operations take; nothing, unless it is said. They are served one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskCosts {
    /// Of each that changes something: write, append, truncate, rename, remove, `create_dir`.
    pub write: Duration,
    /// Of each sync, of a file or a directory.
    pub sync: Duration,
    /// Of each read and each list.
    pub read: Duration,
    /// On top of it, how fast bytes are read, written and appended; `None`: at once.
    pub bytes_per_second: Option<NonZeroU64>,
}

/// An operation, as far as its cost is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    List,
    Read {
        n_bytes: usize,
    },
    Write {
        n_bytes: usize,
    },
    /// Changes names or cuts a file: no bytes move.
    Change,
    Sync,
}

impl DiskCosts {
    fn of(&self, operation: Operation) -> Duration {
        match operation {
            Operation::List => self.read,
            Operation::Read { n_bytes } => self.read.saturating_add(self.transfer(n_bytes)),
            Operation::Write { n_bytes } => self.write.saturating_add(self.transfer(n_bytes)),
            Operation::Change => self.write,
            Operation::Sync => self.sync,
        }
    }

    /// In whole nanoseconds, rounded up.
    fn transfer(&self, n_bytes: usize) -> Duration {
        const NANOSECONDS: u128 = 1_000_000_000;
        self.bytes_per_second.map_or(Duration::ZERO, |rate| {
            let nanos = (n_bytes as u128 * NANOSECONDS).div_ceil(u128::from(rate.get()));
            Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
        })
    }
}

#[derive(Clone, Debug)]
pub(super) struct Meter {
    costs: DiskCosts,
    cost: Duration,
    n_operations: u64,
    /// No more operations than this.
    limit: Option<u64>,
}

impl Meter {
    pub(super) const fn new(costs: DiskCosts) -> Self {
        Self { costs, cost: Duration::ZERO, n_operations: 0, limit: None }
    }

    /// Counts an operation, unless there is to be none any more.
    pub(super) fn count(&mut self) -> io::Result<()> {
        if self.limit.is_some_and(|limit| self.n_operations >= limit) {
            return Err(io::Error::new(ErrorKind::Interrupted, "killed"));
        }
        self.n_operations += 1;
        Ok(())
    }

    pub(super) fn cost_of(&self, operation: Operation) -> Duration {
        self.costs.of(operation)
    }

    pub(super) fn charge(&mut self, cost: Duration) {
        self.cost = self.cost.saturating_add(cost);
    }

    pub(super) fn take_cost(&mut self) -> Duration {
        std::mem::take(&mut self.cost)
    }

    pub(super) fn kill_after(&mut self, n_operations: Option<u64>) {
        self.limit = n_operations.map(|n| self.n_operations.saturating_add(n));
    }

    pub(super) const fn n_operations(&self) -> u64 {
        self.n_operations
    }
}
