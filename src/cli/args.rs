//! The flags of every command, and the configuration that comes out of them.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use clap::{ArgAction, Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

use super::argv::CommandLine;
use super::certs::CertsConfig;
use super::cluster::{Asked, ClusterArgs, Found};
use super::convert::ConvertConfig;
use super::data::DataCommand;
use super::doctor::{DoctorConfig, Patient};
use super::eval::EvalConfig;
use super::inspect::InspectConfig;
use super::local::LocalConfig;
use super::manual::{CompletionsArgs, ManArgs};
use super::report::ReportConfig;
use super::top::{Target, TopConfig};
use super::trace::TraceConfig;
use crate::config::keys::{DataKeys, HostKeys, LocalKeys, RunKeys, SizeKeys};
use crate::config::tf_config::Role;
use crate::config::values::{Seconds, Steps};
use crate::config::{
    ClusterSize, ClusterSpec, Environment, FileKeys, HostPort, LogFormat, RunConfig,
};
use crate::ids::{Job, Step, TaskId};
use crate::tensors::Format;

/// A validated command.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// `unisono ps`, `unisono worker`, or the original's form.
    Task(TaskConfig),
    /// `unisono local`
    Local(LocalConfig),
    /// `unisono reference`
    Reference(RunConfig),
    /// `unisono eval`
    Eval(EvalConfig),
    /// `unisono certs`
    Certs(CertsConfig),
    /// `unisono inspect`
    Inspect(InspectConfig),
    /// `unisono convert`
    Convert(ConvertConfig),
    /// `unisono audit`, of a folder.
    Audit(PathBuf),
    /// `unisono top`
    Top(TopConfig),
    /// `unisono data`
    Data(DataCommand),
    /// `unisono doctor`
    Doctor(DoctorConfig),
    /// `unisono completions`
    Completions(CompletionsArgs),
    /// `unisono man`
    Man(ManArgs),
    /// `unisono report`
    Report(ReportConfig),
    /// `unisono trace`
    Trace(TraceConfig),
    /// `unisono sim`, with the arguments of the simulator.
    Sim(Vec<OsString>),
}

impl Action {
    /// The form of the log, and the task whose it is.
    #[must_use]
    pub const fn log(&self) -> (LogFormat, Option<TaskId>) {
        match self {
            Self::Task(config) => (config.run.log_format, Some(config.task)),
            Self::Local(config) => (config.run.log_format, None),
            Self::Reference(run) => (run.log_format, None),
            _ => (LogFormat::Text, None),
        }
    }

    /// What was said of the cluster, and does not count.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        match self {
            Self::Task(config) => &config.notes,
            Self::Eval(config) => &config.notes,
            _ => &[],
        }
    }
}

/// One task of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskConfig {
    /// Which one.
    pub task: TaskId,
    /// Where all of them are; it has the task.
    pub cluster: ClusterSpec,
    /// What all of them do; its sizes are the cluster's.
    pub run: RunConfig,
    /// Where to listen, if that is said.
    pub bind: Option<HostPort>,
    /// Whether an engine says where the tasks are. Then a name may be known only later, and it may
    /// be known to others before this task itself: without `bind`, all addresses are listened at.
    pub is_placed: bool,
    /// What was said of the cluster, and does not count.
    pub notes: Vec<String>,
    /// Whether to end when standard input does; see [`super::StopRequests`].
    pub exit_with_parent: bool,
}

