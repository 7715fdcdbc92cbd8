//! The commands and their flags, for clap and for the text of `--help`.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args, Parser, Subcommand};

use super::own::OwnArgs;
use crate::program::cluster::ClusterArgs;
use crate::program::data::DataCommand;
use crate::program::inspect::InspectConfig;
use crate::program::report::ReportConfig;
use crate::program::trace::TraceConfig;
use unisono_config::HostPort;
use unisono_config::keys::{HostKeys, LocalKeys, RunKeys, SizeKeys};
use unisono_config::values::{Part, Seconds, Steps};
use unisono_core::ids::Job;
use unisono_terminal::manual::{CompletionsArgs, ManArgs};

/// Trains neural networks with parameter servers. Without backup workers, the loss curve is the same
/// to the bit for every timing, failure and cluster.
#[derive(Debug, Parser)]
#[command(
    name = "unisono",
    version,
    disable_help_flag = true,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    max_term_width = 100,
    after_help = "\
Examples:
  unisono local                         A local cluster of 2 ps and 2 workers
  unisono local --workers 4 --training-steps 1000 --logdir four
  unisono ps --task-id 0 --ps-hosts a:2222 --worker-hosts b:2222,c:2222
  unisono worker --task-id 1 --ps-hosts a:2222 --worker-hosts b:2222,c:2222

The command lines of the original script work unchanged:
  unisono --job_name=ps --task_id=0 --ps_hosts=… --worker_hosts=…

If an engine sets TF_CONFIG, `unisono` without arguments runs the task that
TF_CONFIG names. Otherwise it prints this help.
In a Slurm step:
  srun --ntasks 4 unisono task --cluster slurm --ps 2

`unisono COMMAND --help` lists the flags of a command. Dashes and underscores in
their names are the same. UNISONO_LOG=debug logs more to standard error.

Exit codes: 0 success; 1 failure; 2 wrong command line or configuration; 3 a
loss is not finite; 130 and 143 stopped by a signal; 138 gave up waiting.
docs/exit-codes.md lists those of all commands."
)]
pub(super) struct Cli {
    /// Print this help
    // `HelpShort`, because clap would print a blank line between the flags of a long help.
    #[arg(short, long, action = ArgAction::HelpShort, global = true, help_heading = "Help")]
    pub(super) help: Option<bool>,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a whole cluster on this machine, one process per task
    #[command(
        allow_negative_numbers = true,
        after_help = "\
Examples:
  unisono local
  unisono local --ps 1 --workers 4 --replicas-to-aggregate 3 --logdir three
  unisono local --config run.toml --optimizer adam --learning-rate 0.001 --fresh
  unisono local --supervise --max-restarts 3

Ctrl-C saves a checkpoint and ends the run; the same command resumes it. A
logdir holds one run. To start another one, give another --logdir, or --fresh,
which moves the old run into a folder previous-1 in the logdir."
    )]
    Local(LocalArgs),
    /// Run one parameter server
    #[command(
        allow_negative_numbers = true,
        after_help = "\
Examples:
  unisono ps --task-id 0 --ps-hosts a:2222,b:2222 --worker-hosts c:2222,d:2222
  unisono ps --task-id 1 --config cluster.toml --bind 0.0.0.0:2222

All tasks need the same training flags; the chief (worker 0) compares them."
    )]
    Ps(TaskArgs),
    /// Run one worker; worker 0 is the chief, which saves checkpoints and losses
    #[command(
        allow_negative_numbers = true,
        after_help = "\
Examples:
  unisono worker --task-id 0 --ps-hosts a:2222,b:2222 --worker-hosts c:2222,d:2222
  unisono worker --task-id 1 --config cluster.toml

Tasks may start in any order. All tasks need the same training flags."
    )]
    Worker(TaskArgs),
    /// Compute a run in one serial loop, without a cluster
    #[command(
        allow_negative_numbers = true,
        after_help = "\
Example: both commands write the same bytes to losses.csv
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
  unisono eval --logdir ./mnist_model/ --watch

