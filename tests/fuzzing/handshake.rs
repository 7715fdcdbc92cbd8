//! Fuzz target for the handshake of the shared secret. Either end may send any bytes.
//!
//! The first byte of an input chooses the kind of peer, and the size of the pieces in which bytes
//! are passed on.

use std::future::Future;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex, split};

use super::*;
use crate::tcp::entrance::introduce;
use crate::tcp::fuzzing::{block_on, send_all};
use crate::tcp::security::authentication::{Identity, Refusal};
use crate::tcp::security::halves::Halves;
use unisono_core::protocol::Message;

const PS: TaskId = TaskId::ps(1);
const WORKER: TaskId = TaskId::worker(3);
const SECRET: &[u8] = b"that of this cluster";

/// The maximum length of a log line: the longest reason that an answer can contain, with every byte
/// escaped.
const LONGEST_LINE: usize = 4 * u8::MAX as usize + 100;

/// The kind of peer that the input plays.
#[derive(Clone, Copy, Debug)]
enum Peer {
    /// A caller that sends the input to a task of a cluster without a secret.
    OpenCaller,
    /// A caller without the secret, which sends the input.
    Stranger,
    /// A caller with the secret, which sends the input in records.
    Member,
    /// A caller with the secret, which sends a hello. Its stream is XORed with the input.
    DisturbedMember,
    /// A called task without the secret, which answers with the input.
    CalledStranger,
    /// A called task with the secret, which sends a hello. Its stream is XORed with the input.
    DisturbedCalled,
}

const PEERS: [Peer; 6] = [
    Peer::OpenCaller,
    Peer::Stranger,
    Peer::Member,
    Peer::DisturbedMember,
    Peer::CalledStranger,
    Peer::DisturbedCalled,
];

/// The possible sizes of the pieces in which bytes are passed on.
const PIECES: [usize; 4] = [4096, 1, 7, 64];

/// Performs a handshake, and then reads the greeting. Returns whether the greeting is accepted.
pub fn handshake(bytes: &[u8]) -> bool {
    let Some((&choice, bytes)) = bytes.split_first() else { return false };
    let choice = usize::from(choice);
    let (there, here) = duplex(PIECES[choice / PEERS.len() % PIECES.len()]);
    let outcome = block_on(async {
        match PEERS[choice % PEERS.len()] {
            Peer::OpenCaller => {
                let (read, write) = split(here);
                let halves = Halves::new(read, write, false);
                tokio::join!(send_all(there, bytes), greet(halves, Identity::Unproved)).1
            }
            Peer::Stranger => {
                let outcome = tokio::join!(send_all(there, bytes), be_called(here)).1;
                assert!(outcome.is_err(), "a caller without the secret was accepted");
                outcome
            }
            Peer::Member => {
                let calling = async { call(there, bytes).await.map(drop) };
                tokio::join!(calling, be_called(here)).1
            }
            Peer::DisturbedMember => {
                let (near, far) = duplex(4096);
                let hello = hello();
                let calling = async { call(near, &hello).await.map(drop) };
                run_both(calling, disturb(far, there, bytes), be_called(here)).await
            }
            Peer::CalledStranger => {
                let outcome = tokio::join!(send_all(there, bytes), call(here, &[])).1;
                assert!(outcome.is_err(), "a called end without the secret was accepted");
                outcome.map(drop)
            }
            Peer::DisturbedCalled => {
                let (near, far) = duplex(4096);
                let calling = async {
                    let halves = call(here, &[]).await?;
                    greet(halves, Identity::Member(PS)).await
                };
                run_both(answer_hello(near), disturb(far, there, bytes), calling).await
            }
        }
    });
    let Err(why) = outcome else { return true };
    // The reason appears in a log and on a terminal, so it must not contain control characters.
    assert!(!why.contains(|c: char| c.is_control()), "{why:?}");
    assert!(why.len() <= LONGEST_LINE, "{why}");
    false
}

fn hello_of(from: TaskId) -> Vec<u8> {
    let Message::Hello(hello) = unisono_core::host::contract::hello(PS) else {
        unreachable!("the contract's hello is a hello")
    };
    wire::encode_to_vec(&Message::Hello(unisono_core::protocol::Hello { from, ..hello }))
}

fn hello() -> Vec<u8> {
    hello_of(WORKER)
}

fn sealed(stream: DuplexStream, keys: Keys) -> Halves {
    let (read, write) = split(stream);
    let (read, write) = keys.protect(read, write);
    Halves::new(read, write, false)
}

/// Calls with the secret, and then sends bytes in records.
async fn call(mut stream: DuplexStream, bytes: &[u8]) -> Result<Halves, String> {
    let keys = Secret::new(SECRET, WORKER).call(&mut stream, PS).await?;
    let mut halves = sealed(stream, keys);
    // The called end may close the connection before it has read all bytes.
    let _ = halves.write.write_all(bytes).await;
    let _ = halves.write.flush().await;
    Ok(halves)
}

/// Accepts a call with the secret, and reads the greeting.
async fn be_called(mut stream: DuplexStream) -> Result<(), String> {
    let (from, keys) = Secret::new(SECRET, PS).accept(&mut stream).await?;
    greet(sealed(stream, keys), Identity::Member(from)).await
}

