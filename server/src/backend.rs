//! What the HTTP side needs of a node. A trait, so that handlers are tested against rows in memory.

use core::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use raft3d_engine::core::{ModuleDigest, ReadRows, Revision};
use raft3d_engine::policy::tally::PolicyTallies;
use raft3d_engine::policy::{
    AloudHost, CompileError, ModuleProblem, ModuleReport, UploadError, WasmHost,
};
use raft3d_engine::raft::api::{
    ClusterStatus, MembershipError, NodeStatus, ReadError, ReadOptions, WriteError, WriteOutcome,
    WriteRequest,
};
use raft3d_engine::raft::readiness::NotCompiled;
use raft3d_engine::raft::{Member, Node, NodeId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Uploads that one node compiles or lets wait. They are compiled one after the other.
pub const UPLOADS_MAX: usize = 4;
/// Questions that change nothing (`/policies/evaluate`) which one node answers at once; more are
/// told to come again. Two, so that a long one does not shut out a short one, and most processors are
/// left to what decides.
pub const DRY_RUNS_MAX: u32 = 2;
/// How long an activation waits for the voters to compile its modules. Half of what a client waits
/// for a write: what is left is for the write.
const COMPILED_PATIENCE: Duration = Duration::from_secs(5);

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
    /// Too many uploads are being compiled.
    #[error("too many modules are being compiled on this node; try again")]
    Busy,
    /// This node is at fault.
    #[error("{0}")]
    Fault(String),
}

/// Leave to ask policies something that changes nothing.
pub struct DryRun {
    /// Whom to ask. It blocks.
    pub host: Arc<dyn AloudHost>,
    /// Given back when the answer is there.
    pub permit: OwnedSemaphorePermit,
}

/// A node, as the handlers see it.
pub trait Backend: Send + Sync + 'static {
    /// Makes a write and waits for its outcome.
    fn write(&self, request: WriteRequest) -> BoxFuture<'_, Result<WriteOutcome, WriteError>>;

    /// A view of the state to read from.
    fn read(&self, options: ReadOptions) -> BoxFuture<'_, Result<View, ReadError>>;

    /// Validates and compiles a module before it is proposed.
    fn check_module(&self, module: Bytes) -> BoxFuture<'_, Result<ModuleReport, CheckError>>;

    /// Waits until the voters that decide have compiled `modules`.
    fn await_compiled(&self, modules: Vec<ModuleDigest>) -> BoxFuture<'_, Result<(), NotCompiled>>;

    /// Leave for one question to policies that changes nothing; none while as many are answered as
    /// may be at once.
    fn dry_run(&self) -> Option<DryRun>;

    /// This node, without asking anybody.
    fn status(&self) -> NodeStatus;

    /// Takes an operator's word that this node's clock is right.
    fn trust_clock(&self) -> BoxFuture<'_, ()>;

    /// What policies did on this node since its start.
    fn policy_tallies(&self) -> PolicyTallies;

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

    /// Corrects a member's addresses: where its peers reach it, and where clients do.
    fn readdress(
        &self,
        node_id: NodeId,
        peer_addr: Option<String>,
        http_addr: Option<String>,
        expected: Option<u64>,
    ) -> BoxFuture<'_, Result<(), MembershipError>>;

    /// Hands the leadership over.
    fn transfer_leader(&self, to: NodeId) -> BoxFuture<'_, Result<(), MembershipError>>;
}

/// The node of this process.
pub(crate) struct NodeBackend {
    node: Node,
    host: Arc<WasmHost>,
    uploads: Semaphore,
    aloud: Arc<dyn AloudHost>,
    dry_runs: Arc<Semaphore>,
}

impl NodeBackend {
    pub(crate) fn new(node: Node, host: Arc<WasmHost>, aloud: Arc<dyn AloudHost>) -> Self {
        Self {
            node,
            host,
            uploads: Semaphore::new(UPLOADS_MAX),
            aloud,
            dry_runs: Arc::new(Semaphore::new(DRY_RUNS_MAX as usize)),
        }
    }

