//! What the HTTP side needs of a node. A trait, so that handlers are tested against rows in memory.

use core::fmt;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use raft3d_engine::core::{LocalFault, ReadRows, Revision};
use raft3d_engine::policy::{ModuleProblem, ModuleReport};
use raft3d_engine::raft::api::{
    ClusterStatus, MembershipError, NodeStatus, ReadError, ReadOptions, WriteError, WriteOutcome,
    WriteRequest,
};
use raft3d_engine::raft::{Member, NodeId};

/// Rows as they were after one revision.
pub struct View {
    /// The rows.
    pub rows: Box<dyn ReadRows + Send>,
    /// The revision.
    pub revision: Revision,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "View({})", self.revision)
    }
}

/// Why a module did not pass the check before its upload.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The module is at fault.
    #[error(transparent)]
    Refused(#[from] ModuleProblem),
    /// This node is.
    #[error(transparent)]
    Fault(#[from] LocalFault),
}

/// A node, as the handlers see it.
pub trait Backend: Send + Sync + 'static {
    /// Makes a write and waits for its outcome.
    fn write(&self, request: WriteRequest) -> BoxFuture<'_, Result<WriteOutcome, WriteError>>;

    /// A view of the state to read from.
    fn read(&self, options: ReadOptions) -> BoxFuture<'_, Result<View, ReadError>>;

    /// Validates and compiles a module before it is proposed.
    fn check_module(&self, module: Bytes) -> BoxFuture<'_, Result<ModuleReport, CheckError>>;

    /// This node, without asking anybody.
    fn status(&self) -> NodeStatus;

    /// Every member, each asked.
    fn cluster_status(&self) -> BoxFuture<'_, ClusterStatus>;

    /// Adds a learner.
    fn add_learner(&self, member: Member) -> BoxFuture<'_, Result<NodeId, MembershipError>>;

    /// Makes a learner a voter.
    fn promote(
        &self,
        node_id: NodeId,
        expected: Option<u64>,
    ) -> BoxFuture<'_, Result<(), MembershipError>>;

    /// Removes a member.
    fn remove(
        &self,
        node_id: NodeId,
        expected: Option<u64>,
    ) -> BoxFuture<'_, Result<(), MembershipError>>;

    /// Hands the leadership over.
    fn transfer_leader(&self, to: NodeId) -> BoxFuture<'_, Result<(), MembershipError>>;
}
