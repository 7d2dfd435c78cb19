//! Places for connections, shared between the addresses that they come from.
//!
//! Nobody waits for a place: whoever comes gets one as long as its address does not hold most of them.
//! One address has seven eighths of the places at the most. If it has that many, or all places are taken
//! and it holds most, its connection that was idle longest goes for the new one; if none is idle, the
//! new one is refused (429). If another address holds most, that one gives up a connection: the one that
//! was idle longest, or else the one whose request has taken longest.
//!
//! HTTP/1.1 has one request under way on a connection, so this bounds the requests and writes in flight
//! of an address as well.
//!
//! A reverse proxy is one address. It may hold seven eighths, and its own limits have to keep its
//! clients apart. Of IPv6, 64 bits count as one address: so much is given to one customer.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use tokio::sync::oneshot;

use super::limits::{CONNECTION_IDLE_TIME_MIN, CONNECTIONS_MAX, CONNECTIONS_OF_ONE_MAX};

/// Where a connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Source(IpAddr);

impl Source {
    /// Requests that came over no connection, as in tests.
    const NONE: Self = Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    /// The bits of an IPv6 address that tell a customer from another one.
    const NETWORK: u128 = u128::MAX << 64;

    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) if !v6.is_loopback() => {
                let network = v6.to_bits() & Self::NETWORK;
                Self(IpAddr::V6(Ipv6Addr::from_bits(network)))
            }
            other => Self(other),
        }
    }
}

/// All connections of a listener.
pub(super) struct Places {
    started: Instant,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    next: u64,
    count: usize,
    by_source: BTreeMap<Source, BTreeMap<u64, Held>>,
    refused: u64,
    displaced: u64,
}

struct Held {
    place: Arc<Place>,
    /// Dropped when the connection has to go.
    _stay: oneshot::Sender<()>,
}

/// What a connection does.
struct Place {
    started: Instant,
    is_busy: AtomicBool,
    /// Since when, milliseconds after `started`.
    since_ms: AtomicU64,
}

/// What is shown of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Figures {
    /// Connections now.
    pub(super) connections: usize,
    /// Addresses that they come from.
    pub(super) addresses: usize,
    /// Connections of the address that has most.
    pub(super) most_of_one: usize,
    /// Connections that were refused, since the start.
    pub(super) refused: u64,
    /// Connections that had to go for others, since the start.
    pub(super) displaced: u64,
}

fn ms_since(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl Place {
    fn turns(&self, busy: bool) {
        self.since_ms
            .store(ms_since(self.started), Ordering::Relaxed);
        self.is_busy.store(busy, Ordering::Relaxed);
    }

    /// Whether it is busy, and since when.
    fn state(&self) -> (bool, u64) {
        (
            self.is_busy.load(Ordering::Relaxed),
            self.since_ms.load(Ordering::Relaxed),
        )
    }
}

impl Taken {
    fn held(&self, source: Source) -> usize {
        self.by_source.get(&source).map_or(0, BTreeMap::len)
    }

    /// The source that has most, with one more of `newcomer`.
    fn largest(&self, newcomer: Source) -> Source {
        let sizes = self.by_source.iter().map(|(source, held)| {
            let is_new = *source == newcomer;
            (held.len() + usize::from(is_new), is_new, *source)
        });
        sizes.max().map_or(newcomer, |(_, _, source)| source)
    }

    /// Lets a connection of `source` go. False if none of them should.
    fn let_one_go(&mut self, source: Source, for_its_own: bool, now_ms: u64) -> bool {
        let Some(held) = self.by_source.get(&source) else {
            return false;
        };
        let states = held.iter().map(|(number, it)| (it.place.state(), *number));
        // Idle ones come first, then those that began earlier.
        let Some(((busy, since_ms), number)) = states.min() else {
            return false;
        };
        let idle_ms = now_ms.saturating_sub(since_ms);
        let rests = !busy && u128::from(idle_ms) >= CONNECTION_IDLE_TIME_MIN.as_millis();
        if for_its_own && !rests {
            return false;
        }
        self.remove(source, number);
        self.displaced += 1;
        true
    }

    fn remove(&mut self, source: Source, number: u64) {
        let Some(held) = self.by_source.get_mut(&source) else {
            return;
        };
        if held.remove(&number).is_some() {
            self.count -= 1;
        }
        if held.is_empty() {
            self.by_source.remove(&source);
        }
    }
}

impl Places {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            taken: Mutex::default(),
        })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection from `address`; none if it is refused. What comes with the place ends
    /// when the connection has to go.
    pub(super) fn enter(
        self: &Arc<Self>,
        address: IpAddr,
    ) -> Option<(Seat, oneshot::Receiver<()>)> {
        let source = Source::of(address);
        let now_ms = ms_since(self.started);
        let mut taken = self.taken();
        let gives_way = if taken.held(source) >= CONNECTIONS_OF_ONE_MAX {
            Some(source)
        } else if taken.count >= CONNECTIONS_MAX {
            Some(taken.largest(source))
        } else {
            None
        };
        if let Some(other) = gives_way
            && !taken.let_one_go(other, other == source, now_ms)
        {
            taken.refused += 1;
            return None;
        }
        let (stay, must_go) = oneshot::channel();
        let place = Arc::new(Place {
            started: self.started,
            is_busy: AtomicBool::new(false),
            since_ms: AtomicU64::new(now_ms),
        });
        let number = taken.next;
        taken.next += 1;
        taken.count += 1;
        let held = Held {
            place: Arc::clone(&place),
            _stay: stay,
        };
        taken
            .by_source
            .entry(source)
            .or_default()
            .insert(number, held);
        let seat = Seat {
            places: Arc::clone(self),
            source,
            number,
            place,
        };
        Some((seat, must_go))
    }

    pub(super) fn figures(&self) -> Figures {
        let taken = self.taken();
        Figures {
            connections: taken.count,
            addresses: taken.by_source.len(),
            most_of_one: taken
                .by_source
                .values()
                .map(BTreeMap::len)
                .max()
                .unwrap_or(0),
            refused: taken.refused,
            displaced: taken.displaced,
        }
    }
}

