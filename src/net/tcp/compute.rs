//! Who computes in production: the caller, or a thread of its own.

use std::collections::VecDeque;
use std::fmt;
use std::future::pending;
use std::io;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError, mpsc as blocking};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::yield_now;

use unisono_core::host::{Compute, Work};
use unisono_core::protocol::{Done, Job};

/// A job of which the one before took no longer is done at once. To hand it to a thread and back
/// would cost two wake-ups, which are a tenth of a step of the original's model; and a network that
/// is left alone for so long loses nothing.
const AT_ONCE: Duration = Duration::from_millis(2);

/// Does long jobs on a thread of its own, so that the network does not wait for arithmetic, and
/// short ones at once, in [`Compute::start`].
///
/// Dropping it lets the present job end unheard, and forgets the rest.
pub struct ComputeThread {
    work: Arc<Mutex<Box<dyn Work>>>,
    jobs: blocking::Sender<Job>,
    results: mpsc::UnboundedReceiver<(Done, Duration)>,
    thread: Option<JoinHandle<()>>,
    /// Jobs that the thread has and that are not done.
    n_on_thread: usize,
    /// Results of jobs that were done at once.
    done: VecDeque<Done>,
    at_once: Duration,
    /// How long the last job took; none was done yet.
    last_took: Option<Duration>,
    /// Whether the last thing that the caller heard was a result, which it may have to send.
    is_answering: bool,
    may_look_ahead: bool,
}

impl ComputeThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system has no thread to spare.
    pub fn start(work: Box<dyn Work>) -> io::Result<Self> {
        Self::with_limit(work, AT_ONCE)
    }

    /// As [`Self::start`], with another limit for what is done at once.
    fn with_limit(work: Box<dyn Work>, at_once: Duration) -> io::Result<Self> {
        // Neither queue has a limit: a node starts a job for each of its slots, and no more.
        let (jobs, todo) = blocking::channel();
        let (done, results) = mpsc::unbounded_channel();
        let work = Arc::new(Mutex::new(work));
        let of_thread = Arc::clone(&work);
        let thread = Builder::new().name("compute".to_owned()).spawn(move || {
            for job in todo {
                if done.send(timed(&of_thread, job)).is_err() {
                    return;
                }
                look_ahead(&of_thread);
            }
        })?;
        Ok(Self {
            work,
            jobs,
            results,
            thread: Some(thread),
            n_on_thread: 0,
            done: VecDeque::new(),
            at_once,
            last_took: None,
            is_answering: false,
            may_look_ahead: false,
        })
    }

    /// Whether the next job is better done here. Not if there is a result to be sent first, as with
    /// several slots a step: that goes out while the thread computes.
    fn is_for_the_caller(&self) -> bool {
        let is_short = self.last_took.is_some_and(|took| took <= self.at_once);
        is_short && self.n_on_thread == 0 && !self.is_answering
    }
}

impl fmt::Debug for ComputeThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ComputeThread")
            .field("n_on_thread", &self.n_on_thread)
            .field("last_took", &self.last_took)
            .finish_non_exhaustive()
    }
}

impl Compute for ComputeThread {
    fn start(&mut self, job: Job) {
        if self.is_for_the_caller() {
            let (done, took) = timed(&self.work, job);
            self.last_took = Some(took);
            self.may_look_ahead = true;
            self.done.push_back(done);
        } else {
            self.n_on_thread += 1;
            // If the thread panicked, `next` says so.
            let _ = self.jobs.send(job);
        }
    }

    async fn next(&mut self) -> Done {
        self.is_answering = false;
        if let Some(done) = self.done.pop_front() {
            self.is_answering = true;
            return done;
        }
        if self.may_look_ahead {
            // What the caller had to send goes out first.
            yield_now().await;
            self.may_look_ahead = false;
            look_ahead(&self.work);
        }
        if let Some((done, took)) = self.results.recv().await {
            self.n_on_thread -= 1;
            self.last_took = Some(took);
            self.is_answering = true;
            return done;
        }
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(panic)) => resume_unwind(panic),
            _ => unreachable!("the thread ends only by a panic while its jobs can come"),
        }
    }
}