    async fn prepare_upload(&self, module: Bytes) -> Result<ModuleReport, CheckError> {
        let _permit = self.uploads.try_acquire().map_err(|_| CheckError::Busy)?;
        let host = Arc::clone(&self.host);
        let prepared = tokio::task::spawn_blocking(move || host.prepare_upload(&module)).await;
        match prepared {
            Ok(prepared) => prepared.map_err(check_error),
            Err(error) => Err(CheckError::Fault(error.to_string())),
        }
    }
}

/// What a module is to blame for, and what this node is.
fn check_error(error: UploadError) -> CheckError {
    let text = error.to_string();
    let refused = |code| {
        CheckError::Refused(ModuleProblem {
            code,
            message: text.clone(),
            place: None,
            limit: None,
        })
    };
    match error {
        UploadError::Refused(problem) | UploadError::Compile(CompileError::Refused(problem)) => {
            CheckError::Refused(problem)
        }
        UploadError::Compile(CompileError::OverLimit { .. }) => refused("compile_over_limit"),
        UploadError::Compile(CompileError::Compiler(_)) => refused("compile_failed"),
        // The compiler runs in a process of its own because modules can make it crash.
        UploadError::Compile(CompileError::Crashed(_)) => refused("compile_crashed"),
        UploadError::Compile(CompileError::Spawn(_) | CompileError::OtherProgram(_))
        | UploadError::Load(_) => CheckError::Fault(text),
    }
}

impl Backend for NodeBackend {
    fn write(&self, request: WriteRequest) -> BoxFuture<'_, Result<WriteOutcome, WriteError>> {
        self.node.write(request).boxed()
    }

    fn read(&self, options: ReadOptions) -> BoxFuture<'_, Result<View, ReadError>> {
        let read = async move {
            let view = self.node.read(options).await?;
            Ok(View {
                revision: view.revision(),
                rows: Box::new(view),
            })
        };
        read.boxed()
    }

    fn check_module(&self, module: Bytes) -> BoxFuture<'_, Result<ModuleReport, CheckError>> {
        self.prepare_upload(module).boxed()
    }

    fn await_compiled(&self, modules: Vec<ModuleDigest>) -> BoxFuture<'_, Result<(), NotCompiled>> {
        let compiled = async move {
            let compiled = self.node.await_compiled(&modules, COMPILED_PATIENCE);
            compiled.await
        };
        compiled.boxed()
    }

    fn dry_run(&self) -> Option<DryRun> {
        let permit = Arc::clone(&self.dry_runs).try_acquire_owned().ok()?;
        let host = Arc::clone(&self.aloud);
        Some(DryRun { host, permit })
    }

    fn status(&self) -> NodeStatus {
        self.node.status()
    }

    fn trust_clock(&self) -> BoxFuture<'_, ()> {
        self.node.trust_clock().boxed()
    }

    fn policy_tallies(&self) -> PolicyTallies {
        self.host.tallies()
    }

    fn cluster_status(&self) -> BoxFuture<'_, ClusterStatus> {
        self.node.cluster_status().boxed()
    }

    fn add_learner(&self, member: Member) -> BoxFuture<'_, Result<NodeId, MembershipError>> {
        self.node.add_learner(member).boxed()
    }

    fn promote(
        &self,
        node_id: NodeId,
        expected: Option<u64>,
    ) -> BoxFuture<'_, Result<(), MembershipError>> {
        self.node.promote(node_id, expected).boxed()
    }

    fn remove(
        &self,
        node_id: NodeId,
        expected: Option<u64>,
    ) -> BoxFuture<'_, Result<(), MembershipError>> {
        self.node.remove(node_id, expected).boxed()
    }

    fn readdress(
        &self,
        node_id: NodeId,
        peer_addr: Option<String>,
        http_addr: Option<String>,
        expected: Option<u64>,
    ) -> BoxFuture<'_, Result<(), MembershipError>> {
        self.node
            .readdress(node_id, peer_addr, http_addr, expected)
            .boxed()
    }

    fn transfer_leader(&self, to: NodeId) -> BoxFuture<'_, Result<(), MembershipError>> {
        self.node.transfer_leader(to).boxed()
    }
}
