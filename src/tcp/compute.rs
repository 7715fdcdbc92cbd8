//! Who computes in production: a thread of its own, or the caller.

use std::collections::VecDeque;
use std::fmt;
use std::future::pending;
use std::io;
use std::panic::resume_unwind;
use std::sync::mpsc as blocking;
use std::thread::{Builder, JoinHandle};

use tokio::sync::mpsc;

use crate::host::{Compute, Work};
use crate::protocol::{Done, Job};

/// Does jobs on one thread of its own, so that the network never waits for arithmetic.
///
/// Dropping it lets the present job end unheard, and forgets the rest.
#[derive(Debug)]
pub struct ComputeThread {
    jobs: blocking::Sender<Job>,
    results: mpsc::UnboundedReceiver<Done>,
    thread: Option<JoinHandle<()>>,
}

impl ComputeThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system has no thread to spare.
    pub fn start(mut work: Box<dyn Work>) -> io::Result<Self> {
        // Neither queue has a limit: a node starts a job for each of its slots, and no more.
        let (jobs, todo) = blocking::channel();
        let (done, results) = mpsc::unbounded_channel();
        let thread = Builder::new().name("compute".to_owned()).spawn(move || {
            for job in todo {
                if done.send(work.work(job)).is_err() {
                    return;
                }
                work.look_ahead();
            }
        })?;
        Ok(Self { jobs, results, thread: Some(thread) })
    }
}

impl Compute for ComputeThread {
    fn start(&mut self, job: Job) {
        // If the thread panicked, `next` says so.
        let _ = self.jobs.send(job);
    }

    async fn next(&mut self) -> Done {
        if let Some(done) = self.results.recv().await {
            return done;
        }
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(panic)) => resume_unwind(panic),
            _ => unreachable!("the thread ends only by a panic while its jobs can come"),
        }
    }
}

/// Does each job at once, in [`Compute::start`]: for a ps, whose updates are so short that
/// handing them to another thread would take as long.
pub struct InlineCompute {
    work: Box<dyn Work>,
    results: VecDeque<Done>,
}

impl InlineCompute {
    /// Does jobs with `work`.
    #[must_use]
    pub fn new(work: Box<dyn Work>) -> Self {
        Self { work, results: VecDeque::new() }
    }
}

impl fmt::Debug for InlineCompute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InlineCompute")
            .field("results", &self.results.len())
            .finish_non_exhaustive()
    }
}

impl Compute for InlineCompute {
    fn start(&mut self, job: Job) {
        self.results.push_back(self.work.work(job));
    }

    async fn next(&mut self) -> Done {
        match self.results.pop_front() {
            Some(done) => done,
            None => pending().await,
        }
    }
}
