//! The limit of tensor bytes that a peer may send in one frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use unisono_core::ids::{Job, TaskId};
use unisono_core::wire::Limits;

/// The number of tensor bytes in the largest message that this task has sent to any peer.
#[derive(Clone, Debug, Default)]
pub(super) struct LargestSent(Arc<AtomicUsize>);

impl LargestSent {
    pub(super) fn note(&self, tensor_bytes: usize) {
        self.0.fetch_max(tensor_bytes, Ordering::Relaxed);
    }
}

/// The limits of the frames that arrive on one link.
#[derive(Clone, Debug)]
pub(super) struct Room {
    limits: Limits,
    /// If set, the tensors of a frame may be as long as the largest tensors that this task has
    /// sent. A ps does not know the model, but gradients are as long as the parameters that the ps
    /// has sent.
    sent: Option<LargestSent>,
}

impl Room {
    /// Creates limits that are the same for every frame.
    pub(super) const fn fixed(limits: Limits) -> Self {
        Self { limits, sent: None }
    }

    /// Creates limits for a caller that claims to be `from`.
    pub(super) fn for_caller(from: Option<TaskId>, limits: Limits, sent: &LargestSent) -> Self {
        match from {
            // The chief restores a shard's whole state before this task has sent any tensor, so the
            // chief needs the full limits. A ps also gets the full limits, because it is trusted.
            Some(from) if from == TaskId::CHIEF || from.job == Job::Ps => Self::fixed(limits),
            _ => Self { limits, sent: Some(sent.clone()) },
        }
    }

    /// Returns the limits of the next frame.
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
    fn worker_may_send_tensors_as_large_as_it_was_sent_and_the_chief_a_whole_state() {
        let limits = Limits::with_tensor_bytes(1000);
        let sent = LargestSent::default();
        let bytes_of = |from| Room::for_caller(from, limits, &sent).limits().tensor_bytes;
        let worker = Room::for_caller(Some(TaskId::worker(1)), limits, &sent);
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
