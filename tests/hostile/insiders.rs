//! Who is let in, and then does what no task does.

use std::net::TcpListener;

use unisono_core::protocol::{Message, Recorded, Want};
use unisono_core::{Cut, Generation, Incarnation, Step, TaskId};

use crate::peer::{Peer, hello, pull, push};
use crate::support::{Folder, Process, unisono};
use crate::{FLAGS, Waiting, peak_memory};

const PS: TaskId = TaskId::PS_ZERO;
const WORKER: TaskId = TaskId::worker(1);

/// A worker 1 that has been welcomed, and the first version that it got.
fn let_in(address: &str, flags: &str) -> (Peer, Generation, Step, usize) {
    let mut worker = Peer::call(address);
    worker.send(&Message::Hello(hello(WORKER, PS, flags)));
    let welcome = worker.receive();
    assert!(matches!(welcome, Message::Welcome { state: Some(_), .. }), "{welcome:?}");
    worker.send(&pull());
    let Message::Version { generation, step, parameters, .. } = worker.receive() else {
        panic!("a version was asked for")
    };
    (worker, generation, step, parameters.len())
}

#[test]
fn a_worker_that_lies_about_its_gradient_is_parted_from() {
    let folder = Folder::new();
    let mut waiting = Waiting::start(&folder, "");
    let address = waiting.ps_address().to_owned();
    let before = peak_memory(&waiting.ps);

    let (mut worker, generation, step, n_values) = let_in(&address, FLAGS);
    worker.send(&push(generation, step, n_values - 1));
    worker.wait_for_the_end();
    let told = format!("pushed a gradient of {} values for a shard of {n_values}", n_values - 1);
    waiting.ps.wait_for_stderr(&told);

    // One that says it has 64 MiB is not even listened to.
    let (mut worker, generation, step, _) = let_in(&address, FLAGS);
    let n_bytes = 64 << 20;
    let huge = unisono_core::wire::encode_to_vec(&push(generation, step, n_bytes / 4));
    assert!(worker.say(&huge).is_err(), "all of it was taken");
    waiting.ps.wait_for_stderr(&format!("too large: {n_bytes} bytes of tensors"));

    let (mut worker, ..) = let_in(&address, FLAGS);
    worker.send(&Message::Finished { generation });
    worker.wait_for_the_end();
    waiting.ps.wait_for_stderr("it said finished, which is not for it to say");

    let grown = peak_memory(&waiting.ps) - before;
    // 64 MiB were on their way; some versions and gradients of 100 KB are what it may take.
    // 0.2 MiB was measured.
    assert!(grown < 4 << 20, "{grown} bytes");
    waiting.finish(&folder);
}

#[test]
fn a_worker_that_asks_and_does_not_read_is_cut_off() {
    let folder = Folder::new();
    let mut waiting = Waiting::start(&folder, "");
    let (mut deaf, generation, step, n_values) = let_in(waiting.ps_address(), FLAGS);
    let before = peak_memory(&waiting.ps);
    let want = Want::AtLeast(Cut { generation, step });
    let ask =
        unisono_core::wire::encode_to_vec(&Message::Pull { want, recorded: Recorded::default() });
    // Each is answered with a version; sockets take a few MiB of them.
    let n_asked = (256 << 20) / (4 * n_values);
    let asked = (0..n_asked).try_for_each(|_| deaf.say(&ask));
    waiting.ps.wait_for_stderr("the other end does not read: ");
    drop((asked, deaf));
    let grown = peak_memory(&waiting.ps) - before;
    // The versions that wait are one and the same buffer, so it is their number that is bounded.
    assert!(grown < 4 << 20, "{grown} bytes");
    waiting.finish(&folder);
}

#[test]
fn a_ps_that_lies_about_its_parameters_does_not_end_its_worker() {
    let folder = Folder::new();
    let ps = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = ps.local_addr().unwrap();
    let mut worker = unisono(&format!(
        "worker --task-id 1 --ps-hosts {address} --worker-hosts 127.0.0.1:1,127.0.0.1:2 {FLAGS}"
    ));
    worker.arg("--logdir").arg(folder.logdir());
    let mut worker = Process::start(worker);

    let opener = Incarnation(1);
    let generation = Generation { opener, number: 1 };
    let step = Step(0);
    // The model's: 784 x 32 + 32 + 32 x 10 + 10.
    for (n_values, told) in [
        (7, "it sent a version of 7 parameters, and its shard has 25450"),
        (25_449, "it sent a version of 25449 parameters, and its shard has 25450"),
        (25_451, "too large: 101804 bytes of tensors, the limit is 101800"),
    ] {
        let mut lying = Peer::of(ps.accept().unwrap().0);
        let Message::Hello(hello) = lying.receive() else { panic!("a caller says hello") };
        assert_eq!((hello.from, hello.to), (WORKER, PS));
        let state = Some(Cut { generation, step });
        lying.send(&Message::Welcome { incarnation: Incarnation(1), state });
        assert!(matches!(lying.receive(), Message::Pull { .. }));
        lying.send(&Message::Version {
            generation,
            step,
            tokens: vec![unisono_core::Slot(1)],
            received: Vec::new(),
            updates: Vec::new(),
            acknowledged: 0,
            parameters: vec![0.5; n_values].into(),
        });
        lying.wait_for_the_end();
        worker.wait_for_stderr(&format!("disconnected ps 0: {told}"));
    }
    assert!(worker.is_running());
    worker.signal("TERM");
    let ended = worker.wait();
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}
