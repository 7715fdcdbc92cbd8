//! Limits on the number of callers: in total, from one address, and of callers that have not sent
//! their first message. This module only counts callers. [`super::entrance`] accepts and closes
//! connections.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use unisono_core::host::limits::MAX_LINKS;

/// The maximum number of accepted links from one address, so that one address cannot take all
/// links. The limit is as high as half of all links, because all tasks of a cluster may have the
/// same address.
const MAX_LINKS_OF_ADDRESS: usize = MAX_LINKS / 2;

/// The maximum number of callers that have not sent their first message. If a further caller
/// connects, the oldest of these callers is evicted. A task sends its hello at once, so even in a
/// flood of callers the task is not evicted before its hello arrives.
const MAX_HALF_OPEN: usize = 512;

/// The maximum number of callers from one address that have not sent their first message. The limit
/// is high enough for many tasks of a cluster to start at one address at the same time.
const MAX_HALF_OPEN_OF_ADDRESS: usize = 128;

/// Number of files that are reserved for purposes other than links: logs, checkpoints, the
/// listener, 32 connections to the metrics port, and shared memory. Callers must not use up these
/// files, because a task needs them to save a checkpoint and to answer a probe. If 4,096 files may
/// be open, [`MAX_LINKS`] links remain.
const OTHER_FILES: usize = 64;

/// The number of links that are admitted even if the limit of open files is too low for them. With
/// fewer links, a task could not serve a cluster.
const MIN_LINKS: usize = 16;

/// The limits of one process: the maximum numbers that this module defines, or smaller numbers if
/// the limit of open files is low.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AdmissionLimits {
    links: usize,
    links_of_address: usize,
    half_open: usize,
    half_open_of_address: usize,
}

impl AdmissionLimits {
    /// Returns the limits of a process that may have `max_open_files` files open.
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

    /// Checks that `n_callers` tasks can be connected at the same time.
    ///
    /// # Errors
    /// If fewer than `n_callers` links are allowed. The error text names the remedy.
    pub(super) fn check(self, n_callers: usize) -> Result<(), String> {
        let Self { links, .. } = self;
        if n_callers <= links {
            return Ok(());
        }
        // Beyond the fixed maximum, a larger limit of open files does not help.
        let remedy = if n_callers > MAX_LINKS {
            format!("a cluster has at most {MAX_LINKS} tasks that call one ps")
        } else {
            let wanted = n_callers + OTHER_FILES;
            format!(
                "raise its limit of open files, as with `ulimit -n {wanted}` or LimitNOFILE= of \
                 systemd"
            )
        };
        Err(format!("{n_callers} tasks call this task, which can accept {links}: {remedy}"))
    }
}

/// The number of a caller that has not sent its first message. Later callers have larger numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct CallerId(u64);

/// Counts all callers and links. Clones share the counts.
#[derive(Clone, Debug)]
pub(super) struct Admission(Arc<Mutex<CallerCounts>>);

#[derive(Debug)]
struct CallerCounts {
    limits: AdmissionLimits,
    links_of_address: BTreeMap<IpAddr, usize>,
    n_links: usize,
    half_open: BTreeMap<CallerId, IpAddr>,
    next_caller: u64,
}

/// A caller that may now authenticate and send its first message.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) caller: CallerId,
    pub(super) permit: Permit,
    /// The caller that must be closed to make room.
    pub(super) evicted: Option<CallerId>,
}

/// The permit for one link. The link counts towards the limits until the permit is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    admission: Admission,
    address: IpAddr,
}

impl Admission {
    pub(super) fn new(limits: AdmissionLimits) -> Self {
        let (links_of_address, half_open) = Default::default();
        let counts =
            CallerCounts { limits, links_of_address, n_links: 0, half_open, next_caller: 0 };
        Self(Arc::new(Mutex::new(counts)))
    }

