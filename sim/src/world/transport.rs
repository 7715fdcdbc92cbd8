//! Calls and messages in transit, and the effects of active faults on them.

use std::time::Duration;

use unisono_core::host::limits::{CLOSE_TIMEOUT, MAX_LINKS, QueueFull};
use unisono_core::protocol::{Message, NetworkEvent};
use unisono_core::random::Stream;
use unisono_core::wire;
use unisono_core::{LinkId, TaskId};
use unisono_rules::LifeId;

use super::flight::{Call, Flight, Parcel};
use super::state::{State, WorldEvent};
use crate::scenario::{PartitionMode, Wire};
use crate::streams::Purpose;
use crate::world::network::{Slowness, pair_number};

/// The pause before the first repetition of an unanswered call. Each further pause is twice as long
/// as the preceding pause, like the pauses between the SYN packets of TCP.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The limits for decoding messages. No simulated frame exceeds these limits. The tests of the
/// module `wire` cover the check of the limits.
const LIMITS: wire::Limits = wire::Limits::with_tensor_bytes(1 << 32);

impl State {
    pub(super) fn call(&mut self, caller: LifeId, to: TaskId) {
        let cause = self.cause(caller);
        let call = Call { caller, to, since: self.now, retry: FIRST_RETRY, cause };
        let at = self.now + self.network.latency(caller.task, to);
        self.agenda.plan(at, WorldEvent::Call(call));
    }

    pub(super) fn on_call(&mut self, call: Call) {
        let Call { caller, to, cause, .. } = call;
        if self.life(caller).is_none() {
            return;
        }
        // A lost machine or a partition gives no answer. Only a machine whose process is dead
        // refuses the call at once.
        if self.absent.contains(&to) || self.faults.hangs(caller.task, to) {
            self.call_again(call);
            return;
        }
        let answer_at = self.now + self.network.latency(to, caller.task);
        let called = self.lives.get(&to).map(|life| life.id);
        // `refuses` counts an effect of the fault, so `refuses` is called only if the called task
        // is alive.
        let called = called.filter(|_| !self.faults.refuses(caller.task, to));
        let answer = match called {
            Some(called) if self.links.n_accepted(called) >= MAX_LINKS => {
                let why = format!("{to} has accepted {MAX_LINKS} links and accepts no more");
                NetworkEvent::ConnectFailed { to, why }
            }
            Some(called) => {
                let link = self.links.open(caller, called, answer_at);
                self.push_network(called, cause, NetworkEvent::Accepted { link });
                NetworkEvent::Connected { link, to }
            }
            None => NetworkEvent::ConnectFailed { to, why: format!("{to}: connection refused") },
        };
        self.agenda.plan(answer_at, WorldEvent::Network(caller, cause, answer));
    }

    fn call_again(&mut self, call: Call) {
        let Call { caller, to, since, retry, cause } = call;
        let timeout = self.network.model.connect_timeout;
        let (next, until) = (self.now + retry, since + timeout);
        if next < until {
            self.agenda.plan(next, WorldEvent::Call(Call { retry: retry * 2, ..call }));
        } else {
            let why = format!("{to}: no answer within {} s", timeout.as_secs_f32());
            let event = NetworkEvent::ConnectFailed { to, why };
            self.agenda.plan(until.max(self.now), WorldEvent::Network(caller, cause, event));
        }
    }

    /// Closes one end of a link. The other end learns of the close after all messages that were
    /// sent.
    pub(super) fn close(&mut self, link: LinkId, end: LifeId, why: &'static str) {
        self.send(link, end, Parcel::Close(why));
        self.links.close(link, end);
    }

