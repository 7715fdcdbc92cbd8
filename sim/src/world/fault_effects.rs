//! What faults do when they begin, and how they end.

use std::time::Duration;

use unisono_core::protocol::{Effect, Outcome};
use unisono_core::{Step, TaskId};

use super::state::{Order, Plan, State};
use crate::scenario::{DiskMode, End, FaultKind, PartitionMode, PeersSee, TaskSet, When};
use crate::world::active_faults::{chooses, disk_fault};
use crate::world::disk::FaultId;
use crate::world::flight::Parcel;
use crate::world::life::LifeId;
use crate::world::network::Direction;
use unisono_observe::trace::{EventKind, Happening};

/// Who gave the word for a fault by doing something, and how much of it is still done.
#[derive(Clone, Copy, Debug)]
pub(super) struct By {
    life: LifeId,
    n_acts: usize,
}

impl State {
    pub(super) fn notice(&mut self, id: LifeId, what: Happening, when: When, n_acts: usize) {
        if self.life(id).is_none() {
            return;
        }
        if self.faults.has_armed() {
            let is_input = what.is_input();
            for fault in self.faults.on_event(id.task, what, when, is_input) {
                if when == When::After && !self.faults.kills(fault, id.task) {
                    // What a node does is carried out once all that it does is known. A plan of
                    // this moment comes after that.
                    self.agenda.plan(self.now, Plan::BeginFault(fault));
                } else {
                    self.begin_fault(fault, Some(By { life: id, n_acts }));
                }
            }
        }
        if (id.task, when) == (TaskId::PS_ZERO, When::After) {
            match (what.kind, what.step) {
                (EventKind::Updated, Some(step)) => self.on_step(step.next()),
                (EventKind::ReceivesRestore, Some(step)) => self.on_step(step),
                _ => {}
            }
        }
    }

    /// What a life wants done because of an input. How much of it is still done: all, if that is
    /// not said.
    pub(super) fn notice_effects(
        &mut self,
        id: LifeId,
        input: Happening,
        effects: &[Effect],
    ) -> Option<usize> {
        let mut n_acts = 0;
        for effect in effects {
            let what = Happening::of_effect(effect);
            if let Some(what) = what {
                self.notice(id, what, When::Before, n_acts);
            }
            n_acts += usize::from(is_act(effect));
            if let Some(what) = what {
                self.notice(id, what, When::After, n_acts);
            }
        }
        self.notice(id, input, When::After, n_acts);
        self.life(id).map_or(Some(0), |life| life.doom)
    }

    fn on_step(&mut self, step: Step) {
        if step < self.step {
            return;
        }
        self.step = step;
        let (begin, end) = self.faults.on_step(step);
        begin.into_iter().for_each(|fault| self.begin_fault(fault, None));
        end.into_iter().for_each(|fault| self.end_fault(fault));
    }

    pub(super) fn begin_fault(&mut self, fault: usize, by: Option<By>) {
        self.faults.activate(fault, self.now);
        let entry = self.faults.entry(fault);
        let (kind, end) = (entry.fault.kind.clone(), entry.fault.end);
        self.begin_kind(fault, &kind, by);
        match end {
            Some(End::For(duration)) => {
                self.agenda.plan(self.now + duration, Plan::EndFault(fault));
            }
            Some(End::UntilStep(step)) if step <= self.step => self.end_fault(fault),
            None if kind.is_instant() => {
                self.faults.deactivate(fault, self.now);
            }
            Some(End::UntilStep(_)) | None => {}
        }
    }

    fn begin_kind(&mut self, fault: usize, kind: &FaultKind, by: Option<By>) {
        match kind {
            FaultKind::Crash { node, .. } => self.crash(fault, *node, by),
            FaultKind::Pause { node } => {
                for task in self.living(*node) {
                    self.faults.bite(fault);
                    let life = self.lives.get_mut(&task).expect("it lives");
                    life.n_pauses += 1;
                    let id = life.id;
                    self.faults.entry(fault).lives.push(id);
                }
            }
            FaultKind::Stop { node } => {
                for task in self.living(*node) {
                    self.faults.bite(fault);
                    let life = self.lives.get_mut(&task).expect("it lives");
                    life.stops.push_back((None, ()));
                    self.woken |= life.wake();
                }
            }
            FaultKind::Partition { from, to, both_ways, mode: PartitionMode::Jam } => {
                self.jam(fault, *from, *to, *both_ways);
            }
            FaultKind::Reset { from, to } => {
                for (link, _) in self.links.between(chooses(*from), chooses(*to)) {
                    self.faults.bite(fault);
                    self.break_link(link, [true; 2], "reset by the network");
                }
            }
            FaultKind::HalfOpen { from, to } => {
                for (link, end) in self.links.between(chooses(*from), chooses(*to)) {
                    self.faults.bite(fault);
                    let is_told = [end == 0, end == 1];
                    self.break_link(link, is_told, "no answer from the other end");
                }
            }
            FaultKind::Duplicate { from, to } => {
                for (id, _) in self.links.between(chooses(*from), chooses(*to)) {
                    let now = self.now;
                    let Some(link) = self.links.get_mut(id) else { continue };
                    let last =
                        |direction: &Direction| direction.last_arrival.max(direction.not_before);
                    let last = link.directions.iter().map(last).max().unwrap_or(now);
                    link.is_mute = true;
                    if last > now {
                        self.faults.bite(fault);
                    }
                    self.agenda.plan(last.max(now), Plan::Break(id));
                }
            }
            FaultKind::Disk { mode } => {
                self.disk_is_damaged |=
                    matches!(mode, DiskMode::Io | DiskMode::BitFlip | DiskMode::LostUnsynced);
                if let Some(how) = disk_fault(*mode) {
                    self.files.disk().set_fault(disk_id(fault), how);
                }
            }
            // A wall clock that was set back shows only in the lives that start later.
            FaultKind::Clock { skew_ppm: 0, jump: Duration::ZERO, .. } => {}
            FaultKind::Clock { node, jump, .. } => self.change_clocks(fault, *node, *jump),
            // The other kinds act on messages, calls and computations while they are active.
            _ => {}
        }
    }

