//! Fuzz targets: what strangers and peers send.

use std::cell::LazyCell;
use std::future::Future;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex, split};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::memory::Shared;
use super::reader::{ReadError, Reader};
use super::room::Room;
pub use super::security::fuzzing::handshake;
use unisono_core::protocol::Message;
use unisono_core::wire::{
    Limits, MAX_GREETING_BYTES, WireError, decode, encode_to_vec, frame_bytes, reseal,
};

/// A link makes room for what a header announces, up to its limits; these are small, so that it is
/// seen if it makes more.
const LIMITS: Limits =
    Limits { control_bytes: 1 << 16, tensor_bytes: 1 << 16, ..Limits::with_tensor_bytes(0) };

/// How long two ends at one input may take, on the slowest machine.
const LONGEST: Duration = Duration::from_secs(5);

/// A frame, as it came and with its checksums put right.
pub fn frame(bytes: &[u8]) -> bool {
    let mut resealed = bytes.to_vec();
    reseal(&mut resealed);
    [bytes, &resealed].into_iter().any(one_frame)
}

fn one_frame(bytes: &[u8]) -> bool {
    // However much may come, no more is made room for than there is.
    let _ = decode(bytes, &Limits::with_tensor_bytes(usize::MAX));
    let decoded = decode(bytes, &LIMITS);
    if let Ok(message) = &decoded {
        check_encoding(bytes, message);
    }
    check_reader(bytes, &decoded);
    decoded.is_ok()
}

/// What was decoded is encoded to bytes that say the same. They need not be those that came: a
/// peer may write a number in more bytes than it needs.
fn check_encoding(bytes: &[u8], message: &Message) {
    let encoded = encode_to_vec(message);
    assert!(encoded.len() <= bytes.len(), "{message:?}");
    assert_eq!(encoded.len(), frame_bytes(message), "{message:?}");
    let again = decode(&encoded, &LIMITS).expect("this is what it encodes itself");
    // Not the messages: a NaN is not itself.
    assert_eq!(encode_to_vec(&again), encoded, "{message:?}");
}

/// A stream that has the frame twice, in pieces, is read as the frame is decoded.
fn check_reader(bytes: &[u8], decoded: &Result<Message, WireError>) {
    let piece = 1 + bytes.len() % 61;
    let twice = [bytes, bytes].concat();
    block_on(async {
        let (there, here) = duplex(piece);
        let read = async {
            let mut reader = Reader::new(here);
            reader.share(Shared::new().inbox);
            let room = Room::whole(LIMITS);
            let mut next = async || reader.message(&room, || ()).await;
            match decoded {
                Ok(message) => {
                    for _ in 0..2 {
                        let read = next().await.expect("it was decoded");
                        assert_eq!(encode_to_vec(&read), encode_to_vec(message));
                    }
                    let end = next().await;
                    assert!(matches!(end, Err(ReadError::Ended)), "{end:?}");
                }
                // It does not end where the bytes do: then the rest is read as another frame.
                // Or it speaks of memory, which alone is no message.
                Err(WireError::WrongLength { .. } | WireError::NotShared) => {
                    while next().await.is_ok() {}
                }
                Err(why) => match next().await {
                    Err(ReadError::Wire(found)) => assert_eq!(found, *why),
                    other => panic!("{why}: {other:?}"),
                },
            }
        };
        tokio::join!(say(there, &twice), read);
    });
}

/// Says all of it, unless nobody listens any more, and hears what is answered meanwhile.
pub(super) async fn say(stream: DuplexStream, said: &[u8]) {
    let (mut read, mut write) = split(stream);
    let mut heard = Vec::new();
    let say = async {
        let _ = write.write_all(said).await;
        let _ = write.shutdown().await;
    };
    let (_, _) = tokio::join!(say, read.read_to_end(&mut heard));
    assert!(heard.len() <= MAX_GREETING_BYTES, "a stranger was told {} bytes", heard.len());
}

/// On this thread, in a runtime that lasts for many inputs. All that is waited for is at hand.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: LazyCell<Runtime> = LazyCell::new(|| {
            Builder::new_current_thread().enable_time().build().expect("a runtime of one thread")
        });
    }
    let in_time = async { timeout(LONGEST, future).await.expect("two ends wait for each other") };
    RUNTIME.with(|runtime| runtime.block_on(in_time))
}

#[cfg(test)]
mod tests {
    use crate::tcp::security::fuzzing::handshake_seeds;

    use super::*;
    use crate::corpus::{Corpus, Seed};

    #[test]
    fn frames() {
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
    fn handshakes() {
        Corpus::of("handshake", handshake_seeds()).survives(handshake);
    }
}
