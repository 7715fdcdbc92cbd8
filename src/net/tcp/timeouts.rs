//! Time limits for the first message, and for closing a connection.

use std::time::Duration;

/// The time within which a caller must authenticate and send its hello. A task has both ready when
/// it connects, so only a slow network needs more than a moment.
pub(super) const GREETING_TIMEOUT: Duration = Duration::from_secs(10);

/// The maximum time for which a task, after its last byte, waits for the peer to close the
/// connection. Without this wait, TCP could reset the connection while bytes still arrive, and the
/// peer could lose bytes that the peer has not read.
pub(super) const LINGER: Duration = Duration::from_millis(500);