    pub(super) fn send(&mut self, id: LinkId, from: LifeId, parcel: Parcel) {
        let Some(link) = self.links.get_mut(id) else { return };
        let Some(place) = link.end(from) else { return };
        if !link.directions[place].is_open || link.is_mute {
            return;
        }
        let to = link.ends[1 - place];
        let pair = (from.task, to.task);
        let (mut slowness, mut n_bytes) = (Slowness::default(), 0);
        // A close is an empty packet, which a narrow link does not slow down. So a bandwidth fault
        // must not count an effect for a close.
        if let Parcel::Message(message) = &parcel {
            slowness.line = self.faults.bandwidth(from.task, to.task);
            slowness.reader = self.faults.reading_rate(to.task);
            n_bytes = frame_bytes(message, self.network.model.tensor_factor);
        }
        // `n_bytes` is the size of the encoded frame in both wire modes, so that a node cannot
        // notice a difference between the modes.
        let parcel = match (self.network.model.wire, parcel) {
            (Wire::Bytes, Parcel::Message(message)) => Parcel::Bytes(wire::encode_to_vec(&message)),
            (_, parcel) => parcel,
        };
        let is_close = matches!(parcel, Parcel::Close(_));
        // The travel times are drawn even if the parcel turns out to be lost, so that a fault does
        // not change later draws.
        let travel = self.network.send(pair, self.now, n_bytes as u64, slowness);
        let Some(direction) = self.links.towards(id, to) else { return };
        let queued = if is_close { Ok(()) } else { direction.queue.add(n_bytes) };
        let mut arrival = travel.arrival.max(direction.last_arrival);
        if is_close {
            // A real host discards frames that it has not written within `CLOSE_TIMEOUT`.
            arrival = arrival.min(self.now + CLOSE_TIMEOUT + travel.latency);
        }
        direction.last_arrival = arrival;
        if direction.is_lost {
            return;
        }
        let cause = self.cause(from);
        for at in travel.progress() {
            self.agenda
                .plan(at, WorldEvent::Network(to, cause, NetworkEvent::Progress { link: id }));
        }
        let flight = Flight { link: id, from, to, parcel, cause, due: None };
        self.agenda.plan(arrival, WorldEvent::Arrive(flight));
        if let Err(full) = queued {
            self.cut_off(id, from, full);
        }
    }

    /// Closes the sender's end of a link at once, as the real host does, because too many sent
    /// frames wait.
    fn cut_off(&mut self, id: LinkId, end: LifeId, full: QueueFull) {
        self.close(id, end, "reset by the other end");
        let cause = self.cause(end);
        self.push_network(end, cause, NetworkEvent::Closed { link: id, why: full.to_string() });
    }

    pub(super) fn on_arrival(&mut self, mut flight: Flight) {
        let (from, to) = (flight.from.task, flight.to.task);
        let now = self.now;
        let Some(direction) = self.links.towards(flight.link, flight.to) else { return };
        let is_open = direction.is_open;
        if direction.is_lost {
            return;
        }
        // A parcel gets its delay once, at the time at which it would have arrived. It must not get
        // a second delay while it waits behind a parcel with a longer delay.
        if flight.due.is_none() {
            let due = self.due(&flight);
            flight.due = Some(due);
            if due > now {
                self.agenda.plan(due, WorldEvent::Arrive(flight));
                return;
            }
        }
        // A partition acts when a parcel arrives, so that the partition also affects parcels that
        // were sent before the partition began.
        if !self.faults.active.is_empty() {
            match self.faults.stops(from, to) {
                Some(PartitionMode::Jam) => return,
                Some(_) => return self.held.push(flight),
                None => {}
            }
        }
        if is_open {
            self.deliver(flight);
        } else {
            self.bounce(&flight);
        }
    }

    /// Returns the delivery time of a parcel that reaches the receiver's machine now. The delay
    /// that faults add starts now, even if the parcel waits for earlier parcels. A parcel does not
    /// overtake earlier parcels.
    fn due(&mut self, flight: &Flight) -> Duration {
        let (from, to) = (flight.from.task, flight.to.task);
        let network = &mut self.network;
        // The latency is drawn in a closure, because only a slow partition needs the latency. If
        // every active fault drew a latency for each arrival, even a fault of the disk would change
        // the later draws of the network.
        let delay = self.faults.delay(from, to, || network.latency(from, to));
        let due = self.now + delay;
        let Some(direction) = self.links.towards(flight.link, flight.to) else { return due };
        direction.not_before = direction.not_before.max(due);
        direction.not_before
    }

