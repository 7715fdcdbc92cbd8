//! Fuzz target: whoever calls, or is called, may send anything.
//!
//! The first byte of an input chooses who is at the other end, and how much passes at a time.

use std::future::Future;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex, split};

use super::*;
use crate::tcp::entrance::introduce;
use crate::tcp::fuzzing::{block_on, say};
use crate::tcp::security::ends::Ends;
use crate::tcp::security::security::{Identity, Refusal};
use unisono_core::protocol::Message;

const PS: TaskId = TaskId::ps(1);
const WORKER: TaskId = TaskId::worker(3);
const SECRET: &[u8] = b"that of this cluster";

/// A line in a log: the longest reason that an answer can give, all of it escaped.
const LONGEST_LINE: usize = 4 * u8::MAX as usize + 100;

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
enum Other {
    /// A caller of a cluster without a secret; it sends the bytes.
    CallerOfAnybody,
    /// A caller without the secret; it sends the bytes.
    Caller,
    /// A caller that has the secret, and sends the bytes in records.
    Member,
    /// A caller that has the secret, and says hello; on the way, the bytes disturb what it sends,
    /// by exclusive or.
    DisturbedMember,
    /// A called end without the secret; it answers the bytes.
    Called,
    /// A called end that has the secret, and says hello; on the way, the bytes disturb what it sends.
    DisturbedCalled,
}

const OTHERS: [Other; 6] = [
    Other::CallerOfAnybody,
    Other::Caller,
    Other::Member,
    Other::DisturbedMember,
    Other::Called,
    Other::DisturbedCalled,
];

/// How much passes at a time.
const PIECES: [usize; 4] = [4096, 1, 7, 64];

/// A handshake, if there is one, and the greeting behind it. Whether the greeting is believed.
pub fn handshake(bytes: &[u8]) -> bool {
    let Some((&choice, said)) = bytes.split_first() else { return false };
    let choice = usize::from(choice);
    let (there, here) = duplex(PIECES[choice / OTHERS.len() % PIECES.len()]);
    let met = block_on(async {
        match OTHERS[choice % OTHERS.len()] {
            Other::CallerOfAnybody => {
                let (read, write) = split(here);
                let ends = Ends { read: Box::new(read), write: Box::new(write), is_local: false };
                tokio::join!(say(there, said), greet(ends, Identity::Unproved)).1
            }
            Other::Caller => {
                let met = tokio::join!(say(there, said), be_called(here)).1;
                assert!(met.is_err(), "a caller without the secret is let in");
                met
            }
            Other::Member => {
                let calling = async { call(there, said).await.map(drop) };
                tokio::join!(calling, be_called(here)).1
            }
            Other::DisturbedMember => {
                let (near, far) = duplex(4096);
                let hello = hello();
                let calling = async { call(near, &hello).await.map(drop) };
                meet(calling, disturb(far, there, said), be_called(here)).await
            }
            Other::Called => {
                let met = tokio::join!(say(there, said), call(here, &[])).1;
                assert!(met.is_err(), "a called end without the secret is believed");
                met.map(drop)
            }
            Other::DisturbedCalled => {
                let (near, far) = duplex(4096);
                let calling = async {
                    let ends = call(here, &[]).await?;
                    greet(ends, Identity::Member(PS)).await
                };
                meet(answer_hello(near), disturb(far, there, said), calling).await
            }
        }
    });
    let Err(why) = met else { return true };
    // It goes to a log and to a terminal.
    assert!(!why.contains(|c: char| c.is_control()), "{why:?}");
    assert!(why.len() <= LONGEST_LINE, "{why}");
    false
}

fn hello_of(from: TaskId) -> Vec<u8> {
    let Message::Hello(hello) = unisono_core::host::contract::hello(PS) else {
        unreachable!("it is a hello")
    };
    wire::encode_to_vec(&Message::Hello(unisono_core::protocol::Hello { from, ..hello }))
}

fn hello() -> Vec<u8> {
    hello_of(WORKER)
}

fn sealed(stream: DuplexStream, keys: Keys) -> Ends {
    let (read, write) = split(stream);
    let (read, write) = keys.protect(read, write);
    Ends { read: Box::new(read), write: Box::new(write), is_local: false }
}

