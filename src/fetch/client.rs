//! One HTTP request for the rest of a file, and what a server may answer.
//!
//! A server is not believed: what it sends is held against a digest by whoever asked.

use std::io::{self, ErrorKind};

use ureq::http::{HeaderMap, StatusCode};
use ureq::{Agent, BodyReader, Timeout};

use crate::fetch::error::Patience;

/// Asks mirrors.
#[derive(Debug)]
pub(super) struct Client {
    agent: Agent,
}

/// What a server answered that can be used.
pub(super) enum Answer {
    /// There is nothing after what is already here.
    NothingMore,
    /// Some bytes.
    Bytes(Bytes),
}

/// The file from some byte on.
pub(super) struct Bytes {
    /// The first byte's place: what was asked for, or 0.
    pub(super) from: u64,
    /// How many there should be, if the server says.
    pub(super) len: Option<u64>,
    /// They.
    pub(super) body: BodyReader<'static>,
}

/// Why nothing more came.
#[derive(Debug)]
pub(super) struct Refusal {
    /// Behind the mirror's name: what it did.
    pub(super) why: String,
    /// Asking again may help.
    pub(super) may_pass: bool,
    /// It could not even be called.
    pub(super) is_unreachable: bool,
}

impl Client {
    pub(super) fn new(patience: Patience) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_resolve(Some(patience.connect))
            .timeout_connect(Some(patience.connect))
            .timeout_recv_response(Some(patience.silence))
            .timeout_per_read(Some(patience.silence))
            // The file is gzip as it is; a server that unpacked it would send something else.
            .accept_encoding("identity")
            .user_agent(concat!("unisono/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: config.new_agent() }
    }

    /// The file from byte `from` on; a server that cannot do that sends all of it.
    pub(super) fn get(&self, url: &str, from: u64) -> Result<Answer, Refusal> {
        let mut request = self.agent.get(url);
        if from > 0 {
            request = request.header("Range", format!("bytes={from}-"));
        }
        let response = request.call().map_err(|error| Refusal::of_call(&error))?;
        let (head, body) = response.into_parts();
        let bytes = |from| {
            let len = body.content_length();
            Ok(Answer::Bytes(Bytes { from, len, body: body.into_reader() }))
        };
        match head.status {
            StatusCode::OK => bytes(0),
            StatusCode::PARTIAL_CONTENT if first_byte(&head.headers) == Some(from) => bytes(from),
            StatusCode::PARTIAL_CONTENT => Err(Refusal {
                why: "sends another part than was asked for".to_owned(),
                may_pass: false,
                is_unreachable: false,
            }),
            StatusCode::RANGE_NOT_SATISFIABLE if from > 0 => Ok(Answer::NothingMore),
            status => Err(Refusal::of_status(status)),
        }
    }
}

/// N of `Content-Range: bytes N-M/L`.
fn first_byte(headers: &HeaderMap) -> Option<u64> {
    let range = headers.get("Content-Range")?.to_str().ok()?;
    let (first, _) = range.strip_prefix("bytes ")?.split_once('-')?;
    first.parse().ok()
}

impl Refusal {
    fn of_status(status: StatusCode) -> Self {
        let busy = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS];
        Self {
            why: format!("answers {status}"),
            may_pass: status.is_server_error() || busy.contains(&status),
            is_unreachable: false,
        }
    }

    fn of_call(error: &ureq::Error) -> Self {
        use ureq::Error;
        let refusal = |why: &str, may_pass, is_unreachable| Self {
            why: why.to_owned(),
            may_pass,
            is_unreachable,
        };
        match error {
            Error::HostNotFound => refusal("has no address", false, true),
            // What the standard library says of a name; it has no kind of its own.
            Error::Io(error) if error.to_string().starts_with("failed to lookup address") => {
                refusal("has no address", false, true)
            }
            Error::ConnectionFailed => refusal("cannot be reached", true, true),
            Error::Timeout(Timeout::Resolve) => refusal("is looked up for too long", true, true),
            Error::Timeout(Timeout::Connect) => refusal("does not take the call", true, true),
            Error::Timeout(_) => refusal("says nothing for too long", true, false),
            Error::Io(error) if is_of_the_way(error) => {
                refusal(&format!("cannot be reached: {error}"), true, true)
            }
            Error::Io(error) => refusal(&format!("broke off: {error}"), true, false),
            Error::TooManyRedirects => refusal("redirects without end", false, false),
            error => refusal(&format!("is of no use: {error}"), false, false),
        }
    }

    /// The body ended before it should.
    pub(super) fn of_body(error: &io::Error) -> Self {
        let told = error.get_ref().and_then(|inner| inner.downcast_ref::<ureq::Error>());
        let why = match told {
            Some(ureq::Error::Timeout(_)) => "fell silent".to_owned(),
            _ => format!("broke off: {error}"),
        };
        Self { why, may_pass: true, is_unreachable: false }
    }
}

/// The server was not even reached.
fn is_of_the_way(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::NetworkDown
            | ErrorKind::AddrNotAvailable
    )
}
