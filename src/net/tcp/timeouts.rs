//! How long connections may take to greet and to close.

use std::time::Duration;

/// How long a caller may take to prove who it is and to say it. It has all of it ready when it
/// connects, so this is for a slow network; who takes longer is no task of ours.
pub const GREETING_TIMEOUT: Duration = Duration::from_secs(10);

/// How long to wait, after all is written, for the other end to close, too. To drop a socket into
/// which bytes still come would reset it, and the other end could lose what it has not yet read.
pub(super) const LINGER: Duration = Duration::from_millis(500);
