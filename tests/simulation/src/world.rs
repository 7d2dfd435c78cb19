//! What all hosts of a simulation share: clock, trace, records, and what outlives processes.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use raft3d_checkers::history::Recorder;
use raft3d_core::Epochs;
use raft3d_engine::raft::bootstrap::InitialMember;
use raft3d_engine::raft::machine::StateHandle;
use raft3d_engine::raft::node::{NodeOptions, Timing};
use raft3d_engine::raft::{Node, NodeId};
use tempfile::TempDir;

use crate::client::ClientCalls;
use crate::disk::SimDisk;
use crate::judge::Violation;
use crate::net::PORT;
use crate::plan::Tune;
use crate::policies::Policies;
use crate::random::Random;
use crate::stats::Stats;
use crate::trace::{Clock, Trace};

/// Where simulated clocks begin, in milliseconds since the Unix epoch.
const EPOCH_MS: u64 = 1_700_000_000_000;

/// One node's place: its name, folder and disk, whether a process runs there or not.
pub struct Slot {
    /// Number, from 0.
    pub at: usize,
    /// Host name.
    pub name: String,
    pub(crate) dir: PathBuf,
    pub(crate) disk: Arc<SimDisk>,
    pub(crate) skew_ms: AtomicI64,
    pub(crate) boots: AtomicU64,
    /// Whether it joins a cluster rather than beginning one.
    pub(crate) joins: bool,
    /// Whether what starts there next supports the next engine epoch too.
    pub(crate) is_upgraded: AtomicBool,
    state: Mutex<SlotState>,
}

/// What changes of a slot.
#[derive(Default)]
pub(crate) struct SlotState {
    pub(crate) id: Option<NodeId>,
    /// The process, as far as it got.
    pub(crate) node: Option<Node>,
    pub(crate) machine: Option<StateHandle>,
    /// Why the process has ended by itself.
    pub(crate) died: Option<String>,
    /// The membership does not have it any more.
    pub(crate) removed: bool,
    pub(crate) fenced: bool,
}

impl Slot {
    pub(crate) fn state(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn id(&self) -> Option<NodeId> {
        self.state().id
    }

    pub(crate) fn node(&self) -> Option<Node> {
        self.state().node.clone()
    }

    /// Forgets the process.
    pub(crate) fn clear(&self) {
        let mut state = self.state();
        let gone = (state.node.take(), state.machine.take(), state.died.take());
        drop(state);
        drop(gone);
    }

    /// What the program that starts there supports.
    pub(crate) fn epochs(&self) -> Epochs {
        let newer = u32::from(self.is_upgraded.load(Ordering::Relaxed));
        Epochs {
            oldest: 1,
            newest: 1 + newer,
        }
    }

    pub(crate) fn peer_addr(&self) -> String {
        format!("{}:{PORT}", self.name)
    }

    pub(crate) fn http_addr(&self) -> String {
        format!("{}:80", self.name)
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// See the module.
pub struct World {
    /// The seed.
    pub seed: u64,
    /// Simulated time.
    pub clock: Clock,
    /// Operations, marks and digests.
    pub recorder: Recorder,
    /// Calls of clients under way.
    pub(crate) calls: ClientCalls,
    pub(crate) policies: Arc<Policies>,
    pub(crate) tune: Tune,
    /// Whether the clients are to stop.
    pub(crate) quiet: AtomicBool,
    /// So many of a hundred datagrams are lost.
    pub(crate) loss_percent: AtomicU64,
    net_random: Mutex<Random>,
    trace: Trace,
    stats: Mutex<Stats>,
    violations: Mutex<Vec<Violation>>,
    slots: Mutex<Vec<Arc<Slot>>>,
    root: TempDir,
}

impl World {
    pub(crate) fn new(seed: u64, tune: Tune, policies: Arc<Policies>, trace: Trace) -> Self {
        Self {
            seed,
            clock: Clock::default(),
            recorder: Recorder::new(),
            calls: ClientCalls::default(),
            policies,
            tune,
            quiet: AtomicBool::new(false),
            loss_percent: AtomicU64::new(0),
            net_random: Mutex::new(Random::of(seed, 1)),
            trace,
            stats: Mutex::default(),
            violations: Mutex::default(),
            slots: Mutex::default(),
            root: folder(),
        }
    }

    pub(crate) fn add_slot(&self, joins: bool) -> Arc<Slot> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let at = slots.len();
        let id = (!joins).then_some(at as NodeId + 1);
        let slot = Arc::new(Slot {
            at,
            name: format!("n{}", at + 1),
            dir: self.root.path().join(format!("n{}", at + 1)),
            disk: Arc::new(SimDisk::new(Random::of(self.seed, 100 + at as u64))),
            skew_ms: AtomicI64::new(0),
            boots: AtomicU64::new(0),
            joins,
            // Whoever adds a node takes the newest program.
            is_upgraded: AtomicBool::new(joins),
            state: Mutex::new(SlotState {
                id,
                ..SlotState::default()
            }),
        });
        slots.push(Arc::clone(&slot));
        slot
    }

    pub(crate) fn slots(&self) -> Vec<Arc<Slot>> {
        self.slots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn slot(&self, at: usize) -> Option<Arc<Slot>> {
        self.slots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(at)
            .cloned()
    }

    /// Adds an event to the trace.
    pub(crate) fn trace(&self, what: fmt::Arguments<'_>) {
        self.trace.event(self.clock.now_ms(), what);
    }

    pub(crate) fn finish_trace(&self) -> (String, u64) {
        self.trace.finish()
    }

    pub(crate) fn stats(&self) -> MutexGuard<'_, Stats> {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count(&self, event: &str) {
        self.stats().event(event);
    }

    /// States something that did not hold.
    pub(crate) fn blame(&self, judge: &str, what: impl Into<String>) {
        let (judge, what) = (judge.to_owned(), what.into());
        self.violations().push(Violation { judge, what });
    }

    /// What did not hold so far.
    pub(crate) fn violations(&self) -> MutexGuard<'_, Vec<Violation>> {
        self.violations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::Relaxed)
    }

