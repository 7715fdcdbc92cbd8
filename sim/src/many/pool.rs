//! Plays runs on several threads and returns their results in order, so that no output depends on
//! the number of threads.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::{ControlFlow, Range};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;

use crate::lock::lock;

/// The maximum number of runs that are begun or played before an earlier run has ended. The limit
/// bounds the memory while one slow run delays the results of all later runs.
const MAX_AHEAD: usize = 1_024;

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
    let n_threads = numbers.end.saturating_sub(numbers.start).min(jobs.get() as u64);
    let (give, given) = mpsc::channel();
    let (finish, finished) = mpsc::channel();
    let (given, work) = (&Mutex::new(given), &work);
    let has_ended = &AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..n_threads {
            let finish = finish.clone();
            scope.spawn(move || {
                loop {
                    let Ok(number) = lock(given).recv() else { return };
                    if has_ended.load(Ordering::Relaxed) {
                        return;
                    }
                    // A panic is passed on like a result, so that the caller gets the panic in the
                    // order of the numbers. Otherwise the caller would wait for ever for the result.
                    let result = catch_unwind(AssertUnwindSafe(|| work(number)));
                    let _ = finish.send((number, result));
                }
            });
        }
        let mut ahead = numbers.clone();
        let mut give_next = || ahead.next().map(|number| give.send(number));
        for _ in 0..MAX_AHEAD {
            give_next();
        }
        let mut done = BTreeMap::new();
        let ended = numbers.into_iter().find_map(|number| {
            while !done.contains_key(&number) {
                done.extend(finished.recv());
            }
            give_next();
            match done.remove(&number).expect("the result was waited for") {
                Ok(result) => take(number, result).break_value().map(Ok),
                Err(panic) => Some(Err(panic)),
            }
        });
        // The threads begin none of the numbers that are still in the channel.
        has_ended.store(true, Ordering::Relaxed);
        drop(give);
        ended.transpose().unwrap_or_else(|panic| resume_unwind(panic))
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
