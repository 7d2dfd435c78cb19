//! The seam between the engine and whatever carries bytes between nodes.
//!
//! The engine encodes its messages ([`message`](super::message)) and hands bytes to a
//! [`Transport`]; the other side's transport hands them to its [`PeerService`]. The server
//! implements the seam over TCP (`server/src/peer`), tests implement it over channels.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use minicbor::{Decode, Encode};
use raft3d_core::ClusterId;
use thiserror::Error;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::types::{Incarnation, NodeId, Run};

/// Version of everything that peers say to one another; a peer of another version is refused.
pub const PROTOCOL_VERSION: u16 = 6;

/// Largest body of one request or response, in bytes. Above the largest log entry
/// ([`ENTRY_BYTES_MAX`](crate::bounds::ENTRY_BYTES_MAX)) with its surroundings.
pub const BODY_BYTES_MAX: usize = 6 * 1024 * 1024;

/// Kinds of traffic that must not block one another: each has connections of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Channel {
    /// Votes, heartbeats, read index, status: small and urgent.
    #[n(0)]
    Control,
    /// Log entries, in order, several in flight.
    #[n(1)]
    Log,
    /// Snapshots: large and patient.
    #[n(2)]
    Bulk,
    /// Client writes and membership changes on their way to the leader.
    #[n(3)]
    Forward,
}

/// A node as one side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(map)]
pub struct Party {
    /// Id; none before the node has one.
    #[n(0)]
    pub node_id: Option<NodeId>,
    /// Data folder; none where the dialer does not know the other's yet.
    #[n(1)]
    pub incarnation: Option<Incarnation>,
    /// The process; none where the dialer does not know the other's, or has not started Raft.
    #[n(20)]
    pub run: Option<Run>,
}

/// What the dialer says first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(map)]
pub struct Hello {
    /// [`PROTOCOL_VERSION`].
    #[n(0)]
    pub protocol: u16,
    /// What the connection is for.
    #[n(1)]
    pub channel: Channel,
    /// The cluster that the dialer belongs to; none before its bootstrap.
    #[n(2)]
    pub cluster_id: Option<ClusterId>,
    /// The dialer.
    #[n(3)]
    pub from: Party,
    /// Whom it expects to reach; all none where it only looks for some member.
    #[n(4)]
    pub to: Party,
}

/// What the other side answers when it takes the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Welcome {
    /// The cluster that it belongs to; none before its bootstrap.
    #[n(0)]
    pub cluster_id: Option<ClusterId>,
    /// Who it is.
    #[n(1)]
    pub party: Party,
}

/// Why a connection is refused. The numbers are part of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Error, Encode, Decode)]
pub enum Refusal {
    /// Another protocol version.
    #[error("it speaks peer protocol {theirs}, and this node {ours}: run the same version")]
    #[n(0)]
    Protocol {
        /// The refusing side's.
        #[n(0)]
        theirs: u16,
        /// The refused side's.
        #[n(1)]
        ours: u16,
    },
    /// Another cluster.
    #[error("it belongs to another cluster ({theirs})")]
    #[n(1)]
    OtherCluster {
        /// The refusing side's.
        #[n(0)]
        theirs: ClusterId,
    },
    /// The address belongs to another node.
    #[error("it is node {actual:?}, not node {expected}")]
    #[n(2)]
    OtherNode {
        /// Who was expected.
        #[n(0)]
        expected: NodeId,
        /// Who answered.
        #[n(1)]
        actual: Option<NodeId>,
    },
    /// The id is known with another data folder: its disk was wiped or exchanged.
    #[error(
        "this folder is not the one that member {node_id} had: start it with --join under a new id"
    )]
    #[n(3)]
    OtherFolder {
        /// Whose folder it is not.
        #[n(0)]
        node_id: NodeId,
    },
    /// The node is stopping or has failed.
    #[error("it does not serve: {reason}")]
    #[n(4)]
    NotServing {
        /// Why.
        #[n(0)]
        reason: String,
    },
    /// Another process runs with the same data folder, and was there before.
    #[error(
        "another process runs with a copy of the data folder of member {node_id}, and was there \
         before this one: stop one of them, and start the other with --join and an empty folder \
         where it is to be a node of its own"
    )]
    #[n(20)]
    RunsTwice {
        /// Whose folder it is.
        #[n(0)]
        node_id: NodeId,
    },
}

impl Hello {
    /// The dialer's half of the mutual check: whoever answers must be who was expected.
    ///
    /// # Errors
    /// Why the dialer drops the connection.
    pub fn check(&self, welcome: &Welcome) -> Result<(), Refusal> {
        if let (Some(ours), Some(theirs)) = (self.cluster_id, welcome.cluster_id)
            && ours != theirs
        {
            return Err(Refusal::OtherCluster { theirs });
        }
        let Some(expected) = self.to.node_id else {
            return Ok(());
        };
        if welcome.party.node_id != Some(expected) {
            let actual = welcome.party.node_id;
            return Err(Refusal::OtherNode { expected, actual });
        }
        if self.to.incarnation.is_some() && self.to.incarnation != welcome.party.incarnation {
            return Err(Refusal::OtherFolder { node_id: expected });
        }
        Ok(())
    }
}

