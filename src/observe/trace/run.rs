//! The traces of all incarnations of a run.

use std::collections::BTreeSet;
use std::path::Path;

use super::file;
use crate::trace::line::TracedLife;
use unisono_core::ids::TaskId;
use unisono_files::disk::lines::ReadError;

/// The traced part of a run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// Incarnations of all tasks, ascending by task. For each task, the incarnations are in the
    /// order of their starts.
    pub lives: Vec<TracedLife>,
}

impl Run {
    /// Reads the traces of all tasks in a folder.
    ///
    /// # Errors
    /// Returns an error if the folder contains no trace, or a trace cannot be read.
    pub fn read(logdir: &Path) -> Result<Self, ReadError> {
        let mut lives = Vec::new();
        for (task, path) in file::find(logdir)? {
            lives.extend(file::read(&path, task)?);
        }
        Ok(Self { lives })
    }

    /// Returns all tasks of the cluster, according to the headers of all incarnations. The ps come
    /// before the workers.
    #[must_use]
    pub fn tasks(&self) -> Vec<TaskId> {
        let headers = || self.lives.iter().map(|life| &life.header);
        let ps = (0..headers().map(|header| header.n_ps).max().unwrap_or(0)).map(TaskId::ps);
        let n_workers = headers().map(|header| header.total_num_replicas).max().unwrap_or(0);
        let named = headers().map(|header| header.task);
        let all = ps.chain((0..n_workers).map(TaskId::worker)).chain(named);
        all.collect::<BTreeSet<_>>().into_iter().collect()
    }
}
