//! `unisono ps`: runs one ps of a cluster.

use crate::setup;
use std::process::ExitCode;

use anyhow::Context as _;

use crate::fresh::Scope;
use crate::ledger::LedgerKeeper;
use crate::listen::{self, Unreachable};
use crate::metrics::Identity;
use crate::process::Process;
use crate::run::{self, Life};
use crate::task_config::TaskConfig;
use unisono_core::host::NoStorage;
use unisono_core::protocol::Ps;
use unisono_learn::model::UpdateRule;
use unisono_learn::training::{Shapes, Updates};
use unisono_net::tcp::{self, InlineCompute, Listeners, Security};

/// Runs the task until the training has ended.
///
/// # Errors
/// Returns an error if the task cannot start or cannot continue.
pub fn run_ps(config: TaskConfig, mut process: Process) -> anyhow::Result<ExitCode> {
    let run = &config.run;
    let rule = UpdateRule::new(&run.train, run.sync.replicas_to_aggregate, setup::simd_level()?);
    let security = Security::load(&run.security, config.task)?;
    let listeners = match process.listener.take() {
        Some(listener) => listener.into(),
        None => listen_and_warn(&config)?,
    };
    if security.is_open() {
        warn_of_strangers(&listeners);
    }
    setup::make_room(run, Scope::Task(config.task), &process)?;
    let cluster = setup::cluster_config(run, None);
    let (outcome, reason) = run::run(&config, &mut process, |incarnation| {
        // Each incarnation listens on copies of the sockets. So callers wait while one incarnation
        // ends and the next one starts.
        let listeners = listeners.try_clone().context("cannot copy the listening sockets")?;
        let security = Security::load(&run.security, config.task)?;
        let ledger = LedgerKeeper::open(&config, incarnation, &cluster)?;
        let identity = Identity { incarnation, cluster: cluster.clone() };
        let node = Ps::new(config.task.index, incarnation, cluster.clone());
        let mut updates = Updates::new(rule.clone(), 1);
        if run.shared_memory {
            updates.make_buffers(tcp::shareable);
        }
        let (compute, storage) = (InlineCompute::new(Box::new(updates)), NoStorage);
        let network = run::network(&config, Some(listeners), security, Shapes::of_rule(&rule))?;
        Ok(Life { node, network, compute, storage, ledger, events: None, identity })
    })?;
    run::exit_code(config.task, outcome, reason)
}

fn listen_and_warn(config: &TaskConfig) -> anyhow::Result<Listeners> {
    let listeners = listen::listen(config)?;
    let addresses = listeners.addresses().unwrap_or_default();
    if let Some(Unreachable { what, remedy }) = listen::unreachable(config, &addresses) {
        tracing::warn!("{what}; {remedy}");
    }
    Ok(listeners)
}

/// Warns about unauthenticated callers if other machines can reach the sockets.
fn warn_of_strangers(listeners: &Listeners) {
    let addresses = listeners.addresses().unwrap_or_default();
    if addresses.iter().any(|address| !address.ip().is_loopback()) {
        tracing::warn!(
            "this task listens at {}, and every caller can join the run or end it: give \
             --secret-file, or --tls-cert, --tls-key and --tls-ca (docs/security.md)",
            listen::shown(&addresses)
        );
    }
}
