//! Snapshot files: durable copies of the rows behind which the log may be purged.
//!
//! A file is written under a temporary name, synced, read back, renamed, and its folder synced;
//! only then are older ones deleted. So a file with a snapshot's name was whole once.

mod format;
mod handle;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use raft3d_core::state::digest::Digest;
use raft3d_core::state::meta;

use super::files::{create_dir, rename_durably, sync_dir};
use super::state::StateView;
pub use format::{SnapshotError, SnapshotHeader, SnapshotReader};
use format::{SnapshotWriter, io_error};
pub use handle::{IncomingSnapshot, SnapshotHandle};

/// What openraft knows of a snapshot.
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<crate::raft::TypeConfig>;

const SNAPSHOT_SUFFIX: &str = ".snapshot";
const TEMPORARY_SUFFIX: &str = ".tmp";
const DAMAGED_SUFFIX: &str = ".damaged";
/// Damaged files that are kept for whoever wants to look at them; more are deleted.
const DAMAGED_KEPT_MAX: usize = 2;

/// The folder of snapshot files.
#[derive(Debug)]
pub struct SnapshotStore {
    dir: PathBuf,
    current: Mutex<Option<SnapshotHandle>>,
    temporary: AtomicU64,
}

impl SnapshotStore {
    /// Opens the folder, or makes it; deletes what was not finished; reads every file. Answers
    /// also the files that are damaged: whether one of them is missed, the caller decides.
    ///
    /// # Errors
    /// The folder is not readable or not writable.
    pub(crate) fn open(dir: &Path) -> Result<(Self, Vec<(PathBuf, SnapshotError)>), SnapshotError> {
        create_dir(dir).map_err(io_error("create the folder of", dir))?;
        for path in list(dir, TEMPORARY_SUFFIX)? {
            fs::remove_file(&path).map_err(io_error("delete", &path))?;
        }
        let mut damaged = Vec::new();
        let mut newest: Option<SnapshotHandle> = None;
        for path in list(dir, SNAPSHOT_SUFFIX)? {
            match SnapshotHandle::open(&path) {
                Ok(handle) => {
                    if newest
                        .as_ref()
                        .is_none_or(|newest| is_newer(&handle, newest))
                    {
                        newest = Some(handle);
                    }
                }
                Err(error) if error.is_damage() => damaged.push((path, error)),
                Err(error) => return Err(error),
            }
        }
        let store = Self {
            dir: dir.to_owned(),
            current: Mutex::new(newest),
            temporary: AtomicU64::new(0),
        };
        Ok((store, damaged))
    }

    /// The newest snapshot.
    #[must_use]
    pub fn current(&self) -> Option<SnapshotHandle> {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Forgets the current snapshot; its file is deleted when a newer one is there.
    pub(crate) fn forget_current(&self) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Writes a snapshot of `view`. A snapshot of the same revision that is there already is
    /// answered instead.
    ///
    /// # Errors
    /// See [`SnapshotError`]; the current snapshot stays the current one.
    pub fn build(&self, view: &StateView) -> Result<SnapshotHandle, SnapshotError> {
        if let Some(current) = self.current()
            && current.header().last_log_id == view.last_applied()
        {
            return Ok(current);
        }
        let header = SnapshotHeader {
            cluster_id: meta::cluster_id(view)?,
            last_log_id: view.last_applied(),
            membership: view.membership().clone(),
            digest: view.digest(),
            engine_epoch: meta::epoch(view)?,
        };
        let path = self.temporary_path();
        match write_rows(&path, &header, view).and_then(|()| SnapshotHandle::open_temporary(&path))
        {
            Ok(handle) => self.adopt(handle),
            Err(error) => {
                // What is left of it is deleted at the next start at the latest.
                drop(fs::remove_file(&path));
                Err(error)
            }
        }
    }

    /// Begins to receive a snapshot from another node.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn begin_incoming(&self) -> Result<IncomingSnapshot, SnapshotError> {
        IncomingSnapshot::create(self.temporary_path())
    }

    /// Makes a complete file the current snapshot, durably, and deletes the older ones. Where a
    /// newer one is current already, that one is answered.
    ///
    /// # Errors
    /// The current snapshot stays the current one.
    pub(crate) fn adopt(&self, handle: SnapshotHandle) -> Result<SnapshotHandle, SnapshotError> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(current) = current.as_ref()
            && !is_newer(&handle, current)
        {
            return Ok(current.clone());
        }
        let path = self.dir.join(file_name(handle.header()));
        rename_durably(handle.path(), &path).map_err(io_error("rename", handle.path()))?;
        let handle = handle.renamed(path.clone());
        *current = Some(handle.clone());
        for old in list(&self.dir, SNAPSHOT_SUFFIX)? {
            if old != path {
                fs::remove_file(&old).map_err(io_error("delete", &old))?;
            }
        }
        sync_dir(&self.dir).map_err(io_error("sync the folder of", &path))?;
        Ok(handle)
    }

    /// Renames a damaged file out of the way, and keeps at most [`DAMAGED_KEPT_MAX`] of them.
    ///
    /// # Errors
    /// Renaming or deleting failed.
    pub(crate) fn set_aside(&self, path: &Path) -> Result<PathBuf, SnapshotError> {
        let mut to = path.as_os_str().to_owned();
        to.push(DAMAGED_SUFFIX);
        let to = PathBuf::from(to);
        rename_durably(path, &to).map_err(io_error("set aside", path))?;
        let mut kept = list(&self.dir, DAMAGED_SUFFIX)?;
        while kept.len() > DAMAGED_KEPT_MAX {
            let oldest = kept.remove(0);
            fs::remove_file(&oldest).map_err(io_error("delete", &oldest))?;
        }
        Ok(to)
    }

    fn temporary_path(&self) -> PathBuf {
        let number = self.temporary.fetch_add(1, Ordering::Relaxed);
        self.dir.join(format!("{number}{TEMPORARY_SUFFIX}"))
    }
}

fn write_rows(path: &Path, header: &SnapshotHeader, view: &StateView) -> Result<(), SnapshotError> {
    let mut writer = SnapshotWriter::create(path, header)?;
    let mut digest = Digest::default();
    view.for_each_row(|key, value| {
        digest.add(key, value);
        writer.push(key, value)
    })?;
    // A file of wrong rows would make them durable, and the log that tells the truth be purged.
    if digest != header.digest {
        return Err(SnapshotError::DigestMismatch {
            revision: view.revision().0,
        });
    }
    writer.finish()
}

fn is_newer(handle: &SnapshotHandle, than: &SnapshotHandle) -> bool {
    handle.header().last_log_id > than.header().last_log_id
}

/// Sorts by log index.
fn file_name(header: &SnapshotHeader) -> String {
    let (index, term) = header
        .last_log_id
        .map_or((0, 0), |log_id| (log_id.index, log_id.leader_id.term));
    format!("{index:020}-{term:020}{SNAPSHOT_SUFFIX}")
}

/// The files in `dir` whose names end so, sorted.
fn list(dir: &Path, suffix: &str) -> Result<Vec<PathBuf>, SnapshotError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(io_error("list", dir))? {
        let path = entry.map_err(io_error("list", dir))?.path();
        if path.to_string_lossy().ends_with(suffix) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}
