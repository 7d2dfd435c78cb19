//! The state machine as openraft drives it: committed entries in, answers out.
//!
//! Entries are applied in chunks. A chunk is decoded and applied on an overlay in memory, made
//! visible in one step, and only then are its clients answered.
//!
//! Apply evaluates policies, so it is a matter of microseconds or milliseconds, and of minutes where
//! a module is still being compiled. It runs where openraft asks for it, and no entry crosses a
//! queue: a short chunk as any other task does; a long one in `block_in_place`, so that the other
//! tasks of that runtime thread move on to another one ([`IN_TASK_MAX`]); and whatever has to wait in
//! the middle of a chunk does that for itself.

mod background;
mod chunk;
mod denials;
mod handle;
mod hot_rows;
mod sabotaged;

use std::collections::BTreeSet;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt};
use openraft::OptionalSend;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use raft3d_core::event::Event;
use raft3d_core::state::meta::{self, LogTime};
use raft3d_core::state::rulesets::DecodedRuleset;
use raft3d_core::{Epochs, LocalFault, ModuleDigest, PolicyHost};
use tracing::error;

use super::types::{LeaderId, LogId, Member, NodeId, StoredMembership, TypeConfig};
use crate::runtime;
use crate::storage::snapshot::{SnapshotHandle, SnapshotMeta};
use crate::storage::state::{StateError, StateView, recovery};
use background::Background;
use chunk::{Applying, Chunk};
pub(in crate::raft) use denials::Denials;
pub(in crate::raft) use handle::Merging;
use handle::Shared;
pub use handle::{Checkpoint, StateHandle};
use hot_rows::HotRows;

/// A snapshot as openraft passes it around.
type CurrentSnapshot = Snapshot<LeaderId, NodeId, Member, SnapshotHandle>;

/// Most entries that are applied, written and answered together. More of them cost the first
/// client more time than a batch saves.
const CHUNK_ENTRIES_MAX: usize = 64;
/// Most bytes of payload in one chunk; an entry that is larger makes a chunk of its own.
const CHUNK_BYTES_MAX: usize = 1024 * 1024;

/// A chunk that should take no longer is applied as any other task of the runtime: to hand the
/// thread's tasks over costs two switches of threads, and one of them is on the way of every answer.
const IN_TASK_MAX: Duration = Duration::from_millis(4);

/// Who wants to know what was applied. Called after the batch is visible, in the order of the
/// log, from the thread that applies: what takes long belongs elsewhere.
pub trait ApplyObserver: Send + Sync + 'static {
    /// A module was uploaded: a good time to compile it.
    fn module_uploaded(&self, _module: ModuleDigest, _bytes: &[u8]) {}

    /// Somebody asked whether this module of the state is compiled here, and it is not. `bytes` reads
    /// it. Called again and again while an activation waits for it.
    fn module_wanted(&self, _module: ModuleDigest, _bytes: &dyn Fn() -> Option<Vec<u8>>) {}

    /// Events that are new. Not called for what a snapshot brought.
    fn events(&self, _events: &[Event]) {}

    /// All rows were replaced by a snapshot's.
    fn state_replaced(&self, _view: &StateView) {}
}

/// How to open the state.
#[derive(Clone, Debug)]
pub struct StateOptions {
    /// The node's data folder.
    pub data_dir: PathBuf,
    /// The last log index that is purged, as the log store says; none where nothing is.
    pub purged_index: Option<u64>,
    /// How entries are applied.
    pub apply: ApplyOptions,
}

/// How entries are applied. Nothing here may make a difference between replicas.
#[derive(Clone, Debug, Default)]
pub struct ApplyOptions {
    /// The engine epochs that this program supports.
    pub epochs: Epochs,
    /// Entries that are answered with a fixed rejection and not evaluated (`--deny-at`): the way
    /// out if one entry stops every node. To be given identically on every node, or their states
    /// differ from there on, until the log records it.
    pub deny_at: BTreeSet<u64>,
}

