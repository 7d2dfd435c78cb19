//! Puts a node together: data folder, policy host, stores, peers, Raft.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use raft3d_engine::core::epoch::EPOCHS;
use raft3d_engine::core::limits::MODULES_MAX;
use raft3d_engine::core::{ClusterId, ModuleDigest};
use raft3d_engine::policy::{self, DryRunHost, EngineSettings, HostOptions, WasmHost};
use raft3d_engine::raft::bootstrap::{BootstrapError, InitialMember, join};
use raft3d_engine::raft::machine::{ApplyObserver, ApplyOptions};
use raft3d_engine::raft::node::{NodeOptions, Timing};
use raft3d_engine::raft::parts::{OpenError, Parts};
use raft3d_engine::raft::transport::Transport;
use raft3d_engine::raft::{Member, Node, NodeId};
use raft3d_engine::storage::data_dir::{DataDir, DataDirError};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, block_in_place};

use crate::backend::{Backend, DRY_RUNS_MAX, NodeBackend};
use crate::config::{self, NODE_ID_DEFAULT, ServeConfig, Start};
use crate::module::compiler;
use crate::{bootstrap, peer};

/// Entries between snapshots where nothing is said: 135 to 180 MB of log, which a new node applies in
/// ten seconds or so. A snapshot writes all that is stored, and nothing but a shorter log is gained.
const SNAPSHOT_ENTRIES_DEFAULT: u64 = 400_000;
/// Entries kept behind a snapshot where nothing is said: a follower that was away for a moment is
/// brought up to date from the log.
const LOG_ENTRIES_KEPT_DEFAULT: u64 = 5_000;
/// Digests are compared after so many entries …
const CHECKPOINT_ENTRIES: u64 = 10_000;
/// … or after so many milliseconds with any.
const CHECKPOINT_MS: u64 = 10_000;
/// With less room than this on its disk a node takes no writes: two segments of the log, or table
/// files for what is in memory.
const DISK_RESERVE_BYTES: u64 = 64 * 1024 * 1024;
/// Between two tries to open a folder whose disk is full.
const ROOM_PAUSE: Duration = Duration::from_secs(1);
/// How long a node that joins asks for admission.
const JOIN_TIME_MAX: Duration = Duration::from_secs(60);
/// Modules that may wait to be compiled ahead of their first evaluation.
const PREFETCHES_MAX: usize = 16;

/// A node that runs.
pub struct RunningNode {
    /// For the handlers.
    pub backend: Arc<dyn Backend>,
    node: Node,
    founding: JoinHandle<Result<(), BootstrapError>>,
    peers: JoinHandle<()>,
}

