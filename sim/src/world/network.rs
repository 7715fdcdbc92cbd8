//! Links between simulated tasks, and the times of messages on them.
//!
//! A link keeps the order of its messages. `transport.rs` applies faults to messages.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU64;
use std::time::Duration;

use unisono_core::host::limits::{QueueFull, QueueLimit};
use unisono_core::random::Stream;
use unisono_core::{Job, LinkId, TaskId};
use unisono_rules::LifeId;

use crate::scenario::{Distribution, NetworkModel, TaskSet, nanos};
use crate::streams::Purpose;

/// A link: its two ends, and the network between the ends.
#[derive(Debug)]
pub(crate) struct Link {
    /// The incarnation that opened the link by a call, and the incarnation that was called.
    pub(crate) ends: [LifeId; 2],
    /// The direction towards the caller, and the direction towards the called task.
    pub(crate) directions: [Direction; 2],
    /// Whether new messages on the link are lost. Messages that are already in transit still
    /// arrive.
    pub(crate) is_mute: bool,
}

/// One direction of a link.
#[derive(Clone, Debug)]
pub(crate) struct Direction {
    /// Whether the receiving end is open. An open end takes messages and may send messages.
    pub(crate) is_open: bool,
    /// Whether all messages in this direction are lost. Neither end of the link notices the loss.
    pub(crate) is_lost: bool,
    /// The time at which the newest parcel (a message or a close) reaches the receiver's machine.
    /// The next parcel cannot arrive earlier.
    pub(crate) last_arrival: Duration,
    /// The delivery time of the newest parcel (a message or a close) to which the delay of faults
    /// has been added. No later parcel is delivered before this time.
    pub(crate) not_before: Duration,
    /// The frames that the receiving node has not taken.
    pub(crate) queue: Queue,
}

/// The frames in one direction of a link, until the receiving node takes them. A real host counts
/// only the frames that it has not written yet. Here, a frame also counts while it travels or waits
/// at the receiver, so the simulated limit is never more generous than the real limit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Queue {
    limit: QueueLimit,
    waiting: usize,
    /// The size of each frame in bytes, in the order of sending.
    frames: VecDeque<usize>,
}

impl Queue {
    /// Adds a frame that is sent.
    pub(crate) fn add(&mut self, n_bytes: usize) -> Result<(), QueueFull> {
        // The frame is added even if the limit is exceeded, because it is in transit and `take`
        // will remove it.
        self.waiting += n_bytes;
        self.frames.push_back(n_bytes);
        self.limit.check(n_bytes, self.waiting)
    }

    /// Removes the oldest frame, because the receiving node takes it.
    pub(crate) fn take(&mut self) {
        self.waiting -= self.frames.pop_front().unwrap_or_default();
    }
}

/// The links of a run. A link is removed when both ends have closed it.
#[derive(Debug, Default)]
pub(crate) struct Links {
    links: BTreeMap<LinkId, Link>,
    n_links: u64,
    /// The links of each incarnation of a task. A cluster of a thousand tasks has too many links to
    /// search them all.
    by_life: BTreeMap<LifeId, Vec<LinkId>>,
    /// For each incarnation, the number of links that it has accepted and that are not closed at
    /// both ends.
    n_accepted: BTreeMap<LifeId, usize>,
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
        *self.n_accepted.entry(called).or_default() += 1;
        id
    }

    /// Returns the number of links that an incarnation has accepted. As on the real host, links
    /// that the incarnation opened itself do not count. Here, an accepted link counts until both
    /// ends have closed it, which is longer than on the real host.
    pub(crate) fn n_accepted(&self, life: LifeId) -> usize {
        self.n_accepted.get(&life).copied().unwrap_or_default()
    }

    pub(crate) fn get_mut(&mut self, id: LinkId) -> Option<&mut Link> {
        self.links.get_mut(&id)
    }

    /// Returns the incarnation to which a link connects the incarnation `of`.
    pub(crate) fn peer(&self, id: LinkId, of: LifeId) -> Option<LifeId> {
        self.links.get(&id)?.ends.into_iter().find(|end| *end != of)
    }

    /// Returns the direction of a link towards the incarnation `end`.
    pub(crate) fn towards(&mut self, id: LinkId, end: LifeId) -> Option<&mut Direction> {
        let link = self.links.get_mut(&id)?;
        let place = link.end(end)?;
        Some(&mut link.directions[place])
    }

    /// Closes one end of a link. A closed end neither takes nor sends messages. The link is removed
    /// when both ends are closed.
    pub(crate) fn close(&mut self, id: LinkId, end: LifeId) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(place) = link.end(end) else { return };
        link.directions[place].is_open = false;
        // The link is kept until both ends have closed it, because the other end still has to learn
        // of the close.
        if link.directions.iter().all(|direction| !direction.is_open) {
            let ends = link.ends;
            self.links.remove(&id);
            if let Some(n_accepted) = self.n_accepted.get_mut(&ends[1]) {
                *n_accepted -= 1;
            }
            for end in ends {
                if let Some(links) = self.by_life.get_mut(&end) {
                    links.retain(|other| *other != id);
                }
            }
        }
    }

    /// Returns the links of an incarnation, oldest first.
    pub(crate) fn of_life(&self, life: LifeId) -> Vec<LinkId> {
        self.by_life.get(&life).cloned().unwrap_or_default()
    }

    /// Returns the links between a task in `from` and a task in `to`, oldest first. Each link comes
    /// with the index of the end that belongs to the task in `from`: 0 for the caller, 1 for the
    /// called task.
    pub(crate) fn between(&self, from: TaskSet, to: TaskSet) -> Vec<(LinkId, usize)> {
        let fits = |(id, link): (&LinkId, &Link)| {
            let [caller, called] = link.ends.map(|end| end.task);
            if from.contains(caller) && to.contains(called) {
                Some((*id, 0))
            } else {
                (from.contains(called) && to.contains(caller)).then_some((*id, 1))
            }
        };
        self.links.iter().filter_map(fits).collect()
    }
}