/// Why there is no command.
#[derive(Debug)]
pub enum ParseError {
    /// The flags are wrong, or help was asked for: clap prints it, and knows the exit code.
    Clap(clap::Error),
    /// What they say is wrong.
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

/// Parses and validates a command line, the file that it names, and what an engine says of a task.
///
/// # Errors
/// If something is wrong with any of them, or help was asked for.
pub fn parse(line: &CommandLine, environment: &Environment) -> Result<Action, ParseError> {
    if let Some(arguments) = line.for_the_simulator() {
        return Ok(Action::Sim(arguments.to_vec()));
    }
    match Cli::try_parse_from(line.arguments())?.command {
        Command::Ps(args) => args.resolve(Some(Job::Ps), environment),
        Command::Worker(args) => args.resolve(Some(Job::Worker), environment),
        Command::Task(args) => args.task.resolve(args.job_name.map(Job::from), environment),
        Command::Local(args) => args.resolve().map(Action::Local),
        Command::Reference(args) => {
            let file = args.config.read()?;
            args.resolve(file).map(Action::Reference)
        }
        Command::Eval(args) => args.resolve().map(Action::Eval),
        Command::Certs(args) => args.resolve().map(Action::Certs),
        Command::Inspect(config) => Ok(Action::Inspect(config)),
        Command::Convert(args) => Ok(Action::Convert(args.resolve()?)),
        Command::Audit { logdir } => Ok(Action::Audit(logdir)),
        Command::Top(args) => Ok(Action::Top(args.resolve()?)),
        Command::Data { command } => Ok(Action::Data(command)),
        Command::Doctor(args) => args.resolve(environment).map(Action::Doctor),
        Command::Completions(args) => Ok(Action::Completions(args)),
        Command::Man(args) => Ok(Action::Man(args)),
        Command::Report { logdir, output } => Ok(Action::Report(ReportConfig { logdir, output })),
        Command::Trace { logdir, output } => Ok(Action::Trace(TraceConfig { logdir, output })),
        Command::Sim { arguments } => Ok(Action::Sim(arguments)),
    }
}

/// The command line, for who describes it.
pub(super) fn command() -> clap::Command {
    Cli::command()
}

/// Trains neural networks with parameter servers, so that the loss curve is the same to the bit
/// whatever the timing, the failures and the cluster.
#[derive(Debug, Parser)]
#[command(
    name = "unisono",
    version,
    disable_help_flag = true,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = "\
Examples:
  unisono local                         A cluster of 2 ps and 2 workers, here
  unisono local --workers 4 --training-steps 1000
  unisono ps --task-id 0 --ps-hosts a:2222 --worker-hosts b:2222,c:2222
  unisono worker --task-id 1 --ps-hosts a:2222 --worker-hosts b:2222,c:2222

The command lines of the original script work as they are:
  unisono --job_name=ps --task_id=0 --ps_hosts=… --worker_hosts=…

Where an engine sets TF_CONFIG, `unisono` alone is the task that it names.
In a Slurm step:
  srun --ntasks 4 unisono task --cluster slurm --ps 2

`unisono COMMAND --help` has the flags of a command. Dashes and underscores in
their names are the same. UNISONO_LOG=debug says more on standard error.

Exit codes: 0 all is done; 1 it could not go on; 2 a wrong command line or
configuration; 3 a loss that is no number; 130 and 143 stopped by a signal;
138 given up waiting."
)]
struct Cli {
    /// Print this help
    // One form of help, and that the short one: a setting a line, or two.
    #[arg(short, long, action = ArgAction::HelpShort, global = true, help_heading = "Help")]
    help: Option<bool>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a whole cluster on this machine, one process a task
    #[command(
        allow_negative_numbers = true,
        after_help = "\
Examples:
  unisono local
  unisono local --ps 1 --workers 4 --replicas-to-aggregate 3
  unisono local --config run.toml --optimizer adam --learning-rate 0.001
  unisono local --supervise --max-restarts 3

Ctrl-C saves a checkpoint and ends; the same command goes on from there."
    )]
    Local(LocalArgs),
    /// Run one parameter server
    #[command(
        allow_negative_numbers = true,
        after_help = "\
Examples:
  unisono ps --task-id 0 --ps-hosts a:2222,b:2222 --worker-hosts c:2222,d:2222
  unisono ps --task-id 1 --config cluster.toml --bind 0.0.0.0:2222

All tasks need the same training flags; the chief, worker 0, checks them."
    )]
    Ps(TaskArgs),
    /// Run one worker; worker 0 is the chief, which saves checkpoints and losses
    #[command(
        allow_negative_numbers = true,
        after_help = "\
Examples:
  unisono worker --task-id 0 --ps-hosts a:2222,b:2222 --worker-hosts c:2222,d:2222
  unisono worker --task-id 1 --config cluster.toml

Tasks may start in any order; all of them need the same training flags."
    )]
    Worker(TaskArgs),
    /// Compute the same run in one plain loop, without a cluster: the oracle
    #[command(
        allow_negative_numbers = true,
        after_help = "\
Example: these two write the same bytes to losses.csv
  unisono local     --workers 2 --training-steps 300 --logdir a
  unisono reference --workers 2 --training-steps 300 --logdir b"
    )]
    Reference(WholeRunArgs),
    /// Print the accuracy of the latest checkpoint
    #[command(
        allow_negative_numbers = true,
        after_help = "\
Examples:
  unisono eval --logdir ./mnist_model/
  unisono eval --logdir ./mnist_model/ --watch"
    )]
    Eval(EvalArgs),
    /// Check what a run needs before it starts: ports, names, files, clock, bits
    #[command(after_help = "\
