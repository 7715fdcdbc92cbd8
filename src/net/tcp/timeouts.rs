//! Time limits for the first message, and for closing a connection.

use std::time::Duration;

/// The time that a caller has to authenticate and to send its hello. A task has everything ready
/// when it connects, so only a slow network needs more than a moment.
pub(super) const GREETING_TIMEOUT: Duration = Duration::from_secs(10);

/// The time to wait, after the last byte was written, until the peer closes its side. If a socket
/// is dropped while bytes still arrive, TCP resets the connection, and the peer could lose bytes
/// that it has not read.
pub(super) const LINGER: Duration = Duration::from_millis(500);
