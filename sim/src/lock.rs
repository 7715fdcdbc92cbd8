//! One way to lock.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, whoever panicked: a panic anywhere ends the run, and what is left of it is only looked at.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