/// The replicated state machine of one node.
pub struct StateMachine {
    shared: Arc<Shared>,
    applying: Applying,
    background: Background,
    /// The longest that an entry took lately; none before the first one. It decides on which thread
    /// the next chunk is applied, and nothing else.
    entry_took: Option<Duration>,
}

impl StateMachine {
    /// Opens state and snapshots; rebuilds what is damaged where it can be rebuilt. Reads all of
    /// their files, so it may take a second, and blocks for as long.
    ///
    /// Called within a runtime of several threads, it writes table files and recomputes the digest
    /// on threads of its own; otherwise the former is done inside apply and the latter not at all,
    /// so that a simulation is in charge of all that happens.
    ///
    /// # Errors
    /// See [`StateError`]: each message says what to do.
    pub fn open(
        options: StateOptions,
        host: Arc<dyn PolicyHost>,
        observer: Option<Arc<dyn ApplyObserver>>,
    ) -> Result<Self, StateError> {
        let ApplyOptions { epochs, deny_at } = options.apply;
        let (state, snapshots) = recovery::open(&options.data_dir, options.purged_index)?;
        epochs.check(meta::epoch(&state.view())?)?;
        let view = state.view();
        let applied = view.revision().0;
        let denials = Denials::open(&options.data_dir, deny_at, &view, applied)?;
        let denials = Arc::new(denials);
        let log_time = meta::log_time(&view)?;
        let known = Arc::clone(&denials);
        let shared = Shared::new(state, snapshots, known, observer.clone(), log_time);
        let shared = Arc::new(shared);
        let background = Background::start(&shared)
            .map_err(|error| LocalFault::Runtime(format!("starting a thread: {error}")))?;
        Ok(Self {
            shared,
            background,
            entry_took: None,
            applying: Applying {
                host,
                observer,
                denials,
                epochs,
                hot_rows: HotRows::default(),
                ruleset: DecodedRuleset::default(),
            },
        })
    }

    /// What the rest of the node reads: views, progress, checkpoints, snapshots.
    #[must_use]
    pub fn handle(&self) -> StateHandle {
        StateHandle::new(Arc::clone(&self.shared))
    }

    /// The engine epochs that it supports.
    #[must_use]
    pub fn epochs(&self) -> Epochs {
        self.applying.epochs
    }

    /// Applies a chunk on the thread that its length asks for.
    fn apply_here(&mut self, chunk: Chunk) -> io::Result<()> {
        let entries = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
        let expected = self.entry_took.map(|took| took.saturating_mul(entries));
        let start = Instant::now();
        let applied = if expected.is_some_and(|expected| expected <= IN_TASK_MAX) {
            self.apply_chunk(chunk)
        } else {
            runtime::in_place(|| self.apply_chunk(chunk))
        };
        let took = start.elapsed() / entries.max(1);
        // One cheap chunk says little of the next.
        self.entry_took = Some(took.max(self.entry_took.unwrap_or_default() / 2));
        applied
    }

    /// Applies and writes one chunk, and answers its clients.
    ///
    /// Invariant: a fault leaves the state as it was before the chunk, answers nobody and stops
    /// the replica (test `a_local_fault_drops_the_chunk_and_stops_the_replica`).
    fn apply_chunk(&mut self, chunk: Chunk) -> io::Result<()> {
        self.shared.check_fault()?;
        let first = chunk.first_index();
        let applied = catch_unwind(AssertUnwindSafe(|| {
            let applied = self.applying.run(&self.shared.state.view(), chunk)?;
            let (known, head) = (applied.known, applied.head);
            let effects = &applied.effects;
            let denials = &self.applying.denials;
            denials.remember(&effects.denied, &effects.recorded)?;
            let is_flush_due = self.shared.state.commit(&known.changes(), head.clone())?;
            self.applying.hot_rows.keep(known, &head);
            Ok((is_flush_due, applied.effects))
        }));
        let fault = match applied {
            Ok(Ok((is_flush_due, effects))) => {
                self.shared.publish(
                    &self.shared.state.view(),
                    &effects.checkpoints,
                    effects.log_time,
                );
                effects.answer(self.applying.observer.as_deref());
                if is_flush_due {
                    self.background.flush(&self.shared)?;
                }
                return Ok(());
            }
            Ok(Err(fault)) => fault,
            Err(_) => LocalFault::Runtime("apply panicked".to_owned()),
        };
        let way_out = if fault.may_be_the_entrys() {
            "Clear the cause and restart this node; if every node fails at the same entry, restart \
             all of them with --deny-at and its index"
        } else {
            "Clear the cause and restart this node"
        };
        let message = format!(
            "applying the chunk of the log from index {first} on failed: {fault}. Nothing of it \
             was kept. {way_out}"
        );
        error!("{message}");
        Err(self.shared.set_fault(message))
    }

