use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

use super::*;
use crate::tcp::security::secret::tests::connection_keys;

/// Decrypts a stream of records. Returns its payloads, and the result at the end of the stream.
async fn opened(keys: Keys, sealed: &[u8]) -> (Vec<u8>, io::Result<()>) {
    let (mut read, _) = keys.protect(sealed, tokio::io::sink());
    let mut payload = Vec::new();
    let end = read.read_to_end(&mut payload).await.map(|_| ());
    (payload, end)
}

/// Returns a stream with one record for each payload. If `is_ended`, adds the empty last record.
async fn sealed(keys: Keys, payloads: &[&[u8]], is_ended: bool) -> Vec<u8> {
    let (_, mut write) = keys.protect(tokio::io::empty(), Vec::new());
    for payload in payloads {
        write.write_all(payload).await.unwrap();
    }
    if is_ended {
        write.shutdown().await.unwrap();
    }
    write.flush().await.unwrap();
    write.target
}

/// Returns the offset of each record in a stream, and the length of the stream.
fn bounds(sealed: &[u8]) -> Vec<usize> {
    let mut bounds = vec![0];
    while let Some(length) = sealed[*bounds.last().unwrap()..].first_chunk() {
        bounds
            .push(bounds.last().unwrap() + LENGTH_BYTES + usize::from(u16::from_le_bytes(*length)));
    }
    bounds
}

fn is_forged(end: &io::Result<()>) -> bool {
    matches!(end, Err(error) if error.kind() == io::ErrorKind::InvalidData)
}

fn is_cut_off(end: &io::Result<()>) -> bool {
    matches!(end, Err(error) if error.kind() == io::ErrorKind::UnexpectedEof)
}

#[tokio::test]
async fn payloads_of_any_length_arrive_whole_in_pieces_of_any_size() {
    let bytes: Vec<u8> = (0..300_000_u32).map(|index| (index % 251) as u8).collect();
    for piece in [1, 7, 4096, 1 << 20] {
        let longest = if piece < 10 { 3000 } else { bytes.len() };
        for n_bytes in [0, 1, 2, 1000, MAX_PAYLOAD - 1, MAX_PAYLOAD, MAX_PAYLOAD + 1, bytes.len()] {
            let payload = &bytes[..n_bytes.min(longest)];
            let (ours, theirs) = connection_keys().await;
            let (there, here) = duplex(piece);
            let (_, mut write) = ours.protect(tokio::io::empty(), there);
            let (mut read, _) = theirs.protect(here, tokio::io::sink());
            let mut found = Vec::new();
            let writing = async {
                write.write_all(payload).await.unwrap();
                write.shutdown().await.unwrap();
            };
            let (read, ()) = tokio::join!(read.read_to_end(&mut found), writing);
            read.unwrap();
            assert!(found == payload, "{n_bytes} bytes in pieces of {piece}");
        }
    }
}

#[tokio::test]
async fn vectored_write_takes_head_and_tensor_and_flush_writes_all_records() {
    let (ours, theirs) = connection_keys().await;
    let (_, mut write) = ours.protect(tokio::io::empty(), Vec::new());
    let (head, tensor) = ([1; 100], vec![2; 2 * MAX_PAYLOAD]);
    let slices = [io::IoSlice::new(&head), io::IoSlice::new(&tensor)];
    assert_eq!(write.write_vectored(&slices).await.unwrap(), head.len() + tensor.len());
    write.flush().await.unwrap();
    assert_eq!((write.start, write.end), (0, 0));
    let (payload, _) = opened(theirs, &write.target).await;
    assert!(payload == [&head[..], &tensor].concat());
}

#[tokio::test]
async fn record_is_opened_directly_into_a_buffer_that_has_room() {
    let (ours, theirs) = connection_keys().await;
    let stream = sealed(ours, &[&[7; 1000]], false).await;
    let (mut read, _) = theirs.protect(&*stream, tokio::io::sink());
    let mut long = [0; 1000 + TAG_BYTES];
    assert_eq!(read.read(&mut long).await.unwrap(), 1000);
    assert_eq!(long[..1000], [7; 1000]);
    assert!(read.opened.is_empty());
}

#[tokio::test]
async fn sealed_stream_reveals_no_payload() {
    let (ours, _) = connection_keys().await;
    let payload = vec![0; 1 << 20];
    let stream = sealed(ours, &[&payload], true).await;
    // In a random stream of this length, eight consecutive zeros have a probability of 2^-44.
    assert!(!stream.windows(8).any(|window| window == [0; 8]));
}

#[tokio::test]
async fn every_byte_of_every_record_is_authenticated() {
    let (ours, theirs) = connection_keys().await;
    let stream = sealed(ours, &[b"version 7", b"push"], true).await;
    let bounds = bounds(&stream);
    assert_eq!(opened(theirs.clone(), &stream).await.0, b"version 7push");
    for at in 0..stream.len() {
        for bit in 0..8 {
            let mut flipped = stream.clone();
            flipped[at] ^= 1 << bit;
            let (payload, end) = opened(theirs.clone(), &flipped).await;
            // If the length field is larger, the reader waits for bytes beyond the end of the
            // stream.
            assert!(is_forged(&end) || is_cut_off(&end), "bit {bit} of byte {at}: {end:?}");
            let whole_before = match at {
                _ if at < bounds[1] => &b""[..],
                _ if at < bounds[2] => b"version 7",
                _ => b"version 7push",
            };
            assert_eq!(payload, whole_before, "bit {bit} of byte {at}");
        }
    }
}

