//! Fuzz targets for bytes that strangers and peers send.

use std::cell::LazyCell;
use std::future::Future;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex, split};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::memory::SharedTensors;
use super::reader::{ReadError, Reader};
use super::room::Room;
pub use super::security::fuzzing::handshake;
use unisono_core::protocol::Message;
use unisono_core::wire::{
    Limits, MAX_GREETING_BYTES, WireError, decode, encode_to_vec, frame_bytes, reseal,
};

/// Limits of the frames. A reader may allocate as much as a header announces within these limits.
/// The limits are small, so that a reader that allocates more is found.
const LIMITS: Limits =
    Limits { control_bytes: 1 << 16, tensor_bytes: 1 << 16, ..Limits::with_tensor_bytes(0) };

/// Time limit for one input, long enough for the slowest machine.
const LONGEST: Duration = Duration::from_secs(5);

/// Decodes a frame twice: with its own checksums, and with corrected checksums. Returns whether one
/// of the two is valid.
pub fn frame(bytes: &[u8]) -> bool {
    let mut resealed = bytes.to_vec();
    reseal(&mut resealed);
    [bytes, &resealed].into_iter().any(one_frame)
}

fn one_frame(bytes: &[u8]) -> bool {
    // Even with limits that permit any size, decoding must not allocate more than the input has
    // bytes.
    let _ = decode(bytes, &Limits::with_tensor_bytes(usize::MAX));
    let decoded = decode(bytes, &LIMITS);
    if let Ok(message) = &decoded {
        check_encoding(bytes, message);
    }
    check_reader(bytes, &decoded);
    decoded.is_ok()
}

/// Checks that a decoded message stays the same if it is encoded and decoded again.
fn check_encoding(bytes: &[u8], message: &Message) {
    // The encoding may be shorter than the input, because a peer may write a number with more bytes
    // than needed.
    let encoded = encode_to_vec(message);
    assert!(encoded.len() <= bytes.len(), "{message:?}");
    assert_eq!(encoded.len(), frame_bytes(message), "{message:?}");
    let again = decode(&encoded, &LIMITS).expect("an encoded message can be decoded");
    // The encodings are compared, because a message with a NaN does not equal itself.
    assert_eq!(encode_to_vec(&again), encoded, "{message:?}");
}

/// Checks that the reader agrees with `decode`. The reader gets a stream with the frame twice, in
/// small pieces.
fn check_reader(bytes: &[u8], decoded: &Result<Message, WireError>) {
    let piece = 1 + bytes.len() % 61;
    let twice = [bytes, bytes].concat();
    block_on(async {
        let (there, here) = duplex(piece);
        let read = async {
            let mut reader = Reader::new(here);
            reader.memory = Some(SharedTensors::new().inbox);
            let room = Room::fixed(LIMITS);
            let mut next = async || reader.message(&room, || ()).await;
            match decoded {
                Ok(message) => {
                    for _ in 0..2 {
                        let read = next().await.expect("the same frame was decoded");
                        assert_eq!(encode_to_vec(&read), encode_to_vec(message));
                    }
                    let end = next().await;
                    assert!(matches!(end, Err(ReadError::Ended)), "{end:?}");
                }
                // `WrongLength`: the frame is shorter than the input, and the reader takes the rest
                // for another frame. `NotShared`: the frame is about shared memory, which `decode`
                // does not support.
                Err(WireError::WrongLength { .. } | WireError::NotShared) => {
                    while next().await.is_ok() {}
                }
                Err(why) => match next().await {
                    Err(ReadError::Wire(found)) => assert_eq!(found, *why),
                    other => panic!("{why}: {other:?}"),
                },
            }
        };
        tokio::join!(send_all(there, &twice), read);
    });
}

/// Sends bytes until the peer stops reading, and reads the peer's answer at the same time.
pub(super) async fn send_all(stream: DuplexStream, bytes: &[u8]) {
    let (mut read, mut write) = split(stream);
    let mut answer = Vec::new();
    let send = async {
        let _ = write.write_all(bytes).await;
        let _ = write.shutdown().await;
    };
    let (_, _) = tokio::join!(send, read.read_to_end(&mut answer));
    assert!(answer.len() <= MAX_GREETING_BYTES, "a stranger got {} bytes", answer.len());
}

/// Runs a future on this thread. All inputs use the same runtime, because creating a runtime is
/// slow.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: LazyCell<Runtime> = LazyCell::new(|| {
            Builder::new_current_thread().enable_time().build().expect("a runtime of one thread")
        });
    }
    // The futures of both ends run on this thread, so a timeout means that the two ends wait for
    // each other.
    let in_time = async { timeout(LONGEST, future).await.expect("a deadlock of the two ends") };
    RUNTIME.with(|runtime| runtime.block_on(in_time))
}

#[cfg(test)]
mod tests {
    use crate::tcp::security::fuzzing::handshake_seeds;

    use super::*;
    use crate::corpus::{Corpus, Seed};

    #[test]
    fn frame_target_survives_the_corpus() {
        let unhex = |text: &str| {
            let digits: Vec<char> = text.split_whitespace().flat_map(str::chars).collect();
            let byte = |two: &[char]| u8::from_str_radix(&String::from_iter(two), 16).unwrap();
            digits.chunks(2).map(byte).collect()
        };
        let fixtures = Corpus::folder("fixtures/wire", "hex");
        let seeds = fixtures.into_iter().map(|Seed { name, bytes }| {
            let name = name.replace(".hex", "");
            let is_message = !(name.starts_with("note-") || name.starts_with("placed-"));
            Seed {
                name: if is_message { name } else { format!("refused-{name}") },
                bytes: unhex(std::str::from_utf8(&bytes).unwrap()),
            }
        });
        Corpus::of("frame", seeds).survives(frame);
    }

    #[test]
    fn handshake_target_survives_the_corpus() {
        Corpus::of("handshake", handshake_seeds()).survives(handshake);
    }
}