    /// The file first: cut short here, the next start loads it from there.
    fn switch_to(&self, snapshot: &SnapshotHandle) -> Result<(StateView, LogTime), StateError> {
        self.applying.epochs.check(snapshot.header().engine_epoch)?;
        let adopted = self.shared.snapshots.adopt(snapshot.clone())?;
        let view = self.shared.state.install(&adopted)?;
        let log_time = meta::log_time(&view)?;
        Ok((view, log_time))
    }

    fn install(&self, meta: &SnapshotMeta, snapshot: SnapshotHandle) -> io::Result<()> {
        self.shared.check_fault()?;
        if snapshot.meta() != *meta {
            return Err(io::Error::other(format!(
                "the snapshot is of {:?}, not of {:?}",
                snapshot.header().last_log_id,
                meta.last_log_id
            )));
        }
        let switched = self
            .shared
            .when_there_is_room("a snapshot's rows", || self.switch_to(&snapshot));
        match switched {
            Ok((view, log_time)) => {
                let applied = view.revision().0;
                if let Err(fault) = self.shared.denials.replaced(&view, applied) {
                    return Err(self.shared.set_fault(fault.to_string()));
                }
                self.shared.publish(&view, &[], log_time);
                if let Some(observer) = &self.applying.observer {
                    observer.state_replaced(&view);
                }
                Ok(())
            }
            Err(error) => {
                let message = format!("installing {} failed: {error}", snapshot.path().display());
                error!("{message}");
                Err(self.shared.set_fault(message))
            }
        }
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotHandle;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let view = self.shared.state.view();
        Ok((view.last_applied(), view.membership().clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        self.shared.denials.opened().await?;
        let mut chunk = Chunk::default();
        while let Some(entry) = entries.next().await {
            let (entry, responder) = entry?;
            chunk.push(entry, responder);
            if chunk.is_full() {
                let full = std::mem::take(&mut chunk);
                self.apply_here(full)?;
            }
        }
        if chunk.is_empty() {
            Ok(())
        } else {
            self.apply_here(chunk)
        }
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder {
            shared: Arc::clone(&self.shared),
            view: self.shared.state.view(),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotHandle,
    ) -> io::Result<()> {
        runtime::in_place(|| self.install(meta, snapshot))
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<CurrentSnapshot>> {
        let current = self.shared.snapshots.current();
        Ok(current.map(|snapshot| Snapshot {
            meta: snapshot.meta(),
            snapshot,
        }))
    }
}

/// Writes a snapshot file of the view that it was made with, while applies go on.
pub struct SnapshotBuilder {
    shared: Arc<Shared>,
    view: StateView,
}

impl RaftSnapshotBuilder<TypeConfig> for SnapshotBuilder {
    type SnapshotData = SnapshotHandle;

    async fn build_snapshot(&mut self) -> io::Result<CurrentSnapshot> {
        let (shared, view) = (Arc::clone(&self.shared), self.view.clone());
        let built = runtime::off_thread(move || {
            shared.build_snapshot(&view).map_err(|error| {
                let message = format!("making a snapshot failed: {error}");
                error!("{message}");
                shared.set_fault(message)
            })
        });
        let snapshot = built.await??;
        Ok(Snapshot {
            meta: snapshot.meta(),
            snapshot,
        })
    }
}
