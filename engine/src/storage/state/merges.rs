//! How fjall merges table files: on a thread of its own, at a pace at which others get on.
//!
//! fjall asks a compaction filter for each row that it merges (but for those that say that a row was
//! deleted) whether the row is kept. This one keeps all of them, and takes the time to sync what has
//! been written so far ([`GrowingTables`]) and to pause: replicas, which all have the same rows, merge
//! at much the same time, and nobody waits for it.
//!
//! A merge that meets a full disk ends fjall's thread for good (fjall 3.1.13, `worker_pool.rs`): nothing
//! is merged any more, and nothing says so. So a merge waits for room before it writes, and whether
//! the thread lives is looked at (`raft/disk.rs`).
//!
//! The thread is not made nicer than others. At the end of a merge fjall holds a lock that every read
//! asks for.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fjall::compaction::filter::{
    CompactionFilter, CompactionFilterResult, Context, Factory, ItemAccessor, Verdict,
};

use super::ROWS_BETWEEN_PAUSES;
use super::growing::{BYTES_BETWEEN_LOOKS, GrowingTables};
use crate::storage::room;

/// Between [`ROWS_BETWEEN_PAUSES`] rows and the next ones.
const PAUSE: Duration = Duration::from_millis(1);
/// A merge does not pause any more once rows were written to new table files so many times since it
/// began: it does not keep up with them.
const LATE_AFTER_FLUSHES: u64 = 2;

/// A merge waits while less than this is free on the disk, bytes. A merge that meets a full disk ends
/// fjall's thread for good; between two looks it writes far less, and so do others beside it.
const ROOM_MIN: u64 = 16 * 1024 * 1024;
/// Between two looks whether there is room.
const ROOM_PAUSE: Duration = Duration::from_millis(250);

/// Which filters the merges of a keyspace have, by its name.
type FiltersOfKeyspace = Arc<dyn Fn(&str) -> Option<Arc<dyn Factory>> + Send + Sync>;

/// What the merges of one database have to know, and what they say.
pub(super) struct Merges {
    dir: PathBuf,
    /// Times that rows were written to new table files.
    flushes: AtomicU64,
    /// Whether the database is open and not about to close: whoever closes it waits for a merge.
    in_use: AtomicBool,
    /// Whether it is about to close, or did not open: nobody waits for room any more.
    closing: AtomicBool,
    fault: OnceLock<String>,
    /// Merges that have begun, and rows that all of them have met.
    begun: AtomicU64,
    met_rows: AtomicU64,
    /// [`ROOM_MIN`], but for tests.
    room_min: AtomicU64,
    waits_for_room: AtomicBool,
    /// The next row fails, as on a disk that is full all the same.
    #[cfg(test)]
    fails: AtomicBool,
}

/// How far the merges have come. What stands still has made no file meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MergeProgress {
    begun: u64,
    met_rows: u64,
}

impl Merges {
    /// Those of the database in `dir`.
    pub(super) fn of(dir: &Path) -> Arc<Self> {
        Arc::new(Self {
            dir: dir.to_owned(),
            flushes: AtomicU64::new(0),
            in_use: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            fault: OnceLock::new(),
            begun: AtomicU64::new(0),
            met_rows: AtomicU64::new(0),
            room_min: AtomicU64::new(ROOM_MIN),
            waits_for_room: AtomicBool::new(false),
            #[cfg(test)]
            fails: AtomicBool::new(false),
        })
    }

    /// The same filter for all keyspaces.
    pub(super) fn filters(self: &Arc<Self>) -> FiltersOfKeyspace {
        let factory: Arc<dyn Factory> = Arc::new(ForEachMerge(Arc::clone(self)));
        Arc::new(move |_keyspace| Some(Arc::clone(&factory)))
    }

    /// The database is open: merges pause from now on.
    pub(super) fn opened(&self) {
        self.in_use.store(true, Ordering::Relaxed);
    }

