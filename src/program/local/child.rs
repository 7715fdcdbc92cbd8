//! Starts one child process, reads the lines that the child prints, and waits until the child ends.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use signal_hook::low_level::signal_name;
use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, watch};

use unisono_core::ids::TaskId;
use unisono_task::incarnation::{self, Counter};
use unisono_task::stop::STOP_LINE;

/// The time limit for reading the remaining output of a child that has ended. The limit is needed
/// because another process may still hold the child's pipes open.
const DRAIN: Duration = Duration::from_secs(1);

/// A task, and the command that starts a process of the task. The command can be started any number
/// of times.
///
/// If the command holds the listening socket of the task, callers wait while the task restarts, and
/// no other process can take the port of the task.
#[derive(Debug)]
pub(super) struct ChildCommand {
    pub(super) task: TaskId,
    pub(super) command: Command,
    /// Counts the processes of the task, so that each process gets a larger incarnation than the
    /// previous process.
    counter: Counter,
}

/// An event of a child process.
#[derive(Debug)]
pub(super) enum Event {
    /// The child printed a line.
    Printed { task: TaskId, stream: Stream, line: String },
    /// The child has ended. The events for the child's lines come before this event.
    Ended { task: TaskId, status: ExitStatus },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stream {
    Out,
    Err,
}

/// The standard input of a child. This pipe closes when the parent ends, and then the child exits.
#[derive(Debug)]
pub(super) struct Lifeline(Option<ChildStdin>);

impl Lifeline {
    /// Asks the child to end cleanly. Write errors are ignored, because they mean that the child
    /// has already ended.
    pub(super) async fn ask_to_stop(&mut self) {
        if let Some(stdin) = &mut self.0 {
            let _ = stdin.write_all(format!("{STOP_LINE}\n").as_bytes()).await;
            let _ = stdin.flush().await;
        }
    }
}

impl ChildCommand {
    /// Creates the command of a task.
    ///
    /// The child gets its own process group, so that Ctrl-C in a terminal signals only the parent.
    pub(super) fn new(task: TaskId, command: std::process::Command) -> Self {
        let mut command = Command::from(command);
        command.process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { task, command, counter: Counter::default() }
    }
}

/// Starts a child, and sends the events of the child to `events`. The child is killed when the
/// value of `kill` becomes true.
pub(super) fn start(
    child: &mut ChildCommand,
    events: mpsc::Sender<Event>,
    kill: watch::Receiver<bool>,
) -> anyhow::Result<Lifeline> {
    let task = child.task;
    let incarnation = child.counter.count(incarnation::clock());
    child.command.env(incarnation::VARIABLE, incarnation.to_string());
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
    readers.spawn(send_lines(task, Stream::Out, out, events.clone()));
    readers.spawn(send_lines(task, Stream::Err, err, events.clone()));
    let ended = tokio::select! {
        ended = process.wait() => ended,
        // `wait_for` also returns if the sender is dropped. The sender is dropped only when the
        // launcher's loop ends, and then the child must end, too.
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

async fn send_lines(
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

/// Describes the end of a process for a person.
pub(super) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => match signal_name(signal) {
            Some("SIGKILL") => "was killed by SIGKILL (out of memory, perhaps)".to_owned(),
            Some(name) => format!("was killed by {name}"),
            None => format!("was killed by signal {signal}"),
        },
        (None, None) => format!("ended: {status}"),
    }
}
