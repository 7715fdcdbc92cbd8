//! The processes of a cluster under test, and the proxied links between them.
//!
//! A task may have several processes in a row, one per life.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use crate::plan::{Fault, LinkId, N_PS, N_WORKERS};
use crate::proxy::Link;
use crate::support::{HandStarted, Process, Role};

/// A task and its current process, if any.
struct Task {
    process: Option<Process>,
    n_lives: u32,
    is_paused: bool,
}

pub(crate) struct Cluster {
    by_hand: HandStarted,
    folder: PathBuf,
    tasks: BTreeMap<Role, Task>,
    links: Vec<(LinkId, Link)>,
    /// Processes that were paused and replaced. They continue later.
    replaced: Vec<Process>,
    /// The runtime of the links.
    _runtime: tokio::runtime::Runtime,
}

/// The end of a fault that lasts for some time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Heal {
    /// Starts a killed task.
    Start(Role),
    /// Continues a paused task.
    Continue(Role),
    /// Continues a replaced process, given by its index among all replaced processes.
    Wake(usize),
    /// Lets bytes pass a silent link.
    Speak(LinkId),
    /// Ends the delay of a link.
    Hurry(LinkId),
    /// Accepts new connections on a cut link.
    Mend(LinkId),
}

impl Cluster {
    pub(crate) fn start(flags: &str, folder: PathBuf) -> Self {
        let by_hand =
            HandStarted::new(N_PS, N_WORKERS, flags, folder.join("logdir")).keep_sockets();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime can be started");
        let ids = (0..N_WORKERS).flat_map(|worker| (0..N_PS).map(move |ps| LinkId { worker, ps }));
        let start = |id: LinkId| {
            let ps = by_hand.ps_hosts()[id.ps].parse().expect("a host is an address");
            (id, runtime.block_on(Link::start(ps)))
        };
        let links = ids.map(start).collect();
        let tasks = BTreeMap::new();
        let replaced = Vec::new();
        let mut cluster = Self { by_hand, folder, tasks, links, replaced, _runtime: runtime };
        let roles = (0..N_PS).map(Role::Ps).chain((0..N_WORKERS).map(Role::Worker));
        roles.for_each(|role| cluster.start_task(role));
        cluster
    }

    /// Returns whether the fault would have an effect now.
    pub(crate) fn is_ready_for(&self, fault: &Fault) -> bool {
        match *fault {
            Fault::Kill { task, .. } => self.tasks[&task].process.is_some(),
            Fault::Pause { task, .. } => self.is_up(task),
            Fault::Replace { worker, .. } => self.has_called(Role::Worker(worker)),
            Fault::Silence { link, .. }
            | Fault::Delay { link, .. }
            | Fault::Reset { link }
            | Fault::Cut { link, .. }
            | Fault::HalfOpen { link, .. }
            | Fault::Flip { link, .. } => self.link(link).is_open(),
        }
    }

    /// Starts a fault. Returns how the fault ends and after which time, if it lasts.
    pub(crate) fn inject(&mut self, fault: &Fault) -> Option<(Duration, Heal)> {
        match *fault {
            Fault::Kill { task, away } => {
                self.kill(task);
                Some((away, Heal::Start(task)))
            }
            Fault::Pause { task, for_ } => {
                self.pause(task);
                Some((for_, Heal::Continue(task)))
            }
            Fault::Replace { worker, woken_after } => {
                Some((woken_after, Heal::Wake(self.replace(Role::Worker(worker)))))
            }
            Fault::Silence { link, for_ } => {
                self.link(link).set_silent(true);
                Some((for_, Heal::Speak(link)))
            }
            Fault::Delay { link, by, for_ } => {
                self.link(link).set_delay(by);
                Some((for_, Heal::Hurry(link)))
            }
            Fault::Cut { link, for_ } => {
                self.link(link).set_cut(true);
                Some((for_, Heal::Mend(link)))
            }
            Fault::Reset { link } => {
                self.link(link).reset();
                None
            }
            Fault::HalfOpen { link, notified } => {
                self.link(link).half_open(notified);
                None
            }
            Fault::Flip { link, towards, flip } => {
                self.link(link).flip(towards, flip);
                None
            }
        }
    }

