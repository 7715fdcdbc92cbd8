//! Answers questions about a task: a few lines of HTTP/1.1 on the task's own runtime.
//!
//! Anybody may call. A probe is answered whatever other callers do: connections are taken as they
//! come, and the oldest one makes room for the newest. A probe sends its request at once, so that it
//! is answered before others can push it out. Everything is paced, so that no number of callers slows
//! the training.

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

/// A scraper's request has a few hundred bytes.
const MAX_REQUEST_BYTES: usize = 8 << 10;
/// Headers of a request; a scraper sends some five.
const MAX_HEADERS: usize = 64;
/// How long a caller may take for all of it.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections that are taken before a pause, and the pause. A connection costs some hundredths of
/// a millisecond, so that a flood of 3,200 a second takes a few hundredths of the thread; and the
/// 1,024 connections that the socket's queue may hold are through in a third of a second, which is
/// less than a probe waits for.
const MAX_BURST: usize = 16;
const PACE: Duration = Duration::from_millis(5);
/// Between two answers to `/metrics`, each of which costs some tenth of a millisecond.
const SCRAPE_PACE: Duration = Duration::from_millis(5);

/// Answers for as long as it is polled.
pub async fn serve(listener: TcpListener, metrics: Arc<Metrics>, clock: RealClock) {
    let desk = Arc::new(Desk { metrics, clock, next_scrape: Mutex::new(clock.now()) });
    let mut callers = Callers::default();
    loop {
        for _ in 0..MAX_BURST {
            match listener.accept().await {
                Ok((stream, address)) => desk.take(stream, address, &mut callers),
                // The process is out of descriptors: one of a caller that waits is of more use.
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
struct Desk {
    metrics: Arc<Metrics>,
    clock: RealClock,
    /// When `/metrics` may be answered again.
    next_scrape: Mutex<Moment>,
}

impl Desk {
    fn take(self: &Arc<Self>, stream: TcpStream, address: SocketAddr, callers: &mut Callers) {
        let desk = Arc::clone(self);
        let task = tokio::spawn(async move {
            let _ = timeout(PATIENCE, desk.converse(stream)).await;
        });
        callers.add(address.ip(), task.abort_handle());
    }

    async fn converse(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        let Some(question) = read_question(&mut stream).await? else { return Ok(()) };
        let response = self.answer(question).await;
        stream.write_all(&response.to_bytes()).await?;
        stream.shutdown().await?;
        // To close with something unread would reset the connection, and the answer with it.
        let mut rest = [0; 512];
        while stream.read(&mut rest).await? > 0 {}
        Ok(())
    }

    async fn answer(&self, question: Question) -> Response {
        let Self { metrics, clock, .. } = self;
        let Question { what, is_head } = question;
        let response = match what {
            Asked::Metrics => {
                let now = self.wait_for_a_scrape().await;
                let text = metrics.to_text(now);
                Response { content_type: CONTENT_TYPE, ..Response::text("200 OK", text) }
            }
            Asked::Health => Response::of(metrics.health(clock.now())),
            Asked::Readiness => Response::of(metrics.readiness()),
            Asked::Wrong(response) => response,
        };
        Response { is_head, ..response }
    }

    /// Waits for the turn of a scrape, which no probe waits for. Gives the moment that it is then.
    async fn wait_for_a_scrape(&self) -> Moment {
        let mut next_scrape = self.next_scrape.lock().await;
        self.clock.sleep_until(*next_scrape).await;
        let now = self.clock.now();
        *next_scrape = now + SCRAPE_PACE;
        now
    }
}

/// Reads a request. `None` if the caller left before it was whole.
async fn read_question(mut stream: impl AsyncRead + Unpin) -> io::Result<Option<Question>> {
    let mut request = Vec::new();
    loop {
        if request.len() >= MAX_REQUEST_BYTES {
            let status = "431 Request Header Fields Too Large";
            return Ok(Some(Question::wrong(status, "the request is too long")));
        }
        let room = (MAX_REQUEST_BYTES - request.len()) as u64;
        if (&mut stream).take(room).read_buf(&mut request).await? == 0 {
            return Ok(None);
        }
        if let Some(question) = Question::parse(&request) {
            return Ok(Some(question));
        }
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Question {
    what: Asked,
    /// Whether the answer's body is left out.
    is_head: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    Metrics,
    Health,
    Readiness,
    /// Nothing that there is; with the answer to it.
    Wrong(Response),
}

impl Question {
    fn wrong(status: &'static str, why: &str) -> Self {
        Self { what: Asked::Wrong(Response::error(status, why)), is_head: false }
    }

    /// A request, if it has come whole.
    fn parse(request: &[u8]) -> Option<Self> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        match parsed.parse(request) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => return None,
            Err(error) => {
                return Some(Self::wrong("400 Bad Request", &format!("this is no HTTP: {error}")));
            }
        }
        let method = parsed.method.unwrap_or_default();
        if method != "GET" && method != "HEAD" {
            return Some(Self::wrong("405 Method Not Allowed", "only GET and HEAD"));
        }
        let what = match path_of(parsed.path.unwrap_or_default()) {
            "/metrics" => Asked::Metrics,
            "/healthz" => Asked::Health,
            "/readyz" => Asked::Readiness,
            _ => Asked::Wrong(Response::error(
                "404 Not Found",
                "there are /metrics, /healthz and /readyz",
            )),
        };
        Some(Self { what, is_head: method == "HEAD" })
    }
}

/// The path of a request target in origin form, as `/metrics?x=1`, or in absolute form, as
/// `http://host:9100/metrics`, which a server must accept (RFC 9112, 3.2.2) and proxies send.
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
    is_head: bool,
}

impl Response {
    fn text(status: &'static str, body: impl Into<String>) -> Self {
        let content_type = "text/plain; charset=utf-8";
        Self { status, content_type, body: body.into(), is_head: false }
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

    fn to_bytes(&self) -> Vec<u8> {
        let Self { status, content_type, body, is_head } = self;
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            body.len()
        );
        let body = if *is_head { "" } else { body };
        [head.as_bytes(), body.as_bytes()].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_in_absolute_form_has_the_path_behind_its_host() {
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
