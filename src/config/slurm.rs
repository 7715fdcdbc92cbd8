//! Reads the job step of Slurm to which this task belongs: the rank of this task, and the node of
//! every task.
//!
//! This module assumes a block distribution: Slurm fills one node after the other, in the order of
//! the node list. A task fails if its own node or index contradicts this assumption.

mod node_list;
#[cfg(test)]
mod tests;

use self::node_list::expand;
use super::environment::Environment;
use super::hosts::{ClusterSpec, Host, HostList, HostPort};
use crate::hosts_error::HostsError;
use crate::values::digits;
use unisono_core::ids::TaskId;

/// Maximum number of tasks of a job step. Real job steps are smaller. The limit bounds the memory
/// that a malformed count can demand.
const MOST_TASKS: usize = 1 << 16;

const PROCID: &str = "SLURM_PROCID";
const NODE_LIST: &str = "SLURM_STEP_NODELIST";
const TASKS_PER_NODE: &str = "SLURM_STEP_TASKS_PER_NODE";
const NUM_TASKS: &str = "SLURM_STEP_NUM_TASKS";
const NODE_ID: &str = "SLURM_NODEID";
const LOCAL_ID: &str = "SLURM_LOCALID";
const NODE_NAME: &str = "SLURMD_NODENAME";

/// The tasks of a job step, and the rank of this task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlurmStep {
    rank: usize,
    /// For each rank, the node of the task and the task's index on that node. Never empty.
    places: Vec<Place>,
}

/// The node of a task, and the task's index on that node.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// The index of the node in the node list.
    node_idx: usize,
    node: String,
    /// The index of the task on its node.
    local_idx: usize,
}

/// The error if the environment variables of Slurm do not describe a usable job step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlurmError {
    /// Variables are missing, malformed or contradictory, or do not place every task on a node. The
    /// text contains the reason and a remedy.
    #[error("{0}")]
    Step(String),
    /// The name of a node is not a valid host name.
    #[error(
        "the node {node} of SLURM_STEP_NODELIST: {source}; or give addresses that all tasks reach, \
         with --ps-hosts and --worker-hosts"
    )]
    Host {
        /// The name of the node.
        node: String,
        /// The error of the host name.
        source: HostsError,
    },
    /// Two tasks would have the same address.
    #[error(transparent)]
    Cluster(#[from] HostsError),
}

impl SlurmStep {
    /// Reads the step from the environment of a task.
    ///
    /// # Errors
    /// Returns an error if a variable is missing or malformed, or if variables contradict each
    /// other.
    pub fn read(environment: &Environment) -> Result<Self, SlurmError> {
        let value = |name| environment.value(name).ok_or_else(|| not_set(name));
        let rank = number(PROCID, value(PROCID)?)?;
        let list = value(NODE_LIST)?;
        let wrong = |error| SlurmError::Step(format!("{NODE_LIST} is \"{list}\": {error}"));
        let nodes = expand(list).map_err(wrong)?;
        let counts = tasks_per_node(value(TASKS_PER_NODE)?)?;
        let disagree = |variable, is: usize, of, expected: String| {
            Err(SlurmError::Step(format!(
                "{variable} is {is}, but {of} has {expected}: all variables must belong to one step; \
                 start the tasks with srun, and pass its environment on unchanged"
            )))
        };
        if counts.len() != nodes.len() {
            let expected = format!("{} nodes ({list})", nodes.len());
            return disagree(TASKS_PER_NODE, counts.len(), NODE_LIST, expected);
        }
        let places: Vec<_> = in_blocks(&nodes, &counts).collect();
        let n_tasks = number(NUM_TASKS, value(NUM_TASKS)?)?;
        if n_tasks != places.len() {
            return disagree(NUM_TASKS, n_tasks, TASKS_PER_NODE, places.len().to_string());
        }
        if rank >= n_tasks {
            return disagree(
                PROCID,
                rank,
                NUM_TASKS,
                format!("{n_tasks}, of which none has that rank"),
            );
        }
        let step = Self { rank, places };
        step.check_distribution_in_blocks(environment)?;
        Ok(step)
    }

    /// Checks that Slurm has placed this task where a block distribution places the task's rank.
    /// Each task checks only its own place. That suffices, because a run needs all tasks, so a
    /// single task that fails the check prevents the run.
    fn check_distribution_in_blocks(&self, environment: &Environment) -> Result<(), SlurmError> {
        let Self { rank, places } = self;
        let Place { node_idx, node, local_idx } = &places[*rank];
        let fits = |variable, expected: &str, is: Option<&str>| match is {
            Some(is) if is != expected => Err(SlurmError::Step(format!(
                "task {rank} of the step is at {variable} {is}, but in blocks it would be at \
                 {expected}: give srun --distribution=block, so that every task knows the nodes of \
                 all tasks"
            ))),
            _ => Ok(()),
        };
        for (variable, expected) in [(NODE_ID, node_idx), (LOCAL_ID, local_idx)] {
            if let Some(is) = environment.value(variable) {
                let is = number(variable, is)?;
                fits(variable, &expected.to_string(), Some(&is.to_string()))?;
            }
        }
        fits(NODE_NAME, node, environment.value(NODE_NAME))
    }