Examples:
  unisono doctor                         What `unisono local` needs
  unisono doctor local --ps 4 --logdir /data/run
  unisono doctor worker --task-id 1 --config cluster.toml
  unisono doctor --json ps --ps-hosts a:2222 --worker-hosts b:2222

Put `doctor` before a command and its flags. Nothing that is there is changed.
A line each: ok, warn (a run can start) or fail (it would not), and what to do.

Exits with 0 if a run can start, and 1 if not.")]
    Doctor(DoctorArgs),
    /// Fetch a data set, or look at one
    #[command(arg_required_else_help = true)]
    Data {
        #[command(subcommand)]
        command: DataCommand,
    },
    /// Show what is in a checkpoint, and whether it is whole
    #[command(after_help = "\
Examples:
  unisono inspect ./mnist_model/
  unisono inspect model.npz --json

Exits with 0 if the file is whole, and with 1 if it is damaged: then it says
how, and shows what can still be read.")]
    Inspect(InspectConfig),
    /// Convert a checkpoint to numpy's npz, or back
    #[command(after_help = "\
Examples:
  unisono convert ./mnist_model/model.ckpt-10000.safetensors model.npz
  unisono convert model.npz run2/model.ckpt-10000.safetensors

What was converted back is the same file to the byte, and training goes on from
it. Arrays that numpy saved become tensors for --init-from.")]
    Convert(ConvertArgs),
    /// Make a CA and a certificate for each task, to try mutual TLS
    #[command(
        allow_negative_numbers = true,
        after_help = "\
Examples:
  unisono certs certs --ps 2 --workers 3
  unisono ps --task-id 0 --tls-cert certs/ps-0.pem \\
    --tls-key certs/ps-0-key.pem --tls-ca certs/ca.pem
  unisono local --workers 3 --tls-cert certs/local.pem \\
    --tls-key certs/local-key.pem --tls-ca certs/ca.pem

Each task needs its own two files and ca.pem. Whoever has ca-key.pem can be any
task: keep it off the cluster. No file that exists is touched."
    )]
    Certs(CertsArgs),
    /// Check the ledgers of a run against the rules of the protocol
    #[command(after_help = "\
Example:
  unisono local --ledger --logdir /tmp/run
  unisono audit /tmp/run

It holds what every shard made of every update against the rules, against the
losses and against the checkpoints, and names the first thing that is wrong.
`unisono-sim replay --ledger` computes the run again.

Exits with 0 if all is clean, 1 if a rule is broken, 2 if a file cannot be read,
and 3 if nothing is broken but not every update was seen on every shard.")]
    Audit {
        /// Folder in which all ledgers of the run are
        #[arg(value_name = "LOGDIR", default_value = "./mnist_model/")]
        logdir: PathBuf,
    },
    /// Watch a running cluster, or the folder of a run
    #[command(after_help = "\
Examples:
  unisono local --metrics 127.0.0.1:9100
  unisono top 127.0.0.1:9100-9103
  unisono top /tmp/run

Of tasks it shows step and speed, who waits for whom, bytes, the loss, and what
has gone wrong; of a logdir, what its losses, checkpoints and ledgers tell.
q quits. Where there is no terminal it prints one table.")]
    Top(TopArgs),
    /// Print a script that completes commands and flags in a shell
    #[command(after_help = "\
Examples:
  source <(unisono completions bash)     In ~/.bashrc, or for this shell only
  unisono completions zsh > ~/.zfunc/_unisono
  unisono completions fish > ~/.config/fish/completions/unisono.fish")]
    Completions(CompletionsArgs),
    /// Write the manual pages
    #[command(after_help = "\
Examples:
  unisono man | man -l -                 Read the first page
  unisono man /usr/local/share/man/man1  Install all of them")]
    Man(ManArgs),
    /// Write one page that shows a run: losses, timeline, critical path, updates
    #[command(after_help = "\
Examples:
  unisono local --trace --logdir /tmp/run
  unisono report /tmp/run
  unisono report /tmp/run -o run.html