The checkpoint determines the model, the data and the validation size. Give
--data-dir if the data have moved, or to evaluate the model on other data."
    )]
    Eval(EvalArgs),
    /// Check what a run needs before it starts: ports, names, files, clock, bits
    #[command(after_help = "\
Examples:
  unisono doctor                         Check what `unisono local` needs
  unisono doctor local --ps 4 --logdir /data/run
  unisono doctor worker --task-id 1 --config cluster.toml
  unisono doctor --json ps --ps-hosts a:2222 --worker-hosts b:2222

Put `doctor` before a command and its flags. The checks change no file. Each
prints a line: ok, warn (a run can start) or fail (it cannot), with a remedy.

Exits with 0 if a run can start, and 1 if not.")]
    Doctor(DoctorArgs),
    /// Fetch or examine a data set
    #[command(arg_required_else_help = true)]
    Data {
        #[command(subcommand)]
        command: DataCommand,
    },
    /// Show the contents of a checkpoint, and whether it is intact
    #[command(after_help = "\
Examples:
  unisono inspect ./mnist_model/
  unisono inspect model.npz --json

Exits with 0 if the file is intact. Exits with 1 if the file is damaged, and
shows the damage and what is still readable. Also exits with 1 for a file of an
unsupported kind, and names the kind.")]
    Inspect(InspectConfig),
    /// Convert a checkpoint to numpy's npz, or back
    #[command(after_help = "\
Examples:
  unisono convert ./mnist_model/model.ckpt-10000.safetensors model.npz
  unisono convert model.npz run2/model.ckpt-10000.safetensors

A checkpoint that is converted back is the same file to the byte, and training
resumes from it. Arrays that numpy saved become tensors for --init-from.")]
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

Each task needs its own two files and ca.pem. A holder of ca-key.pem can act as
any task: keep it off the cluster. Existing files are never changed: with more
--ps or --workers, the CA in DIR signs certificates for the new tasks only."
    )]
    Certs(CertsArgs),
    /// Check the ledgers of a run against the rules of the protocol
    #[command(after_help = "\
Example:
  unisono local --ledger --logdir /tmp/ledger-run
  unisono audit /tmp/ledger-run

The audit compares every update of every shard with the rules, the losses and
the checkpoints, and names the first violation. `unisono-sim replay --ledger`
computes the run again.

Exits with 0 if all rules hold, 1 if a rule is broken, 2 if a file cannot be
read, and 3 if no rule is broken but some shards lack some updates.")]
    Audit {
        /// Folder with all ledgers of the run
        #[arg(value_name = "LOGDIR", default_value = "./mnist_model/")]
        logdir: PathBuf,
    },
    /// Watch a running cluster, or the logdir of a run
    #[command(after_help = "\
Examples:
  unisono local --metrics 127.0.0.1:9100 --logdir /tmp/watched-run
  unisono top 127.0.0.1:9100-9103
  unisono top /tmp/watched-run

For tasks it shows step, speed, which task waits for which, bytes, the loss and
faults. For a logdir it shows the state of losses, checkpoints and ledgers.
Press q to quit. Without a terminal it prints one table.")]
    Top(TopArgs),
    /// Print a completion script for a shell
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
    /// Write one HTML page about a run: losses, timeline, critical path, updates
    #[command(after_help = "\
Examples:
  unisono local --trace --logdir /tmp/report-run
  unisono report /tmp/report-run
  unisono report /tmp/report-run -o run.html

The page needs no network and no other file. Without --trace it shows the losses
and the ledgers only. docs/report.md explains the page.")]
    Report(ReportConfig),
    /// Write the events of a run as a trace for ui.perfetto.dev
    #[command(after_help = "\
