//! Parses a command line into an action.

mod grammar;
mod own;
#[cfg(test)]
mod tests;

use std::path::Path;

use anyhow::{Context as _, ensure};
use clap::{CommandFactory as _, FromArgMatches as _};

use self::grammar::{
    CertsArgs, Cli, Command, ConfigArg, ConvertArgs, DoctorArgs, DoctorCommand, EvalArgs,
    EvalDataArgs, LocalArgs, TaskArgs, TopArgs, WholeRunArgs,
};
use super::action::Action;
use super::argv::CommandLine;
use super::certs::CertsConfig;
use super::cluster::{Asked, Found};
use super::convert::ConvertConfig;
use super::doctor::DoctorConfig;
use super::eval::EvalConfig;
use super::handed_document;
use super::local::LocalConfig;
use super::top::{Target, TopConfig};
use crate::program::doctor::patient::Patient;
use unisono_config::keys::{DataKeys, RunKeys};
use unisono_config::tf_config::Role;
use unisono_config::{Environment, FileKeys, RunConfig, RunDocument};
use unisono_core::ids::{Job, Step, TaskId};
use unisono_files::disk::LockedBy;
use unisono_learn::Workload;
use unisono_task::task_config::TaskConfig;
use unisono_tensors::tensor::Format;

/// The reason why a command line is not a valid command.
#[derive(Debug)]
pub enum ParseError {
    /// The flags are wrong or ask for help. Clap prints the error or the help, and determines the
    /// exit code.
    Clap(clap::Error),
    /// The values of the flags, of the configuration file or of the environment are wrong.
    Config(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for ParseError {
    fn from(error: E) -> Self {
        match error.into().downcast() {
            Ok(error) => Self::Clap(error),
            Err(error) => Self::Config(error),
        }
    }
}

/// Parses and validates a command line, the configuration file that it names, and the environment
/// of a cluster engine, such as Kubeflow. The workload may add flags, and a section to the file.
///
/// # Errors
/// Returns an error if the command line, the configuration file or the environment is wrong, or if
/// the command line asks for help.
pub fn parse(
    line: &CommandLine,
    environment: &Environment,
    workload: &Workload,
) -> Result<Action, ParseError> {
    if let Some(arguments) = line.for_the_simulator() {
        return Ok(Action::Sim(arguments.to_vec()));
    }
    // Without arguments, the program runs a task only if a cluster engine, such as Kubeflow, names
    // the task. A person who types only the program's name gets the help. Otherwise, the program
    // would run as worker 0, and wait forever for a ps that does not exist.
    let is_placed = environment.value(Environment::TF_CONFIG).is_some();
    let mut grammar = command(workload);
    let matches = if line.is_bare() && is_placed {
        grammar.try_get_matches_from_mut(line.as_task())?
    } else {
        grammar.try_get_matches_from_mut(line.arguments())?
    };
    let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut grammar))?;
    let sources = Sources { environment, workload };
    match cli.command {
        Command::Ps(args) => args.resolve(Some(Job::Ps), sources),
        Command::Worker(args) => args.resolve(Some(Job::Worker), sources),
        Command::Task(args) => args.task.resolve(args.job_name, sources),
        Command::Local(args) => args.resolve(workload).map(Action::Local),
        Command::Reference(args) => {
            let file = args.config.read(workload)?;
            args.resolve(file, workload).map(Action::Reference)
        }
        Command::Eval(args) => args.resolve(workload).map(Action::Eval),
        Command::Certs(args) => args.resolve(workload).map(Action::Certs),
        Command::Inspect(config) => Ok(Action::Inspect(config)),
        Command::Convert(args) => Ok(Action::Convert(args.resolve()?)),
        Command::Audit { logdir } => Ok(Action::Audit(logdir)),
        Command::Top(args) => Ok(Action::Top(args.resolve()?)),
        Command::Data { command } => Ok(Action::Data(command)),
        Command::Doctor(args) => args.resolve(sources).map(Action::Doctor),
        Command::Completions(args) => Ok(Action::Completions(args)),
        Command::Man(args) => Ok(Action::Man(args)),
        Command::Report(config) => Ok(Action::Report(config)),
        Command::Trace(config) => Ok(Action::Trace(config)),
        Command::Sim { arguments } => Ok(Action::Sim(arguments)),
    }
}

