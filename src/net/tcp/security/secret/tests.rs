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

/// The keys of a connection, at its caller and at its called end.
pub async fn keys_of_two() -> (Keys, Keys) {
    let (mut there, mut here) = duplex(1024);
    let (caller, called) = (secret("one", WORKER), secret("one", PS));
    let (calling, accepting) = tokio::join!(caller.call(&mut there, PS), called.accept(&mut here));
    (calling.unwrap(), accepting.unwrap().1)
}

/// What each end takes the other for.
async fn meet(caller: &Secret, to: TaskId, called: &Secret) -> [Result<String, String>; 2] {
    let (mut there, mut here) = duplex(1024);
    let (calling, accepting) = tokio::join!(caller.call(&mut there, to), called.accept(&mut here));
    [calling.map(|_| "it is the one".to_owned()), accepting.map(|(task, _)| task.to_string())]
}

#[tokio::test]
async fn two_who_have_the_secret_know_each_other_by_name() {
    let met = meet(&secret("one", WORKER), PS, &secret("one", PS)).await;
    assert_eq!(met, [Ok("it is the one".to_owned()), Ok("worker 3".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_different_secret_is_refused_and_the_caller_is_told() {
    let met = meet(&secret("one", WORKER), PS, &secret("another", PS)).await;
    let why = "the secret of worker 3 differs from that of ps 1: compare --secret-file of the two";
    assert_eq!(met, [Err(format!("it turned this task away: {why}")), Err(why.to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_permuted_list_of_hosts_is_found() {
    let met = meet(&secret("one", WORKER), TaskId::ps(0), &secret("one", PS)).await;
    let why = "worker 3 looks for ps 0 at the address of ps 1: compare --ps-hosts of the two";
    assert_eq!(met, [Err(format!("it turned this task away: {why}")), Err(why.to_owned())]);
}

/// Passes a handshake on between the two, with what `change` makes of each of its two parts.
async fn relay(
    mut caller: DuplexStream,
    mut called: DuplexStream,
    mut change: impl FnMut(usize, &mut Vec<u8>),
) -> Vec<Vec<u8>> {
    let mut passed = Vec::new();
    for (part, n_bytes) in [OPENING, ANSWER].into_iter().enumerate() {
        let (from, to) =
            if part == 0 { (&mut caller, &mut called) } else { (&mut called, &mut caller) };
        let mut bytes = vec![0; n_bytes];
        if from.read_exact(&mut bytes).await.is_err() {
            break;
        }
        change(part, &mut bytes);
        to.write_all(&bytes).await.unwrap();
        passed.push(bytes);
    }
    passed
}

/// Has the two meet through a relay. Whether each takes the other for the right one.
async fn meet_through(change: impl FnMut(usize, &mut Vec<u8>)) -> ([bool; 2], Vec<Vec<u8>>) {
    let (caller, called) = (secret("one", WORKER), secret("one", PS));
    let ((mut there, near), (far, mut here)) = (duplex(1024), duplex(1024));
    let calling = async { caller.call(&mut there, PS).await.is_ok() };
    let accepting = async {
        let is_accepted = called.accept(&mut here).await.is_ok();
        drop(here);
        is_accepted
    };
    let (passed, calling, accepting) = tokio::join!(relay(near, far, change), calling, accepting);
    ([calling, accepting], passed)
}

#[tokio::test]
async fn no_bit_of_the_handshake_can_be_changed_on_the_way() {
    assert_eq!(meet_through(|_, _| ()).await.0, [true, true]);
    for (part, n_bytes) in [OPENING, ANSWER].into_iter().enumerate() {
        for at in 0..n_bytes {
            for bit in 0..8 {
                let flip = |passing, bytes: &mut Vec<u8>| {
                    if passing == part {
                        bytes[at] ^= 1 << bit;
                    }
                };
                let (met, _) = meet_through(flip).await;
                // The called end has answered before anybody can change the answer.
                let expected = [false, part == 1];
                assert_eq!(met, expected, "bit {bit} of byte {at} of part {part}");
            }
        }
    }
}

#[tokio::test]
async fn a_replayed_caller_can_neither_read_nor_send_a_record() {
    let (met, passed) = meet_through(|_, _| ()).await;
    assert_eq!(met, [true, true]);
    let called = secret("one", PS);
    let (mut replay, mut here) = duplex(1024);
    replay.write_all(&passed[0]).await.unwrap();
    let (_, keys) = called.accept(&mut here).await.unwrap();
    let mut answer = [0; ANSWER];
    replay.read_exact(&mut answer).await.unwrap();
    assert_ne!(answer[..], passed[1][..], "each connection has keys of its own");
    // Whatever the replay sends now, it can only be what was recorded.
    replay.write_all(&[0x20, 0]).await.unwrap();
    replay.write_all(&[7; 0x20]).await.unwrap();
    let (mut read, _) = keys.protect(here, tokio::io::sink());
    let refused = read.read_u8().await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn a_proof_sent_back_proves_nothing() {
    // Whoever is called without the secret can only send back what arrived.
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
        why.starts_with("it took our proof, but does not prove that it has our secret"),
        "{why}"
    );
}

#[tokio::test]
async fn any_bytes_may_come_first() {
    let called = secret("one", PS);
    let mut of_no_job = [7; OPENING];
    of_no_job[..MAGIC.len()].copy_from_slice(&MAGIC);
    for (first, why) in [
        (&b"GET / HTTP/1.1\r\n"[..], "it starts with \"GET \""),
        (b"USH2", &lost(&io::ErrorKind::UnexpectedEof.into())),
        (b"UNS1 and so on", "it has no --secret-file"),
        (&of_no_job, "it names a task of no job"),
    ] {
        let (mut there, mut here) = duplex(1024);
        there.write_all(first).await.unwrap();
        there.shutdown().await.unwrap();
        assert_eq!(called.accept(&mut here).await.unwrap_err(), why);
    }
}

#[tokio::test]
async fn a_caller_of_an_older_release_is_told_what_to_do() {
    let (mut there, mut here) = duplex(1024);
    there.write_all(b"USH1 and so on").await.unwrap();
    there.shutdown().await.unwrap();
    let why = secret("one", PS).accept(&mut here).await.unwrap_err();
    assert_eq!(why, "the handshake of its release is another one: run one release on all tasks");
    drop(here);
    // As that release reads it: 'R', a length, and a text.
    let mut told = Vec::new();
    there.read_to_end(&mut told).await.unwrap();
    assert_eq!(told, [&[b'R', u8::try_from(why.len()).unwrap()][..], why.as_bytes()].concat());
}

/// What loading a secret of this text gives.
fn load(text: &[u8]) -> Result<Secret, String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text).unwrap();
    Secret::load(file.path(), PS).map_err(|error| error.to_string())
}

#[test]
fn a_secret_that_can_be_guessed_is_refused_with_a_remedy() {
    for (text, why) in [
        (&b"password\n"[..], "the secret has 8 bytes, fewer than 16"),
        (b"", "the secret has 0 bytes, fewer than 16"),
        (b"   0123456789abcde   \n", "the secret has 15 bytes, fewer than 16"),
        (b"0000000000000000", "the secret is one byte, repeated"),
        (&[b'a'; 400], "the secret is one byte, repeated"),
        (&[0; 32], "the secret is one byte, repeated"),
    ] {
        let error = load(text).unwrap_err();
        let told = format!("{why}, so it can be guessed; make one with: openssl rand -hex 32");
        assert!(error.ends_with(&told), "{error}");
    }
    assert!(load(b"0123456789abcdef\n").is_ok());
    assert!(load(b"aaaaaaaaaaaaaaab").is_ok());
}

#[test]
fn a_file_that_is_missing_or_too_long_is_refused() {
    let error = Secret::load(Path::new("no/such"), PS).unwrap_err().to_string();
    assert!(error.starts_with("cannot read --secret-file no/such: "), "{error}");
    assert!(load(&b"ab".repeat(MAX_BYTES / 2)).is_ok());
    let error = load(&b"ab".repeat(MAX_BYTES / 2 + 1)).unwrap_err();
    assert!(error.contains("it has more than 1048576 bytes"), "{error}");
}

#[test]
fn a_device_without_an_end_is_refused() {
    for device in ["/dev/zero", "/dev/urandom"] {
        let error = Secret::load(Path::new(device), PS).unwrap_err().to_string();
        assert!(error.contains("it has more than 1048576 bytes"), "{error}");
    }
}

#[test]
fn a_pipe_is_read_to_its_end() {
    use std::os::fd::AsRawFd as _;
    let (read, mut write) = io::pipe().unwrap();
    write.write_all(b"0123456789abcdef\n").unwrap();
    drop(write);
    let path = format!("/proc/self/fd/{}", read.as_raw_fd());
    assert!(Secret::load(Path::new(&path), PS).is_ok());
}

#[test]
fn no_log_shows_the_key() {
    assert_eq!(format!("{:?}", secret("one", PS)), format!("Secret {{ me: {PS:?}, .. }}"));
}
