//! The node: openraft, its storage and its network behind the calls that the server makes.
//!
//! `write.rs`, `read.rs`, `membership.rs` and `bootstrap.rs` hold the calls; `service.rs` answers
//! peers; `duties.rs` is what a node does unasked.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::metrics::WaitError;
use openraft::storage::RaftLogStorage;
use openraft::{Config, Raft, RaftMetrics, ServerState, SnapshotPolicy};
use raft3d_core::command::Bootstrap;
use raft3d_core::state::meta;
use raft3d_core::{Epochs, LocalFault, PolicyHost};
use thiserror::Error;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

use super::absences::Absences;
use super::api::NodeStatus;
use super::clock::StampClock;
use super::disk::DiskWatch;
use super::group::Groups;
use super::health::Health;
use super::log_handle::LogHandle;
use super::machine::{StateHandle, StateMachine};
use super::network::Network;
use super::parts::Parts;
use super::peers::Peers;
use super::processes::Processes;
use super::read::ReadRounds;
use super::snapshot_transfer::Receiver;
use super::standing::Standing;
use super::time::Clock;
use super::told::Told;
use super::touch::Touch;
use super::transport::Transport;
use super::types::{Incarnation, Member, NodeId, Run, StoredMembership, TypeConfig};
use super::{denials, duties, group, read};
use crate::runtime::{self, watch};
use crate::storage::data_dir::{DataDir, DataDirError};

/// Most client writes that wait on one node at once, its own and forwarded ones each.
pub const WRITES_IN_FLIGHT_MAX: usize = 4_096;
/// How long a clean stop waits for another node to take over the leadership.
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long Raft may take to show its state after it was started.
const METRICS_TIMEOUT: Duration = Duration::from_secs(10);

/// Raft's timing (Raft, 5.6), in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two heartbeats of a leader.
    pub heartbeat_ms: u64,
    /// Shortest time after the leader's lease before a follower asks for votes.
    pub election_min_ms: u64,
    /// Longest. It is also the leader's lease: votes are refused for so long after its last word.
    pub election_max_ms: u64,
}

impl Default for Timing {
    /// A follower asks for votes when `election_max_ms` (the lease) and a random time from
    /// `election_min_ms` to `election_max_ms` have passed since the leader's last word: 0.9 to 1.2 s
    /// after a leader is killed, six lost heartbeats at the least.
    fn default() -> Self {
        Self {
            heartbeat_ms: 100,
            election_min_ms: 300,
            election_max_ms: 600,
        }
    }
}

/// What a node is started with.
#[derive(Clone)]
pub struct NodeOptions {
    /// Its id.
    pub node_id: NodeId,
    /// Where its peers reach it, `host:port`.
    pub peer_addr: String,
    /// Where clients reach it, `host:port`.
    pub http_addr: String,
    /// Timing.
    pub timing: Timing,
    /// A snapshot is taken after so many entries, or up to a quarter fewer by chance; after more
    /// where the state is large.
    pub snapshot_entries: u64,
    /// So many entries stay in the log behind a snapshot, for followers that lag a little.
    pub log_entries_kept: u64,
    /// A checkpoint is proposed after so many entries, or when `checkpoint_ms` have passed since
    /// the last and anything was applied.
    pub checkpoint_entries: u64,
    /// See `checkpoint_entries`; milliseconds.
    pub checkpoint_ms: u64,
    /// What to propose while the state belongs to no cluster yet.
    pub bootstrap: Option<Bootstrap>,
    /// The clock that stamps entries.
    pub clock: Clock,
    /// An operator says that the clock is right as it is at this start.
    pub trust_clock: bool,
    /// With less room than this on the data folder's disk the node takes no writes, bytes; none looks
    /// at nothing but the disk's own word.
    pub disk_reserve_bytes: Option<u64>,
    /// Version of the program, for people.
    pub version: String,
}

