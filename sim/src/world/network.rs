//! Links between simulated tasks: in order while they last, slow as the network's model and the
//! active faults say.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU64;
use std::time::Duration;

use unisono_core::host::limits::{QueueFull, QueueLimit};
use unisono_core::random::Stream;
use unisono_core::{Job, LinkId, TaskId};

use crate::scenario::{Distribution, NetworkModel, nanos};
use crate::streams::Purpose;
use crate::world::life::LifeId;

/// A link, as its two ends and the network between them know it.
#[derive(Debug)]
pub(crate) struct Link {
    /// Who called, and who was called.
    pub(crate) ends: [LifeId; 2],
    /// What goes towards the one, and towards the other.
    pub(crate) directions: [Direction; 2],
    /// What is sent from now on is lost; what is on its way is not.
    pub(crate) is_mute: bool,
}

/// What goes towards one end of a link.
#[derive(Clone, Debug)]
pub(crate) struct Direction {
    /// Whether the end takes what arrives, and may send.
    pub(crate) is_open: bool,
    /// Nothing arrives any more, and nobody is told.
    pub(crate) is_lost: bool,
    /// When the last parcel arrives: the next cannot be earlier.
    pub(crate) last_arrival: Duration,
    /// When the last parcel comes that has had its delay: no other comes before this time.
    pub(crate) not_before: Duration,
    /// What the end has not taken yet.
    pub(crate) queue: Queue,
}

/// The frames on their way to one end of a link, until its node takes them. A host counts what it
/// has not written; here what travels, or has arrived and waits, counts as well, which is more.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    limit: QueueLimit,
    waiting: usize,
    /// The bytes of each frame, in order.
    frames: VecDeque<usize>,
}

impl Queue {
    /// A frame is sent.
    pub(crate) fn add(&mut self, n_bytes: usize) -> Result<(), QueueFull> {
        self.waiting += n_bytes;
        self.frames.push_back(n_bytes);
        self.limit.check(n_bytes, self.waiting)
    }

    /// The receiver's node takes a frame.
    pub(crate) fn take(&mut self) {
        self.waiting -= self.frames.pop_front().unwrap_or_default();
    }
}

/// All links that are, by number.
#[derive(Debug, Default)]
pub(crate) struct Links {
    links: BTreeMap<LinkId, Link>,
    n_links: u64,
    /// The links of each life.
    by_life: BTreeMap<LifeId, Vec<LinkId>>,
}

impl Links {
    pub(crate) fn open(&mut self, caller: LifeId, called: LifeId, now: Duration) -> LinkId {
        let id = LinkId(self.n_links);
        self.n_links += 1;
        let direction = || Direction {
            is_open: true,
            is_lost: false,
            last_arrival: now,
            not_before: now,
            queue: Queue::default(),
        };
        let ends = [caller, called];
        let directions = [direction(), direction()];
        self.links.insert(id, Link { ends, directions, is_mute: false });
        for end in ends {
            self.by_life.entry(end).or_default().push(id);
        }
        id
    }

    pub(crate) fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.get_mut(&id)
    }

    /// The life at the other end.
    pub(crate) fn peer(&self, id: LinkId, of: LifeId) -> Option<LifeId> {
        self.links.get(&id)?.ends.into_iter().find(|end| *end != of)
    }

    /// The node at an end takes the oldest message that is on its way to it.
    pub(crate) fn take(&mut self, id: LinkId, end: LifeId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        if let Some(place) = link.end(end) {
            link.directions[place].queue.take();
        }
    }

    /// Whether an end still takes what arrives.
    pub(crate) fn is_open(&self, id: LinkId, end: LifeId) -> bool {
        self.links
            .get(&id)
            .is_some_and(|link| link.end(end).is_some_and(|place| link.directions[place].is_open))
    }

    /// An end takes and sends nothing more. A link is forgotten when both have closed.
    pub(crate) fn close(&mut self, id: LinkId, end: LifeId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(place) = link.end(end) else { return };
        link.directions[place].is_open = false;
        if link.directions.iter().all(|direction| !direction.is_open) {
            let ends = link.ends;
            self.links.remove(&id);
            for end in ends {
                if let Some(links) = self.by_life.get_mut(&end) {
                    links.retain(|other| *other != id);
                }
            }
        }
    }

    /// The links of a life, oldest first.
    pub(crate) fn of(&self, life: LifeId) -> Vec<LinkId> {
        self.by_life.get(&life).cloned().unwrap_or_default()
    }

    /// The links between tasks that fit, whichever of the two called, oldest first; and for each,
    /// which end fits `from`.
    pub(crate) fn between(
        &self,
        from: impl Fn(TaskId) -> bool,
        to: impl Fn(TaskId) -> bool,
    ) -> Vec<(LinkId, usize)> {
        let fits = |(id, link): (&LinkId, &Link)| {
            let [caller, called] = link.ends.map(|end| end.task);
            if from(caller) && to(called) {
                Some((*id, 0))
            } else {
                (from(called) && to(caller)).then_some((*id, 1))
            }
        };
        self.links.iter().filter_map(fits).collect()
    }
}