    /// Admits a caller.
    ///
    /// # Errors
    /// If a limit on links is reached. The error text is for a log line.
    pub(super) fn admit(&self, address: IpAddr) -> Result<Admitted, String> {
        let mut counts = self.counts();
        let limits = counts.limits;
        let evicted = counts.to_evict(address);
        let of_address = counts.links_of_address.get(&address).copied().unwrap_or(0);
        // If the new caller evicts another caller, the evicted caller frees a link. So the new
        // caller is admitted even if all links are in use. Otherwise silent callers could keep
        // tasks out.
        if evicted.is_none() && of_address >= limits.links_of_address {
            return Err(format!(
                "{of_address} links from its address are open, which is the limit"
            ));
        }
        if evicted.is_none() && counts.n_links >= limits.links {
            return Err(format!("{} links are open, which is the limit", counts.n_links));
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

    /// Records that a caller has sent its first message or has left. The caller can no longer be
    /// evicted.
    pub(super) fn settle(&self, caller: CallerId) {
        self.counts().half_open.remove(&caller);
    }

    fn counts(&self) -> MutexGuard<'_, CallerCounts> {
        self.0.lock().expect("no code panics while it holds the lock")
    }
}

impl CallerCounts {
    /// Returns the caller to evict if a new caller from `address` would exceed a limit on callers
    /// without a first message.
    fn to_evict(&self, address: IpAddr) -> Option<CallerId> {
        // The limit of the address is checked first. So a flood from one address evicts callers of
        // that address, not callers of other addresses. The numbers of callers ascend, so the first
        // caller is the oldest.
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
            // Empty entries are removed. Otherwise the map would grow without limit if callers come
            // from many addresses.
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

    /// Returns the admission of a process that may have 1,024 files open.
    fn usual() -> Admission {
        Admission::new(AdmissionLimits::within(1024))
    }

    #[test]
    fn connection_limits_leave_open_files_for_other_purposes() {
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
    fn cluster_with_more_callers_than_links_is_refused_with_a_remedy() {
        let check = |files, n_callers| AdmissionLimits::within(files).check(n_callers);
        assert_eq!(check(1024, 960), Ok(()));
        let few_files = check(1024, 1000).unwrap_err();
        assert_eq!(
            few_files,
            "1000 tasks call this task, which can accept 960: raise its limit of open files, as \
             with `ulimit -n 1064` or LimitNOFILE= of systemd"
        );
        let too_large = check(u64::MAX, 5000).unwrap_err();
        assert!(too_large.ends_with("a cluster has at most 4032 tasks that call one ps"));
    }

    fn address(number: usize) -> IpAddr {
        Ipv4Addr::from_bits(u32::try_from(number).unwrap()).into()
    }

    /// Admits a caller that sends its first message at once.
    fn greeted(admission: &Admission, from: usize) -> Result<Permit, String> {
        let admitted = admission.admit(address(from))?;
        assert_eq!(admitted.evicted, None);
        admission.settle(admitted.caller);
        Ok(admitted.permit)
    }

    #[test]
    fn links_are_limited_per_address_and_in_total() {
        let admission = usual();
        let mut held: Vec<_> = (0..480).map(|_| greeted(&admission, 1).unwrap()).collect();
        let refused = greeted(&admission, 1).unwrap_err();
        assert_eq!(refused, "480 links from its address are open, which is the limit");
        held.extend((0..480).map(|number| greeted(&admission, number + 2).unwrap()));
        let refused = greeted(&admission, 7000).unwrap_err();
        assert_eq!(refused, "960 links are open, which is the limit");
        held.pop();
        held.push(greeted(&admission, 7000).unwrap());
        drop(held);
        let counts = admission.counts();
        assert_eq!((counts.n_links, counts.links_of_address.len()), (0, 0));
    }

    #[test]
    fn oldest_half_open_caller_of_an_address_is_evicted_at_the_limit_of_the_address() {
        let admission = usual();
        let other = admission.admit(address(2)).unwrap();
        let all: Vec<_> = (0..120 + 3).map(|_| admission.admit(address(1)).unwrap()).collect();
        let evicted: Vec<_> = all.iter().filter_map(|admitted| admitted.evicted).collect();
        let oldest: Vec<_> = all[..3].iter().map(|admitted| admitted.caller).collect();
        assert_eq!(evicted, oldest);
        assert!(admission.counts().half_open.contains_key(&other.caller));
    }

    #[test]
    fn oldest_half_open_caller_of_all_is_evicted_at_the_total_limit() {
        let admission = usual();
        let all: Vec<_> =
            (0..=480).map(|number| admission.admit(address(number)).unwrap()).collect();
        let evicted: Vec<_> = all.iter().filter_map(|admitted| admitted.evicted).collect();
        assert_eq!(evicted, [all[0].caller]);
        admission.settle(all[1].caller);
        assert_eq!(admission.admit(address(9)).unwrap().evicted, None);
    }
}
