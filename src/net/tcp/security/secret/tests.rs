use std::io::Write as _;

use tokio::io::{DuplexStream, duplex};

use super::*;
use crate::tcp::security::files::MAX_BYTES;

const PS: TaskId = TaskId::ps(1);
const WORKER: TaskId = TaskId::worker(3);

const OPENING: usize = OPENING_BYTES + NOISE_BYTES;
const ANSWER: usize = 1 + NOISE_BYTES;

fn secret(text: &str, me: TaskId) -> Secret {
    Secret::new(text.as_bytes(), me)
}

/// Returns the keys of one connection at both ends: first the caller's, then the called end's.
pub(in crate::tcp) async fn connection_keys() -> (Keys, Keys) {
    let (mut there, mut here) = duplex(1024);
    let (caller, called) = (secret("one", WORKER), secret("one", PS));
    let (calling, accepting) = tokio::join!(caller.call(&mut there, PS), called.accept(&mut here));
    (calling.unwrap(), accepting.unwrap().1)
}

/// Performs a handshake. Returns the task that each end takes its peer for, or the error.
async fn run_handshake(
    caller: &Secret,
    to: TaskId,
    called: &Secret,
) -> [Result<String, String>; 2] {
    let (mut there, mut here) = duplex(1024);
    let (calling, accepting) = tokio::join!(caller.call(&mut there, to), called.accept(&mut here));
    [calling.map(|_| "the called task".to_owned()), accepting.map(|(task, _)| task.to_string())]
}

