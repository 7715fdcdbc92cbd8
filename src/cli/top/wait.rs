//! What a task waits for, as its metrics have it.

use std::fmt;

use crate::ids::{Job, TaskId};
use crate::metrics::text::Exposition;

/// The current wait of a task.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wait {
    pub(super) seconds: f64,
    /// As the metrics call it: `gradient`, `version`, `state`, ….
    pub(super) what: String,
    /// At least one.
    pub(super) of: Vec<Awaited>,
}

/// The end at which something is missing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Awaited {
    Task(TaskId),
    /// The disk of the task that waits, or a name that this release does not know.
    Other(String),
}

impl Wait {
    /// Returns the wait of the task that served the metrics; `None` if it does not wait.
    pub(super) fn read(metrics: &Exposition) -> Option<Self> {
        let mut waits: Option<Self> = None;
        for sample in metrics.all("unisono_waiting_seconds") {
            let what = sample.label("what").unwrap_or_default();
            let wait = waits.get_or_insert_with(|| Self {
                seconds: 0.0,
                what: what.to_owned(),
                of: Vec::new(),
            });
            wait.seconds = wait.seconds.max(sample.value);
            wait.of.push(Awaited::parse(sample.label("of").unwrap_or_default()));
        }
        if let Some(wait) = &mut waits {
            wait.of.sort_unstable();
        }
        waits
    }

    /// The tasks that it waits for.
    pub(super) fn tasks(&self) -> impl Iterator<Item = TaskId> {
        self.of.iter().filter_map(|awaited| match awaited {
            Awaited::Task(task) => Some(*task),
            Awaited::Other(_) => None,
        })
    }

    /// What is missing, of the task that waits at a version: `gradient of step 1234`.
    pub(super) fn reason(&self, version: Option<u64>) -> String {
        let Self { what, .. } = self;
        match (what.as_str(), version) {
            // The update that a ps makes next has the number of the version that it is at.
            ("gradient" | "choice", Some(step)) => format!("{what} of step {step}"),
            ("version", Some(step)) => format!("version {}", step + 1),
            _ => what.clone(),
        }
    }
}

/// `12.3 s gradient of worker 1, worker 2`.
impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seconds, what, of } = self;
        let of: Vec<_> = of.iter().map(ToString::to_string).collect();
        write!(f, "{seconds:.1} s {what} of {}", of.join(", "))
    }
}

impl Awaited {
    /// Reads the label `of`.
    fn parse(label: &str) -> Self {
        parse_task(label).map_or_else(|| Self::Other(label.to_owned()), Self::Task)
    }
}

impl fmt::Display for Awaited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Task(task) => task.fmt(f),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// Reads the name of a task, `worker 1`, as labels have it.
pub(super) fn parse_task(name: &str) -> Option<TaskId> {
    let (job, index) = name.split_once(' ')?;
    let job = [Job::Ps, Job::Worker].into_iter().find(|known| known.to_string() == job)?;
    let task = TaskId { job, index: index.parse().ok()? };
    // `worker +1` and `worker 01` are no names.
    (task.to_string() == name).then_some(task)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_task_is_read_and_nothing_else() {
        for task in [TaskId::ps(0), TaskId::CHIEF, TaskId::worker(4_000_000_000)] {
            assert_eq!(parse_task(&task.to_string()), Some(task));
        }
        for name in ["", "storage", "worker", "worker ", "worker x", "worker +1", "worker 01"] {
            assert_eq!(parse_task(name), None, "{name:?}");
        }
        assert_eq!(parse_task("worker 4294967296"), None, "indices are u32");
        assert_eq!(parse_task("chief 0"), None);
    }

    fn read(samples: &str) -> Option<Wait> {
        let text = format!("# TYPE unisono_waiting_seconds gauge\n{samples}");
        Wait::read(&Exposition::parse(&text).unwrap())
    }

    #[test]
    fn wait_has_all_awaited_tasks_in_order_and_the_longest_time() {
        let sample = |of: &str, seconds: &str| {
            format!("unisono_waiting_seconds{{what=\"gradient\",of=\"{of}\"}} {seconds}\n")
        };
        let wait = read(&(sample("worker 10", "2.5") + &sample("worker 2", "2.25"))).unwrap();
        assert_eq!(wait.tasks().collect::<Vec<_>>(), [TaskId::worker(2), TaskId::worker(10)]);
        assert_eq!(wait.to_string(), "2.5 s gradient of worker 2, worker 10");
        let on_disk = read(&sample("storage", "1")).unwrap();
        assert_eq!(
            (on_disk.to_string(), on_disk.tasks().count()),
            ("1.0 s gradient of storage".to_owned(), 0)
        );
        assert_eq!(read(""), None);
    }

    #[test]
    fn reason_names_the_step_whose_gradient_is_missing() {
        let wait = |what: &str| Wait { seconds: 1.0, what: what.to_owned(), of: Vec::new() };
        assert_eq!(wait("gradient").reason(Some(1234)), "gradient of step 1234");
        assert_eq!(wait("version").reason(Some(1234)), "version 1235");
        assert_eq!(wait("goodbye").reason(Some(1234)), "goodbye");
        assert_eq!(wait("gradient").reason(None), "gradient");
    }
}