/// Returns the grammar of the command line, for completions and manual pages.
pub(super) fn command(workload: &Workload) -> clap::Command {
    own::add_to(Cli::command(), workload)
}

/// The sources of settings that are not on the command line itself.
#[derive(Clone, Copy)]
struct Sources<'a> {
    environment: &'a Environment,
    workload: &'a Workload,
}

impl ConfigArg {
    fn read(&self, workload: &Workload) -> anyhow::Result<FileKeys> {
        let read = |path| FileKeys::read(path, workload.flags());
        Ok(self.config.as_deref().map(read).transpose()?.unwrap_or_default())
    }
}

impl TaskArgs {
    fn resolve(self, job: Option<Job>, sources: Sources<'_>) -> Result<Action, ParseError> {
        let (bind, exit_with_parent) = (self.bind.clone(), self.exit_with_parent);
        let logdir_locked_by =
            if self.logdir_locked_by_parent { LockedBy::Parent } else { LockedBy::Nobody };
        let (found, run) = match &self.run_config {
            Some(document) => self.read_document(document, job)?,
            None => self.find(job, sources)?,
        };
        let Found { role, cluster, is_placed, notes } = found;
        Ok(match role {
            Role::Task(task) => Action::Task(TaskConfig {
                task,
                cluster,
                run,
                bind,
                is_placed,
                notes,
                exit_with_parent,
                logdir_locked_by,
            }),
            Role::Evaluator => Action::Eval(EvalConfig { notes, ..EvalConfig::of_run(run) }),
        })
    }

    /// Returns the role of this task and the configuration from the document that the parent
    /// process wrote. All other sources are ignored, because the environment of a cluster engine,
    /// such as Kubeflow, describes the parent process.
    fn read_document(&self, path: &Path, job: Option<Job>) -> anyhow::Result<(Found, RunConfig)> {
        let RunDocument { cluster, run } = handed_document::read(path)?;
        let task =
            TaskId { job: job.unwrap_or(Job::Worker), index: self.task_id.unwrap_or_default() };
        ensure!(cluster.address(task).is_some(), "the cluster of {} has no {task}", path.display());
        let role = Role::Task(task);
        Ok((Found { role, cluster, is_placed: false, notes: Vec::new() }, run))
    }

    /// Determines the role of this task and the configuration from the flags, the environment of a
    /// cluster engine, such as Kubeflow, and the configuration file.
    fn find(
        self,
        job: Option<Job>,
        Sources { environment, workload }: Sources<'_>,
    ) -> anyhow::Result<(Found, RunConfig)> {
        let file = self.config.read(workload)?;
        let asked = Asked {
            job,
            task_id: self.task_id,
            hosts: self.hosts,
            cluster: self.cluster,
            file: (file.hosts, file.size),
        };
        let found = asked.find(environment)?;
        let mut run = RunConfig::resolve(self.run.or(file.run), found.cluster.size())?;
        run.fresh = self.fresh.fresh;
        run.own = self.own.settings(file.own, workload)?;
        ensure!(
            !(run.fresh && found.is_placed),
            "--fresh is for a task that a person starts: an engine restarts a task with the same \
             flags, and each restart would move the run aside; give another --logdir"
        );
        Ok((found, run))
    }
}

impl LocalArgs {
    fn resolve(self, workload: &Workload) -> Result<LocalConfig, ParseError> {
        let file = self.whole.config.read(workload)?;
        let max_restarts = self.local.or(file.local.clone()).max_restarts()?;
        let run = self.whole.resolve(file, workload)?;
        run.metrics_of(TaskId::worker(run.sync.total_num_replicas - 1))?;
        Ok(LocalConfig { run, max_restarts })
    }
}

