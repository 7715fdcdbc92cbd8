//! The graph of waits between tasks, and the task for which all other tasks wait. This file only
//! computes.

use std::collections::{BTreeMap, BTreeSet};

use unisono_core::ids::TaskId;

/// The tasks of a cluster. Each task has a list of the tasks for which it waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WaitGraph(BTreeMap<TaskId, Vec<TaskId>>);

impl WaitGraph {
    /// Adds a task, and the tasks for which it waits. A task that waits for no other task is
    /// running, waits for its own storage, has ended, or does not answer.
    pub(super) fn add(&mut self, task: TaskId, waits_for: impl IntoIterator<Item = TaskId>) {
        self.0.entry(task).or_default().extend(waits_for);
    }

    /// Returns the task for which all other tasks wait, directly or through other waiting tasks.
    ///
    /// Returns `None` if tasks wait for two different tasks, if another task does not wait at all,
    /// or if tasks wait for each other in a circle.
    pub(super) fn root(&self) -> Option<TaskId> {
        let awaited = self.0.values().flatten().copied();
        let mut ends = awaited.filter(|task| self.waits_for(*task).is_empty());
        let root = ends.next()?;
        if ends.any(|end| end != root) {
            return None;
        }
        // The loop adds all tasks that wait for the root, directly or through other tasks. It does
        // not add a task that does not wait, or that waits only in a circle.
        let mut reaching = BTreeSet::from([root]);
        loop {
            let reaches = |task: &&TaskId| {
                let waits_for = self.waits_for(**task);
                !reaching.contains(task) && waits_for.iter().any(|next| reaching.contains(next))
            };
            let Some(next) = self.0.keys().find(reaches) else { break };
            reaching.insert(*next);
        }
        self.0.keys().all(|task| reaching.contains(task)).then_some(root)
    }

    fn waits_for(&self, task: TaskId) -> &[TaskId] {
        self.0.get(&task).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PS_0: TaskId = TaskId::ps(0);
    const PS_1: TaskId = TaskId::ps(1);
    const CHIEF: TaskId = TaskId::CHIEF;
    const WORKER_1: TaskId = TaskId::worker(1);
    const WORKER_2: TaskId = TaskId::worker(2);

    fn root(tasks: &[(TaskId, &[TaskId])]) -> Option<TaskId> {
        let mut graph = WaitGraph::default();
        tasks.iter().for_each(|(task, waits_for)| graph.add(*task, waits_for.iter().copied()));
        graph.root()
    }

    #[test]
    fn straggler_is_the_root_of_all_direct_and_indirect_waits() {
        let tasks: [(_, &[_]); 4] =
            [(PS_0, &[WORKER_1]), (PS_1, &[WORKER_1]), (CHIEF, &[PS_0, PS_1]), (WORKER_1, &[])];
        assert_eq!(root(&tasks), Some(WORKER_1));
        assert_eq!(root(&tasks[..3]), Some(WORKER_1), "even if nobody knows more of it");
    }

    #[test]
    fn stopped_ps_is_the_root() {
        let tasks: [(_, &[_]); 4] =
            [(PS_0, &[CHIEF, WORKER_1]), (PS_1, &[]), (CHIEF, &[PS_1]), (WORKER_1, &[PS_1])];
        assert_eq!(root(&tasks), Some(PS_1));
    }

    #[test]
    fn two_stragglers_have_no_common_root() {
        let tasks: [(_, &[_]); 2] = [(PS_0, &[WORKER_1, WORKER_2]), (CHIEF, &[PS_0])];
        assert_eq!(root(&tasks), None);
        assert_eq!(root(&[(PS_0, &[WORKER_1]), (PS_1, &[WORKER_2])]), None);
    }

    #[test]
    fn there_is_no_root_if_a_task_does_not_wait() {
        let tasks: [(_, &[_]); 4] =
            [(PS_0, &[WORKER_1]), (CHIEF, &[PS_0]), (WORKER_1, &[]), (WORKER_2, &[])];
        assert_eq!(root(&tasks), None);
    }

    #[test]
    fn circle_of_waits_has_no_root() {
        assert_eq!(root(&[(PS_0, &[CHIEF]), (CHIEF, &[PS_0])]), None);
        let beside: [(_, &[_]); 3] = [(PS_0, &[CHIEF]), (CHIEF, &[PS_0]), (WORKER_1, &[WORKER_2])];
        assert_eq!(root(&beside), None, "the circle does not wait for worker 2");
        let into: [(_, &[_]); 3] = [(PS_0, &[CHIEF]), (CHIEF, &[PS_0, WORKER_1]), (WORKER_1, &[])];
        assert_eq!(root(&into), Some(WORKER_1), "worker 1 can resolve it");
    }

    #[test]
    fn empty_graph_and_single_task_have_no_root() {
        assert_eq!(root(&[]), None);
        assert_eq!(root(&[(CHIEF, &[])]), None);
    }
}
