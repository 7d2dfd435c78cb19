//! What a node needs of its log beside openraft's own trait.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::storage::log::{LogError, LogHealth, LogStore};

/// A log as the node watches over it and closes it. Production has [`LogStore`]; the simulation
/// has one in memory, on a disk that forgets what was not synced.
pub trait LogHandle: Send + Sync + 'static {
    /// Tells of the fault that stopped the log, once there is one.
    fn fault(&self) -> watch::Receiver<Option<Arc<LogError>>>;

    /// Bytes of entries written since it was opened. A simulation's states are too small for this
    /// to matter: its log says 0.
    fn bytes_written(&self) -> u64;

    /// How the log's writer keeps up. A simulation's disk has no room that runs out by itself.
    fn health(&self) -> LogHealth {
        LogHealth::default()
    }

    /// Returns once everything that was asked for before is synced.
    ///
    /// # Errors
    /// The log stopped.
    fn synced(&self) -> BoxFuture<'_, Result<(), LogError>>;

    /// Syncs what is queued and takes nothing more.
    ///
    /// # Errors
    /// The log had stopped, or stopped over this.
    fn close(&self) -> BoxFuture<'_, Result<(), LogError>>;
}

impl LogHandle for LogStore {
    fn fault(&self) -> watch::Receiver<Option<Arc<LogError>>> {
        Self::fault(self)
    }

    fn bytes_written(&self) -> u64 {
        self.stats().bytes
    }

    fn health(&self) -> LogHealth {
        Self::health(self)
    }

    fn synced(&self) -> BoxFuture<'_, Result<(), LogError>> {
        Self::synced(self).boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), LogError>> {
        Self::close(self).boxed()
    }
}
