//! The production implementations of [`Compute`]. [`InlineCompute`] computes every job on the
//! caller's thread. [`ComputeThread`] computes long jobs on a separate thread.

use std::collections::VecDeque;
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

/// The maximum duration of a job that is computed on the caller's thread. The duration of the
/// previous job serves as the estimate. Moving a job to the compute thread and back costs two
/// wake-ups, which take a tenth of the step time of the original script's model. The network can
/// wait for 2 ms without harm.
const AT_ONCE: Duration = Duration::from_millis(2);

/// Computes long jobs on a separate thread, so that the network does not wait for arithmetic.
/// Computes short jobs at once, in [`Compute::start`].
///
/// When this value is dropped, the thread finishes its current job without reporting the result,
/// and discards all queued jobs.
pub struct ComputeThread {
    work: Arc<Mutex<Box<dyn Work>>>,
    jobs: blocking::Sender<Job>,
    results: mpsc::UnboundedReceiver<(Done, Duration)>,
    thread: Option<JoinHandle<()>>,
    /// Number of jobs that the thread has not finished.
    n_on_thread: usize,
    /// Results of jobs that were computed on the caller's thread.
    done: VecDeque<Done>,
    /// The maximum duration of a job that is computed on the caller's thread.
    at_once: Duration,
    /// Duration of the last job; `None` before the first result.
    last_took: Option<Duration>,
    /// Whether the last call of `next` returned a result. The caller may be about to send this
    /// result.
    is_answering: bool,
    /// Whether the next call of `next` may prepare the next batch on the caller's thread if no
    /// result is available.
    may_look_ahead: bool,
}