    /// The database is about to close, and that waits for a merge.
    pub(super) fn close(&self) {
        self.in_use.store(false, Ordering::Relaxed);
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Rows are in new table files.
    pub(super) fn flushed(&self) {
        self.flushes.fetch_add(1, Ordering::Relaxed);
    }

    /// Why what was merged may not be on the disk.
    pub(super) fn fault(&self) -> Option<&String> {
        self.fault.get()
    }

    pub(super) fn progress(&self) -> MergeProgress {
        MergeProgress {
            begun: self.begun.load(Ordering::Acquire),
            met_rows: self.met_rows.load(Ordering::Acquire),
        }
    }

    pub(super) fn waits_for_room(&self) -> bool {
        self.waits_for_room.load(Ordering::Relaxed)
    }

    /// Waits until there is room for what a merge writes next. fjall holds no lock then. Whoever
    /// closes the database does not wait.
    fn wait_for_room(&self) {
        let is_full = || {
            let min = self.room_min.load(Ordering::Relaxed);
            room::free_bytes(&self.dir).is_some_and(|free| free < min)
        };
        while !self.closing.load(Ordering::Relaxed) && is_full() {
            if !self.waits_for_room.swap(true, Ordering::Relaxed) {
                tracing::warn!("table files are not merged before there is room on the disk");
            }
            std::thread::sleep(ROOM_PAUSE);
        }
        if self.waits_for_room.swap(false, Ordering::Relaxed) {
            tracing::info!("table files are merged again");
        }
    }

    /// Whether a merge that began after so many flushes has the time to pause.
    fn may_pause(&self, began: u64) -> bool {
        let since = self.flushes.load(Ordering::Relaxed) - began;
        since < LATE_AFTER_FLUSHES && self.in_use.load(Ordering::Relaxed)
    }

    /// A sync that failed here may not fail once more where fjall asks for it.
    fn note(&self, synced: io::Result<()>) {
        if let Err(error) = synced {
            let fault = || format!("syncing table files that are merged failed: {error}");
            self.fault.get_or_init(fault);
        }
    }
}

struct ForEachMerge(Arc<Merges>);

impl Factory for ForEachMerge {
    fn name(&self) -> &'static str {
        "keep-all"
    }

    fn make_filter(&self, _context: &Context) -> Box<dyn CompactionFilter> {
        let merges = Arc::clone(&self.0);
        merges.begun.fetch_add(1, Ordering::AcqRel);
        Box::new(Merge {
            tables: GrowingTables::of(&merges.dir),
            rows: 0,
            bytes: 0,
            began: merges.flushes.load(Ordering::Relaxed),
            merges,
        })
    }
}

/// One merge.
struct Merge {
    merges: Arc<Merges>,
    tables: GrowingTables,
    rows: u64,
    /// Of rows since the last look for room.
    bytes: usize,
    /// Flushes until then.
    began: u64,
}

impl CompactionFilter for Merge {
    fn filter_item(&mut self, row: ItemAccessor<'_>, _: &Context) -> CompactionFilterResult {
        self.merges.met_rows.fetch_add(1, Ordering::AcqRel);
        let bytes = row.key().len() + row.value()?.len();
        self.bytes += bytes;
        if self.rows == 0 || self.bytes >= BYTES_BETWEEN_LOOKS {
            self.bytes = 0;
            self.merges.wait_for_room();
        }
        #[cfg(test)]
        if self.merges.fails.load(Ordering::Relaxed) {
            return Err(fjall::LsmError::Io(io::ErrorKind::StorageFull.into()));
        }
        self.merges.note(self.tables.wrote(bytes));
        self.rows += 1;
        if self.rows.is_multiple_of(ROWS_BETWEEN_PAUSES) && self.merges.may_pause(self.began) {
            std::thread::sleep(PAUSE);
        }
        Ok(Verdict::Keep)
    }

