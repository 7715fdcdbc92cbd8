//! What goes wrong, and how it heals.

use unisono_core::TaskId;
use unisono_core::protocol::Input;

use super::{Fault, Flight, Life, World};

impl World {
    /// Does `fault` to whatever `choice` picks.
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
                let ends = self.links.get_mut(&link).expect("it is open");
                let first = (choice / open.len()) % 2;
                // An end learns of a link before it learns of its loss.
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
                // At the end of a run tasks leave for good, and are not started again.
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
            // Ten refusals of the final checkpoint would rightly give the run up.
            Fault::DiskFull if self.n_disk_full < 8 => {
                self.n_disk_full += 1;
                self.disk_is_full = true;
            }
            Fault::Cut | Fault::HalfOpen | Fault::DiskFull => {}
        }
    }

    fn crash(&mut self, task: TaskId) {
        self.last_crashed = Some(task);
        self.lives.remove(&task);
        self.close_all_of(task);
        self.start(task);
    }

    /// No more faults: everything must come to its end within a bound.
    pub(crate) fn heal(&mut self) {
        const MAX_EVENTS: u64 = 20_000;
        self.paused.clear();
        self.disk_is_full = false;
        let limit = self.n_events + MAX_EVENTS;
        // Any fair order will do: this is Knuth's MMIX generator.
        let mut random = 1u64;
        while !self.only_late_ones_live() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // An even number never lets time pass although something could happen.
            let choice = (random >> 33) as usize * 2;
            assert!(self.step(choice), "nothing can happen, and {:?} live", self.lives.keys());
            assert!(self.n_events < limit, "no end in sight; alive: {}", self.alive());
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
