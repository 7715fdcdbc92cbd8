//! How many bytes of tensors a peer may send in one frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use unisono_core::ids::{Job, TaskId};
use unisono_core::wire::Limits;

/// The bytes of the largest tensors that this task has sent to anybody.
#[derive(Clone, Debug, Default)]
pub(super) struct LargestSent(Arc<AtomicUsize>);

impl LargestSent {
    pub(super) fn note(&self, tensor_bytes: usize) {
        self.0.fetch_max(tensor_bytes, Ordering::Relaxed);
    }
}

/// The limits of one link's frames.
#[derive(Clone, Debug)]
pub(super) struct Room {
    limits: Limits,
    /// Where a worker calls, nobody knows how large its gradients are but from what it was sent:
    /// the parameters that they are of.
    sent: Option<LargestSent>,
}

impl Room {
    /// For a peer that may send whatever a frame of this task's can hold.
    pub(super) const fn whole(limits: Limits) -> Self {
        Self { limits, sent: None }
    }

    /// For a caller: the chief brings the state, and a ps knows what it holds; any other worker
    /// sends back gradients of what it was sent.
    pub(super) fn of_caller(from: Option<TaskId>, limits: Limits, sent: &LargestSent) -> Self {
        match from {
            Some(from) if from == TaskId::CHIEF || from.job == Job::Ps => Self::whole(limits),
            _ => Self { limits, sent: Some(sent.clone()) },
        }
    }

    /// The limits of the next frame.
    pub(super) fn limits(&self) -> Limits {
        let Some(LargestSent(sent)) = &self.sent else { return self.limits };
        let tensor_bytes = self.limits.tensor_bytes.min(sent.load(Ordering::Relaxed));
        Limits { tensor_bytes, ..self.limits }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_may_send_as_much_as_anybody_was_sent_and_the_chief_a_whole_state() {
        let limits = Limits::with_tensor_bytes(1000);
        let sent = LargestSent::default();
        let bytes_of = |from| Room::of_caller(from, limits, &sent).limits().tensor_bytes;
        let worker = Room::of_caller(Some(TaskId::worker(1)), limits, &sent);
        assert_eq!(worker.limits().tensor_bytes, 0);
        assert_eq!(bytes_of(None), 0);
        assert_eq!((bytes_of(Some(TaskId::CHIEF)), bytes_of(Some(TaskId::ps(1)))), (1000, 1000));
        sent.note(400);
        sent.note(300);
        assert_eq!(worker.limits().tensor_bytes, 400);
        sent.note(4000);
        assert_eq!(worker.limits().tensor_bytes, 1000);
    }
}
