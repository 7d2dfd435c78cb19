//! What openraft is instantiated with.

use core::fmt;

use bytes::Bytes;
use minicbor::{Decode, Encode};
use raft3d_core::Outcome;

/// Id of a node. Initial members are numbered from 1 by the operator (below
/// [`JOINED_NODE_ID_MIN`]); a node that joins later gets `JOINED_NODE_ID_MIN` + a log index, so
/// an id is never given twice.
pub type NodeId = u64;

/// Ids from here on are made from log indexes.
pub const JOINED_NODE_ID_MIN: NodeId = 1_000;

openraft::declare_raft_types!(
    /// Raft3D's instantiation of openraft.
    pub TypeConfig:
        D = Proposal,
        R = Applied,
        NodeId = NodeId,
        Node = Member,
        AsyncRuntime = crate::runtime::Runtime,
);

/// The random identity of one data folder, made when the folder is made. A folder that was wiped
/// comes back with another one, and is refused under its old node id.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Incarnation(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 16]);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Incarnation({self})")
    }
}

/// One start of a process: random, made when the node starts. Two processes that run with copies of
/// one data folder have the same incarnation, and differ in this.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(transparent)]
pub struct Run(#[cbor(n(0), with = "minicbor::bytes")] pub [u8; 16]);

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Run({})", hex::encode(self.0))
    }
}

/// What the membership records of a node.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Member {
    /// Where its peers reach it, `host:port`.
    #[n(0)]
    pub peer_addr: String,
    /// Where clients reach it, `host:port`.
    #[n(1)]
    pub http_addr: String,
    /// Its data folder.
    #[n(2)]
    pub incarnation: Incarnation,
}

/// A member that nobody reaches (RFC 2606, 2), for openraft's own tests of a log.
impl Default for Member {
    fn default() -> Self {
        Self {
            peer_addr: "nowhere.invalid:1".to_owned(),
            http_addr: "nowhere.invalid:2".to_owned(),
            incarnation: Incarnation::default(),
        }
    }
}

/// A log entry's payload: an encoded [`Envelope`](raft3d_core::Envelope), encoded once by the
/// leader and carried as bytes through log and network until apply decodes it.
#[derive(Clone, PartialEq, Eq)]
pub struct Proposal(pub Bytes);

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "proposal of {} bytes", self.0.len())
    }
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What apply answers openraft: the outcome of a command; none for blank and membership entries.
pub type Applied = Option<Outcome>;

/// A Raft term's leader.
pub type LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, NodeId>;
/// Where an entry stands in the log.
pub type LogId = openraft::LogId<LeaderId>;
/// A log entry's payload.
pub type EntryPayload = openraft::EntryPayload<Proposal, NodeId, Member>;
/// A log entry.
pub type Entry = openraft::Entry<LeaderId, EntryPayload>;
/// A vote.
pub type Vote = openraft::impls::Vote<LeaderId>;
/// Voters and learners.
pub type Membership = openraft::Membership<NodeId, Member>;
/// A membership with the log id that made it so.
pub type StoredMembership = openraft::StoredMembership<LeaderId, NodeId, Member>;
