//! Fuzz target: whoever calls, or is called, may say anything.
//!
//! The first byte of an input chooses who is at the other end, and how much it says at a time.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex, split};

use super::*;
use crate::tcp::ends::Ends;
use crate::tcp::entrance::introduce;
use crate::tcp::fuzzing::{block_on, say};
use crate::tcp::security::{Identity, Refusal};

const PS: TaskId = TaskId::ps(1);
const WORKER: TaskId = TaskId::worker(3);
const SECRET: &[u8] = b"that of this cluster";

/// A line in a log: the longest reason that an answer can give, all of it escaped.
const LONGEST_LINE: usize = 4 * u8::MAX as usize + 100;

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
enum Other {
    /// A caller, of a cluster without a secret.
    CallerOfAnybody,
    /// A caller that says just the bytes.
    Caller,
    /// A caller that has the secret; the bytes disturb what it says, by exclusive or.
    Member,
    /// One that is called, and answers just the bytes.
    Called,
    /// One that is called and has the secret; the bytes disturb what it answers.
    CalledMember,
}

const OTHERS: [Other; 5] =
    [Other::CallerOfAnybody, Other::Caller, Other::Member, Other::Called, Other::CalledMember];

/// How much gets through at a time.
const PIECES: [usize; 4] = [4096, 1, 7, 64];

/// A handshake and, if it succeeds or there is none, the greeting. Whether the other is let in.
pub fn handshake(bytes: &[u8]) -> bool {
    let Some((&choice, said)) = bytes.split_first() else { return false };
    let choice = usize::from(choice);
    let (there, here) = duplex(PIECES[choice / OTHERS.len() % PIECES.len()]);
    let met = block_on(async {
        match OTHERS[choice % OTHERS.len()] {
            Other::CallerOfAnybody => {
                tokio::join!(say(there, said), greet(here, Identity::Unproved)).1
            }
            Other::Caller => {
                let (_, accepted) = tokio::join!(say(there, said), accept(here));
                assert!(accepted.is_err(), "it has no secret: {accepted:?}");
                accepted.map(drop)
            }
            Other::Member => meet_a_member(there, here, said).await,
            Other::Called => {
                let (_, called) = tokio::join!(say(there, said), call(here));
                assert!(called.is_err(), "it has no secret");
                called
            }
            Other::CalledMember => meet_a_called_member(there, here, said).await,
        }
    });
    let Err(why) = met else { return true };
    // It goes to a log and to a terminal.
    assert!(!why.contains(|c: char| c.is_control()), "{why:?}");
    assert!(why.len() <= LONGEST_LINE, "{why}");
    false
}

async fn call(mut stream: DuplexStream) -> Result<(), String> {
    Secret::new(SECRET, WORKER).call(&mut stream, PS).await
}

async fn accept(mut stream: DuplexStream) -> Result<(TaskId, DuplexStream), String> {
    let from = Secret::new(SECRET, PS).accept(&mut stream).await?;
    Ok((from, stream))
}

async fn greet(stream: DuplexStream, identity: Identity) -> Result<(), String> {
    let (read, write) = split(stream);
    let ends = Ends { read: Box::new(read), write: Box::new(write), is_local: false };
    match introduce(ends, &identity).await {
        Ok(introduced) => {
            identity.check(&introduced.first).expect("it was checked");
            Ok(())
        }
        Err(Refusal::Left) => Err("it left".to_owned()),
        Err(Refusal::Refused(why)) => Err(why),
    }
}

/// It is let in if nothing of what matters was disturbed, and then it is who it said it was.
async fn meet_a_member(
    mut there: DuplexStream,
    here: DuplexStream,
    disturbance: &[u8],
) -> Result<(), String> {
    let mut disturbance = Disturbance(disturbance);
    let member = async {
        let said = disturbance.of([&MAGIC[..], &task_bytes(WORKER), &task_bytes(PS), &[7; 32]]);
        let (magic, rest) = said.split_at(MAGIC.len());
        let (from, rest) = rest.split_at(TASK_BYTES);
        let (to, nonce) = rest.split_at(TASK_BYTES);
        let from = task(from);
        let met = async {
            there.write_all(&said).await?;
            let mut answer = [0; 1 + NONCE_BYTES];
            there.read_exact(&mut answer).await?;
            if answer[0] != NONCE {
                return Ok(None);
            }
            let opening = Opening {
                from: from.unwrap_or(WORKER),
                to: PS,
                caller_nonce: nonce.try_into().expect("it has that length"),
                called_nonce: answer[1..].try_into().expect("it has that length"),
            };
            let right = Secret::new(SECRET, WORKER).prove(Role::Caller, &opening);
            let proof = disturbance.of([right.as_ref()]);
            there.write_all(&proof).await?;
            there.read_exact(&mut answer).await?;
            let well = magic == MAGIC && task(to) == Some(PS) && proof == right.as_ref();
            io::Result::Ok(from.filter(|_| well))
        };
        let expected = met.await.unwrap_or_default();
        say(there, disturbance.0).await;
        expected
    };
    let called = async {
        match accept(here).await {
            Ok((from, stream)) => (Some(from), greet(stream, Identity::Member(from)).await),
            Err(why) => (None, Err(why)),
        }
    };
    let (expected, (found, greeted)) = tokio::join!(member, called);
    assert_eq!(found, expected);
    greeted
}

