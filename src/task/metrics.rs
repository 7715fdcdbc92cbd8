//! Serves the metrics of a task, if the user gave an address.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::task_config::TaskConfig;
use unisono_config::MetricsAddress;
use unisono_core::ids::Incarnation;
use unisono_core::protocol::ClusterConfig;
use unisono_metrics::{Metrics, MetricsObserver, serve};
use unisono_net::tcp::{RealClock, Traffic};
use unisono_terminal::output::Screen;

/// The identity of a task, for its metrics and its trace.
#[derive(Debug)]
pub(crate) struct Identity {
    /// The incarnation of the task.
    pub(crate) incarnation: Incarnation,
    /// The cluster of the task.
    pub(crate) cluster: ClusterConfig,
}

/// Serves the metrics of a task. Returns the observer that updates the metrics, and the server.
/// Returns `None` if the user gave no address, or if the port is not available. If the port is not
/// available, a warning is logged and training continues without metrics.
pub(crate) async fn start(
    config: &TaskConfig,
    identity: &Identity,
    traffic: Traffic,
    clock: RealClock,
    screen: &Screen,
) -> Option<(MetricsObserver, JoinHandle<()>)> {
    let address = config.run.metrics.as_ref()?;
    let (listener, url) = match listen(address).await {
        Ok(listening) => listening,
        Err(error) => {
            tracing::warn!(
                "no metrics are served, and training continues without them: cannot listen at {address}: \
                 {error}; choose another --metrics, or port 0"
            );
            return None;
        }
    };
    screen.err(&format!("Metrics are at {url}"));
    let metrics = Metrics::new(config.task, identity.incarnation, &identity.cluster, traffic);
    let server = tokio::spawn(serve(listener, Arc::clone(&metrics), clock));
    Some((MetricsObserver::new(metrics), server))
}

async fn listen(address: &MetricsAddress) -> std::io::Result<(TcpListener, String)> {
    let (host, port) = address.to_lookup();
    let listener = TcpListener::bind((host.as_str(), port)).await?;
    let url = format!("http://{}/metrics", listener.local_addr()?);
    Ok((listener, url))
}
