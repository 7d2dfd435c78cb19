//! The stores that a node runs on, opened in the right order.

use std::path::PathBuf;
use std::sync::Arc;

use openraft::storage::RaftLogStorage;
use raft3d_core::PolicyHost;
use thiserror::Error;

use super::log_handle::LogHandle;
use super::machine::{ApplyObserver, ApplyOptions, StateMachine, StateOptions};
use super::types::TypeConfig;
use crate::runtime;
use crate::storage::data_dir::DataDir;
use crate::storage::log::{Disk, LogError, LogOptions, LogStore, RealDisk};
use crate::storage::room;
use crate::storage::state::StateError;

/// The stores that a node runs on, opened.
pub struct Parts<L = LogStore> {
    /// The Raft log.
    pub log: L,
    /// The state machine.
    pub machine: StateMachine,
    /// The folder that they lie in; stays locked while the node runs.
    pub data_dir: Arc<DataDir>,
    /// Who evaluates policies.
    pub host: Arc<dyn PolicyHost>,
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

impl OpenError {
    /// Whether there is no room on the disk: it may be tried again.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Log(LogError::Io { error, .. }) | Self::Read(error) => room::is_full(error),
            Self::State(error) => error.is_full(),
            Self::Log(_) | Self::CutShort(_) => false,
        }
    }

    /// Whether another version of this program is to be run on the folder.
    #[must_use]
    pub const fn is_of_other_version(&self) -> bool {
        match self {
            Self::Log(error) => error.is_of_other_version(),
            Self::State(error) => error.is_of_other_version(),
            Self::Read(_) | Self::CutShort(_) => false,
        }
    }
}

impl Parts {
    /// Opens log, state and snapshots of a data folder; what is damaged and can be rebuilt is.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(
        data_dir: Arc<DataDir>,
        host: Arc<dyn PolicyHost>,
        observer: Option<Arc<dyn ApplyObserver>>,
        apply: ApplyOptions,
    ) -> Result<Self, OpenError> {
        let disk = Arc::new(RealDisk);
        Self::open_on(data_dir, host, observer, apply, LogOptions::default(), disk).await
    }

    /// The same with other limits of the log and on another [`Disk`], for tests.
    ///
    /// # Errors
    /// As [`Parts::open`].
    pub async fn open_on(
        data_dir: Arc<DataDir>,
        host: Arc<dyn PolicyHost>,
        observer: Option<Arc<dyn ApplyObserver>>,
        apply: ApplyOptions,
        log_options: LogOptions,
        disk: Arc<dyn Disk>,
    ) -> Result<Self, OpenError> {
        let log_dir = data_dir.log_dir();
        // A node that knows its cluster had a log: one that is missing is a loss and not a start.
        let must_exist = data_dir.identity().cluster_id.is_some();
        let log_options = LogOptions {
            must_exist,
            ..log_options
        };
        let log = off_thread(move || LogStore::open_on(&log_dir, log_options, disk)).await??;
        Self::with_log(data_dir, log, host, observer, apply).await
    }
}

impl<L: RaftLogStorage<TypeConfig> + LogHandle> Parts<L> {
    /// The same on a log that is open already.
    ///
    /// # Errors
    /// As [`Parts::open`].
    pub async fn with_log(
        data_dir: Arc<DataDir>,
        mut log: L,
        host: Arc<dyn PolicyHost>,
        observer: Option<Arc<dyn ApplyObserver>>,
        apply: ApplyOptions,
    ) -> Result<Self, OpenError> {
        let purged_index = log
            .get_log_state()
            .await?
            .last_purged_log_id
            .map(|id| id.index);
        let folder: PathBuf = data_dir.path().to_owned();
        let options = StateOptions {
            data_dir: folder,
            purged_index,
            apply,
        };
        let own = Arc::clone(&host);
        let machine = off_thread(move || StateMachine::open(options, own, observer)).await??;
        catch_up(&mut log, &machine).await?;
        Ok(Self {
            log,
            machine,
            data_dir,
            host,
        })
    }
}

/// Brings a log up to a state that is ahead of it.
///
/// A node applies what a majority has synced, which need not include itself: after a power cut, or
/// when a snapshot was installed and the log's truncation was still queued, the state on disk may
/// hold committed entries that its own log lost, or of which the log holds what they replaced.
/// Everything up to there is committed, so the log may begin after it; and what the log has of an
/// older term at that index and after contradicts it and never was committed.
///
/// Invariant (test `a_state_ahead_of_its_log_is_made_durable_before_the_log_is_cut`): the state is
/// in a durable snapshot first, because nothing else holds those entries here. Left to itself,
/// openraft would purge without one, and refuse the second case as corruption.
async fn catch_up<L: RaftLogStorage<TypeConfig> + LogHandle>(
    log: &mut L,
    machine: &StateMachine,
) -> Result<(), OpenError> {
    let at = log.get_log_state().await?;
    let handle = machine.handle();
    let Some(applied) = handle.view().last_applied() else {
        return Ok(());
    };
    if at.last_log_id >= Some(applied) {
        return Ok(());
    }
    tracing::warn!(
        applied = %applied,
        log = at.last_log_id.map_or(0, |id| id.index),
        "the state is ahead of the log, as a power cut may leave it; the log goes on behind it"
    );
    off_thread(move || handle.build_snapshot()).await??;
    if at
        .last_log_id
        .is_some_and(|last| last.index >= applied.index)
    {
        log.truncate_after(at.last_purged_log_id).await?;
    }
    log.purge(applied).await?;
    Ok(log.synced().await?)
}

/// Runs what reads whole files off the async threads.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, OpenError> {
    runtime::off_thread(work)
        .await
        .map_err(|e| OpenError::CutShort(e.to_string()))
}