/// Why a node does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// Timing or limits that contradict one another.
    #[error("the Raft configuration is not valid: {0}")]
    Config(#[from] openraft::ConfigError),
    /// Raft's state cannot be read.
    #[error("Raft does not start: {0}")]
    Raft(String),
    /// The state cannot be read.
    #[error(transparent)]
    State(#[from] LocalFault),
    /// The data folder is another node's, or cannot be written.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The operating system gave no random bytes.
    #[error("the system has no random numbers: {0}")]
    Random(String),
}

impl StartError {
    /// Whether another version of this program is to be run on this node.
    #[must_use]
    pub const fn is_of_other_version(&self) -> bool {
        match self {
            Self::DataDir(error) => error.is_of_other_version(),
            Self::State(fault) => matches!(fault, LocalFault::Epoch { .. }),
            Self::Config(_) | Self::Raft(_) | Self::Random(_) => false,
        }
    }
}

/// A running node. Cheap to clone; all clones are the same node.
#[derive(Clone)]
pub struct Node {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) options: NodeOptions,
    pub(super) member: Member,
    pub(super) epochs: Epochs,
    pub(super) log: Arc<dyn LogHandle>,
    pub(super) raft: Raft<TypeConfig, StateMachine>,
    pub(super) machine: StateHandle,
    pub(super) data_dir: Arc<DataDir>,
    pub(super) host: Arc<dyn PolicyHost>,
    pub(super) peers: Arc<Peers>,
    pub(super) fault: watch::Sender<Option<String>>,
    pub(super) recovered: watch::Sender<bool>,
    pub(super) stopping: watch::Sender<bool>,
    pub(super) own_writes: Semaphore,
    pub(super) forwarded_writes: Semaphore,
    pub(super) groups: Groups,
    pub(super) read_rounds: ReadRounds,
    pub(super) membership_changes: Mutex<()>,
    pub(super) incoming: Mutex<Option<Receiver>>,
    pub(super) health: Health,
    pub(super) run: Run,
    pub(super) started: Instant,
    pub(super) standing: Standing,
    pub(super) touch: Touch,
    pub(super) processes: Processes,
    pub(super) clock: StampClock,
    pub(super) disk: DiskWatch,
    pub(super) told: Told,
    pub(super) absences: Absences,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("id", &self.inner.options.node_id)
            .finish_non_exhaustive()
    }
}

