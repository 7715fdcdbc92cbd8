//! The shared secret of a cluster. A Noise handshake proves that both ends have the secret, and
//! yields the keys that protect every later byte.
//!
//! ```text
//! caller → called end: "USH2", caller's task, called task, first Noise message (62 bytes)
//! called end → caller: 'N', second Noise message (49 bytes)
//! ```
//!
//! The Noise pattern is NNpsk0: both ends create a key pair for each connection, and mix the secret
//! into the keys of both messages and of all records. All bytes before the first Noise message form
//! the prologue, so the handshake fails if somebody changes the version or a task on the way. A
//! task is encoded as one byte (0 for a ps, 1 for a worker) and its number, little-endian. The
//! caller is the first to prove that it has the secret, so a stranger receives no bytes that depend
//! on the secret. To refuse a caller, the called end sends 'R', a length in one byte, and a reason
//! in clear text, instead of 'N' and a Noise message.

#[cfg(any(test, fuzzing))]
#[path = "../../../../tests/fuzzing/handshake.rs"]
pub(in crate::tcp) mod fuzzing;
#[cfg(test)]
pub(in crate::tcp) mod tests;
mod x25519;

use std::io;
use std::path::Path;

use ring::hmac;
use snow::params::NoiseParams;
use snow::{Builder, HandshakeState};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use self::x25519::resolver;
use super::files::{FlagFile, SecurityError};
use crate::tcp::io_error::{describe, has_ended, printable};
use crate::tcp::security::halves::{close, refuse};
pub(in crate::tcp) use crate::tcp::security::records::Keys;
use crate::tcp::timeouts::LINGER;
use unisono_core::ids::{Job, TaskId};
use unisono_core::wire;

/// The first four bytes that a caller sends. The fourth byte is the version of the handshake.
const MAGIC: [u8; 4] = *b"USH2";

/// The Noise pattern. It uses AES-GCM and SHA-256, like the TLS connections, because `ring` has
/// fast code for these algorithms.
const PATTERN: &str = "Noise_NNpsk0_25519_AESGCM_SHA256";

/// The salt for the key derivation, which separates this use of the secret from all other uses.
const LABEL: &[u8] = b"unisono shared-secret handshake 2";

/// The minimum length of a secret. An attacker who has recorded one handshake can test guesses, and
/// could find a shorter secret.
const MIN_SECRET_BYTES: usize = 16;

const TASK_BYTES: usize = 5;

/// The number of bytes before the first Noise message: the magic and two tasks.
const OPENING_BYTES: usize = MAGIC.len() + 2 * TASK_BYTES;

/// The length of each Noise message: a public key and a tag.
const NOISE_BYTES: usize = 32 + 16;

const NOISE: u8 = b'N';
const REFUSED: u8 = b'R';

/// Returns whether `bytes` are the first bytes of a handshake with a shared secret, in any release.
pub(in crate::tcp) fn is_magic(bytes: &[u8; 4]) -> bool {
    bytes[..3] == MAGIC[..3]
}

/// The shared secret of the cluster, for the handshakes of this task as the caller and as the
/// called end.
pub(super) struct Secret {
    me: TaskId,
    /// The pre-shared key of Noise, which is derived from the secret.
    psk: [u8; 32],
    pattern: NoiseParams,
}

// The key is left out, because it must not appear in a log.
unisono_core::partial_debug!(Secret { me });

impl Secret {
    /// Reads the secret from a file, and removes white space at both ends.
    pub(super) fn load(path: &Path, me: TaskId) -> Result<Self, SecurityError> {
        let file = FlagFile { flag: "--secret-file", path };
        let bytes = file.read()?;
        let secret = bytes.trim_ascii();
        let unusable = |why| {
            Err(file.unusable(format!(
                "{why}, so it can be guessed; make a secret with: openssl rand -hex 32"
            )))
        };
        match secret {
            _ if secret.len() < MIN_SECRET_BYTES => {
                let n_bytes = secret.len();
                unusable(format!("the secret has {n_bytes} bytes, fewer than {MIN_SECRET_BYTES}"))
            }
            [first, rest @ ..] if rest.iter().all(|byte| byte == first) => {
                unusable("the secret repeats one byte".to_owned())
            }
            _ => Ok(Self::new(secret, me)),
        }
    }

