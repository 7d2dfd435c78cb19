//! What the rest of the node sees of the state machine.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use raft3d_core::state::digest::Digest;
use raft3d_core::state::meta::LogTime;
use raft3d_core::state::modules;
use raft3d_core::{LocalFault, ModuleDigest, Revision};

use super::background::nicely;
use super::{ApplyObserver, Denials};
use crate::raft::api::DeniedStatus;
use crate::runtime::watch;
use crate::storage::snapshot::{IncomingSnapshot, SnapshotError, SnapshotHandle, SnapshotStore};
use crate::storage::state::{ROOM_PAUSE, StateError, StateStore, StateView};

/// Between two tries to write on a full disk, at least.
const TRY_PAUSE: Duration = Duration::from_secs(1);
/// Free room with which it is tried again, bytes: with less, a try would only use that up.
const TRY_ROOM_MIN: u64 = 16 * 1024 * 1024;
/// It is tried again after so long whatever is free: a disk may be small, or a quota be what is full.
const TRY_PAUSE_MAX: Duration = Duration::from_secs(30);
/// Checkpoints that are remembered for comparison with other nodes.
const CHECKPOINTS_KEPT_MAX: usize = 16;

/// The digest of the rows right after a checkpoint entry: comparable between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Log index of the entry.
    pub index: Revision,
    /// Digest of all rows after it.
    pub digest: Digest,
}

/// How the merging of table files goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::raft) struct Merging {
    /// Its thread has failed: nothing is merged any more.
    pub(in crate::raft) has_stopped: bool,
    /// It waits for room on the disk.
    pub(in crate::raft) waits_for_room: bool,
}

pub(super) struct Shared {
    pub(super) state: StateStore,
    pub(super) snapshots: SnapshotStore,
    pub(super) denials: Arc<Denials>,
    applied: watch::Sender<Revision>,
    checkpoints: Mutex<VecDeque<Checkpoint>>,
    log_time: Mutex<LogTime>,
    fault: OnceLock<String>,
    observer: Option<Arc<dyn ApplyObserver>>,
}

impl Shared {
    pub(super) fn new(
        state: StateStore,
        snapshots: SnapshotStore,
        denials: Arc<Denials>,
        observer: Option<Arc<dyn ApplyObserver>>,
        log_time: LogTime,
    ) -> Self {
        let (applied, _) = watch::channel(state.view().revision());
        Self {
            state,
            snapshots,
            denials,
            applied,
            checkpoints: Mutex::new(VecDeque::new()),
            log_time: Mutex::new(log_time),
            fault: OnceLock::new(),
            observer,
        }
    }

    /// Tells who waits that `view` is visible. Clients are answered after this, so that one who
    /// reads what it wrote waits for nothing.
    pub(super) fn publish(&self, view: &StateView, checkpoints: &[Checkpoint], log_time: LogTime) {
        *self.log_time.lock().unwrap_or_else(PoisonError::into_inner) = log_time;
        if !checkpoints.is_empty() {
            let mut kept = self
                .checkpoints
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            kept.extend(checkpoints);
            while kept.len() > CHECKPOINTS_KEPT_MAX {
                kept.pop_front();
            }
        }
        self.applied.send_replace(view.revision());
    }

    /// Writes something; while the disk is full, tries again and says so. What is written so long is
    /// in memory or in the log. Gives up when the node stops.
    pub(super) fn when_there_is_room<T>(
        &self,
        what: &str,
        write: impl Fn() -> Result<T, StateError>,
    ) -> Result<T, StateError> {
        let mut told = false;
        loop {
            let error = match write() {
                Err(error) if error.is_full() && !self.state.is_closing() => error,
                done => {
                    if told && done.is_ok() {
                        tracing::info!(what, "there is room on the disk again");
                    }
                    return done;
                }
            };
            if !std::mem::replace(&mut told, true) {
                tracing::error!(what, %error, "the disk is full; it is tried again");
            }
            let failed = Instant::now();
            let waits = || {
                let has_room = || {
                    self.state
                        .free_bytes()
                        .is_none_or(|free| free >= TRY_ROOM_MIN)
                };
                let since = failed.elapsed();
                since < TRY_PAUSE || (since < TRY_PAUSE_MAX && !has_room())
            };
            while !self.state.is_closing() && waits() {
                std::thread::sleep(ROOM_PAUSE);
            }
        }
    }

