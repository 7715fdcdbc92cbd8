//! A secret that all tasks share: each end proves that it has it, over nonces that both have drawn.
//!
//! It proves who opens a connection. It hides nothing, and protects no byte that follows.
//!
//! ```text
//! caller → called   "USH1", from, to, nonce                    46 bytes
//! called → caller   'N', nonce                                 33 bytes
//! caller → called   HMAC(caller)                               32 bytes
//! called → caller   'P', HMAC(called)                          33 bytes
//! ```
//!
//! HMAC is HMAC-SHA-256 with the secret as its key, of a label, the role of the end that proves,
//! both names and both nonces. The caller proves itself first, so a stranger gets nothing that
//! was made with the secret. Instead of 'N' or 'P' the called end may say 'R', a length in one byte,
//! and why not. A task is one byte (0 a ps, 1 a worker) and its number, little-endian.

#[cfg(any(test, fuzzing))]
pub(in crate::tcp) mod fuzzing;

use std::io;
use std::path::Path;

use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::files::{Named, SecurityError};
use super::{printable, refuse};
use crate::ids::{Job, TaskId};
use crate::tcp::connector::{describe, has_ended};
use crate::wire;

/// What a caller says first; the last character counts the handshakes.
pub(in crate::tcp) const MAGIC: [u8; 4] = *b"USH1";

/// Keeps these proofs apart from whatever else the secret is used for.
const LABEL: &[u8] = b"unisono shared-secret handshake 1";

/// Fewer bytes could be guessed by who has seen one handshake.
const MIN_SECRET_BYTES: usize = 16;

const NONCE_BYTES: usize = 32;
const PROOF_BYTES: usize = 32;
const TASK_BYTES: usize = 5;

const NONCE: u8 = b'N';
const PROOF: u8 = b'P';
const REFUSED: u8 = b'R';

type Nonce = [u8; NONCE_BYTES];

/// This task's part in handshakes.
#[derive(Debug)]
pub(super) struct Secret {
    me: TaskId,
    key: hmac::Key,
}

/// The end of a connection that a proof is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Caller,
    Called,
}

/// What a proof is about: who opened a connection to whom, and that it was this very one.
#[derive(Clone, Copy, Debug)]
struct Opening {
    from: TaskId,
    to: TaskId,
    caller_nonce: Nonce,
    called_nonce: Nonce,
}

impl Secret {
    /// With the secret in a file; white space around it is not of it.
    pub(super) fn load(path: &Path, me: TaskId) -> Result<Self, SecurityError> {
        let file = Named { flag: "--secret-file", path };
        let bytes = file.read()?;
        let secret = bytes.trim_ascii();
        if secret.len() < MIN_SECRET_BYTES {
            let n_bytes = secret.len();
            return Err(file.unusable(format!(
                "a secret of {n_bytes} bytes can be guessed, it needs {MIN_SECRET_BYTES}; make one \
                 with: openssl rand -hex 32"
            )));
        }
        Ok(Self::new(secret, me))
    }

    fn new(secret: &[u8], me: TaskId) -> Self {
        Self { me, key: hmac::Key::new(hmac::HMAC_SHA256, secret) }
    }

    /// The caller's side of a handshake.
    pub(super) async fn call(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
        to: TaskId,
    ) -> Result<(), String> {
        let caller_nonce = draw()?;
        let mut first = Vec::with_capacity(MAGIC.len() + 2 * TASK_BYTES + NONCE_BYTES);
        first.extend(MAGIC);
        first.extend(task_bytes(self.me));
        first.extend(task_bytes(to));
        first.extend(caller_nonce);
        stream.write_all(&first).await.map_err(|error| lost(&error))?;

        let called_nonce = answer(stream, NONCE).await?;
        let opening = Opening { from: self.me, to, caller_nonce, called_nonce };
        let proof = self.prove(Role::Caller, &opening);
        stream.write_all(proof.as_ref()).await.map_err(|error| lost(&error))?;

        let proof: [u8; PROOF_BYTES] = answer(stream, PROOF).await?;
        if self.is_proof(&proof, Role::Called, &opening) {
            Ok(())
        } else {
            Err("it took our proof, but has not our secret: it is no task of this cluster".into())
        }
    }