impl Node {
    /// Starts Raft on the stores. Peers are answered through the returned node's
    /// [`PeerService`](super::transport::PeerService); serve it before or right after.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start<L>(
        options: NodeOptions,
        parts: Parts<L>,
        transport: Arc<dyn Transport>,
    ) -> Result<Self, StartError>
    where
        L: RaftLogStorage<TypeConfig> + LogHandle + Clone,
    {
        crate::sabotage::announce();
        let id = options.node_id;
        parts.data_dir.set_node_id(id)?;
        let removed = parts.data_dir.removed()?;
        let fence = parts.data_dir.fence()?;
        let identity = parts.data_dir.identity();
        let member = Member {
            peer_addr: options.peer_addr.clone(),
            http_addr: options.http_addr.clone(),
            incarnation: identity.incarnation,
        };
        let mut run = Run::default();
        runtime::fill_random(&mut run.0).map_err(|e| StartError::Random(e.to_string()))?;
        let peers = Arc::new(Peers::new(transport, id, identity.incarnation, run));
        let epochs = parts.machine.epochs();
        let machine = parts.machine.handle();
        let stored = meta::cluster_id(&machine.view())?.or(identity.cluster_id);
        if let Some(cluster_id) = stored {
            parts.data_dir.set_cluster_id(cluster_id)?;
            // The first value cannot contradict.
            let _ = peers.set_cluster_id(cluster_id);
        }
        let mut log = parts.log.clone();
        let log_state = log.get_log_state().await;
        let log_state = log_state.map_err(|e| StartError::Raft(e.to_string()))?;
        let last_log_index = log_state.last_log_id.map_or(0, |id| id.index);
        denials::before_start(&peers, &machine, id, last_log_index).await?;
        let config = Arc::new(raft_config(&options).validate()?);
        let network = Network::new(Arc::clone(&peers), id);
        let raft = Raft::new(id, config, network, parts.log, parts.machine)
            .await
            .map_err(|e| StartError::Raft(e.to_string()))?;
        // Not before it is known that no other process runs with this folder (`presence.rs`).
        raft.runtime_config().elect(false);
        wait_until_shown(&raft).await?;
        let (read_rounds, read_queue) = ReadRounds::new();
        let (groups, write_queue) = Groups::new();
        let clock = StampClock::new(Arc::clone(&options.clock), options.trust_clock);
        clock.saw_log_time(machine.log_time());
        let disk = DiskWatch::new(parts.data_dir.path().to_owned(), options.disk_reserve_bytes);
        let inner = Arc::new(Inner {
            options,
            member,
            epochs,
            raft,
            log: Arc::new(log),
            machine,
            data_dir: parts.data_dir,
            host: parts.host,
            peers,
            fault: watch::Sender::new(None),
            recovered: watch::Sender::new(false),
            stopping: watch::Sender::new(false),
            own_writes: Semaphore::new(WRITES_IN_FLIGHT_MAX),
            forwarded_writes: Semaphore::new(WRITES_IN_FLIGHT_MAX),
            groups,
            read_rounds,
            membership_changes: Mutex::new(()),
            incoming: Mutex::new(None),
            health: Health::default(),
            run,
            started: Instant::now(),
            standing: Standing::default(),
            touch: Touch::default(),
            processes: Processes::default(),
            clock,
            disk,
            told: Told::default(),
            absences: Absences::default(),
        });
        let node = Self { inner };
        if let Some(reason) = fence {
            node.fence(reason);
        }
        if let Some(reason) = removed {
            tracing::warn!("{reason}");
            node.inner.standing.set_removed(reason);
        }
        let rounds = read::run_rounds(node.clone(), read_queue);
        runtime::spawn(duties::until_stopped(node.clone(), rounds));
        let groups = group::run(node.clone(), write_queue);
        runtime::spawn(duties::until_stopped(node.clone(), groups));
        duties::spawn(&node, last_log_index);
        Ok(node)
    }

    /// This node's id.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.inner.options.node_id
    }

    /// This node, without asking anybody.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        let inner = &self.inner;
        let metrics = inner.metrics();
        inner.look_at_log_time();
        let view = inner.machine.view();
        NodeStatus {
            node_id: self.id(),
            incarnation: inner.member.incarnation,
            role: self.role(&metrics),
            leader: self.known_leader(&metrics),
            term: metrics.current_term,
            last_log_index: metrics.last_log_index.unwrap_or(0),
            applied: view.revision(),
            digest: view.digest(),
            snapshot_index: metrics.snapshot.map_or(0, |id| id.index),
            purged_index: metrics.purged.map_or(0, |id| id.index),
            version: inner.options.version.clone(),
            engine_epoch: meta::epoch(&view).unwrap_or(0),
            engine_epoch_oldest: inner.epochs.oldest,
            engine_epoch_newest: inner.epochs.newest,
            not_ready: self.not_ready(&metrics),
            denied: inner.machine.denials().status(),
            clock: inner.clock.status(),
            disk: inner.disk.status(&inner.log.health()),
            warnings: self.warnings(),
        }
    }

    /// Waits until this node has failed, and answers why. The process must then end: nothing is
    /// served any more.
    pub async fn fault(&self) -> String {
        let mut fault = self.inner.fault.subscribe();
        loop {
            if let Some(reason) = fault.borrow_and_update().clone() {
                return reason;
            }
            if fault.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Stops: hands the leadership over if another voter can take it, then stops Raft. What was
    /// appended is durable, and the log is sealed.
    pub async fn shutdown(&self) {
        if self.inner.closed_by().is_none() {
            self.hand_over(HANDOVER_TIMEOUT).await;
        }
        self.halt().await;
    }

    /// Stops without a word to anybody.
    pub async fn halt(&self) {
        self.inner.stopping.send_replace(true);
        self.inner.machine.denials().stop();
        self.inner.machine.close();
        if let Err(error) = self.inner.raft.shutdown().await {
            tracing::warn!(%error, "Raft did not stop cleanly");
        }
        if let Err(error) = self.inner.log.close().await {
            tracing::warn!(%error, "the log was not closed cleanly");
        }
    }

    /// Gives the leadership away, if this node has it and another voter is up to date.
    pub(super) async fn hand_over(&self, timeout: Duration) {
        let metrics = self.inner.metrics();
        if metrics.state != ServerState::Leader {
            return;
        }
        let others = metrics.membership_config.voter_ids();
        self.hand_over_to(timeout, &others.collect()).await;
    }

    /// The same to one of `to`.
    pub(super) async fn hand_over_to(&self, timeout: Duration, to: &BTreeSet<NodeId>) {
        let metrics = self.inner.metrics();
        if metrics.state != ServerState::Leader {
            return;
        }
        let Some(to) = best_successor(&metrics, to) else {
            return;
        };
        if self.inner.raft.trigger().transfer_leader(to).await.is_err() {
            return;
        }
        let wait = self.inner.raft.wait(Some(timeout));
        let gone = |m: &RaftMetrics<TypeConfig>| m.state != ServerState::Leader;
        if wait.metrics(gone, "leadership handed over").await.is_err() {
            tracing::warn!(to, "no node took over the leadership in time");
        }
    }
}

impl Inner {
    pub(super) fn metrics(&self) -> RaftMetrics<TypeConfig> {
        self.raft.metrics().borrow_watched().clone()
    }

    /// The leader, as far as this node knows.
    pub(super) fn current_leader(&self) -> Option<NodeId> {
        self.raft.server_metrics().borrow_watched().current_leader
    }

    pub(super) fn membership(&self) -> Arc<StoredMembership> {
        Arc::clone(&self.raft.metrics().borrow_watched().membership_config)
    }

    pub(super) fn member(&self, id: NodeId) -> Option<Member> {
        self.membership().get_node(&id).cloned()
    }

    pub(super) fn recorded_incarnation(&self, id: NodeId) -> Option<Incarnation> {
        self.membership()
            .get_node(&id)
            .map(|member| member.incarnation)
    }

    /// How long this process has been running, in milliseconds.
    pub(super) fn up_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// The time that the leader will compare a deadline with, as far as this node knows.
    pub(super) fn cluster_now_ms(&self) -> u64 {
        self.look_at_log_time();
        let leads = self.current_leader() == Some(self.options.node_id);
        self.clock.leader_log_time_ms(leads)
    }

    /// Notes how far the log's time is.
    pub(super) fn look_at_log_time(&self) {
        self.clock.saw_log_time(self.machine.log_time());
    }

    /// Why the node is closed for good, if it is.
    pub(super) fn closed_by(&self) -> Option<String> {
        if let Some(fault) = self.fault.borrow().as_ref() {
            return Some(fault.clone());
        }
        self.stopping.borrow().then(|| "it is stopping".to_owned())
    }

    /// Why the node takes no writes and changes, if so.
    pub(super) fn closed_or_fenced(&self) -> Option<String> {
        self.closed_by()
            .or_else(|| self.standing.closed())
            .or_else(|| self.health.fenced())
    }

    /// Why the node serves no reads, if so.
    pub(super) fn unavailable(&self) -> Option<String> {
        if let Some(reason) = self.closed_or_fenced() {
            return Some(reason);
        }
        let recovered = *self.recovered.borrow();
        (!recovered).then(|| "it catches up with what was committed before it started".to_owned())
    }

    /// Closes the node because of a fault of its own.
    pub(super) fn fail(&self, reason: String) {
        self.fault.send_if_modified(|fault| {
            let first = fault.is_none();
            if first {
                tracing::error!(reason, "the node has failed");
                *fault = Some(reason);
            }
            first
        });
    }
}

/// Waits until Raft's metrics show the membership that it was started with, so that nobody takes
/// this node for an uninitialised one.
async fn wait_until_shown(raft: &Raft<TypeConfig, StateMachine>) -> Result<(), StartError> {
    let index = |membership: &StoredMembership| membership.log_id().map(|id| id.index);
    let started_with = raft
        .with_raft_state(move |state| {
            state
                .membership_state
                .effective()
                .log_id()
                .map(|id| id.index)
        })
        .await
        .map_err(|e| StartError::Raft(e.to_string()))?;
    let shown = |m: &RaftMetrics<TypeConfig>| index(&m.membership_config) >= started_with;
    let waited = raft
        .wait(Some(METRICS_TIMEOUT))
        .metrics(shown, "Raft has started")
        .await;
    match waited {
        Err(WaitError::ShuttingDown) => Err(StartError::Raft("Raft has ended".to_owned())),
        // A leader may have cut that membership off in the meantime.
        Ok(_) | Err(WaitError::Timeout(..)) => Ok(()),
    }
}

/// The voter of `among`, other than the leader, that has most of the log.
fn best_successor(metrics: &RaftMetrics<TypeConfig>, among: &BTreeSet<NodeId>) -> Option<NodeId> {
    let replication = metrics.replication.as_ref()?;
    metrics
        .membership_config
        .voter_ids()
        .filter(|id| *id != metrics.id && among.contains(id))
        .filter_map(|id| Some((replication.get(&id)?.as_ref()?.index, id)))
        .max()
        .map(|(_, id)| id)
}

fn raft_config(options: &NodeOptions) -> Config {
    Config {
        cluster_name: "raft3d".to_owned(),
        heartbeat_interval: options.timing.heartbeat_ms,
        election_timeout_min: options.timing.election_min_ms,
        election_timeout_max: options.timing.election_max_ms,
        enable_pre_vote: Some(true),
        // A leader's entries are committed by the others' syncs alone where its own is slower. One
        // that lost its tail to a power cut and took up its old term again would make the others
        // forget them (test `a_power_cut_on_all_nodes_loses_nothing_acknowledged`).
        enable_leader_restore: Some(false),
        // See `snapshot_pace`.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: options.log_entries_kept,
        max_payload_entries: 1_024,
        // A snapshot purges at once what it covers: what is on disk is what the options say.
        purge_batch_size: 1,
        backoff: "50ms 100ms 200ms ...1s".to_owned(),
        ..Config::default()
    }
}
