//! The loop that runs a node: it waits for the next input, gives the input to the node, and carries
//! out the node's effects.

use super::{Clock, Compute, Host, Network, Observer, Peers, Stop, Storage, Turn};
use crate::protocol::{Effect, Input, Node, Outcome};

/// Runs a node on a host until the node halts. Before the function returns, the host flushes the
/// messages that the node has sent.
pub async fn drive<C, N, K, S, T>(
    node: &mut impl Node,
    mut host: Host<C, N, K, S, T>,
    observer: &mut impl Observer,
) -> Outcome
where
    C: Clock,
    N: Network,
    K: Compute,
    S: Storage,
    T: Stop,
{
    let mut input = Input::Start;
    let mut effects = Vec::new();
    let mut peers = Peers::default();
    loop {
        let now = host.clock.now();
        node.handle(now, &input, &mut effects);
        peers.add(&input);
        observer.turn(&Turn { now, input: &input, effects: &effects, node, peers: &peers });
        peers.remove(&input, &effects);
        // The input may share tensors with the effects. A job can reuse the memory of a tensor only
        // if the job is its only owner. So the input is dropped before the jobs start.
        drop(input);
        for effect in effects.drain(..) {
            if let Some(outcome) = host.carry_out(effect) {
                host.network.flush().await;
                return outcome;
            }
        }
        input = host.next(node).await;
    }
}

impl<C, N, K, S, T> Host<C, N, K, S, T>
where
    C: Clock,
    N: Network,
    K: Compute,
    S: Storage,
    T: Stop,
{
    /// Waits for the next input. The branches are polled in a fixed order, so that a simulated run
    /// has only one possible order of inputs. The network comes last, because a busy network always
    /// has an event and would starve the other branches.
    async fn next(&mut self, node: &impl Node) -> Input {
        let deadline = node.deadline();
        if deadline.is_some_and(|deadline| deadline <= self.clock.now()) {
            return Input::Wake;
        }
        let Self { clock, network, compute, storage, stop } = self;
        let wake = async {
            match deadline {
                Some(deadline) => clock.sleep_until(deadline).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = stop.next() => Input::Stop,
            event = storage.next() => Input::Stored(event),
            done = compute.next() => Input::Computed(done),
            () = wake => Input::Wake,
            event = network.next() => Input::Network(event),
        }
    }

    fn carry_out(&mut self, effect: Effect) -> Option<Outcome> {
        match effect {
            Effect::Connect { to } => self.network.connect(to),
            Effect::Send { link, message } => self.network.send(link, message),
            Effect::Close { link } => self.network.close(link),
            Effect::Compute(job) => self.compute.start(job),
            Effect::Restore => self.storage.restore(),
            Effect::Persist(snapshot) => self.storage.persist(snapshot),
            Effect::Record(update) => self.storage.record(update),
            Effect::Report(_) => {}
            Effect::Halt(outcome) => return Some(outcome),
        }
        None
    }
}