    /// The called end's side of a handshake: who the caller is.
    pub(super) async fn accept(
        &self,
        stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ) -> Result<TaskId, String> {
        let (from, to, caller_nonce) = match read_first(stream).await? {
            First::Opening { from, to, nonce } => (from, to, nonce),
            First::Frame => {
                let (read, write) = tokio::io::split(stream);
                refuse(write, read, "this cluster has a shared secret: give --secret-file").await;
                return Err("it has no --secret-file".to_owned());
            }
        };
        if to != self.me {
            let why = format!(
                "{from} looks for {to} at the address of {}: compare --ps-hosts of the two",
                self.me
            );
            return Err(turn_away(stream, why).await);
        }
        let called_nonce: Nonce = draw()?;
        let opening = Opening { from, to, caller_nonce, called_nonce };
        let told = [&[NONCE][..], &called_nonce].concat();
        stream.write_all(&told).await.map_err(|error| lost(&error))?;

        let mut proof = [0; PROOF_BYTES];
        stream.read_exact(&mut proof).await.map_err(|error| lost(&error))?;
        if !self.is_proof(&proof, Role::Caller, &opening) {
            let why = format!("{from} has not the secret of {}: compare --secret-file", self.me);
            return Err(turn_away(stream, why).await);
        }
        let proof = self.prove(Role::Called, &opening);
        let told = [&[PROOF][..], proof.as_ref()].concat();
        stream.write_all(&told).await.map_err(|error| lost(&error))?;
        Ok(from)
    }

    fn prove(&self, role: Role, opening: &Opening) -> hmac::Tag {
        hmac::sign(&self.key, &opening.text(role))
    }

    /// In a time that does not depend on where the two differ.
    fn is_proof(&self, proof: &[u8], role: Role, opening: &Opening) -> bool {
        hmac::verify(&self.key, &opening.text(role), proof).is_ok()
    }
}

impl Opening {
    /// Each part has one length, so no two openings have one text.
    fn text(&self, role: Role) -> Vec<u8> {
        let role = match role {
            Role::Caller => 0,
            Role::Called => 1,
        };
        let mut text = LABEL.to_vec();
        text.push(role);
        text.extend(task_bytes(self.from));
        text.extend(task_bytes(self.to));
        text.extend(self.caller_nonce);
        text.extend(self.called_nonce);
        text
    }
}

/// What a caller begins with.
enum First {
    /// The handshake.
    Opening { from: TaskId, to: TaskId, nonce: Nonce },
    /// A frame: it knows of no secret.
    Frame,
}

async fn read_first(stream: &mut (impl AsyncRead + Unpin)) -> Result<First, String> {
    let mut magic = [0; MAGIC.len()];
    stream.read_exact(&mut magic).await.map_err(|error| lost(&error))?;
    match magic {
        wire::MAGIC => return Ok(First::Frame),
        MAGIC => {}
        other => return Err(format!("it starts with \"{}\"", printable(&other))),
    }
    let mut rest = [0; 2 * TASK_BYTES + NONCE_BYTES];
    stream.read_exact(&mut rest).await.map_err(|error| lost(&error))?;
    let (tasks, nonce) = rest.split_at(2 * TASK_BYTES);
    let (from, to) = tasks.split_at(TASK_BYTES);
    let (Some(from), Some(to)) = (task(from), task(to)) else {
        return Err("it names a task of no job".to_owned());
    };
    Ok(First::Opening { from, to, nonce: nonce.try_into().expect("it was cut to that length") })
}

/// What the called end answers, if it is of this kind.
async fn answer<const N: usize>(
    stream: &mut (impl AsyncRead + Unpin),
    kind: u8,
) -> Result<[u8; N], String> {
    let found = stream.read_u8().await.map_err(|error| lost(&error))?;
    if found == REFUSED {
        let mut reason = vec![0; stream.read_u8().await.map_err(|error| lost(&error))?.into()];
        stream.read_exact(&mut reason).await.map_err(|error| lost(&error))?;
        return Err(format!("it turned this task away: {}", printable(&reason)));
    }
    if found != kind {
        return Err("it does not answer as one that has a --secret-file".to_owned());
    }
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await.map_err(|error| lost(&error))?;
    Ok(bytes)
}

/// Tells the caller why not, if it still listens; gives the reason back.
async fn turn_away(stream: &mut (impl AsyncWrite + Unpin), why: String) -> String {
    let reason = &why.as_bytes()[..why.len().min(u8::MAX.into())];
    let length = u8::try_from(reason.len()).expect("it was cut to what a byte counts");
    let told = [&[REFUSED, length][..], reason].concat();
    let _ = stream.write_all(&told).await;
    let _ = stream.shutdown().await;
    why
}

fn lost(error: &io::Error) -> String {
    if has_ended(error) {
        "it ended the connection within the handshake of the shared secret; if it goes on so, give \
         it --secret-file, too"
            .to_owned()
    } else {
        format!("within the handshake of the shared secret: {}", describe(error))
    }
}