The page needs nothing but itself: no network, no other file. Without --trace it
shows what the losses and the ledgers tell. docs/report.md explains it.")]
    Report {
        /// Folder in which all traces of the run are
        #[arg(value_name = "LOGDIR", default_value = "./mnist_model/")]
        logdir: PathBuf,
        /// File to write [default: report.html in the folder]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Write everything that happened in a run, for ui.perfetto.dev
    #[command(after_help = "\
Example:
  unisono local --trace --logdir /tmp/run
  unisono trace /tmp/run -o run.json

Each task is a process there; arrows are messages.")]
    Trace {
        /// Folder in which all traces of the run are
        #[arg(value_name = "LOGDIR", default_value = "./mnist_model/")]
        logdir: PathBuf,
        /// File to write [default: standard output]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Run the simulator, `unisono-sim`, with what follows
    #[command(disable_help_flag = true)]
    Sim {
        /// Arguments of unisono-sim
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<OsString>,
    },
    /// Run the task that an engine names, or that --job-name does, as in the original script
    #[command(
        allow_negative_numbers = true,
        override_usage = "unisono [--job_name=ps|worker] [--task_id=N] [OPTIONS]",
        after_help = "\
Examples:
  unisono --job_name=ps --task_id=0
  unisono --job_name=worker --task_id=1 \\
    --ps_hosts=a:2222,b:2222 --worker_hosts=c:2222,d:2222
  TF_CONFIG='{\"cluster\": …, \"task\": …}' unisono
  srun --ntasks 4 unisono task --cluster slurm --ps 2"
    )]
    Task(JobArgs),
}

