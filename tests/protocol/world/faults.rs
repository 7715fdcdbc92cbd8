//! Faults of the world, and the end of all faults.

use unisono_core::TaskId;
use unisono_core::protocol::Input;

use super::{Fault, Flight, Life, World};

impl World {
    /// Applies `fault` to the task or link that `choice` selects, if there is one.
    pub(crate) fn inflict(&mut self, fault: Fault, choice: usize) {
        let open: Vec<_> = self
            .links
            .iter()
            .filter(|(_, ends)| ends.iter().all(|end| end.open))
            .map(|(link, _)| *link)
            .collect();
        match fault {
            Fault::Cut | Fault::HalfOpen if !open.is_empty() => {
                let link = open[choice % open.len()];
                let ends = self.links.get_mut(&link).expect("the link is open");
                let first = (choice / open.len()) % 2;
                // A queued `Up` stays, because a node must learn of a link before its loss.
                let is_up = |flight: &Flight| matches!(flight, Flight::Up);
                ends[first].inbox.retain(is_up);
                ends[first].inbox.push_back(Flight::Close);
                if fault == Fault::Cut {
                    ends[1 - first].inbox.retain(is_up);
                }
                ends[1 - first].inbox.push_back(Flight::Close);
            }
            Fault::Crash => {
                let alive: Vec<_> = self.lives.keys().copied().collect();
                // Finished tasks do not restart, so they could not announce the end to a task that
                // crashed after them.
                if !alive.is_empty() && self.ended.is_empty() {
                    self.crash(alive[choice % alive.len()]);
                }
            }
            Fault::CrashAgain => {
                if let (Some(task), true) = (self.last_crashed, self.ended.is_empty()) {
                    self.crash(task);
                }
            }
            Fault::Pause => {
                let alive: Vec<_> = self.lives.keys().copied().collect();
                if !alive.is_empty() {
                    let task = alive[choice % alive.len()];
                    self.paused.insert(task, self.n_events + 10 + choice as u64 % 90);
                }
            }
            Fault::Stop => {
                let started = self.deadline(TaskId::CHIEF).is_some();
                if started && self.ended.is_empty() {
                    self.asked_to_stop = true;
                    self.feed(TaskId::CHIEF, Input::Stop);
                }
            }
            // The run rightly fails after ten failed attempts to save the final checkpoint.
            Fault::DiskFull if self.n_disk_full < 8 => {
                self.n_disk_full += 1;
                self.disk_is_full = true;
            }
            Fault::Cut | Fault::HalfOpen | Fault::DiskFull => {}
        }
    }

    /// Kills the current incarnation of a task and starts the next one.
    fn crash(&mut self, task: TaskId) {
        self.last_crashed = Some(task);
        if let Some(life) = self.lives.remove(&task) {
            self.rules.killed(life.id);
        }
        self.close_all_of(task);
        self.start(task);
    }

    /// Ends all faults, and plays until all tasks have finished. Panics if that takes too many
    /// events.
    pub(crate) fn heal(&mut self) {
        const MAX_EVENTS: u64 = 20_000;
        self.paused.clear();
        self.disk_is_full = false;
        let limit = self.n_events + MAX_EVENTS;
        // Any fair order of events suffices. This is Knuth's MMIX generator.
        let mut random = 1u64;
        while !self.only_late_ones_live() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // `step` lets time pass for even choices only if no event is possible.
            let choice = (random >> 33) as usize * 2;
            assert!(
                self.step(choice),
                "no event is possible, but {:?} are alive",
                self.lives.keys()
            );
            assert!(self.n_events < limit, "the run does not end; alive: {}", self.alive());
        }
    }

    fn only_late_ones_live(&self) -> bool {
        self.lives.keys().all(|task| self.late.contains(task))
    }

    fn alive(&self) -> String {
        let place = |(task, life): (&TaskId, &Life)| format!("{task} at {:?}", life.node.cut());
        self.lives.iter().map(place).collect::<Vec<_>>().join(", ")
    }
}