impl Link {
    /// Which end a life is.
    pub(crate) fn end(&self, life: LifeId) -> Option<usize> {
        self.ends.iter().position(|end| *end == life)
    }
}

/// How long messages take between each ordered pair of tasks.
#[derive(Debug)]
pub(crate) struct Network {
    seed: u64,
    model: NetworkModel,
    pairs: BTreeMap<(TaskId, TaskId), Pair>,
    nics: BTreeMap<TaskId, Nic>,
    /// Until when each slow reader reads what was sent to it.
    reads_until: BTreeMap<TaskId, Duration>,
}

/// What faults allow a message, on top of the model.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slowness {
    /// Bytes a second between the two tasks.
    pub(crate) line: Option<NonZeroU64>,
    /// Bytes a second that the receiver reads.
    pub(crate) reader: Option<NonZeroU64>,
}

#[derive(Debug)]
struct Pair {
    latency: Distribution,
    jitter: Distribution,
    bandwidth: Option<NonZeroU64>,
    stream: Stream,
    /// When what was sent before has left.
    busy_until: Duration,
}

/// A network card: what is sent and what is received do not wait for each other.
#[derive(Debug, Default)]
struct Nic {
    sends_until: Duration,
    receives_until: Duration,
}

/// When a message travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Travel {
    /// From end to end, for a message without a size.
    pub(crate) latency: Duration,
    /// Its first byte arrives.
    pub(crate) first_byte: Duration,
    /// Its last byte arrives.
    pub(crate) arrival: Duration,
}

impl Network {
    pub(crate) const fn new(seed: u64, model: NetworkModel) -> Self {
        Self {
            seed,
            model,
            pairs: BTreeMap::new(),
            nics: BTreeMap::new(),
            reads_until: BTreeMap::new(),
        }
    }

    pub(crate) const fn model(&self) -> &NetworkModel {
        &self.model
    }

    /// Sends `n_bytes` now.
    ///
    /// The bytes leave through the sender's card and the pair's own line, whichever is slower,
    /// behind what was sent before; they arrive a latency later, and not before the receiver's card
    /// has taken what was sent to it before, by whomever.
    pub(crate) fn send(
        &mut self,
        (from, to): (TaskId, TaskId),
        now: Duration,
        n_bytes: u64,
        slowness: Slowness,
    ) -> Travel {
        let nic = self.model.nic;
        let pair = self.pair(from, to);
        let latency = pair.latency.sample(&mut pair.stream) + pair.jitter.sample(&mut pair.stream);
        let line = [pair.bandwidth, slowness.line].into_iter().flatten().min();
        if line.is_none() && nic.is_none() && slowness.reader.is_none() {
            let arrival = now + latency;
            return Travel { latency, first_byte: arrival, arrival };
        }
        let takes =
            |rate: Option<NonZeroU64>| rate.map_or(Duration::ZERO, |r| transfer(n_bytes, r));
        let mut start = now.max(pair.busy_until);
        let mut leaving = takes(line);
        pair.busy_until = start + leaving;
        if nic.is_some() {
            let sender = self.nics.entry(from).or_default();
            start = start.max(sender.sends_until);
            leaving = leaving.max(takes(nic));
            sender.sends_until = start + takes(nic);
        }
        let first_byte = start + latency;
        let mut arrival = first_byte + leaving;
        if nic.is_some() {
            let receiver = self.nics.entry(to).or_default();
            let received = first_byte.max(receiver.receives_until) + takes(nic);
            receiver.receives_until = received;
            arrival = arrival.max(received);
        }
        if slowness.reader.is_some() {
            let until = self.reads_until.entry(to).or_default();
            let read = first_byte.max(*until) + takes(slowness.reader);
            *until = read;
            arrival = arrival.max(read);
        }
        Travel { latency, first_byte, arrival }
    }

    /// How long the empty packets of a handshake take.
    pub(crate) fn latency(&mut self, from: TaskId, to: TaskId) -> Duration {
        let pair = self.pair(from, to);
        pair.latency.sample(&mut pair.stream) + pair.jitter.sample(&mut pair.stream)
    }

    fn pair(&mut self, from: TaskId, to: TaskId) -> &mut Pair {
        let Self { seed, model, pairs, .. } = self;
        pairs.entry((from, to)).or_insert_with(|| {
            let mut pair = Pair {
                latency: model.latency.clone(),
                jitter: model.jitter.clone(),
                bandwidth: model.bandwidth,
                stream: Stream::new(*seed, Purpose::Network, pair_number(from, to), 0),
                busy_until: Duration::ZERO,
            };
            let fits = |link: &&crate::scenario::LinkOverride| {
                link.from.contains(from) && link.to.contains(to)
            };
            for link in model.links.iter().filter(fits) {
                pair.latency = link.latency.clone().unwrap_or(pair.latency);
                pair.jitter = link.jitter.clone().unwrap_or(pair.jitter);
                pair.bandwidth = link.bandwidth.or(pair.bandwidth);
            }
            pair
        })
    }
}

