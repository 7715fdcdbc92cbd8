//! A buffer can be made although signals interrupt the reservation of its pages.
//!
//! This test is a program without a harness, because the system delivers signals of a process to
//! its first thread, and that thread must be the one that makes the buffer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::{Signal, getpid, kill_process};
use signal_hook::consts::SIGUSR1;
use unisono_memory::Buffer;

/// The length of the buffer. The system takes some milliseconds to reserve so many pages, so that a
/// signal arrives in between.
const N_BYTES: usize = 16 << 20;

fn main() {
    let is_over = Arc::new(AtomicBool::new(false));
    let taken = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGUSR1, Arc::clone(&taken)).expect("a handler");
    let signaller = {
        let is_over = Arc::clone(&is_over);
        move || {
            let mut n_sent = 0u64;
            while !is_over.load(Ordering::Relaxed) {
                kill_process(getpid(), Signal::USR1).expect("this process is running");
                n_sent += 1;
                // The pauses grow, so that a reservation of any length succeeds in the end.
                for _ in 0..n_sent * 1000 {
                    std::hint::spin_loop();
                }
            }
        }
    };
    let signaller = thread::Builder::new().spawn(signaller).expect("a thread");
    for nth in 0..20 {
        let made = Buffer::new(N_BYTES, [nth; 16]);
        made.unwrap_or_else(|error| panic!("buffer {nth} was interrupted by a signal: {error}"));
    }
    is_over.store(true, Ordering::Relaxed);
    signaller.join().expect("the thread does not panic");
    assert!(taken.load(Ordering::Relaxed), "no signal arrived");
}
