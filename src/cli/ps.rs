//! `unisono ps`: one ps of a cluster.

use std::net::TcpListener;
use std::process::ExitCode;

use super::ledger::LedgerKeeper;
use super::metrics::Identity;
use super::task::{self, Reach, Watch};
use super::{Process, TaskConfig};
use crate::host::NoStorage;
use crate::model::UpdateRule;
use crate::protocol::Ps;
use crate::tcp::{self, BindError, InlineCompute, Security};
use crate::training::{Shapes, Updates};

/// Runs the task until the training has ended.
///
/// # Errors
/// If it cannot start, or cannot go on.
pub fn run_ps(config: TaskConfig, mut process: Process) -> anyhow::Result<ExitCode> {
    let run = &config.run;
    let rule = UpdateRule::new(&run.train, run.sync.replicas_to_aggregate, task::simd_level()?);
    let security = Security::load(&run.security, config.task)?;
    let listener = match process.listener.take() {
        Some(listener) => listener,
        None => bind(&config)?,
    };
    if security.is_open() {
        warn_of_strangers(&listener);
    }
    let shapes = Shapes::of_rule(&rule);
    let listener = Some(listener);
    let reach = Reach { listener, security, shared_memory: run.shared_memory, shapes };
    let (incarnation, cluster) = (process.incarnation, task::cluster_config(run, None));
    let ledger = LedgerKeeper::open(&config, incarnation, &cluster);
    let identity = Identity { incarnation, cluster: cluster.clone() };
    let node = Ps::new(config.task.index, incarnation, cluster);
    let mut updates = Updates::new(rule, 1);
    if run.shared_memory {
        updates.make_buffers(tcp::shareable);
    }
    let parts = || Ok((InlineCompute::new(Box::new(updates)), NoStorage));
    let (outcome, reason) =
        task::run(&config, &process, reach, node, parts, Watch { ledger, events: None, identity })?;
    task::exit_code(config.task, outcome, reason)
}

/// Says that anybody may call, if others than this machine's users can.
fn warn_of_strangers(listener: &TcpListener) {
    if let Ok(address) = listener.local_addr()
        && !address.ip().is_loopback()
    {
        tracing::warn!(
            "this task listens at {address}, and whoever reaches it can join the run or end it: \
             give --secret-file, or --tls-cert, --tls-key and --tls-ca (docs/security.md)"
        );
    }
}

fn bind(config: &TaskConfig) -> Result<TcpListener, BindError> {
    match (&config.bind, config.cluster.address(config.task)) {
        (Some(bind), _) => tcp::bind(&bind.to_string()),
        (None, Some(own)) if config.is_placed => tcp::bind_everywhere(own.port()),
        (None, own) => tcp::bind(&own.map(ToString::to_string).unwrap_or_default()),
    }
}
