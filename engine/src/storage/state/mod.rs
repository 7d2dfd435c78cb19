//! The state database: rows in fjall, and in memory what the last chunks changed.
//!
//! It is a cache of a snapshot file and the log. A chunk changes memory alone ([`pending`]); when
//! enough has come together it is written to table files, sorted, as one atomic step with the
//! record of what it reflects. fjall's journal and its own write buffers are not used: the log is
//! journal enough, and a journal that lost a batch in the middle would have to be found out.
//! After a crash the log is replayed from where the table files end.
//!
//! A database that does not open, whose files are not those that were written, or whose rows do
//! not add up to their digest, is set aside and built anew ([`recovery`]).

mod chosen_jobs;
mod error;
#[cfg(test)]
#[path = "../../../tests/common/folders.rs"]
mod folders;
mod full;
#[cfg(test)]
mod full_disk;
mod generations;
mod growing;
mod head;
mod merges;
#[cfg(test)]
mod newer_files;
mod pending;
#[cfg(test)]
#[path = "../../../tests/common/random.rs"]
mod random;
pub mod recovery;
mod scrub;
mod tables;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod verify;
mod view;

use std::fmt;
use std::fs;
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use fjall::{Database, Keyspace, Readable};
use raft3d_core::LocalFault;

use super::snapshot::SnapshotHandle;
use crate::runtime;
use chosen_jobs::ChosenJobs;
pub use error::StateError;
use error::open_error;
pub(crate) use full::ROOM_PAUSE;
use generations::{keyspace_names, newest_generation, rows_keyspace, rows_name};
use growing::GrowingTables;
pub(crate) use head::Head;
use head::{HEAD_KEY, Record};
use merges::Merges;
pub(crate) use pending::Change;
use pending::{Layer, Merged, MintedTo, Pending};
use tables::Tables;
pub use view::StateView;

/// Blocks read from disk and kept, in bytes. In memory they take two thirds more. Apply needs a
/// few: the filters of the newest table files, and the decision records that it deletes.
const BLOCK_CACHE_BYTES: u64 = 32 * 1024 * 1024;
/// Changes in memory, in bytes, before they are written to table files. While they are written,
/// as many again may come; then apply waits.
const PENDING_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Least changes before they are written for the first time, in bytes. Where between this and
/// [`PENDING_BYTES_MAX`] is left to chance: from then on replicas, which all take the same changes,
/// write at different times, and a majority of them is not busy with it.
const FIRST_PENDING_BYTES_MIN: usize = PENDING_BYTES_MAX / 2;
/// Rows that are written to table files, or merged, between two pauses: some 200 us of work.
const ROWS_BETWEEN_PAUSES: u64 = 512;
/// With every node at it at the same time, a thread that goes on without a pause keeps those who
/// apply and answer waiting, however nice it is: the scheduler lets it finish its turn.
const FLUSH_PAUSE: Duration = Duration::from_micros(600);
/// Threads that compact table files. With two of them, one does nothing but put the other's work
/// back into the queue, as fast as it can (fjall 3.1.13, `worker_tick`).
const WORKER_THREADS: usize = 1;
/// Table files kept open.
const OPEN_FILES_MAX: usize = 64;
/// Longest key that fjall stores, in bytes.
const KEY_BYTES_MAX: usize = u16::MAX as usize;

/// In the database's folder, where something was found wrong while it was in use: the next start
/// sets it aside.
const DAMAGED_MARK_FILE: &str = "found-damaged";

/// The database and the view of its newest revision.
pub struct StateStore {
    database: Database,
    dir: PathBuf,
    newest: RwLock<Newest>,
    /// Changes in memory, in bytes, with which it is time to write them.
    flush_at_bytes: AtomicUsize,
    merges: Arc<Merges>,
    /// Held by whoever writes table files.
    writing: Mutex<()>,
    /// Why writing failed: what came since is in memory alone, and nothing more is taken.
    write_fault: OnceLock<String>,
    /// Set where what is in memory is to be lost, as a power cut loses it.
    abandoned: AtomicBool,
    /// Set where nobody is to wait for room on the disk any more.
    closing: AtomicBool,
}

struct Newest {
    /// As of the last time they were written.
    tables: Tables,
    pending: Pending,
    view: StateView,
}

impl Newest {
    fn show(&mut self, head: Head) {
        self.view = StateView::new(self.tables.clone(), self.pending.layers(), head);
    }
}

