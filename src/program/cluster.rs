//! Determines the task of this process and the addresses of all tasks. Flags override the
//! environment of a cluster engine, such as Kubeflow, and that environment overrides the
//! configuration file. A note reports each value that a different value overrides.

#[cfg(test)]
mod tests;

use std::fmt::Display;

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, ValueEnum};

use unisono_config::hosts::HostList;
use unisono_config::keys::{HostKeys, SizeKeys};
use unisono_config::slurm::{SlurmError, SlurmStep};
use unisono_config::tf_config::{Role, TfConfig};
use unisono_config::values::Tasks;
use unisono_config::{ClusterSpec, Environment};
use unisono_core::ids::{Job, TaskId};

/// The port of the first task on each node, as in TensorFlow's resolver for Slurm.
const PORT_BASE: u16 = 8888;

/// The source of the task's number and of all addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum ClusterSource {
    /// `TF_CONFIG` if it is set, otherwise the lists of hosts.
    #[default]
    Auto,
    /// The lists of hosts; other sources are ignored.
    Hosts,
    /// `TF_CONFIG`.
    TfConfig,
    /// The environment of a Slurm step.
    Slurm,
}

/// The flags that determine the task of this process and the addresses of all tasks.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Cluster")]
pub(super) struct ClusterArgs {
    /// Source of this task's number and of all addresses: auto (TF_CONFIG if it is set, otherwise
    /// the lists of hosts), hosts, tf-config, or slurm (the environment of a Slurm step)
    /// [default: auto]
    #[arg(long, value_name = "HOW")]
    cluster: Option<ClusterSource>,
    /// Number of ps, with cluster=slurm or with the sparseCluster of TF_CONFIG. With cluster=slurm,
    /// the first N tasks are ps, and the others are workers
    #[arg(long, value_name = "N")]
    ps: Option<Tasks>,
    /// Number of workers, including the chief, if TF_CONFIG does not name all workers because of a
    /// sparseCluster or a map in cluster.worker
    #[arg(long, value_name = "N")]
    workers: Option<Tasks>,
    /// With cluster=slurm: port of the first task on each node; the other tasks have the ports
    /// after it [default: 8888]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port_base: Option<u16>,
}

impl ClusterArgs {
    const fn size(&self) -> SizeKeys {
        SizeKeys { ps: self.ps, workers: self.workers }
    }
}

/// The task and the cluster according to the command line and the configuration file.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) job: Option<Job>,
    pub(super) task_id: Option<u32>,
    pub(super) hosts: HostKeys,
    pub(super) cluster: ClusterArgs,
    pub(super) file: (HostKeys, SizeKeys),
}

/// The resolved role of this process, and the resolved cluster.
#[derive(Debug, PartialEq)]
pub(super) struct Found {
    pub(super) role: Role,
    pub(super) cluster: ClusterSpec,
    /// Whether a cluster engine, such as Kubeflow, placed the tasks.
    pub(super) is_placed: bool,
    /// Cluster settings that a stronger source overrode; logged as warnings.
    pub(super) notes: Vec<String>,
}

impl Asked {
    /// Resolves the role and the cluster from the strongest source.
    ///
    /// # Errors
    /// Returns an error if the source is incomplete or wrong, or the cluster does not contain this
    /// task.
    pub(super) fn find(self, environment: &Environment) -> anyhow::Result<Found> {
        let tf_config = environment.value(Environment::TF_CONFIG);
        match (self.cluster.cluster.unwrap_or_default(), tf_config) {
            (ClusterSource::Slurm, _) => self.of_slurm(environment),
            (ClusterSource::Auto | ClusterSource::TfConfig, Some(text)) => {
                let config = TfConfig::parse(text);
                let config = config.map_err(|error| {
                    anyhow!("{error}; or give --cluster hosts to ignore TF_CONFIG")
                });
                self.of_tf_config(&config?)
            }
            (ClusterSource::TfConfig, None) => bail!(
                "TF_CONFIG is not set: let the engine set it, or leave --cluster tf-config out"
            ),
            (ClusterSource::Auto | ClusterSource::Hosts, _) => self.of_hosts(),
        }
    }

