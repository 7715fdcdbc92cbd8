//! The commands of the program, as validated types.

use crate::program::TaskConfig;
use std::ffi::OsString;
use std::path::PathBuf;

use super::certs::CertsConfig;
use super::convert::ConvertConfig;
use super::data::DataCommand;
use super::doctor::DoctorConfig;
use super::eval::EvalConfig;
use super::inspect::InspectConfig;
use super::local::LocalConfig;
use super::report::ReportConfig;
use super::top::TopConfig;
use super::trace::TraceConfig;
use unisono_config::{LogFormat, RunConfig};
use unisono_core::ids::TaskId;
use unisono_terminal::manual::{CompletionsArgs, ManArgs};

/// A validated command.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// `unisono ps`, `unisono worker`, or the command line of the original script.
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
    /// `unisono audit`, with the logdir to check.
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
    /// `unisono sim`, with the arguments for the simulator.
    Sim(Vec<OsString>),
}

impl Action {
    /// Returns the format of the log, and the task that every log line names.
    #[must_use]
    pub const fn log(&self) -> (LogFormat, Option<TaskId>) {
        match self {
            Self::Task(config) => (config.run.log_format, Some(config.task)),
            Self::Local(config) => (config.run.log_format, None),
            Self::Reference(run) => (run.log_format, None),
            _ => (LogFormat::Text, None),
        }
    }

    /// Returns the cluster settings that a stronger source overrode; logged as warnings.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        match self {
            Self::Task(config) => &config.notes,
            Self::Eval(config) => &config.notes,
            _ => &[],
        }
    }
}
