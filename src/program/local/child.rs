//! One child process: started, read line by line, waited for.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, watch};

use crate::program::incarnation;
use crate::program::incarnation::Counter;
use crate::program::stop::STOP_LINE;
use unisono_core::ids::TaskId;

/// How long the output of a child that has ended may still come: a process that it left behind
/// may hold its pipes.
const DRAIN: Duration = Duration::from_secs(1);

/// A task and how to start it, as often as need be.
///
/// It may hold the socket that the task is to listen on; who calls before the task is started
/// again then waits for it, and nobody else can take its port.
#[derive(Debug)]
pub(super) struct ChildCommand {
    pub(super) task: TaskId,
    pub(super) command: Command,
    /// Counts the task's processes, so that each has a larger incarnation than the one before.
    counter: Counter,
}

/// What children do.
#[derive(Debug)]
pub(super) enum Event {
    /// It printed a line.
    Printed { task: TaskId, stream: Stream, line: String },
    /// It has ended, and all that it printed was told.
    Ended { task: TaskId, status: ExitStatus },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Out,
    Err,
}

/// Standard input of a child: while it is open, the child knows that its parent lives.
#[derive(Debug)]
pub(super) struct Lifeline(Option<ChildStdin>);

impl Lifeline {
    /// Asks the child to end cleanly. One that has ended needs no asking.
    pub(super) async fn ask_to_stop(&mut self) {
        if let Some(stdin) = &mut self.0 {
            let _ = stdin.write_all(format!("{STOP_LINE}\n").as_bytes()).await;
            let _ = stdin.flush().await;
        }
    }
}

impl ChildCommand {
    /// `command` for a task.
    ///
    /// The child is in a process group of its own: a terminal's Ctrl-C is for the parent alone.
    pub(super) fn new(task: TaskId, command: std::process::Command) -> Self {
        let mut command = Command::from(command);
        command.process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { task, command, counter: Counter::default() }
    }
}

/// Starts a child, and tells `events` of it. Once `kill` holds true, it is killed.
pub(super) fn start(
    child: &mut ChildCommand,
    events: mpsc::Sender<Event>,
    kill: watch::Receiver<bool>,
) -> anyhow::Result<Lifeline> {
    let task = child.task;
    let incarnation = child.counter.count(incarnation::clock());
    incarnation::hand_on(child.command.as_std_mut(), incarnation);
    let mut process = child.command.spawn().with_context(|| format!("cannot start {task}"))?;
    let lifeline = Lifeline(process.stdin.take());
    tokio::spawn(follow(task, process, events, kill));
    Ok(lifeline)
}

async fn follow(
    task: TaskId,
    mut process: Child,
    events: mpsc::Sender<Event>,
    mut kill: watch::Receiver<bool>,
) {
    let out = process.stdout.take().expect("standard output is a pipe");
    let err = process.stderr.take().expect("standard error is a pipe");
    let mut readers = tokio::task::JoinSet::new();
    readers.spawn(tell_lines(task, Stream::Out, out, events.clone()));
    readers.spawn(tell_lines(task, Stream::Err, err, events.clone()));
    let ended = tokio::select! {
        ended = process.wait() => ended,
        // The sender is gone only with the launcher's loop: then, too, nobody wants the child.
        () = async { let _ = kill.wait_for(|kill| *kill).await; } => {
            let _ = process.start_kill();
            process.wait().await
        }
    };
    let status = ended.expect("a child of this process can be waited for");
    let drained = async { while readers.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(DRAIN, drained).await;
    let _ = events.send(Event::Ended { task, status }).await;
}

async fn tell_lines(
    task: TaskId,
    stream: Stream,
    pipe: impl AsyncRead + Unpin,
    events: mpsc::Sender<Event>,
) {
    let mut lines = BufReader::new(pipe).split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
        if events.send(Event::Printed { task, stream, line }).await.is_err() {
            return;
        }
    }
}

/// How a process ended, for a person.
pub(super) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => match signal_name(signal) {
            Some(name) => format!("was killed by {name}"),
            None => format!("was killed by signal {signal}"),
        },
        (None, None) => format!("ended: {status}"),
    }
}

/// POSIX's names of Linux's numbers, where all architectures that matter agree.
fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL (out of memory, perhaps)",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return None,
    })
}
