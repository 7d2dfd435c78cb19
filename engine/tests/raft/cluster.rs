//! Clusters in one process: real stores in temporary folders, the default ruleset, and a network
//! in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use raft3d_core::command::{Actor, Bootstrap, CreatePrinter, UploadModule};
use raft3d_core::state::rulesets::{Binding, Mode, Ruleset, SHARE_ALL, Scope};
use raft3d_core::state::{digest::Digest, printers};
use raft3d_core::{
    Accepted, BindingId, ClusterId, Command, Epochs, Evaluation, LocalFault, ModuleDigest,
    ModuleSource, PolicyCall, PolicyHost, PrinterId, RequestId, Response, Revision,
};
use raft3d_engine::policy::{
    EngineSettings, HostOptions, InProcessCompiler, WasmHost, inspect, module_digest,
};
use raft3d_engine::raft::api::{
    Consistency, ReadError, ReadOptions, Role, WriteError, WriteOutcome, WriteRequest,
};
use raft3d_engine::raft::bootstrap::{self, BootstrapError, InitialMember};
use raft3d_engine::raft::machine::{ApplyObserver, ApplyOptions};
use raft3d_engine::raft::message::{Answer, Ask, Request};
use raft3d_engine::raft::node::{NodeOptions, Timing};
use raft3d_engine::raft::parts::{OpenError, Parts};
use raft3d_engine::raft::transport::{Channel, Hello, PROTOCOL_VERSION, Party, PeerService};
use raft3d_engine::raft::{Incarnation, Member, Node, NodeId};
use raft3d_engine::storage::data_dir::DataDir;
use tempfile::TempDir;

use crate::net::{Link, Net};
use crate::power::Power;

/// How long anything may take on a busy machine before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(40);

pub static HOST: LazyLock<(TempDir, Arc<WasmHost>)> = LazyLock::new(|| {
    let cache = TempDir::new().unwrap();
    let settings = EngineSettings::default();
    let host = WasmHost::new(HostOptions {
        cache_dir: cache.path().to_owned(),
        compiler: Arc::new(InProcessCompiler::new(settings)),
        settings,
    });
    (cache, Arc::new(host.unwrap()))
});

const LIFECYCLE: &[u8] = include_bytes!("../../../policies/prebuilt/standard-lifecycle.wasm");
const DEDUCTION: &[u8] = include_bytes!("../../../policies/prebuilt/standard-deduction.wasm");

pub fn default_bootstrap() -> Bootstrap {
    let module = |bytes: &[u8]| {
        let report = inspect(bytes).unwrap();
        UploadModule {
            digest: report.digest,
            bytes: bytes.to_vec(),
            manifest: report.manifest,
        }
    };
    let modules = vec![module(LIFECYCLE), module(DEDUCTION)];
    let binding = |module: &UploadModule| Binding {
        id: BindingId::new(module.manifest.name.clone()),
        module: module.digest,
        hooks: module.manifest.hooks,
        scope: Scope::All,
        mode: Mode::Enforce,
        share: SHARE_ALL,
        lifecycle: module.manifest.lifecycle.is_some(),
        config: vec![0xa0],
    };
    let bindings = modules.iter().map(binding).collect();
    Bootstrap {
        cluster_id: ClusterId([7; 16]),
        modules,
        ruleset: Ruleset {
            bindings,
            ..Ruleset::default()
        },
        epoch: 1,
    }
}

/// One node's folder, whether it runs or not.
pub struct Slot {
    pub id: Mutex<Option<NodeId>>,
    pub addr: String,
    pub dir: PathBuf,
    pub node: Mutex<Option<Node>>,
}

pub struct Cluster {
    pub net: Arc<Net>,
    pub slots: Vec<Slot>,
    pub tune: Tune,
    root: TempDir,
}

/// What tests change.
#[derive(Clone)]
pub struct Tune {
    pub snapshot_entries: u64,
    pub log_entries_kept: u64,
    pub clock_offset_ms: i64,
    /// By how much more the clocks of the nodes that were started with it are wrong now.
    pub clock_jump_ms: Arc<AtomicI64>,
    /// Whether an operator vouches for the clocks of the nodes that are started with it.
    pub trust_clock: bool,
    /// With less room on the disk a node takes no writes.
    pub disk_reserve_bytes: Option<u64>,
    pub bootstrap: bool,
    pub checkpoint_ms: u64,
    /// Where the logs are on a disk that can lose what was not synced.
    pub power: Option<Arc<Power>>,
    /// Nodes that say of every module that they are still compiling it.
    pub compiling: Arc<Mutex<BTreeSet<NodeId>>>,
    /// Which node was asked for which module that it said it lacks, and whether its state holds it.
    pub wanted: Arc<Mutex<BTreeSet<(NodeId, ModuleDigest, bool)>>>,
}