    pub(super) fn end_fault(&mut self, fault: usize) {
        if !self.faults.deactivate(fault, self.now) {
            return;
        }
        let entry = self.faults.entry(fault);
        let (kind, lives) = (entry.fault.kind.clone(), std::mem::take(&mut entry.lives));
        match kind {
            FaultKind::Crash { .. } => lives.into_iter().for_each(|life| self.raise(life.task)),
            FaultKind::Pause { .. } => lives.into_iter().for_each(|life| self.go_on(life)),
            FaultKind::Stop { node } => {
                // Also those that another fault had stopped, and was over before they had.
                let again = |(task, outcome): (&TaskId, &Outcome)| {
                    let is_again = matches!(outcome, Outcome::Stopped { .. })
                        && node.contains(*task)
                        && self.faults.restarts_stopped(*task);
                    is_again.then_some(*task)
                };
                let again: Vec<_> = self.outcomes.iter().filter_map(again).collect();
                again.into_iter().for_each(|task| self.raise(task));
            }
            FaultKind::Partition { mode: PartitionMode::Stop, .. } => self.release_held(),
            FaultKind::Disk { .. } => {
                self.files.disk().clear_fault(disk_id(fault));
                self.note_disk_bites(fault);
            }
            FaultKind::Clock { skew_ppm: 0, jump: Duration::ZERO, .. } => {}
            FaultKind::Clock { node, .. } => self.change_clocks(fault, node, Duration::ZERO),
            _ => {}
        }
    }

    /// The disk counts for itself how often its faults bit.
    pub(crate) fn note_disk_bites(&mut self, fault: usize) {
        let n_bites = self.files.disk().n_bites(disk_id(fault));
        self.faults.entry(fault).n_bites += n_bites;
    }

    fn living(&self, set: TaskSet) -> Vec<TaskId> {
        self.lives.keys().copied().filter(|task| set.contains(*task)).collect()
    }

    fn crash(&mut self, fault: usize, set: TaskSet, by: Option<By>) {
        for task in self.living(set) {
            self.faults.bite(fault);
            let life = self.lives.get_mut(&task).expect("it lives");
            let id = life.id;
            life.doomed_by = Some(fault);
            self.faults.entry(fault).lives.push(id);
            match by {
                // What it does before the event that gave the word, it still does.
                Some(By { life: giver, n_acts }) if giver == id && n_acts > 0 => {
                    life.doom = Some(n_acts);
                }
                _ => self.die(id),
            }
        }
    }

    /// A life ends by force. Nothing of it says goodbye.
    pub(super) fn die(&mut self, id: LifeId) {
        let Some(life) = self.life(id) else { return };
        let fault = life.doomed_by.expect("only faults kill");
        let FaultKind::Crash { peers, power_loss, .. } = self.faults.entry(fault).fault.kind else {
            unreachable!("only crashes kill")
        };
        for link in self.links.of(id) {
            if peers == PeersSee::Reset {
                self.send(link, id, Parcel::Close("reset by the other end"));
            }
            self.links.close(link, id);
        }
        if peers == PeersSee::Silence {
            self.absent.insert(id.task);
        }
        self.files.kill(id, self.now);
        if power_loss && id.task == TaskId::CHIEF {
            self.files.lose_power();
        }
        self.forget(id);
        self.orders.push(Order::Bury(id));
        // The fault was over before all that was left to the life was done.
        if !self.faults.is_active(fault) {
            self.raise(id.task);
        }
    }

    fn go_on(&mut self, id: LifeId) {
        if let Some(life) = self.life(id) {
            life.n_pauses -= 1;
            self.woken |= life.wake();
        }
    }

    fn jam(&mut self, fault: usize, from: TaskSet, to: TaskSet, both_ways: bool) {
        for (id, sender) in self.links.between(chooses(from), chooses(to)) {
            let Some(link) = self.links.get_mut(id) else { continue };
            self.faults.bite(fault);
            link.directions[1 - sender].is_lost = true;
            link.directions[sender].is_lost |= both_ways;
        }
    }

    fn change_clocks(&mut self, fault: usize, set: TaskSet, jump: Duration) {
        for task in self.living(set) {
            self.faults.bite(fault);
            let ppm = self.faults.skew_ppm(task);
            let now = self.now;
            self.clocks.entry(task).or_default().change(now, ppm, jump);
            // What it waits for comes at another time now.
            if let Some(life) = self.lives.get_mut(&task) {
                self.woken |= life.wake();
            }
        }
    }
}

/// Whether it is more than a report.
pub(crate) const fn is_act(effect: &Effect) -> bool {
    !matches!(effect, Effect::Report(_))
}

fn disk_id(fault: usize) -> FaultId {
    FaultId(u32::try_from(fault).expect("a scenario has fewer than 2^32 faults"))
}
