//! I/O errors of connections as text for a person.

use std::io;

/// Returns the meaning of a socket's error, without the error number of the system.
pub(super) fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "reset by the other end".to_owned(),
        io::ErrorKind::TimedOut => "no answer from the other end".to_owned(),
        io::ErrorKind::HostUnreachable => "no route to the host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "no route to its network".to_owned(),
        _ => error.to_string(),
    }
}

/// Whether the peer has ended the connection, by closing or by resetting it.
pub(super) fn has_ended(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
}

/// Escapes bytes of a peer for a log line: control characters could forge lines or drive a
/// terminal.
pub(super) fn printable(text: &[u8]) -> String {
    // `escape_ascii` also escapes quotes, which are harmless in a log line.
    text.escape_ascii().to_string().replace("\\'", "'").replace("\\\"", "\"")
}