/// A caller with the secret, which then sends bytes in records.
async fn call(mut stream: DuplexStream, said: &[u8]) -> Result<Ends, String> {
    let keys = Secret::new(SECRET, WORKER).call(&mut stream, PS).await?;
    let mut ends = sealed(stream, keys);
    // The called end need not listen to all of it.
    let _ = ends.write.write_all(said).await;
    let _ = ends.write.flush().await;
    Ok(ends)
}

/// A called end with the secret, which hears a greeting.
async fn be_called(mut stream: DuplexStream) -> Result<(), String> {
    let (from, keys) = Secret::new(SECRET, PS).accept(&mut stream).await?;
    greet(sealed(stream, keys), Identity::Member(from)).await
}

/// A called end with the secret, which says hello itself.
async fn answer_hello(mut stream: DuplexStream) -> Result<(), String> {
    let (_, keys) = Secret::new(SECRET, PS).accept(&mut stream).await?;
    let mut ends = sealed(stream, keys);
    let _ = ends.write.write_all(&hello_of(PS)).await;
    let _ = ends.write.flush().await;
    Ok(())
}

async fn greet(ends: Ends, identity: Identity) -> Result<(), String> {
    match introduce(ends, &identity).await {
        Ok(introduced) => {
            identity.check(&introduced.first).expect("it was checked");
            Ok(())
        }
        Err(Refusal::Left) => Err("it left".to_owned()),
        Err(Refusal::Refused(why)) => Err(why),
    }
}

/// The listener believes the speaker if and only if nothing was disturbed between the two.
async fn meet<T>(
    speaker: impl Future<Output = T>,
    between: impl Future<Output = bool>,
    listener: impl Future<Output = Result<(), String>>,
) -> Result<(), String> {
    let (_, is_disturbed, met) = tokio::join!(speaker, between, listener);
    assert_eq!(met.is_err(), is_disturbed, "{met:?}");
    met
}

/// Passes on what comes from one end, disturbed, and what comes from the other end as it is. Whether
/// anything was disturbed.
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
    let turned_away = [&[REFUSED, 9], &b"elsewhere"[..]].concat();
    let in_handshake = [&[0; 20][..], &[1]].concat();
    let in_record = [&[0; OPENING_BYTES + NOISE_BYTES + 30][..], &[1]].concat();
    let in_answer = [0, 0, 0, 128];
    let in_answered_record = [&[0; 1 + NOISE_BYTES][..], &[1]].concat();
    let seed = |name, other, piece: usize, said: &[u8]| {
        let choice = (other as usize + OTHERS.len() * piece) as u8;
        Seed::new(name, [&[choice][..], said].concat())
    };
    vec![
        seed("open-hello", Other::CallerOfAnybody, 0, &hello),
        seed("open-heartbeat", Other::CallerOfAnybody, 2, &heartbeat),
        seed("refused-open-http", Other::CallerOfAnybody, 0, b"GET / HTTP/1.1\r\n\r\n"),
        seed("refused-open-opening", Other::CallerOfAnybody, 0, &opening),
        seed("refused-opening", Other::Caller, 1, &opening),
        seed("refused-old-opening", Other::Caller, 0, &old_opening),
        seed("refused-frame", Other::Caller, 0, &hello),
        seed("member-hello", Other::Member, 0, &hello),
        seed("member-slow-hello", Other::Member, 1, &hello),
        seed("refused-member-heartbeat", Other::Member, 0, &heartbeat),
        seed("undisturbed", Other::DisturbedMember, 2, &[]),
        seed("refused-disturbed-handshake", Other::DisturbedMember, 0, &in_handshake),
        seed("refused-disturbed-record", Other::DisturbedMember, 1, &in_record),
        seed("refused-answer", Other::Called, 0, &answer),
        seed("refused-turned-away", Other::Called, 3, &turned_away),
        seed("called", Other::DisturbedCalled, 0, &[]),
        seed("called-slow", Other::DisturbedCalled, 2, &[]),
        seed("refused-disturbed-answer", Other::DisturbedCalled, 0, &in_answer),
        seed("refused-disturbed-answered-record", Other::DisturbedCalled, 0, &in_answered_record),
    ]
}
