//! The actions that faults take when they begin and when they end.

use std::time::Duration;

use unisono_core::protocol::{Effect, Outcome};
use unisono_core::{Step, TaskId};
use unisono_rules::LifeId;

use super::state::{ExecutorOrder, State, WorldEvent};
use crate::scenario::{DiskMode, End, FaultKind, PartitionMode, PeersSee, TaskSet, When};
use crate::world::disk::FaultId;
use crate::world::flight::Parcel;
use crate::world::network::Direction;
use unisono_observe::trace::{EventKind, NamedEvent};

/// The incarnation whose event triggers a fault, and the number of effects that the incarnation had
/// before the event in the current input. Reports do not count as effects.
#[derive(Clone, Copy, Debug)]
pub(super) struct By {
    life: LifeId,
    n_acts: usize,
}

impl State {
    /// Triggers the faults that wait for this event of an incarnation. `n_acts` is the number of
    /// effects, without reports, that the incarnation had before the event in the current input.
    pub(super) fn notice(&mut self, id: LifeId, what: NamedEvent, when: When, n_acts: usize) {
        if self.life(id).is_none() {
            return;
        }
        if !self.faults.armed.is_empty() {
            for fault in self.faults.on_event(id.task, what, when) {
                if when == When::After && !self.faults.kills(fault, id.task) {
                    // The node's effects are carried out after the observer has seen all of them.
                    // The fault must begin after these effects, so a world event at the present
                    // time begins the fault. A crash needs no world event, because a crash waits
                    // for a number of effects.
                    self.agenda.plan(self.now, WorldEvent::BeginFault(fault));
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

    /// Triggers the faults that wait for one of these effects of an incarnation, or for the end of
    /// this input. Returns the number of effects that are carried out before a fault kills the
    /// incarnation, or `None` if no fault kills the incarnation.
    pub(super) fn notice_effects(
        &mut self,
        id: LifeId,
        input: NamedEvent,
        effects: &[Effect],
    ) -> Option<usize> {
        let mut n_acts = 0;
        for effect in effects {
            let what = NamedEvent::of_effect(effect);
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
        // After a rollback, ps 0 reaches the same steps again. A step triggers faults only when ps
        // 0 first reaches the step.
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
                self.agenda.plan(self.now + duration, WorldEvent::EndFault(fault));
            }
            // The step has passed already, so no later event would end the fault.
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
                for id in self.affect(fault, *node) {
                    self.lives.get_mut(&id.task).expect("the task is alive").n_pauses += 1;
                }
            }
            FaultKind::Stop { node } => {
                for id in self.affect(fault, *node) {
                    let life = self.lives.get_mut(&id.task).expect("the task is alive");
                    life.stops.push_back((None, ()));
                    self.woken |= life.wake();
                }
            }
            FaultKind::Partition { from, to, both_ways, mode: PartitionMode::Jam } => {
                self.jam(fault, *from, *to, *both_ways);
            }
            FaultKind::Reset { from, to } => {
                for (link, _) in self.links.between(*from, *to) {
                    self.faults.count_effect(fault);
                    self.break_link(link, [true; 2], "reset by the network");
                }
            }
            FaultKind::HalfOpen { from, to } => {
                for (link, end) in self.links.between(*from, *to) {
                    self.faults.count_effect(fault);
                    let is_notified = [end == 0, end == 1];
                    self.break_link(link, is_notified, "no answer from the other end");
                }
            }
            FaultKind::Duplicate { from, to } => {
                for (id, _) in self.links.between(*from, *to) {
                    // The link delivers all messages that are in transit, and then breaks. The
                    // sender does not learn which messages arrived, so the sender repeats its
                    // messages on the next link.
                    let now = self.now;
                    let Some(link) = self.links.get_mut(id) else { continue };
                    let last =
                        |direction: &Direction| direction.last_arrival.max(direction.not_before);
                    let last = link.directions.iter().map(last).max().unwrap_or(now);
                    link.is_mute = true;
                    // If nothing is in transit, nothing can be duplicated.
                    if last > now {
                        self.faults.count_effect(fault);
                    }
                    self.agenda.plan(last.max(now), WorldEvent::Break(id));
                }
            }
            FaultKind::Disk { mode } => {
                self.disk_is_damaged |=
                    matches!(mode, DiskMode::Io | DiskMode::BitFlip | DiskMode::LostUnsynced);
                self.files.disk.set_fault(FaultId(fault), *mode);
            }
            // A fault that only sets the wall clock back changes nothing here: it affects
            // incarnations that start later.
            FaultKind::Clock { skew_ppm: 0, jump: Duration::ZERO, .. } => {}
            FaultKind::Clock { node, jump, .. } => self.change_clocks(fault, *node, *jump),
            // All other kinds affect messages, calls and computations while they are active.
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
            FaultKind::Crash { .. } => {
                lives.into_iter().for_each(|life| self.start_task(life.task))
            }
            FaultKind::Pause { .. } => lives.into_iter().for_each(|life| self.go_on(life)),
            FaultKind::Stop { node } => {
                // These tasks include a task that another stop fault has stopped, because stop
                // faults may overlap.
                let again = |(task, outcome): (&TaskId, &Outcome)| {
                    let is_again = matches!(outcome, Outcome::Stopped { .. })
                        && node.contains(*task)
                        && self.faults.restarts_stopped(*task);
                    is_again.then_some(*task)
                };
                let again: Vec<_> = self.outcomes.iter().filter_map(again).collect();
                again.into_iter().for_each(|task| self.start_task(task));
            }
            FaultKind::Partition { mode: PartitionMode::Stop, .. } => self.release_held(),
            FaultKind::Disk { .. } => {
                self.files.disk.clear_fault(FaultId(fault));
                self.note_disk_effects(fault);
            }
            FaultKind::Clock { skew_ppm: 0, jump: Duration::ZERO, .. } => {}
            FaultKind::Clock { node, .. } => self.change_clocks(fault, node, Duration::ZERO),
            _ => {}
        }
    }

    /// Adds the effects that the disk has counted for a fault to the number of effects of the
    /// fault.
    pub(crate) fn note_disk_effects(&mut self, fault: usize) {
        let n_effects = self.files.disk.n_effects(FaultId(fault));
        self.faults.entry(fault).effects.n_effects += n_effects;
    }

    /// Counts an effect of a fault for each task of a set that is alive. Returns the incarnations
    /// of these tasks, and stores them for the end of the fault.
    fn affect(&mut self, fault: usize, set: TaskSet) -> Vec<LifeId> {
        let living = self.lives.values().map(|life| life.id);
        let lives: Vec<_> = living.filter(|id| set.contains(id.task)).collect();
        let entry = self.faults.entry(fault);
        entry.effects.n_effects += lives.len() as u64;
        entry.lives.extend(&lives);
        lives
    }

    fn crash(&mut self, fault: usize, set: TaskSet, by: Option<By>) {
        for id in self.affect(fault, set) {
            let life = self.lives.get_mut(&id.task).expect("the task is alive");
            life.doomed_by = Some(fault);
            match by {
                // The incarnation itself triggers its crash between two of its effects. The effects
                // before the crash are still carried out.
                Some(By { life: giver, n_acts }) if giver == id && n_acts > 0 => {
                    life.doom = Some(n_acts);
                }
                _ => self.die(id),
            }
        }
    }

    /// Kills an incarnation of a task. The node of the incarnation sends no further message.
    pub(super) fn die(&mut self, id: LifeId) {
        let Some(life) = self.life(id) else { return };
        let fault = life.doomed_by.expect("only faults kill");
        let FaultKind::Crash { peers, power_loss, .. } = self.faults.entry(fault).fault.kind else {
            unreachable!("only crashes kill")
        };
        for link in self.links.of_life(id) {
            // The machine of a dead process resets the links of the process, after all messages
            // that the process had sent.
            if peers == PeersSee::Reset {
                self.send(link, id, Parcel::Close("reset by the other end"));
            }
            self.links.close(link, id);
        }
        if peers == PeersSee::Silence {
            self.absent.insert(id.task);
        }
        // The process is killed before the power loss, so that the first operations of a save in
        // progress have reached the disk, unsynced.
        self.files.kill(id, self.now);
        if power_loss && id.task == TaskId::CHIEF {
            self.files.lose_power();
        }
        self.forget(id);
        self.orders.push(ExecutorOrder::Kill(id));
        // The fault ended before the incarnation had carried out its last effects, so the end of
        // the fault could not restart the task.
        if !self.faults.is_active(fault) {
            self.start_task(id.task);
        }
    }

    fn go_on(&mut self, id: LifeId) {
        if let Some(life) = self.life(id) {
            life.n_pauses -= 1;
            self.woken |= life.wake();
        }
    }

    fn jam(&mut self, fault: usize, from: TaskSet, to: TaskSet, both_ways: bool) {
        for (id, sender) in self.links.between(from, to) {
            let Some(link) = self.links.get_mut(id) else { continue };
            self.faults.count_effect(fault);
            link.directions[1 - sender].is_lost = true;
            link.directions[sender].is_lost |= both_ways;
        }
    }

    fn change_clocks(&mut self, fault: usize, set: TaskSet, jump: Duration) {
        for LifeId { task, .. } in self.affect(fault, set) {
            let ppm = self.faults.skew_ppm(task);
            self.clocks.entry(task).or_default().change(self.now, ppm, jump);
            // A deadline is a time on the task's clock. The change of the clock has moved the
            // deadline in virtual time, so the task must plan its deadline again.
            if let Some(life) = self.lives.get_mut(&task) {
                self.woken |= life.wake();
            }
        }
    }
}

/// Returns whether an effect does more than report.
pub(crate) const fn is_act(effect: &Effect) -> bool {
    !matches!(effect, Effect::Report(_))
}
