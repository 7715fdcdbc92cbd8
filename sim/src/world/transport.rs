//! Calls and messages on their way, and what active faults do to them.

use std::time::Duration;

use unisono_core::host::limits::{CLOSE_TIMEOUT, MAX_LINKS, QueueFull};
use unisono_core::protocol::{Message, NetworkEvent};
use unisono_core::random::Stream;
use unisono_core::wire;
use unisono_core::{LinkId, TaskId};

use super::flight::{Call, Flight, Parcel, Passage};
use super::state::{Plan, State};
use crate::scenario::Wire;
use crate::streams::Purpose;
use crate::world::life::LifeId;
use crate::world::network::{Direction, Slowness, pair_number};

/// An unanswered call is repeated after this time, and then after twice as long each time, as TCP
/// repeats its SYN.
const FIRST_RETRY: Duration = Duration::from_secs(1);

/// The largest frame that is decoded here: any.
const LIMITS: wire::Limits = wire::Limits::with_tensor_bytes(1 << 32);

impl State {
    pub(super) fn call(&mut self, caller: LifeId, to: TaskId) {
        let cause = self.cause(caller);
        let call = Call { caller, to, since: self.now, retry: FIRST_RETRY, cause };
        let at = self.now + self.network.latency(caller.task, to);
        self.agenda.plan(at, Plan::Call(call));
    }

    pub(super) fn on_call(&mut self, call: Call) {
        let Call { caller, to, cause, .. } = call;
        if self.life(caller).is_none() {
            return;
        }
        if self.absent.contains(&to) || self.faults.hangs(caller.task, to) {
            self.call_again(call);
            return;
        }
        let answer_at = self.now + self.network.latency(to, caller.task);
        let called = self.lives.get(&to).map(|life| life.id);
        let called = called.filter(|_| !self.faults.refuses(caller.task, to));
        let answer = match called {
            Some(called) if self.links.of(called).len() >= MAX_LINKS => {
                let why = format!("{to} has {MAX_LINKS} links open");
                NetworkEvent::ConnectFailed { to, why }
            }
            Some(called) => {
                let link = self.links.open(caller, called, answer_at);
                self.tell(called, cause, NetworkEvent::Accepted { link });
                NetworkEvent::Connected { link, to }
            }
            None => NetworkEvent::ConnectFailed { to, why: format!("{to}: connection refused") },
        };
        self.agenda.plan(answer_at, Plan::Tell(caller, cause, answer));
    }

    fn call_again(&mut self, call: Call) {
        let Call { caller, to, since, retry, cause } = call;
        let timeout = self.network.model().connect_timeout;
        let (next, until) = (self.now + retry, since + timeout);
        if next < until {
            self.agenda.plan(next, Plan::Call(Call { retry: retry * 2, ..call }));
        } else {
            let why = format!("{to}: no answer within {} s", timeout.as_secs_f32());
            let event = NetworkEvent::ConnectFailed { to, why };
            self.agenda.plan(until.max(self.now), Plan::Tell(caller, cause, event));
        }
    }

