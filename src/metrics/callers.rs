//! The connections of callers: how many there may be, and which one makes room for another.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use tokio::task::AbortHandle;

/// Connections at a time: a few scrapers, a few probes and a person, several times over. Each takes
/// a descriptor, of which a process may have 1,024 and its links take up to 960.
const MAX_CALLERS: usize = 32;

/// The connections that were taken, oldest first, until more than [`MAX_CALLERS`] came after them.
#[derive(Debug, Default)]
pub(super) struct Callers(VecDeque<(IpAddr, AbortHandle)>);

impl Callers {
    /// Keeps a new connection. If there are too many then, one is closed.
    pub(super) fn add(&mut self, address: IpAddr, task: AbortHandle) {
        self.0.push_back((address, task));
        self.0.retain(|(_, task)| !task.is_finished());
        if self.0.len() > MAX_CALLERS {
            self.close_one();
        }
    }

    /// Closes the oldest connection of the address that has the most: of a stranger who floods, and
    /// not of a scraper that takes its time.
    pub(super) fn close_one(&mut self) {
        let mut n_of = BTreeMap::<IpAddr, usize>::new();
        self.0.iter().for_each(|(address, _)| *n_of.entry(*address).or_default() += 1);
        let most = n_of.values().max();
        let oldest = self.0.iter().position(|(address, _)| n_of.get(address) == most);
        if let Some((_, task)) = oldest.and_then(|oldest| self.0.remove(oldest)) {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[tokio::test]
    async fn the_oldest_connection_of_the_address_that_has_most_makes_room() {
        let (one, flood) = (Ipv4Addr::from_bits(1), Ipv4Addr::from_bits(2));
        let mut callers = Callers::default();
        let idle = || tokio::spawn(std::future::pending::<()>());
        let first = idle();
        callers.add(one.into(), first.abort_handle());
        let mut others: Vec<_> = (0..MAX_CALLERS + 2).map(|_| idle()).collect();
        others.iter().for_each(|task| callers.add(flood.into(), task.abort_handle()));
        for evicted in others.drain(..3) {
            assert!(evicted.await.expect_err("it was closed").is_cancelled());
        }
        tokio::task::yield_now().await;
        assert!(!first.is_finished() && others.iter().all(|task| !task.is_finished()));
        assert_eq!(callers.0.len(), MAX_CALLERS);
    }

    #[tokio::test]
    async fn connections_that_have_ended_take_no_room() {
        let mut callers = Callers::default();
        for _ in 0..2 * MAX_CALLERS {
            let task = tokio::spawn(async {});
            let handle = task.abort_handle();
            task.await.expect("it ends");
            callers.add(Ipv4Addr::LOCALHOST.into(), handle);
        }
        assert_eq!(callers.0.len(), 0);
        callers.close_one();
    }
}
