//! The state database: rows in fjall, one atomic batch per apply chunk.
//!
//! It is a cache of a snapshot file and the log: an apply is not synced, and a database that does
//! not open, or whose rows do not add up to their digest, is set aside and built anew
//! ([`recovery`]).

#[cfg(test)]
mod full_disk;
mod head;
#[cfg(test)]
#[path = "../../../tests/common/random.rs"]
mod random;
pub mod recovery;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod view;

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use raft3d_core::LocalFault;
use raft3d_core::state::overlay::Changes;
use thiserror::Error;

use super::snapshot::{SnapshotError, SnapshotHandle};
pub(crate) use head::Head;
pub use view::StateView;

/// Memory for blocks read from disk, in bytes. Filled as blocks are read.
const BLOCK_CACHE_BYTES: u64 = 16 * 1024 * 1024;
/// Rows that are not in a table file yet, in bytes, before they are written to one. Up to four of
/// these may wait at once.
const ROWS_WRITE_BUFFER_BYTES: u64 = 8 * 1024 * 1024;
/// The same for the single record beside the rows, which is overwritten with every chunk.
const HEAD_WRITE_BUFFER_BYTES: u64 = 512 * 1024;
/// Journal on disk, in bytes, before table files are written whose rows it alone holds. The least
/// that fjall accepts; also a bound on what is replayed when the database is opened.
const JOURNAL_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Threads that write table files and compact them. One of them always serves the writing.
const WORKER_THREADS: usize = 2;
/// Table files kept open.
const OPEN_FILES_MAX: usize = 64;
/// Longest key that fjall stores, in bytes.
const KEY_BYTES_MAX: usize = u16::MAX as usize;

const META_KEYSPACE: &str = "meta";
const HEAD_KEY: &[u8] = b"head";
const ROWS_KEYSPACE_PREFIX: &str = "rows-";

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
    /// A snapshot is at fault.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Reading or writing rows failed.
    #[error(transparent)]
    Fault(#[from] LocalFault),
}

impl From<fjall::Error> for StateError {
    fn from(error: fjall::Error) -> Self {
        Self::Fault(LocalFault::Storage(error.to_string()))
    }
}

/// The database and the view of its newest revision.
pub struct StateStore {
    database: Database,
    meta: Keyspace,
    newest: RwLock<Newest>,
}

struct Newest {
    rows: Keyspace,
    view: StateView,
}