impl RunningNode {
    /// Opens the folder and starts the node; `peer` is where it serves its peers, `http` where it
    /// serves its clients.
    ///
    /// # Errors
    /// What keeps it from starting, and what to do about it.
    pub async fn start(
        config: &ServeConfig,
        peer: TcpListener,
        http: SocketAddr,
    ) -> anyhow::Result<Self> {
        let open = async || block_in_place(|| DataDir::open(&config.data));
        let opened = when_there_is_room(&config.data, DataDirError::is_full, open).await;
        let data_dir = Arc::new(
            opened.map_err(|error| OtherVersion::or_said(&error, error.is_of_other_version()))?,
        );
        let host = policy_host(&data_dir)?;
        let dry_runs = DryRunHost::new(
            data_dir.modules_cache_dir(),
            Arc::new(compiler()),
            DRY_RUNS_MAX,
        );
        let observer: Arc<dyn ApplyObserver> = Arc::new(Prefetcher::start(Arc::clone(&host))?);
        let apply = ApplyOptions {
            epochs: EPOCHS,
            deny_at: config.deny_at.iter().copied().collect(),
        };
        let open = async || {
            let (data_dir, host) = (Arc::clone(&data_dir), Arc::clone(&host));
            Parts::open(data_dir, host, Some(Arc::clone(&observer)), apply.clone()).await
        };
        let opened = when_there_is_room(&config.data, OpenError::is_full, open);
        let parts = opened
            .await
            .map_err(|error| OtherVersion::or_said(&error, error.is_of_other_version()))?;
        let transport: Arc<dyn Transport> = peer::transport();
        let at = match config.start.own_address() {
            Some(own) => told(own),
            None => InitialMember {
                peer_addr: match &config.advertise_peer {
                    Some(told) => told.clone(),
                    None => peer.local_addr()?.to_string(),
                },
                http_addr: match &config.advertise_http {
                    Some(told) => told.clone(),
                    None => http.to_string(),
                },
            },
        };
        let options = NodeOptions {
            node_id: node_id(config, &data_dir, &transport, &at).await?,
            peer_addr: at.peer_addr.clone(),
            http_addr: at.http_addr.clone(),
            timing: Timing::default(),
            snapshot_entries: config.snapshot_entries.unwrap_or(SNAPSHOT_ENTRIES_DEFAULT),
            log_entries_kept: config.log_entries_kept.unwrap_or(LOG_ENTRIES_KEPT_DEFAULT),
            checkpoint_entries: CHECKPOINT_ENTRIES,
            checkpoint_ms: CHECKPOINT_MS,
            bootstrap: bootstrap_command(config, &data_dir)?,
            clock: Arc::new(now_ms),
            trust_clock: config.trust_clock,
            disk_reserve_bytes: Some(DISK_RESERVE_BYTES),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let node = Node::start(options, parts, transport)
            .await
            .map_err(|error| OtherVersion::or_said(&error, error.is_of_other_version()))?;
        let peers = tokio::spawn(peer::serve(peer, Arc::new(node.clone())));
        let founding = tokio::spawn(found(node.clone(), initial_members(config, &node, &at)));
        let backend = Arc::new(NodeBackend::new(node.clone(), host, Arc::new(dry_runs)));
        Ok(Self {
            backend,
            node,
            founding,
            peers,
        })
    }

    /// Waits until the node has failed, and answers why.
    pub async fn fault(&mut self) -> String {
        tokio::select! {
            fault = self.node.fault() => return fault,
            founded = &mut self.founding => match founded {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error.to_string(),
                Err(error) => return error.to_string(),
            },
        }
        self.node.fault().await
    }

    /// Stops the node: hands a leadership over, then stops.
    pub async fn shutdown(self) {
        self.founding.abort();
        self.node.shutdown().await;
        self.peers.abort();
    }

    /// Stops the node without handing anything over.
    pub async fn halt(self) {
        self.founding.abort();
        self.node.halt().await;
        self.peers.abort();
    }
}

/// Opens what lies in `folder`. If its disk is full, says so and tries again until there is room: a
/// node that ended would be started again and again, or need a person for it.
async fn when_there_is_room<T, E: core::fmt::Display>(
    folder: &Path,
    is_full: impl Fn(&E) -> bool,
    open: impl AsyncFn() -> Result<T, E>,
) -> Result<T, E> {
    let mut told = false;
    loop {
        match open().await {
            Err(error) if is_full(&error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::error!(
                        "the disk of {} is full: {error}; make room there, and the node starts by \
                         itself",
                        folder.display()
                    );
                }
                tokio::time::sleep(ROOM_PAUSE).await;
            }
            done => return done,
        }
    }
}

/// Why this program cannot run on a node, and another version of it can.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OtherVersion(String);

impl OtherVersion {
    /// An error as one line, marked if it `is_of_other_version`.
    pub(crate) fn or_said(
        error: impl core::fmt::Display,
        is_of_other_version: bool,
    ) -> anyhow::Error {
        if is_of_other_version {
            anyhow::Error::new(Self(error.to_string()))
        } else {
            said(error)
        }
    }
}

/// An engine's error as one line: its message says everything, its source says part of it again.
fn said(error: impl core::fmt::Display) -> anyhow::Error {
    anyhow!("{error}")
}

