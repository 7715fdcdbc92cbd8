//! The two halves of a connection, whatever is between them and the socket.

use std::fmt;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsStream;

use crate::tcp::security::records::Keys;
use crate::tcp::timeouts::LINGER;
use crate::tcp::writer;
use unisono_core::protocol::Message;
use unisono_core::wire::Frame;

pub type ReadEnd = Box<dyn AsyncRead + Send + Unpin>;
pub type WriteEnd = Box<dyn AsyncWrite + Send + Unpin>;

/// Both halves.
pub struct Ends {
    pub(in crate::tcp) read: ReadEnd,
    pub(in crate::tcp) write: WriteEnd,
    /// Whether both may be on one machine, by their addresses.
    pub(in crate::tcp) is_local: bool,
}

impl Ends {
    /// Of a socket as it is: its halves need no lock.
    pub(in crate::tcp) fn plain(stream: TcpStream) -> Self {
        let is_local = is_local(&stream);
        let (read, write) = stream.into_split();
        Self { read: Box::new(read), write: Box::new(write), is_local }
    }

    pub(in crate::tcp) fn tls(stream: TlsStream<TcpStream>) -> Self {
        let is_local = is_local(stream.get_ref().0);
        let (read, write) = tokio::io::split(stream);
        Self { read: Box::new(read), write: Box::new(write), is_local }
    }

    /// A socket whose bytes are sealed in records. Its halves need no lock.
    pub(in crate::tcp) fn sealed(stream: TcpStream, keys: Keys) -> Self {
        let is_local = is_local(&stream);
        let (read, write) = stream.into_split();
        let (read, write) = keys.protect(read, write);
        Self { read: Box::new(read), write: Box::new(write), is_local }
    }
}

fn is_local(stream: &TcpStream) -> bool {
    match (stream.local_addr(), stream.peer_addr()) {
        (Ok(ours), Ok(theirs)) => ours.ip() == theirs.ip() || theirs.ip().is_loopback(),
        _ => false,
    }
}

impl fmt::Debug for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ends").finish_non_exhaustive()
    }
}

/// Tells a caller why it may not come in, for the person who started it, and closes. It may be
/// nobody of ours, so nothing depends on what becomes of it.
pub async fn refuse(
    mut write: impl AsyncWrite + Unpin,
    read: impl AsyncRead + Unpin,
    reason: &str,
) {
    let frame = Frame::new(&Message::Refused { reason: reason.to_owned(), older_than: None });
    let tell = async {
        writer::write(&mut write, &frame).await?;
        close(write, read).await
    };
    let _ = timeout(LINGER, tell).await;
}

/// Ends a connection so that the other end can read what was written last. A socket that is dropped
/// while bytes still arrive is reset, and the other end may then lose what it has not read.
pub(in crate::tcp) async fn close(
    mut write: impl AsyncWrite + Unpin,
    mut read: impl AsyncRead + Unpin,
) -> io::Result<()> {
    write.shutdown().await?;
    let mut unread = [0; 1024];
    while read.read(&mut unread).await? > 0 {}
    Ok(())
}
