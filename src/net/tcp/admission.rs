//! How many callers there may be: all together, of one address, and of those that have yet to say
//! who they are. Counts only; whoever accepts and closes is in [`super::entrance`].

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use unisono_core::host::limits::MAX_LINKS;

/// The most accepted links of one address, so that no address can take them all. A whole cluster
/// may be at one address.
const MAX_LINKS_OF_ADDRESS: usize = MAX_LINKS / 2;

/// The most callers that have yet to say who they are. One more, and the oldest has to go: a task
/// greets at once, so it is through before others can have pushed it out.
const MAX_HALF_OPEN: usize = 512;

/// Of one address; a cluster of the largest size may start at one address at once.
const MAX_HALF_OPEN_OF_ADDRESS: usize = 128;

/// Files that a task has open beside its links: its logs, its checkpoints, its listener, 32
/// connections to its metrics, and memory that it shares. Strangers must not take these, since a
/// task without them can neither save nor answer a probe. A limit of 4,096 files leaves [`MAX_LINKS`].
const OTHER_FILES: usize = 64;

/// The fewest links that are admitted, however few files may be open: fewer are no cluster.
const MIN_LINKS: usize = 16;

/// The numbers of callers that one process admits: the limits above, or fewer if the process may not
/// have so many files open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AdmissionLimits {
    links: usize,
    links_of_address: usize,
    half_open: usize,
    half_open_of_address: usize,
}

impl AdmissionLimits {
    /// The limits of a process that may have so many files open.
    pub(super) fn within(max_open_files: u64) -> Self {
        let max_open_files = usize::try_from(max_open_files).unwrap_or(usize::MAX);
        let links = max_open_files.saturating_sub(OTHER_FILES).clamp(MIN_LINKS, MAX_LINKS);
        Self {
            links,
            links_of_address: MAX_LINKS_OF_ADDRESS.min(links / 2),
            half_open: MAX_HALF_OPEN.min(links / 2),
            half_open_of_address: MAX_HALF_OPEN_OF_ADDRESS.min(links / 8),
        }
    }

    /// Checks that every task of the cluster that may call finds room.
    ///
    /// # Errors
    /// If there are more such tasks than links, with the remedy.
    pub(super) fn check(self, n_callers: usize) -> Result<(), String> {
        let Self { links, .. } = self;
        if n_callers <= links {
            return Ok(());
        }
        let remedy = if n_callers > MAX_LINKS {
            format!("a cluster has at most {MAX_LINKS} tasks that call one ps")
        } else {
            let wanted = n_callers + OTHER_FILES;
            format!(
                "let it open more files, as with `ulimit -n {wanted}` or LimitNOFILE= of systemd"
            )
        };
        Err(format!("{n_callers} tasks call this one, and it can accept {links}: {remedy}"))
    }
}

/// A caller that has yet to say who it is; later ones have larger numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CallerId(u64);

/// The books about all callers.
#[derive(Clone, Debug)]
pub(super) struct Admission(Arc<Mutex<Counts>>);

#[derive(Debug)]
struct Counts {
    limits: AdmissionLimits,
    links_of_address: BTreeMap<IpAddr, usize>,
    n_links: usize,
    half_open: BTreeMap<CallerId, IpAddr>,
    next_caller: u64,
}

/// A caller that may go on to say who it is.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) caller: CallerId,
    pub(super) permit: Permit,
    /// Who has to go in its place.
    pub(super) evicted: Option<CallerId>,
}

/// The right to one link; dropped with it.
#[derive(Debug)]
pub(super) struct Permit {
    admission: Admission,
    address: IpAddr,
}

impl Admission {
    /// Nobody is there yet.
    pub(super) fn new(limits: AdmissionLimits) -> Self {
        let (links_of_address, half_open) = Default::default();
        let counts = Counts { limits, links_of_address, n_links: 0, half_open, next_caller: 0 };
        Self(Arc::new(Mutex::new(counts)))
    }

    /// Lets a caller come in, or says why not.
    pub(super) fn admit(&self, address: IpAddr) -> Result<Admitted, String> {
        let mut counts = self.counts();
        let limits = counts.limits;
        let evicted = counts.to_evict(address);
        let of_address = counts.links_of_address.get(&address).copied().unwrap_or(0);
        if evicted.is_none() && of_address >= limits.links_of_address {
            return Err(format!("{of_address} links to its address are open"));
        }
        if evicted.is_none() && counts.n_links >= limits.links {
            return Err(format!("{} links are open", counts.n_links));
        }
        if let Some(evicted) = evicted {
            counts.half_open.remove(&evicted);
        }
        let caller = CallerId(counts.next_caller);
        counts.next_caller += 1;
        counts.half_open.insert(caller, address);
        counts.n_links += 1;
        *counts.links_of_address.entry(address).or_default() += 1;
        Ok(Admitted { caller, permit: Permit { admission: self.clone(), address }, evicted })
    }