    /// Returns the task of this process. The first `n_ps` ranks are parameter servers, and all
    /// other ranks are workers.
    #[must_use]
    pub fn task(&self, n_ps: u32) -> TaskId {
        let rank = u32::try_from(self.rank).expect("a step has at most 2^16 tasks");
        if rank < n_ps { TaskId::ps(rank) } else { TaskId::worker(rank - n_ps) }
    }

    /// Returns the addresses of all tasks. The tasks of one node have consecutive ports, starting
    /// with `port_base`.
    ///
    /// # Errors
    /// Returns an error if no task would be a worker, if a node has an invalid host name, if a port
    /// would exceed 65535, or if two tasks would have the same address.
    pub fn cluster(&self, n_ps: u32, port_base: u16) -> Result<ClusterSpec, SlurmError> {
        let n_tasks = self.places.len();
        if n_ps as usize >= n_tasks {
            return Err(SlurmError::Step(format!(
                "--ps {n_ps} makes all {n_tasks} tasks of the step ps, but at least one task must be \
                 a worker: give srun more --ntasks, or fewer --ps"
            )));
        }
        let address = |place: &Place| address(place, port_base);
        let mut all: Vec<_> = self.places.iter().map(address).collect::<Result<_, _>>()?;
        let workers = all.split_off(n_ps as usize);
        Ok(ClusterSpec::new(HostList::new(all)?, HostList::new(workers)?)?)
    }
}

fn address(Place { node, local_idx, .. }: &Place, port_base: u16) -> Result<HostPort, SlurmError> {
    let last = usize::from(port_base) + local_idx;
    let node = node.clone();
    let Ok(port) = u16::try_from(last) else {
        return Err(SlurmError::Step(format!(
            "the tasks of {node} would listen at ports from {port_base} to {last}, and 65535 is the \
             last: give a lower --port-base"
        )));
    };
    let host: Host = match node.parse() {
        Ok(host) => host,
        Err(source) => return Err(SlurmError::Host { node, source }),
    };
    Ok(HostPort::new(host, port))
}

fn in_blocks<'a>(nodes: &'a [String], counts: &'a [usize]) -> impl Iterator<Item = Place> + 'a {
    nodes.iter().zip(counts).enumerate().flat_map(|(node_idx, (node, count))| {
        (0..*count).map(move |local_idx| Place { node_idx, node: node.clone(), local_idx })
    })
}

/// Reads the numbers of tasks per node. `2,1(x3)` means two tasks on the first node, and one task
/// on each of the next three nodes.
fn tasks_per_node(text: &str) -> Result<Vec<usize>, SlurmError> {
    let wrong = || {
        SlurmError::Step(format!(
            "{TASKS_PER_NODE} is \"{text}\", but must be numbers of tasks, like 2,1(x3), at most \
             {MOST_TASKS} in all"
        ))
    };
    let mut counts = Vec::new();
    let mut n_tasks = 0;
    for part in text.split(',') {
        let (count, times) = match part.split_once("(x") {
            Some((count, times)) => (count, times.strip_suffix(')').ok_or_else(wrong)?),
            None => (part, "1"),
        };
        let whole = |text: &str| small(text).filter(|n| *n > 0).ok_or_else(wrong);
        let (count, times) = (whole(count)?, whole(times)?);
        n_tasks += count * times;
        if n_tasks > MOST_TASKS {
            return Err(wrong());
        }
        counts.extend(std::iter::repeat_n(count, times));
    }
    Ok(counts)
}

fn number(variable: &'static str, value: &str) -> Result<usize, SlurmError> {
    small(value).ok_or_else(|| {
        let what = "must be a whole number from 0 to 65535";
        SlurmError::Step(format!("{variable} is \"{value}\", but {what}"))
    })
}

/// Returns the error for a missing environment variable. A missing variable means that Slurm did
/// not start the task.
fn not_set(variable: &str) -> SlurmError {
    SlurmError::Step(format!(
        "{variable} is not set: start the tasks with srun, as `srun --ntasks 4 unisono task --cluster \
         slurm --ps 2`"
    ))
}

/// Reads a number below 2^16.
fn small(text: &str) -> Option<usize> {
    digits(text).filter(|number| *number < MOST_TASKS)
}