/// Notes what a node's observer is told to compile.
struct Wanted {
    node: NodeId,
    wanted: Arc<Mutex<BTreeSet<(NodeId, ModuleDigest, bool)>>>,
}

impl ApplyObserver for Wanted {
    fn module_wanted(&self, module: ModuleDigest, bytes: &dyn Fn() -> Option<Vec<u8>>) {
        let is_there = bytes().is_some_and(|bytes| module_digest(&bytes) == module);
        self.wanted
            .lock()
            .unwrap()
            .insert((self.node, module, is_there));
    }
}

/// The host of all nodes, as one of them sees it.
struct Compiling {
    host: Arc<WasmHost>,
    node: NodeId,
    compiling: Arc<Mutex<BTreeSet<NodeId>>>,
}

impl PolicyHost for Compiling {
    fn evaluate(
        &self,
        call: &PolicyCall<'_>,
        modules: &dyn ModuleSource,
    ) -> Result<Evaluation, LocalFault> {
        self.host.evaluate(call, modules)
    }

    fn is_compiled(&self, _: ModuleDigest) -> bool {
        !self.compiling.lock().unwrap().contains(&self.node)
    }
}

impl Default for Tune {
    fn default() -> Self {
        Self {
            snapshot_entries: 10_000,
            log_entries_kept: 1_000,
            clock_offset_ms: 0,
            clock_jump_ms: Arc::default(),
            trust_clock: false,
            disk_reserve_bytes: None,
            bootstrap: true,
            checkpoint_ms: 10_000,
            power: None,
            compiling: Arc::default(),
            wanted: Arc::default(),
        }
    }
}

impl Cluster {
    /// Folders for `count` nodes; none runs.
    pub fn new(count: u64, tune: Tune) -> Self {
        let root = TempDir::new().unwrap();
        let mut cluster = Self {
            net: Arc::default(),
            slots: Vec::new(),
            tune,
            root,
        };
        for id in 1..=count {
            cluster.add_slot(Some(id));
        }
        cluster
    }

    pub fn add_slot(&mut self, id: Option<NodeId>) -> usize {
        let at = self.slots.len();
        self.slots.push(Slot {
            id: Mutex::new(id),
            addr: format!("peer-{at}:1"),
            dir: self.root.path().join(format!("node-{at}")),
            node: Mutex::new(None),
        });
        at
    }

    /// A cluster of `count` nodes, bootstrapped.
    pub async fn started(count: u64, tune: Tune) -> Self {
        let cluster = Self::new(count, tune);
        cluster.start_all().await;
        cluster
    }

    pub async fn start_all(&self) {
        for at in 0..self.slots.len() {
            self.start(at).await;
        }
        let all = (0..self.slots.len()).map(|at| self.bootstrap(at));
        for done in futures_util::future::join_all(all).await {
            done.unwrap();
        }
    }

    pub fn initial(&self) -> BTreeMap<NodeId, InitialMember> {
        let named = |slot: &Slot| {
            let at = InitialMember {
                peer_addr: slot.addr.clone(),
                http_addr: format!("http-{}", slot.addr),
            };
            Some((slot.id.lock().unwrap().filter(|id| *id < 1_000)?, at))
        };
        self.slots.iter().filter_map(named).collect()
    }

    pub async fn bootstrap(&self, at: usize) -> Result<(), BootstrapError> {
        let node = self.node(at);
        let initial = self.initial();
        let boot = node.bootstrap(&initial);
        tokio::time::timeout(PATIENCE, boot)
            .await
            .expect("the bootstrap takes too long")
    }

    pub async fn start(&self, at: usize) -> Node {
        self.start_with(at, ApplyOptions::default()).await
    }

    /// Starts a node that denies those entries. Alone in that, it ends up with another state.
    pub async fn start_denying(&self, at: usize, deny_at: BTreeSet<u64>) -> Node {
        let apply = ApplyOptions {
            deny_at,
            ..ApplyOptions::default()
        };
        self.start_with(at, apply).await
    }

    /// Starts a node whose program supports the engine epochs from 1 to `newest`.
    pub async fn start_supporting(&self, at: usize, newest: u32) -> Node {
        let epochs = Epochs { oldest: 1, newest };
        let apply = ApplyOptions {
            epochs,
            ..ApplyOptions::default()
        };
        self.start_with(at, apply).await
    }

    async fn start_with(&self, at: usize, apply: ApplyOptions) -> Node {
        let parts = self.open(at, apply).await;
        let parts = parts.unwrap_or_else(|error| panic!("node {at} does not open: {error}"));
        self.start_on(at, parts).await
    }

