//! Implements the host traits (clock, network, stop requests, storage, computations) for a
//! simulated task. The implementations use a [`Universe`].

use std::future::poll_fn;
use std::sync::Arc;

use unisono_core::host::{Clock, Compute, Network, Stop, Storage, Work};
use unisono_core::protocol::{
    Done, Job, Message, NetworkEvent, Snapshot, StorageEvent, UpdateRecord,
};
use unisono_core::{LinkId, Moment, TaskId};
use unisono_rules::LifeId;

use crate::world::files::Request;
use crate::world::flight::Parcel;
use crate::world::universe::Universe;

/// The host of one incarnation of a task: its clock, its network, its storage and its stop
/// requests.
#[derive(Clone, Debug)]
pub(crate) struct LifeHost {
    pub(crate) universe: Universe,
    pub(crate) id: LifeId,
}

impl Clock for LifeHost {
    fn now(&self) -> Moment {
        let state = self.universe.state();
        Moment::from_origin(state.clock(self.id.task).at(state.now))
    }

    async fn sleep_until(&self, moment: Moment) {
        poll_fn(|context| self.universe.state().poll_alarm(self.id, moment, context)).await;
    }
}

impl Network for LifeHost {
    fn connect(&mut self, to: TaskId) {
        self.universe.act(self.id, |state| state.call(self.id, to));
    }

    fn send(&mut self, link: LinkId, message: Message) {
        let parcel = Parcel::Message(message);
        self.universe.act(self.id, |state| state.send(link, self.id, parcel));
    }

    fn close(&mut self, link: LinkId) {
        self.universe.act(self.id, |state| state.close(link, self.id, "closed by the other end"));
    }

    async fn next(&mut self) -> NetworkEvent {
        poll_fn(|context| self.universe.poll_network(self.id, context)).await
    }

    async fn flush(&mut self) {
        self.universe.act(self.id, |state| state.close_all(self.id));
    }
}

impl Stop for LifeHost {
    async fn next(&mut self) {
        poll_fn(|context| self.universe.poll(self.id, context, |life| &mut life.stops)).await;
    }
}

/// Storage requests use the files on the chief's simulated disk.
impl Storage for LifeHost {
    fn restore(&mut self) {
        self.universe.act(self.id, |state| state.request(self.id, Request::Restore));
    }

    fn persist(&mut self, snapshot: Arc<Snapshot>) {
        let request = Request::Persist(snapshot);
        self.universe.act(self.id, |state| state.request(self.id, request));
    }

    fn record(&mut self, update: UpdateRecord) {
        self.universe.act(self.id, |state| state.record(self.id, &update));
    }

    async fn next(&mut self) -> StorageEvent {
        poll_fn(|context| self.universe.poll(self.id, context, |life| &mut life.stored)).await
    }
}

/// Does jobs one after another. Each job takes virtual time.
pub(crate) struct SimCompute<W> {
    pub(crate) host: LifeHost,
    pub(crate) work: W,
}

impl<W: Work> Compute for SimCompute<W> {
    fn start(&mut self, job: Job) {
        self.host.universe.compute(self.host.id, job, |job| self.work.work(job));
    }

    async fn next(&mut self) -> Done {
        let LifeHost { universe, id } = &self.host;
        poll_fn(|context| universe.poll(*id, context, |life| &mut life.done)).await
    }
}

#[cfg(test)]
mod tests {
    use madsim::runtime::Runtime;
    use unisono_core::Incarnation;
    use unisono_core::host::contract;

    use super::*;
    use crate::scenario::Scenario;

    const CALLED: TaskId = TaskId::PS_ZERO;
    const NOBODY: TaskId = TaskId::ps(9);

    /// Runs a test while virtual time passes.
    fn in_universe<T: Future<Output = ()> + 'static>(test: impl FnOnce(Universe) -> T) {
        let universe = Universe::new(&Scenario::default(), 7);
        let test = test(universe.clone());
        Runtime::new().block_on(async move {
            let test = madsim::task::spawn_local(test);
            while !test.is_finished() {
                madsim::time::sleep(std::time::Duration::ZERO).await;
                let advanced = universe.state().advance();
                assert!(test.is_finished() || advanced, "the test waits, and no event is pending");
            }
            test.await.expect("the test did not panic");
        });
    }

    fn begin(universe: &Universe, task: TaskId) -> LifeHost {
        let id = LifeId { task, number: 1, incarnation: Incarnation(1) };
        universe.begin(id);
        LifeHost { universe: universe.clone(), id }
    }

    macro_rules! contract_tests {
        ($($test:ident),*) => {$(
            #[test]
            fn $test() {
                in_universe(|universe| async move {
                    let mut caller = begin(&universe, TaskId::CHIEF);
                    let mut called = begin(&universe, CALLED);
                    contract::$test(&mut caller, &mut called, CALLED).await;
                });
            }
        )*};
    }

    contract_tests!(
        network_keeps_order_and_content,
        bursts_are_delivered_or_their_loss_is_reported,
        links_are_told_apart,
        close_delivers_what_was_sent_before,
        closed_is_told_once_to_the_other_end,
        who_closes_a_link_hears_no_more_of_it,
        link_numbers_are_never_used_again,
        network_next_is_cancel_safe,
        flush_delivers_everything
    );

    #[test]
    fn call_to_an_absent_task_fails_with_a_reason() {
        in_universe(|universe| async move {
            let mut caller = begin(&universe, TaskId::CHIEF);
            contract::connect_to_nobody_fails_with_a_reason(&mut caller, NOBODY).await;
        });
    }

    #[test]
    fn clock_fulfils_its_contract() {
        in_universe(|universe| async move {
            let clock = begin(&universe, TaskId::CHIEF);
            contract::clock_never_goes_back(&clock).await;
            contract::any_moment_can_be_waited_for(&clock).await;
        });
    }

    #[test]
    fn compute_fulfils_its_contract() {
        in_universe(|universe| async move {
            let host = begin(&universe, TaskId::CHIEF);
            let mut compute = SimCompute { host, work: contract::echo };
            contract::compute_keeps_order(&mut compute).await;
            contract::compute_next_is_cancel_safe(&mut compute).await;
        });
    }
}
