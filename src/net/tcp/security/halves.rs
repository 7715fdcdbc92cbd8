//! The reading half and the writing half of a connection: plain, in TLS, or encrypted in records.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsStream;

use crate::tcp::reader::Reader;
use crate::tcp::security::records::Keys;
use crate::tcp::timeouts::LINGER;
use crate::tcp::writer;
use unisono_core::protocol::Message;
use unisono_core::wire::Frame;

pub(in crate::tcp) type ReadHalf = Box<dyn AsyncRead + Send + Unpin>;
pub(in crate::tcp) type WriteHalf = Box<dyn AsyncWrite + Send + Unpin>;

/// Both halves of an authenticated connection.
pub(in crate::tcp) struct Halves {
    pub(in crate::tcp) reader: Reader<ReadHalf>,
    pub(in crate::tcp) write: WriteHalf,
    /// Whether the IP addresses of both ends suggest that the ends are on the same machine.
    pub(in crate::tcp) is_local: bool,
}

impl Halves {
    pub(in crate::tcp) fn new(
        read: impl AsyncRead + Send + Unpin + 'static,
        write: impl AsyncWrite + Send + Unpin + 'static,
        is_local: bool,
    ) -> Self {
        Self { reader: Reader::new(Box::new(read)), write: Box::new(write), is_local }
    }

    /// Splits a plain socket.
    pub(in crate::tcp) fn plain(stream: TcpStream) -> Self {
        let is_local = is_local(&stream);
        // The halves of `into_split` need no lock, unlike those of `tokio::io::split`.
        let (read, write) = stream.into_split();
        Self::new(read, write, is_local)
    }

    pub(in crate::tcp) fn tls(stream: TlsStream<TcpStream>) -> Self {
        // Both directions of TLS change the same state, so the two halves share a lock.
        let is_local = is_local(stream.get_ref().0);
        let (read, write) = tokio::io::split(stream);
        Self::new(read, write, is_local)
    }

    /// Splits a socket whose bytes are encrypted in records.
    pub(in crate::tcp) fn sealed(stream: TcpStream, keys: Keys) -> Self {
        let is_local = is_local(&stream);
        let (read, write) = stream.into_split();
        let (read, write) = keys.protect(read, write);
        Self::new(read, write, is_local)
    }
}

fn is_local(stream: &TcpStream) -> bool {
    // A guess suffices: a peer on another machine cannot open an offered buffer, so it never sends
    // `Note::Taken`, and all tensors go through the socket.
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(ours), Ok(theirs)) => ours.ip() == theirs.ip() || theirs.ip().is_loopback(),
        _ => false,
    }
}

unisono_core::partial_debug!(Halves {});

/// Sends a caller the reason for its refusal, and closes the connection.
pub(in crate::tcp) async fn refuse(
    mut write: impl AsyncWrite + Unpin,
    read: impl AsyncRead + Unpin,
    reason: &str,
) {
    let frame = Frame::new(&Message::Refused { reason: reason.to_owned(), older_than: None });
    let tell = async {
        writer::write(&mut write, &frame).await?;
        close(write, read).await
    };
    // The caller may be a stranger, so an error or a timeout does not matter.
    let _ = timeout(LINGER, tell).await;
}

/// Ends the writing half of a connection, and reads until the peer closes the connection. Without
/// this wait, TCP could reset the connection while bytes still arrive, and the peer could lose
/// bytes that the peer has not read.
pub(in crate::tcp) async fn close(
    mut write: impl AsyncWrite + Unpin,
    mut read: impl AsyncRead + Unpin,
) -> io::Result<()> {
    write.shutdown().await?;
    let mut unread = [0; 1024];
    while read.read(&mut unread).await? > 0 {}
    Ok(())
}
