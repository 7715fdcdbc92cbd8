//! Measures the speed of versions and gradients over loopback, without any arithmetic. Two ps and
//! two workers run as four processes.
//!
//! `cargo run --release --example loopback [STEPS] [VALUES_PER_SHARD]`
//!
//! In every step, each worker pushes a gradient to each ps. A ps with both gradients sends the next
//! version to each worker. This is the traffic of one synchronous step.
#![expect(clippy::print_stdout, reason = "the example prints its measurements")]

use std::collections::BTreeMap;
use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;
use unisono_core::ids::Cut;

use anyhow::Context;
use tokio::runtime::Builder;
use unisono_core::host::{Clock, Network};
use unisono_core::protocol::{Message, NetworkEvent};
use unisono_core::wire::Limits;
use unisono_core::{Floats, Generation, LinkId, Slot, Step, TaskId};
use unisono_net::tcp::{NetworkConfig, RealClock, TcpNetwork, bind};

const N_PS: u32 = 2;
const N_WORKERS: u32 = 2;

fn main() -> anyhow::Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let number = |at: usize, default| args.get(at).map_or(Ok(default), |arg| arg.parse::<usize>());
    match args.first().map(String::as_str) {
        Some("ps") => on_runtime(ps(number(1, 0)?, number(2, 0)?)),
        Some("worker") => on_runtime(worker(number(1, 0)?, number(2, 0)?, &args[3..])),
        _ => launch(number(0, 2000)?, number(1, 198_755)?),
    }
}

/// Runs a task on tokio. `RUNTIME=multi` selects tokio's multi-threaded runtime; the default is one
/// thread per process.
fn on_runtime(task: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let multi = env::var("RUNTIME").is_ok_and(|which| which == "multi");
    let mut builder =
        if multi { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    builder.worker_threads(2).enable_all().build()?.block_on(task)
}

fn launch(n_steps: usize, n_values: usize) -> anyhow::Result<()> {
    let me = env::current_exe()?;
    let sizes = [n_steps.to_string(), n_values.to_string()];
    let mut children = Vec::new();
    let mut addresses = Vec::new();
    for _ in 0..N_PS {
        let mut child = Command::new(&me).arg("ps").args(&sizes).stdout(Stdio::piped()).spawn()?;
        let mut address = String::new();
        let stdout = child.stdout.take().context("the child's output is piped")?;
        BufReader::new(stdout).read_line(&mut address)?;
        addresses.push(address.trim().to_owned());
        children.push(child);
    }
    for _ in 0..N_WORKERS {
        children.push(Command::new(&me).arg("worker").args(&sizes).args(&addresses).spawn()?);
    }
    for mut child in children {
        anyhow::ensure!(child.wait()?.success(), "a process failed");
    }
    Ok(())
}

async fn ps(n_steps: usize, n_values: usize) -> anyhow::Result<()> {
    let limits = Limits::with_tensor_bytes(4 * n_values);
    let listener = bind("127.0.0.1:0")?;
    println!("{}", listener.addresses()?[0]);
    let mut network =
        TcpNetwork::new(Some(listener), NetworkConfig::open(BTreeMap::new(), limits))?;
    let mut links: Vec<LinkId> = Vec::new();
    let (mut n_pushed, mut step) = (0, 0);
    while step <= n_steps {
        match network.next().await {
            NetworkEvent::Accepted { link } => links.push(link),
            // A worker's first message is a heartbeat, which requests version 0. Each push requests
            // the next version.
            NetworkEvent::Received { .. } => n_pushed += 1,
            NetworkEvent::Progress { .. } => {}
            other => anyhow::bail!("{other:?}"),
        }
        if n_pushed == N_WORKERS {
            let parameters = Floats::from(vec![step as f32; n_values]);
            for link in &links {
                network.send(*link, version(step, parameters.clone()));
            }
            (n_pushed, step) = (0, step + 1);
        }
    }
    network.flush().await;
    Ok(())
}

async fn worker(n_steps: usize, n_values: usize, addresses: &[String]) -> anyhow::Result<()> {
    let limits = Limits::with_tensor_bytes(4 * n_values);
    let addresses = (0..).map(TaskId::ps).zip(addresses.iter().cloned()).collect();
    let mut network = TcpNetwork::new(None, NetworkConfig::open(addresses, limits))?;
    let clock = RealClock::start();
    let mut links = BTreeMap::new();
    (0..N_PS).for_each(|index| network.connect(TaskId::ps(index)));
    while links.len() < N_PS as usize {
        match network.next().await {
            NetworkEvent::Connected { link, to } => {
                links.insert(link, to);
                network.send(link, Message::Heartbeat);
            }
            NetworkEvent::ConnectFailed { to, .. } => {
                clock.sleep_until(clock.now() + Duration::from_millis(10)).await;
                network.connect(to);
            }
            other => anyhow::bail!("{other:?}"),
        }
    }
    let start = clock.now();
    for step in 0..=n_steps {
        for _ in 0..N_PS {
            loop {
                match network.next().await {
                    NetworkEvent::Received { .. } => break,
                    NetworkEvent::Progress { .. } => {}
                    // After the last step, one ps may exit before the version of the other arrives.
                    NetworkEvent::Closed { .. } if step == n_steps => {}
                    other => anyhow::bail!("{other:?}"),
                }
            }
        }
        if step < n_steps {
            for link in links.keys() {
                network.send(*link, push(step, vec![step as f32; n_values].into()));
            }
        }
    }
    let took = clock.now() - start;
    println!(
        "{n_steps} steps with 2 x {n_values} values in each direction: {:.0} us per step, {:.0} \
         steps/s",
        took.as_micros() as f64 / n_steps as f64,
        n_steps as f64 / took.as_secs_f64()
    );
    network.flush().await;
    Ok(())
}

fn push(step: usize, gradient: Floats) -> Message {
    Message::Push {
        cut: Cut { generation: Generation::default(), step: Step(step as u64) },
        slot: Slot(0),
        loss: 0.5,
        recorded: unisono_core::protocol::Recorded::default(),
        gradient,
    }
}

fn version(step: usize, parameters: Floats) -> Message {
    Message::Version {
        cut: Cut { generation: Generation::default(), step: Step(step as u64) },
        tokens: vec![Slot(0)],
        received: Vec::new(),
        updates: Vec::new(),
        acknowledged: 0,
        parameters,
    }
}