    /// Writes a snapshot of `view`, without pushing aside those who apply.
    ///
    /// Invariant: the table files reach at least as far as a snapshot that is current. The log may
    /// be purged up to there, so a state that is behind would have to be loaded from the snapshot
    /// at the next start (test `a_snapshot_is_never_ahead_of_the_table_files`).
    pub(super) fn build_snapshot(&self, view: &StateView) -> Result<SnapshotHandle, StateError> {
        let built = nicely(|| {
            self.when_there_is_room("a snapshot", || {
                self.state.flush()?;
                self.snapshots.build(view).map_err(StateError::from)
            })
        });
        let built = built.map_err(|error| LocalFault::Runtime(error.to_string()))?;
        if let Err(StateError::Snapshot(error @ SnapshotError::DigestMismatch { .. })) = &built {
            self.state.mark_damaged(&error.to_string());
        }
        built
    }

    /// Keeps the first fault for the status, and answers it as openraft wants it.
    pub(super) fn set_fault(&self, message: String) -> io::Error {
        let first = self.fault.get_or_init(|| message);
        // Whoever waits for a revision that now never comes looks at the fault.
        self.applied.send_modify(|_| {});
        io::Error::other(first.clone())
    }

    pub(super) fn check_fault(&self) -> io::Result<()> {
        match self.fault.get() {
            Some(fault) => Err(io::Error::other(fault.clone())),
            None => Ok(()),
        }
    }
}

/// Reads the state while the state machine writes it. Cheap to clone.
#[derive(Clone)]
pub struct StateHandle {
    shared: Arc<Shared>,
}

impl StateHandle {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// A view of the newest revision.
    #[must_use]
    pub fn view(&self) -> StateView {
        self.shared.state.view()
    }

    /// Follows the last applied revision. Changes after [`StateHandle::view`] shows it and before
    /// its client is answered; also when a fault was kept.
    #[must_use]
    pub fn applied(&self) -> watch::Receiver<Revision> {
        self.shared.applied.subscribe()
    }

    /// Log time as of the newest revision, and how it is to go on.
    #[must_use]
    pub fn log_time(&self) -> LogTime {
        *self
            .shared
            .log_time
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The last checkpoints that were applied since the start, oldest first.
    #[must_use]
    pub fn checkpoints(&self) -> Vec<Checkpoint> {
        let kept = self
            .shared
            .checkpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        kept.iter().copied().collect()
    }

    /// Why the replica stopped; none while it runs.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.shared.fault.get().cloned()
    }

    /// The newest snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Option<SnapshotHandle> {
        self.shared.snapshots.current()
    }

    /// Begins to receive a snapshot from another node.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn begin_incoming(&self) -> Result<IncomingSnapshot, SnapshotError> {
        self.shared.snapshots.begin_incoming()
    }

    /// Writes a snapshot of the newest revision now, or answers the one that is there. Blocks.
    ///
    /// # Errors
    /// See [`StateError`].
    pub fn build_snapshot(&self) -> Result<SnapshotHandle, StateError> {
        self.shared.build_snapshot(&self.view())
    }

    /// The log entries that this node denies, by index.
    #[must_use]
    pub fn denied(&self) -> Vec<DeniedStatus> {
        self.shared.denials.status()
    }

    /// How the merging of table files goes. May wait for a write of table files: not for a thread of
    /// the runtime.
    pub(in crate::raft) fn merging(&self) -> Merging {
        Merging {
            has_stopped: self.shared.state.has_stopped_merging(),
            waits_for_room: self.shared.state.merge_waits_for_room(),
        }
    }

    /// The entries that this node denies.
    pub(in crate::raft) fn denials(&self) -> &Denials {
        &self.shared.denials
    }

    /// Tells the observer that `module` is wanted compiled. One that the state does not hold, or that
    /// cannot be read, is for whoever applies to complain about.
    pub(in crate::raft) fn want_compiled(&self, module: ModuleDigest) {
        if let Some(observer) = &self.shared.observer {
            observer.module_wanted(module, &|| modules::bytes(&self.view(), module).ok()?);
        }
    }

    /// From now on nothing waits for room on the disk.
    pub(in crate::raft) fn close(&self) {
        self.shared.state.close();
    }

    /// Loses what is in memory alone when the state machine is dropped, as a kill does; otherwise
    /// it is written then. For simulations.
    pub fn abandon(&self) {
        self.shared.state.abandon();
    }
}

impl fmt::Debug for StateHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateHandle")
            .field("state", &self.shared.state)
            .finish_non_exhaustive()
    }
}
