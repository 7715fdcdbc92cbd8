//! The current wait of a task, read from its metrics.

use std::fmt;

use unisono_core::ids::TaskId;
use unisono_metrics::text::Exposition;

/// The current wait of a task.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Wait {
    pub(super) seconds: f64,
    /// The name of the awaited thing in the metrics, such as `gradient`, `version` or `state`.
    pub(super) what: String,
    /// The names of the tasks from which the awaited thing is missing, or the name of the waiting
    /// task's storage. There is at least one name.
    pub(super) of: Vec<String>,
}

impl Wait {
    /// Returns the wait of the task that served the metrics; `None` if the task does not wait.
    pub(super) fn read(metrics: &Exposition) -> Option<Self> {
        let mut waits: Option<Self> = None;
        for sample in metrics.all("unisono_waiting_seconds") {
            let what = sample.label("what").unwrap_or_default();
            let new = || Self { what: what.to_owned(), ..Self::default() };
            let wait = waits.get_or_insert_with(new);
            wait.seconds = wait.seconds.max(sample.value);
            wait.of.push(sample.label("of").unwrap_or_default().to_owned());
        }
        if let Some(wait) = &mut waits {
            wait.of.sort_by_cached_key(|name| (task(name).is_none(), task(name), name.clone()));
        }
        waits
    }

    /// Returns the awaited tasks.
    pub(super) fn tasks(&self) -> impl Iterator<Item = TaskId> {
        self.of.iter().filter_map(|name| task(name))
    }

    /// Returns the name of the awaited thing, such as `gradient of step 1234`. `version` is the
    /// current version of the waiting task.
    pub(super) fn reason(&self, version: Option<u64>) -> String {
        let Self { what, .. } = self;
        match (what.as_str(), version) {
            // A ps at version k waits for the gradients or the choice of step k. A worker at
            // version k waits for version k + 1.
            ("gradient" | "choice", Some(step)) => format!("{what} of step {step}"),
            ("version", Some(step)) => format!("version {}", step + 1),
            _ => what.clone(),
        }
    }
}

/// Formats a wait such as `12.3 s gradient of worker 1, worker 2`.
impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seconds, what, of } = self;
        write!(f, "{seconds:.1} s {what} of {}", of.join(", "))
    }
}

/// Returns the task with this name; `None` if the name is that of a storage, or is unknown to this
/// release.
fn task(name: &str) -> Option<TaskId> {
    name.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(samples: &str) -> Option<Wait> {
        let text = format!("# TYPE unisono_waiting_seconds gauge\n{samples}");
        Wait::read(&Exposition::parse(&text).unwrap())
    }

    #[test]
    fn wait_lists_all_awaited_tasks_in_order_with_the_longest_time() {
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
