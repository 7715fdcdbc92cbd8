//! An HTTP request for a whole file or for the missing rest of a file, and the possible responses.
//!
//! This module does not verify the received bytes. The caller verifies the digest of the file.

use std::io::{self, ErrorKind};

use ureq::http::{HeaderMap, StatusCode};
use ureq::{Agent, BodyReader, Timeout};

use crate::fetch::error::Timing;

/// A part of the file, from some byte to the end of the file.
pub(super) struct Bytes {
    /// Offset within the file at which the response begins: the requested offset, or 0 if the
    /// server sends the whole file.
    pub(super) from: u64,
    /// Number of bytes in the response; `None` if the server does not announce the number.
    pub(super) len: Option<u64>,
    /// The response body.
    pub(super) body: BodyReader<'static>,
}

/// The reason why a request failed, or why its response ended early.
#[derive(Debug)]
pub(super) struct RequestError {
    /// The reason, as the predicate of a sentence whose subject is the mirror: "cannot be reached".
    pub(super) why: String,
    /// Whether the same request may succeed later.
    pub(super) may_pass: bool,
    /// Whether no connection was established.
    pub(super) is_unreachable: bool,
}

/// Returns an HTTP client for mirrors.
pub(super) fn client(timing: Timing) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_resolve(Some(timing.connect_timeout))
        .timeout_connect(Some(timing.connect_timeout))
        .timeout_recv_response(Some(timing.idle_timeout))
        .timeout_per_read(Some(timing.idle_timeout))
        // The file itself is gzip. With any other encoding, the server might decompress it, and
        // the byte offsets would be wrong.
        .accept_encoding("identity")
        .user_agent(concat!("unisono/", env!("CARGO_PKG_VERSION")))
        .build();
    config.new_agent()
}

/// Requests the file from byte `from` on. A server that does not support ranges sends the whole
/// file. Returns `None` if the file has no bytes after those that were already received.
pub(super) fn get(client: &Agent, url: &str, from: u64) -> Result<Option<Bytes>, RequestError> {
    let mut request = client.get(url);
    if from > 0 {
        request = request.header("Range", format!("bytes={from}-"));
    }
    let response = request.call().map_err(|error| RequestError::from_call(&error))?;
    let (head, body) = response.into_parts();
    let bytes = |from| {
        let len = body.content_length();
        Ok(Some(Bytes { from, len, body: body.into_reader() }))
    };
    match head.status {
        StatusCode::OK => bytes(0),
        StatusCode::PARTIAL_CONTENT if first_byte(&head.headers) == Some(from) => bytes(from),
        StatusCode::PARTIAL_CONTENT => {
            let why = "sends a different range than the requested one";
            Err(RequestError::final_of(why.to_owned()))
        }
        StatusCode::RANGE_NOT_SATISFIABLE if from > 0 => Ok(None),
        status => Err(RequestError::from_status(status)),
    }
}

/// Returns the offset of the first byte in the sent range: N in the header
/// `Content-Range: bytes N-M/L`.
fn first_byte(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get("Content-Range")?.to_str().ok()?;
    let (first, _) = range.strip_prefix("bytes ")?.split_once('-')?;
    first.parse().ok()
}

impl RequestError {
    /// Returns the error of a request that reached the mirror, and that would fail again if
    /// repeated.
    pub(super) const fn final_of(why: String) -> Self {
        Self { why, may_pass: false, is_unreachable: false }
    }

    fn from_status(status: StatusCode) -> Self {
        let busy = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
        let may_pass = status.is_server_error() || busy.contains(&status);
        Self { may_pass, ..Self::final_of(format!("answers {status}")) }
    }

    fn from_call(error: &ureq::Error) -> Self {
        use ureq::Error;
        let failed = |why: &str, may_pass, is_unreachable| Self {
            why: why.to_owned(),
            may_pass,
            is_unreachable,
        };
        match error {
            Error::HostNotFound => failed("has no address", false, true),
            // The standard library has no `ErrorKind` for a failed name lookup, only this text.
            Error::Io(error) if error.to_string().starts_with("failed to lookup address") => {
                failed("has no address", false, true)
            }
            Error::ConnectionFailed => failed("cannot be reached", true, true),
            Error::Timeout(Timeout::Resolve) => {
                failed("was not found: the name lookup timed out", true, true)
            }
            Error::Timeout(Timeout::Connect) => {
                failed("does not accept the connection", true, true)
            }
            Error::Timeout(_) => failed("does not answer in time", true, false),
            Error::Io(error) if is_connection_failure(error) => {
                failed(&format!("cannot be reached: {error}"), true, true)
            }
            Error::Io(error) => failed(&format!("disconnected: {error}"), true, false),
            Error::TooManyRedirects => failed("redirects too many times", false, false),
            error => failed(&format!("cannot be used: {error}"), false, false),
        }
    }

    /// Describes the failure of a response body.
    pub(super) fn from_body(error: &io::Error) -> Self {
        let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>());
        let why = match cause {
            Some(ureq::Error::Timeout(_)) => "stopped sending".to_owned(),
            _ => format!("disconnected: {error}"),
        };
        Self { may_pass: true, ..Self::final_of(why) }
    }
}

/// Returns whether the error means that no connection was established.
fn is_connection_failure(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::AddrNotAvailable
    )
}
