//! Tells the log when a peer does not answer, once, and when it does again.

use std::time::Duration;

use raft3d_engine::raft::transport::{Channel, Route, TransportError};
use tokio::time::Instant;

/// What is over sooner is not told: nodes that are started together find one another one by one.
const TOLD_AFTER: Duration = Duration::from_secs(1);

/// Whether the peer at the other end of a route answers.
#[derive(Default)]
pub(super) struct Outage {
    since: Option<Instant>,
    is_told: bool,
}

impl Outage {
    /// No connection could be made.
    pub(super) fn failed(&mut self, route: &Route, error: &TransportError) {
        let since = *self.since.get_or_insert_with(Instant::now);
        // One of the routes to a peer is enough: that of the leader's heartbeats.
        if self.is_told || route.hello.channel != Channel::Control || since.elapsed() < TOLD_AFTER {
            return;
        }
        self.is_told = true;
        let peer = node(route);
        tracing::warn!(peer, %error, "a peer does not answer; it is asked again all the time");
    }

    /// A connection was made.
    pub(super) fn over(&mut self, route: &Route) {
        if let (Some(since), true) = (self.since, self.is_told) {
            let (peer, seconds) = (node(route), since.elapsed().as_secs());
            tracing::info!(peer, addr = route.addr, seconds, "a peer answers again");
        }
        *self = Self::default();
    }
}

/// The id of the node that is expected there, if any is.
fn node(route: &Route) -> Option<u64> {
    route.hello.to.node_id
}
