//! `unisono local`: runs a whole cluster on this machine, with one child process for each task.
//!
//! This file creates the commands of the child processes. The file `supervise` runs the child
//! processes, and the file `restarts` decides when a dead child restarts.

mod child;
mod restarts;
mod supervise;

use std::ffi::OsString;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;
use unisono_task::setup;

use anyhow::Context as _;
use command_fds::{CommandFdExt as _, FdMapping};

use self::child::ChildCommand;
use self::restarts::RestartLimits;
use self::supervise::{Limits, View, supervise};
use super::{StopRequests, handed_document};
use unisono_config::hosts::HostList;
use unisono_config::{
    ClusterSpec, Host, HostPort, LogFormat, ProgressMode, RunConfig, RunDocument,
};
use unisono_core::ids::{Job, TaskId};
use unisono_files::disk::{LockedBy, LogdirLock, RealDisk};
use unisono_files::run_files::{self, RunFiles};
use unisono_learn::Workload;
use unisono_net::tcp::Security;
use unisono_task::fresh::Scope;
use unisono_task::process::Process;
use unisono_terminal::output::{ProgressLine, ProgressView, Screen, logging};

/// The descriptor of the first inherited socket in systemd's protocol for socket activation.
const FIRST_LISTEN_FD: i32 = 3;
/// The descriptor from which a child reads its configuration.
const DOCUMENT_FD: i32 = 4;
/// The descriptor with which the chief shares the lock on the logdir.
const LOCK_FD: i32 = 5;

/// The configuration of a cluster on this machine.
#[derive(Clone, Debug, PartialEq)]
pub struct LocalConfig {
    /// The configuration of all tasks.
    pub run: RunConfig,
    /// The maximum number of restarts of one task within ten minutes; `None` if tasks are not
    /// restarted.
    pub max_restarts: Option<u32>,
}

/// Runs the cluster until the training has finished, until the user stops the cluster, or until a
/// task fails and is not restarted.
///
/// # Errors
/// Returns an error if the data, the initial values, the checkpoint or the logdir cannot be used,
/// or a task cannot be started.
pub fn run_local(
    config: &LocalConfig,
    workload: &Workload,
    process: &Process,
) -> anyhow::Result<ExitCode> {
    let lock = preflight(config, workload, process)?;
    let LocalConfig { run, max_restarts } = config;
    let limits = Limits { restarts: max_restarts.map(RestartLimits::new), ..Limits::default() };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        // Signals are handled before the first child starts, so that Ctrl-C never kills the
        // launcher while children run unsupervised.
        let stops = StopRequests::listen(None).context("cannot take signals")?;
        let executable = std::env::current_exe().context("cannot find this program's file")?;
        let children = children(&executable, run, lock.as_ref())?;
        let mut view = LocalView::new(&process.screen, run);
        let row =
            run.metrics.as_ref().and_then(|first| first.row(u16::try_from(children.len()).ok()?));
        if let Some(row) = row {
            process.screen.err(&format!("`unisono top {row}` shows the state of the tasks."));
        }
        let ending = supervise(children, stops, limits, &mut view).await;
        view.progress.finish();
        Ok(ending?.exit_code())
    })
}

/// Checks the configuration, the data and the files of the run before any task starts. Otherwise,
/// several tasks would report the same error. Returns the lock on the logdir. This process holds
/// the lock during the whole run, even while the chief restarts, so that another run in the same
/// logdir is refused before the tasks of the other run touch a file.
fn preflight(
    config: &LocalConfig,
    workload: &Workload,
    process: &Process,
) -> anyhow::Result<Option<LogdirLock>> {
    let LocalConfig { run, max_restarts } = config;
    let plan = workload.plan(run, setup::simd_level()?)?;
    let files = setup::files(&plan, run)?;
    let ps = (0..run.n_ps).map(TaskId::ps);
    for task in ps.chain((0..run.sync.total_num_replicas).map(TaskId::worker)) {
        Security::load(&run.security, task)?;
    }
    // The old run is moved after the checks above, so that a failed check moves nothing. It is moved
    // before any file in the logdir is read, so that no file of the old run is read.
    setup::make_room(run, Scope::WholeRun, process)?;
    let (lock, warning) = run_files::lock(&run.logdir)?;
    warning.iter().for_each(|warning| tracing::warn!("{warning}"));
    files.look(&RealDisk)?;
    if max_restarts.is_some() {
        let (_, warnings) = RunFiles::open_alone(files, LockedBy::Parent)?;
        // The warnings report repairs. They are logged here, because the chief will find files that
        // are already repaired.
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    }
    Ok(lock)
}

/// Creates the commands of all tasks. Each command holds a socket that is already listening. So no
/// other process can take the port of the socket, and early connections wait instead of failing.
fn children(
    executable: &Path,
    run: &RunConfig,
    lock: Option<&LogdirLock>,
) -> anyhow::Result<Vec<ChildCommand>> {
    let ps = listeners(run.n_ps)?;
    let workers = listeners(run.sync.total_num_replicas)?;
    let cluster = ClusterSpec::new(addresses(&ps)?, addresses(&workers)?)?;
    let tasks: Vec<_> = cluster.tasks().map(|(task, _)| task).collect();
    tasks
        .into_iter()
        .zip(ps.into_iter().chain(workers))
        .map(|(task, listener)| {
            let mut command = Command::new(executable);
            command.args(task_arguments(task, run));
            let document = task_document(task, &cluster, run)?;
            let document = handed_document::write(&document)
                .context("cannot hand the configuration to a task")?;
            let lock = lock.filter(|_| task == TaskId::CHIEF).map(LogdirLock::share).transpose();
            let lock = lock.context("cannot share the lock on the logdir")?;
            if lock.is_some() {
                command.arg("--logdir-locked-by-parent");
            }
            hand_over(&mut command, listener, document, lock);
            logging::hand_on(&mut command);
            Ok(ChildCommand::new(task, command))
        })
        .collect()
}

