//! Members of the cluster that violate the protocol.

use std::net::TcpListener;

use unisono_core::protocol::{Message, Recorded, Want};
use unisono_core::{Cut, Generation, Incarnation, Step, TaskId};

use crate::peer::{Peer, hello, pull, push};
use crate::support::{Folder, Process, unisono};
use crate::{FLAGS, Waiting, peak_memory};

const PS: TaskId = TaskId::PS_ZERO;
const WORKER: TaskId = TaskId::worker(1);

/// Joins as worker 1 and requests a version. Returns the connection, and the generation, the step
/// and the number of parameters of that version.
fn join(address: &str, flags: &str) -> (Peer, Generation, Step, usize) {
    let mut worker = Peer::call(address);
    worker.send(&Message::Hello(hello(WORKER, PS, flags)));
    let welcome = worker.receive();
    assert!(matches!(welcome, Message::Welcome { state: Some(_), .. }), "{welcome:?}");
    worker.send(&pull());
    let Message::Version { cut: Cut { generation, step }, parameters, .. } = worker.receive()
    else {
        panic!("the reply to a pull is a version")
    };
    (worker, generation, step, parameters.len())
}

#[test]
fn worker_that_sends_a_gradient_of_a_wrong_length_is_disconnected() {
    let folder = Folder::new();
    let mut waiting = Waiting::start(&folder, "");
    let address = waiting.ps_address().to_owned();
    let before = peak_memory(&waiting.ps);

    let (mut worker, generation, step, n_values) = join(&address, FLAGS);
    worker.send(&push(generation, step, n_values - 1));
    worker.wait_for_the_end();
    let message =
        format!("pushed a gradient of {} values, but the shard has {n_values}", n_values - 1);
    waiting.ps.wait_for_stderr(&message);

    // A gradient of 64 MiB is refused by its header, before it is read.
    let (mut worker, generation, step, _) = join(&address, FLAGS);
    let n_bytes = 64 << 20;
    let huge = unisono_core::wire::encode_to_vec(&push(generation, step, n_bytes / 4));
    assert!(worker.say(&huge).is_err(), "the ps read the whole gradient");
    waiting.ps.wait_for_stderr(&format!("too large: {n_bytes} bytes of tensors"));

    let (mut worker, ..) = join(&address, FLAGS);
    worker.send(&Message::Finished { generation });
    worker.wait_for_the_end();
    waiting.ps.wait_for_stderr("it sent finished, which it may not send");

    let grown = peak_memory(&waiting.ps) - before;
    // The limit allows for some versions and gradients of 100 KB, but not for the 64 MiB. Measured:
    // 0.2 MiB.
    assert!(grown < 4 << 20, "{grown} bytes");
    waiting.finish(&folder);
}

#[test]
fn worker_that_requests_and_does_not_read_is_disconnected() {
    let folder = Folder::new();
    let mut waiting = Waiting::start(&folder, "");
    let (mut deaf, generation, step, n_values) = join(waiting.ps_address(), FLAGS);
    let before = peak_memory(&waiting.ps);
    let want = Want::AtLeast(Cut { generation, step });
    let ask =
        unisono_core::wire::encode_to_vec(&Message::Pull { want, recorded: Recorded::default() });
    // Each request is answered with a version, 256 MiB in all. Socket buffers hold a few MiB.
    let n_requests = (256 << 20) / (4 * n_values);
    let requested = (0..n_requests).try_for_each(|_| deaf.say(&ask));
    waiting.ps.wait_for_stderr("the other end does not read: ");
    drop((requested, deaf));
    let grown = peak_memory(&waiting.ps) - before;
    // All queued versions share one buffer, so the queue's memory is small.
    assert!(grown < 4 << 20, "{grown} bytes");
    waiting.finish(&folder);
}

#[test]
fn ps_that_sends_parameters_of_a_wrong_length_does_not_end_its_worker() {
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
    // The model has 784 x 32 + 32 + 32 x 10 + 10 = 25,450 parameters.
    for (n_values, message) in [
        (7, "it sent a version of 7 parameters, but its shard has 25450"),
        (25_449, "it sent a version of 25449 parameters, but its shard has 25450"),
        (25_451, "too large: 101804 bytes of tensors, the limit is 101800"),
    ] {
        let mut lying = Peer::of(ps.accept().unwrap().0);
        let Message::Hello(hello) = lying.receive() else { panic!("a caller says hello") };
        assert_eq!((hello.from, hello.to), (WORKER, PS));
        let state = Some(Cut { generation, step });
        lying.send(&Message::Welcome { incarnation: Incarnation(1), state });
        assert!(matches!(lying.receive(), Message::Pull { .. }));
        lying.send(&Message::Version {
            cut: Cut { generation, step },
            tokens: vec![unisono_core::Slot(1)],
            received: Vec::new(),
            updates: Vec::new(),
            acknowledged: 0,
            parameters: vec![0.5; n_values].into(),
        });
        lying.wait_for_the_end();
        worker.wait_for_stderr(&format!("disconnected ps 0: {message}"));
    }
    assert!(worker.is_running());
    worker.signal("TERM");
    let ended = worker.wait();
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
}
