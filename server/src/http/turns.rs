//! Turns at work that a node does little of at once: no address has more than one, and those that wait
//! get theirs in the order in which they came.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::limits::TURNS_OF_ONE_MAX;
use super::places::Source;

/// Turns at one kind of work.
pub(super) struct Turns {
    all: Arc<Semaphore>,
    patience: Duration,
    sources: Mutex<BTreeMap<Source, Own>>,
}

/// The requests of one address.
struct Own {
    turn: Arc<Semaphore>,
    count: usize,
}

/// A request that has its turn or waits for it.
struct Ticket {
    turns: Arc<Turns>,
    source: Source,
}

/// A turn; it ends when this is dropped.
pub(super) struct Turn {
    // Both permits go before the ticket.
    _permits: (OwnedSemaphorePermit, OwnedSemaphorePermit),
    _ticket: Ticket,
}

impl Turns {
    /// `at_once` turns at a time; nobody waits for longer than `patience`.
    pub(super) fn new(at_once: usize, patience: Duration) -> Arc<Self> {
        Arc::new(Self {
            all: Arc::new(Semaphore::new(at_once)),
            patience,
            sources: Mutex::default(),
        })
    }

    /// Waits for the turn of a request from `source`; none if it comes to no turn.
    pub(super) async fn take(self: &Arc<Self>, source: Source) -> Option<Turn> {
        let (ticket, own) = self.come(source)?;
        let all = Arc::clone(&self.all);
        let permits = async move {
            let own = own.acquire_owned().await.ok()?;
            Some((all.acquire_owned().await.ok()?, own))
        };
        let permits = timeout(self.patience, permits).await.ok()??;
        Some(Turn {
            _permits: permits,
            _ticket: ticket,
        })
    }

    fn come(self: &Arc<Self>, source: Source) -> Option<(Ticket, Arc<Semaphore>)> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let own = sources.entry(source).or_insert_with(|| Own {
            turn: Arc::new(Semaphore::new(1)),
            count: 0,
        });
        if own.count >= TURNS_OF_ONE_MAX {
            return None;
        }
        own.count += 1;
        let ticket = Ticket {
            turns: Arc::clone(self),
            source,
        };
        Some((ticket, Arc::clone(&own.turn)))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let sources = self.turns.sources.lock();
        let mut sources = sources.unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = sources.get_mut(&self.source) {
            own.count -= 1;
            if own.count == 0 {
                sources.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    fn source(last: u8) -> Source {
        Source::of(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)))
    }

    /// Two requests of one client held both places of dry runs, and everybody else was refused.
    #[tokio::test]
    async fn one_address_never_has_all_turns() {
        let turns = Turns::new(2, Duration::from_secs(20));
        let first = turns.take(source(1)).await;
        assert!(first.is_some());
        let second = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move { turns.take(source(1)).await }
        });
        tokio::task::yield_now().await;
        let other = turns.take(source(2)).await;
        assert!(other.is_some(), "the other place is for others");
        assert!(!second.is_finished());
        drop(first);
        assert!(second.await.is_ok_and(|turn| turn.is_some()));
    }

    #[tokio::test]
    async fn who_waits_too_long_or_asks_for_too_much_is_refused() {
        let turns = Turns::new(1, Duration::from_millis(200));
        let held = turns.take(source(1)).await;
        assert!(turns.take(source(2)).await.is_none());
        let waiting = (0..TURNS_OF_ONE_MAX + 1).map(|_| turns.take(source(3)));
        let waited = futures_util::future::join_all(waiting).await;
        assert!(waited.iter().all(Option::is_none));
        drop(held);
        assert!(turns.take(source(3)).await.is_some());
        assert!(turns.sources.lock().is_ok_and(|sources| sources.is_empty()));
    }
}