    /// Opens a node's stores.
    pub async fn open(&self, at: usize, apply: ApplyOptions) -> Result<Parts, OpenError> {
        let slot = &self.slots[at];
        let host = HOST.1.clone();
        let data_dir = Arc::new(DataDir::open(&slot.dir).unwrap());
        let observer: Option<Arc<dyn ApplyObserver>> = Some(Arc::new(Wanted {
            node: slot.id.lock().unwrap().expect("the node has no id yet"),
            wanted: Arc::clone(&self.tune.wanted),
        }));
        match &self.tune.power {
            None => Parts::open(data_dir, host, observer, apply).await,
            Some(power) => {
                let (options, disk) = (Power::log_options(), Arc::clone(power));
                Parts::open_on(data_dir, host, observer, apply, options, disk).await
            }
        }
    }

    async fn start_on(&self, at: usize, parts: Parts) -> Node {
        let slot = &self.slots[at];
        let id = slot.id.lock().unwrap().expect("the node has no id yet");
        let parts = Parts {
            host: Arc::new(Compiling {
                host: Arc::clone(&HOST.1),
                node: id,
                compiling: Arc::clone(&self.tune.compiling),
            }),
            ..parts
        };
        let link = Link {
            net: Arc::clone(&self.net),
            from: slot.addr.clone(),
        };
        let node = Node::start(self.options(id, slot), parts, Arc::new(link))
            .await
            .unwrap();
        self.net.listen(&slot.addr, Arc::new(node.clone()));
        *slot.node.lock().unwrap() = Some(node.clone());
        node
    }

    fn options(&self, id: NodeId, slot: &Slot) -> NodeOptions {
        let offset = self.tune.clock_offset_ms;
        let jump = Arc::clone(&self.tune.clock_jump_ms);
        NodeOptions {
            node_id: id,
            peer_addr: slot.addr.clone(),
            http_addr: format!("http-{}", slot.addr),
            timing: Timing {
                heartbeat_ms: 50,
                election_min_ms: 200,
                election_max_ms: 400,
            },
            snapshot_entries: self.tune.snapshot_entries,
            log_entries_kept: self.tune.log_entries_kept,
            checkpoint_entries: 1_000,
            checkpoint_ms: self.tune.checkpoint_ms,
            bootstrap: self.tune.bootstrap.then(default_bootstrap),
            clock: Arc::new(move || {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
                (now.as_millis() as u64)
                    .saturating_add_signed(offset + jump.load(Ordering::Relaxed))
            }),
            trust_clock: self.tune.trust_clock,
            disk_reserve_bytes: self.tune.disk_reserve_bytes,
            version: "test".to_owned(),
        }
    }

    /// Has a new folder join through the node `through`, and starts it.
    pub async fn join(&mut self, through: usize) -> usize {
        let at = self.add_slot(None);
        let slot = &self.slots[at];
        let incarnation = {
            let data_dir = DataDir::open(&slot.dir).unwrap();
            data_dir.identity().incarnation
        };
        let member = Member {
            peer_addr: slot.addr.clone(),
            http_addr: format!("http-{}", slot.addr),
            incarnation,
        };
        let link = Arc::new(Link {
            net: Arc::clone(&self.net),
            from: slot.addr.clone(),
        });
        let through = [self.slots[through].addr.clone()];
        let joined = bootstrap::join(link.clone(), &through, member.clone(), PATIENCE).await;
        let id = joined.unwrap();
        // The same folder asks again: the same id.
        let again = bootstrap::join(link, &through, member, PATIENCE).await;
        assert_eq!(again, Ok(id));
        *slot.id.lock().unwrap() = Some(id);
        self.start(at).await;
        at
    }

    pub fn node(&self, at: usize) -> Node {
        self.slots[at]
            .node
            .lock()
            .unwrap()
            .clone()
            .expect("the node does not run")
    }

    pub fn running(&self) -> Vec<usize> {
        let runs = |at: &usize| self.slots[*at].node.lock().unwrap().is_some();
        (0..self.slots.len()).filter(runs).collect()
    }

    /// Stops a node as if it were killed: nobody is told.
    pub async fn kill(&self, at: usize) {
        let slot = &self.slots[at];
        self.net.hang_up(&slot.addr);
        let node = slot.node.lock().unwrap().take().unwrap();
        node.halt().await;
        // It may have dialed again in the meantime.
        self.net.hang_up(&slot.addr);
        drop(node);
        self.wait_unlocked(at).await;
    }

    /// Stops a node in good order.
    pub async fn stop(&self, at: usize) {
        let slot = &self.slots[at];
        let node = slot.node.lock().unwrap().take().unwrap();
        node.shutdown().await;
        self.net.hang_up(&slot.addr);
        drop(node);
        self.wait_unlocked(at).await;
    }