fn draw() -> Result<Nonce, String> {
    let mut nonce = [0; NONCE_BYTES];
    let drawn = SystemRandom::new().fill(&mut nonce);
    drawn.map_err(|_| "the system has no random numbers".to_owned())?;
    Ok(nonce)
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

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    const PS: TaskId = TaskId::ps(1);
    const WORKER: TaskId = TaskId::worker(3);

    fn secret(text: &str, me: TaskId) -> Secret {
        Secret::new(text.as_bytes(), me)
    }

    async fn meet(caller: &Secret, to: TaskId, called: &Secret) -> [Result<String, String>; 2] {
        let (mut there, mut here) = duplex(1024);
        let (calling, accepting) =
            tokio::join!(caller.call(&mut there, to), called.accept(&mut here));
        [calling.map(|()| "it is the one".to_owned()), accepting.map(|task| task.to_string())]
    }

    #[tokio::test]
    async fn two_who_have_the_secret_know_each_other_by_name() {
        let met = meet(&secret("one", WORKER), PS, &secret("one", PS)).await;
        assert_eq!(met, [Ok("it is the one".to_owned()), Ok("worker 3".to_owned())]);
    }

    #[tokio::test]
    async fn another_secret_is_refused_and_the_caller_is_told() {
        let met = meet(&secret("one", WORKER), PS, &secret("another", PS)).await;
        let why = "worker 3 has not the secret of ps 1: compare --secret-file";
        assert_eq!(met, [Err(format!("it turned this task away: {why}")), Err(why.to_owned())]);
    }

    #[tokio::test]
    async fn a_permuted_list_of_hosts_is_found() {
        let met = meet(&secret("one", WORKER), TaskId::ps(0), &secret("one", PS)).await;
        let why = "worker 3 looks for ps 0 at the address of ps 1: compare --ps-hosts of the two";
        assert_eq!(met, [Err(format!("it turned this task away: {why}")), Err(why.to_owned())]);
    }

    /// Passes everything on between the two, and notes what the caller said.
    async fn note(mut caller: DuplexStream, mut called: DuplexStream) -> Vec<u8> {
        let mut said = Vec::new();
        for (from_caller, n_bytes) in [(true, 46), (false, 33), (true, 32), (false, 33)] {
            let mut bytes = vec![0; n_bytes];
            if from_caller {
                caller.read_exact(&mut bytes).await.unwrap();
                called.write_all(&bytes).await.unwrap();
                said.extend(bytes);
            } else {
                called.read_exact(&mut bytes).await.unwrap();
                caller.write_all(&bytes).await.unwrap();
            }
        }
        said
    }

    #[tokio::test]
    async fn a_replayed_handshake_is_refused() {
        let (caller, called) = (secret("one", WORKER), secret("one", PS));
        let ((mut there, near), (far, mut here)) = (duplex(1024), duplex(1024));
        let (said, calling, accepting) =
            tokio::join!(note(near, far), caller.call(&mut there, PS), called.accept(&mut here));
        assert_eq!((calling, accepting), (Ok(()), Ok(WORKER)), "through a listener");

        let (mut replay, mut here) = duplex(1024);
        replay.write_all(&said).await.unwrap();
        let refused = called.accept(&mut here).await.unwrap_err();
        assert_eq!(refused, "worker 3 has not the secret of ps 1: compare --secret-file");
    }

    #[tokio::test]
    async fn a_proof_sent_back_proves_nothing() {
        // Whoever is called without the secret could only send back what it got.
        let caller = secret("one", WORKER);
        let (mut there, mut here) = duplex(1024);
        let reflect = async {
            let mut first = [0; 46];
            here.read_exact(&mut first).await.unwrap();
            here.write_all(&[&[NONCE][..], &first[14..]].concat()).await.unwrap();
            let mut proof = [0; PROOF_BYTES];
            here.read_exact(&mut proof).await.unwrap();
            here.write_all(&[&[PROOF][..], &proof].concat()).await.unwrap();
        };
        let (calling, ()) = tokio::join!(caller.call(&mut there, PS), reflect);
        assert_eq!(
            calling.unwrap_err(),
            "it took our proof, but has not our secret: it is no task of this cluster"
        );
    }

    #[tokio::test]
    async fn any_bytes_may_come_first() {
        let called = secret("one", PS);
        for (first, why) in [
            (&b"GET / HTTP/1.1\r\n"[..], "it starts with \"GET \""),
            (b"USH1", &lost(&io::ErrorKind::UnexpectedEof.into())),
            (b"UNS1 and so on", "it has no --secret-file"),
            (&[&b"USH1"[..], &[7; 42]].concat(), "it names a task of no job"),
        ] {
            let (mut there, mut here) = duplex(1024);
            there.write_all(first).await.unwrap();
            there.shutdown().await.unwrap();
            assert_eq!(called.accept(&mut here).await.unwrap_err(), why);
        }
    }

    #[test]
    fn a_secret_that_can_be_guessed_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "password\n").unwrap();
        let error = Secret::load(file.path(), PS).unwrap_err().to_string();
        assert!(error.contains("8 bytes") && error.contains("openssl rand -hex 32"), "{error}");
        std::fs::write(file.path(), "0123456789abcdef\n").unwrap();
        assert!(Secret::load(file.path(), PS).is_ok());
        let error = Secret::load(Path::new("no/such"), PS).unwrap_err().to_string();
        assert!(error.starts_with("cannot read --secret-file no/such: "), "{error}");
    }
}