    fn new(secret: &[u8], me: TaskId) -> Self {
        let mut psk = [0; 32];
        // HKDF-Extract (RFC 5869) turns a secret of any length into a key of Noise's length.
        let key = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, LABEL), secret);
        psk.copy_from_slice(key.as_ref());
        Self { me, psk, pattern: PATTERN.parse().expect("snow has this pattern") }
    }

    /// Performs a handshake as the caller. Returns the keys of the connection.
    pub(super) async fn call(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        to: TaskId,
    ) -> Result<Keys, String> {
        let opening = Opening { from: self.me, to };
        // The prologue names both tasks, so a proof that was made for one task is worthless at
        // another task.
        let mut noise = self.handshake(&opening, |builder| builder.build_initiator());
        // Both parts are sent with one write, so that they leave in one packet.
        let first = [&opening.bytes()[..], &next_message(&mut noise)?].concat();
        stream.write_all(&first).await.map_err(handshake_io_error)?;
        let answer = read_answer(stream).await?;
        noise.read_message(&answer, &mut []).map_err(|_| {
            "it accepted our proof, but does not prove that it has our secret: another program \
             answers at this address, or somebody changes bytes on the way"
        })?;
        Ok(keys(noise))
    }

    /// Performs a handshake as the called end. Returns the caller's task and the keys of the
    /// connection.
    ///
    /// An attacker can replay a recorded first message, but cannot use the answer. So the caller
    /// has proved its identity only when this task has decrypted the caller's first record.
    pub(super) async fn accept(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> Result<(TaskId, Keys), String> {
        let opening = match read_opening(stream).await? {
            FirstBytes::Opening(opening) => opening,
            FirstBytes::Frame => {
                let (read, write) = tokio::io::split(stream);
                refuse(write, read, "this cluster has a shared secret: give --secret-file").await;
                return Err("it has no --secret-file".to_owned());
            }
            FirstBytes::OtherRelease => {
                let why = "its release has another handshake: run one release on all tasks";
                return Err(send_refusal(stream, why.to_owned()).await);
            }
        };
        let Opening { from, to } = opening;
        let mut message = [0; NOISE_BYTES];
        stream.read_exact(&mut message).await.map_err(handshake_io_error)?;
        // The proof below covers the opening as the caller has sent it. The proof alone does not
        // show that the caller wants to reach this task.
        if to != self.me {
            let why = format!(
                "{from} looks for {to} at the address of {}: compare --ps-hosts of both",
                self.me
            );
            return Err(send_refusal(stream, why).await);
        }
        let mut noise = self.handshake(&opening, |builder| builder.build_responder());
        if noise.read_message(&message, &mut []).is_err() {
            let why = format!(
                "the secrets of {from} and {} differ: compare --secret-file of both",
                self.me
            );
            return Err(send_refusal(stream, why).await);
        }
        let answer = [&[NOISE][..], &next_message(&mut noise)?].concat();
        stream.write_all(&answer).await.map_err(handshake_io_error)?;
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
            .expect("the pattern needs only a prologue and a secret")
    }
}

fn keys(noise: HandshakeState) -> Keys {
    Keys::new(noise.into_stateless_transport_mode().expect("both messages have passed"))
}

fn next_message(noise: &mut HandshakeState) -> Result<[u8; NOISE_BYTES], String> {
    let mut message = [0; NOISE_BYTES];
    // This fails if the system provides no random numbers, or if the peer's public key is one that
    // no correct peer creates.
    let written = noise.write_message(&[], &mut message);
    let n_bytes = written.map_err(|error| format!("the handshake failed: {error}"))?;
    assert_eq!(n_bytes, NOISE_BYTES);
    Ok(message)
}