impl StateStore {
    /// Opens the database in `dir`, or makes an empty one. Reads every row and compares the digest
    /// with the stored one.
    ///
    /// The full read took 2.6 s for a million rows of 256 bytes, optimised, on two cores that were
    /// busy with other work. It is done at every start, after a clean stop too: only it finds a
    /// journal that lost a batch in the middle, which fjall does not.
    ///
    /// # Errors
    /// [`StateError::Damaged`] where the database is to be set aside, [`StateError::Io`] where the
    /// fault lies with the folder's permissions or the disk.
    pub fn open(dir: &Path) -> Result<Self, StateError> {
        // fjall asserts where it finds what it never wrote: damage, to its caller.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let store = Self::open_unchecked(dir)?;
            let view = store.view();
            let actual = view.recompute_digest()?;
            if actual != view.digest() {
                return Err(StateError::Damaged(format!(
                    "its rows have digest {actual}, and should have {}",
                    view.digest()
                )));
            }
            Ok(store)
        }));
        match opened {
            Ok(Ok(store)) => Ok(store),
            Ok(Err(error @ (StateError::Io { .. } | StateError::Damaged(_)))) => Err(error),
            Ok(Err(error)) => Err(StateError::Damaged(error.to_string())),
            Err(_) => Err(StateError::Damaged(
                "opening it failed an assertion".to_owned(),
            )),
        }
    }

    fn open_unchecked(dir: &Path) -> Result<Self, StateError> {
        let database = Database::builder(dir)
            .cache_size(BLOCK_CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .worker_threads(WORKER_THREADS)
            .max_cached_files(Some(OPEN_FILES_MAX))
            .open()
            .map_err(|error| open_error(dir, error))?;
        let meta = database.keyspace(META_KEYSPACE, || {
            KeyspaceCreateOptions::default().max_memtable_size(HEAD_WRITE_BUFFER_BYTES)
        })?;
        let head = match meta.get(HEAD_KEY)? {
            Some(bytes) => Head::decode(&bytes).map_err(StateError::Damaged)?,
            None => Head::default(),
        };
        if !keyspace_names(&database).contains(&rows_name(head.generation))
            && head.last_applied.is_some()
        {
            return Err(StateError::Damaged(format!(
                "generation {} is missing",
                head.generation
            )));
        }
        // What a replacement left that was cut short, before its switch or after.
        for name in keyspace_names(&database) {
            if name.starts_with(ROWS_KEYSPACE_PREFIX) && name != rows_name(head.generation) {
                database.delete_keyspace(rows_keyspace(&database, &name)?)?;
            }
        }
        let rows = rows_keyspace(&database, &rows_name(head.generation))?;
        let view = StateView::new(database.snapshot(), rows.clone(), head);
        Ok(Self {
            database,
            meta,
            newest: RwLock::new(Newest { rows, view }),
        })
    }

    /// The newest revision.
    #[must_use]
    pub fn view(&self) -> StateView {
        self.newest
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .view
            .clone()
    }

    /// Writes one chunk: the changed rows and `head`, atomically, and makes them visible. Not
    /// synced: a power cut may take it back, to an earlier chunk.
    ///
    /// # Errors
    /// A fault of the store; nothing is visible then.
    pub(crate) fn commit(&self, changes: Changes, head: Head) -> Result<StateView, LocalFault> {
        let rows = self
            .newest
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .rows
            .clone();
        let mut batch = self.database.batch();
        for (key, value) in changes {
            if key.is_empty() || key.len() > KEY_BYTES_MAX {
                let length = key.len();
                return Err(LocalFault::Storage(format!(
                    "a row's key has {length} bytes"
                )));
            }
            match value {
                Some(value) => batch.insert(&rows, key, value),
                None => batch.remove(&rows, key),
            }
        }
        batch.insert(&self.meta, HEAD_KEY, head.encode());
        batch
            .commit()
            .map_err(|error| LocalFault::Storage(error.to_string()))?;
        // Readers take the view while the batch is written: the lock is held for the switch alone.
        let view = StateView::new(self.database.snapshot(), rows, head);
        let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(
            view.head().generation,
            newest.view.head().generation,
            "the state was replaced under an apply"
        );
        newest.view = view.clone();
        Ok(view)
    }

    /// Replaces all rows by those of a snapshot, crash-atomically: they are loaded into a new
    /// generation, read back and compared with the snapshot's digest, and then one synced write
    /// makes that generation the one in force. Readers of the old rows keep their views.
    ///
    /// Memory stays bounded: rows go to table files as they are read.
    ///
    /// # Errors
    /// The old rows stay in force.
    pub fn install(&self, snapshot: &SnapshotHandle) -> Result<StateView, StateError> {
        let header = snapshot.header();
        let old = self.view();
        let head = Head {
            generation: old.head().generation + 1,
            last_applied: header.last_log_id,
            membership: header.membership.clone(),
            digest: header.digest,
        };
        let rows = self.load(&rows_name(head.generation), snapshot)?;
        let loaded = StateView::new(self.database.snapshot(), rows.clone(), head.clone());
        let actual = loaded.recompute_digest()?;
        if actual != header.digest {
            return Err(StateError::Damaged(format!(
                "rows loaded from {} have digest {actual} instead of {}",
                snapshot.path().display(),
                header.digest
            )));
        }
        let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        batch.insert(&self.meta, HEAD_KEY, head.encode());
        batch.commit()?;
        let view = StateView::new(self.database.snapshot(), rows.clone(), head);
        let old_rows = std::mem::replace(&mut newest.rows, rows);
        newest.view = view.clone();
        drop(newest);
        // Its files go when the last view of it does.
        self.database.delete_keyspace(old_rows)?;
        Ok(view)
    }

    fn load(&self, name: &str, snapshot: &SnapshotHandle) -> Result<Keyspace, StateError> {
        // An earlier try in this process may have left a part.
        if keyspace_names(&self.database)
            .iter()
            .any(|existing| existing == name)
        {
            self.database
                .delete_keyspace(rows_keyspace(&self.database, name)?)?;
        }
        let rows = rows_keyspace(&self.database, name)?;
        let mut ingestion = rows.start_ingestion()?;
        // The reader refuses keys that do not ascend: ingestion would assert.
        snapshot
            .reader()?
            .for_each_row(|key, value| ingestion.write(key, value).map_err(StateError::from))?;
        ingestion.finish()?;
        Ok(rows)
    }

    /// Syncs what is written.
    ///
    /// # Errors
    /// A fault of the disk.
    pub fn sync(&self) -> Result<(), StateError> {
        Ok(self.database.persist(PersistMode::SyncAll)?)
    }
}

impl fmt::Debug for StateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateStore")
            .field("view", &self.view())
            .finish_non_exhaustive()
    }
}

fn rows_name(generation: u64) -> String {
    format!("{ROWS_KEYSPACE_PREFIX}{generation}")
}

fn rows_keyspace(database: &Database, name: &str) -> Result<Keyspace, fjall::Error> {
    database.keyspace(name, || {
        KeyspaceCreateOptions::default().max_memtable_size(ROWS_WRITE_BUFFER_BYTES)
    })
}

fn keyspace_names(database: &Database) -> Vec<String> {
    database
        .list_keyspace_names()
        .iter()
        .map(|name| name.to_string())
        .collect()
}

/// Errors that another try or an operator may clear are not damage: a database must not be set
/// aside for a full disk.
fn open_error(dir: &Path, error: fjall::Error) -> StateError {
    use io::ErrorKind::{
        OutOfMemory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, ResourceBusy, StorageFull,
    };
    let io = |source| StateError::Io {
        action: "open the state database in",
        path: dir.to_owned(),
        source,
    };
    match error {
        fjall::Error::Locked => io(io::Error::other("another process uses it")),
        fjall::Error::Io(source)
            if matches!(
                source.kind(),
                PermissionDenied
                    | StorageFull
                    | QuotaExceeded
                    | ReadOnlyFilesystem
                    | ResourceBusy
                    | OutOfMemory
            ) =>
        {
            io(source)
        }
        error => StateError::Damaged(error.to_string()),
    }
}
