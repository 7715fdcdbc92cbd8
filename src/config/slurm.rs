//! Slurm's step: which of its tasks this is, and on which node each of them runs.
//!
//! The tasks of a step are assumed to be dealt out in blocks, node by node in the order of the node
//! list; what Slurm says of this task has to fit that.

mod node_list;
#[cfg(test)]
mod tests;

use super::environment::Environment;
use super::hosts::{ClusterSpec, Host, HostList, HostPort};
use crate::hosts_error::HostsError;
use unisono_core::ids::TaskId;

pub use node_list::{NodeListError, expand};

/// More tasks than any step has.
const MOST_TASKS: usize = 1 << 16;

const PROCID: &str = "SLURM_PROCID";
const NODE_LIST: &str = "SLURM_STEP_NODELIST";
const TASKS_PER_NODE: &str = "SLURM_STEP_TASKS_PER_NODE";
const NUM_TASKS: &str = "SLURM_STEP_NUM_TASKS";
const NODE_ID: &str = "SLURM_NODEID";
const LOCAL_ID: &str = "SLURM_LOCALID";
const NODE_NAME: &str = "SLURMD_NODENAME";

/// The tasks of a step, and which of them this is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlurmStep {
    rank: usize,
    /// Where each task runs, by rank; not empty.
    places: Vec<Place>,
}

/// Where a task runs.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    /// The number of its node in the list.
    node_idx: usize,
    node: String,
    /// Its number among those of its node.
    local_idx: usize,
}

/// Why a step is not one of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SlurmError {
    /// It was not started by Slurm.
    #[error(
        "{0} is not set: start the tasks with srun, as `srun --ntasks 4 unisono task --cluster slurm \
         --ps 2`"
    )]
    NotSet(&'static str),
    /// A variable that should be a number.
    #[error("{variable} is \"{value}\", and must be a whole number from 0 to 65535")]
    Number {
        /// Its name.
        variable: &'static str,
        /// Its value.
        value: String,
    },
    /// Nodes that cannot be read.
    #[error("SLURM_STEP_NODELIST is \"{value}\": {source}")]
    NodeList {
        /// Its value.
        value: String,
        /// What is wrong.
        source: NodeListError,
    },
    /// Counts that cannot be read.
    #[error(
        "SLURM_STEP_TASKS_PER_NODE is \"{0}\", and must be numbers of tasks, like 2,1(x3), at most \
         65536 in all"
    )]
    TasksPerNode(String),
    /// Two variables of two steps.
    #[error(
        "{variable} says {is}, but {of} says {expected}: all of them must be of one step; start the \
         tasks with srun, and pass its environment on unchanged"
    )]
    Disagree {
        /// The one.
        variable: &'static str,
        /// What it says.
        is: String,
        /// The other.
        of: &'static str,
        /// What that says.
        expected: String,
    },
    /// Ranks are dealt out otherwise.
    #[error(
        "task {rank} of the step is at {variable} {is}, but in blocks it would be at {expected}: \
         give srun --distribution=block, so that every task knows where the others are"
    )]
    NotInBlocks {
        /// The rank.
        rank: usize,
        /// Which variable shows it.
        variable: &'static str,
        /// Where it is.
        is: String,
        /// Where it would be.
        expected: String,
    },
    /// Nobody would be left.
    #[error(
        "--ps {n_ps} of the {n_tasks} tasks of the step are ps, and at least one has to be a worker: \
         give srun more --ntasks, or fewer --ps"
    )]
    NoWorkers {
        /// The ps.
        n_ps: u32,
        /// All tasks.
        n_tasks: usize,
    },
    /// A node whose name is no host.
    #[error(
        "the node {node} of SLURM_STEP_NODELIST: {source}; or give addresses that all tasks reach, \
         with --ps-hosts and --worker-hosts"
    )]
    Host {
        /// Its name.
        node: String,
        /// What is wrong with it.
        source: HostsError,
    },
    /// Not that many ports.
    #[error(
        "the tasks of {node} would listen at ports from {port_base} to {last}, and 65535 is the \
         last: give a lower --port-base"
    )]
    Ports {
        /// The node.
        node: String,
        /// The first.
        port_base: u16,
        /// The last.
        last: usize,
    },
    /// A node is there twice.
    #[error(transparent)]
    Cluster(#[from] HostsError),
}

impl SlurmStep {
    /// Reads what Slurm tells a task.
    ///
    /// # Errors
    /// If it tells nothing, or several things that do not fit each other.
    pub fn read(environment: &Environment) -> Result<Self, SlurmError> {
        let value = |name| environment.value(name).ok_or(SlurmError::NotSet(name));
        let rank = number(PROCID, value(PROCID)?)?;
        let list = value(NODE_LIST)?;
        let nodes = expand(list)
            .map_err(|source| SlurmError::NodeList { value: list.to_owned(), source })?;
        let counts = tasks_per_node(value(TASKS_PER_NODE)?)?;
        let disagree = |variable, is: usize, of, expected: String| {
            Err(SlurmError::Disagree { variable, is: is.to_string(), of, expected })
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
        step.is_dealt_out_in_blocks(environment)?;
        Ok(step)
    }

    /// Whether Slurm has put this task where we count on it to be. If any is elsewhere, at least
    /// two are, and no run begins without them.
    fn is_dealt_out_in_blocks(&self, environment: &Environment) -> Result<(), SlurmError> {
        let Place { node_idx, node, local_idx } = &self.places[self.rank];
        let fits = |variable, expected: &str, is: Option<&str>| match is {
            Some(is) if is != expected => Err(SlurmError::NotInBlocks {
                rank: self.rank,
                variable,
                is: is.to_owned(),
                expected: expected.to_owned(),
            }),
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

    /// Which task this is: the first ranks are the ps.
    #[must_use]
    pub fn task(&self, n_ps: u32) -> TaskId {
        let rank = u32::try_from(self.rank).expect("a step has at most 2^16 tasks");
        if rank < n_ps { TaskId::ps(rank) } else { TaskId::worker(rank - n_ps) }
    }

    /// Where all tasks are: each at the port that follows that of the task before it on its node.
    ///
    /// # Errors
    /// If there is no task left to be a worker, or a node's name or a port cannot be used.
    pub fn cluster(&self, n_ps: u32, port_base: u16) -> Result<ClusterSpec, SlurmError> {
        let n_tasks = self.places.len();
        if n_ps as usize >= n_tasks {
            return Err(SlurmError::NoWorkers { n_ps, n_tasks });
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
        return Err(SlurmError::Ports { node, port_base, last });
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

/// `2,1(x3)`: two tasks on the first node, one on each of the next three.
fn tasks_per_node(text: &str) -> Result<Vec<usize>, SlurmError> {
    let wrong = || SlurmError::TasksPerNode(text.to_owned());
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
    small(value).ok_or_else(|| SlurmError::Number { variable, value: value.to_owned() })
}

/// A number below 2^16, in digits alone.
fn small(text: &str) -> Option<usize> {
    let all_digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| all_digits && *number < MOST_TASKS)
}