    fn of_hosts(self) -> anyhow::Result<Found> {
        self.port_base_is_slurms()?;
        let task = TaskId {
            job: self.job.unwrap_or(Job::Worker),
            index: self.task_id.unwrap_or_default(),
        };
        let size = self.size();
        let hosts = self.hosts.or(self.file.0);
        let are_given = hosts != HostKeys::default();
        let cluster = ClusterSpec::resolve(hosts, &size)?;
        check_exists(task, &cluster, &Numbering { name: "--task-id", first: 0, remedy: "" })?;
        let n_tasks = cluster.job(task.job).len();
        let mut notes = Vec::new();
        if self.task_id.is_none() && are_given && n_tasks > 1 {
            notes.push(format!(
                "no --task-id is given, so this is {task} of {n_tasks} tasks of its job; another task \
                 without --task-id would replace it"
            ));
        }
        Ok(Found { role: Role::Task(task), cluster, is_placed: false, notes })
    }

    fn of_tf_config(self, config: &TfConfig) -> anyhow::Result<Found> {
        self.port_base_is_slurms()?;
        let SizeKeys { ps, workers } = self.size();
        let said = |job, flag: &Option<HostList>| {
            let n_tasks = if job == Job::Ps { &ps } else { &workers };
            let said = config.hosts(job, n_tasks.as_ref().map(|n| n.get()));
            // If a flag replaces the list of TF_CONFIG, an error in that list does not matter.
            if flag.is_some() { Ok(said.unwrap_or_default()) } else { said }
        };
        let said = HostKeys {
            ps_hosts: said(Job::Ps, &self.hosts.ps_hosts)?,
            worker_hosts: said(Job::Worker, &self.hosts.worker_hosts)?,
        };
        let (role, n_chiefs) = (config.role()?, config.n_chiefs());
        self.placed(Said { engine: "TF_CONFIG", hosts: said, role, n_chiefs })
    }

    fn of_slurm(self, environment: &Environment) -> anyhow::Result<Found> {
        let step = SlurmStep::read(environment)?;
        let n_ps = self.size().ps.context(
            "--cluster slurm needs --ps N (or ps in [cluster] of the file): the first N tasks of the \
             step are ps, and the others are workers",
        )?;
        let said = match step.cluster(n_ps.get(), self.cluster.port_base.unwrap_or(PORT_BASE)) {
            Ok(cluster) => {
                let list = |job| HostList::new(cluster.job(job).to_vec()).ok();
                HostKeys { ps_hosts: list(Job::Ps), worker_hosts: list(Job::Worker) }
            }
            // The flags replace all addresses from Slurm, so an invalid node name does not matter.
            Err(SlurmError::Host { .. })
                if self.hosts.ps_hosts.is_some() && self.hosts.worker_hosts.is_some() =>
            {
                HostKeys::default()
            }
            Err(error) => return Err(error.into()),
        };
        let role = Some(Role::Task(step.task(n_ps.get())));
        self.placed(Said { engine: "Slurm", hosts: said, role, n_chiefs: 0 })
    }

    /// Combines the role and the cluster that a cluster engine, such as Kubeflow, names with the
    /// other sources. Flags override the engine, and the engine overrides the configuration file.
    fn placed(self, said: Said<'_>) -> anyhow::Result<Found> {
        let Said { engine, hosts: said, role, n_chiefs } = said;
        let mut notes = Vec::new();
        let (flags, (file, size)) = (&self.hosts, &self.file);
        for (job, flag, said, of_file) in [
            (Job::Ps, &flags.ps_hosts, &said.ps_hosts, &file.ps_hosts),
            (Job::Worker, &flags.worker_hosts, &said.worker_hosts, &file.worker_hosts),
        ] {
            if flag.is_none() && said.is_none() {
                bail!(
                    "{engine} names no {job}: its cluster.{job} is missing or empty; have the engine \
                     start at least one, or give --{job}-hosts; `unisono local` trains on one \
                     machine"
                );
            }
            note(&mut notes, (&format!("--{job}-hosts"), flag), (engine, said));
            note(&mut notes, (engine, said), (&format!("{job}_hosts in the file"), of_file));
        }
        let hosts = flags.clone().or(said);
        let cluster = ClusterSpec::resolve(hosts, &self.cluster.size())
            .with_context(|| format!("the cluster of {engine}"))?;
        let n_tasks = cluster.size();
        for (key, n_tasks, of_file) in
            [("ps", n_tasks.n_ps, size.ps), ("workers", n_tasks.n_workers, size.workers)]
        {
            if let Some(of_file) = of_file.map(|n| n.get()).filter(|of_file| *of_file != n_tasks) {
                let of = format!("{key} in the file");
                notes.push(differs("the list of hosts", &n_tasks, &of, &of_file));
            }
        }
        let role = self.role(role, engine, &mut notes)?;
        if let Role::Task(task) = role {
            let leave = format!("leave that to {engine}, ");
            let index = format!("task.index in {engine}");
            let first = if task.job == Job::Worker { n_chiefs } else { 0 };
            let numbering = match self.task_id {
                Some(_) => Numbering { name: "--task-id", first: 0, remedy: &leave },
                None => Numbering { name: &index, first, remedy: "correct that, " },
            };
            check_exists(task, &cluster, &numbering)?;
        }
        Ok(Found { role, cluster, is_placed: true, notes })
    }