    pub(crate) fn heal(&mut self, heal: Heal) {
        match heal {
            Heal::Start(role) => self.start_task(role),
            // Another fault may have killed the process in the meantime.
            Heal::Continue(role) => {
                let task = self.task(role);
                task.is_paused = false;
                task.process.iter().for_each(|process| process.signal("CONT"));
            }
            Heal::Wake(index) => self.replaced[index].signal("CONT"),
            Heal::Speak(link) => self.link(link).set_silent(false),
            Heal::Hurry(link) => self.link(link).set_delay(Duration::ZERO),
            Heal::Mend(link) => self.link(link).set_cut(false),
        }
    }

    /// Returns the tasks that ended without a fault, and their exit statuses.
    pub(crate) fn ended(&mut self) -> Vec<(Role, ExitStatus)> {
        let ended =
            |(role, task): (&Role, &mut Task)| Some((*role, task.process.as_mut()?.exit_status()?));
        self.tasks.iter_mut().filter_map(ended).collect()
    }

    pub(crate) fn n_tasks(&self) -> usize {
        self.tasks.len()
    }

    pub(crate) fn n_lives(&self) -> u32 {
        self.tasks.values().map(|task| task.n_lives).sum()
    }

    /// Returns the number of replaced processes that continued and ended because of a newer
    /// incarnation. A process that continued too late to learn of it is not counted.
    pub(crate) fn n_fenced(&mut self) -> usize {
        self.replaced.iter_mut().filter_map(Process::exit_status).count()
    }

    pub(crate) fn n_flipped(&self) -> usize {
        self.links.iter().map(|(_, link)| link.n_flipped()).sum()
    }

    /// Returns the logs of all processes of a task.
    pub(crate) fn said_by(&self, role: Role) -> String {
        let lives = 1..=self.tasks[&role].n_lives;
        let read = |life| fs::read_to_string(self.log_of(role, life).join("err"));
        lives.map(|life| read(life).unwrap_or_default()).collect()
    }

    fn log_of(&self, role: Role, life: u32) -> PathBuf {
        let (job, index) = match role {
            Role::Ps(index) => ("ps", index),
            Role::Worker(index) => ("worker", index),
        };
        self.folder.join(format!("{job}-{index}.{life}"))
    }

    fn is_up(&self, role: Role) -> bool {
        let task = &self.tasks[&role];
        task.process.is_some() && !task.is_paused
    }

    /// Returns whether the task is running and a ps knows its newest process.
    fn has_called(&self, role: Role) -> bool {
        let said = || fs::read_to_string(self.log_of(role, self.tasks[&role].n_lives).join("err"));
        self.is_up(role) && said().is_ok_and(|said| said.contains(" connected\n"))
    }

    fn task(&mut self, role: Role) -> &mut Task {
        self.tasks.get_mut(&role).expect("every role has a task")
    }

    fn link(&self, id: LinkId) -> &Link {
        &self.links.iter().find(|(of, _)| *of == id).expect("every id has a link").1
    }

    fn set_ps_away(&self, role: Role, is_away: bool) {
        let links = self.links.iter().filter(|(id, _)| Role::Ps(id.ps) == role);
        links.for_each(|(_, link)| link.set_ps_away(is_away));
    }

    fn start_task(&mut self, role: Role) {
        let hosts: Vec<_> = match role {
            Role::Ps(_) => self.by_hand.ps_hosts().to_vec(),
            Role::Worker(worker) => {
                (0..N_PS).map(|ps| self.link(LinkId { worker, ps }).address().to_owned()).collect()
            }
        };
        let mut command = self.by_hand.command(role, &hosts, "");
        command.env("UNISONO_LOG", "info");
        let n_lives = 1 + self.tasks.get(&role).map_or(0, |task| task.n_lives);
        let process = Some(Process::start_into(&self.log_of(role, n_lives), command));
        self.tasks.insert(role, Task { process, n_lives, is_paused: false });
        self.set_ps_away(role, false);
    }

    fn kill(&mut self, role: Role) {
        // The test keeps the ps's socket open, so the links must refuse connections instead.
        self.set_ps_away(role, true);
        // Dropping a `Process` kills it.
        self.task(role).process = None;
    }

    fn pause(&mut self, role: Role) {
        let task = self.task(role);
        task.is_paused = true;
        task.process.iter().for_each(|process| process.signal("STOP"));
    }

    /// Pauses a task's process and starts another one. Returns the index of the paused process in
    /// `replaced`.
    fn replace(&mut self, role: Role) -> usize {
        self.pause(role);
        let old = self.task(role).process.take().expect("the task is running");
        self.replaced.push(old);
        self.start_task(role);
        self.replaced.len() - 1
    }
}