Example:
  unisono local --trace --logdir /tmp/trace-run
  unisono trace /tmp/trace-run -o run.json

Each task is a process in the trace; arrows are messages.")]
    Trace(TraceConfig),
    /// Run the simulator, `unisono-sim`, with the arguments that follow
    #[command(disable_help_flag = true)]
    Sim {
        /// Arguments of unisono-sim
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGUMENTS")]
        arguments: Vec<OsString>,
    },
    /// Run the task that --job-name or a cluster engine names, as in the original script
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
pub(super) struct JobArgs {
    /// Job of this task [default: worker]
    #[arg(long, value_name = "JOB", value_parser = job_names(), help_heading = "Cluster")]
    pub(super) job_name: Option<Job>,
    #[command(flatten)]
    pub(super) task: TaskArgs,
}

fn job_names() -> impl TypedValueParser<Value = Job> {
    let job = |name: String| if name == "ps" { Job::Ps } else { Job::Worker };
    PossibleValuesParser::new(["ps", "worker"]).map(job)
}

#[derive(Args, Debug)]
pub(super) struct TaskArgs {
    /// Index of this task in its job, from 0 [default: 0]
    #[arg(long, alias = "task-index", value_name = "N", help_heading = "Cluster")]
    pub(super) task_id: Option<u32>,
    #[command(flatten)]
    pub(super) hosts: HostKeys,
    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
    /// Address to listen at; workers do not listen [default: this task's address in the list of
    /// hosts; if a cluster engine such as Kubeflow places the tasks, all addresses with this task's
    /// port]
    #[arg(long, value_name = "HOST:PORT", help_heading = "Cluster")]
    pub(super) bind: Option<HostPort>,
    #[command(flatten)]
    pub(super) run: RunKeys,
    #[command(flatten)]
    pub(super) own: OwnArgs,
    #[command(flatten)]
    pub(super) fresh: FreshArg,
    #[command(flatten)]
    pub(super) config: ConfigArg,
    /// Document with the whole configuration, which the parent process has written
    #[arg(long, hide = true, value_name = "FILE")]
    pub(super) run_config: Option<PathBuf>,
    /// Exit when standard input ends; a line `stop` on standard input requests a clean end
    #[arg(long, hide = true)]
    pub(super) exit_with_parent: bool,
    /// The parent process has locked the logdir, and shares the lock with this process
    #[arg(long, hide = true)]
    pub(super) logdir_locked_by_parent: bool,
}

#[derive(Args, Debug)]
pub(super) struct LocalArgs {
    #[command(flatten)]
    pub(super) whole: WholeRunArgs,
    #[command(flatten)]
    pub(super) local: LocalKeys,
}

#[derive(Args, Debug)]
pub(super) struct DoctorArgs {
    /// Print one JSON object instead of lines
    #[arg(long, global = true, help_heading = "Output")]
    pub(super) json: bool,
    #[command(subcommand)]
    pub(super) command: Option<DoctorCommand>,
}

#[derive(Debug, Subcommand)]
pub(super) enum DoctorCommand {
    /// Check what a cluster on this machine needs
    #[command(allow_negative_numbers = true)]
    Local(Box<LocalArgs>),
    /// Check what a parameter server needs
    #[command(allow_negative_numbers = true)]
    Ps(Box<TaskArgs>),
    /// Check what a worker needs
    #[command(allow_negative_numbers = true)]
    Worker(Box<TaskArgs>),
}

/// The flags of a command that performs a whole run, and not only one task of a run.
#[derive(Args, Debug)]
pub(super) struct WholeRunArgs {
    #[command(flatten)]
    pub(super) size: SizeKeys,
    #[command(flatten)]
    pub(super) run: RunKeys,
    #[command(flatten)]
    pub(super) own: OwnArgs,
    #[command(flatten)]
    pub(super) fresh: FreshArg,
    #[command(flatten)]
    pub(super) config: ConfigArg,
}