fn listeners(n: u32) -> anyhow::Result<Vec<TcpListener>> {
    let bind =
        |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot listen on 127.0.0.1");
    (0..n).map(bind).collect()
}

fn addresses(listeners: &[TcpListener]) -> anyhow::Result<HostList> {
    let address = |listener: &TcpListener| {
        let port = listener.local_addr().context("cannot tell the port of a socket")?.port();
        Ok(HostPort::new(Host::V4(Ipv4Addr::LOCALHOST), port))
    };
    let addresses: anyhow::Result<_> = listeners.iter().map(address).collect();
    Ok(HostList::new(addresses?)?)
}

/// Returns the command-line arguments of one task. The other settings of the task are in the file
/// that the task inherits. The arguments repeat the logdir for a person who lists the processes of
/// this machine.
fn task_arguments(task: TaskId, run: &RunConfig) -> [OsString; 5] {
    let mut logdir = OsString::from("--logdir=");
    logdir.push(&run.logdir);
    [
        task.job.to_string().into(),
        format!("--task-id={}", task.index).into(),
        logdir,
        format!("--run-config={}", handed_document::path(DOCUMENT_FD)).into(),
        "--exit-with-parent".into(),
    ]
}

/// Returns the configuration of one task. Every setting has an explicit value, even if the value is
/// the default.
fn task_document(
    task: TaskId,
    cluster: &ClusterSpec,
    run: &RunConfig,
) -> anyhow::Result<RunDocument> {
    let progress = match run.progress {
        _ if task != TaskId::CHIEF => ProgressMode::None,
        ProgressMode::None => ProgressMode::None,
        ProgressMode::Auto | ProgressMode::Bar | ProgressMode::Json => ProgressMode::Json,
    };
    let run = RunConfig { progress, metrics: run.metrics_of(task)?, ..run.clone() };
    Ok(RunDocument { cluster: cluster.clone(), run })
}

/// Passes descriptors to the child: the listening socket as in systemd's socket activation, the
/// file with the configuration and, if the child is the chief, the lock on the logdir. The command
/// keeps these descriptors open, so that every process that the command starts inherits them.
///
/// `LISTEN_PID` is not set, because the id of the child is not known before the child starts.
/// Without `LISTEN_PID`, the `listenfd` crate accepts the socket in any process. The chief only
/// keeps the descriptor of the lock open, because the lock is held while any process has this
/// descriptor open.
fn hand_over(
    command: &mut Command,
    listener: TcpListener,
    document: OwnedFd,
    lock: Option<OwnedFd>,
) {
    let mapping = |child_fd, parent_fd| FdMapping { parent_fd, child_fd };
    let mut mappings =
        vec![mapping(FIRST_LISTEN_FD, listener.into()), mapping(DOCUMENT_FD, document)];
    mappings.extend(lock.map(|lock| mapping(LOCK_FD, lock)));
    command.fd_mappings(mappings).expect("the numbers in the child differ");
    command.env("LISTEN_FDS", "1");
    for other in ["LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_FDS_FIRST_FD"] {
        command.env_remove(other);
    }
}

/// Shows the progress and the standard output of the chief as those of this process, and every
/// other line of a task with the name of the task.
struct LocalView {
    screen: Screen,
    progress: ProgressView,
    has_colours: bool,
    width: usize,
}

impl LocalView {
    fn new(screen: &Screen, run: &RunConfig) -> Self {
        let steps = run.train.training_steps;
        let last = [TaskId::ps(run.n_ps - 1), TaskId::worker(run.sync.total_num_replicas - 1)];
        Self {
            screen: screen.clone(),
            progress: ProgressView::new(screen.clone(), run.progress, steps),
            has_colours: Screen::has_colours(&std::io::stderr()),
            width: last.map(|task| task.to_string().len()).into_iter().max().unwrap_or(0),
        }
    }
}

impl View for LocalView {
    fn result(&mut self, line: &str) {
        self.screen.out(line);
    }

    fn task(&mut self, task: TaskId, line: &str) {
        let line = match self.screen.log_format() {
            LogFormat::Text => &prefixed(task, self.width, self.has_colours, line),
            LogFormat::Json => line,
        };
        self.screen.err_of(task, line);
    }

    fn own(&mut self, line: &str) {
        match line.strip_prefix("error: ") {
            Some(message) => self.screen.error(message),
            None => self.screen.err(line),
        }
    }

    fn progress(&mut self, line: ProgressLine) {
        let elapsed = Duration::try_from_secs_f64(line.elapsed_secs).unwrap_or_default();
        self.progress.update(line.step, line.loss.unwrap_or(f32::NAN), elapsed);
    }
}

/// Returns a line with the name of its task in front, such as `worker 1 | line`. The name is padded
/// to `width` characters and, if `has_colours` is true, shown in the colour of the task.
fn prefixed(task: TaskId, width: usize, has_colours: bool, line: &str) -> String {
    const COLOURS: [u8; 6] = [36, 33, 32, 35, 34, 31]; // colour codes of terminals
    let name = task.to_string();
    if has_colours {
        let of_job = task.index as usize * 2 + usize::from(task.job == Job::Worker);
        let colour = COLOURS[of_job % COLOURS.len()];
        format!("\x1b[{colour}m{name:width$} |\x1b[0m {line}")
    } else {
        format!("{name:width$} | {line}")
    }
}

#[cfg(test)]
mod tests;
