//! Strangers that are no tasks at all: noise, floods and slow senders.

use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use unisono_core::protocol::{Hello, Message};
use unisono_core::random::Stream;
use unisono_core::wire::{HEADER_BYTES, MAGIC, encode_to_vec};
use unisono_core::{Generation, Incarnation, Step, TaskId};
use unisono_learn::data::Dataset;

use crate::peer::{Peer, TIMEOUT, hello, pull, push};
use crate::support::Folder;
use crate::{FLAGS, Waiting, lines_with, peak_memory};

const PS: TaskId = TaskId::PS_ZERO;
const WORKER: TaskId = TaskId::worker(1);

/// Limit of memory for the 128 silent connections that one address may have. Each needs about 4 KiB
/// for its buffer and its task. Measured: 1 MiB.
const MEMORY: usize = 4 << 20;

/// Interval between two bytes of a slow sender. The whole greeting would take a minute.
const DRIP: Duration = Duration::from_millis(50);

/// Returns a valid header that announces a control part of 1 GiB.
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
    // Every third input starts with the magic bytes of a frame, to reach later checks.
    if index.is_multiple_of(3) && bytes.len() >= MAGIC.len() {
        bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
    }
    bytes
}

#[test]
fn strangers_are_refused_with_one_log_line_each_and_change_no_bit() {
    let folder = Folder::new();
    let mut waiting = Waiting::start(&folder, "");
    let address = waiting.ps_address().to_owned();
    let before = peak_memory(&waiting.ps);
    let is_over = AtomicBool::new(false);

    // The slow sender runs beside the other strangers, because it takes the longest.
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
        for (said, message) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], "it starts with \"GET \""),
            (&greeting[..greeting.len() - 1], "closed by the other end in the middle of a message"),
            (&oversized(), "too large: 1073741824 bytes of control, the limit is 65516"),
            (
                &encode_to_vec(&push(Generation::default(), Step(0), 10)),
                "too large: 1 tensors, the limit is 0",
            ),
            (&encode_to_vec(&pull()), "a caller sent pull before hello"),
            (&encode_to_vec(&Message::Hello(alien)), "batch_size is 30 at worker 1 and 20 at ps 0"),
            (&encode_to_vec(&Message::Hello(astray)), "worker 1 looks for ps 1 at the address of"),
        ] {
            let mut stranger = Peer::call(&address);
            stranger.say(said).unwrap();
            stranger.say_no_more();
            stranger.wait_for_the_end();
            waiting.ps.wait_for_stderr(message);
        }
        waiting.ps.wait_for_stderr("it did not identify itself within 10 s");

        let idle: Vec<_> = (0..1000).map(|_| Peer::call(&address)).collect();
        // The first connections were closed to make room for the last ones.
        idle[..800].iter().for_each(|idle| assert!(idle.is_answered_within(TIMEOUT)));
        let flood = || {
            for index in 0.. {
                // Connecting fails after the ps has ended.
                let Ok(stream) = TcpStream::connect(&address) else { break };
                let mut stranger = Peer::of(stream);
                let _ = stranger.say(&noise(index));
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
            }
        };
        let flood = scope.spawn(flood);
        waiting.ps.wait_for_stderr("it did not identify itself before many others connected");
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

/// Connects as worker 1 with this incarnation. Returns the response to its hello.
fn greet_as(address: &str, incarnation: u64) -> Message {
    let mut stranger = Peer::call(address);
    let hello = hello(WORKER, PS, FLAGS);
    let data = Some(digest_of_embedded_data());
    let incarnation = Incarnation(incarnation);
    stranger.send(&Message::Hello(Hello { incarnation, data, ..hello }));
    stranger.receive()
}

fn digest_of_embedded_data() -> String {
    let data = Dataset::embedded();
    data.digest().to_owned()
}

#[test]
fn stranger_with_the_largest_incarnation_does_not_block_a_task() {
    const LARGEST: u64 = 9_007_199_254_740_992;
    for (incarnation, is_let_in) in
        [(u64::MAX, false), (LARGEST + 1, false), (LARGEST, true), (LARGEST - 1, true)]
    {
        let folder = Folder::new();
        let waiting = Waiting::start(&folder, "");
        let response = greet_as(waiting.ps_address(), incarnation);
        assert_eq!(matches!(response, Message::Welcome { .. }), is_let_in, "{response:?}");
        // The real worker 1 takes its smaller incarnation from this machine's clock.
        waiting.finish(&folder);
    }
}
