//! A disk without room: what was to be written stays in memory, within bounds, until there is some.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;

use raft3d_core::LocalFault;

use super::{PENDING_BYTES_MAX, StateError, StateStore};
use crate::storage::room;
use crate::storage::snapshot::SnapshotError;

/// Between two looks whether there is room again.
pub(crate) const ROOM_PAUSE: Duration = Duration::from_millis(250);

impl StateError {
    /// Whether there is no room on the disk: it may be tried again.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::Io { source, .. }
            | Self::Refused(source)
            | Self::Snapshot(SnapshotError::Io { source, .. }) => room::is_full(source),
            _ => false,
        }
    }
}

impl StateStore {
    /// Waits until less than twice what is written at once is in memory: for whoever writes table
    /// files, and, on a full disk, for room there.
    ///
    /// # Errors
    /// A fault of the store, or it is being closed.
    pub(super) fn wait_until_written(&self) -> Result<(), LocalFault> {
        loop {
            drop(self.lock_writing());
            self.check_written()?;
            let newest = self.newest.read().unwrap_or_else(PoisonError::into_inner);
            if newest.pending.bytes() < 2 * PENDING_BYTES_MAX {
                return Ok(());
            }
            drop(newest);
            if self.is_closing() {
                let message = "it is stopping while its disk is full".to_owned();
                return Err(LocalFault::Storage(message));
            }
            std::thread::sleep(ROOM_PAUSE);
        }
    }

    /// From now on nobody waits for room on the disk.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Whether nobody is to wait any more.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }
}
