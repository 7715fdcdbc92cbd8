//! Runs one task of a cluster: a node on the production host, until the node halts.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::console::Console;
use crate::events::EventKeeper;
use crate::incarnation;
use crate::ledger::LedgerKeeper;
use crate::metrics::{self, Identity};
use crate::process::Process;
use crate::stop::{StopReason, StopRequests};
use crate::task_config::TaskConfig;
use crate::trace::TraceKeeper;
use unisono_config::HostPort;
use unisono_core::host::{Clock as _, Compute, Host, Stop, Storage, drive};
use unisono_core::ids::{Incarnation, TaskId};
use unisono_core::protocol::{Node, Outcome, Raises};
use unisono_learn::training::Shapes;
use unisono_net::tcp::{Listeners, NetworkConfig, RealClock, Security, TcpNetwork};

/// Creates the network of a task. If `listeners` is not `None`, the network accepts callers at
/// these sockets. `shapes` contains the expected sizes of tensors.
pub(crate) fn network(
    config: &TaskConfig,
    listeners: Option<Listeners>,
    security: Security,
    shapes: Shapes,
) -> anyhow::Result<TcpNetwork> {
    let address = |(task, address): (TaskId, &HostPort)| (task, address.to_string());
    let config = NetworkConfig {
        addresses: config.cluster.tasks().map(address).collect(),
        limits: shapes.limits(),
        security: security.into(),
        shared_memory: config.run.shared_memory,
        check: Box::new(move |from, message| shapes.check(from, message)),
    };
    TcpNetwork::new(listeners, config).context("cannot use the network")
}

/// The parts of one incarnation of a task.
#[derive(Debug)]
pub(crate) struct Life<N, K, S> {
    /// The state machine.
    pub(crate) node: N,
    /// The network.
    pub(crate) network: TcpNetwork,
    /// The arithmetic.
    pub(crate) compute: K,
    /// The files.
    pub(crate) storage: S,
    /// The ledger, for a ps.
    pub(crate) ledger: Option<LedgerKeeper>,
    /// The events, for the chief.
    pub(crate) events: Option<EventKeeper>,
    /// The identity of the task.
    pub(crate) identity: Identity,
}

/// Runs a node until the node halts. If a node is refused as outdated, a node with a larger
/// incarnation replaces the refused node, as often as [`Raises`] allows. `live` creates the parts
/// of each node.
pub(crate) fn run<N: Node, K: Compute, S: Storage>(
    config: &TaskConfig,
    process: &mut Process,
    mut live: impl FnMut(Incarnation) -> anyhow::Result<Life<N, K, S>>,
) -> anyhow::Result<(Outcome, Option<StopReason>)> {
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        // All incarnations share one listener, so that a stop request between two incarnations is
        // not lost.
        let mut stop =
            TaskStop { requests: StopRequests::listen(process.parent.take())?, reason: None };
        let mut incarnation = incarnation::first(config, process.incarnation);
        let mut raises = Raises::of_process(incarnation);
        loop {
            let outcome = run_life(config, process, &mut stop, live(incarnation)?).await?;
            match raises.after(outcome) {
                Ok(larger) => {
                    tracing::warn!(
                        "peers know {} with a larger incarnation than {incarnation}, from before a \
                         clock was set back: continuing as {larger}",
                        config.task
                    );
                    incarnation = larger;
                }
                Err(outcome) => return Ok((outcome, stop.reason)),
            }
        }
    });
    // A normal shutdown would wait for a pending name lookup, and a resolver may take arbitrarily
    // long.
    runtime.shutdown_background();
    outcome
}

/// Raises the soft limit of open files to the hard limit, if the system allows this. The soft limit
/// is usually 1,024, for programs that use select(2), but a ps with a thousand workers needs more
/// links.
fn raise_open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // A failure is ignored: the host reads the limit, and refuses a cluster that is too large.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// Runs one node until it halts.
async fn run_life<N: Node, K: Compute, S: Storage>(
    config: &TaskConfig,
    process: &Process,
    stop: &mut TaskStop,
    life: Life<N, K, S>,
) -> anyhow::Result<Outcome> {
    let Life { mut node, network, compute, storage, ledger, events, identity } = life;
    let clock = RealClock::start();
    let traffic = network.traffic();
    let metrics = metrics::start(config, &identity, traffic, clock, &process.screen).await;
    let (metrics, server) = metrics.unzip();
    if let (Some(events), Some(metrics)) = (&events, &metrics) {
        events.share_accuracy(metrics.validation_accuracy());
    }
    let trace = TraceKeeper::open(config, &identity, clock.now());
    let console = Console::new(config, process.screen.clone());
    // The ledger comes first, because it must record an effect before any other observer reports
    // the effect.
    let mut observer = ((ledger, trace), ((events, metrics), console));
    let host = Host { clock, network, compute, storage, stop };
    let outcome = drive(&mut node, host, &mut observer).await;
    let ((_, trace), (_, console)) = &mut observer;
    trace.iter_mut().for_each(TraceKeeper::finish);
    console.finish();
    // The server is aborted, because the next incarnation serves its metrics at the same port.
    if let Some(server) = server {
        server.abort();
        let _ = server.await;
    }
    Ok(outcome)
}

/// Returns the exit code of the process, or an error if the node failed.
pub(crate) fn exit_code(
    task: TaskId,
    outcome: Outcome,
    reason: Option<StopReason>,
) -> anyhow::Result<ExitCode> {
    match outcome {
        Outcome::Finished => Ok(ExitCode::SUCCESS),
        Outcome::Stopped { .. } => Ok(reason.map_or(ExitCode::SUCCESS, StopReason::exit_code)),
        Outcome::Failed(failure) => {
            Err(anyhow::Error::new(failure).context(format!("{task} cannot go on")))
        }
        // `run` returns this outcome only if `Raises` forbids a larger incarnation. Otherwise,
        // `run` starts a new node.
        Outcome::Outdated { reason, .. } => bail!("{task} cannot go on: {reason}"),
    }
}

/// Stop requests, and the reason of the first one.
#[derive(Debug)]
struct TaskStop {
    requests: StopRequests,
    reason: Option<StopReason>,
}

impl Stop for &mut TaskStop {
    async fn next(&mut self) {
        let reason = self.requests.next().await;
        self.reason.get_or_insert(reason);
    }
}
