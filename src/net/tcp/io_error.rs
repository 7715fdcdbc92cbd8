//! I/O errors of connections as text for people.

use std::io;

/// Returns a description of a socket's error, without the system's error number.
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

/// Returns whether the peer has ended the connection, by closing or by resetting it.
pub(super) fn has_ended(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
}

/// Escapes bytes that a peer has sent, for a log line. Without the escapes, control characters
/// could forge log lines or control the terminal.
pub(super) fn printable(text: &[u8]) -> String {
    // `escape_ascii` also escapes quotes, which are harmless in a log line.
    text.escape_ascii().to_string().replace("\\'", "'").replace("\\\"", "\"")
}
