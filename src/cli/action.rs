//! What the program is asked to do.

use std::ffi::OsString;
use std::path::PathBuf;

use super::certs::CertsConfig;
use super::convert::ConvertConfig;
use super::data::DataCommand;
use super::doctor::DoctorConfig;
use super::eval::EvalConfig;
use super::inspect::InspectConfig;
use super::local::LocalConfig;
use super::manual::{CompletionsArgs, ManArgs};
use super::report::ReportConfig;
use super::top::TopConfig;
use super::trace::TraceConfig;
use crate::checkpoint::LockedBy;
use crate::config::{ClusterSpec, HostPort, LogFormat, RunConfig};
use crate::ids::TaskId;

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
    /// Whether to end when standard input does; see [`super::ParentWatch`].
    pub exit_with_parent: bool,
    /// Who has locked the logdir for the chief.
    pub logdir_locked_by: LockedBy,
}
