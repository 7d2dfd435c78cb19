//! The stores that a node runs on, opened in the right order.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use openraft::storage::RaftLogStorage;
use raft3d_core::PolicyHost;
use thiserror::Error;

use super::machine::{ApplyObserver, StateMachine, StateOptions};
use crate::storage::data_dir::DataDir;
use crate::storage::log::{LogError, LogOptions, LogStore};
use crate::storage::state::StateError;

/// The stores that a node runs on, opened.
pub struct Parts {
    /// The Raft log.
    pub log: LogStore,
    /// The state machine.
    pub machine: StateMachine,
    /// The folder that they lie in; stays locked while the node runs.
    pub data_dir: Arc<DataDir>,
}

/// Why the stores do not open; each message says what to do.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log cannot be read.
    #[error("cannot read the log's state: {0}")]
    Read(#[from] std::io::Error),
    /// The state.
    #[error(transparent)]
    State(#[from] StateError),
    /// A thread ended before it was done.
    #[error("opening the stores was cut short: {0}")]
    CutShort(String),
}

impl Parts {
    /// Opens log, state and snapshots of a data folder; what is damaged and can be rebuilt is.
    /// Entries at `deny_at` are answered with a fixed rejection and not evaluated.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(
        data_dir: Arc<DataDir>,
        host: Arc<dyn PolicyHost>,
        observer: Option<Arc<dyn ApplyObserver>>,
        deny_at: BTreeSet<u64>,
    ) -> Result<Self, OpenError> {
        let log_dir = data_dir.log_dir();
        // A node that knows its cluster had a log: one that is missing is a loss and not a start.
        let must_exist = data_dir.identity().cluster_id.is_some();
        let mut log = off_thread(move || {
            LogStore::open(
                &log_dir,
                LogOptions {
                    must_exist,
                    ..LogOptions::default()
                },
            )
        })
        .await??;
        let purged_index = log
            .get_log_state()
            .await?
            .last_purged_log_id
            .map(|id| id.index);
        let folder: PathBuf = data_dir.path().to_owned();
        let options = StateOptions {
            data_dir: folder,
            purged_index,
            deny_at,
        };
        let machine = off_thread(move || StateMachine::open(options, host, observer)).await??;
        Ok(Self {
            log,
            machine,
            data_dir,
        })
    }
}

/// Runs what reads whole files off the async threads.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, OpenError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| OpenError::CutShort(e.to_string()))
}
