//! A secret that all tasks share: a Noise handshake proves that both ends have the secret, and
//! draws the keys that protect every byte behind the handshake.
//!
//! ```text
//! caller → called   "USH2", from, to, first Noise message      62 bytes
//! called → caller   'N', second Noise message                  49 bytes
//! ```
//!
//! The pattern is NNpsk0: both ends draw a key pair for this one connection, and the secret goes
//! into the keys of both messages and of all records. The prologue is all that comes before the
//! first message, so neither the version nor either task's name can be changed on the way. A task
//! is one byte (0 a ps, 1 a worker) and its number, little-endian. The caller proves itself first,
//! so a stranger gets nothing that was made with the secret. Instead of 'N' the called end may send
//! 'R', a length in one byte, and a reason in clear text.

#[cfg(any(test, fuzzing))]
pub(in crate::tcp) mod fuzzing;
#[cfg(test)]
pub mod tests;
mod x25519;

use std::fmt;
use std::io;
use std::path::Path;

use ring::hmac;
use snow::params::NoiseParams;
use snow::{Builder, HandshakeState};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use self::x25519::resolver;
use super::files::{Named, SecurityError};
use crate::tcp::io_error::printable;
use crate::tcp::io_error::{describe, has_ended};
use crate::tcp::security::ends::close;
use crate::tcp::security::ends::refuse;
pub(in crate::tcp) use crate::tcp::security::records::Keys;
use crate::tcp::timeouts::LINGER;
use unisono_core::ids::{Job, TaskId};
use unisono_core::wire;

/// The first bytes of a caller; the last one counts the handshakes.
const MAGIC: [u8; 4] = *b"USH2";

/// AES-GCM and SHA-256, because `ring` has fast code for both; TLS uses the same.
const PATTERN: &str = "Noise_NNpsk0_25519_AESGCM_SHA256";

/// Separates the key that is made of the secret here from any other use of the secret.
const LABEL: &[u8] = b"unisono shared-secret handshake 2";

/// A shorter secret could be guessed by anybody who has seen one handshake.
const MIN_SECRET_BYTES: usize = 16;

const TASK_BYTES: usize = 5;

/// Length of the opening before the first Noise message: the magic, and the two tasks.
const OPENING_BYTES: usize = MAGIC.len() + 2 * TASK_BYTES;

/// Each of the two Noise messages: a public key and a tag.
const NOISE_BYTES: usize = 32 + 16;

const NOISE: u8 = b'N';
const REFUSED: u8 = b'R';

/// Whether these are the first bytes of a caller that has a secret, of whichever release.
pub(in crate::tcp) fn is_magic(bytes: &[u8; 4]) -> bool {
    bytes[..3] == MAGIC[..3]
}

/// This task's part in handshakes.
pub(super) struct Secret {
    me: TaskId,
    /// The key that is made of the secret.
    psk: [u8; 32],
    pattern: NoiseParams,
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the key, which no log may show.
        f.debug_struct("Secret").field("me", &self.me).finish_non_exhaustive()
    }
}

impl Secret {
    /// Reads the secret from a file, without the white space around it.
    pub(super) fn load(path: &Path, me: TaskId) -> Result<Self, SecurityError> {
        let file = Named { flag: "--secret-file", path };
        let bytes = file.read()?;
        let secret = bytes.trim_ascii();
        let unusable = |why| {
            Err(file.unusable(format!(
                "{why}, so it can be guessed; make one with: openssl rand -hex 32"
            )))
        };
        match secret {
            _ if secret.len() < MIN_SECRET_BYTES => {
                let n_bytes = secret.len();
                unusable(format!("the secret has {n_bytes} bytes, fewer than {MIN_SECRET_BYTES}"))
            }
            [first, rest @ ..] if rest.iter().all(|byte| byte == first) => {
                unusable("the secret is one byte, repeated".to_owned())
            }
            _ => Ok(Self::new(secret, me)),
        }
    }