#[derive(Args, Debug)]
struct JobArgs {
    /// Job of this task [default: worker]
    #[arg(long, value_name = "JOB", help_heading = "Cluster")]
    job_name: Option<JobName>,
    #[command(flatten)]
    task: TaskArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum JobName {
    Ps,
    Worker,
}

impl From<JobName> for Job {
    fn from(name: JobName) -> Self {
        match name {
            JobName::Ps => Self::Ps,
            JobName::Worker => Self::Worker,
        }
    }
}

#[derive(Args, Debug)]
struct TaskArgs {
    /// Number of this task in its job, from 0 [default: 0]
    #[arg(long, alias = "task-index", value_name = "N", help_heading = "Cluster")]
    task_id: Option<u32>,
    #[command(flatten)]
    hosts: HostKeys,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Address to listen at; a worker calls and is not called [default: this task's in the list of
    /// hosts; its port at all addresses, if an engine says where the tasks are]
    #[arg(long, value_name = "HOST:PORT", help_heading = "Cluster")]
    bind: Option<HostPort>,
    #[command(flatten)]
    run: RunKeys,
    #[command(flatten)]
    config: ConfigArg,
    /// End when standard input does; a line `stop` there asks for a clean end
    #[arg(long, hide = true)]
    exit_with_parent: bool,
}

#[derive(Args, Debug)]
struct LocalArgs {
    #[command(flatten)]
    whole: WholeRunArgs,
    #[command(flatten)]
    local: LocalKeys,
}

#[derive(Args, Debug)]
struct DoctorArgs {
    /// Print one JSON object instead of lines
    #[arg(long, global = true, help_heading = "Output")]
    json: bool,
    #[command(subcommand)]
    command: Option<DoctorCommand>,
}

#[derive(Debug, Subcommand)]
enum DoctorCommand {
    /// What a cluster on this machine needs
    #[command(allow_negative_numbers = true)]
    Local(Box<LocalArgs>),
    /// What a parameter server needs
    #[command(allow_negative_numbers = true)]
    Ps(Box<TaskArgs>),
    /// What a worker needs
    #[command(allow_negative_numbers = true)]
    Worker(Box<TaskArgs>),
}

/// All tasks of a run at once.
#[derive(Args, Debug)]
struct WholeRunArgs {
    #[command(flatten)]
    size: SizeKeys,
    #[command(flatten)]
    run: RunKeys,
    #[command(flatten)]
    config: ConfigArg,
}

#[derive(Args, Debug)]
struct EvalArgs {
    /// Folder of the checkpoints [default: ./mnist_model/]
    #[arg(long, value_name = "DIR", help_heading = "Files")]
    logdir: Option<PathBuf>,
    #[command(flatten)]
    data: DataKeys,
    /// Go on, and print the accuracy of every new checkpoint
    #[arg(long, help_heading = "Output")]
    watch: bool,
    /// With watch: end after the checkpoint of this step [default: go on]
    #[arg(long, value_name = "STEPS", help_heading = "Output", requires = "watch")]
    training_steps: Option<Steps>,
    /// Seconds between two looks for a new checkpoint
    #[arg(long, value_name = "SECS", default_value = "10", help_heading = "Output")]
    eval_interval_secs: Seconds,
    #[command(flatten)]
    config: ConfigArg,
}

#[derive(Args, Debug)]
struct CertsArgs {
    /// Folder for the files
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    #[command(flatten)]
    size: SizeKeys,
    #[command(flatten)]
    hosts: HostKeys,
    /// Days for which the certificates are valid
    #[arg(long, value_name = "DAYS", default_value_t = 365, help_heading = "Files")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
    #[command(flatten)]
    config: ConfigArg,
}

#[derive(Args, Debug)]
struct TopArgs {
    /// Where tasks serve their metrics, as HOST:PORT or HOST:FIRST-LAST; or a logdir
    #[arg(value_name = "TARGET", default_value = "./mnist_model/")]
    targets: Vec<String>,
    /// Print one table, and end
    #[arg(long, help_heading = "Output")]
    once: bool,
}

#[derive(Args, Debug)]
struct ConvertArgs {
    /// File to read
    #[arg(value_name = "FROM")]
    from: PathBuf,
    /// File to write: .npz if FROM is .safetensors, and the other way round
    #[arg(value_name = "TO")]
    to: PathBuf,
    /// Write over TO if it exists
    #[arg(long, help_heading = "Files")]
    force: bool,
}

#[derive(Args, Debug)]
struct ConfigArg {
    /// File with any of these settings; flags beat it
    #[arg(long, value_name = "FILE.toml", help_heading = "Files")]
    config: Option<PathBuf>,
}

impl ConfigArg {
    fn read(&self) -> anyhow::Result<FileKeys> {
        let file = self.config.as_deref().map(FileKeys::read);
        Ok(file.transpose()?.unwrap_or_default())
    }
}

impl TaskArgs {
    fn resolve(self, job: Option<Job>, environment: &Environment) -> Result<Action, ParseError> {
        let file = self.config.read()?;
        let asked = Asked {
            job,
            task_id: self.task_id,
            hosts: self.hosts,
            cluster: self.cluster,
            file: (file.hosts, file.size),
        };
        let Found { role, cluster, is_placed, notes } = asked.find(environment)?;
        let run = RunConfig::resolve(self.run.or(file.run), ClusterSize::of(&cluster))?;
        let (bind, exit_with_parent) = (self.bind, self.exit_with_parent);
        Ok(match role {
            Role::Task(task) => Action::Task(TaskConfig {
                task,
                cluster,
                run,
                bind,
                is_placed,
                notes,
                exit_with_parent,
            }),
            Role::Evaluator => Action::Eval(EvalConfig { notes, ..EvalConfig::of_run(run) }),
        })
    }
}

impl LocalArgs {
    fn resolve(self) -> Result<LocalConfig, ParseError> {
        let file = self.whole.config.read()?;
        let max_restarts = self.local.or(file.local.clone()).max_restarts()?;
        let run = self.whole.resolve(file)?;
        run.metrics_of(TaskId::worker(run.sync.total_num_replicas - 1))?;
        Ok(LocalConfig { run, max_restarts })
    }
}

impl DoctorArgs {
    fn resolve(self, environment: &Environment) -> Result<DoctorConfig, ParseError> {
        let task = |args: TaskArgs, job| match args.resolve(Some(job), environment)? {
            Action::Task(config) => Ok(Patient::Task(Box::new(config))),
            _ => Err(ParseError::Config(anyhow::anyhow!(
                "this is the evaluator of its cluster, which needs nothing but its files; run \
                 `unisono doctor` where a ps or a worker will run"
            ))),
        };
        let patient = match self.command {
            Some(DoctorCommand::Ps(args)) => task(*args, Job::Ps)?,
            Some(DoctorCommand::Worker(args)) => task(*args, Job::Worker)?,
            Some(DoctorCommand::Local(args)) => Patient::Local(Box::new(args.resolve()?)),
            None => {
                let run = RunConfig::default();
                Patient::Local(Box::new(LocalConfig { run, max_restarts: None }))
            }
        };
        Ok(DoctorConfig { patient, json: self.json })
    }
}

impl WholeRunArgs {
    fn resolve(self, file: FileKeys) -> Result<RunConfig, ParseError> {
        let size = ClusterSize::resolve(&self.size.or(file.size), &file.hosts);
        Ok(RunConfig::resolve(self.run.or(file.run), size)?)
    }
}

impl TopArgs {
    fn resolve(self) -> anyhow::Result<TopConfig> {
        let targets: Result<_, _> = self.targets.iter().map(|word| Target::parse(word)).collect();
        Ok(TopConfig { targets: targets.map_err(anyhow::Error::msg)?, once: self.once })
    }
}

impl CertsArgs {
    fn resolve(self) -> Result<CertsConfig, ParseError> {
        let file = self.config.read()?;
        let size = ClusterSize::resolve(&self.size.or(file.size), &self.hosts.or(file.hosts));
        Ok(CertsConfig { folder: self.folder, size, days: self.days })
    }
}

impl ConvertArgs {
    fn resolve(self) -> anyhow::Result<ConvertConfig> {
        let format = |path: &PathBuf| {
            Format::of(path).with_context(|| {
                format!("{}: give a name that ends in .safetensors or .npz", path.display())
            })
        };
        let (from, to) = (format(&self.from)?, format(&self.to)?);
        ensure!(from != to, "both files are {from}: to have another copy of one, copy it");
        Ok(ConvertConfig { from: self.from, format: from, to: self.to, overwrites: self.force })
    }
}

impl EvalArgs {
    fn resolve(self) -> Result<EvalConfig, ParseError> {
        let file = self.config.read()?;
        // The rest of the file is a run's; whatever of it is here is checked as a run's.
        let mut keys = RunKeys { data: self.data, ..RunKeys::default() };
        keys.checkpoint.logdir = self.logdir;
        let size = ClusterSize::resolve(&file.size, &file.hosts);
        let run = RunConfig::resolve(keys.or(file.run), size)?;
        let interval =
            || self.eval_interval_secs.interval().context("--eval-interval-secs must be above 0");
        Ok(EvalConfig {
            logdir: run.logdir,
            data_dir: run.data_dir,
            validation_size: run.validation_size,
            watch: self.watch.then(interval).transpose()?,
            until: self.training_steps.map(|steps| Step(steps.get())),
            notes: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn parse_words(line: &str) -> Result<Action, ParseError> {
        parse(&CommandLine::read(line.split_whitespace()), &Environment::default())
    }

    fn task(line: &str) -> TaskConfig {
        match parse_words(line) {
            Ok(Action::Task(config)) => config,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn error(line: &str) -> String {
        match parse_words(line).expect_err(line) {
            ParseError::Clap(error) => {
                assert_eq!(error.exit_code(), 2, "{line}");
                error
                    .to_string()
                    .lines()
                    .filter(|line| !line.is_empty())
                    .collect::<Vec<_>>()
                    .join("; ")
            }
            ParseError::Config(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn help_fits_eighty_columns_and_says_this() {
        let mut cli = Cli::command().term_width(80);
        cli.build();
        let mut all = vec![("unisono".to_owned(), cli.render_help().to_string())];
        for command in cli.get_subcommands_mut() {
            let name = command.get_name().to_owned();
            *command = command.clone().term_width(80);
            if name == "data" {
                for below in command.get_subcommands_mut() {
                    let name = format!("data-{}", below.get_name());
                    all.push((name, below.clone().term_width(80).render_help().to_string()));
                }
            }
            all.push((name, command.render_help().to_string()));
        }
        for (name, help) in all {
            let wide = help.lines().find(|line| line.chars().count() > 80);
            assert_eq!(wide, None, "{name}");
            insta::assert_snapshot!(format!("help-{name}"), help);
        }
    }

    #[test]
    fn the_flags_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_originals_command_lines_are_ours() {
        let original = task(
            "unisono --job_name=ps --task_id=1 --ps_hosts=localhost:20000,localhost:20001 \
             --worker_hosts=localhost:20003,localhost:20004",
        );
        assert_eq!(original.task, TaskId::ps(1));
        assert_eq!(original, task("unisono ps --task-id 1"));
        assert_eq!(original, task("unisono -job_name ps -task_index 1"));
        assert_eq!(task("unisono"), task("unisono worker"));
        assert_eq!(task("unisono").task, TaskId::CHIEF);
        assert_eq!(task("unisono --task_id=1").task, TaskId::worker(1));
    }

    #[test]
    fn the_workers_are_the_hosts_and_all_of_them_are_aggregated_unless_said() {
        let three = task("unisono worker --worker-hosts a:1,b:1,c:1");
        assert_eq!(three.run.sync.total_num_replicas, 3);
        assert_eq!(three.run.sync.replicas_to_aggregate, 3);
        let two = task("unisono worker --worker-hosts a:1,b:1,c:1 --replicas_to_aggregate=2");
        assert_eq!(two.run.sync.replicas_to_aggregate, 2);
        assert_eq!(two.run.sync.total_num_replicas, 3);
    }

    #[test]
    fn an_empty_list_of_layers_is_softmax_regression() {
        for hidden in ["--hidden=", "--hidden"] {
            let line = CommandLine::read(
                ["unisono", "local", hidden]
                    .into_iter()
                    .chain((hidden == "--hidden").then_some("")),
            );
            let Ok(Action::Local(local)) = parse(&line, &Environment::default()) else {
                panic!("{line:?}")
            };
            assert!(local.run.train.hidden.is_empty());
        }
    }

    #[test]
    fn every_bad_command_line_is_told_with_its_remedy() {
        let all = [
            "unisono wroker",
            "unisono lokal",
            "unisono ps --task-id 2",
            "unisono --job_name=worker --task_id=7 --worker_hosts=a:1",
            "unisono --job_name=chief",
            "unisono worker --task-id -1",
            "unisono worker --ps-hosts=",
            "unisono worker --ps_hosts=a:1,,b:1",
            "unisono worker --ps-hosts a:1,a:1",
            "unisono worker --ps-hosts a:1 --worker-hosts a:1",
            "unisono worker --ps-hosts a",
            "unisono local --batch_sise 3",
            "unisono local --batch-size 0",
            "unisono local --learning-rate 0",
            "unisono local --learning-rate=-1",
            "unisono local --learning-rate -1",
            "unisono local --learning-rate-decay 1.5",
            "unisono local --training-steps 1e4",
            "unisono local --replicas-to-aggregate 0",
            "unisono local --hidden 500,",
            "unisono local --moving-average-decay 1",
            "unisono local --optimizer adm",
            "unisono local --order random",
            "unisono local --momentum 0.9",
            "unisono local --ps 0",
            "unisono local --ps-hosts a:1",
            "unisono local --max-restarts 3",
            "unisono local --supervise --max-restarts 0",
            "unisono reference --supervise",
            "unisono local extra",
            "unisono local --metrics 9100",
            "unisono top no/such",
            "unisono top a:9-8",
            "unisono local --metrics 127.0.0.1:65534",
            "unisono local --log-format xml",
            "unisono local --config no/such.toml",
            "unisono eval --watch --eval-interval-secs 0",
            "unisono inspect a b",
            "unisono convert a.npz",
            "unisono convert a.npz b.npy",
            "unisono convert a.npz b.npz",
        ]
        .map(error)
        .join("\n");
        insta::assert_snapshot!(all, @r#"
        error: unrecognized subcommand 'wroker';   tip: a similar subcommand exists: 'worker'; Usage: unisono <COMMAND>; For more information, try '--help'.
        error: unrecognized subcommand 'lokal';   tip: a similar subcommand exists: 'local'; Usage: unisono <COMMAND>; For more information, try '--help'.
        task id 2 is out of range: the job ps has 2 tasks, so --task-id is 0 to 1; or name more hosts in --ps-hosts
        task id 7 is out of range: the job worker has 1 task, so --task-id is 0; or name more hosts in --worker-hosts
        error: invalid value 'chief' for '--job-name <JOB>';   [possible values: ps, worker]; For more information, try '--help'.
        error: invalid value '-1' for '--task-id <N>': -1 is not in 0..=4294967295; For more information, try '--help'.
        error: invalid value '' for '--ps-hosts <HOSTS>': there are no hosts; name at least one host:port, like localhost:20000; For more information, try '--help'.
        error: invalid value 'a:1,,b:1' for '--ps-hosts <HOSTS>': a host in the list is empty; write host:port,host:port with a single comma between; For more information, try '--help'.
        a:1 is the address of ps 0 and of ps 1; give every task its own
        a:1 is the address of ps 0 and of worker 0; give every task its own
        error: invalid value 'a' for '--ps-hosts <HOSTS>': "a": the port is missing; write host:port, like localhost:20000; For more information, try '--help'.
        error: unexpected argument '--batch-sise' found;   tip: a similar argument exists: '--batch-size'; Usage: unisono local --batch-size <N>; For more information, try '--help'.
        error: invalid value '0' for '--batch-size <N>': must be a whole number of at least 1; For more information, try '--help'.
        error: invalid value '0' for '--learning-rate <RATE>': must be a number above 0; For more information, try '--help'.
        error: invalid value '-1' for '--learning-rate <RATE>': must be a number above 0; For more information, try '--help'.
        error: invalid value '-1' for '--learning-rate <RATE>': must be a number above 0; For more information, try '--help'.
        error: invalid value '1.5' for '--learning-rate-decay <FACTOR>': must be a number above 0 and at most 1; For more information, try '--help'.
        error: invalid value '1e4' for '--training-steps <STEPS>': must be a whole number of at least 1; For more information, try '--help'.
        error: invalid value '0' for '--replicas-to-aggregate <R>': must be a whole number from 1 to 4096; For more information, try '--help'.
        error: invalid value '500,' for '--hidden <SIZES>': must be sizes from 1 to 65536, at most 16 of them, such as 500 or 300,100; For more information, try '--help'.
        error: invalid value '1' for '--moving-average-decay <DECAY>': must be a number above 0 and below 1; For more information, try '--help'.
        error: invalid value 'adm' for '--optimizer <NAME>';   [possible values: sgd, momentum, adam];   tip: a similar value exists: 'adam'; For more information, try '--help'.
        error: invalid value 'random' for '--order <ORDER>';   [possible values: shuffled, partitioned, sequential]; For more information, try '--help'.
        --momentum is a parameter of the momentum optimizer, but the optimizer is sgd: give --optimizer momentum, or leave --momentum out
        error: invalid value '0' for '--ps <N>': must be a whole number from 1 to 64; For more information, try '--help'.
        error: unexpected argument '--ps-hosts' found;   tip: a similar argument exists: '--ps'; Usage: unisono local --ps <N>; For more information, try '--help'.
        --max-restarts 3 limits nothing without --supervise: give that, or leave it out
        error: invalid value '0' for '--max-restarts <N>': must be a whole number from 1 to 1000000; For more information, try '--help'.
        error: unexpected argument '--supervise' found; Usage: unisono reference [OPTIONS]; For more information, try '--help'.
        error: unexpected argument 'extra' found; Usage: unisono local [OPTIONS]; For more information, try '--help'.
        error: invalid value '9100' for '--metrics <ADDRESS>': "9100": write host:port, like 127.0.0.1:9100; For more information, try '--help'.
        there is no folder no/such; name a logdir, or where tasks serve their metrics, as 127.0.0.1:9100 or 127.0.0.1:9100-9103
        a:9-8: the last port is below the first
        --metrics 127.0.0.1:65534 leaves no port for worker 1, as each task has the one after that of the task before: choose a lower port, or 0 for ports of the system's choice
        error: invalid value 'xml' for '--log-format <FORM>';   [possible values: text, json]; For more information, try '--help'.
        cannot read the configuration file no/such.toml: No such file or directory (os error 2)
        --eval-interval-secs must be above 0
        error: unexpected argument 'b' found; Usage: unisono inspect [OPTIONS] [FILE]; For more information, try '--help'.
        error: the following required arguments were not provided:;   <TO>; Usage: unisono convert <FROM> <TO>; For more information, try '--help'.
        b.npy: give a name that ends in .safetensors or .npz
        both files are npz: to have another copy of one, copy it
        "#);
    }

    #[test]
    fn eval_takes_its_folders_from_the_file_of_a_run() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "[data]\ndata_dir = \"d\"\n[checkpoint]\nlogdir = \"l\"\n[train]\nseed = 3";
        std::fs::write(file.path(), text).unwrap();
        let path = file.path().display();
        let expected = EvalConfig {
            logdir: "l".into(),
            data_dir: Some("e".into()),
            validation_size: None,
            watch: Some(Duration::from_secs(10)),
            until: None,
            notes: Vec::new(),
        };
        let parsed = parse_words(&format!("unisono eval --config {path} --data_dir e --watch"));
        assert!(matches!(parsed, Ok(Action::Eval(config)) if config == expected));
    }

    #[test]
    fn tasks_are_started_again_only_if_that_was_asked_for() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[local]\nsupervise = true\nmax_restarts = 4").unwrap();
        let path = file.path().display();
        for (flags, expected) in [
            (String::new(), None),
            ("--supervise".to_owned(), Some(10)),
            ("--supervise --max-restarts 3".to_owned(), Some(3)),
            ("--supervise=false".to_owned(), None),
            (format!("--config {path}"), Some(4)),
            (format!("--config {path} --max-restarts=5"), Some(5)),
        ] {
            let parsed = parse_words(&format!("unisono local {flags}"));
            let Ok(Action::Local(local)) = parsed else { panic!("{flags}: {parsed:?}") };
            assert_eq!(local.max_restarts, expected, "{flags}");
        }
    }

    #[test]
    fn what_follows_sim_is_not_ours() {
        let parsed = parse_words("unisono sim run --help a_b --trace_out");
        let expected = ["run", "--help", "a_b", "--trace_out"].map(OsString::from).to_vec();
        assert!(matches!(parsed, Ok(Action::Sim(arguments)) if arguments == expected));
    }
}
