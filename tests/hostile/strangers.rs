//! Who is no task at all: noise, floods, and those that take their time.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use unisono_core::protocol::{Hello, Message};
use unisono_core::random::Stream;
use unisono_core::wire::{HEADER_BYTES, MAGIC, encode_to_vec};
use unisono_core::{Generation, Incarnation, Step, TaskId};
use unisono_learn::data::{Dataset, Source};

use crate::peer::{PATIENCE, Peer, hello, pull, push};
use crate::support::Folder;
use crate::{FLAGS, Waiting, lines_with, peak_memory};

const PS: TaskId = TaskId::PS_ZERO;
const WORKER: TaskId = TaskId::worker(1);

/// What 128 callers of one address that have said nothing may take, with 4 KiB for the buffer and
/// the task of each, several times over: 1 MiB was measured.
const MEMORY: usize = 4 << 20;

/// Between two bytes of one that takes its time: the whole greeting would take a minute.
const DRIP: Duration = Duration::from_millis(50);

/// A header that announces a control part of 1 GiB, undamaged.
fn oversized() -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    header.extend((1_u32 << 30).to_le_bytes());
    header.extend([0; 8]);
    header.extend(crc32c::crc32c(&header).to_le_bytes());
    assert_eq!(header.len(), HEADER_BYTES);
    header
}

fn noise(index: u64) -> Vec<u8> {
    let mut bits = Stream::new(7, 0_u64, 0, index);
    let n_bytes = bits.below(3000);
    let mut bytes: Vec<_> = (0..n_bytes).map(|_| bits.bits() as u8).collect();
    // Every third begins as a frame, to come further.
    if index.is_multiple_of(3) && bytes.len() >= MAGIC.len() {
        bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
    }
    bytes
}

#[test]
fn strangers_are_refused_with_a_line_each_and_the_run_is_what_it_would_have_been() {
    let folder = Folder::new();
    let mut waiting = Waiting::start(&folder, "");
    let address = waiting.ps_address().to_owned();
    let before = peak_memory(&waiting.ps);
    let is_over = AtomicBool::new(false);

    // A byte now and then: the longest of all, so it goes on beside the others.
    let mut drip = Peer::call(&address);
    let greeting = encode_to_vec(&Message::Hello(hello(WORKER, PS, FLAGS)));
    let log = thread::scope(|scope| {
        scope.spawn(|| {
            for byte in &greeting {
                if drip.say(&[*byte]).is_err() || drip.is_answered_within(DRIP) {
                    break;
                }
            }
            drip.wait_for_the_end();
        });

        let alien = hello(WORKER, PS, &FLAGS.replace("--batch-size 20", "--batch-size 30"));
        let astray = hello(WORKER, TaskId::ps(1), FLAGS);
        for (said, told) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], "it starts with \"GET \""),
            (&greeting[..greeting.len() - 1], "closed by the other end in the middle of a message"),
            (&oversized(), "too large: 1073741824 bytes of control, the limit is 65516"),
            (
                &encode_to_vec(&push(Generation::default(), Step(0), 10)),
                "too large: 1 tensors, the limit is 0",
            ),
            (&encode_to_vec(&pull()), "a caller said pull before it said hello"),
            (&encode_to_vec(&Message::Hello(alien)), "batch_size is 30 at worker 1 and 20 at ps 0"),
            (&encode_to_vec(&Message::Hello(astray)), "worker 1 looks for ps 1 at the address of"),
        ] {
            let mut stranger = Peer::call(&address);
            stranger.say(said).unwrap();
            stranger.say_no_more();
            stranger.wait_for_the_end();
            waiting.ps.wait_for_stderr(told);
        }
        waiting.ps.wait_for_stderr("it did not identify itself within 10 s");

        let idle: Vec<_> = (0..1000).map(|_| Peer::call(&address)).collect();
        // Those that had to make room for the last ones.
        idle[..800].iter().for_each(|idle| assert!(idle.is_answered_within(PATIENCE)));
        let flood = || {
            for index in 0.. {
                // Once the ps has ended nobody listens.
                let Ok(stream) = TcpStream::connect(&address) else { break };
                let mut stranger = Peer::of(stream);
                let _ = stranger.say(&noise(index));
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
            }
        };
        let flood = scope.spawn(flood);
        waiting.ps.wait_for_stderr("it did not identify itself before many others had called");
        assert!(waiting.ps.is_running() && waiting.chief.is_running());
        let grown = peak_memory(&waiting.ps) - before;
        assert!(grown < MEMORY, "{grown} bytes for 1000 idle callers");
        let log = waiting.finish(&folder);
        is_over.store(true, Ordering::Relaxed);
        flood.join().unwrap();
        log
    });
    let n_lines = lines_with(&log, "refused a caller");
    assert!((5..=10).contains(&n_lines), "{n_lines} lines for more than 1000 callers:\n{log}");
}

/// A stranger calls as worker 1 with an incarnation. Returns what it is told.
fn greets_as(address: &str, incarnation: u64) -> Message {
    let mut stranger = Peer::call(address);
    let hello = hello(WORKER, PS, FLAGS);
    let data = Some(digest_of_embedded_data());
    let incarnation = Incarnation(incarnation);
    stranger.send(&Message::Hello(Hello { incarnation, data, ..hello }));
    stranger.receive()
}

fn digest_of_embedded_data() -> String {
    let data = Dataset::open(&Source::Embedded, None).expect("it is built in");
    data.digest().to_owned()
}

#[test]
fn a_stranger_with_the_largest_incarnation_does_not_block_a_task() {
    const LARGEST: u64 = 9_007_199_254_740_992;
    for (incarnation, is_let_in) in
        [(u64::MAX, false), (LARGEST + 1, false), (LARGEST, true), (LARGEST - 1, true)]
    {
        let folder = Folder::new();
        let waiting = Waiting::start(&folder, "");
        let told = greets_as(waiting.ps_address(), incarnation);
        assert_eq!(matches!(told, Message::Welcome { .. }), is_let_in, "{told:?}");
        // The real worker 1 has the incarnation of this machine's clock.
        waiting.finish(&folder);
    }
}