#[tokio::test]
async fn tasks_with_the_same_secret_authenticate_each_other() {
    let results = run_handshake(&secret("one", WORKER), PS, &secret("one", PS)).await;
    assert_eq!(results, [Ok("the called task".to_owned()), Ok("worker 3".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn different_secret_is_refused_with_a_reason_for_the_caller() {
    let results = run_handshake(&secret("one", WORKER), PS, &secret("another", PS)).await;
    let why = "the secrets of worker 3 and ps 1 differ: compare --secret-file of both";
    assert_eq!(results, [Err(format!("it refused this task: {why}")), Err(why.to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn caller_with_a_permuted_host_list_gets_the_remedy() {
    let results = run_handshake(&secret("one", WORKER), TaskId::ps(0), &secret("one", PS)).await;
    let why = "worker 3 looks for ps 0 at the address of ps 1: compare --ps-hosts of both";
    assert_eq!(results, [Err(format!("it refused this task: {why}")), Err(why.to_owned())]);
}

/// Forwards both messages of a handshake, each after it was changed by `change`. Returns the
/// forwarded messages.
async fn relay(
    mut caller: DuplexStream,
    mut called: DuplexStream,
    mut change: impl FnMut(usize, &mut Vec<u8>),
) -> Vec<Vec<u8>> {
    let mut forwarded = Vec::new();
    for (part, n_bytes) in [OPENING, ANSWER].into_iter().enumerate() {
        let (from, to) =
            if part == 0 { (&mut caller, &mut called) } else { (&mut called, &mut caller) };
        let mut bytes = vec![0; n_bytes];
        if from.read_exact(&mut bytes).await.is_err() {
            break;
        }
        change(part, &mut bytes);
        to.write_all(&bytes).await.unwrap();
        forwarded.push(bytes);
    }
    forwarded
}

/// Performs a handshake through a relay. Returns whether each end succeeded, and the forwarded
/// messages.
async fn handshake_through_relay(
    change: impl FnMut(usize, &mut Vec<u8>),
) -> ([bool; 2], Vec<Vec<u8>>) {
    let (caller, called) = (secret("one", WORKER), secret("one", PS));
    let ((mut there, near), (far, mut here)) = (duplex(1024), duplex(1024));
    let calling = async { caller.call(&mut there, PS).await.is_ok() };
    let accepting = async {
        let is_accepted = called.accept(&mut here).await.is_ok();
        drop(here);
        is_accepted
    };
    let (forwarded, calling, accepting) =
        tokio::join!(relay(near, far, change), calling, accepting);
    ([calling, accepting], forwarded)
}

#[tokio::test]
async fn handshake_fails_if_any_bit_is_changed_on_the_way() {
    assert_eq!(handshake_through_relay(|_, _| ()).await.0, [true, true]);
    for (part, n_bytes) in [OPENING, ANSWER].into_iter().enumerate() {
        for at in 0..n_bytes {
            for bit in 0..8 {
                let flip = |forwarding, bytes: &mut Vec<u8>| {
                    if forwarding == part {
                        bytes[at] ^= 1 << bit;
                    }
                };
                let (succeeded, _) = handshake_through_relay(flip).await;
                // The called end finishes when it sends its answer. If the answer is changed on the
                // way, only the caller notices.
                let expected = [false, part == 1];
                assert_eq!(succeeded, expected, "bit {bit} of byte {at} of part {part}");
            }
        }
    }
}

#[tokio::test]
async fn replayed_caller_cannot_send_a_record() {
    let (succeeded, forwarded) = handshake_through_relay(|_, _| ()).await;
    assert_eq!(succeeded, [true, true]);
    let called = secret("one", PS);
    let (mut replay, mut here) = duplex(1024);
    replay.write_all(&forwarded[0]).await.unwrap();
    let (_, keys) = called.accept(&mut here).await.unwrap();
    let mut answer = [0; ANSWER];
    replay.read_exact(&mut answer).await.unwrap();
    assert_ne!(answer[..], forwarded[1][..], "each connection has keys of its own");
    // The attacker that repeats a message has no keys. So it can only send recorded or invented
    // bytes.
    replay.write_all(&[0x20, 0]).await.unwrap();
    replay.write_all(&[7; 0x20]).await.unwrap();
    let (mut read, _) = keys.protect(here, tokio::io::sink());
    let refused = read.read_u8().await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn reflected_proof_is_refused() {
    // A called end without the secret can only return the bytes that it has received.
    let caller = secret("one", WORKER);
    let (mut there, mut here) = duplex(1024);
    let reflect = async {
        let mut first = [0; OPENING];
        here.read_exact(&mut first).await.unwrap();
        here.write_all(&[&[NOISE][..], &first[OPENING_BYTES..]].concat()).await.unwrap();
    };
    let (calling, ()) = tokio::join!(caller.call(&mut there, PS), reflect);
    let why = calling.unwrap_err();
    assert!(
        why.starts_with("it accepted our proof, but does not prove that it has our secret"),
        "{why}"
    );
}

#[tokio::test]
async fn invalid_openings_are_refused_with_a_reason() {
    let called = secret("one", PS);
    let mut of_no_job = [7; OPENING];
    of_no_job[..MAGIC.len()].copy_from_slice(&MAGIC);
    for (first, why) in [
        (&b"GET / HTTP/1.1\r\n"[..], "it starts with \"GET \""),
        (b"USH2", &handshake_io_error(io::ErrorKind::UnexpectedEof.into())),
        (b"UNS1 and so on", "it has no --secret-file"),
        (&of_no_job, "it names a task of an unknown job"),
    ] {
        let (mut there, mut here) = duplex(1024);
        there.write_all(first).await.unwrap();
        there.shutdown().await.unwrap();
        assert_eq!(called.accept(&mut here).await.unwrap_err(), why);
    }
}

#[tokio::test]
async fn caller_of_an_older_release_gets_the_remedy() {
    let (mut there, mut here) = duplex(1024);
    there.write_all(b"USH1 and so on").await.unwrap();
    there.shutdown().await.unwrap();
    let why = secret("one", PS).accept(&mut here).await.unwrap_err();
    assert_eq!(why, "its release has another handshake: run one release on all tasks");
    drop(here);
    // The older release reads a refusal in the same format: 'R', a length, and a text.
    let mut answer = Vec::new();
    there.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, [&[b'R', u8::try_from(why.len()).unwrap()][..], why.as_bytes()].concat());
}

/// Loads a secret from a file with this content.
fn load(text: &[u8]) -> Result<Secret, String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text).unwrap();
    Secret::load(file.path(), PS).map_err(|error| error.to_string())
}

#[test]
fn secret_that_can_be_guessed_is_refused_with_a_remedy() {
    for (text, why) in [
        (&b"password\n"[..], "the secret has 8 bytes, fewer than 16"),
        (b"", "the secret has 0 bytes, fewer than 16"),
        (b"   0123456789abcde   \n", "the secret has 15 bytes, fewer than 16"),
        (b"0000000000000000", "the secret repeats one byte"),
        (&[b'a'; 400], "the secret repeats one byte"),
        (&[0; 32], "the secret repeats one byte"),
    ] {
        let error = load(text).unwrap_err();
        let expected =
            format!("{why}, so it can be guessed; make a secret with: openssl rand -hex 32");
        assert!(error.ends_with(&expected), "{error}");
    }
    assert!(load(b"0123456789abcdef\n").is_ok());
    assert!(load(b"aaaaaaaaaaaaaaab").is_ok());
}

#[test]
fn missing_or_too_long_secret_file_is_refused() {
    let error = Secret::load(Path::new("no/such"), PS).unwrap_err().to_string();
    assert!(error.starts_with("cannot read --secret-file no/such: "), "{error}");
    assert!(load(&b"ab".repeat(MAX_BYTES / 2)).is_ok());
    let error = load(&b"ab".repeat(MAX_BYTES / 2 + 1)).unwrap_err();
    assert!(error.contains("it has more than 1048576 bytes"), "{error}");
}

#[test]
fn endless_device_is_refused_as_a_secret_file() {
    for device in ["/dev/zero", "/dev/urandom"] {
        let error = Secret::load(Path::new(device), PS).unwrap_err().to_string();
        assert!(error.contains("it has more than 1048576 bytes"), "{error}");
    }
}

#[test]
fn secret_is_read_from_a_pipe() {
    use std::os::fd::AsRawFd as _;
    let (read, mut write) = io::pipe().unwrap();
    write.write_all(b"0123456789abcdef\n").unwrap();
    drop(write);
    let path = format!("/proc/self/fd/{}", read.as_raw_fd());
    assert!(Secret::load(Path::new(&path), PS).is_ok());
}

#[test]
fn debug_output_does_not_contain_the_key() {
    assert_eq!(format!("{:?}", secret("one", PS)), format!("Secret {{ me: {PS:?}, .. }}"));
}