/// It is believed if nothing of what matters was disturbed.
async fn meet_a_called_member(
    mut there: DuplexStream,
    here: DuplexStream,
    disturbance: &[u8],
) -> Result<(), String> {
    let mut disturbance = Disturbance(disturbance);
    let member = async {
        let mut first = [0; MAGIC.len() + 2 * TASK_BYTES + NONCE_BYTES];
        there.read_exact(&mut first).await.expect("the caller begins");
        let said = disturbance.of([&[NONCE][..], &[9; NONCE_BYTES]]);
        let opening = Opening {
            from: WORKER,
            to: PS,
            caller_nonce: *first.last_chunk().expect("a nonce is its end"),
            called_nonce: *said.last_chunk().expect("a nonce is its end"),
        };
        let secret = Secret::new(SECRET, PS);
        let mut proof = [0; PROOF_BYTES];
        let met = async {
            there.write_all(&said).await?;
            if said[0] != NONCE {
                return Ok(false);
            }
            there.read_exact(&mut proof).await?;
            assert!(secret.is_proof(&proof, Role::Caller, &opening), "the caller has the secret");
            let right = [&[PROOF][..], secret.prove(Role::Called, &opening).as_ref()].concat();
            let told = disturbance.of([&right]);
            there.write_all(&told).await?;
            io::Result::Ok(told == right)
        };
        let expected = met.await.unwrap_or_default();
        say(there, disturbance.0).await;
        expected
    };
    let (expected, called) = tokio::join!(member, call(here));
    assert_eq!(called.is_ok(), expected, "{called:?}");
    called
}

/// Bytes of an input, to be taken one after the other.
struct Disturbance<'a>(&'a [u8]);

impl Disturbance<'_> {
    /// The parts as one, disturbed; where no disturbance is left, as they are.
    fn of<const N: usize>(&mut self, parts: [&[u8]; N]) -> Vec<u8> {
        let mut bytes = parts.concat();
        let n_bytes = self.0.len().min(bytes.len());
        let (disturbance, rest) = self.0.split_at(n_bytes);
        self.0 = rest;
        bytes.iter_mut().zip(disturbance).for_each(|(byte, by)| *byte ^= by);
        bytes
    }
}

#[cfg(test)]
pub(crate) fn handshake_seeds() -> Vec<crate::fuzzing::corpus::Seed> {
    use crate::fuzzing::corpus::Seed;
    use crate::protocol::Message;

    let Message::Hello(hello) = crate::host::contract::hello(PS) else {
        unreachable!("it is a hello")
    };
    let hello = Message::Hello(crate::protocol::Hello { from: WORKER, ..hello });
    let hello = wire::encode_to_vec(&hello);
    let heartbeat = wire::encode_to_vec(&Message::Heartbeat);
    let opening = [&MAGIC[..], &task_bytes(WORKER), &task_bytes(PS), &[7; NONCE_BYTES]].concat();
    let undisturbed = vec![0; opening.len() + PROOF_BYTES];
    let answers = [[NONCE; 1 + NONCE_BYTES], [PROOF; 1 + PROOF_BYTES]].concat();
    let turned_away = [&[REFUSED, 9], &b"elsewhere"[..]].concat();
    let of_called = vec![0; answers.len()];
    let seed = |name, other, piece: usize, said: &[&[u8]]| {
        let choice = (other as usize + OTHERS.len() * piece) as u8;
        Seed::new(name, [&[choice][..], &said.concat()].concat())
    };
    vec![
        seed("open-hello", Other::CallerOfAnybody, 0, &[&hello]),
        seed("open-heartbeat", Other::CallerOfAnybody, 2, &[&heartbeat]),
        seed("refused-open-http", Other::CallerOfAnybody, 0, &[b"GET / HTTP/1.1\r\n\r\n"]),
        seed("refused-open-opening", Other::CallerOfAnybody, 0, &[&opening]),
        seed("refused-opening", Other::Caller, 1, &[&opening, &[8; PROOF_BYTES]]),
        seed("refused-frame", Other::Caller, 0, &[&hello]),
        seed("member-hello", Other::Member, 0, &[&undisturbed, &hello]),
        seed("member-slow-hello", Other::Member, 1, &[&undisturbed, &hello]),
        seed("refused-member-heartbeat", Other::Member, 0, &[&undisturbed, &heartbeat]),
        seed("refused-answers", Other::Called, 0, &[&answers]),
        seed("refused-turned-away", Other::Called, 3, &[&turned_away]),
        seed("called", Other::CalledMember, 0, &[&of_called]),
        seed("called-slow", Other::CalledMember, 2, &[&of_called]),
    ]
}