/// Accepts a call with the secret, and then sends a hello itself.
async fn answer_hello(mut stream: DuplexStream) -> Result<(), String> {
    let (_, keys) = Secret::new(SECRET, PS).accept(&mut stream).await?;
    let mut halves = sealed(stream, keys);
    let _ = halves.write.write_all(&hello_of(PS)).await;
    let _ = halves.write.flush().await;
    Ok(())
}

async fn greet(halves: Halves, identity: Identity) -> Result<(), String> {
    match introduce(halves, &identity).await {
        Ok(introduced) => {
            identity.check(&introduced.first).expect("`introduce` has checked the message");
            Ok(())
        }
        Err(Refusal::Left) => Err("it left".to_owned()),
        Err(Refusal::Refused(why)) => Err(why),
    }
}

/// Runs a sender, a relay that may change bytes, and a receiver. The receiver must accept the
/// sender if and only if the relay has changed no byte.
async fn run_both<T>(
    sender: impl Future<Output = T>,
    relay: impl Future<Output = bool>,
    receiver: impl Future<Output = Result<(), String>>,
) -> Result<(), String> {
    let (_, is_disturbed, outcome) = tokio::join!(sender, relay, receiver);
    assert_eq!(outcome.is_err(), is_disturbed, "{outcome:?}");
    outcome
}

/// Forwards the bytes of `one`, XORed with `disturbance`, and the bytes of `other` unchanged.
/// Returns whether any byte was changed.
async fn disturb(one: DuplexStream, other: DuplexStream, mut disturbance: &[u8]) -> bool {
    let (mut from_one, mut to_one) = split(one);
    let (mut from_other, mut to_other) = split(other);
    let mut is_disturbed = false;
    let disturbed = async {
        let mut bytes = [0; 64];
        while let Ok(n_bytes @ 1..) = from_one.read(&mut bytes).await {
            let n_disturbed = n_bytes.min(disturbance.len());
            let (here, rest) = disturbance.split_at(n_disturbed);
            disturbance = rest;
            bytes.iter_mut().zip(here).for_each(|(byte, by)| *byte ^= by);
            is_disturbed |= here.iter().any(|by| *by != 0);
            if to_other.write_all(&bytes[..n_bytes]).await.is_err() {
                break;
            }
        }
        let _ = to_other.shutdown().await;
    };
    let undisturbed = async {
        let _ = tokio::io::copy(&mut from_other, &mut to_one).await;
        let _ = to_one.shutdown().await;
    };
    tokio::join!(disturbed, undisturbed);
    is_disturbed
}

#[cfg(test)]
pub(crate) fn handshake_seeds() -> Vec<crate::corpus::Seed> {
    use crate::corpus::Seed;

    let hello = hello();
    let heartbeat = wire::encode_to_vec(&Message::Heartbeat);
    let opening = [&Opening { from: WORKER, to: PS }.bytes()[..], &[7; NOISE_BYTES]].concat();
    let old_opening = [&b"USH1"[..], &[7; 42]].concat();
    let answer = [&[NOISE][..], &[9; NOISE_BYTES]].concat();
    let refusal = [&[REFUSED, 9], &b"elsewhere"[..]].concat();
    let in_handshake = [&[0; 20][..], &[1]].concat();
    let in_record = [&[0; OPENING_BYTES + NOISE_BYTES + 30][..], &[1]].concat();
    let in_answer = [0, 0, 0, 128];
    let in_answered_record = [&[0; 1 + NOISE_BYTES][..], &[1]].concat();
    let seed = |name, peer, piece: usize, bytes: &[u8]| {
        let choice = (peer as usize + PEERS.len() * piece) as u8;
        Seed::new(name, [&[choice][..], bytes].concat())
    };
    vec![
        seed("open-hello", Peer::OpenCaller, 0, &hello),
        seed("open-heartbeat", Peer::OpenCaller, 2, &heartbeat),
        seed("refused-open-http", Peer::OpenCaller, 0, b"GET / HTTP/1.1\r\n\r\n"),
        seed("refused-open-opening", Peer::OpenCaller, 0, &opening),
        seed("refused-opening", Peer::Stranger, 1, &opening),
        seed("refused-old-opening", Peer::Stranger, 0, &old_opening),
        seed("refused-frame", Peer::Stranger, 0, &hello),
        seed("member-hello", Peer::Member, 0, &hello),
        seed("member-slow-hello", Peer::Member, 1, &hello),
        seed("refused-member-heartbeat", Peer::Member, 0, &heartbeat),
        seed("undisturbed", Peer::DisturbedMember, 2, &[]),
        seed("refused-disturbed-handshake", Peer::DisturbedMember, 0, &in_handshake),
        seed("refused-disturbed-record", Peer::DisturbedMember, 1, &in_record),
        seed("refused-answer", Peer::CalledStranger, 0, &answer),
        seed("refused-turned-away", Peer::CalledStranger, 3, &refusal),
        seed("called", Peer::DisturbedCalled, 0, &[]),
        seed("called-slow", Peer::DisturbedCalled, 2, &[]),
        seed("refused-disturbed-answer", Peer::DisturbedCalled, 0, &in_answer),
        seed("refused-disturbed-answered-record", Peer::DisturbedCalled, 0, &in_answered_record),
    ]
}
