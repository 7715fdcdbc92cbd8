//! An HTTP server that answers each connection according to a script.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// The way to answer one connection.
#[derive(Clone, Debug)]
pub(super) enum Act {
    /// Sends the file from the requested byte on.
    Serve(Vec<u8>),
    /// Sends the file from the requested byte on, and disconnects after `after` bytes.
    BreakOff { file: Vec<u8>, after: usize },
    /// Sends the file from the requested byte on, and stops sending after `after` bytes.
    FallSilent { file: Vec<u8>, after: usize },
    /// Sends the whole file, even if a range was requested.
    IgnoreRange(Vec<u8>),
    /// Sends the file, but announces the length `len` in the header.
    Announce { file: Vec<u8>, len: u64 },
    /// Sends endless bytes without announcing a length.
    Flood,
    /// Sends the file from byte `from` on, even if another range was requested.
    OtherPart { file: Vec<u8>, from: usize },
    /// Sends an empty response with this status.
    Status(u16),
    /// Redirects to this URL.
    Redirect(String),
    /// Sends nothing and keeps the connection open.
    Hang,
}

/// A server that runs until the value is dropped.
#[derive(Debug)]
pub(super) struct Server {
    url: String,
    seen: Arc<Mutex<Vec<String>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server that answers each connection with the next act, and repeats the last act.
    pub(super) fn start(acts: impl Into<VecDeque<Act>>) -> Self {
        let mut acts = acts.into();
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let url = format!("http://{}/set/", listener.local_addr().expect("the listener is bound"));
        let (seen, is_over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (log, over) = (Arc::clone(&seen), Arc::clone(&is_over));
        let serve = move || {
            // The streams are kept, because dropping a stream would close its connection.
            let mut open = Vec::new();
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                let head = read_head(&mut stream);
                log.lock().expect("no thread panics").push(summary(&head));
                let act = if acts.len() > 1 { acts.pop_front() } else { acts.front().cloned() };
                match play(&mut stream, act.expect("there is an act"), range(&head)) {
                    Some(After::HangUp) | None => drop(stream.shutdown(Shutdown::Both)),
                    Some(After::StaySilent) => open.push(stream),
                }
            }
        };
        #[expect(clippy::disallowed_methods, reason = "the test's server needs a thread")]
        let thread = Some(std::thread::spawn(serve));
        Self { url, seen, is_over, thread }
    }

    /// Returns the base URL of the files.
    pub(super) fn url(&self) -> String {
        self.url.clone()
    }

    /// Returns the path of every request, and its range if it has one.
    pub(super) fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("no thread panics").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        let address = self.url.trim_start_matches("http://").trim_end_matches("/set/");
        // Wakes the thread, which waits for a connection.
        drop(TcpStream::connect(address));
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the server does not panic");
        }
    }
}

enum After {
    HangUp,
    StaySilent,
}

/// Answers one connection. Returns `None` if the client disconnected.
fn play(stream: &mut TcpStream, act: Act, from: Option<usize>) -> Option<After> {
    let mut send = |bytes: &[u8]| stream.write_all(bytes).ok();
    let wanted = from.unwrap_or(0);
    match act {
        Act::Serve(file) if wanted > 0 && wanted >= file.len() => send(&head(416, "", 0))?,
        Act::Serve(file) => send(&part(&file, from, file.len()))?,
        Act::BreakOff { file, after } => send(&part(&file, from, after))?,
        Act::FallSilent { file, after } => {
            send(&part(&file, from, after))?;
            return Some(After::StaySilent);
        }
        Act::IgnoreRange(file) => send(&part(&file, None, file.len()))?,
        Act::Announce { file, len } => {
            send(&head(200, "", len))?;
            send(&file)?;
        }
        Act::Flood => {
            send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
            loop {
                send(&[7; 1 << 16])?;
            }
        }
        Act::OtherPart { file, from } => send(&part(&file, Some(from), file.len()))?,
        Act::Status(status) => send(&head(status, "", 0))?,
        Act::Redirect(url) => send(&head(302, &format!("Location: {url}\r\n"), 0))?,
        Act::Hang => return Some(After::StaySilent),
    }
    Some(After::HangUp)
}

/// Returns a response with at most `n` bytes of the file from byte `from` on. Its header announces
/// all bytes up to the end of the file.
fn part(file: &[u8], from: Option<usize>, n: usize) -> Vec<u8> {
    let (status, start) = from.map_or((200, 0), |from| (206, from.min(file.len())));
    let rest = &file[start..];
    let range =
        format!("Content-Range: bytes {start}-{}/{}\r\n", file.len().saturating_sub(1), file.len());
    let range = if status == 206 { &*range } else { "" };
    let mut bytes = head(status, range, rest.len() as u64);
    bytes.extend(&rest[..n.min(rest.len())]);
    bytes
}

fn head(status: u16, more: &str, len: u64) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} Scripted\r\nContent-Length: {len}\r\n{more}Connection: close\r\n\r\n"
    )
    .into_bytes()
}

fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

fn range(head: &str) -> Option<usize> {
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with("range: "))?;
    line.split_once("bytes=")?.1.trim_end_matches('-').parse().ok()
}

fn summary(head: &str) -> String {
    let path = head.split(' ').nth(1).unwrap_or_default();
    let from = range(head).map(|from| format!(" from {from}")).unwrap_or_default();
    format!("{path}{from}")
}