    /// Delivers the parcels that a partition has held back, in the order in which they would have
    /// arrived. The delivery comes before all planned events of the same time.
    pub(super) fn release_held(&mut self) {
        for flight in std::mem::take(&mut self.held) {
            self.on_arrival(flight);
        }
    }

    fn deliver(&mut self, flight: Flight) {
        let Flight { link, from, to, parcel, cause, .. } = flight;
        let parcel = match parcel {
            parcel @ (Parcel::Message(_) | Parcel::Bytes(_)) => {
                match self.faults.corrupts(from.task, to.task) {
                    Some(n) => self.flip_a_bit(parcel, (from.task, to.task), n),
                    None => parcel,
                }
            }
            close @ Parcel::Close(_) => close,
        };
        let message = match parcel {
            Parcel::Message(message) => Ok(message),
            Parcel::Bytes(bytes) => {
                wire::decode(&bytes, &LIMITS).map_err(|error| error.to_string())
            }
            Parcel::Close(why) => {
                self.links.close(link, to);
                self.push_network(to, cause, NetworkEvent::Closed { link, why: why.to_owned() });
                return;
            }
        };
        match message {
            Ok(message) => self.push_network(to, cause, NetworkEvent::Received { link, message }),
            Err(why) => {
                // A frame that cannot be decoded closes the link, as on the real host. The other
                // end then sees a reset.
                self.close(link, to, "reset by the other end");
                self.push_network(to, cause, NetworkEvent::Closed { link, why });
            }
        }
    }

    fn flip_a_bit(&self, parcel: Parcel, (from, to): (TaskId, TaskId), n: u64) -> Parcel {
        let mut bytes = match parcel {
            Parcel::Message(message) => wire::encode_to_vec(&message),
            Parcel::Bytes(bytes) => bytes,
            close @ Parcel::Close(_) => return close,
        };
        let mut stream = Stream::new(self.seed, Purpose::Corruption, pair_number(from, to), n);
        let bit = stream.below(8 * bytes.len() as u64);
        bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
        Parcel::Bytes(bytes)
    }

    /// Handles a parcel that arrives at a closed end of a link. If the process at this end is dead
    /// but its machine is alive, the machine answers with a reset. A close gets no answer, because
    /// otherwise two dead ends would answer each other for ever.
    fn bounce(&mut self, flight: &Flight) {
        let Flight { link, from, to, cause, .. } = *flight;
        let is_dead = self.life(to).is_none();
        if is_dead && !self.absent.contains(&to.task) && !matches!(flight.parcel, Parcel::Close(_))
        {
            let mut at = self.now + self.network.latency(to.task, from.task);
            // The reset must not overtake the messages of the dead process. If a reset overtook a
            // goodbye, the goodbye would be lost, and the receiver would wait for it.
            if let Some(direction) = self.links.towards(link, from) {
                at = at.max(direction.last_arrival);
            }
            let parcel = Parcel::Close("reset by the other end");
            let flight = Flight { link, from: to, to: from, parcel, cause, due: None };
            self.agenda.plan(at, WorldEvent::Arrive(flight));
        }
    }

    /// Breaks a link. All parcels in transit are lost.
    pub(super) fn break_link(&mut self, id: LinkId, is_notified: [bool; 2], why: &str) {
        let Some(link) = self.links.get_mut(id) else { return };
        let ends = link.ends;
        let is_open = link.directions.each_ref().map(|direction| direction.is_open);
        link.directions.iter_mut().for_each(|direction| direction.is_lost = true);
        for (place, end) in ends.into_iter().enumerate() {
            if is_notified[place] && is_open[place] {
                self.links.close(id, end);
                let event = NetworkEvent::Closed { link: id, why: why.to_owned() };
                self.push_network(end, None, event);
            }
        }
    }
}

/// Returns the size of a frame in bytes. Each byte of a tensor counts `tensor_factor` times, so
/// that a small model fills the network like a large one.
fn frame_bytes(message: &Message, tensor_factor: u32) -> usize {
    let n_values: usize = message.tensors().into_iter().map(|tensor| tensor.len()).sum();
    wire::frame_bytes(message) + 4 * n_values * (tensor_factor as usize - 1)
}
