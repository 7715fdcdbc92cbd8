//! Errors of connections as text.

use std::io;

/// What an error of a socket means, without the system's number.
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

/// Whether the other end has ended the connection, in whichever way.
pub(super) fn has_ended(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
}

/// What another program said about itself, for a line in a log.
pub fn printable(text: &[u8]) -> String {
    text.escape_ascii().to_string().replace("\\'", "'").replace("\\\"", "\"")
}
