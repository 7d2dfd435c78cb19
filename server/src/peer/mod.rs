//! The way to the other nodes: the engine's transport over TCP.
//!
//! A connection begins with [`MAGIC`](raft3d_engine::raft::frame::MAGIC) and the dialer's
//! [`Hello`](raft3d_engine::raft::transport::Hello); the listener answers with a welcome or a
//! refusal. Then frames go both ways: calls from the dialer, answers back, each under its call's
//! id and in any order. There is one connection per peer and channel, made when it is needed and
//! kept; [`dial`] is the calling side, [`listen`] the answering one, [`stream`] what both share.

mod dial;
mod guests;
mod listen;
mod outage;
mod stream;

use std::sync::Arc;

use raft3d_engine::raft::transport::Transport;

pub use listen::serve;

/// The way to the peers.
#[must_use]
pub fn transport() -> Arc<dyn Transport> {
    Arc::new(dial::TcpTransport::default())
}

#[cfg(test)]
mod places_tests;
#[cfg(test)]
mod tests;
