//! How a person or a parent process asks a task to end.
//!
//! A task reads no signal but these, and ends by itself: what to save first is its own affair.

use std::io::{self, BufRead as _};
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// The line on standard input that asks for a clean end.
pub(crate) const STOP_LINE: &str = "stop";

/// Who asks for a clean end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// A person, with Ctrl-C (SIGINT).
    Interrupted,
    /// An engine, with SIGTERM.
    Terminated,
    /// The parent process, with a line on standard input.
    Asked,
}

impl StopReason {
    /// What the process exits with, as shells and engines know it.
    #[must_use]
    pub fn exit_code(self) -> ExitCode {
        match self {
            Self::Interrupted => ExitCode::from(128 + 2),
            Self::Terminated => ExitCode::from(128 + 15),
            Self::Asked => ExitCode::SUCCESS,
        }
    }
}

/// Requests to end, as they come.
#[derive(Debug)]
pub struct StopRequests(mpsc::Receiver<StopReason>);

impl StopRequests {
    /// More than this many, and the rest may as well be lost.
    const MOST_WAITING: usize = 4;

    /// Takes SIGINT and SIGTERM from now on; and with `exit_with_parent`, standard input, at whose
    /// end the process exits at once. Needs tokio's runtime.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn listen(exit_with_parent: bool) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel(Self::MOST_WAITING);
        forward(SignalKind::interrupt(), StopReason::Interrupted, sender.clone())?;
        forward(SignalKind::terminate(), StopReason::Terminated, sender.clone())?;
        if exit_with_parent {
            follow_parent(sender)?;
        }
        Ok(Self(receiver))
    }

    /// Requests that come out of a channel.
    #[must_use]
    pub const fn from_channel(receiver: mpsc::Receiver<StopReason>) -> Self {
        Self(receiver)
    }

    /// The next request. Cancel-safe.
    pub async fn next(&mut self) -> StopReason {
        match self.0.recv().await {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }
}

fn forward(
    kind: SignalKind,
    reason: StopReason,
    sender: mpsc::Sender<StopReason>,
) -> io::Result<()> {
    let mut signals = signal(kind)?;
    tokio::spawn(async move {
        while signals.recv().await.is_some() && !sender.is_closed() {
            let _ = sender.try_send(reason);
        }
    });
    Ok(())
}

/// Reads standard input on a thread of its own, so that even a process whose runtime is busy or
/// stuck does not outlive its parent.
fn follow_parent(sender: mpsc::Sender<StopReason>) -> io::Result<()> {
    let follow = move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if line == STOP_LINE {
                let _ = sender.try_send(StopReason::Asked);
            }
        }
        // The parent is gone, and with it whoever could read an error. A crash leaves nothing
        // half-written, and this is one.
        std::process::exit(1);
    };
    std::thread::Builder::new().name("parent".to_owned()).spawn(follow)?;
    Ok(())
}