impl Link {
    /// Returns the index of the link's end that belongs to an incarnation.
    pub(crate) fn end(&self, life: LifeId) -> Option<usize> {
        self.ends.iter().position(|end| *end == life)
    }
}

/// The simulated network, which computes when a message from one task to another arrives.
#[derive(Debug)]
pub(crate) struct Network {
    seed: u64,
    pub(crate) model: NetworkModel,
    pairs: BTreeMap<(TaskId, TaskId), Pair>,
    nics: BTreeMap<TaskId, Nic>,
    /// For each task whose reading a fault slows down, the time at which the task will have read
    /// all messages that were sent to it so far.
    reads_until: BTreeMap<TaskId, Duration>,
}

/// Limits that active faults impose on one message, in addition to the limits of the simulated
/// network.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slowness {
    /// Bytes per second on the line between the two tasks.
    pub(crate) line: Option<NonZeroU64>,
    /// Bytes per second that the receiver reads, from all its links together.
    pub(crate) reader: Option<NonZeroU64>,
}

#[derive(Debug)]
struct Pair {
    latency: Distribution,
    jitter: Distribution,
    bandwidth: Option<NonZeroU64>,
    stream: Stream,
    /// The time at which all earlier messages have left.
    busy_until: Duration,
}

/// A network card. It can send and receive at the same time.
#[derive(Debug, Default)]
struct Nic {
    sends_until: Duration,
    receives_until: Duration,
}

