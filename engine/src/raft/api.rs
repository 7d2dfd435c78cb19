//! What the node offers to whoever serves clients. The server knows these types and
//! `Node`, and nothing of openraft.

use std::time::Duration;

use minicbor::{Decode, Encode};
use raft3d_core::command::{Actor, Command, DeniedEntry};
use raft3d_core::state::digest::Digest;
use raft3d_core::{ClusterId, Epochs, RequestId, Response, Revision};
use thiserror::Error;

pub use super::disk::DiskStatus;
use super::encoding;
pub use super::time::{ClockEvidence, ClockStatus};
use super::types::{Incarnation, Member, NodeId};

/// A write to make.
#[derive(Clone, Debug)]
pub struct WriteRequest {
    /// What to do.
    pub command: Command,
    /// What the client asked for, if the command says more than that (it holds what a look at the
    /// state or at this node found): a retry finds something else, and is the same request.
    pub asked: Option<Vec<u8>>,
    /// Who asks.
    pub actor: Actor,
    /// The client's `Idempotency-Key`; the node mints an id where it is left out.
    pub idempotency_key: Option<RequestId>,
    /// How long the caller waits; at most `DEADLINE_MS_MAX`.
    pub timeout: Duration,
}

impl WriteRequest {
    /// The hash by which a retry is told from another request: BLAKE3 over what the client asked
    /// for, or over the command's encoding if that says the same.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        let hash = match &self.asked {
            Some(asked) => blake3::hash(asked),
            None => blake3::hash(&encoding::to_vec(&self.command)),
        };
        *hash.as_bytes()
    }
}

/// What a write came to, wherever it was proposed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct WriteOutcome {
    /// Log index of the entry that did it.
    #[n(0)]
    pub revision: Revision,
    /// Whether it is the stored answer to an earlier try.
    #[n(1)]
    pub replayed: bool,
    /// For the client.
    #[n(2)]
    pub response: Response,
    /// As in [`Outcome`](raft3d_core::Outcome).
    #[n(40)]
    pub certain_since_ms: Option<u64>,
}

/// Why a write has no outcome.
#[derive(Clone, Debug, PartialEq, Eq, Error, Encode, Decode)]
pub enum WriteError {
    /// Certainly not done: no leader was found in time. Safe to retry.
    #[error("no leader was reachable within the request's deadline; nothing was written")]
    #[n(0)]
    NoLeader,
    /// Perhaps done. Retrying under the same id gets the true outcome.
    #[error("the outcome is unknown; retry with request id {request_id} to learn it")]
    #[n(1)]
    OutcomeUnknown {
        /// The id to retry under.
        #[n(0)]
        request_id: RequestId,
    },
    /// Certainly not done: a queue is full. Safe to retry later.
    #[error("too many requests are waiting; nothing was written")]
    #[n(2)]
    Overloaded,
    /// Certainly not done: this node does not serve.
    #[error("this node does not serve: {reason}")]
    #[n(3)]
    Unavailable {
        /// Why, and what to do.
        #[n(0)]
        reason: String,
    },
    /// Certainly not done: no log entry may be so large. Trying again does not help.
    #[error("the request makes a log entry of {bytes} bytes; at most {bytes_max} are taken")]
    #[n(4)]
    TooLarge {
        /// Size of the entry.
        #[n(0)]
        bytes: usize,
        /// Largest one that is taken.
        #[n(1)]
        bytes_max: usize,
    },
    /// Certainly not done: an alarm of the cluster stops all writes until an operator has acted.
    #[error("writes are stopped, and nothing was written: {reason}")]
    #[n(35)]
    Stopped {
        /// The alarm, and the way out.
        #[n(0)]
        reason: String,
    },
    /// Certainly not done: the leader takes no writes for now. Safe to retry.
    #[error("the cluster takes no writes for now: {reason}")]
    #[n(30)]
    Paused {
        /// Why, and what to do.
        #[n(0)]
        reason: String,
    },
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// Sees every write acknowledged before the read began (read index; Raft thesis, 6.4).
    #[default]
    Linearizable,
    /// What this replica has, with its revision.
    Stale,
}

/// How to read.
#[derive(Clone, Copy, Debug)]
pub struct ReadOptions {
    /// How fresh.
    pub consistency: Consistency,
    /// Waits until this replica has applied at least this revision.
    pub min_revision: Option<Revision>,
    /// How long to wait.
    pub timeout: Duration,
}