impl StateStore {
    /// Opens the database in `dir`, or makes an empty one. Reads every file of it and compares
    /// its checksum; the rows' digest is not recomputed here ([`StateStore::scrub`]).
    ///
    /// # Errors
    /// [`StateError::Damaged`] where the database is to be set aside, [`StateError::Refused`] where
    /// the fault lies with the folder's permissions or the disk, [`StateError::Io`] where another
    /// process uses it.
    pub fn open(dir: &Path) -> Result<Self, StateError> {
        // fjall asserts where it finds what it never wrote: damage, to its caller.
        match catch_unwind(AssertUnwindSafe(|| Self::open_verified(dir))) {
            Ok(Ok(store)) => Ok(store),
            Ok(Err(
                error @ (StateError::Io { .. } | StateError::Damaged(_) | StateError::Newer(_)),
            )) => Err(error),
            Ok(Err(StateError::Refused(source))) => {
                let told = format!("{}: {source}", dir.display());
                Err(StateError::Refused(io::Error::new(source.kind(), told)))
            }
            Ok(Err(error)) => Err(StateError::Damaged(error.to_string())),
            Err(_) => Err(StateError::Damaged(
                "opening it failed an assertion".to_owned(),
            )),
        }
    }

    fn open_verified(dir: &Path) -> Result<Self, StateError> {
        if let Ok(found) = fs::read_to_string(dir.join(DAMAGED_MARK_FILE)) {
            return Err(StateError::Damaged(found));
        }
        verify::manifests(dir)?;
        let merges = Merges::of(dir);
        let database = Database::builder(dir)
            .cache_size(BLOCK_CACHE_BYTES)
            .worker_threads(WORKER_THREADS)
            .max_cached_files(Some(OPEN_FILES_MAX))
            .with_compaction_filter_factories(merges.filters())
            .open()
            .map_err(|error| open_error(dir, error))?;
        // Dropped before the database, which waits for a merge: that must not wait for room.
        let mut unopened = Unopened(Some(Arc::clone(&merges)));
        let (rows, record) = newest_generation(&database, dir)?;
        // What a replacement left that was cut short, before its switch or after.
        for name in keyspace_names(&database) {
            if name != rows.name().as_ref() as &str {
                database.delete_keyspace(rows_keyspace(&database, &name)?)?;
            }
        }
        verify::tables(dir, &rows)?;
        let snapshot = database.snapshot();
        let jobs = ChosenJobs::new(snapshot.is_empty(&rows)?);
        let tables = Tables::new(snapshot, rows, record.minted_to, jobs);
        let pending = Pending::default();
        let view = StateView::new(tables.clone(), pending.layers(), record.head);
        merges.opened();
        unopened.0 = None;
        Ok(Self {
            database,
            dir: dir.to_owned(),
            merges,
            newest: RwLock::new(Newest {
                tables,
                pending,
                view,
            }),
            flush_at_bytes: AtomicUsize::new(first_flush_at_bytes()),
            writing: Mutex::new(()),
            write_fault: OnceLock::new(),
            abandoned: AtomicBool::new(false),
            closing: AtomicBool::new(false),
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

    /// Takes one chunk: the changed rows, of each key one, and `head` become visible at once. They are in memory:
    /// a crash takes them back, and the log brings them again. Answers whether it is time to
    /// [`StateStore::flush`], from another thread where there is one.
    ///
    /// # Errors
    /// A fault of the store; nothing is visible then.
    pub(crate) fn commit(&self, changes: &[Change<'_>], head: Head) -> Result<bool, LocalFault> {
        self.check_written()?;
        if let Some(key) = changes
            .iter()
            .map(|change| change.0)
            .find(|key| !is_valid_key(key))
        {
            let (length, first) = (key.len(), key.first());
            return Err(LocalFault::Storage(format!(
                "a row's key has {length} bytes and begins with {first:?}"
            )));
        }
        let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
        if newest.pending.bytes() >= 2 * PENDING_BYTES_MAX {
            // The disk is slower than the log: nothing is taken until it has caught up.
            drop(newest);
            runtime::in_place(|| self.wait_until_written())?;
            newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
        }
        assert_eq!(
            head.generation,
            newest.view.head().generation,
            "the state was replaced under an apply"
        );
        newest.pending.push(changes);
        newest.show(head);
        Ok(self.is_due(&newest.pending))
    }

    fn is_due(&self, pending: &Pending) -> bool {
        pending.bytes() >= self.flush_at_bytes.load(Ordering::Relaxed)
    }

    /// Whether so much has come together in memory that it is time to [`StateStore::flush`].
    pub(crate) fn is_flush_due(&self) -> bool {
        let newest = self.newest.read().unwrap_or_else(PoisonError::into_inner);
        self.is_due(&newest.pending)
    }

    /// Writes what is in memory to table files and syncs them. Chunks are taken meanwhile.
    ///
    /// # Errors
    /// A fault of the disk: nothing more is taken then, and nothing that was written is lost.
    pub fn flush(&self) -> Result<(), StateError> {
        let writing = self.lock_writing();
        self.check_written()?;
        let (frozen, record, rows, jobs) = {
            let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
            let frozen = newest.pending.freeze();
            let minted = frozen.iter().map(|layer| layer.minted_to());
            let record = Record {
                head: newest.view.head().clone(),
                minted_to: minted.fold(newest.tables.minted_to(), MintedTo::max),
            };
            self.flush_at_bytes
                .store(PENDING_BYTES_MAX, Ordering::Relaxed);
            let (rows, jobs) = (newest.tables.rows(), newest.tables.jobs());
            (frozen, record, rows.clone(), Arc::clone(jobs))
        };
        let pause = || {
            // Where as much has come again meanwhile, apply is about to wait for this.
            if !self.is_flush_due() {
                std::thread::sleep(FLUSH_PAUSE);
            }
        };
        let files = self.files_before(&rows);
        let growing = GrowingTables::of(&self.dir);
        let write = || write_tables((&rows, &jobs), growing, &record, &frozen, pause);
        // fjall asserts where it finds what it never wrote. Were that to pass, nothing would be
        // written any more, and memory would fill.
        let written = catch_unwind(AssertUnwindSafe(write)).unwrap_or_else(|_| {
            let message = "writing it failed an assertion".to_owned();
            Err(StateError::Damaged(message))
        });
        let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
        match &written {
            Ok(()) => {
                self.merges.flushed();
                newest.pending.forget_frozen();
                let snapshot = self.database.snapshot();
                newest.tables = Tables::new(snapshot, rows, record.minted_to, jobs);
                let head = newest.view.head().clone();
                newest.show(head);
            }
            // It stays in memory, and is written when there is room.
            Err(error) if error.is_full() => self.delete_unfinished(&rows, &files),
            Err(error) => {
                let message = format!("writing the state to disk failed: {error}");
                self.write_fault.get_or_init(|| message);
            }
        }
        drop((newest, writing));
        written
    }

    /// Replaces all rows by those of a snapshot, crash-atomically: they are loaded into a new
    /// generation, read back and compared with the snapshot's digest, and then the record of what
    /// they reflect makes that generation the one in force. Readers of the old rows keep their
    /// views.
    ///
    /// Memory stays bounded: rows go to table files as they are read.
    ///
    /// # Errors
    /// The old rows stay in force.
    pub fn install(&self, snapshot: &SnapshotHandle) -> Result<StateView, StateError> {
        let _writing = self.lock_writing();
        let header = snapshot.header();
        let old = self.view();
        let head = Head {
            generation: old.head().generation + 1,
            last_applied: header.last_log_id,
            membership: header.membership.clone(),
            digest: header.digest,
        };
        let (rows, minted_to, jobs) = self.load(&rows_name(head.generation), snapshot)?;
        let pending = Pending::default();
        let tables = || {
            let (rows, jobs) = (rows.clone(), Arc::clone(&jobs));
            Tables::new(self.database.snapshot(), rows, minted_to, jobs)
        };
        let loaded = tables();
        let loaded = StateView::new(loaded, pending.layers(), head.clone());
        let actual = loaded.recompute_digest()?;
        if actual != header.digest {
            return Err(StateError::Damaged(format!(
                "rows loaded from {} have digest {actual} instead of {}",
                snapshot.path().display(),
                header.digest
            )));
        }
        let mut newest = self.newest.write().unwrap_or_else(PoisonError::into_inner);
        let record = Record { head, minted_to };
        write_record(&rows, &record)?;
        let tables = tables();
        let view = StateView::new(tables.clone(), pending.layers(), record.head);
        let old = std::mem::replace(
            &mut *newest,
            Newest {
                tables,
                pending,
                view: view.clone(),
            },
        );
        drop(newest);
        // Its files go when the last view of it does.
        self.database.delete_keyspace(old.tables.rows().clone())?;
        Ok(view)
    }

    /// Loads the rows of a snapshot into the keyspace of that name.
    fn load(
        &self,
        name: &str,
        snapshot: &SnapshotHandle,
    ) -> Result<(Keyspace, MintedTo, Arc<ChosenJobs>), StateError> {
        // An earlier try in this process may have left a part.
        if keyspace_names(&self.database)
            .iter()
            .any(|existing| existing == name)
        {
            self.database
                .delete_keyspace(rows_keyspace(&self.database, name)?)?;
        }
        let rows = rows_keyspace(&self.database, name)?;
        let mut files = GrowingTables::of(&self.dir);
        let mut ingestion = rows.start_ingestion()?;
        let mut minted_to = MintedTo::default();
        let jobs = ChosenJobs::new(true);
        // The reader refuses keys that do not ascend: ingestion would assert.
        snapshot.reader()?.for_each_row(|key, value| {
            minted_to.see(key);
            jobs.see(key);
            ingestion.write(key, value)?;
            files
                .wrote(key.len() + value.len())
                .map_err(StateError::from)
        })?;
        files.sync()?;
        ingestion.finish()?;
        Ok((rows, minted_to, jobs))
    }

    /// Loses what is in memory when this is dropped, as a kill does; otherwise it is written then.
    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    fn lock_writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_written(&self) -> Result<(), LocalFault> {
        match self.write_fault.get().or_else(|| self.merges.fault()) {
            Some(fault) => Err(LocalFault::Storage(fault.clone())),
            None => Ok(()),
        }
    }
}

impl Drop for StateStore {
    /// Spares the next start the replay. It goes without, too.
    fn drop(&mut self) {
        self.merges.close();
        if !self.abandoned.load(Ordering::Relaxed)
            && !std::thread::panicking()
            && let Err(error) = self.flush()
        {
            tracing::warn!("what is in memory was not written at the end: {error}");
        }
    }
}

/// A database that is being opened: if it comes to nothing, its merges are told.
struct Unopened(Option<Arc<Merges>>);

impl Drop for Unopened {
    fn drop(&mut self) {
        if let Some(merges) = &self.0 {
            merges.close();
        }
    }
}

fn first_flush_at_bytes() -> usize {
    let mut random = [0; size_of::<u32>()];
    // Without chance all replicas write at once, which is only slower.
    let _ = runtime::fill_random(&mut random);
    let span = PENDING_BYTES_MAX - FIRST_PENDING_BYTES_MIN;
    FIRST_PENDING_BYTES_MIN + u32::from_le_bytes(random) as usize % span
}

fn is_valid_key(key: &[u8]) -> bool {
    key.len() <= KEY_BYTES_MAX && !key.is_empty() && !key.starts_with(HEAD_KEY)
}

/// Writes `layers`, the oldest first, and the record of what they reflect, as one atomic step, with
/// a `pause` now and then.
fn write_tables(
    (rows, jobs): (&Keyspace, &ChosenJobs),
    mut files: GrowingTables,
    record: &Record,
    layers: &[Arc<Layer>],
    pause: impl Fn(),
) -> Result<(), StateError> {
    let all = (Bound::Unbounded, Bound::Unbounded);
    let mut changes = Merged::of_layers(layers.iter().rev(), all);
    let mut ingestion = rows.start_ingestion()?;
    ingestion.write(HEAD_KEY, record.encode())?;
    let mut written = 0_u64;
    while let Some((done, bytes)) = changes.next_change(|key, value| {
        let bytes = key.len() + value.map_or(0, <[u8]>::len);
        jobs.see(key);
        let done = match value {
            Some(value) => ingestion.write(key, value),
            None => ingestion.write_tombstone(key),
        };
        (done, bytes)
    })? {
        done?;
        files.wrote(bytes)?;
        written += 1;
        if written.is_multiple_of(ROWS_BETWEEN_PAUSES) {
            pause();
        }
    }
    files.sync()?;
    Ok(ingestion.finish()?)
}

fn write_record(rows: &Keyspace, record: &Record) -> Result<(), StateError> {
    let mut ingestion = rows.start_ingestion()?;
    ingestion.write(HEAD_KEY, record.encode())?;
    Ok(ingestion.finish()?)
}

impl fmt::Debug for StateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateStore")
            .field("view", &self.view())
            .finish_non_exhaustive()
    }
}