/// The times of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Travel {
    /// The time from the sender to the receiver, without the transfer time of the bytes.
    pub(crate) latency: Duration,
    /// The time at which the first byte arrives.
    pub(crate) first_byte: Duration,
    /// The time at which the last byte arrives.
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

    /// Sends `n_bytes` now, and returns their times of arrival.
    ///
    /// The bytes wait until earlier messages have left the sender's network card and the line
    /// between the two tasks. The bytes then leave at the lower of the two rates, and arrive one
    /// latency later. They arrive even later if the receiver's network card is still busy with
    /// earlier messages of any sender.
    pub(crate) fn send(
        &mut self,
        (from, to): (TaskId, TaskId),
        now: Duration,
        n_bytes: u64,
        slowness: Slowness,
    ) -> Travel {
        let nic = self.model.nic;
        let pair = self.pair(from, to);
        // Each ordered pair of tasks has its own random stream, so that messages of other pairs do
        // not change the draws of this pair.
        let latency = pair.latency.sample(&mut pair.stream) + pair.jitter.sample(&mut pair.stream);
        let line = [pair.bandwidth, slowness.line].into_iter().flatten().min();
        // Without limits a message takes no transfer time, so no later message waits for it.
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
            // The receiver's network card receives bytes while the sender still sends later bytes.
            // So a message does not need its transfer time twice.
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

    /// Returns the travel time of one packet in the handshake that opens a link.
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

/// Returns the transfer time of `n_bytes` at a rate, rounded up to the nanosecond.
fn transfer(n_bytes: u64, bytes_per_second: NonZeroU64) -> Duration {
    // In 64 bits, the product would overflow above 18 GB.
    let nanos = (u128::from(n_bytes) * 1_000_000_000).div_ceil(u128::from(bytes_per_second.get()));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// Returns a number that identifies a task, for random streams and hashes.
pub(crate) const fn task_number(task: TaskId) -> u64 {
    let job = match task.job {
        Job::Ps => 0,
        Job::Worker => 1 << 31,
    };
    job | task.index as u64
}

/// Returns a number that identifies an ordered pair of tasks.
pub(crate) fn pair_number(from: TaskId, to: TaskId) -> u64 {
    task_number(from) << 32 | task_number(to)
}

/// The interval at which the transfer of a long message counts as a sign of life of the sender.
/// This interval equals `PROGRESS_INTERVAL` of the real host in `src/net/tcp/reader.rs`.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

impl Travel {
    /// Returns the times, before the last byte arrives, at which the receiver notices progress of
    /// the message.
    pub(crate) fn progress(self) -> impl Iterator<Item = Duration> {
        let n = nanos(self.arrival.saturating_sub(self.first_byte)) / nanos(PROGRESS_EVERY);
        let at =
            move |n: u64| self.first_byte + PROGRESS_EVERY * u32::try_from(n).unwrap_or(u32::MAX);
        // At the time of arrival, the message itself is the sign of life.
        (1..=n).map(at).filter(move |at| *at < self.arrival)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{LinkOverride, Wire};

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
    fn accepted_link_of_a_task_counts_until_both_ends_have_closed() {
        let life = |task| LifeId { task, number: 1, incarnation: unisono_core::Incarnation(1) };
        let (ps, peer) = (life(TaskId::ps(0)), life(TaskId::ps(1)));
        let mut links = Links::default();
        links.open(ps, peer, us(0));
        let accepted = links.open(peer, ps, us(0));
        assert_eq!((links.n_accepted(ps), links.of_life(ps).len()), (1, 2));
        links.close(accepted, ps);
        assert_eq!(links.n_accepted(ps), 1);
        links.close(accepted, peer);
        assert_eq!(links.n_accepted(ps), 0);
    }

    #[test]
    fn without_limits_a_message_of_any_size_takes_the_latency() {
        let mut network = network(None, None);
        assert_eq!(arrival(&mut network, 0, 0, 1_000_000_000), us(100));
        assert_eq!(arrival(&mut network, 0, 0, 1), us(100));
    }

    #[test]
    fn messages_of_a_pair_queue_for_its_line_and_do_not_delay_other_pairs() {
        let mut network = network(Some(1_000_000), None);
        assert_eq!(arrival(&mut network, 0, 0, 50), us(150));
        assert_eq!(arrival(&mut network, 0, 0, 50), us(200));
        assert_eq!(arrival(&mut network, 0, 1, 50), us(150));
    }

    #[test]
    fn several_senders_to_one_task_queue_for_its_network_card() {
        let mut network = network(None, Some(1_000_000));
        let arrivals: Vec<_> = (0..4).map(|from| arrival(&mut network, from, 0, 50)).collect();
        assert_eq!(arrivals, [us(150), us(200), us(250), us(300)]);
        assert_eq!(arrival(&mut network, 9, 1, 50), us(150), "another receiver");
        assert_eq!(arrival(&mut network, 0, 1, 50), us(200), "the sender's card was busy");
    }

    #[test]
    fn slow_reader_reads_the_messages_of_all_senders_one_after_the_other() {
        let mut network = network(None, None);
        let slowness = Slowness { line: None, reader: NonZeroU64::new(1_000_000) };
        let mut arrival = |from, to| {
            let pair = (TaskId::worker(from), TaskId::ps(to));
            network.send(pair, us(0), 50, slowness).arrival
        };
        assert_eq!([arrival(0, 0), arrival(1, 0), arrival(0, 1)], [us(150), us(200), us(150)]);
    }

    #[test]
    fn last_override_that_matches_a_pair_applies() {
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
    fn long_message_makes_progress_every_second_until_it_arrives() {
        let s = Duration::from_secs;
        let progress = |first_byte, arrival| {
            Travel { latency: s(0), first_byte, arrival }.progress().collect::<Vec<_>>()
        };
        assert_eq!(progress(s(1), s(4)), [s(2), s(3)]);
        assert_eq!(progress(s(1), s(2)), [Duration::ZERO; 0]);
    }
}