/// Milliseconds since the Unix epoch; 0 on a machine whose clock is set before it.
fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn policy_host(data_dir: &DataDir) -> anyhow::Result<Arc<WasmHost>> {
    let options = HostOptions {
        cache_dir: data_dir.modules_cache_dir(),
        compiler: Arc::new(compiler()),
        settings: EngineSettings::default(),
    };
    WasmHost::new(options).map(Arc::new).map_err(said)
}

/// The id that the folder has, or the one that it is given now.
async fn node_id(
    config: &ServeConfig,
    data_dir: &DataDir,
    transport: &Arc<dyn Transport>,
    at: &InitialMember,
) -> anyhow::Result<NodeId> {
    let identity = data_dir.identity();
    match (&config.start, identity.node_id) {
        // Where it is not the folder's, starting the node says so.
        (
            Start::Initial {
                node_id: Some(given),
                ..
            },
            _,
        ) => Ok(*given),
        (_, Some(stored)) => Ok(stored),
        (Start::Initial { node_id: None, .. }, None) => Ok(NODE_ID_DEFAULT),
        (Start::Join { peers }, None) => {
            let member = Member {
                peer_addr: at.peer_addr.clone(),
                http_addr: at.http_addr.clone(),
                incarnation: identity.incarnation,
            };
            let joined = join(Arc::clone(transport), peers, member, JOIN_TIME_MAX).await;
            let node_id = joined.map_err(said)?;
            tracing::info!(node_id, "admitted to the cluster as a learner");
            Ok(node_id)
        }
    }
}

/// What a founding member proposes if the cluster has not begun yet.
fn bootstrap_command(
    config: &ServeConfig,
    data_dir: &DataDir,
) -> anyhow::Result<Option<raft3d_engine::core::command::Bootstrap>> {
    let joins = matches!(config.start, Start::Join { .. });
    if joins || data_dir.identity().cluster_id.is_some() {
        return Ok(None);
    }
    let mut cluster_id = [0; 16];
    getrandom::fill(&mut cluster_id).map_err(said)?;
    let command = bootstrap::command(ClusterId(cluster_id), policy::inspect);
    command
        .map(Some)
        .map_err(|problem| anyhow!("a default module is refused: {problem}"))
}

/// Whom to found the cluster with; none where the node joins one.
fn initial_members(
    config: &ServeConfig,
    node: &Node,
    at: &InitialMember,
) -> Option<BTreeMap<NodeId, InitialMember>> {
    let Start::Initial { members, .. } = &config.start else {
        return None;
    };
    if members.is_empty() {
        return Some(BTreeMap::from([(node.id(), at.clone())]));
    }
    let members = members.iter().map(|member| (member.id, told(member)));
    Some(members.collect())
}

/// What the members of a new cluster are told of `member`.
fn told(member: &config::InitialMember) -> InitialMember {
    InitialMember {
        peer_addr: member.peer.clone(),
        http_addr: member.http.clone(),
    }
}

async fn found(
    node: Node,
    initial: Option<BTreeMap<NodeId, InitialMember>>,
) -> Result<(), BootstrapError> {
    match initial {
        Some(initial) => node.bootstrap(&initial).await,
        None => Ok(()),
    }
}

/// Compiles modules when they are uploaded, or wanted for an activation, so that no evaluation has
/// to wait for it.
struct Prefetcher {
    queue: SyncSender<(ModuleDigest, Vec<u8>)>,
    asked: Arc<Mutex<Asked>>,
}

/// What the compiling thread was asked for.
#[derive(Default)]
struct Asked {
    /// In the queue, or compiled just now.
    waiting: BTreeSet<ModuleDigest>,
    /// Not compiled for a reason of this machine; not tried again before its first evaluation.
    failed: BTreeSet<ModuleDigest>,
}