/// How long `n_bytes` take at a rate, to the nanosecond above.
fn transfer(n_bytes: u64, bytes_per_second: NonZeroU64) -> Duration {
    let nanos = (u128::from(n_bytes) * 1_000_000_000).div_ceil(u128::from(bytes_per_second.get()));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// A task as a number, for streams: no two have the same.
pub(crate) const fn task_number(task: TaskId) -> u64 {
    let job = match task.job {
        Job::Ps => 0,
        Job::Worker => 1 << 31,
    };
    job | task.index as u64
}

/// An ordered pair of tasks as a number.
pub(crate) fn pair_number(from: TaskId, to: TaskId) -> u64 {
    task_number(from) << 32 | task_number(to)
}

/// How often a long message is heard of while it comes in.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

impl Travel {
    /// The moments before its arrival at which the receiver hears of it.
    pub(crate) fn progress(self) -> impl Iterator<Item = Duration> {
        let n = nanos(self.arrival.saturating_sub(self.first_byte)) / nanos(PROGRESS_EVERY);
        let at =
            move |n: u64| self.first_byte + PROGRESS_EVERY * u32::try_from(n).unwrap_or(u32::MAX);
        (1..=n).map(at).filter(move |at| *at < self.arrival)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{LinkOverride, TaskSet, Wire};

    const fn us(micros: u64) -> Duration {
        Duration::from_micros(micros)
    }

    fn network(bandwidth: Option<u64>, nic: Option<u64>) -> Network {
        let model = NetworkModel {
            wire: Wire::Shared,
            latency: Distribution::Const(us(100)),
            jitter: Distribution::ZERO,
            bandwidth: bandwidth.and_then(NonZeroU64::new),
            nic: nic.and_then(NonZeroU64::new),
            tensor_factor: 1,
            connect_timeout: us(1),
            links: Vec::new(),
        };
        Network::new(7, model)
    }

    fn arrival(network: &mut Network, from: u32, to: u32, n_bytes: u64) -> Duration {
        let pair = (TaskId::worker(from), TaskId::ps(to));
        network.send(pair, us(0), n_bytes, Slowness::default()).arrival
    }

    #[test]
    fn without_limits_a_message_takes_the_latency_whatever_its_size() {
        let mut network = network(None, None);
        assert_eq!(arrival(&mut network, 0, 0, 1_000_000_000), us(100));
        assert_eq!(arrival(&mut network, 0, 0, 1), us(100));
    }

    #[test]
    fn messages_of_a_pair_queue_for_its_line_and_other_pairs_do_not() {
        let mut network = network(Some(1_000_000), None);
        assert_eq!(arrival(&mut network, 0, 0, 50), us(150));
        assert_eq!(arrival(&mut network, 0, 0, 50), us(200));
        assert_eq!(arrival(&mut network, 0, 1, 50), us(150));
    }

    #[test]
    fn many_that_send_to_one_wait_for_its_card() {
        let mut network = network(None, Some(1_000_000));
        let arrivals: Vec<_> = (0..4).map(|from| arrival(&mut network, from, 0, 50)).collect();
        assert_eq!(arrivals, [us(150), us(200), us(250), us(300)]);
        assert_eq!(arrival(&mut network, 9, 1, 50), us(150), "another receiver");
        assert_eq!(arrival(&mut network, 0, 1, 50), us(200), "the sender's card was busy");
    }

    #[test]
    fn slow_reader_takes_what_all_send_to_it_one_after_the_other() {
        let mut network = network(None, None);
        let slowness = Slowness { line: None, reader: NonZeroU64::new(1_000_000) };
        let mut arrival = |from, to| {
            let pair = (TaskId::worker(from), TaskId::ps(to));
            network.send(pair, us(0), 50, slowness).arrival
        };
        assert_eq!([arrival(0, 0), arrival(1, 0), arrival(0, 1)], [us(150), us(200), us(150)]);
    }

    #[test]
    fn the_last_override_that_fits_a_pair_counts() {
        let mut network = network(None, None);
        let link = |from, latency| LinkOverride {
            from,
            to: TaskSet::All,
            latency: Some(Distribution::Const(latency)),
            jitter: None,
            bandwidth: None,
        };
        network.model.links =
            vec![link(TaskSet::All, us(5)), link(TaskSet::Task(TaskId::worker(1)), us(9))];
        assert_eq!(arrival(&mut network, 0, 0, 1), us(5));
        assert_eq!(arrival(&mut network, 1, 0, 1), us(9));
    }

    #[test]
    fn a_long_message_is_heard_of_every_second_until_it_arrives() {
        let s = Duration::from_secs;
        let progress = |first_byte, arrival| {
            Travel { latency: s(0), first_byte, arrival }.progress().collect::<Vec<_>>()
        };
        assert_eq!(progress(s(1), s(4)), [s(2), s(3)]);
        assert_eq!(progress(s(1), s(2)), [Duration::ZERO; 0]);
    }
}
