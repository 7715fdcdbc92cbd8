//! The HTTP/1.1 server of a task's metrics and probes. The server runs on the task's own runtime.
//!
//! Anybody may connect, but even a flood of callers must not prevent a probe from getting its
//! answer. Connections are accepted in the order of arrival, and a new connection may evict an old
//! one. A probe sends its request at once, so it gets its answer before it can be evicted. The
//! rates of connections and of scrapes are limited, so that callers do not slow down the training.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::callers::Callers;
use super::{Answer, Metrics};
use unisono_core::host::Clock as _;
use unisono_core::time::Moment;
use unisono_net::tcp::RealClock;

/// The maximum length of a request. A scraper's request has a few hundred bytes.
const MAX_REQUEST_BYTES: usize = 8 << 10;
/// The maximum number of headers of a request. A scraper sends about five.
const MAX_HEADERS: usize = 64;
/// Time limit for the request and its answer together.
const CALLER_TIMEOUT: Duration = Duration::from_secs(5);
/// The maximum number of connections that are accepted before a pause of [`PACE`]. A connection
/// costs some hundredths of a millisecond, so 3,200 connections per second take a few percent of
/// the thread. A full listen queue of 1,024 connections is accepted within a third of a second,
/// which is less than the timeout of a probe.
const MAX_BURST: usize = 16;
/// The pause after [`MAX_BURST`] connections.
const PACE: Duration = Duration::from_millis(5);
/// The minimum time between two answers to `/metrics`. Each answer costs about a tenth of a
/// millisecond.
const SCRAPE_PACE: Duration = Duration::from_millis(5);

/// Serves `/metrics`, `/healthz` and `/readyz` until the future is dropped.
pub async fn serve(listener: TcpListener, metrics: Arc<Metrics>, clock: RealClock) {
    let service = Arc::new(Service { metrics, clock, next_scrape: Mutex::new(clock.now()) });
    let mut callers = Callers::default();
    loop {
        for _ in 0..MAX_BURST {
            match listener.accept().await {
                Ok((stream, address)) => service.take(stream, address, &mut callers),
                // `accept` fails if the process has no free file descriptor. Closing a connection
                // frees one for the new connection.
                Err(_) => {
                    callers.close_one();
                    break;
                }
            }
        }
        clock.sleep_until(clock.now() + PACE).await;
    }
}

/// State that all connections share.
#[derive(Debug)]
struct Service {
    metrics: Arc<Metrics>,
    clock: RealClock,
    /// Time from which `/metrics` may be answered again.
    next_scrape: Mutex<Moment>,
}

impl Service {
    fn take(self: &Arc<Self>, stream: TcpStream, address: SocketAddr, callers: &mut Callers) {
        let service = Arc::clone(self);
        let task = tokio::spawn(async move {
            // Only the caller can cause errors here, so the server does not report them.
            let _ = timeout(CALLER_TIMEOUT, service.serve_connection(stream)).await;
        });
        callers.add(address.ip(), task.abort_handle());
    }

    async fn serve_connection(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
    ) -> io::Result<()> {
        let Some(request) = read_request(&mut stream).await? else { return Ok(()) };
        let response = self.answer(request.route).await;
        stream.write_all(&response.to_bytes(request.is_head)).await?;
        stream.shutdown().await?;
        // If a connection is closed while it has unread bytes, TCP resets it, and the caller could
        // lose the answer. So the rest is read first.
        let mut rest = [0; 512];
        while stream.read(&mut rest).await? > 0 {}
        Ok(())
    }

    async fn answer(&self, route: Route) -> Response {
        let Self { metrics, clock, .. } = self;
        match route {
            Route::Metrics => {
                let now = self.wait_for_scrape_turn().await;
                let text = metrics.to_text(now);
                Response { content_type: CONTENT_TYPE, ..Response::text("200 OK", text) }
            }
            Route::Health => Response::of(metrics.health(clock.now())),
            Route::Readiness => Response::of(metrics.readiness()),
            Route::Invalid(response) => response,
        }
    }

    /// Waits until the next scrape may be answered. Returns the current time.
    async fn wait_for_scrape_turn(&self) -> Moment {
        // The lock is held during the wait. Tokio's mutex is fair, so scrapers are served in order.
        let mut next_scrape = self.next_scrape.lock().await;
        self.clock.sleep_until(*next_scrape).await;
        let now = self.clock.now();
        *next_scrape = now + SCRAPE_PACE;
        now
    }
}

