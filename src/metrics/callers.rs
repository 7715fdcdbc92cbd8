//! Limits the number of connections to the metrics port, and chooses which connection to close.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use tokio::task::AbortHandle;

/// The maximum number of connections at a time: several times the usual number of scrapers, probes
/// and people. These connections are part of the 64 files that a task reserves for purposes other
/// than links.
const MAX_CALLERS: usize = 32;

/// The open connections, oldest first.
#[derive(Debug, Default)]
pub(super) struct Callers(VecDeque<(IpAddr, AbortHandle)>);

impl Callers {
    /// Adds a connection. If the number of connections then exceeds [`MAX_CALLERS`], closes one
    /// connection.
    pub(super) fn add(&mut self, address: IpAddr, task: AbortHandle) {
        self.0.push_back((address, task));
        // Finished connections are removed here, because no event reports their end.
        self.0.retain(|(_, task)| !task.is_finished());
        if self.0.len() > MAX_CALLERS {
            self.close_one();
        }
    }

    /// Closes the oldest connection of the address that has the most connections.
    pub(super) fn close_one(&mut self) {
        // An address that floods the port loses its own connections. A slow scraper keeps its only
        // connection.
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
    async fn oldest_connection_of_the_address_with_the_most_is_closed() {
        let (one, flood) = (Ipv4Addr::from_bits(1), Ipv4Addr::from_bits(2));
        let mut callers = Callers::default();
        let idle = || tokio::spawn(std::future::pending::<()>());
        let first = idle();
        callers.add(one.into(), first.abort_handle());
        let mut others: Vec<_> = (0..MAX_CALLERS + 2).map(|_| idle()).collect();
        others.iter().for_each(|task| callers.add(flood.into(), task.abort_handle()));
        for evicted in others.drain(..3) {
            assert!(evicted.await.expect_err("the connection was closed").is_cancelled());
        }
        tokio::task::yield_now().await;
        assert!(!first.is_finished() && others.iter().all(|task| !task.is_finished()));
        assert_eq!(callers.0.len(), MAX_CALLERS);
    }

    #[tokio::test]
    async fn finished_connections_do_not_count() {
        let mut callers = Callers::default();
        for _ in 0..2 * MAX_CALLERS {
            let task = tokio::spawn(async {});
            let handle = task.abort_handle();
            task.await.expect("the task finishes");
            callers.add(Ipv4Addr::LOCALHOST.into(), handle);
        }
        assert_eq!(callers.0.len(), 0);
        callers.close_one();
    }
}