/// Does a job, and tells how long it took.
#[expect(clippy::disallowed_methods, reason = "a host may know what takes long")]
fn timed(work: &Mutex<Box<dyn Work>>, job: Job) -> (Done, Duration) {
    let began = Instant::now();
    // After a panic nobody asks for more.
    let done = work.lock().unwrap_or_else(PoisonError::into_inner).work(job);
    (done, began.elapsed())
}

fn look_ahead(work: &Mutex<Box<dyn Work>>) {
    work.lock().unwrap_or_else(PoisonError::into_inner).look_ahead();
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

#[cfg(test)]
mod tests {
    use std::thread::{ThreadId, current};

    use super::*;
    use unisono_core::host::contract;
    use unisono_core::ids::Cut;
    use unisono_core::ids::{Generation, Slot, Step};

    /// Notes on which thread each of its jobs is done, and when it looks ahead.
    #[derive(Clone, Default)]
    struct Noted(Arc<Mutex<Vec<(Noticed, ThreadId)>>>);

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Noticed {
        Work,
        LookAhead,
    }

    impl Noted {
        fn note(&self, what: Noticed) {
            self.0.lock().unwrap().push((what, current().id()));
        }

        /// What was done on this thread since it was last asked. What the other one does after a
        /// result may be noted at any time.
        fn here(&self) -> Vec<Noticed> {
            let all = std::mem::take(&mut *self.0.lock().unwrap());
            all.into_iter().filter(|noted| noted.1 == current().id()).map(|noted| noted.0).collect()
        }
    }

    impl Work for Noted {
        fn work(&mut self, job: Job) -> Done {
            self.note(Noticed::Work);
            contract::echo(job)
        }

        fn look_ahead(&mut self) {
            self.note(Noticed::LookAhead);
        }
    }

    fn job(step: u64) -> Job {
        let (generation, parameters) = (Generation::default(), Vec::new());
        Job::Gradient { cut: Cut { generation, step: Step(step) }, slot: Slot(0), parameters }
    }

    fn run<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test)
    }

    /// Drops a wait that has nothing to bring, once what can be done meanwhile was done.
    async fn wait_in_vain(compute: &mut ComputeThread) {
        tokio::select! {
            biased;
            done = compute.next() => panic!("{done:?}"),
            () = async { for _ in 0..10 { yield_now().await } } => {}
        }
    }

    #[test]
    fn short_jobs_are_done_at_once_and_the_next_batch_is_prepared_while_nothing_comes() {
        let noted = Noted::default();
        run(async {
            let mut compute =
                ComputeThread::with_limit(Box::new(noted.clone()), Duration::MAX).unwrap();
            compute.start(job(0));
            assert_eq!(compute.next().await, contract::echo(job(0)));
            wait_in_vain(&mut compute).await;
            assert_eq!(noted.here(), [], "nobody knew how long it would take");
            for step in 1..4 {
                compute.start(job(step));
                assert_eq!(noted.here(), [Noticed::Work]);
                assert_eq!(compute.next().await, contract::echo(job(step)));
                assert_eq!(noted.here(), []);
                wait_in_vain(&mut compute).await;
                assert_eq!(noted.here(), [Noticed::LookAhead]);
            }
        });
    }

    #[test]
    fn long_jobs_are_done_on_the_thread() {
        let noted = Noted::default();
        run(async {
            let mut compute =
                ComputeThread::with_limit(Box::new(noted.clone()), Duration::ZERO).unwrap();
            for step in 0..4 {
                compute.start(job(step));
                assert_eq!(compute.next().await, contract::echo(job(step)));
                wait_in_vain(&mut compute).await;
            }
        });
        assert_eq!(noted.here(), []);
    }

    #[test]
    fn a_job_that_follows_a_result_does_not_keep_it_from_being_sent() {
        let noted = Noted::default();
        run(async {
            let mut compute =
                ComputeThread::with_limit(Box::new(noted.clone()), Duration::MAX).unwrap();
            compute.start(job(0));
            assert_eq!(compute.next().await, contract::echo(job(0)));
            compute.start(job(1));
            assert_eq!(compute.next().await, contract::echo(job(1)));
        });
        assert_eq!(noted.here(), []);
    }
}