/// Why a read has no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    /// No leader confirmed the read in time.
    #[error("no leader confirmed the read within its deadline")]
    NoLeader,
    /// The revision asked for was not reached in time.
    #[error("this replica has applied revision {applied} and not yet {wanted}")]
    Behind {
        /// Where it is.
        applied: Revision,
        /// What was asked for.
        wanted: Revision,
    },
    /// This node does not serve.
    #[error("this node does not serve: {reason}")]
    Unavailable {
        /// Why, and what to do.
        reason: String,
    },
}

/// A node's part in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Role {
    /// Takes writes: a majority of the voters followed it a moment ago.
    #[n(0)]
    Leader,
    /// Votes.
    #[n(1)]
    Follower,
    /// Asks for votes, or leads and has not had a majority's word for too long.
    #[n(2)]
    Candidate,
    /// Follows without a vote.
    #[n(3)]
    Learner,
    /// Stopped by a fault, or shut down.
    #[n(4)]
    Stopped,
}

/// One node, as it sees itself.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct NodeStatus {
    /// Id.
    #[n(0)]
    pub node_id: NodeId,
    /// Its data folder.
    #[n(1)]
    pub incarnation: Incarnation,
    /// Role.
    #[n(2)]
    pub role: Role,
    /// The leader; none where it has lost touch with the one that it knew.
    #[n(3)]
    pub leader: Option<NodeId>,
    /// Raft term.
    #[n(4)]
    pub term: u64,
    /// Last log index.
    #[n(5)]
    pub last_log_index: u64,
    /// Last applied log index.
    #[n(6)]
    pub applied: Revision,
    /// Digest of the state at `applied`.
    #[n(7)]
    pub digest: Digest,
    /// Log index of the newest snapshot; 0 where there is none.
    #[n(8)]
    pub snapshot_index: u64,
    /// Log index up to which the log is purged.
    #[n(9)]
    pub purged_index: u64,
    /// Version of the program.
    #[n(10)]
    pub version: String,
    /// Engine epoch in force after what it has applied; 0 before the bootstrap.
    #[n(11)]
    pub engine_epoch: u32,
    /// Why it does not serve; none where it does.
    #[n(12)]
    pub not_ready: Option<String>,
    /// Oldest engine epoch that its program supports.
    #[n(13)]
    pub engine_epoch_oldest: u32,
    /// Newest engine epoch that its program supports.
    #[n(14)]
    pub engine_epoch_newest: u32,
    /// What an operator has to look at although it serves.
    #[n(20)]
    pub warnings: Vec<String>,
    /// The log entries that it denies, by index.
    #[n(35)]
    pub denied: Vec<DeniedStatus>,
    /// Its clock beside the log's.
    #[n(30)]
    pub clock: ClockStatus,
    /// Its disk.
    #[n(32)]
    pub disk: DiskStatus,
}

/// An entry that a node denies.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DeniedStatus {
    /// The entry.
    #[n(0)]
    pub entry: DeniedEntry,
    /// Whether the log records it, so that every node does.
    #[n(1)]
    pub recorded: bool,
}

impl NodeStatus {
    /// The engine epochs that its program supports.
    #[must_use]
    pub const fn epochs(&self) -> Epochs {
        Epochs {
            oldest: self.engine_epoch_oldest,
            newest: self.engine_epoch_newest,
        }
    }
}

/// A member as the membership records it, with its own word where it answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Id.
    pub node_id: NodeId,
    /// Addresses and incarnation.
    pub member: Member,
    /// Whether it votes.
    pub voter: bool,
    /// What it says of itself, or why it did not answer.
    pub status: Result<NodeStatus, String>,
}

/// The cluster as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterStatus {
    /// Identity; none before the bootstrap.
    pub cluster_id: Option<ClusterId>,
    /// Leader.
    pub leader: Option<NodeId>,
    /// Log index of the membership in force: what a change of it compares with.
    pub membership_revision: u64,
    /// Members by id.
    pub members: Vec<MemberStatus>,
}

/// Why a change of the membership was not made.
#[derive(Clone, Debug, PartialEq, Eq, Error, Encode, Decode)]
pub enum MembershipError {
    /// The membership is not the one that was expected.
    #[error("the membership is at revision {actual}, not {expected}")]
    #[n(0)]
    RevisionMismatch {
        /// In force.
        #[n(0)]
        actual: u64,
        /// Expected.
        #[n(1)]
        expected: u64,
    },
    /// No such member.
    #[error("there is no member {node_id}")]
    #[n(1)]
    UnknownMember {
        /// Which.
        #[n(0)]
        node_id: NodeId,
    },
    /// The change is not possible now.
    #[error("{reason}")]
    #[n(2)]
    Refused {
        /// Why, and what to do.
        #[n(0)]
        reason: String,
    },
    /// No leader was reachable.
    #[error("no leader was reachable")]
    #[n(3)]
    NoLeader,
}