/// A connection's place; given back when it is dropped.
pub(super) struct Seat {
    places: Arc<Places>,
    source: Source,
    number: u64,
    place: Arc<Place>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.places.taken().remove(self.source, self.number);
    }
}

impl Seat {
    /// A request begins; it ends when what is answered is dropped.
    pub(super) fn begin(&self) -> Busy {
        self.place.turns(true);
        Busy(Arc::clone(&self.place))
    }

    /// What requests of this connection are told of it.
    pub(super) fn guest(&self) -> Guest {
        Guest {
            source: self.source,
            places: Arc::clone(&self.places),
        }
    }
}

/// A request that is under way.
pub(super) struct Busy(Arc<Place>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.turns(false);
    }
}

/// The connection that a request came over.
#[derive(Clone)]
pub(super) struct Guest {
    source: Source,
    places: Arc<Places>,
}

/// Who sends a request, as far as the network tells.
pub(super) struct Sender(Option<Guest>);

impl Sender {
    pub(super) fn source(&self) -> Source {
        self.0.as_ref().map_or(Source::NONE, |guest| guest.source)
    }

    pub(super) fn figures(&self) -> Figures {
        let places = self.0.as_ref().map(|guest| guest.places.figures());
        places.unwrap_or_default()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Sender {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(parts.extensions.get::<Guest>().cloned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_customers_addresses_are_one_source() {
        let of = |text: &str| Source::of(text.parse().unwrap_or(IpAddr::V4(Ipv4Addr::BROADCAST)));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("::1"), of("::2"));
    }

    #[test]
    fn the_one_that_was_idle_longest_goes_and_busy_ones_stay() {
        let places = Places::new();
        let from = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut seats: Vec<_> = (0..CONNECTIONS_OF_ONE_MAX)
            .filter_map(|_| places.enter(from))
            .collect();
        assert_eq!(seats.len(), CONNECTIONS_OF_ONE_MAX);
        assert!(places.enter(from).is_none(), "all of them were just made");
        std::thread::sleep(CONNECTION_IDLE_TIME_MIN * 2);
        let busy: Vec<_> = seats.iter().skip(1).map(|(seat, _)| seat.begin()).collect();
        let newer = places.enter(from);
        assert!(newer.is_some());
        let gone: Vec<bool> = seats
            .iter_mut()
            .map(|(_, must_go)| must_go.try_recv() == Err(oneshot::error::TryRecvError::Closed))
            .collect();
        assert!(gone.first().is_some_and(|gone| *gone));
        assert_eq!(gone.iter().filter(|gone| **gone).count(), 1);
        assert!(places.enter(from).is_none(), "the others are busy");
        drop((busy, newer, seats));
        assert_eq!(places.figures().connections, 0);
    }
}
