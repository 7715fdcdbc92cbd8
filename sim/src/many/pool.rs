//! Plays runs on several threads and returns their results in order, so that no output depends on
//! the number of threads.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::{ControlFlow, Range};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::lock::lock;

/// The maximum number of results that wait for an earlier result. The limit bounds the memory while
/// one slow run delays the results of all later runs.
const MAX_AHEAD: u64 = 1_024;

struct Pool<T> {
    state: Mutex<State<T>>,
    is_done: Condvar,
    has_room: Condvar,
}

struct State<T> {
    next: u64,
    end: u64,
    /// The number of the next result that the caller takes.
    taken: u64,
    done: BTreeMap<u64, thread::Result<T>>,
}

/// Calls `work` for each number of a range, on `jobs` threads. Passes the results to `take` on the
/// calling thread, in the order of the numbers. After `take` has returned `Break`, no further
/// number is begun. Returns the value of `Break`, or `None` if `take` has taken all results.
///
/// # Panics
/// If `work` panics.
pub fn in_order<T: Send, B>(
    jobs: NonZeroUsize,
    numbers: Range<u64>,
    work: impl Fn(u64) -> T + Sync,
    mut take: impl FnMut(u64, T) -> ControlFlow<B>,
) -> Option<B> {
    let Range { start, end } = numbers;
    let state = State { next: start, end, taken: start, done: BTreeMap::new() };
    let pool =
        &Pool { state: Mutex::new(state), is_done: Condvar::new(), has_room: Condvar::new() };
    let work = &work;
    thread::scope(|scope| {
        let n_threads = end.saturating_sub(start).min(jobs.get() as u64);
        for _ in 0..n_threads {
            scope.spawn(move || {
                while let Some(number) = pool.begin() {
                    // A panic is stored like a result, so that the caller gets the panic in the
                    // order of the numbers. Otherwise `wait_for` would wait for ever for the
                    // missing result.
                    pool.finish(number, catch_unwind(AssertUnwindSafe(|| work(number))));
                }
            });
        }
        let ended = (start..end).find_map(|number| match pool.wait_for(number) {
            Ok(result) => take(number, result).break_value(),
            Err(panic) => {
                pool.stop();
                resume_unwind(panic)
            }
        });
        pool.stop();
        ended
    })
}

/// Returns the lowest number of a range for which `find` returns `Some`, with the returned value.
pub fn first<T: Send>(
    jobs: NonZeroUsize,
    numbers: Range<u64>,
    find: impl Fn(u64) -> Option<T> + Sync,
) -> Option<(u64, T)> {
    in_order(jobs, numbers, find, |number, result| match result {
        Some(result) => ControlFlow::Break((number, result)),
        None => ControlFlow::Continue(()),
    })
}

impl<T> Pool<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        lock(&self.state)
    }

    /// Returns the next number to work on, or `None` after the last number.
    fn begin(&self) -> Option<u64> {
        let is_full =
            |state: &mut State<T>| state.next < state.end && state.next - state.taken >= MAX_AHEAD;
        let waited = self.has_room.wait_while(self.state(), is_full);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        let number = state.next;
        (number < state.end).then(|| {
            state.next += 1;
            number
        })
    }

    fn finish(&self, number: u64, result: thread::Result<T>) {
        self.state().done.insert(number, result);
        self.is_done.notify_one();
    }

    fn wait_for(&self, number: u64) -> thread::Result<T> {
        let is_missing = |state: &mut State<T>| !state.done.contains_key(&number);
        let waited = self.is_done.wait_while(self.state(), is_missing);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner);
        state.taken = number + 1;
        self.has_room.notify_all();
        state.done.remove(&number).expect("the result was waited for")
    }

    fn stop(&self) {
        self.state().end = 0;
        self.has_room.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs(n: usize) -> NonZeroUsize {
        NonZeroUsize::new(n).unwrap()
    }

    #[test]
    fn results_come_in_order_with_any_number_of_threads() {
        for n_threads in [1, 2, 7] {
            let mut taken = Vec::new();
            in_order(
                jobs(n_threads),
                3..3_000,
                |n| n * n,
                |n, square| {
                    taken.push((n, square));
                    ControlFlow::<()>::Continue(())
                },
            );
            assert_eq!(taken, (3..3_000).map(|n| (n, n * n)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn search_returns_the_lowest_number_even_if_a_later_one_is_found_sooner() {
        let find = |n: u64| (n % 10 == 3).then_some(n);
        assert_eq!(first(jobs(4), 4..u64::MAX, find), Some((13, 13)));
        assert_eq!(first(jobs(4), 4..9, find), None);
        assert_eq!(first(jobs(4), 5..5, find), None);
    }

    #[test]
    #[should_panic(expected = "at 5")]
    fn panic_of_the_work_reaches_the_caller() {
        let take = |_, ()| ControlFlow::<()>::Continue(());
        in_order(jobs(2), 0..10, |n| assert!(n != 5, "at {n}"), take);
    }
}
