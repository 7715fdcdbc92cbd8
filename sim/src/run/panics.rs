//! Panics of simulated nodes. A panic of a node is a result of the run, so the panic hook does not
//! print the panic.

use std::cell::RefCell;
use std::panic;
use std::thread;

/// The name of the threads that play runs.
pub(crate) const RUN_THREAD: &str = "simulated run";

thread_local! {
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Installs a panic hook that prints nothing for the threads that play runs. For these threads, the
/// hook stores the location of the panic, which [`text_of`] appends to the text.
pub(crate) fn keep_quiet() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        // Other threads keep the usual hook, because a panic of the program itself must be visible.
        if thread::current().name() == Some(RUN_THREAD) {
            let place = info.location().map(|at| format!("{}:{}", at.file(), at.line()));
            PLACE.set(place);
        } else {
            usual(info);
        }
    }));
}

/// Returns the text of a panic that was caught on this thread. The text contains the location of
/// the panic if [`keep_quiet`] was called before.
pub(crate) fn text_of(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    match PLACE.take() {
        Some(place) => format!("{text}, at {place}"),
        None => text,
    }
}