/// `--fresh` is a flag and has no key in the configuration file. A key would stay in the file, and
/// every later start would move the run aside.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct FreshArg {
    /// Start a new run: first move the old run's files in the logdir into a folder previous-1,
    /// previous-2, … there. Deletes nothing
    #[arg(long, help_heading = "Files")]
    pub(super) fresh: bool,
}

#[derive(Args, Debug)]
pub(super) struct EvalArgs {
    /// Folder of the checkpoints [default: ./mnist_model/]
    #[arg(long, value_name = "DIR", help_heading = "Files")]
    pub(super) logdir: Option<PathBuf>,
    #[command(flatten)]
    pub(super) data: EvalDataArgs,
    /// Keep running, and print the accuracy of every new checkpoint
    #[arg(long, help_heading = "Output")]
    pub(super) watch: bool,
    /// With watch: end after the checkpoint of this step [default: never end]
    #[arg(long, value_name = "STEPS", help_heading = "Output", requires = "watch")]
    pub(super) training_steps: Option<Steps>,
    /// Seconds between two checks for a new checkpoint
    #[arg(long, value_name = "SECS", default_value = "10", help_heading = "Output")]
    pub(super) eval_interval_secs: Seconds,
    #[command(flatten)]
    pub(super) config: ConfigArg,
}

/// The flags that select the examples for an evaluation. Runs have the same flags, but with other
/// defaults.
#[derive(Args, Debug)]
#[command(next_help_heading = "Data")]
pub(super) struct EvalDataArgs {
    /// Data, in any format of `unisono local` [default: the data that the checkpoint was trained on]
    #[arg(long, alias = "data", value_name = "PATH")]
    pub(super) data_dir: Option<PathBuf>,
    /// For a .csv file: name of the column of labels [default: the column label]
    #[arg(long, value_name = "NAME")]
    pub(super) label_column: Option<String>,
    /// For a .csv file: examples to test on, as a number or a share [default: a fifth of
    /// them]
    #[arg(long, value_name = "PART")]
    pub(super) test_size: Option<Part>,
    /// First training examples, used for validation, as a number or a share [default: as in the
    /// training]
    #[arg(long, value_name = "PART")]
    pub(super) validation_size: Option<Part>,
}

#[derive(Args, Debug)]
pub(super) struct CertsArgs {
    /// Folder for the files
    #[arg(value_name = "DIR")]
    pub(super) folder: PathBuf,
    #[command(flatten)]
    pub(super) size: SizeKeys,
    #[command(flatten)]
    pub(super) hosts: HostKeys,
    /// Days for which the certificates are valid
    #[arg(long, value_name = "DAYS", default_value_t = 365, help_heading = "Files")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub(super) days: u32,
    #[command(flatten)]
    pub(super) config: ConfigArg,
}

#[derive(Args, Debug)]
pub(super) struct TopArgs {
    /// Addresses of the tasks' metrics, as HOST:PORT or HOST:FIRST-LAST; or a logdir
    #[arg(value_name = "TARGET", default_value = "./mnist_model/")]
    pub(super) targets: Vec<String>,
    /// Print one table and exit
    #[arg(long, help_heading = "Output")]
    pub(super) once: bool,
}

#[derive(Args, Debug)]
pub(super) struct ConvertArgs {
    /// File to read
    #[arg(value_name = "FROM")]
    pub(super) from: PathBuf,
    /// File to write: .npz if FROM is .safetensors, and vice versa
    #[arg(value_name = "TO")]
    pub(super) to: PathBuf,
    /// Overwrite TO if it exists
    #[arg(long, help_heading = "Files")]
    pub(super) force: bool,
}

#[derive(Args, Debug)]
pub(super) struct ConfigArg {
    /// File with any of these settings; flags override it
    #[arg(long, value_name = "FILE.toml", help_heading = "Files")]
    pub(super) config: Option<PathBuf>,
}
