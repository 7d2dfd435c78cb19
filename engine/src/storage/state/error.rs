//! Why the state cannot be opened, written or replaced, and whose fault that is.

use std::io;
use std::path::{Path, PathBuf};

use fjall::LsmError;
use raft3d_core::LocalFault;
use thiserror::Error;

use crate::storage::data_dir::DataDirError;
use crate::storage::newer::NewerFormat;
use crate::storage::room;
use crate::storage::snapshot::SnapshotError;

/// Why the state cannot be opened, written or replaced.
#[derive(Debug, Error)]
pub enum StateError {
    /// A file or folder could not be read or written.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// File or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The disk or the system refuses. That is not damage: nothing is set aside for it.
    #[error(
        "the state database cannot be read or written: {0}; check the disk (space, health, \
         permissions) and start the node again: its log holds what is not written yet"
    )]
    Refused(io::Error),
    /// The database was written by a later version. Nothing is set aside for it.
    #[error(transparent)]
    Newer(#[from] NewerFormat),
    /// The database is damaged. Opening sets such a one aside and rebuilds it.
    #[error("the state database is damaged: {0}")]
    Damaged(String),
    /// The state cannot be rebuilt from what is in the data folder.
    #[error(
        "the state cannot be rebuilt: it is needed up to log index {needed} at least, because the \
         log before was purged, and {found}. Restore the data folder, or this snapshot file, from \
         a copy; or remove this node from the cluster and let it join again with an empty data \
         folder, under a new id"
    )]
    CannotRebuild {
        /// The log is purged up to here.
        needed: u64,
        /// What there is instead.
        found: String,
    },
    /// The list of denied entries cannot be read.
    #[error(transparent)]
    Denied(#[from] DataDirError),
    /// A snapshot is at fault.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Reading or writing rows failed.
    #[error(transparent)]
    Fault(#[from] LocalFault),
}

impl StateError {
    /// Whether another version of this program is to be run on the folder.
    #[must_use]
    pub const fn is_of_other_version(&self) -> bool {
        match self {
            Self::Newer(_) | Self::Fault(LocalFault::Epoch { .. }) => true,
            Self::Snapshot(error) => error.is_of_other_version(),
            Self::Denied(error) => error.is_of_other_version(),
            _ => false,
        }
    }
}

impl StateError {
    /// Whether there is no room on the disk: it may be tried again.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self {
            Self::Io { source, .. }
            | Self::Refused(source)
            | Self::Snapshot(SnapshotError::Io { source, .. }) => room::is_full(source),
            _ => false,
        }
    }
}

impl From<fjall::Error> for StateError {
    fn from(error: fjall::Error) -> Self {
        match error {
            fjall::Error::Io(source) | fjall::Error::Storage(LsmError::Io(source))
                if may_clear(source.kind()) =>
            {
                Self::Refused(source)
            }
            error => Self::Fault(fault(error)),
        }
    }
}

impl From<io::Error> for StateError {
    fn from(error: io::Error) -> Self {
        Self::from(fjall::Error::Io(error))
    }
}

/// Whether another try or an operator may clear it: a database must not be set aside for a full
/// disk.
fn may_clear(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{
        OutOfMemory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, ResourceBusy, StorageFull,
    };
    matches!(
        kind,
        PermissionDenied
            | StorageFull
            | QuotaExceeded
            | ReadOnlyFilesystem
            | ResourceBusy
            | OutOfMemory
    )
}

pub(super) fn open_error(dir: &Path, error: fjall::Error) -> StateError {
    if let fjall::Error::Locked = error {
        return StateError::Io {
            action: "open the state database in",
            path: dir.to_owned(),
            source: io::Error::other("another process uses it"),
        };
    }
    StateError::from(error)
}

pub(super) fn fault(error: fjall::Error) -> LocalFault {
    LocalFault::Storage(error.to_string())
}