impl ComputeThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system cannot start another thread.
    pub fn start(work: Box<dyn Work>) -> io::Result<Self> {
        Self::with_limit(work, AT_ONCE)
    }

    /// Does the same as [`Self::start`], with `at_once` as the limit for jobs on the caller's
    /// thread.
    fn with_limit(work: Box<dyn Work>, at_once: Duration) -> io::Result<Self> {
        // The queues need no limit, because a node gives at most one job for each of its slots.
        let (jobs, todo) = blocking::channel();
        let (done, results) = mpsc::unbounded_channel();
        let work = Arc::new(Mutex::new(work));
        let thread_work = Arc::clone(&work);
        let thread = Builder::new().name("compute".to_owned()).spawn(move || {
            for job in todo {
                if done.send(timed(&thread_work, job)).is_err() {
                    return;
                }
                // The next batch is prepared after the result is sent, so that the preparation
                // delays no message.
                look_ahead(&thread_work);
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

    /// Returns whether the next job should be computed on the caller's thread.
    fn is_for_caller_thread(&self) -> bool {
        let is_short = self.last_took.is_some_and(|took| took <= self.at_once);
        // Results must keep the order of the jobs, so the thread must do the next job if it still
        // has an earlier one. If a job follows directly after a result, as with several slots per
        // step, the thread does it, too. The caller can then send the result while the thread
        // computes.
        is_short && self.n_on_thread == 0 && !self.is_answering
    }
}

unisono_core::partial_debug!(ComputeThread { n_on_thread, last_took });

impl Compute for ComputeThread {
    fn start(&mut self, job: Job) {
        if self.is_for_caller_thread() {
            let (done, took) = timed(&self.work, job);
            self.last_took = Some(took);
            self.may_look_ahead = true;
            self.done.push_back(done);
        } else {
            self.n_on_thread += 1;
            // Sending fails only if the thread panicked, which `next` reports.
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
            // `yield_now` lets the writers of the links run first, so that preparing the next batch
            // does not delay the result.
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
            // The panic of the thread is raised again here. Otherwise the node would wait forever
            // for a result.
            Some(Err(panic)) => resume_unwind(panic),
            _ => unreachable!("the thread ends only by a panic while its jobs can come"),
        }
    }
}

/// Does a job. Returns its result and its duration.
#[expect(clippy::disallowed_methods, reason = "a host may measure how long a job takes")]
fn timed(work: &Mutex<Box<dyn Work>>, job: Job) -> (Done, Duration) {
    let began = Instant::now();
    // A poisoned lock needs no treatment here: after a panic, `next` raises the panic again and
    // ends the loop.
    let done = work.lock().unwrap_or_else(PoisonError::into_inner).work(job);
    (done, began.elapsed())
}

fn look_ahead(work: &Mutex<Box<dyn Work>>) {
    work.lock().unwrap_or_else(PoisonError::into_inner).look_ahead();
}

/// Computes every job at once, in [`Compute::start`]. A ps uses this type, because an update takes
/// no longer than moving the job to another thread.
pub struct InlineCompute {
    work: Box<dyn Work>,
    results: VecDeque<Done>,
}

impl InlineCompute {
    /// Creates a compute that does its jobs with `work`.
    #[must_use]
    pub fn new(work: Box<dyn Work>) -> Self {
        Self { work, results: VecDeque::new() }
    }
}

unisono_core::partial_debug!(InlineCompute { results });

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

    /// Records each call and the thread on which it was made.
    #[derive(Clone, Default)]
    struct Recorder(Arc<Mutex<Vec<(Call, ThreadId)>>>);

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Call {
        Work,
        LookAhead,
    }

    impl Recorder {
        fn record(&self, call: Call) {
            self.0.lock().unwrap().push((call, current().id()));
        }

        /// Takes the calls that were made on this thread. Calls on the compute thread are left out,
        /// because they may be recorded at any time.
        fn take_calls_here(&self) -> Vec<Call> {
            let all = std::mem::take(&mut *self.0.lock().unwrap());
            all.into_iter().filter(|call| call.1 == current().id()).map(|call| call.0).collect()
        }
    }

    impl Work for Recorder {
        fn work(&mut self, job: Job) -> Done {
            self.record(Call::Work);
            contract::echo(job)
        }

        fn look_ahead(&mut self) {
            self.record(Call::LookAhead);
        }
    }

    fn job(step: u64) -> Job {
        let (generation, parameters) = (Generation::default(), Vec::new());
        Job::Gradient { cut: Cut { generation, step: Step(step) }, slot: Slot(0), parameters }
    }

    fn run<T>(test: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(test)
    }

    /// Waits for a result that does not come. The wait is long enough for `look_ahead` to be
    /// called.
    async fn wait_without_result(compute: &mut ComputeThread) {
        tokio::select! {
            biased;
            done = compute.next() => panic!("{done:?}"),
            () = async { for _ in 0..10 { yield_now().await } } => {}
        }
    }

    #[test]
    fn short_jobs_run_on_the_callers_thread_and_an_idle_wait_looks_ahead() {
        let calls = Recorder::default();
        run(async {
            let mut compute =
                ComputeThread::with_limit(Box::new(calls.clone()), Duration::MAX).unwrap();
            compute.start(job(0));
            assert_eq!(compute.next().await, contract::echo(job(0)));
            wait_without_result(&mut compute).await;
            assert_eq!(calls.take_calls_here(), [], "the first job's duration was unknown");
            for step in 1..4 {
                compute.start(job(step));
                assert_eq!(calls.take_calls_here(), [Call::Work]);
                assert_eq!(compute.next().await, contract::echo(job(step)));
                assert_eq!(calls.take_calls_here(), []);
                wait_without_result(&mut compute).await;
                assert_eq!(calls.take_calls_here(), [Call::LookAhead]);
            }
        });
    }

    #[test]
    fn long_jobs_run_on_the_compute_thread() {
        let calls = Recorder::default();
        run(async {
            let mut compute =
                ComputeThread::with_limit(Box::new(calls.clone()), Duration::ZERO).unwrap();
            for step in 0..4 {
                compute.start(job(step));
                assert_eq!(compute.next().await, contract::echo(job(step)));
                wait_without_result(&mut compute).await;
            }
        });
        assert_eq!(calls.take_calls_here(), []);
    }

    #[test]
    fn job_directly_after_a_result_runs_on_the_compute_thread() {
        let calls = Recorder::default();
        run(async {
            let mut compute =
                ComputeThread::with_limit(Box::new(calls.clone()), Duration::MAX).unwrap();
            compute.start(job(0));
            assert_eq!(compute.next().await, contract::echo(job(0)));
            compute.start(job(1));
            assert_eq!(compute.next().await, contract::echo(job(1)));
        });
        assert_eq!(calls.take_calls_here(), []);
    }
}
