//! One task of a cluster in this process: a node on the production host, until it halts.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::console::Console;
use super::events::EventKeeper;
use super::incarnation;
use super::ledger::LedgerKeeper;
use super::metrics::{self, Identity};
use super::stop::{StopReason, StopRequests};
use super::trace::TraceKeeper;
use crate::program::process::Process;
use crate::program::task_config::TaskConfig;
use unisono_config::ClusterSpec;
use unisono_core::host::{Clock as _, Compute, Host, Stop, Storage, drive};
use unisono_core::ids::{Incarnation, TaskId};
use unisono_core::protocol::{Node, Outcome, Raises};
use unisono_learn::training::Shapes;
use unisono_net::tcp::{Listeners, NetworkConfig, RealClock, Security, TcpNetwork};

/// How the others of a cluster are reached, and what is asked of them.
#[derive(Debug)]
pub(super) struct Reach {
    /// The sockets on which others call, if any do.
    pub(super) listeners: Option<Listeners>,
    /// How they prove who they are.
    pub(super) security: Security,
    /// Whether memory is shared with those on this machine.
    pub(super) shared_memory: bool,
    /// How long their tensors are.
    pub(super) shapes: Shapes,
}

impl Reach {
    fn network(self, cluster: &ClusterSpec) -> anyhow::Result<TcpNetwork> {
        let Self { listeners, security, shared_memory, shapes } = self;
        let config = NetworkConfig {
            addresses: addresses(cluster),
            limits: shapes.limits(),
            security,
            shared_memory,
            check: Box::new(move |from, message| shapes.check(from, message)),
        };
        TcpNetwork::new(listeners, config).context("cannot use the network")
    }
}

/// What is watched, and written down.
#[derive(Debug)]
pub(super) struct Watch {
    /// Of a ps.
    pub(super) ledger: Option<LedgerKeeper>,
    /// Of the chief.
    pub(super) events: Option<EventKeeper>,
    /// Who it is.
    pub(super) identity: Identity,
}

/// What one life of a task is made of.
#[derive(Debug)]
pub(super) struct Life<N, K, S> {
    /// What decides.
    pub(super) node: N,
    /// How it reaches the others.
    pub(super) reach: Reach,
    /// What computes.
    pub(super) compute: K,
    /// Where its files are.
    pub(super) storage: S,
    /// What is watched of it.
    pub(super) watch: Watch,
}

/// Runs a node until it halts, and another one with a larger incarnation as often as the node before
/// was refused as older and may be followed ([`Raises`]). `live` makes each of them.
pub(super) fn run<N: Node, K: Compute, S: Storage>(
    config: &TaskConfig,
    process: &mut Process,
    mut live: impl FnMut(Incarnation) -> anyhow::Result<Life<N, K, S>>,
) -> anyhow::Result<(Outcome, Option<StopReason>)> {
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        // One listener for all lives: a request between two of them must not be lost.
        let mut stop =
            TaskStop { requests: StopRequests::listen(process.parent.take())?, reason: None };
        let mut incarnation = incarnation::first(config, process.incarnation);
        let mut raises = Raises::of_process(incarnation);
        loop {
            let outcome = run_life(config, process, &mut stop, live(incarnation)?).await?;
            match raises.after(outcome) {
                Ok(larger) => {
                    tracing::warn!(
                        "{} is known with a larger incarnation than {incarnation}, from before a \
                         clock was set back: it goes on as {larger}",
                        config.task
                    );
                    incarnation = larger;
                }
                Err(outcome) => return Ok((outcome, stop.reason)),
            }
        }
    });
    // A name that is being looked up would hold the process for as long as the resolver likes.
    runtime.shutdown_background();
    outcome
}

/// Raises the soft limit of open files to the hard one, as far as the system allows it. The soft limit
/// is usually 1,024, for programs that use select(2); the links of a thousand workers need more.
fn raise_open_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // The host reads the limit that holds, and refuses a cluster that is too large for it.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// Runs one node until it halts.
async fn run_life<N: Node, K: Compute, S: Storage>(
    config: &TaskConfig,
    process: &Process,
    stop: &mut TaskStop,
    life: Life<N, K, S>,
) -> anyhow::Result<Outcome> {
    let Life { mut node, reach, compute, storage, watch } = life;
    let network = reach.network(&config.cluster)?;
    let clock = RealClock::start();
    let Watch { ledger, events, identity } = watch;
    let traffic = network.traffic();
    let metrics = metrics::start(config, &identity, traffic, clock, &process.screen).await;
    let (metrics, server) = metrics.unzip();
    if let (Some(events), Some(metrics)) = (&events, &metrics) {
        events.share_accuracy(metrics.validation_accuracy());
    }
    let trace = TraceKeeper::open(config, &identity, clock.now());
    let console = Console::new(config, process.screen.clone());
    // The ledger comes first: what it is about to say was so before anybody heard of it.
    let mut observer = ((ledger, trace), ((events, metrics), console));
    let host = Host { clock, network, compute, storage, stop };
    let outcome = drive(&mut node, host, &mut observer).await;
    let ((_, trace), (_, console)) = &mut observer;
    trace.iter_mut().for_each(TraceKeeper::finish);
    console.finish();
    // The next life serves its metrics at the same port.
    if let Some(server) = server {
        server.abort();
        let _ = server.await;
    }
    Ok(outcome)
}

/// What the process exits with.
pub(super) fn exit_code(
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
        // `run` starts another node instead, or makes it a failure.
        Outcome::Outdated { reason, .. } => bail!("{task} cannot go on: {reason}"),
    }
}

fn addresses(cluster: &ClusterSpec) -> BTreeMap<TaskId, String> {
    cluster.tasks().map(|(task, address)| (task, address.to_string())).collect()
}

/// Requests to end, and the first one's reason.
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