/// Reads a request. Returns `None` if the caller left before the request was complete.
async fn read_request(mut stream: impl AsyncRead + Unpin) -> io::Result<Option<Request>> {
    let mut request = Vec::new();
    // The request is parsed again after each read. Its length is limited, so the work is limited,
    // too.
    loop {
        if request.len() >= MAX_REQUEST_BYTES {
            let status = "431 Request Header Fields Too Large";
            return Ok(Some(Request::invalid(status, "the request is too long")));
        }
        let room = (MAX_REQUEST_BYTES - request.len()) as u64;
        if (&mut stream).take(room).read_buf(&mut request).await? == 0 {
            return Ok(None);
        }
        if let Some(request) = Request::parse(&request) {
            return Ok(Some(request));
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Request {
    route: Route,
    /// Whether the method is HEAD, so that the response has no body.
    is_head: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Route {
    Metrics,
    Health,
    Readiness,
    /// The request is invalid. The contained response reports the reason.
    Invalid(Response),
}

impl Request {
    fn invalid(status: &'static str, why: &str) -> Self {
        Self { route: Route::Invalid(Response::error(status, why)), is_head: false }
    }

    /// Parses a request. Returns `None` if the request is not complete yet.
    fn parse(request: &[u8]) -> Option<Self> {
        let invalid = |status, why: &str| Some(Self::invalid(status, why));
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        match parsed.parse(request) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => return None,
            Err(error) => {
                return invalid("400 Bad Request", &format!("this is not HTTP: {error}"));
            }
        }
        let method = parsed.method.unwrap_or_default();
        if method != "GET" && method != "HEAD" {
            return invalid("405 Method Not Allowed", "only GET and HEAD are supported");
        }
        let route = match path_of(parsed.path.unwrap_or_default()) {
            "/metrics" => Route::Metrics,
            "/healthz" => Route::Health,
            "/readyz" => Route::Readiness,
            _ => Route::Invalid(Response::error(
                "404 Not Found",
                "the paths are /metrics, /healthz and /readyz",
            )),
        };
        Some(Self { route, is_head: method == "HEAD" })
    }
}

/// Returns the path of a request target. The target has the origin form, such as `/metrics?x=1`, or
/// the absolute form, such as `http://host:9100/metrics`. Proxies send the absolute form, and a
/// server must accept it (RFC 9112, 3.2.2).
fn path_of(target: &str) -> &str {
    let is_absolute =
        |scheme: &str| target.get(..scheme.len()).is_some_and(|s| s.eq_ignore_ascii_case(scheme));
    let path = match ["http://", "https://"].into_iter().find(|scheme| is_absolute(scheme)) {
        Some(scheme) => {
            let after = &target[scheme.len()..];
            after.find(['/', '?']).map_or("", |end_of_host| &after[end_of_host..])
        }
        None => target,
    };
    path.split('?').next().unwrap_or_default()
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Response {
    status: &'static str,
    content_type: &'static str,
    body: String,
}

impl Response {
    fn text(status: &'static str, body: impl Into<String>) -> Self {
        let content_type = "text/plain; charset=utf-8";
        Self { status, content_type, body: body.into() }
    }

    fn error(status: &'static str, why: &str) -> Self {
        Self::text(status, format!("{why}\n"))
    }

    fn of(answer: Answer) -> Self {
        match answer {
            Ok(()) => Self::text("200 OK", "ok\n"),
            Err(why) => Self::error("503 Service Unavailable", &why),
        }
    }

    fn to_bytes(&self, is_head: bool) -> Vec<u8> {
        let Self { status, content_type, body } = self;
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            body.len()
        );
        let body = if is_head { "" } else { body };
        [head.as_bytes(), body.as_bytes()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_found_in_relative_and_absolute_request_targets() {
        for (target, path) in [
            ("/metrics", "/metrics"),
            ("/metrics?x=/1", "/metrics"),
            ("http://a/metrics", "/metrics"),
            ("HTTP://[::1]:9100/healthz?x=1", "/healthz"),
            ("https://user@a:1/readyz", "/readyz"),
            ("http://a", ""),
            ("http://a?x=/metrics", ""),
            ("ftp://a/metrics", "ftp://a/metrics"),
            ("*", "*"),
            ("httpä", "httpä"),
        ] {
            assert_eq!(path_of(target), path, "{target}");
        }
    }
}