#[tokio::test]
async fn repeated_moved_omitted_or_inserted_record_fails_authentication() {
    let (ours, theirs) = connection_keys().await;
    let stream = sealed(ours, &[b"one", b"two", b"six"], true).await;
    let bounds = bounds(&stream);
    let record = |index: usize| &stream[bounds[index]..bounds[index + 1]];
    let [one, two, six, end] = [0, 1, 2, 3].map(record);
    for (case, records, payload) in [
        ("repeated", vec![one, one, two, six, end], &b"one"[..]),
        ("moved", vec![two, one, six, end], b""),
        ("left out", vec![one, six, end], b"one"),
        ("inserted", vec![one, b"\x12\x00an own record of 18", two, six, end], b"one"),
        ("ended too early", vec![one, end], b"one"),
        ("sent again after the end", vec![one, two, six, one, end], b"onetwosix"),
    ] {
        let (found, end) = opened(theirs.clone(), &records.concat()).await;
        assert_eq!(found, payload, "{case}");
        assert!(is_forged(&end), "{case}: {end:?}");
    }
}

#[tokio::test]
async fn stream_that_is_cut_anywhere_does_not_end_normally() {
    let (ours, theirs) = connection_keys().await;
    let stream = sealed(ours, &[b"one", b"two"], true).await;
    let (payload, end) = opened(theirs.clone(), &stream).await;
    assert_eq!((&payload[..], end.is_ok()), (&b"onetwo"[..], true));
    for n_bytes in 0..stream.len() {
        let (_, end) = opened(theirs.clone(), &stream[..n_bytes]).await;
        assert!(is_cut_off(&end), "{n_bytes} bytes: {end:?}");
    }
}

#[tokio::test]
async fn reflected_records_and_records_of_another_connection_are_refused() {
    let (ours, theirs) = connection_keys().await;
    let stream = sealed(ours.clone(), &[b"one"], true).await;
    assert!(is_forged(&opened(ours, &stream).await.1), "sent back");
    let (_, later) = connection_keys().await;
    assert!(is_forged(&opened(later, &stream).await.1), "another connection of the same two");
    assert!(opened(theirs, &stream).await.1.is_ok());
}

#[tokio::test]
async fn invalid_record_length_is_refused_before_memory_is_allocated() {
    let (_, theirs) = connection_keys().await;
    for length in [0, TAG_BYTES - 1, MAX_MESSAGE + 1, usize::from(u16::MAX)] {
        let announced = u16::try_from(length).unwrap().to_le_bytes();
        let (mut read, _) = theirs.clone().protect(&announced[..], tokio::io::sink());
        let refused = read.read(&mut [0; 64]).await.map(|_| ());
        assert!(is_forged(&refused), "{length}: {refused:?}");
        assert_eq!(read.arrived.len(), MIN_ARRIVED);
    }
}

#[tokio::test]
async fn key_protects_a_limited_number_of_records() {
    let (ours, theirs) = connection_keys().await;
    let (_, mut write) = ours.protect(tokio::io::empty(), Vec::new());
    let (_, mut too_late) = theirs.protect(tokio::io::empty(), Vec::new());
    write.next = MAX_RECORDS - 1;
    write.write_all(b"the last one").await.unwrap();
    too_late.next = MAX_RECORDS;
    for mut write in [write, too_late] {
        let refused = write.write_all(b"one more").await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            "its keys have protected 4294967296 records, which is the limit; the next link \
         has new keys"
        );
    }
}

/// A target that accepts at most `room` bytes.
struct Slow {
    taken: Vec<u8>,
    room: usize,
}

impl AsyncWrite for Slow {
    fn poll_write(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let n_taken = bytes.len().min(self.room);
        if n_taken == 0 {
            return Poll::Pending;
        }
        self.room -= n_taken;
        self.taken.extend(&bytes[..n_taken]);
        Poll::Ready(Ok(n_taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn slow_target_blocks_the_writer_and_gets_each_record_once() {
    let (ours, theirs) = connection_keys().await;
    let (_, mut write) = ours.protect(tokio::io::empty(), Slow { taken: Vec::new(), room: 10 });
    let mut cx = Context::from_waker(std::task::Waker::noop());
    let mut poll =
        |write: &mut Sealer<Slow>, payload: &[u8]| Pin::new(write).poll_write(&mut cx, payload);
    let long = vec![1; 2 * MAX_SEALED];
    let Poll::Ready(Ok(n_taken)) = poll(&mut write, &long) else { panic!("there is room to seal") };
    assert!(n_taken <= MAX_SEALED, "{n_taken} bytes were taken, and 10 could be written");
    assert!(poll(&mut write, &long).is_pending());
    assert_eq!(write.sealed.len(), write.end, "the writer holds only the records of one write");

    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(Pin::new(&mut write).poll_flush(&mut cx).is_pending());
    assert!(Pin::new(&mut write).poll_shutdown(&mut cx).is_pending());
    write.target.room = usize::MAX;
    write.shutdown().await.unwrap();
    write.shutdown().await.unwrap();
    let (payload, end) = opened(theirs, &write.target.taken).await;
    end.unwrap();
    assert!(payload == long[..n_taken]);
}