impl Prefetcher {
    fn start(host: Arc<WasmHost>) -> anyhow::Result<Self> {
        let (queue, modules) = sync_channel::<(ModuleDigest, Vec<u8>)>(PREFETCHES_MAX);
        let asked = Arc::new(Mutex::new(Asked::default()));
        let shared = Arc::clone(&asked);
        let work = move || {
            while let Ok((module, bytes)) = modules.recv() {
                let done = host.prefetch(module, &bytes);
                let mut asked = lock(&shared);
                asked.waiting.remove(&module);
                if let Err(fault) = done {
                    asked.note_failed(module);
                    // Not fatal yet: an apply that needs the module tries again, and stops.
                    tracing::error!(%module, %fault, "a module cannot be compiled on this node");
                }
            }
        };
        let thread = std::thread::Builder::new().name("prefetch".to_owned());
        thread
            .spawn(work)
            .context("a thread for compiling cannot be started")?;
        Ok(Self { queue, asked })
    }

    /// Puts a module into the queue; one that is there already, or that there is no room for, is not
    /// even read. Answers whether it waits there now.
    fn enqueue(&self, module: ModuleDigest, bytes: &dyn Fn() -> Option<Vec<u8>>) -> bool {
        let mut asked = lock(&self.asked);
        if asked.waiting.contains(&module) {
            return true;
        }
        // One is taken out of the queue while it is compiled.
        if asked.waiting.len() > PREFETCHES_MAX || asked.failed.contains(&module) {
            return false;
        }
        let sent = bytes().is_some_and(|bytes| self.queue.try_send((module, bytes)).is_ok());
        if sent {
            asked.waiting.insert(module);
        }
        sent
    }
}

impl Asked {
    fn note_failed(&mut self, module: ModuleDigest) {
        // More than a cluster holds: most of them are deleted long since.
        if self.failed.len() >= MODULES_MAX as usize {
            self.failed.clear();
        }
        self.failed.insert(module);
    }
}

/// Locks; a set is whole whoever panicked.
fn lock(asked: &Mutex<Asked>) -> MutexGuard<'_, Asked> {
    asked.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ApplyObserver for Prefetcher {
    fn module_uploaded(&self, module: ModuleDigest, bytes: &[u8]) {
        if !self.enqueue(module, &|| Some(bytes.to_vec())) {
            tracing::info!(
                %module,
                "many modules wait to be compiled; this one waits until it is asked for"
            );
        }
    }

    fn module_wanted(&self, module: ModuleDigest, bytes: &dyn Fn() -> Option<Vec<u8>>) {
        self.enqueue(module, bytes);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const MODULE: ModuleDigest = ModuleDigest([200; 32]);

    /// A module that found the queue full was never compiled: each activation waited for it in vain.
    #[test]
    fn a_module_that_found_the_queue_full_is_taken_when_it_is_asked_for() {
        let (queue, taken) = sync_channel(PREFETCHES_MAX);
        let asked = Arc::default();
        let prefetcher = Prefetcher { queue, asked };
        let bytes = || Some(vec![1]);
        for other in 0..PREFETCHES_MAX as u8 {
            assert!(prefetcher.enqueue(ModuleDigest([other; 32]), &bytes));
            assert!(prefetcher.enqueue(ModuleDigest([other; 32]), &|| None));
        }
        assert!(!prefetcher.enqueue(MODULE, &bytes));
        let (first, _) = taken.try_recv().unwrap();
        lock(&prefetcher.asked).waiting.remove(&first);
        assert!(!prefetcher.enqueue(MODULE, &|| None), "it cannot be read");
        prefetcher.module_wanted(MODULE, &bytes);
        assert_eq!(taken.try_iter().last(), Some((MODULE, vec![1])));
        // One that failed here is not tried again and again.
        let mut asked = lock(&prefetcher.asked);
        asked.waiting.clear();
        asked.note_failed(MODULE);
        drop(asked);
        assert!(!prefetcher.enqueue(MODULE, &bytes));
    }
}