    /// Called before fjall takes its lock, under which it syncs the rest of the last file.
    fn finish(mut self: Box<Self>) {
        self.merges.note(self.tables.sync());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed test is to panic")]
mod tests {
    use std::fs;

    use tempfile::tempdir;

    use super::super::StateStore;
    use super::super::random::Random;
    use super::super::testing::Model;
    use super::super::verify::TABLES_DIR;
    use super::*;

    #[test]
    fn merges_keep_every_row() {
        let seed = Random::seed("storage::state");
        let dir = tempdir().unwrap();
        let mut model = Model::new(seed);
        // A database that is made, and one that is opened.
        for _ in 0..2 {
            let store = StateStore::open(dir.path()).unwrap();
            let tables = store
                .newest
                .read()
                .unwrap()
                .tables
                .rows()
                .path()
                .join(TABLES_DIR);
            let files = || fs::read_dir(&tables).unwrap().count();
            let before = files();
            let merged = || store.merges.met_rows.load(Ordering::Relaxed);
            let mut flushes = 0;
            // Views that are gone keep no files.
            while merged() == 0 || files() + 4 > before + flushes {
                for _ in 0..60 {
                    model.commit_next(&store);
                }
                store.flush().unwrap();
                flushes += 1;
                assert!(flushes < 1_000, "nothing is merged");
            }
            model.check(&store.view());
            let view = store.view();
            assert_eq!(view.recompute_digest().unwrap(), view.digest());
        }
        model.check(&StateStore::open(dir.path()).unwrap().view());
    }

    #[test]
    fn a_sync_that_failed_in_a_merge_stops_the_store() {
        let dir = tempdir().unwrap();
        let store = StateStore::open(dir.path()).unwrap();
        let mut model = Model::new(1);
        model.commit_next(&store);
        store.merges.note(Ok(()));
        store.flush().unwrap();
        store.merges.note(Err(io::ErrorKind::StorageFull.into()));
        let refused = store.commit(&[], store.view().head().clone());
        assert!(refused.is_err_and(|fault| fault.to_string().contains("merged")));
        assert!(store.flush().is_err());
    }

    /// Writes table files until `until` holds.
    fn write_until(store: &StateStore, model: &mut Model, until: impl Fn() -> bool) {
        for flushes in 0.. {
            if until() {
                return;
            }
            assert!(flushes < 1_000, "nothing is merged");
            for _ in 0..60 {
                model.commit_next(store);
            }
            store.flush().unwrap();
        }
    }

    #[test]
    fn a_merge_waits_for_room_and_goes_on_when_there_is_some() {
        let dir = tempdir().unwrap();
        let store = StateStore::open(dir.path()).unwrap();
        let mut model = Model::new(Random::seed("storage::state"));
        store.merges.room_min.store(u64::MAX, Ordering::Relaxed);
        write_until(&store, &mut model, || store.merge_waits_for_room());
        let merged = store.merges.progress();
        // Rows are taken, written and read meanwhile.
        for _ in 0..60 {
            model.commit_next(&store);
        }
        store.flush().unwrap();
        model.check(&store.view());
        assert_eq!(store.merges.progress(), merged);
        store.merges.room_min.store(0, Ordering::Relaxed);
        write_until(&store, &mut model, || {
            store.merges.progress().met_rows > merged.met_rows + 100
        });
        assert!(!store.has_stopped_merging() && !store.merge_waits_for_room());
        // Nor does closing it wait.
        store.merges.room_min.store(u64::MAX, Ordering::Relaxed);
        write_until(&store, &mut model, || store.merge_waits_for_room());
        drop(store);
        model.check(&StateStore::open(dir.path()).unwrap().view());
    }

    #[test]
    fn a_merging_thread_that_died_is_seen_and_rows_are_written_on() {
        let dir = tempdir().unwrap();
        let store = StateStore::open(dir.path()).unwrap();
        let mut model = Model::new(Random::seed("storage::state"));
        model.commit_next(&store);
        assert!(!store.has_stopped_merging());
        store.merges.fails.store(true, Ordering::Relaxed);
        write_until(&store, &mut model, || store.has_stopped_merging());
        store.merges.fails.store(false, Ordering::Relaxed);
        model.commit_next(&store);
        store.flush().unwrap();
        model.check(&store.view());
        drop(store);
        // Opened again, it merges.
        let store = StateStore::open(dir.path()).unwrap();
        let none = store.merges.progress();
        write_until(&store, &mut model, || store.merges.progress() != none);
        assert!(!store.has_stopped_merging());
        model.check(&store.view());
    }

    #[test]
    fn a_merge_that_is_late_or_waited_for_does_not_pause() {
        let merges = Merges::of(Path::new("nowhere"));
        merges.flushed();
        assert!(!merges.may_pause(1), "who opens it may wait");
        merges.opened();
        assert!(merges.may_pause(1));
        merges.flushed();
        assert!(merges.may_pause(1));
        merges.flushed();
        assert!(!merges.may_pause(1), "rows come faster than it merges");
        assert!(merges.may_pause(3), "the next one");
        merges.close();
        assert!(!merges.may_pause(3));
    }
}
