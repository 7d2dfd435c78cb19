//! What the rest of the node sees of the state machine.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::runtime::watch;
use crate::storage::snapshot::{IncomingSnapshot, SnapshotError, SnapshotHandle, SnapshotStore};
use crate::storage::state::{StateStore, StateView};
use raft3d_core::Revision;
use raft3d_core::state::digest::Digest;

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

pub(super) struct Shared {
    pub(super) state: StateStore,
    pub(super) snapshots: SnapshotStore,
    applied: watch::Sender<Revision>,
    checkpoints: Mutex<VecDeque<Checkpoint>>,
    fault: OnceLock<String>,
}

impl Shared {
    pub(super) fn new(state: StateStore, snapshots: SnapshotStore) -> Self {
        let (applied, _) = watch::channel(state.view().revision());
        Self {
            state,
            snapshots,
            applied,
            checkpoints: Mutex::new(VecDeque::new()),
            fault: OnceLock::new(),
        }
    }

    /// Tells who waits that `view` is visible. Clients are answered after this, so that one who
    /// reads what it wrote waits for nothing.
    pub(super) fn publish(&self, view: &StateView, checkpoints: &[Checkpoint]) {
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
    /// See [`SnapshotError`].
    pub fn build_snapshot(&self) -> Result<SnapshotHandle, SnapshotError> {
        self.shared.snapshots.build(&self.view())
    }
}

impl fmt::Debug for StateHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateHandle")
            .field("state", &self.shared.state)
            .finish_non_exhaustive()
    }
}
