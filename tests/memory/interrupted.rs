//! Memory is made although signals interrupt it. A program of its own: the system hands signals of
//! a process to its first thread, which is the one that makes the memory here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::{Signal, getpid, kill_process};
use signal_hook::consts::SIGUSR1;
use unisono_memory::Buffer;

/// Memory whose pages take the system some milliseconds, so that a signal comes meanwhile.
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
                kill_process(getpid(), Signal::USR1).expect("this process is there");
                n_sent += 1;
                // More and more time between two, so that memory of any size is made in the end.
                for _ in 0..n_sent * 1000 {
                    std::hint::spin_loop();
                }
            }
        }
    };
    let signaller = thread::Builder::new().spawn(signaller).expect("a thread");
    for nth in 0..20 {
        let made = Buffer::new(N_BYTES, [nth; 16]);
        made.unwrap_or_else(|error| panic!("memory {nth}, in spite of signals: {error}"));
    }
    is_over.store(true, Ordering::Relaxed);
    signaller.join().expect("it does not panic");
    assert!(taken.load(Ordering::Relaxed), "signals came");
}
