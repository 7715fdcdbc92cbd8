//! Time limits for greeting and for closing a connection.

use std::time::Duration;

/// How long a caller may take to authenticate and to send its hello. A task has everything ready
/// when it connects, so only a slow network takes any of this time.
pub(super) const GREETING_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait, after the last byte was written, for the peer to close its side. TCP resets a
/// socket that is dropped while bytes still arrive, and the peer could then lose what it has not
/// read.
pub(super) const LINGER: Duration = Duration::from_millis(500);