    pub(crate) fn loses_datagram(&self) -> bool {
        let percent = self.loss_percent.load(Ordering::Relaxed);
        let mut random = self
            .net_random
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        percent > 0 && random.percent(percent)
    }

    /// The members that the cluster begins with.
    pub(crate) fn initial(&self) -> BTreeMap<NodeId, InitialMember> {
        let named = |slot: &Arc<Slot>| {
            let at = InitialMember {
                peer_addr: slot.peer_addr(),
                http_addr: slot.http_addr(),
            };
            Some((slot.id()?, at))
        };
        let slots = self.slots();
        slots
            .iter()
            .filter(|s| !s.joins)
            .filter_map(named)
            .collect()
    }

    pub(crate) fn node_options(self: &Arc<Self>, slot: &Arc<Slot>, node_id: NodeId) -> NodeOptions {
        let (world, of) = (Arc::clone(self), Arc::clone(slot));
        NodeOptions {
            node_id,
            peer_addr: slot.peer_addr(),
            http_addr: slot.http_addr(),
            timing: Timing {
                heartbeat_ms: 50,
                election_min_ms: 150,
                election_max_ms: 300,
            },
            snapshot_entries: self.tune.snapshot_entries,
            log_entries_kept: self.tune.log_entries_kept,
            checkpoint_entries: 60,
            checkpoint_ms: 1_000,
            bootstrap: Some(self.policies.bootstrap()),
            clock: Arc::new(move || {
                let now_ms = EPOCH_MS + world.clock.now_ms();
                now_ms.saturating_add_signed(of.skew_ms.load(Ordering::Relaxed))
            }),
            trust_clock: false,
            disk_reserve_bytes: None,
            version: "simulation".to_owned(),
        }
    }
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

/// A folder for the nodes' states, in memory where the system has such a place.
fn folder() -> TempDir {
    let memory = PathBuf::from("/dev/shm");
    let made = TempDir::with_prefix_in("raft3d-simulation-", memory);
    made.or_else(|_| TempDir::with_prefix("raft3d-simulation-"))
        .expect("a temporary folder")
}