    /// An end closes: the other is told behind all that was sent.
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
        if let Parcel::Message(message) = &parcel {
            slowness.line = self.faults.bandwidth(from.task, to.task);
            slowness.reader = self.faults.reading_rate(to.task);
            n_bytes = frame_bytes(message, self.network.model().tensor_factor);
        }
        let parcel = match (self.network.model().wire, parcel) {
            (Wire::Bytes, Parcel::Message(message)) => Parcel::Bytes(wire::encode_to_vec(&message)),
            (_, parcel) => parcel,
        };
        let is_close = matches!(parcel, Parcel::Close(_));
        let travel = self.network.send(pair, self.now, n_bytes as u64, slowness);
        let Some(link) = self.links.get_mut(id) else { return };
        let direction = &mut link.directions[1 - place];
        let queued = if is_close { Ok(()) } else { direction.queue.add(n_bytes) };
        let mut arrival = travel.arrival.max(direction.last_arrival);
        if is_close {
            // A host gives up what it has not written by then.
            arrival = arrival.min(self.now + CLOSE_TIMEOUT + travel.latency);
        }
        direction.last_arrival = arrival;
        if direction.is_lost {
            return;
        }
        let cause = self.cause(from);
        for at in travel.progress() {
            self.agenda.plan(at, Plan::Tell(to, cause, NetworkEvent::Progress { link: id }));
        }
        let flight = Flight { link: id, from, to, parcel, cause, due: None };
        self.agenda.plan(arrival, Plan::Arrive(flight));
        if let Err(full) = queued {
            self.cut_off(id, from, full);
        }
    }

    /// As the production host: the end on which too much waits is closed at once.
    fn cut_off(&mut self, id: LinkId, end: LifeId, full: QueueFull) {
        self.close(id, end, "reset by the other end");
        let cause = self.cause(end);
        self.tell(end, cause, NetworkEvent::Closed { link: id, why: full.to_string() });
    }

    pub(super) fn on_arrival(&mut self, mut flight: Flight) {
        let (from, to) = (flight.from.task, flight.to.task);
        let now = self.now;
        let Some(link) = self.links.get_mut(flight.link) else { return };
        let Some(place) = link.end(flight.to) else { return };
        let Direction { is_open, is_lost, .. } = link.directions[place];
        if is_lost {
            return;
        }
        if flight.due.is_none() {
            let due = self.due(&flight, place);
            flight.due = Some(due);
            if due > now {
                self.agenda.plan(due, Plan::Arrive(flight));
                return;
            }
        }
        if self.faults.has_active() {
            match self.faults.passage(from, to) {
                Passage::Free => {}
                Passage::Held => {
                    self.held.push(flight);
                    return;
                }
                Passage::Lost => return,
            }
        }
        if is_open {
            self.deliver(flight);
        } else {
            self.bounce(&flight);
        }
    }

    /// When a message that would come now does come. Each is delayed from now on, also while others
    /// before it are; and none overtakes them.
    fn due(&mut self, flight: &Flight, place: usize) -> Duration {
        let (from, to) = (flight.from.task, flight.to.task);
        let network = &mut self.network;
        let delay = self.faults.delay(from, to, || network.latency(from, to));
        let due = self.now + delay;
        let Some(link) = self.links.get_mut(flight.link) else { return due };
        let direction = &mut link.directions[place];
        direction.not_before = direction.not_before.max(due);
        direction.not_before
    }

    /// What was held comes now, in the order in which it would have come, and before anything else
    /// does.
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
                self.tell(to, cause, NetworkEvent::Closed { link, why: why.to_owned() });
                return;
            }
        };
        match message {
            Ok(message) => self.tell(to, cause, NetworkEvent::Received { link, message }),
            Err(why) => {
                // As the production reader: it closes the link, and the other end hears of that.
                self.send(link, to, Parcel::Close("reset by the other end"));
                self.links.close(link, to);
                self.tell(to, cause, NetworkEvent::Closed { link, why });
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

    /// Something comes to an end that takes nothing any more. If its process is gone and its machine
    /// is not, the machine says so.
    fn bounce(&mut self, flight: &Flight) {
        let Flight { link, from, to, cause, .. } = *flight;
        let is_dead = self.life(to).is_none();
        if is_dead && !self.absent.contains(&to.task) && !matches!(flight.parcel, Parcel::Close(_))
        {
            let mut at = self.now + self.network.latency(to.task, from.task);
            // The reset takes the same way as what the dead process had sent before it.
            if let Some(known) = self.links.get_mut(link)
                && let Some(place) = known.end(from)
            {
                at = at.max(known.directions[place].last_arrival);
            }
            let parcel = Parcel::Close("reset by the other end");
            let flight = Flight { link, from: to, to: from, parcel, cause, due: None };
            self.agenda.plan(at, Plan::Arrive(flight));
        }
    }

    /// A link breaks; what is on its way is lost.
    pub(super) fn break_link(&mut self, id: LinkId, is_told: [bool; 2], why: &str) {
        let Some(link) = self.links.get_mut(id) else { return };
        let ends = link.ends;
        for direction in &mut link.directions {
            direction.is_lost = true;
        }
        for (place, end) in ends.into_iter().enumerate() {
            if is_told[place] && self.links.is_open(id, end) {
                self.links.close(id, end);
                self.tell(end, None, NetworkEvent::Closed { link: id, why: why.to_owned() });
            }
        }
    }
}

/// The bytes of a frame, with each byte of its tensors counted `tensor_factor` times.
fn frame_bytes(message: &Message, tensor_factor: u32) -> usize {
    let n_values: usize = message.tensors().into_iter().map(|tensor| tensor.len()).sum();
    wire::frame_bytes(message) + 4 * n_values * (tensor_factor as usize - 1)
}