/// Where to, and as whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Route {
    /// `host:port`.
    pub addr: String,
    /// The handshake of a connection that has to be made. Connections are shared by equal routes.
    pub hello: Hello,
}

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TransportError {
    /// Nobody there. The request was certainly not sent.
    #[error("{addr} cannot be reached: {reason}")]
    Unreachable {
        /// Where.
        addr: String,
        /// What the system says.
        reason: String,
    },
    /// The other side, or this one, refused the connection. The request was certainly not sent.
    #[error("the connection to {addr} was refused: {refusal}")]
    Refused {
        /// Where.
        addr: String,
        /// Why.
        refusal: Refusal,
    },
    /// The request is larger than [`BODY_BYTES_MAX`]; not sent.
    #[error("a request of {bytes} bytes is larger than a frame may be")]
    TooLarge {
        /// Size.
        bytes: usize,
    },
    /// Too many requests wait for this peer; not sent.
    #[error("the queue to {addr} is full")]
    Full {
        /// Where.
        addr: String,
    },
    /// The connection was lost; the request may have been done.
    #[error("the connection to {addr} was lost: {reason}")]
    Lost {
        /// Where.
        addr: String,
        /// What happened.
        reason: String,
    },
    /// No answer in time; the request may have been done.
    #[error("{addr} did not answer within {timeout_ms} ms")]
    Timeout {
        /// Where.
        addr: String,
        /// How long was waited, in milliseconds.
        timeout_ms: u64,
    },
}

impl TransportError {
    /// Whether the other side certainly never saw the request.
    #[must_use]
    pub fn never_sent(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::Refused { .. }
            | Self::TooLarge { .. }
            | Self::Full { .. } => true,
            Self::Lost { .. } | Self::Timeout { .. } => false,
        }
    }
}

/// Sends requests to peers.
pub trait Transport: Send + Sync + 'static {
    /// Sends `body` over the route's channel and waits for the answer. Calls over one route are
    /// handed to the other side in the order in which they were made, and may be answered out of
    /// order. Dropping the future gives the answer up, not the request.
    fn call(
        &self,
        route: Route,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>>;
}

/// Waits for the answer to a call that was handed to the task of a connection.
///
/// # Errors
/// What that task answered; [`TransportError::Lost`] where it ended, [`TransportError::Timeout`]
/// where it said nothing within `wait`.
pub async fn answer_within(
    wait: Duration,
    answered: oneshot::Receiver<Result<Bytes, TransportError>>,
    addr: String,
) -> Result<Bytes, TransportError> {
    match timeout(wait, answered).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => {
            let reason = "the connection's task ended".to_owned();
            Err(TransportError::Lost { addr, reason })
        }
        Err(_) => {
            let timeout_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            Err(TransportError::Timeout { addr, timeout_ms })
        }
    }
}

/// Answers peers.
pub trait PeerService: Send + Sync + 'static {
    /// Judges a connection before anything else is read from it.
    ///
    /// # Errors
    /// Why it is refused; the dialer is told.
    fn greet(&self, hello: &Hello) -> Result<Welcome, Refusal>;

    /// Whether the dialer is a member of the cluster, as far as this node knows: those have places
    /// of their own among the connections.
    fn is_member(&self, hello: &Hello) -> bool;

    /// Handles one request of a connection that was greeted. None where the bytes are not a
    /// request: the connection is to be closed.
    fn handle(&self, hello: Hello, body: Bytes) -> BoxFuture<'static, Option<Bytes>>;

    /// A connection that was greeted with a welcome is closed.
    fn gone(&self, _hello: &Hello) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(to: Party) -> Hello {
        Hello {
            protocol: PROTOCOL_VERSION,
            channel: Channel::Control,
            cluster_id: Some(ClusterId([1; 16])),
            from: party(1),
            to,
        }
    }

    fn party(id: u8) -> Party {
        Party {
            node_id: Some(u64::from(id)),
            incarnation: Some(Incarnation([id; 16])),
            run: None,
        }
    }

    #[test]
    fn the_dialer_checks_who_answers() {
        let welcome = |id| Welcome {
            cluster_id: Some(ClusterId([1; 16])),
            party: party(id),
        };
        assert_eq!(hello(party(2)).check(&welcome(2)), Ok(()));
        let other = Refusal::OtherNode {
            expected: 2,
            actual: Some(3),
        };
        assert_eq!(hello(party(2)).check(&welcome(3)), Err(other));

        let wiped = Party {
            incarnation: Some(Incarnation([9; 16])),
            ..party(2)
        };
        let wiped = Welcome {
            party: wiped,
            ..welcome(2)
        };
        let refusal = Refusal::OtherFolder { node_id: 2 };
        assert_eq!(hello(party(2)).check(&wiped), Err(refusal));

        let anybody = Party {
            node_id: None,
            incarnation: None,
            run: None,
        };
        assert_eq!(hello(anybody).check(&wiped), Ok(()));
        let theirs = ClusterId([2; 16]);
        let elsewhere = Welcome {
            cluster_id: Some(theirs),
            ..welcome(2)
        };
        assert_eq!(
            hello(anybody).check(&elsewhere),
            Err(Refusal::OtherCluster { theirs })
        );
    }
}
