//! Answers whoever asks how a task is: a few lines of HTTP/1.1 on the task's own runtime.
//!
//! Anybody may call. A caller gets a small request's room, a few seconds and one answer, and callers
//! come in one after the other at a measured pace, so that no number of them slows the training.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{Answer, Metrics};
use crate::host::Clock as _;
use crate::tcp::RealClock;

/// A scraper's request has a few hundred bytes.
const MAX_REQUEST_BYTES: usize = 8 << 10;
/// Headers of a request; a scraper sends some five.
const MAX_HEADERS: usize = 64;
/// How long a caller may take for all of it.
const PATIENCE: Duration = Duration::from_secs(5);
/// Callers at a time: a few scrapers and a person. The others wait in the queue of the socket.
const MAX_CALLERS: usize = 8;
/// Between two callers that are let in. With 200 a second, each of which costs some tenth of a
/// millisecond, a flood takes no more than some hundredths of the thread.
const PACE: Duration = Duration::from_millis(5);

/// Answers for as long as it is polled.
pub async fn serve(listener: TcpListener, metrics: Arc<Metrics>, clock: RealClock) {
    let callers = Arc::new(Semaphore::new(MAX_CALLERS));
    loop {
        let place = Arc::clone(&callers).acquire_owned().await.expect("it is never closed");
        // An error is of one caller, or of a process out of descriptors: both pass.
        if let Ok((stream, _)) = listener.accept().await {
            let metrics = Arc::clone(&metrics);
            tokio::spawn(async move {
                let _ = timeout(PATIENCE, converse(stream, &metrics, clock)).await;
                drop(place);
            });
        }
        clock.sleep_until(clock.now() + PACE).await;
    }
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    metrics: &Metrics,
    clock: RealClock,
) -> io::Result<()> {
    let mut request = Vec::new();
    let response = loop {
        if request.len() >= MAX_REQUEST_BYTES {
            break Response::error(
                "431 Request Header Fields Too Large",
                "the request is too long",
            );
        }
        let room = (MAX_REQUEST_BYTES - request.len()) as u64;
        if (&mut stream).take(room).read_buf(&mut request).await? == 0 {
            return Ok(());
        }
        if let Some(response) = answer(&request, metrics, clock) {
            break response;
        }
    };
    stream.write_all(&response.to_bytes()).await?;
    stream.shutdown().await?;
    // To close with something unread would reset the connection, and the answer with it.
    let mut rest = [0; 512];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
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

/// The answer to a request, if it has come whole.
fn answer(request: &[u8], metrics: &Metrics, clock: RealClock) -> Option<Response> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(request) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return None,
        Err(error) => {
            return Some(Response::error("400 Bad Request", &format!("this is no HTTP: {error}")));
        }
    }
    let method = parsed.method.unwrap_or_default();
    if method != "GET" && method != "HEAD" {
        return Some(Response::error("405 Method Not Allowed", "only GET and HEAD"));
    }
    let path = parsed.path.unwrap_or_default().split('?').next().unwrap_or_default();
    let now = clock.now();
    let response = match path {
        "/metrics" => Response {
            content_type: CONTENT_TYPE,
            ..Response::text("200 OK", metrics.to_text(now))
        },
        "/healthz" => Response::of(metrics.health(now)),
        "/readyz" => Response::of(metrics.readiness()),
        _ => Response::error("404 Not Found", "there are /metrics, /healthz and /readyz"),
    };
    Some(Response { is_head: method == "HEAD", ..response })
}