    fn new(secret: &[u8], me: TaskId) -> Self {
        let mut psk = [0; 32];
        // HKDF-Extract of RFC 5869: a key as long as Noise needs, of a secret of any length.
        let key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, LABEL), secret);
        psk.copy_from_slice(key.as_ref());
        Self { me, psk, pattern: PATTERN.parse().expect("snow has this pattern") }
    }

    /// The caller's side of a handshake: returns the keys of the connection.
    pub(super) async fn call(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        to: TaskId,
    ) -> Result<Keys, String> {
        let opening = Opening { from: self.me, to };
        let mut noise = self.handshake(&opening, |builder| builder.build_initiator());
        let first = [&opening.bytes()[..], &next_message(&mut noise)?].concat();
        stream.write_all(&first).await.map_err(|error| lost(&error))?;
        let answer = answer(stream).await?;
        noise.read_message(&answer, &mut []).map_err(|_| {
            "it took our proof, but does not prove that it has our secret: another program answers \
             at this address, or somebody changes bytes on the way"
        })?;
        Ok(keys(noise))
    }

    /// The called end's side of a handshake: returns the caller's name and the keys of the
    /// connection.
    ///
    /// A recorded first message can be sent again. Only the true caller can make use of the answer,
    /// so a caller has proved itself once its first record is opened.
    pub(super) async fn accept(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> Result<(TaskId, Keys), String> {
        let opening = match read_opening(stream).await? {
            First::Opening(opening) => opening,
            First::Frame => {
                let (read, write) = tokio::io::split(stream);
                refuse(write, read, "this cluster has a shared secret: give --secret-file").await;
                return Err("it has no --secret-file".to_owned());
            }
            First::OtherRelease => {
                let why =
                    "the handshake of its release is another one: run one release on all tasks";
                return Err(turn_away(stream, why.to_owned()).await);
            }
        };
        let Opening { from, to } = opening;
        let mut message = [0; NOISE_BYTES];
        stream.read_exact(&mut message).await.map_err(|error| lost(&error))?;
        if to != self.me {
            let why = format!(
                "{from} looks for {to} at the address of {}: compare --ps-hosts of the two",
                self.me
            );
            return Err(turn_away(stream, why).await);
        }
        let mut noise = self.handshake(&opening, |builder| builder.build_responder());
        if noise.read_message(&message, &mut []).is_err() {
            let why = format!(
                "the secret of {from} differs from that of {}: compare --secret-file of the two",
                self.me
            );
            return Err(turn_away(stream, why).await);
        }
        let answer = [&[NOISE][..], &next_message(&mut noise)?].concat();
        stream.write_all(&answer).await.map_err(|error| lost(&error))?;
        Ok((from, keys(noise)))
    }

    fn handshake(
        &self,
        opening: &Opening,
        build: impl FnOnce(Builder<'_>) -> Result<HandshakeState, snow::Error>,
    ) -> HandshakeState {
        let prologue = opening.bytes();
        Builder::with_resolver(self.pattern.clone(), resolver())
            .psk(0, &self.psk)
            .and_then(|builder| build(builder.prologue(&prologue)?))
            .expect("the pattern needs a prologue, a secret, and nothing else")
    }
}

fn keys(noise: HandshakeState) -> Keys {
    Keys::new(noise.into_stateless_transport_mode().expect("both messages have passed"))
}

fn next_message(noise: &mut HandshakeState) -> Result<[u8; NOISE_BYTES], String> {
    let mut message = [0; NOISE_BYTES];
    // The one thing that may fail is the system's source of random numbers; or the key of the other
    // end is one that no honest end draws.
    let written = noise.write_message(&[], &mut message);
    let n_bytes = written.map_err(|error| format!("the handshake cannot go on: {error}"))?;
    assert_eq!(n_bytes, NOISE_BYTES);
    Ok(message)
}

/// Who opens a connection to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Opening {
    from: TaskId,
    to: TaskId,
}

impl Opening {
    /// What the caller sends before the first Noise message, which is the prologue of both ends.
    fn bytes(&self) -> [u8; OPENING_BYTES] {
        let parts = [&MAGIC[..], &task_bytes(self.from), &task_bytes(self.to)];
        parts.concat().try_into().expect("each part has one length")
    }
}

/// What a caller begins with.
enum First {
    Opening(Opening),
    /// A frame: the caller knows of no secret.
    Frame,
    /// The handshake of another release.
    OtherRelease,
}

async fn read_opening(stream: &mut (impl AsyncRead + Unpin)) -> Result<First, String> {
    let mut magic = [0; MAGIC.len()];
    stream.read_exact(&mut magic).await.map_err(|error| lost(&error))?;
    match magic {
        wire::MAGIC => return Ok(First::Frame),
        MAGIC => {}
        other if is_magic(&other) => return Ok(First::OtherRelease),
        other => return Err(format!("it starts with \"{}\"", printable(&other))),
    }
    let mut tasks = [0; 2 * TASK_BYTES];
    stream.read_exact(&mut tasks).await.map_err(|error| lost(&error))?;
    let (from, to) = tasks.split_at(TASK_BYTES);
    let (Some(from), Some(to)) = (task(from), task(to)) else {
        return Err("it names a task of no job".to_owned());
    };
    Ok(First::Opening(Opening { from, to }))
}

/// The called end's Noise message, or its reason to turn this task away.
async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> Result<[u8; NOISE_BYTES], String> {
    let kind = stream.read_u8().await.map_err(|error| lost(&error))?;
    if kind == REFUSED {
        let mut reason = vec![0; stream.read_u8().await.map_err(|error| lost(&error))?.into()];
        stream.read_exact(&mut reason).await.map_err(|error| lost(&error))?;
        return Err(format!("it turned this task away: {}", printable(&reason)));
    }
    if kind != NOISE {
        return Err("it does not answer as one that has a --secret-file".to_owned());
    }
    let mut message = [0; NOISE_BYTES];
    stream.read_exact(&mut message).await.map_err(|error| lost(&error))?;
    Ok(message)
}

/// Tells the caller why not, if it still listens; gives the reason back.
async fn turn_away(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), why: String) -> String {
    let reason = &why.as_bytes()[..why.len().min(u8::MAX.into())];
    let length = u8::try_from(reason.len()).expect("it was cut to what a byte counts");
    let (read, mut write) = tokio::io::split(stream);
    let tell = async {
        write.write_all(&[&[REFUSED, length][..], reason].concat()).await?;
        close(write, read).await
    };
    let _ = timeout(LINGER, tell).await;
    why
}

fn lost(error: &io::Error) -> String {
    if has_ended(error) {
        "it ended the connection within the handshake of the shared secret; if this repeats, give \
         it --secret-file and this release, too"
            .to_owned()
    } else {
        format!("within the handshake of the shared secret: {}", describe(error))
    }
}

fn task_bytes(task: TaskId) -> [u8; TASK_BYTES] {
    let job = match task.job {
        Job::Ps => 0,
        Job::Worker => 1,
    };
    let [a, b, c, d] = task.index.to_le_bytes();
    [job, a, b, c, d]
}

fn task(bytes: &[u8]) -> Option<TaskId> {
    let (job, index) = bytes.split_first()?;
    let index = u32::from_le_bytes(index.try_into().ok()?);
    match job {
        0 => Some(TaskId::ps(index)),
        1 => Some(TaskId::worker(index)),
        _ => None,
    }
}
