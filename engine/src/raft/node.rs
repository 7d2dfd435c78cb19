//! The node: openraft, its storage and its network behind the calls that the server makes.

use crate::raft::api::{
    ClusterStatus, MembershipError, NodeStatus, ReadError, ReadOptions, WriteError, WriteOutcome,
    WriteRequest,
};
use crate::raft::types::{Member, NodeId};
use crate::storage::state::StateView;

/// A running node. Cheap to clone; all clones are the same node.
#[derive(Clone, Debug)]
pub struct Node {}

impl Node {
    /// Makes a write, wherever the leader is, and waits for its outcome.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn write(&self, _request: WriteRequest) -> Result<WriteOutcome, WriteError> {
        Err(WriteError::NoLeader)
    }

    /// A view of the state to read from.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read(&self, _options: ReadOptions) -> Result<StateView, ReadError> {
        Err(ReadError::NoLeader)
    }

    /// This node, without asking anybody.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        NodeStatus {
            node_id: 0,
            incarnation: crate::raft::Incarnation::default(),
            role: super::api::Role::Stopped,
            leader: None,
            term: 0,
            last_log_index: 0,
            applied: raft3d_core::Revision(0),
            digest: raft3d_core::state::digest::Digest::default(),
            snapshot_index: 0,
            purged_index: 0,
            version: String::new(),
            engine_epoch: 1,
            not_ready: None,
        }
    }

    /// Every member, each asked over the peer connections.
    pub async fn cluster_status(&self) -> ClusterStatus {
        ClusterStatus {
            cluster_id: None,
            leader: None,
            membership_revision: 0,
            members: Vec::new(),
        }
    }

    /// Adds a node as a learner and answers its id. The same incarnation gets the same id again.
    ///
    /// # Errors
    /// See [`MembershipError`].
    pub async fn add_learner(&self, _member: Member) -> Result<NodeId, MembershipError> {
        Err(MembershipError::NoLeader)
    }

    /// Makes a learner a voter, once it has caught up.
    ///
    /// # Errors
    /// See [`MembershipError`].
    pub async fn promote(
        &self,
        _node_id: NodeId,
        _expected_membership: Option<u64>,
    ) -> Result<(), MembershipError> {
        Err(MembershipError::NoLeader)
    }

    /// Removes a member.
    ///
    /// # Errors
    /// See [`MembershipError`].
    pub async fn remove(
        &self,
        _node_id: NodeId,
        _expected_membership: Option<u64>,
    ) -> Result<(), MembershipError> {
        Err(MembershipError::NoLeader)
    }

    /// Hands the leadership to `to`.
    ///
    /// # Errors
    /// See [`MembershipError`].
    pub async fn transfer_leader(&self, _to: NodeId) -> Result<(), MembershipError> {
        Err(MembershipError::NoLeader)
    }
}