    /// The folder is free when the last task of the node has ended.
    async fn wait_unlocked(&self, at: usize) {
        wait_for("the folder is unlocked", || {
            DataDir::open(&self.slots[at].dir).is_ok()
        })
        .await;
    }

    /// What the node `to` answers to a peer of that id and folder.
    pub async fn ask(&self, from: (NodeId, Incarnation), to: usize, ask: Ask) -> Answer {
        self.send(from, to, Request::Ask(ask).encode()).await
    }

    /// The same for the bytes of a request, whatever they are.
    pub async fn send(&self, from: (NodeId, Incarnation), to: usize, body: Bytes) -> Answer {
        let node = self.node(to);
        let answer = node.handle(self.hello(from, to), body).await;
        Answer::decode(&answer.expect("an answer")).unwrap()
    }

    pub fn hello(&self, from: (NodeId, Incarnation), to: usize) -> Hello {
        let party = |node_id, incarnation| Party {
            node_id: Some(node_id),
            incarnation: Some(incarnation),
            run: None,
        };
        let node = self.node(to);
        Hello {
            protocol: PROTOCOL_VERSION,
            channel: Channel::Control,
            cluster_id: None,
            from: party(from.0, from.1),
            to: party(node.id(), node.status().incarnation),
        }
    }

    pub async fn leader(&self) -> usize {
        let leads = |at: &usize| self.node(*at).status().role == Role::Leader;
        wait_some("a leader", || {
            let leaders: Vec<_> = self.running().into_iter().filter(leads).collect();
            leaders
                .into_iter()
                .max_by_key(|at| self.node(*at).status().term)
        })
        .await
    }

    pub async fn follower(&self) -> usize {
        let leader = self.leader().await;
        self.running().into_iter().find(|at| *at != leader).unwrap()
    }

    /// Waits until all running nodes have applied the same, and compares their digests.
    pub async fn settle(&self) -> Revision {
        let states = || -> BTreeSet<Revision> {
            self.running()
                .iter()
                .map(|at| self.node(*at).status().applied)
                .collect()
        };
        wait_for("all nodes have applied the same", || states().len() == 1).await;
        let status = |at| self.node(at).status();
        let digests: BTreeSet<(Revision, String)> = self
            .running()
            .into_iter()
            .map(|at| (status(at).applied, status(at).digest.to_string()))
            .collect();
        assert_eq!(digests.len(), 1, "replicas differ: {digests:?}");
        assert_ne!(digests.first().unwrap().1, Digest::default().to_string());
        digests.first().unwrap().0
    }

    pub async fn printer(&self, at: usize, id: &str) -> Result<WriteOutcome, WriteError> {
        self.printer_keyed(at, id, None).await
    }

    pub async fn printer_keyed(
        &self,
        at: usize,
        id: &str,
        key: Option<&str>,
    ) -> Result<WriteOutcome, WriteError> {
        let request = WriteRequest {
            command: Command::CreatePrinter(CreatePrinter {
                id: Some(PrinterId::new(id)),
                company: "Acme".to_owned(),
                model: "M".to_owned(),
                ..CreatePrinter::default()
            }),
            asked: None,
            actor: Actor {
                name: "tester".to_owned(),
                verified: false,
            },
            idempotency_key: key.map(RequestId::new),
            timeout: Duration::from_secs(20),
        };
        self.node(at).write(request).await
    }

    /// The printers that a linearizable read on that node shows.
    pub async fn printers(&self, at: usize) -> Result<Vec<String>, ReadError> {
        self.printers_with(at, Consistency::Linearizable, None)
            .await
    }

    pub async fn printers_with(
        &self,
        at: usize,
        consistency: Consistency,
        min_revision: Option<Revision>,
    ) -> Result<Vec<String>, ReadError> {
        let timeout = Duration::from_secs(20);
        let options = ReadOptions {
            consistency,
            min_revision,
            timeout,
        };
        let view = self.node(at).read(options).await?;
        let list = printers::list(&view, None, 10_000).unwrap();
        Ok(list.into_iter().map(|p| p.id.to_string()).collect())
    }
}

pub fn accepted(outcome: &WriteOutcome) -> &Accepted {
    match &outcome.response {
        Response::Accepted(accepted) => accepted,
        Response::Rejected(rejection) => panic!("rejected: {rejection:?}"),
    }
}

pub async fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    wait_some(what, || condition().then_some(())).await;
}

pub async fn wait_some<T>(what: &str, mut get: impl FnMut() -> Option<T>) -> T {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        if let Some(value) = get() {
            return value;
        }
        assert!(
            tokio::time::Instant::now() < end,
            "waited too long for: {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