    /// Resolves the role of this process. The command line overrides the cluster engine.
    fn role(
        &self,
        said: Option<Role>,
        engine: &str,
        notes: &mut Vec<String>,
    ) -> anyhow::Result<Role> {
        let of_flags = |job, index| Role::Task(TaskId { job, index });
        let role = match (self.job, self.task_id, said) {
            (None, None, Some(said)) => return Ok(said),
            (Some(job), Some(index), _) => of_flags(job, index),
            (Some(job), None, Some(Role::Task(said))) if said.job == job => Role::Task(said),
            (None, Some(index), Some(Role::Task(said))) => of_flags(said.job, index),
            (Some(job), None, Some(said)) => bail!(
                "the command line says that this is a {job}, but {engine} says {}: also give \
                 --task-id, or let {engine} choose the job, with `unisono task`",
                name(said)
            ),
            (_, _, None) => bail!(
                "{engine} does not name this task: its task.type and task.index are missing; give \
                 --job-name and --task-id"
            ),
            (None, Some(_), Some(Role::Evaluator)) => bail!(
                "{engine} says that this is an evaluator, which has no --task-id: leave --task-id out, \
                 or also give --job-name"
            ),
        };
        if let Some(said) = said.filter(|said| *said != role) {
            let (role, said) = (name(role), name(said));
            notes.push(differs("the command line", &role, engine, &said));
        }
        Ok(role)
    }

    /// Returns the number of ps and of workers. Flags override the configuration file.
    fn size(&self) -> SizeKeys {
        self.cluster.size().or(self.file.1.clone())
    }

    fn port_base_is_slurms(&self) -> anyhow::Result<()> {
        match self.cluster.port_base {
            None => Ok(()),
            Some(port) => Err(anyhow!(
                "--port-base {port} has no effect without --cluster slurm: give --cluster slurm, or \
                 leave --port-base out"
            )),
        }
    }
}

/// The role and the cluster that a cluster engine, such as Kubeflow, names.
struct Said<'a> {
    engine: &'a str,
    hosts: HostKeys,
    role: Option<Role>,
    /// The number of workers that the engine calls chiefs and numbers separately. They are the
    /// first workers.
    n_chiefs: u32,
}

/// The source of a task's number, for an error message.
struct Numbering<'a> {
    /// The name of the flag or of the key.
    name: &'a str,
    /// The index of the task that has the number 0 in this source.
    first: u32,
    /// The first remedy for a wrong number, for the error message. The message also proposes to
    /// name more hosts.
    remedy: &'a str,
}

/// Checks that the cluster contains a task.
fn check_exists(
    task: TaskId,
    cluster: &ClusterSpec,
    numbering: &Numbering<'_>,
) -> anyhow::Result<()> {
    if cluster.address(task).is_some() {
        return Ok(());
    }
    let TaskId { job, index } = task;
    let Numbering { name, first, remedy } = numbering;
    let beside = if *first == 0 { "" } else { " beside the chief" };
    let has = match cluster.job(job).len() - *first as usize {
        0 => format!("no task{beside}"),
        1 => format!("1 task{beside}, so {name} is 0"),
        n_tasks => format!("{n_tasks} tasks{beside}, so {name} is 0 to {}", n_tasks - 1),
    };
    bail!(
        "task id {} is out of range: the job {job} has {has}; {remedy}or name more hosts in \
         --{job}-hosts",
        index - first
    )
}

/// Adds a note if the list of a stronger source differs from the list of a weaker source.
fn note(
    notes: &mut Vec<String>,
    (stronger, counts): (&str, &Option<HostList>),
    (weaker, said): (&str, &Option<HostList>),
) {
    if let (Some(counts), Some(said)) = (counts, said)
        && counts != said
    {
        notes.push(differs(stronger, counts, weaker, said));
    }
}

fn differs(stronger: &str, counts: &dyn Display, weaker: &str, said: &dyn Display) -> String {
    format!("{stronger} says {counts}, and overrides {weaker}, which says {said}")
}

fn name(role: Role) -> String {
    match role {
        Role::Task(task) => task.to_string(),
        Role::Evaluator => "an evaluator".to_owned(),
    }
}
