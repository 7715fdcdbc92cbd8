//! The commands and their flags, as clap knows them and `--help` shows them.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::program::cluster::ClusterArgs;
use crate::program::data::DataCommand;
use crate::program::inspect::InspectConfig;
use unisono_config::HostPort;
use unisono_config::keys::{HostKeys, LocalKeys, RunKeys, SizeKeys};
use unisono_config::values::{Examples, Seconds, Steps};
use unisono_core::ids::Job;
use unisono_terminal::manual::{CompletionsArgs, ManArgs};

/// Trains neural networks with parameter servers, so that without backup workers the loss curve is
/// the same to the bit whatever the timing, the failures and the cluster.
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
  unisono local                         A cluster of 2 ps and 2 workers, here
  unisono local --workers 4 --training-steps 1000 --logdir four
  unisono ps --task-id 0 --ps-hosts a:2222 --worker-hosts b:2222,c:2222
  unisono worker --task-id 1 --ps-hosts a:2222 --worker-hosts b:2222,c:2222

The command lines of the original script work as they are:
  unisono --job_name=ps --task_id=0 --ps_hosts=… --worker_hosts=…

Where an engine sets TF_CONFIG, `unisono` alone is the task that it names;
elsewhere it prints this help.
In a Slurm step:
  srun --ntasks 4 unisono task --cluster slurm --ps 2

`unisono COMMAND --help` has the flags of a command. Dashes and underscores in
their names are the same. UNISONO_LOG=debug says more on standard error.

Exit codes: 0 all is done; 1 it could not go on; 2 a wrong command line or
configuration; 3 a loss that is no number; 130 and 143 stopped by a signal;
138 given up waiting. docs/exit-codes.md has those of all commands."
)]
pub(super) struct Cli {
    /// Print this help
    // One form of help, and that the short one: a setting a line, or two.
    #[arg(short, long, action = ArgAction::HelpShort, global = true, help_heading = "Help")]
    pub(super) help: Option<bool>,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run a whole cluster on this machine, one process a task
    #[command(
        allow_negative_numbers = true,
        after_help = "\
Examples:
  unisono local
  unisono local --ps 1 --workers 4 --replicas-to-aggregate 3 --logdir three
  unisono local --config run.toml --optimizer adam --learning-rate 0.001 --fresh
  unisono local --supervise --max-restarts 3

Ctrl-C saves a checkpoint and ends; the same command goes on from there. A
logdir holds one run: for another one give --fresh, which moves the old run into
a folder previous-1 in the logdir, or another --logdir."
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
  unisono eval --logdir ./mnist_model/ --watch

The model, the data and the validation size are those of the checkpoint. Give
--data-dir if the data have moved, or to evaluate the model on other data."
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
how, and shows what can still be read. Exits with 1 for a file of a kind that it
does not read, too, and names the kind.")]
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
task: keep it off the cluster. No file that exists is touched: with more --ps or
--workers, the CA in DIR signs for the new tasks only."
    )]
    Certs(CertsArgs),
    /// Check the ledgers of a run against the rules of the protocol
    #[command(after_help = "\
Example:
  unisono local --ledger --logdir /tmp/ledger-run
  unisono audit /tmp/ledger-run

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
  unisono local --metrics 127.0.0.1:9100 --logdir /tmp/watched-run
  unisono top 127.0.0.1:9100-9103
  unisono top /tmp/watched-run

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
  unisono local --trace --logdir /tmp/report-run
  unisono report /tmp/report-run
  unisono report /tmp/report-run -o run.html

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
  unisono local --trace --logdir /tmp/trace-run
  unisono trace /tmp/trace-run -o run.json

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
pub(super) struct JobArgs {
    /// Job of this task [default: worker]
    #[arg(long, value_name = "JOB", help_heading = "Cluster")]
    pub(super) job_name: Option<JobName>,
    #[command(flatten)]
    pub(super) task: TaskArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum JobName {
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
pub(super) struct TaskArgs {
    /// Number of this task in its job, from 0 [default: 0]
    #[arg(long, alias = "task-index", value_name = "N", help_heading = "Cluster")]
    pub(super) task_id: Option<u32>,
    #[command(flatten)]
    pub(super) hosts: HostKeys,
    #[command(flatten)]
    pub(super) cluster: ClusterArgs,
    /// Address to listen at; a worker calls and is not called [default: this task's in the list of
    /// hosts; its port at all addresses, if an engine says where the tasks are]
    #[arg(long, value_name = "HOST:PORT", help_heading = "Cluster")]
    pub(super) bind: Option<HostPort>,
    #[command(flatten)]
    pub(super) run: RunKeys,
    #[command(flatten)]
    pub(super) fresh: FreshArg,
    #[command(flatten)]
    pub(super) config: ConfigArg,
    /// Document with the whole configuration, which a parent process wrote
    #[arg(long, hide = true, value_name = "FILE")]
    pub(super) run_config: Option<PathBuf>,
    /// End when standard input does; a line `stop` there asks for a clean end
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
pub(super) struct WholeRunArgs {
    #[command(flatten)]
    pub(super) size: SizeKeys,
    #[command(flatten)]
    pub(super) run: RunKeys,
    #[command(flatten)]
    pub(super) fresh: FreshArg,
    #[command(flatten)]
    pub(super) config: ConfigArg,
}

/// Not among the keys of a file: a setting that stays there would move every run aside.
#[derive(Args, Clone, Copy, Debug)]
pub(super) struct FreshArg {
    /// Begin a new run: first move the files of the run in the logdir into a folder previous-1,
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
    /// Go on, and print the accuracy of every new checkpoint
    #[arg(long, help_heading = "Output")]
    pub(super) watch: bool,
    /// With watch: end after the checkpoint of this step [default: go on]
    #[arg(long, value_name = "STEPS", help_heading = "Output", requires = "watch")]
    pub(super) training_steps: Option<Steps>,
    /// Seconds between two looks for a new checkpoint
    #[arg(long, value_name = "SECS", default_value = "10", help_heading = "Output")]
    pub(super) eval_interval_secs: Seconds,
    #[command(flatten)]
    pub(super) config: ConfigArg,
}

/// The examples of an evaluation: the flags of a run, with other defaults.
#[derive(Args, Debug)]
#[command(next_help_heading = "Data")]
pub(super) struct EvalDataArgs {
    /// Folder of the four IDX files, plain or gzip [default: the data that the checkpoint was
    /// trained on]
    #[arg(long, value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// Number of training images, from the first one on, that are for validation [default: as in
    /// the training]
    #[arg(long, value_name = "N")]
    pub(super) validation_size: Option<Examples>,
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
    /// Where tasks serve their metrics, as HOST:PORT or HOST:FIRST-LAST; or a logdir
    #[arg(value_name = "TARGET", default_value = "./mnist_model/")]
    pub(super) targets: Vec<String>,
    /// Print one table, and end
    #[arg(long, help_heading = "Output")]
    pub(super) once: bool,
}

#[derive(Args, Debug)]
pub(super) struct ConvertArgs {
    /// File to read
    #[arg(value_name = "FROM")]
    pub(super) from: PathBuf,
    /// File to write: .npz if FROM is .safetensors, and the other way round
    #[arg(value_name = "TO")]
    pub(super) to: PathBuf,
    /// Write over TO if it exists
    #[arg(long, help_heading = "Files")]
    pub(super) force: bool,
}

#[derive(Args, Debug)]
pub(super) struct ConfigArg {
    /// File with any of these settings; flags beat it
    #[arg(long, value_name = "FILE.toml", help_heading = "Files")]
    pub(super) config: Option<PathBuf>,
}
