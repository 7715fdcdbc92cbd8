//! Stop requests from a person, a cluster manager (such as Kubernetes), or the parent process.
//!
//! A request only asks a task to end. The task decides what to save first, and ends itself.

use std::io::{self, BufRead as _};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXCPU};
use signal_hook::iterator::Signals;
use tokio::sync::mpsc;

use unisono_core::host::Clock as _;
use unisono_core::time::Moment;
use unisono_net::tcp::RealClock;
use unisono_terminal::signals::is_ignored;

/// The line on standard input that requests a clean end.
pub const STOP_LINE: &str = "stop";

/// The time within which a repeated stop request counts as the same request. GNU `timeout` signals
/// its child and then the child's process group, a closing terminal signals twice, and systemd
/// signals a launcher and its tasks at once. In each case, only one stop is meant. A person who
/// wants to quit at once repeats the request later.
const REPEATED_WITHIN: Duration = Duration::from_secs(1);

/// The source of a stop request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// A person pressed Ctrl-C (SIGINT).
    Interrupted,
    /// A cluster manager, such as Kubernetes, sent SIGTERM.
    Terminated,
    /// The terminal, or the connection to the terminal, was closed (SIGHUP).
    HungUp,
    /// The process has reached its limit of processor time (SIGXCPU).
    OutOfTime,
    /// The parent process wrote a line on standard input.
    Asked,
}

impl StopReason {
    /// Returns the exit code. For a signal, the code is 128 plus the number of the signal, as
    /// shells and cluster managers expect. For a request of the parent process, the code is 0.
    #[must_use]
    pub fn exit_code(self) -> ExitCode {
        match self.signal() {
            Some(signal) => ExitCode::from(128 + signal as u8),
            None => ExitCode::SUCCESS,
        }
    }

    const fn signal(self) -> Option<i32> {
        match self {
            Self::Interrupted => Some(SIGINT),
            Self::Terminated => Some(SIGTERM),
            Self::HungUp => Some(SIGHUP),
            Self::OutOfTime => Some(SIGXCPU),
            Self::Asked => None,
        }
    }

    /// The reasons that correspond to signals.
    const OF_SIGNALS: [Self; 4] =
        [Self::Interrupted, Self::Terminated, Self::HungUp, Self::OutOfTime];
}

/// The stream of stop requests.
#[derive(Debug)]
pub struct StopRequests(pub mpsc::Receiver<StopReason>);

impl StopRequests {
    /// The maximum number of waiting stop requests. Further requests may be lost, because two
    /// requests already end a process at once.
    const MOST_WAITING: usize = 4;

    /// Starts to handle SIGINT, SIGTERM, SIGHUP and SIGXCPU, and the requests of the parent process
    /// if the parent process is watched. SIGHUP is not handled if the process was started with
    /// SIGHUP ignored, as by `nohup`.
    ///
    /// # Errors
    /// Returns an error if the system refuses the signal handlers.
    pub fn listen(parent: Option<ParentWatch>) -> io::Result<Self> {
        let ParentWatch { requests, receiver } = parent.unwrap_or_else(ParentWatch::of_nobody);
        follow_signals(requests)?;
        Ok(Self(receiver))
    }

    /// Waits for the next request. Cancel-safe.
    pub async fn next(&mut self) -> StopReason {
        match self.0.recv().await {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }
}

/// A watch of the parent process through standard input. When the parent process ends, this process
/// exits at once.
///
/// The watch starts before any operation that may block, because a process that hangs while it
/// reads its logdir or its data must not outlive its parent. Signals are handled later, because
/// only the default action of a signal can end a process that hangs.
#[derive(Debug)]
pub struct ParentWatch {
    requests: Requests,
    receiver: mpsc::Receiver<StopReason>,
}

impl ParentWatch {
    /// Watches the parent process from now on.
    ///
    /// # Errors
    /// Returns an error if the system refuses a thread.
    pub fn start() -> io::Result<Self> {
        let watch = Self::of_nobody();
        follow_parent(watch.requests.clone())?;
        Ok(watch)
    }

    fn of_nobody() -> Self {
        let (sender, receiver) = mpsc::channel(StopRequests::MOST_WAITING);
        Self { requests: Requests::new(sender), receiver }
    }
}

/// The sending end of the channel of stop requests. All sources of stop requests share this end.
#[derive(Clone, Debug)]
struct Requests {
    sender: mpsc::Sender<StopReason>,
    clock: RealClock,
    repetitions: Arc<Mutex<Repetitions>>,
}

impl Requests {
    fn new(sender: mpsc::Sender<StopReason>) -> Self {
        Self { sender, clock: RealClock::start(), repetitions: Arc::default() }
    }

    fn take(&self, reason: StopReason) {
        let mut repetitions = self.repetitions.lock().unwrap_or_else(PoisonError::into_inner);
        if repetitions.is_request(self.clock.now(), reason) {
            let _ = self.sender.try_send(reason);
        }
    }
}

/// Distinguishes a second stop request from a repetition of the first stop request.
#[derive(Debug, Default)]
struct Repetitions {
    /// The time of the first request.
    first: Option<Moment>,
}

impl Repetitions {
    /// Returns whether a request is the first one, or a later one that is not a repetition.
    fn is_request(&mut self, now: Moment, reason: StopReason) -> bool {
        let Some(first) = self.first else {
            self.first = Some(now);
            return true;
        };
        // A process that has used up its processor time gets SIGXCPU every second, so SIGXCPU never
        // repeats a request.
        reason != StopReason::OutOfTime && now - first >= REPEATED_WITHIN
    }
}

/// Handles signals on a separate thread, because on a busy runtime two signals that are sent at the
/// same time would seem to be far apart, and would count as two requests.
fn follow_signals(requests: Requests) -> io::Result<()> {
    let mut reasons = StopReason::OF_SIGNALS.to_vec();
    reasons.retain(|reason| *reason != StopReason::HungUp || !is_ignored(SIGHUP));
    let mut signals = Signals::new(reasons.iter().filter_map(|reason| reason.signal()))?;
    let follow = move || {
        for signal in signals.forever() {
            let reason = reasons.iter().find(|reason| reason.signal() == Some(signal));
            reason.into_iter().for_each(|reason| requests.take(*reason));
        }
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(follow)?;
    Ok(())
}

/// Reads standard input on a separate thread, so that a process does not outlive its parent even if
/// the runtime of the process is busy or stuck.
fn follow_parent(requests: Requests) -> io::Result<()> {
    let follow = move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if line == STOP_LINE {
                requests.take(StopReason::Asked);
            }
        }
        // The parent has ended, so nobody could read an error. This exit is like a crash of the
        // task, and the files of a run survive crashes.
        std::process::exit(1);
    };
    std::thread::Builder::new().name("parent".to_owned()).spawn(follow)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_stop_request_counts_only_after_a_second() {
        let at = |millis| Moment::from_origin(Duration::from_millis(millis));
        let mut repetitions = Repetitions::default();
        assert!(repetitions.is_request(at(5_000), StopReason::Terminated));
        for (millis, reason, counts) in [
            (5_000, StopReason::Terminated, false),
            (5_001, StopReason::Interrupted, false),
            (5_999, StopReason::Asked, false),
            (6_000, StopReason::OutOfTime, false),
            (6_000, StopReason::Terminated, true),
            (6_001, StopReason::HungUp, true),
        ] {
            assert_eq!(repetitions.is_request(at(millis), reason), counts, "{millis} {reason:?}");
        }
    }
}
