//! Panics of simulated nodes: results, and no reason to write on standard error.

use std::cell::RefCell;
use std::panic;
use std::thread;

thread_local! {
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on a panic on a thread that plays a run says nothing. Where it was is kept for the
/// run's failure.
pub fn keep_quiet() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if thread::current().name() == Some(RUN_THREAD) {
            let place = info.location().map(|at| format!("{}:{}", at.file(), at.line()));
            PLACE.set(place);
        } else {
            usual(info);
        }
    }));
}

/// Where this thread panicked last, if somebody listens.
pub(crate) fn take_place() -> Option<String> {
    PLACE.take()
}

/// The name of the threads on which runs are played. A panic there is a result, not a disaster.
pub const RUN_THREAD: &str = "simulated run";
