//! The four traits of a host, in a [`Universe`].

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use unisono::host::{Clock, Compute, Network, Stop, Storage};
use unisono::protocol::{Done, Job, Message, NetworkEvent, Snapshot, StorageEvent, UpdateRecord};
use unisono::{LinkId, Moment, TaskId};

use crate::links::LifeId;
use crate::universe::Universe;

/// One life's part of the universe: its clock, its network, its requests to end.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) universe: Universe,
    pub(crate) id: LifeId,
}

impl Clock for Place {
    fn now(&self) -> Moment {
        self.universe.moment()
    }

    async fn sleep_until(&self, moment: Moment) {
        poll_fn(|context| self.universe.poll_alarm(self.id, moment, context)).await;
    }
}

impl Network for Place {
    fn connect(&mut self, to: TaskId) {
        self.universe.call(self.id, to);
    }

    fn send(&mut self, link: LinkId, message: Message) {
        self.universe.send(link, self.id, message);
    }

    fn close(&mut self, link: LinkId) {
        self.universe.close(link, self.id);
    }

    async fn next(&mut self) -> NetworkEvent {
        poll_fn(|context| self.universe.poll(self.id, context, |life| &mut life.network)).await
    }

    async fn flush(&mut self) {
        self.universe.close_all(self.id, "the other end has ended");
    }
}

impl Stop for Place {
    async fn next(&mut self) {
        poll_fn(|context| self.universe.poll(self.id, context, |life| &mut life.stops)).await;
    }
}

/// Does jobs, one after the other, each of which takes its time.
pub(crate) struct SimCompute {
    pub(crate) place: Place,
    pub(crate) work: Box<dyn FnMut(Job) -> Done>,
    /// What a job takes.
    pub(crate) takes: Duration,
    /// When the jobs before are done.
    pub(crate) busy_until: Duration,
}

impl fmt::Debug for SimCompute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimCompute").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Compute for SimCompute {
    fn start(&mut self, job: Job) {
        let now = self.place.universe.now();
        self.busy_until = self.busy_until.max(now) + self.takes;
        let done = (self.work)(job);
        self.place.universe.compute(self.place.id, self.busy_until - now, done);
    }

    async fn next(&mut self) -> Done {
        let Place { universe, id } = &self.place;
        poll_fn(|context| universe.poll(*id, context, |life| &mut life.done)).await
    }
}

/// What a run keeps; survives the lives of its chief.
pub trait Files {
    /// Reads the newest checkpoint, or the initial values.
    fn restore(&mut self) -> StorageEvent;

    /// Writes a checkpoint.
    fn persist(&mut self, snapshot: &Snapshot) -> StorageEvent;

    /// Appends to the losses.
    fn record(&mut self, update: &UpdateRecord);
}

/// Asks files, each of which takes its time.
pub(crate) struct SimStorage<F> {
    pub(crate) place: Place,
    pub(crate) files: Arc<std::sync::Mutex<Option<F>>>,
    pub(crate) takes: Duration,
}

impl<F> fmt::Debug for SimStorage<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimStorage").field("place", &self.place).finish_non_exhaustive()
    }
}

impl<F: Files> SimStorage<F> {
    fn with_files<T>(&self, ask: impl FnOnce(&mut F) -> T) -> T {
        let mut files = self.files.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        ask(files.as_mut().expect("they are taken when all tasks have ended"))
    }
}

impl<F: Files> Storage for SimStorage<F> {
    fn restore(&mut self) {
        let event = self.with_files(Files::restore);
        self.place.universe.store(self.place.id, self.takes, event);
    }

    fn persist(&mut self, snapshot: Arc<Snapshot>) {
        let event = self.with_files(|files| files.persist(&snapshot));
        self.place.universe.store(self.place.id, self.takes, event);
    }

    fn record(&mut self, update: UpdateRecord) {
        self.with_files(|files| files.record(&update));
    }

    async fn next(&mut self) -> StorageEvent {
        let Place { universe, id } = &self.place;
        poll_fn(|context| universe.poll(*id, context, |life| &mut life.stored)).await
    }
}

#[cfg(test)]
mod tests {
    use madsim::runtime::Runtime;
    use unisono::Incarnation;
    use unisono::host::contract;

    use super::*;
    use crate::links::LinkModel;

    const CALLED: TaskId = TaskId::PS_ZERO;
    const NOBODY: TaskId = TaskId::ps(9);

    /// Runs a test while time passes in its universe.
    fn in_universe<T: Future<Output = ()> + 'static>(test: impl FnOnce(Universe) -> T) {
        let universe = Universe::new(LinkModel { latency: Duration::from_micros(50) });
        let test = test(universe.clone());
        Runtime::new().block_on(async move {
            let test = madsim::task::spawn_local(test);
            while !test.is_finished() {
                madsim::time::sleep(Duration::ZERO).await;
                assert!(test.is_finished() || universe.advance(), "the test waits for ever");
            }
            test.await.expect("the test did not panic");
        });
    }

    fn place(universe: &Universe, task: TaskId) -> Place {
        let id = LifeId { task, incarnation: Incarnation(1) };
        universe.begin(id);
        Place { universe: universe.clone(), id }
    }

    macro_rules! contract_tests {
        ($($test:ident),*) => {$(
            #[test]
            fn $test() {
                in_universe(|universe| async move {
                    let mut caller = place(&universe, TaskId::CHIEF);
                    let mut called = place(&universe, CALLED);
                    contract::$test(&mut caller, &mut called, CALLED).await;
                });
            }
        )*};
    }

    contract_tests!(
        network_keeps_order_and_content,
        links_are_told_apart,
        close_delivers_what_was_sent_before,
        closed_is_told_once_to_the_other_end,
        who_closes_a_link_hears_no_more_of_it,
        link_numbers_are_never_used_again,
        network_next_is_cancel_safe,
        flush_delivers_everything
    );

    #[test]
    fn connect_to_nobody_fails_with_a_reason() {
        in_universe(|universe| async move {
            let mut caller = place(&universe, TaskId::CHIEF);
            contract::connect_to_nobody_fails_with_a_reason(&mut caller, NOBODY).await;
        });
    }

    #[test]
    fn the_clock_keeps_its_contract() {
        in_universe(|universe| async move {
            let clock = place(&universe, TaskId::CHIEF);
            contract::clock_never_goes_back(&clock).await;
            contract::any_moment_can_be_waited_for(&clock).await;
        });
    }

    #[test]
    fn compute_keeps_its_contract() {
        in_universe(|universe| async move {
            let mut compute = SimCompute {
                place: place(&universe, TaskId::CHIEF),
                work: Box::new(contract::echo),
                takes: Duration::from_micros(10),
                busy_until: Duration::ZERO,
            };
            contract::compute_keeps_order(&mut compute).await;
            contract::compute_next_is_cancel_safe(&mut compute).await;
        });
    }
}