impl DoctorArgs {
    fn resolve(self, sources: Sources<'_>) -> Result<DoctorConfig, ParseError> {
        let task = |args: TaskArgs, job| match args.resolve(Some(job), sources)? {
            Action::Task(config) => Ok(Patient::Task(Box::new(config))),
            _ => Err(ParseError::Config(anyhow::anyhow!(
                "this task is the evaluator of its cluster, which needs only the logdir and the data; \
                 run `unisono doctor` where a ps or a worker will run"
            ))),
        };
        let patient = match self.command {
            Some(DoctorCommand::Ps(args)) => task(*args, Job::Ps)?,
            Some(DoctorCommand::Worker(args)) => task(*args, Job::Worker)?,
            Some(DoctorCommand::Local(args)) => {
                Patient::Local(Box::new(args.resolve(sources.workload)?))
            }
            None => {
                let run = RunConfig::default();
                Patient::Local(Box::new(LocalConfig { run, max_restarts: None }))
            }
        };
        Ok(DoctorConfig { patient, json: self.json })
    }
}

impl WholeRunArgs {
    fn resolve(self, file: FileKeys, workload: &Workload) -> Result<RunConfig, ParseError> {
        let size = self.size.or(file.size).resolve(&file.hosts);
        let run = RunConfig::resolve(self.run.or(file.run), size)?;
        let own = self.own.settings(file.own, workload)?;
        Ok(RunConfig { fresh: self.fresh.fresh, own, ..run })
    }
}

impl TopArgs {
    fn resolve(self) -> anyhow::Result<TopConfig> {
        let targets: Result<_, _> = self.targets.iter().map(|word| Target::parse(word)).collect();
        Ok(TopConfig { targets: targets.map_err(anyhow::Error::msg)?, once: self.once })
    }
}

impl CertsArgs {
    fn resolve(self, workload: &Workload) -> Result<CertsConfig, ParseError> {
        let file = self.config.read(workload)?;
        let size = self.size.or(file.size).resolve(&self.hosts.or(file.hosts));
        Ok(CertsConfig { folder: self.folder, size, days: self.days })
    }
}

impl ConvertArgs {
    fn resolve(self) -> anyhow::Result<ConvertConfig> {
        let format = |path: &Path| {
            Format::of(path).with_context(|| {
                format!("{}: give a name that ends in .safetensors or .npz", path.display())
            })
        };
        let (from, to) = (format(&self.from)?, format(&self.to)?);
        ensure!(from != to, "both files are {from}, so there is nothing to convert");
        Ok(ConvertConfig { from: self.from, format: from, to: self.to, overwrites: self.force })
    }
}

impl EvalArgs {
    fn resolve(self, workload: &Workload) -> Result<EvalConfig, ParseError> {
        let file = self.config.read(workload)?;
        // `eval` reads the configuration file of a run, so the flags and the file are checked as
        // for a run.
        let EvalDataArgs { data_dir, label_column, test_size, validation_size } = self.data;
        let data = DataKeys { data_dir, label_column, test_size, validation_size };
        let mut keys = RunKeys { data, ..RunKeys::default() };
        keys.checkpoint.logdir = self.logdir;
        let size = file.size.resolve(&file.hosts);
        let run = RunConfig::resolve(keys.or(file.run), size)?;
        let interval =
            || self.eval_interval_secs.interval().context("--eval-interval-secs must be above 0");
        Ok(EvalConfig {
            logdir: run.logdir,
            data_dir: run.data_dir,
            validation_size: run.validation_size,
            test_size: run.test_size,
            label_column: run.label_column,
            watch: self.watch.then(interval).transpose()?,
            until: self.training_steps.map(|steps| Step(steps.get())),
            notes: Vec::new(),
        })
    }
}