    /// A caller has said who it is, or has gone.
    pub(super) fn settle(&self, caller: CallerId) {
        self.counts().half_open.remove(&caller);
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().expect("nothing panics while it counts")
    }
}

impl Counts {
    /// The oldest of those that have not said who they are, if one more would be too many.
    fn to_evict(&self, address: IpAddr) -> Option<CallerId> {
        let mut of_address = self.half_open.iter().filter(|(_, of)| **of == address);
        if of_address.clone().count() >= self.limits.half_open_of_address {
            return of_address.next().map(|(caller, _)| *caller);
        }
        let oldest = self.half_open.keys().next();
        oldest.copied().filter(|_| self.half_open.len() >= self.limits.half_open)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut counts = self.admission.counts();
        counts.n_links -= 1;
        if let Some(of_address) = counts.links_of_address.get_mut(&self.address) {
            *of_address -= 1;
            if *of_address == 0 {
                counts.links_of_address.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// The limits of a process that may have 1,024 files open.
    fn usual() -> Admission {
        Admission::new(AdmissionLimits::within(1024))
    }

    #[test]
    fn links_leave_a_task_the_files_that_it_needs() {
        let limits = |links, links_of_address, half_open, half_open_of_address| AdmissionLimits {
            links,
            links_of_address,
            half_open,
            half_open_of_address,
        };
        assert_eq!(AdmissionLimits::within(4096), limits(4032, 2016, 512, 128));
        assert_eq!(AdmissionLimits::within(u64::MAX), AdmissionLimits::within(4096));
        assert_eq!(AdmissionLimits::within(1024), limits(960, 480, 480, 120));
        assert_eq!(AdmissionLimits::within(256), limits(192, 96, 96, 24));
        assert_eq!(AdmissionLimits::within(20), limits(16, 8, 8, 2));
    }

    #[test]
    fn cluster_that_has_more_callers_than_links_is_refused_with_a_remedy() {
        let check = |files, n_callers| AdmissionLimits::within(files).check(n_callers);
        assert_eq!(check(1024, 960), Ok(()));
        let few_files = check(1024, 1000).unwrap_err();
        assert_eq!(
            few_files,
            "1000 tasks call this one, and it can accept 960: let it open more files, as with \
             `ulimit -n 1064` or LimitNOFILE= of systemd"
        );
        let too_large = check(u64::MAX, 5000).unwrap_err();
        assert!(too_large.ends_with("a cluster has at most 4032 tasks that call one ps"));
    }

    fn address(number: usize) -> IpAddr {
        Ipv4Addr::from_bits(u32::try_from(number).unwrap()).into()
    }

    /// A caller that has said who it is.
    fn greeted(admission: &Admission, from: usize) -> Result<Permit, String> {
        let admitted = admission.admit(address(from))?;
        assert_eq!(admitted.evicted, None);
        admission.settle(admitted.caller);
        Ok(admitted.permit)
    }

    #[test]
    fn no_address_can_take_all_links_and_all_addresses_together_only_so_many() {
        let admission = usual();
        let mut held: Vec<_> = (0..480).map(|_| greeted(&admission, 1).unwrap()).collect();
        let refused = greeted(&admission, 1).unwrap_err();
        assert_eq!(refused, "480 links to its address are open");
        held.extend((0..480).map(|number| greeted(&admission, number + 2).unwrap()));
        assert_eq!(greeted(&admission, 7000).unwrap_err(), "960 links are open");
        held.pop();
        held.push(greeted(&admission, 7000).unwrap());
        drop(held);
        let counts = admission.counts();
        assert_eq!((counts.n_links, counts.links_of_address.len()), (0, 0));
    }

    #[test]
    fn the_oldest_stranger_of_an_address_makes_room_for_one_more_of_it() {
        let admission = usual();
        let other = admission.admit(address(2)).unwrap();
        let all: Vec<_> = (0..120 + 3).map(|_| admission.admit(address(1)).unwrap()).collect();
        let evicted: Vec<_> = all.iter().filter_map(|admitted| admitted.evicted).collect();
        let oldest: Vec<_> = all[..3].iter().map(|admitted| admitted.caller).collect();
        assert_eq!(evicted, oldest);
        assert!(admission.counts().half_open.contains_key(&other.caller));
    }

    #[test]
    fn the_oldest_stranger_of_all_makes_room_when_there_are_too_many() {
        let admission = usual();
        let all: Vec<_> =
            (0..=480).map(|number| admission.admit(address(number)).unwrap()).collect();
        let evicted: Vec<_> = all.iter().filter_map(|admitted| admitted.evicted).collect();
        assert_eq!(evicted, [all[0].caller]);
        admission.settle(all[1].caller);
        assert_eq!(admission.admit(address(9)).unwrap().evicted, None);
    }
}