/// The two tasks of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Opening {
    from: TaskId,
    to: TaskId,
}

impl Opening {
    /// Returns the bytes before the first Noise message, which both ends use as the prologue of
    /// Noise.
    fn bytes(&self) -> [u8; OPENING_BYTES] {
        let parts = [&MAGIC[..], &task_bytes(self.from), &task_bytes(self.to)];
        parts.concat().try_into().expect("each part has a fixed length")
    }
}

/// The kind of a connection, according to the first bytes that the caller sent.
enum FirstBytes {
    Opening(Opening),
    /// A frame. The caller has no secret.
    Frame,
    /// The handshake of a different release.
    OtherRelease,
}

async fn read_opening(stream: &mut (impl AsyncRead + Unpin)) -> Result<FirstBytes, String> {
    let mut magic = [0; MAGIC.len()];
    stream.read_exact(&mut magic).await.map_err(handshake_io_error)?;
    match magic {
        // A frame is recognized here, so that the caller gets a frame with the reason, which it can
        // read.
        wire::MAGIC => return Ok(FirstBytes::Frame),
        MAGIC => {}
        other if is_magic(&other) => return Ok(FirstBytes::OtherRelease),
        other => return Err(format!("it starts with \"{}\"", printable(&other))),
    }
    let mut tasks = [0; 2 * TASK_BYTES];
    stream.read_exact(&mut tasks).await.map_err(handshake_io_error)?;
    let (from, to) = tasks.split_at(TASK_BYTES);
    let (Some(from), Some(to)) = (task(from), task(to)) else {
        return Err("it names a task of an unknown job".to_owned());
    };
    Ok(FirstBytes::Opening(Opening { from, to }))
}

/// Reads the answer of the called end, and returns the Noise message in the answer. If the called
/// end refuses this task, returns the reason for the refusal as the error.
async fn read_answer(stream: &mut (impl AsyncRead + Unpin)) -> Result<[u8; NOISE_BYTES], String> {
    let kind = stream.read_u8().await.map_err(handshake_io_error)?;
    if kind == REFUSED {
        // The length is one byte, so a stranger at this address cannot send a long reason.
        let mut reason = vec![0; stream.read_u8().await.map_err(handshake_io_error)?.into()];
        stream.read_exact(&mut reason).await.map_err(handshake_io_error)?;
        return Err(format!("it refused this task: {}", printable(&reason)));
    }
    if kind != NOISE {
        return Err("it does not answer like a task with a --secret-file".to_owned());
    }
    let mut message = [0; NOISE_BYTES];
    stream.read_exact(&mut message).await.map_err(handshake_io_error)?;
    Ok(message)
}

/// Sends the caller the reason for its refusal, and returns the reason.
async fn send_refusal(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), why: String) -> String {
    // The length field has one byte, so the reason may be cut within a UTF-8 character. The caller
    // escapes the reason, so such a cut does no harm.
    let reason = &why.as_bytes()[..why.len().min(u8::MAX.into())];
    let length = u8::try_from(reason.len()).expect("the reason was cut to 255 bytes");
    let (read, mut write) = tokio::io::split(stream);
    let tell = async {
        write.write_all(&[&[REFUSED, length][..], reason].concat()).await?;
        close(write, read).await
    };
    // The caller may be a stranger, so an error or a timeout does not matter.
    let _ = timeout(LINGER, tell).await;
    why
}

fn handshake_io_error(error: io::Error) -> String {
    if has_ended(&error) {
        // A task without a secret closes the connection because it does not know the magic.
        "it ended the connection during the handshake of the shared secret; if this repeats, give \
         it a --secret-file and this release, too"
            .to_owned()
    } else {
        format!("handshake of the shared secret: {}", describe(&error))
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
